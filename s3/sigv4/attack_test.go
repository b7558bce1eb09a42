package sigv4

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

func attackTime() time.Time { return time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC) }

// signedPut is a request with many signed parts.
func signedPut(t testing.TB, headers ...string) *http.Request {
	t.Helper()
	r := client(t, "PUT", "/bucket/dir/key", "partNumber=1&uploadId=abc", "the body")
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	signHeader(t, r, hashOf("the body"), attackTime())
	return received(t, r)
}

func presignedPut(t testing.TB, extra string) *http.Request {
	t.Helper()
	r := client(t, "PUT", "/bucket/dir/key", "X-Amz-Expires=600&partNumber=1&uploadId=abc"+extra, "")
	signed, _, err := sdkSigner().PresignHTTP(context.Background(), sdkCredentials(), r, unsignedPayload, "s3", "us-east-1", attackTime())
	if err != nil {
		t.Fatal(err)
	}
	return httptest.NewRequest("PUT", signed, nil)
}

// TestEveryMutationIsRefused changes each part that a signature covers.
func TestEveryMutationIsRefused(t *testing.T) {
	mutations := map[string]func(r *http.Request){
		"method":            func(r *http.Request) { r.Method = "DELETE" },
		"path":              func(r *http.Request) { r.URL.Path = "/bucket/dir/kez" },
		"path dot dot":      func(r *http.Request) { r.URL.Path = "/bucket/x/../dir/key" },
		"path double slash": func(r *http.Request) { r.URL.Path = "/bucket//dir/key" },
		"path NUL":          func(r *http.Request) { r.URL.Path = "/bucket/dir/key\x00" },
		"host":              func(r *http.Request) { r.Host = "evil.test" },
		"query value": func(r *http.Request) {
			r.URL.RawQuery = strings.Replace(r.URL.RawQuery, "partNumber=1", "partNumber=2", 1)
		},
		"query added":         func(r *http.Request) { r.URL.RawQuery += "&versionId=null" },
		"query twice":         func(r *http.Request) { r.URL.RawQuery += "&partNumber=1" },
		"query twice before":  func(r *http.Request) { r.URL.RawQuery = "partNumber=2&" + r.URL.RawQuery },
		"query removed":       func(r *http.Request) { r.URL.RawQuery = strings.Replace(r.URL.RawQuery, "partNumber=1&", "", 1) },
		"query semicolon":     func(r *http.Request) { r.URL.RawQuery += "&a;b=c" },
		"query escape":        func(r *http.Request) { r.URL.RawQuery += "&a=%zz" },
		"unsigned x-amz":      func(r *http.Request) { r.Header.Set("X-Amz-Copy-Source", "other/secret") },
		"unsigned x-amz-acl":  func(r *http.Request) { r.Header.Set("X-Amz-Acl", "public-read") },
		"unsigned meta":       func(r *http.Request) { r.Header.Set("X-Amz-Meta-X", "y") },
		"unsigned odd case":   func(r *http.Request) { r.Header["x-AMZ-acl"] = []string{"public-read"} },
		"unsigned empty":      func(r *http.Request) { r.Header.Set("X-Amz-Tagging", "") },
		"authorization twice": func(r *http.Request) { r.Header.Add("Authorization", "AWS4-HMAC-SHA256 x") },
	}
	for name, mutate := range mutations {
		for kind, r := range map[string]*http.Request{"header": signedPut(t), "presigned": presignedPut(t, "")} {
			if _, err := verifierAt(attackTime()).Authenticate(r); err != nil {
				t.Fatalf("%s before: %v", kind, err)
			}
			mutate(r)
			if _, err := verifierAt(attackTime()).Authenticate(r); err == nil {
				t.Errorf("%s %s: accepted", kind, name)
			}
		}
	}
}

// TestEverySignedHeaderCounts changes, drops and doubles each signed header.
func TestEverySignedHeaderCounts(t *testing.T) {
	headers := []string{"Content-Type", "text/plain", "Content-Md5", "x", "X-Amz-Acl", "private", "X-Amz-Meta-A", "b", "X-Amz-Storage-Class", "STANDARD"}
	for _, name := range []string{"Content-Type", "Content-Md5", "X-Amz-Acl", "X-Amz-Meta-A", "X-Amz-Storage-Class", "X-Amz-Date", "X-Amz-Content-Sha256", "Content-Length"} {
		for how, change := range map[string]func(r *http.Request){
			"changed": func(r *http.Request) { r.Header.Set(name, r.Header.Get(name)+"1") },
			"dropped": func(r *http.Request) { r.Header.Del(name); r.ContentLength = -1 },
			"twice":   func(r *http.Request) { r.Header.Add(name, "evil") },
			"before":  func(r *http.Request) { r.Header[name] = append([]string{"evil"}, r.Header[name]...) },
		} {
			r := signedPut(t, headers...)
			change(r)
			if _, err := verifierAt(attackTime()).Authenticate(r); err == nil {
				t.Errorf("%s %s: accepted", name, how)
			}
		}
	}
}

