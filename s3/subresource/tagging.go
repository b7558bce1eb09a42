package subresource

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hallig-cloud/hallig/catalog"
)

// Limits of tags.
const (
	MaxBucketTags = 50
	MaxObjectTags = 10
	maxTagKey     = 128 // Unicode characters
	maxTagValue   = 256
)

// Tagging is the document of PutBucketTagging and its kin.
type Tagging struct {
	TagSet *TagSet `xml:"TagSet"`
}

// A TagSet holds tags.
type TagSet struct {
	Tags []Tag `xml:"Tag"`
}

// A Tag is one tag.
type Tag struct {
	Key   *string `xml:"Key"`
	Value *string `xml:"Value"`
}

// ParseBucketTagging reads the tags of a bucket.
func ParseBucketTagging(data []byte) ([]catalog.Tag, error) {
	return parseTagging(data, MaxBucketTags, "Bucket tag count cannot be greater than 50")
}

// ParseObjectTagging reads the tags of an object.
func ParseObjectTagging(data []byte) ([]catalog.Tag, error) {
	return parseTagging(data, MaxObjectTags, "Object tags cannot be greater than 10")
}

func parseTagging(data []byte, limit int, tooMany string) ([]catalog.Tag, error) {
	var doc Tagging
	if err := Unmarshal(data, "Tagging", &doc); err != nil {
		return nil, err
	}
	if doc.TagSet == nil {
		return nil, Malformed()
	}
	tags, err := tagsOf(doc.TagSet.Tags)
	if err != nil {
		return nil, err
	}
	if len(tags) > limit {
		return nil, &Error{Code: "BadRequest", Message: tooMany, Status: 400}
	}
	return tags, CheckTags(tags)
}

func tagsOf(in []Tag) ([]catalog.Tag, error) {
	tags := make([]catalog.Tag, 0, len(in))
	for _, t := range in {
		if t.Key == nil || t.Value == nil {
			return nil, Malformed()
		}
		tags = append(tags, catalog.Tag{Key: *t.Key, Value: *t.Value})
	}
	return tags, nil
}

// EncodeTagging writes tags in the order given.
func EncodeTagging(tags []catalog.Tag) ([]byte, error) {
	doc := Tagging{TagSet: &TagSet{Tags: []Tag{}}}
	for _, t := range tags {
		doc.TagSet.Tags = append(doc.TagSet.Tags, Tag{&t.Key, &t.Value})
	}
	return Marshal("Tagging", doc)
}

// CheckTags checks each key and value and that no key comes twice.
func CheckTags(tags []catalog.Tag) error {
	seen := map[string]bool{}
	for _, t := range tags {
		if t.Key == "" || utf8.RuneCountInString(t.Key) > maxTagKey || !tagText(t.Key) {
			return invalidTag("The TagKey you have provided is invalid", Field{"TagKey", t.Key})
		}
		if utf8.RuneCountInString(t.Value) > maxTagValue || !tagText(t.Value) {
			return invalidTag("The TagValue you have provided is invalid", Field{"TagKey", t.Key}, Field{"TagValue", t.Value})
		}
		if strings.HasPrefix(strings.ToLower(t.Key), "aws:") {
			return invalidTag("System tags cannot be added/updated by requester", Field{"TagKey", t.Key})
		}
		if seen[t.Key] {
			return invalidTag("Cannot provide multiple Tags with the same key", Field{"TagKey", t.Key})
		}
		seen[t.Key] = true
	}
	return nil
}

func invalidTag(message string, f ...Field) *Error {
	return &Error{Code: "InvalidTag", Message: message, Status: 400, Fields: f}
}

// tagText allows letters, digits and spaces of any script and + - = . _ : / @.
func tagText(s string) bool {
	for _, r := range s {
		switch {
		case unicode.IsLetter(r), unicode.IsDigit(r), unicode.Is(unicode.Mark, r), unicode.Is(unicode.Zs, r):
		case strings.ContainsRune("+-=._:/@", r):
		default:
			return false
		}
	}
	return utf8.ValidString(s)
}
