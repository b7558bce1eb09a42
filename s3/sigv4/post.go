package sigv4

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// A Form is the text fields of a POST form, names in lower case.
type Form map[string]string

// AuthenticatePost checks the signature over a POST form's policy field. A
// form without any authentication field is anonymous. What the form says is
// vouched for only as far as its policy covers it: see package postpolicy.
// Headers of such a request are not signed at all: no x-amz-* header may be
// honoured. Auth.Body, Length and Trailer are not set.
func (v *Verifier) AuthenticatePost(r *http.Request, form Form) (Auth, error) {
	v2 := form.any("awsaccesskeyid", "signature")
	v4 := form.any(postFields()...) && (!v2 || form.any(postFields()[1:]...))
	query, e := parseQuery(r.URL.RawQuery)
	if e != nil {
		return Auth{}, e
	}
	inQuery := hasAny(query, "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature", "AWSAccessKeyId", "Signature")
	if count(v4, v2, len(r.Header["Authorization"]) > 0, inQuery) > 1 {
		return Auth{}, errMechanisms(clip(r.Header.Get("Authorization")))
	}
	switch {
	case v4:
		return v.postV4(r, form)
	case v2:
		return v.postV2(r, form)
	}
	return Auth{Kind: Anonymous, Trailer: noTrailer}, nil
}

// any reports whether one of the fields is there, even if empty.
func (f Form) any(names ...string) bool {
	return slices.ContainsFunc(names, func(n string) bool { _, ok := f[n]; return ok })
}

// postFields returns the fields of V4, all of which must be there if one is;
// policy, which V2 has too, first.
func postFields() []string {
	return []string{"policy", "x-amz-signature", "x-amz-credential", "x-amz-date", "x-amz-algorithm"}
}

func errField(name string) *Error {
	return errArgument(name, "", "Bucket POST must contain a field named '"+name+"'.  If it is specified, please check the order of the fields.")
}

func (v *Verifier) postV4(r *http.Request, form Form) (Auth, error) {
	for _, name := range postFields() {
		if _, ok := form[name]; !ok {
			return Auth{}, errField(name)
		}
	}
	if form["x-amz-algorithm"] != algorithm {
		return Auth{}, errArgument("X-Amz-Algorithm", clip(form["x-amz-algorithm"]), "Only AWS4-HMAC-SHA256 is supported")
	}
	credential := form["x-amz-credential"]
	s, e := v.parseScope(credential, func(format string, args ...any) *Error {
		e := errHeader(format, args...)
		return errArgument("x-amz-credential", clip(credential), strings.TrimPrefix(e.Message, "The authorization header is malformed; "))
	})
	if e != nil {
		return Auth{}, e
	}
	date, err := time.Parse(isoBasic, form["x-amz-date"])
	if err != nil {
		return Auth{}, errArgument("X-Amz-Date", clip(form["x-amz-date"]), "X-Amz-Date must be formated via ISO8601 Long format")
	}
	if date.Format(isoDate) != s.date {
		return Auth{}, errArgument("x-amz-credential", clip(credential), "Invalid credential date. Date is not the same as X-Amz-Date.")
	}
	now := v.c.Now()
	if date.Sub(now) > MaxSkew {
		return Auth{}, errSkewed(form["x-amz-date"], now)
	}
	if now.Sub(date) > MaxExpires*time.Second {
		// A signing key serves for seven days at most, whatever the policy says.
		return Auth{}, refuse(http.StatusForbidden, "AccessDenied", "Invalid according to Policy: Policy expired.")
	}
	if token := form["x-amz-security-token"]; token != "" {
		return Auth{}, errToken(token)
	}
	secret, err := v.secret(r.Context(), s.key)
	if err != nil {
		return Auth{}, err
	}
	if !v.matches(v.signingKey(s, secret), form["policy"], form["x-amz-signature"]) {
		return Auth{}, errSignature(s.key, form["policy"], form["x-amz-signature"], "")
	}
	return Auth{AccessKey: s.key, Kind: Post, Version: algorithm, Date: date, Age: now.Sub(date), Trailer: noTrailer}, nil
}

func (v *Verifier) postV2(r *http.Request, form Form) (Auth, error) {
	if !v.c.AllowV2 {
		return Auth{}, errMechanism()
	}
	for _, name := range []string{"policy", "AWSAccessKeyId", "signature"} {
		if _, ok := form[strings.ToLower(name)]; !ok {
			return Auth{}, errField(name)
		}
	}
	key := form["awsaccesskeyid"]
	secret, err := v.secret(r.Context(), key)
	if err != nil {
		return Auth{}, err
	}
	if !v.matchesV2(secret, form["policy"], form["signature"]) {
		return Auth{}, errSignature(key, form["policy"], form["signature"], "")
	}
	return Auth{AccessKey: key, Kind: Post, Version: "AWS", Trailer: noTrailer}, nil
}