// TestUnsignedHeadersAreNamed checks the words, and by its negative control
// that the check is what refuses.
func TestUnsignedHeadersAreNamed(t *testing.T) {
	for _, r := range []*http.Request{signedPut(t), presignedPut(t, "")} {
		r.Header.Set("X-Amz-Tagging", "a=b")
		r.Header.Set("X-Amz-Copy-Source", "other/secret")
		_, err := verifierAt(attackTime()).Authenticate(r)
		var e *Error
		if !errors.As(err, &e) || e.Code != "AccessDenied" || e.Message != "There were headers present in the request which were not signed" ||
			!slices.Contains(e.Fields, Field{"HeadersNotSigned", "x-amz-copy-source, x-amz-tagging"}) {
			t.Errorf("%v", err)
		}
		v := verifierAt(attackTime())
		v.acceptUnsigned = true
		if _, err := v.Authenticate(r); err != nil {
			t.Errorf("with the check off: %v", err)
		}
	}
}

// TestOtherHeadersNeedNoSignature: S3 asks it of x-amz-* and host alone.
func TestOtherHeadersNeedNoSignature(t *testing.T) {
	for _, r := range []*http.Request{signedPut(t), presignedPut(t, "")} {
		r.Header.Set("X-Custom-Header", "v")
		r.Header.Set("User-Agent", "proxy")
		r.Header.Set("X-Forwarded-For", "1.2.3.4")
		r.Header.Set("X-Amzn-Trace-Id", "Root=1")
		if _, err := verifierAt(attackTime()).Authenticate(r); err != nil {
			t.Error(err)
		}
	}
}

// TestHostMustBeSigned: otherwise a signature serves on every virtual host.
func TestHostMustBeSigned(t *testing.T) {
	r := request("GET", "/k", "a.s3.test", "", "X-Amz-Date", "20130524T000000Z", "X-Amz-Content-Sha256", emptyHash)
	key := deriveKey(exampleSecret, "20130524", "us-east-1")
	signed := []string{"x-amz-content-sha256", "x-amz-date"}
	c := canonicalRequest(r, nil, "", signed, strings.Join(signed, ";"), emptyHash)
	sig := fmt.Sprintf("%x", mac(key[:], stringToSign("20130524T000000Z", "20130524/us-east-1/s3/aws4_request", c)))
	r.Header.Set("Authorization", exampleScope+"SignedHeaders="+strings.Join(signed, ";")+",Signature="+sig)
	if _, err := verifierAt(exampleTime()).Authenticate(r); code(err) != "AccessDenied" {
		t.Error(err)
	}
	v := verifierAt(exampleTime())
	v.acceptUnsigned = true
	if _, err := v.Authenticate(r); err != nil {
		t.Errorf("with the check off: %v", err)
	}
}

// TestClock moves the server's clock around a header signature.
func TestClock(t *testing.T) {
	for offset, want := range map[time.Duration]string{0: "OK", 14 * time.Minute: "OK", -14 * time.Minute: "OK",
		16 * time.Minute: "RequestTimeTooSkewed", -16 * time.Minute: "RequestTimeTooSkewed", 5 * 24 * time.Hour: "RequestTimeTooSkewed"} {
		if _, err := verifierAt(attackTime().Add(offset)).Authenticate(signedPut(t)); code(err) != want {
			t.Errorf("%v: %v, want %s", offset, err, want)
		}
	}
}

