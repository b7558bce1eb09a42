package sigv4

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // Signature Version 2 is HMAC-SHA1
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// subresourcesV2 returns the parameters that Signature Version 2 signs. Source: S3
// Developer Guide, "Signing and authenticating REST requests".
func subresourcesV2() []string {
	return []string{
		"accelerate", "acl", "cors", "defaultObjectAcl", "delete", "encryption", "intelligent-tiering", "inventory",
		"legal-hold", "lifecycle", "location", "logging", "metrics", "notification", "object-lock", "ownershipControls",
		"partNumber", "policy", "policyStatus", "publicAccessBlock", "replication", "requestPayment",
		"response-cache-control", "response-content-disposition", "response-content-encoding",
		"response-content-language", "response-content-type", "response-expires", "restore", "retention", "select",
		"select-type", "tagging", "torrent", "uploadId", "uploads", "versionId", "versioning", "versions", "website", "attributes",
	}
}

func (v *Verifier) headerV2(r *http.Request, query []parameter, rest string) (Auth, error) {
	if !v.c.AllowV2 {
		return Auth{}, errMechanism()
	}
	key, signature, ok := strings.Cut(rest, ":")
	if !ok || key == "" || signature == "" {
		return Auth{}, errArgument("Authorization", clip("AWS "+rest), "AWS authorization header is invalid.  Expected AwsAccessKeyId:signature")
	}
	date, given, e := requestDate(r)
	if e != nil {
		return Auth{}, e
	}
	now := v.c.Now()
	if age := now.Sub(date); age > MaxSkew || age < -MaxSkew {
		return Auth{}, errSkewed(given, now)
	}
	line := r.Header.Get("Date")
	if _, ok := r.Header["X-Amz-Date"]; ok {
		line = ""
	}
	a := Auth{AccessKey: key, Kind: HeaderV2, Version: "AWS", Date: date, Age: now.Sub(date)}
	return v.finishV2(r, query, a, line, signature)
}

func (v *Verifier) presignedV2(r *http.Request, query []parameter) (Auth, error) {
	if !v.c.AllowV2 {
		return Auth{}, errMechanism()
	}
	p := make(map[string]string, 3)
	for _, q := range query {
		if q.name == "AWSAccessKeyId" || q.name == "Signature" || q.name == "Expires" {
			if _, twice := p[q.name]; twice || q.value == "" {
				p = nil
				break
			}
			p[q.name] = q.value
		}
	}
	if len(p) != 3 {
		return Auth{}, refuse(http.StatusForbidden, "AccessDenied", "Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters")
	}
	seconds, err := strconv.ParseInt(p["Expires"], 10, 64)
	if err != nil {
		return Auth{}, refuse(http.StatusForbidden, "AccessDenied", "Invalid date (should be seconds since epoch): "+clip(p["Expires"]))
	}
	now := v.c.Now()
	expires := time.Unix(seconds, 0)
	if now.After(expires) {
		return Auth{}, errExpired(-1, expires, now)
	}
	a := Auth{AccessKey: p["AWSAccessKeyId"], Kind: PresignedV2, Version: "AWS"}
	return v.finishV2(r, query, a, p["Expires"], p["Signature"])
}

// finishV2 compares the signature and fits the body.
func (v *Verifier) finishV2(r *http.Request, query []parameter, a Auth, date, signature string) (Auth, error) {
	if token := r.Header.Get("X-Amz-Security-Token"); token != "" {
		return Auth{}, errToken(token)
	}
	if a.Hash = r.Header.Get("X-Amz-Content-Sha256"); a.Hash != "" {
		var e *Error
		if a.Payload, e = parsePayload(a.Hash); e != nil {
			return Auth{}, e
		}
		if a.Payload == StreamSigned || a.Payload == StreamSignedTrailer {
			return Auth{}, errMechanism() // there is no V4 signature to chain from
		}
	}
	secret, err := v.secret(r.Context(), a.AccessKey)
	if err != nil {
		return Auth{}, err
	}
	toSign := v.stringToSignV2(r, query, date)
	if !v.matchesV2(secret, toSign, signature) {
		return Auth{}, errSignature(a.AccessKey, toSign, signature, "")
	}
	return v.withBody(r, a, seed{})
}

func (v *Verifier) matchesV2(secret, toSign, signature string) bool {
	h := hmac.New(sha1.New, []byte(secret))
	h.Write([]byte(toSign))
	want := base64.StdEncoding.EncodeToString(h.Sum(nil))
	return subtle.ConstantTimeCompare([]byte(want), []byte(signature)) == 1 || v.acceptAny
}

func (v *Verifier) stringToSignV2(r *http.Request, query []parameter, date string) string {
	var b strings.Builder
	for _, s := range []string{r.Method, r.Header.Get("Content-Md5"), r.Header.Get("Content-Type"), date} {
		b.WriteString(s)
		b.WriteByte('\n')
	}
	var names []string
	for name := range r.Header {
		if lower := strings.ToLower(name); strings.HasPrefix(lower, "x-amz-") {
			names = append(names, lower)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		b.WriteString(name)
		b.WriteByte(':')
		for i, value := range r.Header[http.CanonicalHeaderKey(name)] {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(strings.TrimSpace(value))
		}
		b.WriteByte('\n')
	}
	if v.c.HostBucket != nil {
		if bucket := v.c.HostBucket(r.Host); bucket != "" {
			b.WriteByte('/')
			b.WriteString(bucket)
		}
	}
	b.WriteString(r.URL.EscapedPath())
	separator, subresources := byte('?'), subresourcesV2()
	signed := slices.Clone(query)
	slices.SortStableFunc(signed, func(a, b parameter) int { return strings.Compare(a.name, b.name) })
	for _, q := range signed {
		if !slices.Contains(subresources, q.name) {
			continue
		}
		b.WriteByte(separator)
		separator = '&'
		b.WriteString(q.name)
		if q.value != "" {
			b.WriteByte('=')
			b.WriteString(q.value)
		}
	}
	return b.String()
}
