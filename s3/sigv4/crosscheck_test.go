package sigv4

import (
	"bufio"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

func sdkCredentials() aws.Credentials {
	return aws.Credentials{AccessKeyID: exampleKey, SecretAccessKey: exampleSecret}
}

func sdkSigner() *v4.Signer {
	return v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
}

func hashOf(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// received turns a client's request into what the server gets of it, over the
// wire format of net/http.
func received(t testing.TB, out *http.Request) *http.Request {
	t.Helper()
	var b strings.Builder
	if err := out.Write(&b); err != nil {
		t.Fatal(err)
	}
	in, err := http.ReadRequest(bufio.NewReader(strings.NewReader(b.String())))
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// client builds a request to the service.
func client(t testing.TB, method, path, rawQuery, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequest(method, "http://s3.test:9000/", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.URL.Path, r.URL.RawPath, r.URL.RawQuery = path, escapePath(path), rawQuery
	if body == "" {
		r.Body, r.ContentLength = http.NoBody, 0
	}
	return r
}

// escapePath encodes a path as SDKs send it.
func escapePath(p string) string { return string(appendEncoded(nil, p, true)) }

// signHeader signs with the SDK.
func signHeader(t testing.TB, r *http.Request, hash string, at time.Time) {
	t.Helper()
	r.Header.Set("X-Amz-Content-Sha256", hash)
	if err := sdkSigner().SignHTTP(context.Background(), sdkCredentials(), r, hash, "s3", "us-east-1", at); err != nil {
		t.Fatal(err)
	}
}

// oddStrings are keys and values that canonicalisation gets wrong easily.
func oddStrings() []string {
	return []string{"plain", "with space", "plus+plus", "a%2Fb", "ünï/cödé", "日本語", "a&b=c", "semi;colon", "tilde~_-.", "quote'\"<>", "per%cent",
		"trailing/", "//double//slash", "dots/../and/./dots", "star*question?", "emoji😀", "tab\tkey", "(paren)!@#$^,"}
}

// TestSDKHeaderSignatures: whatever the SDK signs is accepted.
func TestSDKHeaderSignatures(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for _, key := range oddStrings() {
		query := url.Values{"prefix": {key}, "list-type": {"2"}, "empty": {""}, "two": {"b", "a", key}}
		r := client(t, "PUT", "/bucket/"+key, strings.ReplaceAll(query.Encode(), "+", "%20"), "body of "+key)
		r.Header.Set("Content-Type", "text/plain")
		r.Header.Set("X-Amz-Meta-Folded", "a   b    c")
		r.Header.Add("X-Amz-Meta-Twice", "one")
		r.Header.Add("X-Amz-Meta-Twice", "two")
		signHeader(t, r, hashOf("body of "+key), now)
		in := received(t, r)
		a, err := verifierAt(now).Authenticate(in)
		if err != nil {
			t.Errorf("key %q: %v", key, err)
			continue
		}
		if in.URL.Path != "/bucket/"+key || in.URL.Query().Get("prefix") != key {
			t.Errorf("key %q arrived as %q, prefix %q", key, in.URL.Path, in.URL.Query().Get("prefix"))
		}
		if b, err := io.ReadAll(a.Body); err != nil || string(b) != "body of "+key {
			t.Errorf("key %q: body %q, %v", key, b, err)
		}
	}
}

// TestSDKPresigned: whatever the SDK presigns is accepted, until it expires.
func TestSDKPresigned(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for _, key := range oddStrings() {
		query := url.Values{"X-Amz-Expires": {"600"}, "versionId": {key}}
		r := client(t, "GET", "/bucket/"+key, query.Encode(), "")
		signed, headers, err := sdkSigner().PresignHTTP(context.Background(), sdkCredentials(), r, unsignedPayload, "s3", "us-east-1", now)
		if err != nil {
			t.Fatal(err)
		}
		in := httptest.NewRequest("GET", signed, nil)
		for name, values := range headers {
			if name != "Host" {
				in.Header[name] = values
			}
		}
		for after, want := range map[time.Duration]string{0: "OK", 599 * time.Second: "OK", 601 * time.Second: "AccessDenied", -16 * time.Minute: "AccessDenied"} {
			if _, err := verifierAt(now.Add(after)).Authenticate(in); code(err) != want {
				t.Errorf("key %q after %v: %v, want %s", key, after, err, want)
			}
		}
	}
}

// TestHoistedHeaders: what the SDK moves into a presigned query stands for
// headers again.
func TestHoistedHeaders(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	r := client(t, "PUT", "/bucket/key", "X-Amz-Expires=600&x-amz-checksum-crc32=AAAAAA%3D%3D&x-amz-bad=a%0Ab", "")
	signed, _, err := sdkSigner().PresignHTTP(context.Background(), sdkCredentials(), r, unsignedPayload, "s3", "us-east-1", now)
	if err != nil {
		t.Fatal(err)
	}
	in := httptest.NewRequest("PUT", signed, nil)
	if _, err := verifierAt(now).Authenticate(in); err != nil {
		t.Fatal(err)
	}
	if got := in.Header.Get("X-Amz-Checksum-Crc32"); got != "AAAAAA==" {
		t.Errorf("checksum header %q", got)
	}
	if in.Header.Get("X-Amz-Bad") != "" || in.Header.Get("X-Amz-Signature") != "" || in.Header.Get("X-Amz-Credential") != "" {
		t.Errorf("headers %v", in.Header)
	}
	// Anonymous requests hoist nothing.
	in = httptest.NewRequest("PUT", "/bucket/key?x-amz-acl=public-read", nil)
	if _, err := verifierAt(now).Authenticate(in); err != nil || in.Header.Get("X-Amz-Acl") != "" {
		t.Errorf("anonymous: %v, %v", err, in.Header)
	}
}

// A stream is an aws-chunked body made with the SDK's stream signer.
type stream struct {
	kind    string
	sizes   []int // of the chunks
	trailer string
	length  string // x-amz-decoded-content-length, "" for the true one
	declare string // x-amz-trailer, "" for the trailer's own name
	// change edits the parts (one per chunk, then the trailer) after signing.
	change func(parts []string) []string
}

func (s stream) content() string {
	total := 0
	for _, n := range s.sizes {
		total += n
	}
	rng := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, total)
	for i := range b {
		b[i] = byte('a' + rng.IntN(26))
	}
	return string(b)
}

// request builds and signs the request as an SDK would.
func (s stream) request(t testing.TB, now time.Time) *http.Request {
	t.Helper()
	content := s.content()
	r := client(t, "PUT", "/bucket/key", "", "x")
	r.Header.Set("Content-Encoding", "aws-chunked")
	length := s.length
	if length == "" {
		length = fmt.Sprint(len(content))
	}
	r.Header.Set("X-Amz-Decoded-Content-Length", length)
	declare := s.declare
	if declare == "" && s.trailer != "" {
		declare, _, _ = strings.Cut(s.trailer, ":")
	}
	if declare != "" {
		r.Header.Set("X-Amz-Trailer", declare)
	}
	r.ContentLength = -1
	signHeader(t, r, s.kind, now)
	body := strings.Join(s.parts(t, r, content, now), "")
	r.Body = io.NopCloser(strings.NewReader(body))
	return received(t, r)
}

func (s stream) parts(t testing.TB, r *http.Request, content string, now time.Time) []string {
	t.Helper()
	auth := r.Header.Get("Authorization")
	seed, err := hex.DecodeString(auth[strings.LastIndex(auth, "=")+1:])
	if err != nil {
		t.Fatal(err)
	}
	signer := v4.NewStreamSigner(sdkCredentials(), "s3", "us-east-1", seed)
	var parts []string
	var last []byte
	for _, n := range append(append([]int(nil), s.sizes...), 0) {
		data := content[:n]
		content = content[n:]
		head := fmt.Sprintf("%x", n)
		if s.kind != streamUnsignedTrailer {
			if last, err = signer.GetSignature(context.Background(), nil, []byte(data), now); err != nil {
				t.Fatal(err)
			}
			head += ";chunk-signature=" + hex.EncodeToString(last)
		}
		if n > 0 {
			data += "\r\n"
		}
		parts = append(parts, head+"\r\n"+data)
	}
	trailer := ""
	if s.trailer != "" {
		trailer = s.trailer + "\r\n"
	}
	if s.kind == streamSignedTrailer {
		trailer += "x-amz-trailer-signature:" + trailerSig(s.trailer, hex.EncodeToString(last), now) + "\r\n"
	}
	parts = append(parts, trailer+"\r\n")
	if s.change != nil {
		parts = s.change(parts)
	}
	return parts
}

// trailerSig signs a trailer independently of the code under test.
func trailerSig(trailer, previous string, now time.Time) string {
	key := []byte("AWS4" + exampleSecret)
	for _, s := range []string{now.Format("20060102"), "us-east-1", "s3", "aws4_request"} {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(s))
		key = h.Sum(nil)
	}
	toSign := strings.Join([]string{"AWS4-HMAC-SHA256-TRAILER", now.Format("20060102T150405Z"),
		now.Format("20060102") + "/us-east-1/s3/aws4_request", previous, hashOf(trailer + "\n")}, "\n")
	h := hmac.New(sha256.New, key)
	h.Write([]byte(toSign))
	return hex.EncodeToString(h.Sum(nil))
}

func TestSDKStreams(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for _, kind := range []string{streamSigned, streamSignedTrailer, streamUnsignedTrailer} {
		for _, sizes := range [][]int{nil, {1}, {8191}, {8192}, {8192, 1}, {65536, 65536, 100}, {10000, 9000, 8192}} {
			s := stream{kind: kind, sizes: sizes}
			if kind != streamSigned {
				s.trailer = "x-amz-checksum-crc32:AAAAAA=="
			}
			a, err := verifierAt(now).Authenticate(s.request(t, now))
			if err != nil {
				t.Fatalf("%s %v: %v", kind, sizes, err)
			}
			b, err := io.ReadAll(a.Body)
			if err != nil || string(b) != s.content() || a.Length != int64(len(b)) {
				t.Errorf("%s %v: %d bytes, %v", kind, sizes, len(b), err)
			}
			if s.trailer != "" && a.Trailer().Get("x-amz-checksum-crc32") != "AAAAAA==" {
				t.Errorf("%s %v: trailer %v", kind, sizes, a.Trailer())
			}
		}
	}
}

// TestForm checks a POST form signed independently.
func TestForm(t *testing.T) {
	policy := base64.StdEncoding.EncodeToString([]byte(`{"expiration":"2030-01-01T00:00:00Z","conditions":[]}`))
	key := deriveKey(exampleSecret, "20130524", "us-east-1")
	h := hmac.New(sha256.New, key[:])
	h.Write([]byte(policy))
	form := func(change ...string) Form {
		f := Form{"policy": policy, "x-amz-algorithm": "AWS4-HMAC-SHA256", "x-amz-credential": exampleKey + "/20130524/us-east-1/s3/aws4_request",
			"x-amz-date": "20130524T000000Z", "x-amz-signature": hex.EncodeToString(h.Sum(nil)), "key": "k"}
		for i := 0; i+1 < len(change); i += 2 {
			if f[change[i]] = change[i+1]; change[i+1] == "-" {
				delete(f, change[i])
			}
		}
		return f
	}
	for name, test := range map[string]struct {
		form Form
		want string
	}{
		"good":            {form(), "OK"},
		"anonymous":       {Form{"key": "k"}, "OK"},
		"no policy":       {form("policy", "-"), "InvalidArgument"},
		"policy alone":    {Form{"policy": policy}, "InvalidArgument"},
		"no date":         {form("x-amz-date", "-"), "InvalidArgument"},
		"other policy":    {form("policy", "e30="), "SignatureDoesNotMatch"},
		"empty policy":    {form("policy", ""), "SignatureDoesNotMatch"},
		"other signature": {form("x-amz-signature", strings.Repeat("0", 64)), "SignatureDoesNotMatch"},
		"empty signature": {form("x-amz-signature", ""), "SignatureDoesNotMatch"},
		"other region":    {form("x-amz-credential", exampleKey+"/20130524/eu-west-1/s3/aws4_request"), "InvalidArgument"},
		"other date":      {form("x-amz-credential", exampleKey+"/20130525/us-east-1/s3/aws4_request"), "InvalidArgument"},
		"unknown key":     {form("x-amz-credential", "nobody/20130524/us-east-1/s3/aws4_request"), "InvalidAccessKeyId"},
		"other algorithm": {form("x-amz-algorithm", "none"), "InvalidArgument"},
		"token":           {form("x-amz-security-token", "t"), "InvalidToken"},
		"V2":              {Form{"policy": policy, "awsaccesskeyid": exampleKey, "signature": "x"}, "InvalidRequest"},
		"both":            {form("awsaccesskeyid", exampleKey, "signature", "x"), "InvalidArgument"},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := verifierAt(exampleTime()).AuthenticatePost(request("POST", "/bucket", "h", ""), test.form)
			if code(err) != test.want {
				t.Errorf("%v, want %s", err, test.want)
			}
			if err == nil && (a.Kind == Anonymous) != (name == "anonymous") {
				t.Errorf("kind %v", a.Kind)
			}
		})
	}
	if _, err := verifierAt(exampleTime().AddDate(0, 0, 8)).AuthenticatePost(request("POST", "/bucket", "h", ""), form()); code(err) != "AccessDenied" {
		t.Errorf("after eight days: %v", err)
	}
	r := request("POST", "/bucket", "h", "", "Authorization", "AWS4-HMAC-SHA256 x")
	if _, err := verifierAt(exampleTime()).AuthenticatePost(r, form()); code(err) != "InvalidArgument" {
		t.Errorf("form and header: %v", err)
	}
}
