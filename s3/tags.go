package s3

import (
	"encoding/xml"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hallig-cloud/hallig/catalog"
)

// Limits of object tags.
const (
	maxObjectTags = 10
	maxTagKey     = 128 // characters
	maxTagValue   = 256 // characters
)

// parseTagHeader reads x-amz-tagging: tags as URL query parameters.
func parseTagHeader(header string) ([]catalog.Tag, error) {
	malformed := func() ([]catalog.Tag, error) {
		return nil, invalidArgument("x-amz-tagging", header,
			"The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates.")
	}
	var tags []catalog.Tag
	for pair := range strings.SplitSeq(header, "&") {
		if pair == "" {
			continue
		}
		k, v, _ := strings.Cut(pair, "=")
		key, err1 := url.QueryUnescape(k)
		value, err2 := url.QueryUnescape(v)
		if err1 != nil || err2 != nil || key == "" || !utf8.ValidString(key) || !utf8.ValidString(value) {
			return malformed()
		}
		for _, t := range tags {
			if t.Key == key {
				return malformed()
			}
		}
		tags = append(tags, catalog.Tag{Key: key, Value: value})
		if len(tags) > 10*maxObjectTags {
			break
		}
	}
	return tags, checkTags(tags)
}

// checkTags applies the limits and the alphabet of object tags.
func checkTags(tags []catalog.Tag) error {
	if len(tags) > maxObjectTags {
		return failMessage("BadRequest", "Object tags cannot be greater than 10")
	}
	seen := make(map[string]bool, len(tags))
	for _, t := range tags {
		n := utf8.RuneCountInString(t.Key)
		if n == 0 || n > maxTagKey || !tagAlphabet(t.Key) {
			return failMessage("InvalidTag", "The TagKey you have provided is invalid").With("TagKey", t.Key)
		}
		if strings.HasPrefix(strings.ToLower(t.Key), "aws:") {
			return failMessage("InvalidTag", "System tags cannot be added/updated by requester").With("TagKey", t.Key)
		}
		if utf8.RuneCountInString(t.Value) > maxTagValue || !tagAlphabet(t.Value) {
			return failMessage("InvalidTag", "The TagValue you have provided is invalid").With("TagKey", t.Key).With("TagValue", t.Value)
		}
		if seen[t.Key] {
			return failMessage("InvalidTag", "Cannot provide multiple Tags with the same key").With("TagKey", t.Key)
		}
		seen[t.Key] = true
	}
	return nil
}

// tagAlphabet reports whether all runes are letters, digits, spaces or one of
// + - = . _ : / @.
func tagAlphabet(s string) bool {
	for _, r := range s {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsSpace(r) && !unicode.IsMark(r) && !strings.ContainsRune("+-=._:/@", r) {
			return false
		}
	}
	return utf8.ValidString(s)
}

// tagging is the Tagging document.
type tagging struct {
	XMLName xml.Name `xml:"Tagging"`
	Xmlns   string   `xml:"xmlns,attr,omitempty"`
	Set     *tagSet  `xml:"TagSet"`
}

type tagSet struct {
	Tags []xmlTag `xml:"Tag"`
}

type xmlTag struct {
	Key   string
	Value string
}

// tags returns the document's tags, checked.
func (t *tagging) tags() ([]catalog.Tag, error) {
	if t.Set == nil {
		return nil, fail("MalformedXML")
	}
	tags := make([]catalog.Tag, 0, min(len(t.Set.Tags), 100))
	for _, x := range t.Set.Tags {
		tags = append(tags, catalog.Tag(x))
	}
	return tags, checkTags(tags)
}

func newTagging(tags []catalog.Tag) *tagging {
	t := &tagging{Xmlns: Namespace, Set: &tagSet{}}
	for _, x := range tags {
		t.Set.Tags = append(t.Set.Tags, xmlTag(x))
	}
	return t
}
