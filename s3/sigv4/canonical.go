package sigv4

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

const upperHex = "0123456789ABCDEF"

// appendEncoded appends s percent-encoded as S3 canonicalises it: every byte
// but A-Z a-z 0-9 - . _ ~ (and, in a path, "/").
func appendEncoded(dst []byte, s string, path bool) []byte {
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9',
			c == '-', c == '.', c == '_', c == '~', c == '/' && path:
			dst = append(dst, c)
		default:
			dst = append(dst, '%', upperHex[c>>4], upperHex[c&15])
		}
	}
	return dst
}

// A parameter is one decoded item of a query.
type parameter struct{ name, value string }

// parseQuery splits a raw query in order. What net/url would drop without a
// word is refused, so that handlers see exactly what was signed.
func parseQuery(raw string) ([]parameter, *Error) {
	if raw == "" {
		return nil, nil
	}
	list := make([]parameter, 0, strings.Count(raw, "&")+1)
	for raw != "" {
		var item string
		item, raw, _ = strings.Cut(raw, "&")
		if item == "" {
			continue
		}
		if strings.Contains(item, ";") {
			return nil, errURI(item)
		}
		name, value, _ := strings.Cut(item, "=")
		n, err := unescape(name)
		if err != nil {
			return nil, errURI(item)
		}
		v, err := unescape(value)
		if err != nil {
			return nil, errURI(item)
		}
		list = append(list, parameter{n, v})
	}
	return list, nil
}

func unescape(s string) (string, error) {
	if !strings.ContainsAny(s, "%+") {
		return s, nil
	}
	return url.QueryUnescape(s)
}

// canonicalQuery encodes and sorts the parameters; the one named without is
// left out.
func canonicalQuery(dst []byte, list []parameter, without string) []byte {
	type pair struct{ name, value string }
	pairs := make([]pair, 0, len(list))
	for _, p := range list {
		if without != "" && p.name == without {
			continue
		}
		pairs = append(pairs, pair{encode(p.name), encode(p.value)})
	}
	slices.SortFunc(pairs, func(a, b pair) int {
		if c := strings.Compare(a.name, b.name); c != 0 {
			return c
		}
		return strings.Compare(a.value, b.value)
	})
	for i, p := range pairs {
		if i > 0 {
			dst = append(dst, '&')
		}
		dst = append(dst, p.name...)
		dst = append(dst, '=')
		dst = append(dst, p.value...)
	}
	return dst
}

// encode percent-encodes s, which it returns itself when nothing needs it.
func encode(s string) string {
	for i := range len(s) {
		c := s[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~' {
			continue
		}
		return string(appendEncoded(make([]byte, 0, len(s)+16), s, false))
	}
	return s
}

// appendFolded appends a header value without surrounding white space and with
// every run of spaces made one.
func appendFolded(dst []byte, v string) []byte {
	v = strings.Trim(v, " \t\r\n")
	if !strings.Contains(v, "  ") {
		return append(dst, v...)
	}
	for i := range len(v) {
		if v[i] == ' ' && v[i-1] == ' ' {
			continue
		}
		dst = append(dst, v[i])
	}
	return dst
}

// headerValues returns the values of a header by its lower-case name,
// including those that net/http keeps apart from the header map.
func headerValues(r *http.Request, name string) []string {
	switch name {
	case "host":
		return []string{r.Host}
	case "content-length":
		if v := r.Header["Content-Length"]; len(v) > 0 {
			return v
		}
		if r.ContentLength >= 0 {
			return []string{strconv.FormatInt(r.ContentLength, 10)}
		}
		return nil
	case "transfer-encoding":
		return r.TransferEncoding
	}
	var canonical [64]byte
	if len(name) > len(canonical) {
		return r.Header[http.CanonicalHeaderKey(name)]
	}
	upper := true
	for i := range len(name) {
		c := name[i]
		if upper && 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		canonical[i], upper = c, c == '-'
	}
	if v, ok := r.Header[string(canonical[:len(name)])]; ok { // no copy is made to look
		return v
	}
	return r.Header[http.CanonicalHeaderKey(name)]
}

// canonicalRequest builds the canonical request. The path is the decoded one,
// encoded once.
func canonicalRequest(r *http.Request, query []parameter, without string, signed []string, signedList, hash string) []byte {
	b := make([]byte, 0, 1024)
	b = append(b, r.Method...)
	b = append(b, '\n')
	if r.URL.Path == "" {
		b = append(b, '/')
	} else {
		b = appendEncoded(b, r.URL.Path, true)
	}
	b = append(b, '\n')
	b = canonicalQuery(b, query, without)
	b = append(b, '\n')
	for _, name := range signed {
		b = append(b, name...)
		b = append(b, ':')
		for i, v := range headerValues(r, name) {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendFolded(b, v)
		}
		b = append(b, '\n')
	}
	b = append(b, '\n')
	b = append(b, signedList...)
	b = append(b, '\n')
	return append(b, hash...)
}

// unsignedHeaders returns the x-amz-* headers (and host) that the signature
// does not cover, sorted.
func unsignedHeaders(r *http.Request, signed []string) []string {
	var missing []string
	if !slices.Contains(signed, "host") {
		missing = append(missing, "host")
	}
	for name := range r.Header {
		const prefix = "x-amz-"
		if len(name) < len(prefix) || !strings.EqualFold(name[:len(prefix)], prefix) {
			continue
		}
		// The names in signed are in lower case, so one that folds to this is it.
		if !slices.ContainsFunc(signed, func(s string) bool { return len(s) == len(name) && strings.EqualFold(s, name) }) {
			missing = append(missing, strings.ToLower(name))
		}
	}
	slices.Sort(missing)
	return missing
}
