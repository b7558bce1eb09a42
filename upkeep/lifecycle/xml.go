package lifecycle

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
)

// form is how a filter was written.
type form uint8

const (
	formEmpty  form = iota // <Filter/>
	formRule               // <Prefix> in the rule itself, the old form
	formPrefix             // <Filter> with one condition
	formTag
	formGreater
	formLess
	formAnd
)

// The document. Unknown elements are caught, and refused.
type document struct {
	XMLName xml.Name  `xml:"LifecycleConfiguration"`
	Rules   []xmlRule `xml:"Rule"`
	Unknown []unknown `xml:",any"`
}

type unknown struct{ XMLName xml.Name }

type xmlRule struct {
	ID         *string        `xml:"ID"`
	Prefix     *string        `xml:"Prefix"`
	Filter     *xmlFilter     `xml:"Filter"`
	Status     string         `xml:"Status"`
	Expiration *xmlExpiration `xml:"Expiration"`
	Noncurrent *xmlNoncurrent `xml:"NoncurrentVersionExpiration"`
	Abort      *xmlAbort      `xml:"AbortIncompleteMultipartUpload"`
	Transition []struct{}     `xml:"Transition"`
	NoncurrTr  []struct{}     `xml:"NoncurrentVersionTransition"`
	Unknown    []unknown      `xml:",any"`
}

type xmlFilter struct {
	Prefix  *string   `xml:"Prefix"`
	Tags    []xmlTag  `xml:"Tag"`
	Greater *int64    `xml:"ObjectSizeGreaterThan"`
	Less    *int64    `xml:"ObjectSizeLessThan"`
	And     *xmlAnd   `xml:"And"`
	Unknown []unknown `xml:",any"`
}

type xmlAnd struct {
	Prefix  *string   `xml:"Prefix"`
	Tags    []xmlTag  `xml:"Tag"`
	Greater *int64    `xml:"ObjectSizeGreaterThan"`
	Less    *int64    `xml:"ObjectSizeLessThan"`
	Unknown []unknown `xml:",any"`
}

type xmlTag struct {
	Key     string    `xml:"Key"`
	Value   string    `xml:"Value"`
	Unknown []unknown `xml:",any"`
}

type xmlExpiration struct {
	Date    *string   `xml:"Date"`
	Days    *int      `xml:"Days"`
	Marker  *bool     `xml:"ExpiredObjectDeleteMarker"`
	Unknown []unknown `xml:",any"`
}

type xmlNoncurrent struct {
	Days    *int      `xml:"NoncurrentDays"`
	Newer   *int      `xml:"NewerNoncurrentVersions"`
	Unknown []unknown `xml:",any"`
}

type xmlAbort struct {
	Days    *int      `xml:"DaysAfterInitiation"`
	Unknown []unknown `xml:",any"`
}

func malformed() error {
	return &Error{"MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema"}
}

func argument(format string, args ...any) error {
	return &Error{"InvalidArgument", fmt.Sprintf(format, args...)}
}

func request(format string, args ...any) error {
	return &Error{"InvalidRequest", fmt.Sprintf(format, args...)}
}

// Parse reads and checks a LifecycleConfiguration document, at most MaxBytes.
// Rules without an id get one. The error is an *Error.
func Parse(data []byte) (*Configuration, error) {
	if len(data) > MaxBytes {
		return nil, malformed()
	}
	var d document
	dec := xml.NewDecoder(bytes.NewReader(data))
	if err := dec.Decode(&d); err != nil || len(d.Unknown) > 0 || len(d.Rules) == 0 || len(d.Rules) > MaxRules {
		return nil, malformed()
	}
	for { // nothing but space and comments may follow
		t, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		text, blank := t.(xml.CharData)
		if _, comment := t.(xml.Comment); err != nil || !comment && (!blank || len(bytes.TrimSpace(text)) > 0) {
			return nil, malformed()
		}
	}
	c := &Configuration{}
	seen := map[string]bool{}
	for i := range d.Rules {
		r, err := d.Rules[i].rule()
		if err != nil {
			return nil, err
		}
		if seen[r.ID] {
			return nil, argument("Rule ID must be unique. Found same ID for one or more rules")
		}
		seen[r.ID] = true
		c.Rules = append(c.Rules, r)
	}
	return c, nil
}

