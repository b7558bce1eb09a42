package s3

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hallig-cloud/hallig/catalog"
)

// parseETags reads a list of entity tags, quoted or not; nil if the header is
// empty.
func parseETags(header string) []string {
	var tags []string
	for s := range strings.SplitSeq(header, ",") {
		s = strings.TrimPrefix(strings.TrimSpace(s), "W/")
		if s = strings.Trim(s, `"`); s != "" {
			tags = append(tags, s)
		}
	}
	return tags
}

// readConditions are the conditions of a GET, a HEAD or a copy's source.
type readConditions struct {
	match, noneMatch     []string
	modified, unmodified time.Time // zero: none
}

// parseReadConditions reads If-Match and its kin; prefix is "" or
// "X-Amz-Copy-Source-". Dates that are not HTTP dates are ignored.
func parseReadConditions(h http.Header, prefix string) readConditions {
	var c readConditions
	c.match = parseETags(h.Get(prefix + "If-Match"))
	c.noneMatch = parseETags(h.Get(prefix + "If-None-Match"))
	c.modified = httpDate(h.Get(prefix + "If-Modified-Since"))
	c.unmodified = httpDate(h.Get(prefix + "If-Unmodified-Since"))
	return c
}

// httpDate reads an HTTP date; zero if it is none.
func httpDate(s string) time.Time {
	if s == "" {
		return time.Time{} // as a rule: an error would be made for nothing
	}
	t, err := http.ParseTime(s)
	if err != nil {
		return time.Time{}
	}
	return t
}

// check decides the conditions against a version: PreconditionFailed,
// NotModified or nil. If-Match overrules If-Unmodified-Since, If-None-Match
// overrules If-Modified-Since (RFC 9110, section 13.2.2, as S3 states it).
func (c readConditions) check(etag string, modified time.Time) error {
	modified = modified.Truncate(time.Second)
	switch {
	case c.match != nil:
		if !etagIn(c.match, etag) {
			return preconditionFailed("If-Match")
		}
	case !c.unmodified.IsZero() && modified.After(c.unmodified):
		return preconditionFailed("If-Unmodified-Since")
	}
	switch {
	case c.noneMatch != nil:
		if etagIn(c.noneMatch, etag) {
			return fail("NotModified").With("Condition", "If-None-Match")
		}
	case !c.modified.IsZero() && !modified.After(c.modified):
		return fail("NotModified").With("Condition", "If-Modified-Since")
	}
	return nil
}

// checkSource is check for the source of a copy, where "not modified" is a
// failed precondition too.
func (c readConditions) checkSource(etag string, modified time.Time) error {
	err := c.check(etag, modified)
	if e, ok := err.(*Error); ok && e.Code == "NotModified" { //nolint:errorlint // check returns it bare
		return preconditionFailed("x-amz-copy-source-" + e.Fields[0].Value)
	}
	return err
}

func etagIn(tags []string, etag string) bool {
	return slices.Contains(tags, "*") || slices.Contains(tags, etag)
}

func preconditionFailed(condition string) *Error {
	return fail("PreconditionFailed").With("Condition", condition)
}

func notImplemented(header, more string) *Error {
	e := fail("NotImplemented").With("Header", header)
	if more != "" {
		e = e.With("additionalMessage", more)
	}
	return e
}

// writePrecondition reads the conditions of a PutObject, a CopyObject's
// destination or a CompleteMultipartUpload. S3 knows If-Match with an ETag and
// If-None-Match with "*", one at a time.
func writePrecondition(h http.Header) (catalog.Precondition, error) {
	var p catalog.Precondition
	match, noneMatch := h.Get("If-Match"), h.Get("If-None-Match")
	for _, name := range []string{"If-Modified-Since", "If-Unmodified-Since"} {
		if h.Get(name) != "" {
			return p, notImplemented(name, "We don't accept the provided value of "+name+" header for this API")
		}
	}
	if match != "" && noneMatch != "" {
		return p, notImplemented("If-Match,If-None-Match", "Multiple conditional request headers present in the request")
	}
	if noneMatch != "" && strings.Trim(strings.TrimSpace(noneMatch), `"`) != "*" {
		return p, notImplemented("If-None-Match", "We don't accept the provided value of If-None-Match header for this API")
	}
	p.IfMatch, p.IfNoneMatch = parseETags(match), parseETags(noneMatch)
	return p, nil
}

// deletePrecondition reads the conditions of a DeleteObject.
func deletePrecondition(h http.Header) (catalog.Precondition, error) {
	p := catalog.Precondition{IfMatch: parseETags(h.Get("If-Match"))}
	if h.Get("If-None-Match") != "" {
		return p, notImplemented("If-None-Match", "We don't accept the provided value of If-None-Match header for this API")
	}
	if s := h.Get("X-Amz-If-Match-Size"); s != "" {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return p, invalidArgument("x-amz-if-match-size", s, "The value of the header x-amz-if-match-size is invalid")
		}
		p.IfSize = &n
	}
	if s := h.Get("X-Amz-If-Match-Last-Modified-Time"); s != "" {
		t, err := parseAnyTime(s)
		if err != nil {
			return p, invalidArgument("x-amz-if-match-last-modified-time", s, "The value of the header x-amz-if-match-last-modified-time is invalid")
		}
		p.IfModified = &t
	}
	return p, nil
}

// parseAnyTime reads an HTTP date or an ISO 8601 time.
func parseAnyTime(s string) (time.Time, error) {
	if t, err := http.ParseTime(s); err == nil {
		return t, nil
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return time.Parse("20060102T150405Z", s)
	}
	return t, nil
}

// destinationOnly keeps the conditions that a copy puts on its destination.
func destinationOnly(h http.Header) http.Header {
	return http.Header{"If-Match": h["If-Match"], "If-None-Match": h["If-None-Match"]}
}