// TestExpiry checks X-Amz-Expires and its words.
func TestExpiry(t *testing.T) {
	const tooLong = "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than 604800 seconds"
	for expires, want := range map[string]string{"1": "OK", "604800": "OK", "604801": tooLong, "99999999999999999999": tooLong,
		"0": "Request has expired.", "-1": "X-Amz-Expires must be non-negative", "-99999999999999999999": "X-Amz-Expires must be non-negative",
		"abc": "X-Amz-Expires should be a number", "1e3": "X-Amz-Expires should be a number", "%2B5": "X-Amz-Expires should be a number"} {
		r := client(t, "GET", "/bucket/key", "X-Amz-Expires="+expires, "")
		signed, _, err := sdkSigner().PresignHTTP(context.Background(), sdkCredentials(), r, unsignedPayload, "s3", "us-east-1", attackTime())
		if err != nil {
			t.Fatal(err)
		}
		_, err = verifierAt(attackTime()).Authenticate(httptest.NewRequest("GET", signed, nil))
		got := "OK"
		var e *Error
		if errors.As(err, &e) {
			got = e.Message
		}
		if got != want {
			t.Errorf("expires %s: %q, want %q", expires, got, want)
		}
	}
}

// TestScopes checks the words about wrong scopes, in headers and queries.
func TestScopes(t *testing.T) {
	date := attackTime().Format(isoDate)
	for scope, want := range map[string]string{
		"20200101/us-east-1/s3/aws4_request":         "!Invalid credential date",
		date + "/eu-west-1/s3/aws4_request":          `the region "eu-west-1" is wrong; expecting "us-east-1"`,
		date + "/us-east-1/ec2/aws4_request":         `incorrect service "ec2". This endpoint belongs to "s3".`,
		date + "/us-east-1/s3/aws5_request":          `incorrect terminal "aws5_request". This endpoint uses "aws4_request".`,
		"2026051/us-east-1/s3/aws4_request":          `incorrect date format "2026051". This date in the credential must be in the format "yyyyMMdd".`,
		date + "/us-east-1/s3/aws4_request/x":        `the Credential is mal-formed; expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".`,
		date + "/us-east-1/aws4_request":             `the Credential is mal-formed; expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".`,
		"/" + date + "/us-east-1/s3/aws4_request":    `the Credential is mal-formed; expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".`,
		date + "/us-east-1/s3/aws4_request%00":       "incorrect terminal",
		date + "/us%2Deast-1/s3/aws4_request%20":     "",
		strings.Repeat("a/", 5000) + "/aws4_request": "the Credential is mal-formed",
	} {
		h := signedPut(t)
		right := exampleKey + "/" + date + "/us-east-1/s3/aws4_request"
		h.Header.Set("Authorization", strings.Replace(h.Header.Get("Authorization"), right, exampleKey+"/"+scope, 1))
		p := presignedPut(t, "")
		p.URL.RawQuery = strings.Replace(p.URL.RawQuery, url.QueryEscape(right), strings.ReplaceAll(exampleKey+"/"+scope, "/", "%2F"), 1)
		for kind, r := range map[string]*http.Request{"header": h, "presigned": p} {
			_, err := verifierAt(attackTime()).Authenticate(r)
			var e *Error
			if !errors.As(err, &e) || !strings.Contains(e.Message, strings.TrimPrefix(want, "!")) {
				t.Errorf("%s %.60s: %v, want %s", kind, scope, err, want)
			}
		}
	}
}

