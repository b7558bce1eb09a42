package s3

import (
	"mime"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/hallig-cloud/hallig/catalog"
)

const (
	metaPrefix         = "x-amz-meta-"
	maxUserMetadata    = 2 << 10 // bytes of all names and values
	defaultContentType = "binary/octet-stream"
)

// parseSystemMetadata reads the headers that S3 keeps with an object and gives
// back with it.
func parseSystemMetadata(h http.Header, a *catalog.Attributes) error {
	a.ContentType = h.Get("Content-Type")
	if a.ContentType == "" {
		a.ContentType = defaultContentType
	}
	a.CacheControl = h.Get("Cache-Control")
	a.ContentDisposition = h.Get("Content-Disposition")
	a.ContentEncoding = withoutChunked(h.Values("Content-Encoding"))
	a.ContentLanguage = h.Get("Content-Language")
	a.Expires = h.Get("Expires")
	var err error
	a.Metadata, err = parseUserMetadata(h)
	return err
}

// withoutChunked drops "aws-chunked", which is of the transfer, not of the
// object.
func withoutChunked(values []string) string {
	var kept []string
	for _, v := range values {
		for s := range strings.SplitSeq(v, ",") {
			if s = strings.TrimSpace(s); s != "" && !strings.EqualFold(s, "aws-chunked") {
				kept = append(kept, s)
			}
		}
	}
	return strings.Join(kept, ",")
}

// parseUserMetadata reads x-amz-meta-*. Names become lower case, repeated
// headers are joined by commas. Values that are RFC 2047 encoded are decoded
// for storage; raw bytes are taken for UTF-8 if they are, else for Latin-1.
func parseUserMetadata(h http.Header) (map[string]string, error) {
	var m map[string]string
	size := 0
	for name, values := range h {
		key, ok := cutPrefixFold(name, metaPrefix)
		if !ok || key == "" {
			continue
		}
		key = strings.ToLower(key)
		v := decodeMetadata(strings.Join(values, ","))
		if m == nil {
			m = make(map[string]string)
		}
		m[key] = v
		size += len(key) + len(v)
	}
	if size > maxUserMetadata {
		return nil, fail("MetadataTooLarge").With("Size", itoa(size)).With("MaxSizeAllowed", itoa(maxUserMetadata))
	}
	return m, nil
}

// cutPrefixFold is strings.CutPrefix in any case.
func cutPrefixFold(s, prefix string) (rest string, ok bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}

// decodeMetadata undoes RFC 2047; what is malformed stays as it is.
func decodeMetadata(v string) string {
	if !utf8.ValidString(v) {
		r := make([]rune, 0, len(v))
		for _, c := range []byte(v) {
			r = append(r, rune(c))
		}
		return string(r)
	}
	if strings.Contains(v, "=?") {
		if d, err := new(mime.WordDecoder).DecodeHeader(v); err == nil && utf8.ValidString(d) {
			return d
		}
	}
	return v
}

// encodeMetadata makes a value fit for a header: as it is if it is printable
// ASCII, else RFC 2047 encoded.
func encodeMetadata(v string) string {
	for _, c := range []byte(v) {
		if (c < ' ' && c != '\t') || c > '~' {
			return mime.BEncoding.Encode("UTF-8", v)
		}
	}
	return v
}

// parseWebsiteRedirect checks x-amz-website-redirect-location.
func parseWebsiteRedirect(h http.Header) (string, error) {
	v := h.Get("X-Amz-Website-Redirect-Location")
	switch {
	case v == "", strings.HasPrefix(v, "/"), strings.HasPrefix(v, "http://"), strings.HasPrefix(v, "https://"):
		if len(v) > 2048 {
			return "", failMessage("InvalidRedirectLocation", "The length of website redirect location cannot exceed 2,048 characters.")
		}
		return v, nil
	}
	return "", fail("InvalidRedirectLocation")
}

// parseStorageClass checks x-amz-storage-class. Every class whose objects are
// at hand at once is accepted and kept as a label; the archives, whose objects
// would have to be restored first, are not offered.
func parseStorageClass(h http.Header) (string, error) {
	switch v := h.Get("X-Amz-Storage-Class"); v {
	case "", "STANDARD":
		return "", nil
	case "REDUCED_REDUNDANCY", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR":
		return v, nil
	default:
		return "", fail("InvalidStorageClass").With("StorageClassRequested", v)
	}
}

// storageClass names a stored class for documents.
func storageClass(s string) string {
	if s == "" {
		return "STANDARD"
	}
	return s
}

// responseOverrides are the parameters with which a signed GET or HEAD chooses
// response headers.
func responseOverrides(query url.Values) map[string]string {
	var m map[string]string
	for param, header := range map[string]string{
		"response-content-type":        "Content-Type",
		"response-content-language":    "Content-Language",
		"response-expires":             "Expires",
		"response-cache-control":       "Cache-Control",
		"response-content-disposition": "Content-Disposition",
		"response-content-encoding":    "Content-Encoding",
	} {
		if query.Has(param) {
			if m == nil {
				m = make(map[string]string)
			}
			m[header] = query.Get(param)
		}
	}
	return m
}