func (x *xmlRule) rule() (Rule, error) {
	r := Rule{Enabled: x.Status == "Enabled"}
	if len(x.Unknown) > 0 || x.Status != "Enabled" && x.Status != "Disabled" {
		return r, malformed()
	}
	if x.ID != nil {
		r.ID = *x.ID
	}
	if utf8.RuneCountInString(r.ID) > MaxID {
		return r, argument("ID length should not exceed allowed limit of %d", MaxID)
	}
	if r.ID == "" {
		r.ID = hallig.NewID().String()
	}
	if len(x.Transition)+len(x.NoncurrTr) > 0 {
		return r, &Error{"InvalidStorageClass", "The storage class you specified is not valid"}
	}
	var err error
	if r.Filter, err = x.filter(); err != nil {
		return r, err
	}
	if x.Expiration == nil && x.Noncurrent == nil && x.Abort == nil {
		return r, request("At least one action needs to be specified in a rule")
	}
	if err := x.expiration(&r); err != nil {
		return r, err
	}
	if err := x.noncurrent(&r); err != nil {
		return r, err
	}
	return r, x.abort(&r)
}

func (x *xmlRule) filter() (Filter, error) {
	f := Filter{Greater: -1, Less: -1}
	if (x.Prefix == nil) == (x.Filter == nil) {
		return f, malformed()
	}
	if x.Prefix != nil {
		f.Prefix, f.form = *x.Prefix, formRule
		return f, checkFilter(&f)
	}
	y := x.Filter
	if len(y.Unknown) > 0 {
		return f, malformed()
	}
	n := len(y.Tags)
	for form, set := range map[form]bool{formPrefix: y.Prefix != nil, formGreater: y.Greater != nil, formLess: y.Less != nil, formAnd: y.And != nil} {
		if set {
			n++
			f.form = form
		}
	}
	if n > 1 {
		return f, malformed()
	}
	if len(y.Tags) == 1 {
		f.form = formTag
	}
	a := xmlAnd{Prefix: y.Prefix, Tags: y.Tags, Greater: y.Greater, Less: y.Less}
	if y.And != nil {
		a = *y.And
		if len(a.Unknown) > 0 || conditions(&a) < 2 {
			return f, malformed()
		}
	}
	if a.Prefix != nil {
		f.Prefix = *a.Prefix
	}
	for _, t := range a.Tags {
		if len(t.Unknown) > 0 {
			return f, malformed()
		}
		f.Tags = append(f.Tags, catalog.Tag{Key: t.Key, Value: t.Value})
	}
	for _, size := range []struct {
		from *int64
		to   *int64
	}{{a.Greater, &f.Greater}, {a.Less, &f.Less}} {
		if size.from != nil {
			if *size.from < 0 {
				return f, malformed()
			}
			*size.to = *size.from
		}
	}
	return f, checkFilter(&f)
}

func conditions(a *xmlAnd) int {
	n := len(a.Tags)
	for _, set := range []bool{a.Prefix != nil, a.Greater != nil, a.Less != nil} {
		if set {
			n++
		}
	}
	return n
}

func checkFilter(f *Filter) error {
	if len(f.Prefix) > catalog.MaxKey {
		return argument("The maximum size of a prefix is %d", catalog.MaxKey)
	}
	seen := map[string]bool{}
	for _, t := range f.Tags {
		if t.Key == "" || utf8.RuneCountInString(t.Key) > 128 {
			return &Error{"InvalidTag", "The TagKey you have provided is invalid"}
		}
		if utf8.RuneCountInString(t.Value) > 256 {
			return &Error{"InvalidTag", "The TagValue you have provided is invalid"}
		}
		if seen[t.Key] {
			return request("Duplicate Tag Keys are not allowed.")
		}
		seen[t.Key] = true
	}
	if f.Greater >= 0 && f.Less >= 0 && f.Less <= f.Greater {
		return request("'ObjectSizeLessThan' has to be a value greater than 'ObjectSizeGreaterThan'.")
	}
	return nil
}

func (x *xmlRule) expiration(r *Rule) error {
	e := x.Expiration
	if e == nil {
		return nil
	}
	n := 0
	for _, set := range []bool{e.Date != nil, e.Days != nil, e.Marker != nil && *e.Marker} {
		if set {
			n++
		}
	}
	if len(e.Unknown) > 0 || n > 1 || n == 0 && e.Marker == nil {
		return malformed()
	}
	r.keepMarker = n == 0
	switch {
	case e.Days != nil:
		if *e.Days < 1 {
			return argument("'Days' for Expiration action must be a positive integer")
		}
		if *e.Days > maxDays {
			return malformed()
		}
		r.Days = *e.Days
	case e.Date != nil:
		at, err := parseDate(*e.Date)
		if err != nil {
			return malformed()
		}
		if !at.Equal(at.Truncate(24 * time.Hour)) {
			return argument("'Date' must be at midnight GMT")
		}
		r.Date = at
	case e.Marker != nil && *e.Marker:
		if len(r.Filter.Tags) > 0 {
			return request("ExpiredObjectDeleteMarker cannot be specified with Tags.")
		}
		if r.Filter.Greater >= 0 || r.Filter.Less >= 0 {
			return request("ExpiredObjectDeleteMarker cannot be specified with Object Size.")
		}
		r.ExpireMarker = true
	}
	return nil
}