// TestOneMechanism: two ways to say who one is are none.
func TestOneMechanism(t *testing.T) {
	const want = "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the Authorization header should be specified"
	h := signedPut(t)
	p := presignedPut(t, "")
	p.Header.Set("Authorization", h.Header.Get("Authorization"))
	v2 := presignedPut(t, "&Signature=x&AWSAccessKeyId=y&Expires=1")
	twice := signedPut(t)
	twice.Header.Add("Authorization", twice.Header.Get("Authorization"))
	for name, r := range map[string]*http.Request{"header and presigned": p, "presigned and V2": v2, "two headers": twice} {
		_, err := verifierAt(attackTime(), func(c *Config) { c.AllowV2 = true }).Authenticate(r)
		var e *Error
		if !errors.As(err, &e) || e.Code != "InvalidArgument" || e.Message != want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestPresignedParameters: each is needed, once.
func TestPresignedParameters(t *testing.T) {
	for _, name := range []string{"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature", "X-Amz-Date", "X-Amz-SignedHeaders", "X-Amz-Expires"} {
		for how, change := range map[string]func(url.Values){"missing": func(q url.Values) { q.Del(name) }, "empty": func(q url.Values) { q.Set(name, "") },
			"twice": func(q url.Values) { q.Add(name, q.Get(name)) }} {
			r := presignedPut(t, "")
			q := r.URL.Query()
			change(q)
			r.URL.RawQuery = q.Encode()
			if _, err := verifierAt(attackTime()).Authenticate(r); code(err) != "AuthorizationQueryParametersError" {
				t.Errorf("%s %s: %v", name, how, err)
			}
		}
	}
	// Without any of the three that mark it, it is an anonymous request.
	r := presignedPut(t, "")
	r.URL.RawQuery = "X-Amz-Date=20260501T120000Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host"
	if a, err := verifierAt(attackTime()).Authenticate(r); err != nil || a.Kind != Anonymous {
		t.Errorf("%v, %v", a.Kind, err)
	}
}

// TestHeaderWords checks the malformed Authorization headers.
func TestHeaderWords(t *testing.T) {
	for value, want := range map[string]string{
		"invalid_header":           "Authorization header is invalid -- one and only one ' ' (space) required.",
		"":                         "Authorization header is invalid -- one and only one ' ' (space) required.",
		"AWS2-HMAC-SHA1 x":         "Unsupported Authorization Type",
		"Bearer token":             "Unsupported Authorization Type",
		"AWS key:signature":        "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
		"AWS4-ECDSA-P256-SHA256 x": "A header you provided implies functionality that is not implemented",
		"AWS4-HMAC-SHA256 ":        "The authorization header is malformed; the authorization header requires three components: Credential, SignedHeaders, and Signature.",
		"AWS4-HMAC-SHA256 Credential=a,SignedHeaders-b,Signature=c":                                     `The authorization header is malformed; the authorization component "SignedHeaders-b" is malformed.`,
		"AWS4-HMAC-SHA256 x=a,SignedHeaders=b,Signature=c":                                              "The authorization header is malformed; missing Credential.",
		"AWS4-HMAC-SHA256 Credential=a,x=b,Signature=c":                                                 "The authorization header is malformed; missing SignedHeaders.",
		"AWS4-HMAC-SHA256 Credential=a,SignedHeaders=b,x=c":                                             "The authorization header is malformed; missing Signature.",
		exampleScope + "SignedHeaders=Host;x-amz-date,Signature=00":                                     `The authorization header is malformed; the authorization component "SignedHeaders=Host;x-amz-date" is malformed.`,
		exampleScope + "SignedHeaders=host;;x-amz-date,Signature=00":                                    `The authorization header is malformed; the authorization component "SignedHeaders=host;;x-amz-date" is malformed.`,
		exampleScope + "SignedHeaders=host;host;x-amz-content-sha256;x-amz-date,Signature=" + emptyHash: `The authorization header is malformed; the authorization component "SignedHeaders=host;host;x-amz-content-sha256;x-amz-date" is malformed.`,
	} {
		r := request("GET", "/bucket", "s3.test", "", "Authorization", value, "X-Amz-Date", "20130524T000000Z", "X-Amz-Content-Sha256", emptyHash)
		_, err := verifierAt(exampleTime()).Authenticate(r)
		var e *Error
		if !errors.As(err, &e) || e.Message != want {
			t.Errorf("%q: %v, want %s", value, err, want)
		}
	}
}

// TestSignaturesThatAreNone: near misses of a right signature.
func TestSignaturesThatAreNone(t *testing.T) {
	for name, change := range map[string]func(string) string{
		"upper case": strings.ToUpper,
		"truncated":  func(s string) string { return s[:63] },
		"longer":     func(s string) string { return s + "0" },
		"zero":       func(s string) string { return strings.Repeat("0", 64) },
		"space":      func(s string) string { return s[:63] + " " },
	} {
		r := signedPut(t)
		auth := r.Header.Get("Authorization")
		i := strings.LastIndex(auth, "=") + 1
		r.Header.Set("Authorization", auth[:i]+change(auth[i:]))
		if _, err := verifierAt(attackTime()).Authenticate(r); code(err) != "SignatureDoesNotMatch" {
			t.Errorf("%s: %v", name, err)
		}
		v := verifierAt(attackTime())
		v.acceptAny = true
		if _, err := v.Authenticate(r); err != nil {
			t.Errorf("%s with the check off: %v", name, err)
		}
	}
}

// TestKeys: unknown, empty-secret and failing look-ups; a rotated secret.
func TestKeys(t *testing.T) {
	broken := errors.New("catalog is away")
	secret := exampleSecret
	var failure error
	v := New(Config{Now: attackTime, Lookup: func(context.Context, string) (string, error) { return secret, failure }})
	try := func(want string) {
		t.Helper()
		if _, err := v.Authenticate(signedPut(t)); code(err) != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	try("OK")
	secret = "another secret"
	try("SignatureDoesNotMatch")
	secret = ""
	try("InvalidAccessKeyId")
	secret = exampleSecret
	try("OK")
	failure = broken
	if _, err := v.Authenticate(signedPut(t)); !errors.Is(err, broken) {
		t.Error(err)
	}
}

// TestNoSecretInErrors looks for the secret in everything that a refusal says.
func TestNoSecretInErrors(t *testing.T) {
	r := signedPut(t)
	r.Header.Set("Content-Length", "9")
	_, err := verifierAt(attackTime()).Authenticate(r)
	if text := fmt.Sprintf("%+v %#v", err, err); strings.Contains(text, exampleSecret) || code(err) != "SignatureDoesNotMatch" {
		t.Error(text)
	}
}

// TestHashedBody: a body that is not what its hash says never ends well.
func TestHashedBody(t *testing.T) {
	for body, want := range map[string]string{"the body": "OK", "the bodz": "XAmzContentSHA256Mismatch", "the body ": "XAmzContentSHA256Mismatch",
		"the bod": "XAmzContentSHA256Mismatch", "": "XAmzContentSHA256Mismatch"} {
		r := signedPut(t)
		r.Body = io.NopCloser(strings.NewReader(body))
		a, err := verifierAt(attackTime()).Authenticate(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(a.Body); code(err) != want {
			t.Errorf("%q: %v, want %s", body, err, want)
		}
		if want != "OK" {
			if _, err := a.Body.Read(make([]byte, 1)); code(err) != want {
				t.Errorf("%q again: %v", body, err)
			}
		}
	}
	// A body that is known to be empty is refused before anything is done.
	r := client(t, "PUT", "/bucket/key", "tagging=", "")
	signHeader(t, r, hashOf("x"), attackTime())
	if _, err := verifierAt(attackTime()).Authenticate(received(t, r)); code(err) != "XAmzContentSHA256Mismatch" {
		t.Error(err)
	}
}

// TestContentHashWords checks what x-amz-content-sha256 may be.
func TestContentHashWords(t *testing.T) {
	for value, want := range map[string]string{"invalid": "InvalidArgument", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD": "NotImplemented",
		"STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER": "NotImplemented", strings.Repeat("g", 64): "InvalidArgument", "": "InvalidRequest"} {
		r := signedPut(t)
		r.Header.Set("X-Amz-Content-Sha256", value)
		if _, err := verifierAt(attackTime()).Authenticate(r); code(err) != want {
			t.Errorf("%q: %v, want %s", value, err, want)
		}
	}
	for value, want := range map[string]string{streamSigned: "InvalidRequest", streamSignedTrailer: "InvalidRequest", streamECDSA: "NotImplemented", unsignedPayload: "OK", "": "OK"} {
		r := request("PUT", "/bucket/key", "s3.test", "body", "X-Amz-Content-Sha256", value, "X-Amz-Decoded-Content-Length", "1")
		if _, err := verifierAt(attackTime()).Authenticate(r); code(err) != want {
			t.Errorf("anonymous %q: %v, want %s", value, err, want)
		}
	}
}

// TestQueryCredentialsAlone: credentials in the query never open a stream
// whose content hash is unsigned (MinIO CVE-2026-41145).
func TestQueryCredentialsAlone(t *testing.T) {
	r := httptest.NewRequest("PUT", "/bucket/key?X-Amz-Credential="+exampleKey+"%2F20260501%2Fus-east-1%2Fs3%2Faws4_request",
		strings.NewReader("5\r\nhello\r\n0\r\n\r\n"))
	r.Header.Set("X-Amz-Content-Sha256", streamUnsignedTrailer)
	r.Header.Set("X-Amz-Decoded-Content-Length", "5")
	if _, err := verifierAt(attackTime()).Authenticate(r); code(err) != "AuthorizationQueryParametersError" {
		t.Error(err)
	}
}

// TestAnonymousHash: an anonymous body has no signature but can have a hash.
func TestAnonymousHash(t *testing.T) {
	for value, want := range map[string]string{hashOf("body"): "OK", hashOf("other"): "XAmzContentSHA256Mismatch", "invalid": "XAmzContentSHA256Mismatch"} {
		a, err := verifierAt(attackTime()).Authenticate(request("PUT", "/bucket/key", "s3.test", "body", "X-Amz-Content-Sha256", value))
		if err == nil {
			_, err = io.ReadAll(a.Body)
		}
		if code(err) != want {
			t.Errorf("%q: %v, want %s", value, err, want)
		}
	}
}
