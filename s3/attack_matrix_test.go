package s3_test

import (
	"bufio"
	"context"
	"crypto/hmac"
	"crypto/md5"  //nolint:gosec // Content-MD5
	"crypto/sha1" //nolint:gosec // Signature Version 2
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/hallig-cloud/hallig/access"
	"github.com/hallig-cloud/hallig/s3"
)

// A caller is somebody with credentials; without a key nobody.
type caller struct{ key, secret string }

func (c caller) credentials() aws.Credentials {
	return aws.Credentials{AccessKeyID: c.key, SecretAccessKey: c.secret}
}

// A call is one request before it is signed.
type call struct {
	method, path, query, body string
	headers                   []string // name, value …
}

// request makes the client's side of the call.
func (c call) request(t testing.TB) *http.Request {
	t.Helper()
	r, err := http.NewRequest(c.method, "http://s3.test/", strings.NewReader(c.body))
	if err != nil {
		t.Fatal(err)
	}
	r.URL.Path, r.URL.RawQuery = c.path, c.query
	for i := 0; i+1 < len(c.headers); i += 2 {
		r.Header.Add(c.headers[i], c.headers[i+1])
	}
	if c.body == "" {
		r.Body, r.ContentLength = http.NoBody, 0
	}
	return r
}

// A mode is a way to authenticate. It returns the request as the client sends it.
type mode func(t testing.TB, who caller, c call) *http.Request

func sum(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])
}

func signer() *v4.Signer {
	return v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
}

func signWith(t testing.TB, r *http.Request, who caller, hash string, at time.Time) {
	t.Helper()
	r.Header.Set("X-Amz-Content-Sha256", hash)
	if err := signer().SignHTTP(context.Background(), who.credentials(), r, hash, "s3", "us-east-1", at); err != nil {
		t.Fatal(err)
	}
}

func byHeader(t testing.TB, who caller, c call) *http.Request {
	r := c.request(t)
	signWith(t, r, who, sum(c.body), time.Now())
	return r
}

func byUnsignedPayload(t testing.TB, who caller, c call) *http.Request {
	r := c.request(t)
	signWith(t, r, who, "UNSIGNED-PAYLOAD", time.Now())
	return r
}

func byQuery(t testing.TB, who caller, c call) *http.Request {
	r := c.request(t)
	q := r.URL.Query()
	q.Set("X-Amz-Expires", "600")
	r.URL.RawQuery = q.Encode()
	signed, _, err := signer().PresignHTTP(context.Background(), who.credentials(), r, "UNSIGNED-PAYLOAD", "s3", "us-east-1", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if r.URL, err = r.URL.Parse(signed); err != nil {
		t.Fatal(err)
	}
	return r
}

func byNothing(t testing.TB, _ caller, c call) *http.Request { return c.request(t) }

// byForm puts a POST form's signature on a route that is none.
func byForm(t testing.TB, who caller, c call) *http.Request {
	if c.method != "POST" {
		c.headers = append(c.headers, "Content-Type", "multipart/form-data; boundary=x")
		return c.request(t)
	}
	c.body = postForm(who, time.Now(), map[string]string{"key": "posted"}, "content")
	c.headers = append(c.headers, "Content-Type", "multipart/form-data; boundary=x")
	return c.request(t)
}

func byBoth(t testing.TB, who caller, c call) *http.Request {
	r := byQuery(t, who, c)
	r.Header.Set("Authorization", byHeader(t, who, c).Header.Get("Authorization"))
	return r
}

func byV2(t testing.TB, who caller, c call) *http.Request {
	r := c.request(t)
	r.Header.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	h := hmac.New(sha1.New, []byte(who.secret))
	h.Write([]byte(c.method + "\n\n\n" + r.Header.Get("Date") + "\n" + c.path))
	r.Header.Set("Authorization", "AWS "+who.key+":"+base64.StdEncoding.EncodeToString(h.Sum(nil)))
	return r
}

func byV2Query(t testing.TB, who caller, c call) *http.Request {
	r := c.request(t)
	r.URL.RawQuery = strings.TrimPrefix(c.query+"&AWSAccessKeyId="+who.key+"&Expires=99999999999&Signature=x", "&")
	return r
}

// streaming makes the mode of one aws-chunked payload.
func streaming(kind string) mode {
	return func(t testing.TB, who caller, c call) *http.Request {
		body := c.body
		c.body = "x"
		trailer := ""
		c.headers = append(c.headers, "Content-Encoding", "aws-chunked", "X-Amz-Decoded-Content-Length", fmt.Sprint(len(body)))
		if strings.HasSuffix(kind, "-TRAILER") {
			trailer = "x-amz-checksum-sha256:" + sumBase64(body)
			c.headers = append(c.headers, "X-Amz-Trailer", "x-amz-checksum-sha256")
		}
		r := c.request(t)
		r.ContentLength = -1
		now := time.Now().UTC()
		signWith(t, r, who, kind, now)
		r.Body = io.NopCloser(strings.NewReader(chunked(t, who, r, kind, body, trailer, now)))
		return r
	}
}

func sumBase64(s string) string {
	h := sha256.Sum256([]byte(s))
	return base64.StdEncoding.EncodeToString(h[:])
}

// chunked encodes a body as one chunk with what kind demands around it.
func chunked(t testing.TB, who caller, r *http.Request, kind, body, trailer string, now time.Time) string {
	t.Helper()
	auth := r.Header.Get("Authorization")
	previous, err := hex.DecodeString(auth[strings.LastIndex(auth, "=")+1:])
	if err != nil {
		t.Fatal(err)
	}
	stream := v4.NewStreamSigner(who.credentials(), "s3", "us-east-1", previous)
	var b strings.Builder
	parts := []string{body, ""}
	if body == "" {
		parts = parts[1:]
	}
	for _, data := range parts {
		fmt.Fprintf(&b, "%x", len(data))
		if !strings.Contains(kind, "UNSIGNED") {
			if previous, err = stream.GetSignature(context.Background(), nil, []byte(data), now); err != nil {
				t.Fatal(err)
			}
			b.WriteString(";chunk-signature=" + hex.EncodeToString(previous))
		}
		b.WriteString("\r\n")
		if data != "" {
			b.WriteString(data + "\r\n")
		}
	}
	if trailer != "" {
		b.WriteString(trailer + "\r\n")
		if !strings.Contains(kind, "UNSIGNED") {
			b.WriteString("x-amz-trailer-signature:" + trailerSignature(who, trailer, hex.EncodeToString(previous), now) + "\r\n")
		}
	}
	return b.String() + "\r\n"
}

func signingKey(who caller, now time.Time) []byte {
	key := []byte("AWS4" + who.secret)
	for _, s := range []string{now.UTC().Format("20060102"), "us-east-1", "s3", "aws4_request"} {
		key = mac(key, s)
	}
	return key
}

func mac(key []byte, s string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(s))
	return h.Sum(nil)
}

