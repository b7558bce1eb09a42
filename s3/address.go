package s3

import (
	"net"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/hallig-cloud/hallig/catalog"
)

// An address is what a request's host and path name.
type address struct {
	bucket      string
	key         string
	virtualHost bool // the bucket was named by the host
}

// parseAddress finds bucket and key. The path is taken literally: it is
// percent-decoded once and never cleaned, so that "//", "." and ".." segments
// and leading slashes belong to the key, as on S3. A NUL byte or bytes that
// are not UTF-8 are InvalidURI.
func parseAddress(r *http.Request, domains []string) (address, error) {
	var a address
	path := r.URL.EscapedPath()
	if r.RequestURI != "" && strings.HasPrefix(r.RequestURI, "/") {
		path, _, _ = strings.Cut(r.RequestURI, "?") // "//a" would else be taken for a host
	}
	path = strings.TrimPrefix(path, "/")
	if b, ok := hostBucket(r.Host, domains); ok {
		a.bucket, a.virtualHost = b, true
	} else {
		var bucket string
		bucket, path, _ = strings.Cut(path, "/")
		b, err := url.PathUnescape(bucket)
		if err != nil {
			return a, fail("InvalidURI").Because(err)
		}
		a.bucket = b
	}
	key, err := url.PathUnescape(path)
	if err != nil {
		return a, fail("InvalidURI").Because(err)
	}
	a.key = key
	if !utf8.ValidString(a.bucket) || strings.ContainsRune(a.bucket, 0) {
		return a, fail("InvalidURI")
	}
	return a, checkKey(key)
}

// checkKey refuses what cannot be a key: over catalog.MaxKey bytes, not UTF-8,
// or with a NUL in it (S3's XML could not carry it).
func checkKey(key string) error {
	if !utf8.ValidString(key) || strings.ContainsRune(key, 0) {
		return fail("InvalidURI")
	}
	if len(key) > catalog.MaxKey {
		return fail("KeyTooLongError").With("Size", itoa(len(key))).With("MaxSizeAllowed", itoa(catalog.MaxKey))
	}
	return nil
}

// hostBucket returns the bucket that a virtual-host style host names.
func hostBucket(host string, domains []string) (string, bool) {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	for _, d := range domains {
		if b, ok := strings.CutSuffix(host, "."+strings.ToLower(d)); ok && b != "" {
			return b, true
		}
	}
	return "", false
}
