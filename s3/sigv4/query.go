package sigv4

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// presigned authenticates by the query.
func (v *Verifier) presigned(r *http.Request, query []parameter) (Auth, error) {
	p, e := presignedParameters(query)
	if e != nil {
		return Auth{}, e
	}
	s, e := v.parseScope(p["X-Amz-Credential"], func(format string, args ...any) *Error {
		return errQuery("Error parsing the X-Amz-Credential parameter; "+format, args...)
	})
	if e != nil {
		return Auth{}, e
	}
	stamp := p["X-Amz-Date"]
	date, err := time.Parse(isoBasic, stamp)
	if err != nil {
		return Auth{}, errQuery("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"")
	}
	if date.Format(isoDate) != s.date {
		return Auth{}, errQuery("Invalid credential date %q. This date is not the same as X-Amz-Date: %q.", s.date, date.Format(isoDate))
	}
	now := v.c.Now()
	if e := checkExpiry(p["X-Amz-Expires"], stamp, date, now); e != nil {
		return Auth{}, e
	}
	if token := p["X-Amz-Security-Token"]; token != "" {
		return Auth{}, errToken(token)
	}
	signed, ok := parseSigned(p["X-Amz-SignedHeaders"])
	if !ok {
		return Auth{}, errQueryParameters()
	}
	if missing := unsignedHeaders(r, signed); len(missing) > 0 && !v.acceptUnsigned {
		return Auth{}, errUnsignedHeaders(missing)
	}
	hash := r.Header.Get("X-Amz-Content-Sha256")
	if hash == "" {
		hash = p["X-Amz-Content-Sha256"]
	}
	a := Auth{AccessKey: s.key, Kind: Presigned, Version: algorithm, Date: date, Age: now.Sub(date), Hash: hash}
	if hash == "" {
		hash = unsignedPayload
	} else if a.Payload, e = parsePayload(hash); e != nil {
		return Auth{}, e
	}
	secret, err := v.secret(r.Context(), s.key)
	if err != nil {
		return Auth{}, err
	}
	key := v.signingKey(s, secret)
	canonical := canonicalRequest(r, query, "X-Amz-Signature", signed, p["X-Amz-SignedHeaders"], hash)
	toSign := stringToSign(stamp, s.text, canonical)
	if !v.matches(key, toSign, p["X-Amz-Signature"]) {
		return Auth{}, errSignature(s.key, toSign, p["X-Amz-Signature"], string(canonical))
	}
	hoisted(r, query)
	return v.withBody(r, a, seed{key: key, accessKey: s.key, date: stamp, scope: s.text, signature: p["X-Amz-Signature"]})
}

// presignedParameters collects the X-Amz-… parameters of authentication; one
// given twice, or missing, is refused.
func presignedParameters(query []parameter) (map[string]string, *Error) {
	p := make(map[string]string, 8)
	for _, q := range query {
		switch q.name {
		case "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature", "X-Amz-Date",
			"X-Amz-SignedHeaders", "X-Amz-Expires", "X-Amz-Security-Token", "X-Amz-Content-Sha256":
			if _, twice := p[q.name]; twice {
				return nil, errQueryParameters()
			}
			p[q.name] = q.value
		}
	}
	for _, name := range []string{"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature", "X-Amz-Date", "X-Amz-SignedHeaders", "X-Amz-Expires"} {
		if p[name] == "" {
			return nil, errQueryParameters()
		}
	}
	switch p["X-Amz-Algorithm"] {
	case algorithm:
	case algorithmA:
		return nil, errQuery("X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\"")
	default:
		return nil, errQuery("X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256 and AWS4-ECDSA-P256-SHA256\"")
	}
	return p, nil
}

// checkExpiry decides X-Amz-Expires: 1 to MaxExpires seconds from date on.
func checkExpiry(given, stamp string, date, now time.Time) *Error {
	seconds, err := strconv.ParseInt(given, 10, 64)
	switch {
	case err != nil && strings.HasPrefix(given, "-") && isDigits(given[1:]):
		return errQuery("X-Amz-Expires must be non-negative")
	case err != nil && isDigits(given):
		return errQuery("X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than 604800 seconds")
	case err != nil || given[0] == '+':
		return errQuery("X-Amz-Expires should be a number")
	case seconds < 0:
		return errQuery("X-Amz-Expires must be non-negative")
	case seconds > MaxExpires:
		return errQuery("X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than 604800 seconds")
	}
	expires := date.Add(time.Duration(seconds) * time.Second)
	switch {
	case date.Sub(now) > MaxSkew:
		return errNotYet(stamp, expires, now)
	case seconds == 0 || now.After(expires):
		return errExpired(seconds, expires, now)
	}
	return nil
}

func isDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// hoisted puts the x-amz-* parameters of a verified presigned query among the
// headers, where SDKs took them from.
func hoisted(r *http.Request, query []parameter) {
	for _, q := range query {
		if len(q.name) <= len("x-amz-") || !strings.EqualFold(q.name[:len("x-amz-")], "x-amz-") {
			continue
		}
		switch q.name {
		case "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature", "X-Amz-Date",
			"X-Amz-SignedHeaders", "X-Amz-Expires", "X-Amz-Security-Token", "X-Amz-Content-Sha256":
			continue
		}
		if !headerSafe(q.name, q.value) {
			continue
		}
		name := http.CanonicalHeaderKey(q.name)
		if _, ok := r.Header[name]; !ok {
			r.Header[name] = []string{q.value}
		}
	}
}

// headerSafe reports whether name and value could have come as a header.
func headerSafe(name, value string) bool {
	for i := range len(name) {
		c := name[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.') {
			return false
		}
	}
	for i := range len(value) {
		if value[i] < ' ' && value[i] != '\t' || value[i] == 0x7f {
			return false
		}
	}
	return true
}
