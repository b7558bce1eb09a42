package s3

import (
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/hallig-cloud/hallig/catalog"
)

// A copySource is what x-amz-copy-source names.
type copySource struct {
	bucket, key string
	version     catalog.VersionID
}

// parseCopySource reads "[/]bucket/key[?versionId=id]", percent-encoded. The
// key is taken literally after decoding, like a request's path. A client that
// encodes the whole, with the question mark, is understood too.
func parseCopySource(header string) (copySource, error) {
	var c copySource
	arg := func(message string) error { return invalidArgument("x-amz-copy-source", header, message) }
	path, id, versioned := cutVersion(header)
	path, err := url.PathUnescape(path)
	if err != nil || !utf8.ValidString(path) {
		return c, arg("Invalid copy source encoding")
	}
	if !versioned {
		path, id, versioned = cutVersion(path)
	}
	if versioned {
		if c.version, err = checkVersionID(id); err != nil {
			return c, err
		}
	}
	var found bool
	c.bucket, c.key, found = strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if !plausibleBucket(c.bucket) {
		return c, arg("Invalid copy source bucket name")
	}
	if !found || c.key == "" || strings.ContainsRune(c.key, 0) {
		return c, arg("Invalid copy source object key")
	}
	if len(c.key) > catalog.MaxKey {
		return c, checkKey(c.key)
	}
	return c, nil
}

func cutVersion(s string) (path, id string, found bool) {
	const sep = "?versionId="
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// plausibleBucket reports whether a bucket could have the name; whether it
// exists is another question.
func plausibleBucket(name string) bool {
	if len(name) < 3 || len(name) > 255 {
		return false
	}
	dots, digits := 0, true
	for _, c := range []byte(name) {
		switch {
		case c == '.':
			dots++
		case c >= '0' && c <= '9':
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '-', c == '_':
			digits = false
		default:
			return false
		}
	}
	return !(digits && dots == 3) // no IPv4 addresses
}

const (
	directiveCopy    = "COPY"
	directiveReplace = "REPLACE"
)

// directive reads x-amz-metadata-directive or x-amz-tagging-directive.
func directive(h http.Header, name, message string) (string, error) {
	switch v := h.Get(name); v {
	case "", directiveCopy:
		return directiveCopy, nil
	case directiveReplace:
		return v, nil
	default:
		return "", invalidArgument(name, v, message)
	}
}