func trailerSignature(who caller, trailer, previous string, now time.Time) string {
	day := now.UTC().Format("20060102")
	return hex.EncodeToString(mac(signingKey(who, now), strings.Join([]string{"AWS4-HMAC-SHA256-TRAILER", now.UTC().Format("20060102T150405Z"),
		day + "/us-east-1/s3/aws4_request", previous, sum(trailer + "\n")}, "\n")))
}

// postForm is a multipart form with boundary x, its policy signed and covering
// the fields.
func postForm(who caller, now time.Time, fields map[string]string, content string, edit ...func(fields map[string]string)) string {
	all := map[string]string{"bucket": "attacked", "x-amz-algorithm": "AWS4-HMAC-SHA256", "x-amz-date": now.UTC().Format("20060102T150405Z"),
		"x-amz-credential": who.key + "/" + now.UTC().Format("20060102") + "/us-east-1/s3/aws4_request"}
	for name, value := range fields {
		all[name] = value
	}
	var conditions []string
	for name, value := range all {
		conditions = append(conditions, fmt.Sprintf("{%q:%q}", name, value))
	}
	sort.Strings(conditions)
	policy := base64.StdEncoding.EncodeToString([]byte(`{"expiration":"` + now.UTC().Add(time.Hour).Format(time.RFC3339) + `","conditions":[` + strings.Join(conditions, ",") + `]}`))
	all["policy"] = policy
	all["x-amz-signature"] = hex.EncodeToString(mac(signingKey(who, now), policy))
	for _, f := range edit {
		f(all)
	}
	var b strings.Builder
	for name, value := range all {
		fmt.Fprintf(&b, "--x\r\nContent-Disposition: form-data; name=%q\r\n\r\n%s\r\n", name, value)
	}
	fmt.Fprintf(&b, "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f.txt\"\r\n\r\n%s\r\n--x--\r\n", content)
	return b.String()
}

// An answer is what the server said.
type answer struct {
	status        int
	code, message string
	header        http.Header
	body          string
}

func (a answer) String() string { return fmt.Sprintf("%d %s %q", a.status, a.code, a.message) }

// attack takes a request over the wire format to the server.
func (d *door) attack(t testing.TB, r *http.Request) answer {
	t.Helper()
	var wire strings.Builder
	if err := r.Write(&wire); err != nil {
		t.Fatal(err)
	}
	return d.attackRaw(t, wire.String())
}

