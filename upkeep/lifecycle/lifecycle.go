// Package lifecycle is S3's lifecycle configuration: the document, its rules'
// validation as AWS does it, and the arithmetic of when a rule applies. It does
// nothing by itself: the S3 door parses and answers with it, upkeep carries it
// out.
//
// Source: S3 User Guide, "Lifecycle configuration elements", and the API
// reference of PutBucketLifecycleConfiguration. Transitions are refused: there
// is one storage class.
package lifecycle

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
)

// Limits of a configuration.
const (
	MaxBytes = 1 << 20 // of the document
	MaxRules = 1000
	MaxID    = 255 // characters of a rule's id
	MaxNewer = 100 // NewerNoncurrentVersions
)

// An Error is a refusal in S3's words. It wraps hallig.ErrInvalid.
type Error struct {
	Code    string // S3's: MalformedXML, InvalidArgument, InvalidRequest, InvalidStorageClass
	Message string
}

// Error writes code and message.
func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Unwrap returns hallig.ErrInvalid.
func (e *Error) Unwrap() error { return hallig.ErrInvalid }

// A Configuration is a bucket's rules.
type Configuration struct{ Rules []Rule }

// A Rule says what happens to some objects. At least one action is set.
type Rule struct {
	ID      string
	Enabled bool
	Filter  Filter

	Days         int       // expiration of current versions; 0: not by days
	Date         time.Time // or at a date, midnight UTC; zero: not by date
	ExpireMarker bool      // ExpiredObjectDeleteMarker

	NoncurrentDays  int // expiration of noncurrent versions; 0: none
	NewerNoncurrent int // newer noncurrent versions that are kept besides; 0: none

	AbortDays int // incomplete multipart uploads, after initiation; 0: never

	keepMarker bool // ExpiredObjectDeleteMarker was given as false, alone
}

// A Filter chooses objects: all that is set must hold.
type Filter struct {
	Prefix  string
	Tags    []catalog.Tag
	Greater int64 // ObjectSizeGreaterThan; -1: not set
	Less    int64 // ObjectSizeLessThan; -1: not set

	form form // how it was written, for Encode
}

// An Object is what the rules look at.
type Object struct {
	Key      string
	Size     int64
	Tags     []catalog.Tag
	Modified time.Time
}

// Matches reports whether the filter chooses the object.
func (f *Filter) Matches(o Object) bool {
	if !strings.HasPrefix(o.Key, f.Prefix) || f.Greater >= 0 && o.Size <= f.Greater || f.Less >= 0 && o.Size >= f.Less {
		return false
	}
	for _, t := range f.Tags {
		if !slices.Contains(o.Tags, t) {
			return false
		}
	}
	return true
}

// after is S3's rounding: days after t, moved up to the next midnight UTC.
func after(t time.Time, days int) time.Time {
	t = t.UTC().AddDate(0, 0, days)
	midnight := time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)
	if t.Equal(midnight) {
		return midnight
	}
	return midnight.AddDate(0, 0, 1)
}

// earliest keeps the first of several due times.
type earliest struct {
	at   time.Time
	rule string
	ok   bool
}

func (e *earliest) take(at time.Time, rule string) {
	if !e.ok || at.Before(e.at) {
		e.at, e.rule, e.ok = at, rule, true
	}
}

// Expiration returns when the current version o expires and by which rule; ok
// is false if none applies.
func (c *Configuration) Expiration(o Object) (at time.Time, rule string, ok bool) {
	var e earliest
	for i := range c.Rules {
		r := &c.Rules[i]
		if !r.Enabled || !r.Filter.Matches(o) {
			continue
		}
		if r.Days > 0 {
			e.take(after(o.Modified, r.Days), r.ID)
		}
		if !r.Date.IsZero() {
			e.take(r.Date, r.ID)
		}
	}
	return e.at, e.rule, e.ok
}

// Noncurrent returns when the noncurrent version o expires, which became
// noncurrent at since (the next newer version's Modified) and has newer
// noncurrent versions of its key above it.
func (c *Configuration) Noncurrent(o Object, since time.Time, newer int) (at time.Time, rule string, ok bool) {
	var e earliest
	for i := range c.Rules {
		r := &c.Rules[i]
		if r.Enabled && r.NoncurrentDays > 0 && newer >= r.NewerNoncurrent && r.Filter.Matches(o) {
			e.take(after(since, r.NoncurrentDays), r.ID)
		}
	}
	return e.at, e.rule, e.ok
}

// Marker returns when a delete marker that is its key's only version goes: at
// once under ExpiredObjectDeleteMarker, and when it is old enough under a rule
// that expires by days.
func (c *Configuration) Marker(key string, modified time.Time) (at time.Time, rule string, ok bool) {
	var e earliest
	for i := range c.Rules {
		r := &c.Rules[i]
		if !r.Enabled || !strings.HasPrefix(key, r.Filter.Prefix) || len(r.Filter.Tags) > 0 || r.Filter.Greater >= 0 || r.Filter.Less >= 0 {
			continue
		}
		if r.ExpireMarker {
			e.take(modified, r.ID)
		}
		if r.Days > 0 {
			e.take(after(modified, r.Days), r.ID)
		}
	}
	return e.at, e.rule, e.ok
}

// Abort returns when an upload to the key, begun at initiated, is aborted.
func (c *Configuration) Abort(key string, initiated time.Time) (at time.Time, rule string, ok bool) {
	var e earliest
	for i := range c.Rules {
		r := &c.Rules[i]
		if r.Enabled && r.AbortDays > 0 && strings.HasPrefix(key, r.Filter.Prefix) {
			e.take(after(initiated, r.AbortDays), r.ID)
		}
	}
	return e.at, e.rule, e.ok
}

// Acts reports whether any enabled rule has something to do.
func (c *Configuration) Acts() bool {
	return slices.ContainsFunc(c.Rules, func(r Rule) bool { return r.Enabled })
}

// ExpirationHeader is the value of x-amz-expiration for a current version; ""
// if no rule applies.
func (c *Configuration) ExpirationHeader(o Object) string {
	at, rule, ok := c.Expiration(o)
	if !ok {
		return ""
	}
	return fmt.Sprintf("expiry-date=%q, rule-id=%q", at.UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT"), escape(rule))
}

// escape encodes a rule id as S3 does in headers: as in a URL's query.
func escape(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-_.~", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}