// maxDays is what AWS takes: a positive 32-bit integer.
const maxDays = 1<<31 - 1

func parseDate(s string) (time.Time, error) {
	s = strings.TrimSpace(s)
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02", "2006-01-02T15:04:05", "20060102T150405Z"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("date %q: %w", s, hallig.ErrInvalid)
}

func (x *xmlRule) noncurrent(r *Rule) error {
	n := x.Noncurrent
	if n == nil {
		return nil
	}
	if len(n.Unknown) > 0 || n.Days == nil || *n.Days > maxDays {
		return malformed()
	}
	if *n.Days < 1 {
		return argument("'NoncurrentDays' for NoncurrentVersionExpiration action must be a positive integer")
	}
	r.NoncurrentDays = *n.Days
	if n.Newer != nil {
		if *n.Newer < 1 || *n.Newer > MaxNewer {
			return argument("'NewerNoncurrentVersions' for NoncurrentVersionExpiration action must be an integer between 1 and %d", MaxNewer)
		}
		r.NewerNoncurrent = *n.Newer
	}
	return nil
}

func (x *xmlRule) abort(r *Rule) error {
	a := x.Abort
	if a == nil {
		return nil
	}
	switch {
	case len(a.Unknown) > 0 || a.Days == nil || *a.Days > maxDays:
		return malformed()
	case *a.Days < 1:
		return argument("'DaysAfterInitiation' for AbortIncompleteMultipartUpload action must be a positive integer")
	case len(r.Filter.Tags) > 0:
		return request("AbortIncompleteMultipartUpload cannot be specified with Tags.")
	case r.Filter.Greater >= 0 || r.Filter.Less >= 0:
		return request("AbortIncompleteMultipartUpload cannot be specified with Object Size.")
	}
	r.AbortDays = *a.Days
	return nil
}

// Encode writes the document that GetBucketLifecycleConfiguration answers with.
func (c *Configuration) Encode() ([]byte, error) {
	type out struct {
		XMLName xml.Name  `xml:"http://s3.amazonaws.com/doc/2006-03-01/ LifecycleConfiguration"`
		Rules   []xmlRule `xml:"Rule"`
	}
	var d out
	for i := range c.Rules {
		d.Rules = append(d.Rules, c.Rules[i].xml())
	}
	b, err := xml.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("encode a lifecycle configuration: %w", err)
	}
	return append([]byte(xml.Header), b...), nil
}

func (r *Rule) xml() xmlRule {
	x := xmlRule{ID: &r.ID, Status: "Disabled"}
	if r.Enabled {
		x.Status = "Enabled"
	}
	r.Filter.xml(&x)
	switch {
	case r.Days > 0:
		x.Expiration = &xmlExpiration{Days: &r.Days}
	case !r.Date.IsZero():
		date := r.Date.UTC().Format("2006-01-02T15:04:05.000Z")
		x.Expiration = &xmlExpiration{Date: &date}
	case r.ExpireMarker:
		x.Expiration = &xmlExpiration{Marker: &r.ExpireMarker}
	}
	if r.keepMarker {
		x.Expiration = &xmlExpiration{Marker: &r.ExpireMarker}
	}
	if r.NoncurrentDays > 0 {
		x.Noncurrent = &xmlNoncurrent{Days: &r.NoncurrentDays}
		if r.NewerNoncurrent > 0 {
			x.Noncurrent.Newer = &r.NewerNoncurrent
		}
	}
	if r.AbortDays > 0 {
		x.Abort = &xmlAbort{Days: &r.AbortDays}
	}
	return x
}

func (f *Filter) xml(x *xmlRule) {
	if f.form == formRule {
		x.Prefix = &f.Prefix
		return
	}
	var tags []xmlTag
	for _, t := range f.Tags {
		tags = append(tags, xmlTag{Key: t.Key, Value: t.Value})
	}
	x.Filter = &xmlFilter{}
	var a xmlAnd
	if f.Prefix != "" || f.form == formPrefix {
		a.Prefix = &f.Prefix
	}
	if f.Greater >= 0 {
		a.Greater = &f.Greater
	}
	if f.Less >= 0 {
		a.Less = &f.Less
	}
	a.Tags = tags
	if f.form == formAnd {
		if f.Prefix == "" && conditions(&a) < 2 {
			a.Prefix = &f.Prefix // as it was written: an And of an empty prefix and one more
		}
		x.Filter.And = &a
		return
	}
	x.Filter.Prefix, x.Filter.Tags, x.Filter.Greater, x.Filter.Less = a.Prefix, a.Tags, a.Greater, a.Less
}