// attackRaw gives the server a request as bytes.
func (d *door) attackRaw(t testing.TB, wire string) answer {
	t.Helper()
	in, err := http.ReadRequest(bufio.NewReader(strings.NewReader(wire)))
	if err != nil {
		return answer{status: http.StatusBadRequest, code: "unreadable"}
	}
	in.RemoteAddr = "192.0.2.1:1234"
	w := httptest.NewRecorder()
	d.server.ServeHTTP(w, in)
	a := answer{status: w.Code, header: w.Header(), body: w.Body.String()}
	var e struct {
		XMLName xml.Name `xml:"Error"`
		Code    string
		Message string
	}
	if xml.Unmarshal(w.Body.Bytes(), &e) == nil {
		a.code, a.message = e.Code, e.Message
	}
	if a.code == "" {
		a.code = d.lastCode()
	}
	return a
}

// lastCode is the code of the last request, for answers without a body.
func (d *door) lastCode() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.records) == 0 {
		return ""
	}
	return d.records[len(d.records)-1].Code
}

// A field is a door with something to steal: a private bucket "attacked" with
// the object "key", a bucket "vault" with "secret", an open upload, and a user
// who may do nothing.
type field struct {
	*door
	root, mallory caller
	upload        string
}

const canary = "CANARY-the-secret-content"

func openField(t testing.TB, edit ...func(*s3.Config)) *field {
	t.Helper()
	f := &field{door: openDoor(t, edit...), root: caller{rootKey, rootSecret}}
	ctx := context.Background()
	if _, err := f.access.CreateUser(ctx, "mallory", "", ""); err != nil {
		t.Fatal(err)
	}
	k, secret, err := f.access.CreateKey(ctx, access.NewKey{User: "mallory"})
	if err != nil {
		t.Fatal(err)
	}
	f.mallory = caller{k.AccessKey, secret}
	for bucket, key := range map[string]string{"attacked": "key", "vault": "secret"} {
		f.bucket(bucket)
		if _, err := f.door.root.PutObject(ctx, &awss3.PutObjectInput{Bucket: &bucket, Key: &key, Body: strings.NewReader(canary)}); err != nil {
			t.Fatal(err)
		}
	}
	u, err := f.door.root.CreateMultipartUpload(ctx, &awss3.CreateMultipartUploadInput{Bucket: aws.String("attacked"), Key: aws.String("key")})
	if err != nil {
		t.Fatal(err)
	}
	f.upload = *u.UploadId
	return f
}

// state is everything that a refused request must not change.
func (f *field) state(t testing.TB) string {
	t.Helper()
	ctx := context.Background()
	buckets, err := f.mesh.Store.Buckets(ctx, "", 100)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, bucket := range buckets {
		fmt.Fprintf(&b, "%+v\n", bucket)
		list, err := f.door.root.ListObjectVersions(ctx, &awss3.ListObjectVersionsInput{Bucket: &bucket.Name})
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range list.Versions {
			found, err := f.mesh.Store.Head(ctx, bucket.Name, *v.Key, "")
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&b, "%+v\n", found)
		}
		uploads, err := f.door.root.ListMultipartUploads(ctx, &awss3.ListMultipartUploadsInput{Bucket: &bucket.Name})
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range uploads.Uploads {
			parts, err := f.door.root.ListParts(ctx, &awss3.ListPartsInput{Bucket: &bucket.Name, Key: u.Key, UploadId: u.UploadId})
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&b, "%s %s %d\n", *u.Key, *u.UploadId, len(parts.Parts))
		}
	}
	return b.String()
}

// callOf makes the call that selects a route.
func (f *field) callOf(r s3.Route, body string) call {
	c := call{method: r.Method, body: body}
	c.path = map[string]string{"SERVICE": "/", "BUCKET": "/attacked", "OBJECT": "/attacked/key"}[r.Scope]
	var query []string
	for _, sel := range r.Query {
		name, value, _ := strings.Cut(sel, "=")
		switch {
		case name == "uploadId":
			value = f.upload
		case name == "partNumber":
			value = "1"
		case value == "*":
			value = "x"
		}
		query = append(query, name+"="+value)
	}
	c.query = strings.Join(query, "&")
	if r.Name == "DeleteObjects" {
		digest := md5.Sum([]byte(body))
		c.headers = []string{"Content-Md5", base64.StdEncoding.EncodeToString(digest[:])}
	}
	if r.Header != "" {
		c.headers = []string{r.Header, "vault/secret"}
	}
	return c
}
