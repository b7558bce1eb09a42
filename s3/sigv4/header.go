package sigv4

import (
	"net/http"
	"strings"
	"time"
)

// header authenticates by the Authorization header.
func (v *Verifier) header(r *http.Request, query []parameter, value string) (Auth, error) {
	kind, rest, ok := strings.Cut(value, " ")
	if !ok || kind == "" {
		return Auth{}, errArgument("Authorization", clip(value), "Authorization header is invalid -- one and only one ' ' (space) required.")
	}
	switch kind {
	case algorithm:
		return v.headerV4(r, query, rest)
	case algorithmA:
		return Auth{}, errNotImplemented("Authorization")
	case "AWS":
		return v.headerV2(r, query, rest)
	}
	return Auth{}, errArgument("Authorization", clip(kind), "Unsupported Authorization Type")
}

type components struct{ credential, signedHeaders, signature string }

// parseComponents reads "Credential=…, SignedHeaders=…, Signature=…".
func parseComponents(rest string) (components, *Error) {
	var c components
	if strings.Count(rest, ",") != 2 {
		return c, errHeader("the authorization header requires three components: Credential, SignedHeaders, and Signature.")
	}
	for p := range strings.SplitSeq(rest, ",") {
		p = strings.TrimSpace(p)
		name, value, ok := strings.Cut(p, "=")
		if !ok || name == "" || value == "" {
			return components{}, errHeader("the authorization component %q is malformed.", clip(p))
		}
		switch name {
		case "Credential":
			c.credential = value
		case "SignedHeaders":
			c.signedHeaders = value
		case "Signature":
			c.signature = value
		}
	}
	missing := ""
	switch {
	case c.credential == "":
		missing = "Credential"
	case c.signedHeaders == "":
		missing = "SignedHeaders"
	case c.signature == "":
		missing = "Signature"
	default:
		return c, nil
	}
	return components{}, errHeader("missing %s.", missing)
}

func (v *Verifier) headerV4(r *http.Request, query []parameter, rest string) (Auth, error) {
	c, e := parseComponents(rest)
	if e != nil {
		return Auth{}, e
	}
	s, e := v.parseScope(c.credential, errHeader)
	if e != nil {
		if strings.Contains(e.Message, "the region ") {
			e.Fields = append(e.Fields, Field{"Region", v.c.Region})
		}
		return Auth{}, e
	}
	date, given, e := requestDate(r)
	if e != nil {
		return Auth{}, e
	}
	if date.Format(isoDate) != s.date {
		// S3 words this one with the introduction twice.
		return Auth{}, errHeader("The authorization header is malformed; Invalid credential date. Date is not the same as X-Amz-Date.")
	}
	now := v.c.Now()
	if age := now.Sub(date); age > MaxSkew || age < -MaxSkew {
		return Auth{}, errSkewed(given, now)
	}
	if token := r.Header.Get("X-Amz-Security-Token"); token != "" {
		return Auth{}, errToken(token)
	}
	signed, ok := parseSigned(c.signedHeaders)
	if !ok {
		return Auth{}, errHeader("the authorization component %q is malformed.", clip("SignedHeaders="+c.signedHeaders))
	}
	if missing := unsignedHeaders(r, signed); len(missing) > 0 && !v.acceptUnsigned {
		return Auth{}, errUnsignedHeaders(missing)
	}
	hash := r.Header.Get("X-Amz-Content-Sha256")
	if hash == "" {
		return Auth{}, refuse(http.StatusBadRequest, "InvalidRequest", "Missing required header for this request: x-amz-content-sha256")
	}
	a := Auth{AccessKey: s.key, Kind: Header, Version: algorithm, Date: date, Age: now.Sub(date), Hash: hash}
	if a.Payload, e = parsePayload(hash); e != nil {
		return Auth{}, e
	}
	secret, err := v.secret(r.Context(), s.key)
	if err != nil {
		return Auth{}, err
	}
	key := v.signingKey(s, secret)
	canonical := canonicalRequest(r, query, "", signed, c.signedHeaders, hash)
	stamp := date.Format(isoBasic)
	toSign := stringToSign(stamp, s.text, canonical)
	if !v.matches(key, toSign, c.signature) {
		return Auth{}, errSignature(s.key, toSign, c.signature, string(canonical))
	}
	return v.withBody(r, a, seed{key: key, accessKey: s.key, date: stamp, scope: s.text, signature: c.signature})
}

// requestDate returns x-amz-date or Date, and as the request gave it.
func requestDate(r *http.Request) (time.Time, string, *Error) {
	given, ok := r.Header["X-Amz-Date"]
	if !ok {
		given = r.Header["Date"]
	}
	if len(given) != 1 {
		return time.Time{}, "", errMissingDate()
	}
	for _, layout := range []string{isoBasic, http.TimeFormat, time.RFC1123Z, time.RFC850, time.ANSIC} {
		if t, err := time.Parse(layout, given[0]); err == nil {
			return t.UTC(), given[0], nil
		}
	}
	return time.Time{}, "", errMissingDate()
}

func (v *Verifier) anonymous(r *http.Request) (Auth, error) {
	a := Auth{Kind: Anonymous, Hash: r.Header.Get("X-Amz-Content-Sha256")}
	if a.Hash != "" {
		var e *Error
		if a.Payload, e = parsePayload(a.Hash); e != nil && e.Code == "InvalidArgument" {
			a.Payload = Hashed // S3 takes it for a hash, which no body has
		} else if e != nil {
			return Auth{}, e
		}
		if a.Payload == StreamSigned || a.Payload == StreamSignedTrailer {
			return Auth{}, refuse(http.StatusBadRequest, "InvalidRequest",
				"Anonymous requests don't support this x-amz-content-sha256 value. Please use UNSIGNED-PAYLOAD or STREAMING-UNSIGNED-PAYLOAD-TRAILER.")
		}
	}
	return v.withBody(r, a, seed{})
}
