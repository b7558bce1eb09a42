package s3_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/objects"
	"github.com/hallig-cloud/hallig/s3"
)

// A reply is a response that was read.
type reply struct {
	status int
	header http.Header
	body   string
}

// raw sends a request signed by hand.
func (d *door) raw(method, path string, body []byte, header map[string]string) reply {
	d.t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), method, d.url+path, bytes.NewReader(body))
	if err != nil {
		d.t.Fatal(err)
	}
	for name, value := range header {
		r.Header.Set(name, value)
	}
	sum := sha256.Sum256(body)
	hash := hex.EncodeToString(sum[:])
	r.Header.Set("x-amz-content-sha256", hash)
	err = v4.NewSigner().SignHTTP(context.Background(), aws.Credentials{AccessKeyID: rootKey, SecretAccessKey: rootSecret}, r, hash, "s3", "us-east-1", time.Now(),
		func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	if err != nil {
		d.t.Fatal(err)
	}
	return d.roundTrip(r)
}

func (d *door) roundTrip(r *http.Request) reply {
	d.t.Helper()
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, string(b)}
}

// An error body is Amazon's to the byte.
func TestErrorBody(t *testing.T) {
	d := openDoor(t)
	d.bucket("errors")
	a := d.raw("GET", "/errors/a%26b", nil, nil)
	want := fmt.Sprintf("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message><Key>a&amp;b</Key><RequestId>%s</RequestId><HostId>%s</HostId></Error>",
		a.header.Get("x-amz-request-id"), strings.ReplaceAll(a.header.Get("x-amz-id-2"), "+", "&#43;"))
	if a.status != 404 || strings.ReplaceAll(a.body, "+", "&#43;") != want || a.header.Get("Content-Type") != "application/xml" {
		t.Errorf("%d %s\nwant %s", a.status, a.body, want)
	}
	if h := d.raw("HEAD", "/errors/none", nil, nil); h.status != 404 || h.body != "" {
		t.Errorf("%+v", h)
	}
	if a := d.raw("GET", "/errors/k?versionId=x", nil, nil); a.status != 400 || !strings.Contains(a.body, "<ArgumentName>versionId</ArgumentName><ArgumentValue>x</ArgumentValue>") {
		t.Errorf("%+v", a)
	}
}

// Nothing tells the client to go on with its body before it is known to be
// allowed to; an allowed one is told.
func TestContinueAfterAuthorization(t *testing.T) {
	d := openDoor(t)
	d.bucket("expect")
	host := strings.TrimPrefix(d.url, "http://")
	ask := func(authorize bool) string {
		r, err := http.NewRequest("PUT", d.url+"/expect/k", strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("x-amz-content-sha256", "UNSIGNED-PAYLOAD")
		if authorize {
			if err := v4.NewSigner().SignHTTP(context.Background(), aws.Credentials{AccessKeyID: rootKey, SecretAccessKey: rootSecret}, r, "UNSIGNED-PAYLOAD", "s3", "us-east-1", time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		c, err := net.Dial("tcp", host)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "PUT /expect/k HTTP/1.1\r\nHost: %s\r\nContent-Length: 4\r\nExpect: 100-continue\r\n", host)
		for name := range r.Header {
			fmt.Fprintf(c, "%s: %s\r\n", name, r.Header.Get(name))
		}
		fmt.Fprint(c, "\r\n")
		line, err := bufio.NewReader(c).ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		return line
	}
	if line := ask(false); !strings.Contains(line, " 403 ") {
		t.Errorf("without credentials: %s", line)
	}
	if line := ask(true); !strings.Contains(line, " 100 ") {
		t.Errorf("with credentials: %s", line)
	}
}

func TestHeaderLimit(t *testing.T) {
	d := openDoor(t)
	d.bucket("headers")
	a := d.raw("GET", "/headers/k", nil, map[string]string{"x-amz-x": strings.Repeat("v", 9000)})
	if a.status != 400 || !strings.Contains(a.body, "<Code>RequestHeaderSectionTooLarge</Code>") {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// A broken store answers InternalError and leaves the process alive.
func TestPanicIsContained(t *testing.T) {
	d := openDoor(t, func(c *s3.Config) { c.Store = panicking{c.Store} })
	d.bucket("panic")
	if a := d.raw("GET", "/panic/k", nil, nil); a.status != 500 || !strings.Contains(a.body, "<Code>InternalError</Code>") {
		t.Errorf("%+v", a)
	}
}

type panicking struct{ objects.API }

func (p panicking) Head(context.Context, string, string, catalog.VersionID) (catalog.Version, error) {
	panic("no head")
}

func uploadForm(t *testing.T, d *door, path string, fields [][2]string, file string) reply {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for _, f := range fields {
		if err := w.WriteField(f[0], f[1]); err != nil {
			t.Fatal(err)
		}
	}
	part, err := w.CreateFormFile("file", `C:\dir\photo.jpg`)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(part, file)
	w.WriteField("ignored", "after the file")
	w.Close()
	r, err := http.NewRequest("POST", d.url+path, &b)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", w.FormDataContentType())
	r.Header.Set("x-amz-meta-smuggled", "by an unsigned header")
	return d.roundTrip(r)
}

func TestAnonymousForm(t *testing.T) {
	d := openDoor(t)
	b := d.bucket("form")
	fields := [][2]string{{"key", "up/${filename}"}, {"success_action_status", "201"}, {"x-amz-meta-m", "1"}, {"Content-Type", "image/jpeg"}}
	if a := uploadForm(t, d, "/form", fields, "body"); a.status != 403 {
		t.Fatalf("a private bucket took a form: %+v", a)
	}
	if a := d.raw("PUT", "/form?policy", []byte(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:PutObject","Resource":"arn:aws:s3:::form/*"}]}`), nil); a.status != 204 {
		t.Fatalf("%+v", a)
	}
	a := uploadForm(t, d, "/form", fields, "body")
	if a.status != 201 || !strings.Contains(a.body, "<Key>up/photo.jpg</Key>") {
		t.Fatalf("%+v", a)
	}
	body, out, err := d.get(b, "up/photo.jpg")
	if err != nil || body != "body" || out.Metadata["m"] != "1" || out.Metadata["smuggled"] != "" || *out.ContentType != "image/jpeg" {
		t.Errorf("%q %+v %v", body, out, err)
	}
	a = uploadForm(t, d, "/form", [][2]string{{"key", "r"}, {"success_action_redirect", "http://example.test/done?x=1"}}, "body")
	if u, err := url.Parse(a.header.Get("Location")); a.status != 303 || err != nil || u.Query().Get("key") != "r" || u.Query().Get("bucket") != "form" || u.Query().Get("x") != "1" {
		t.Errorf("%+v", a)
	}
	a = uploadForm(t, d, "/form", [][2]string{{"key", "big"}, {"x-ignore", strings.Repeat("v", 100_000)}}, "body")
	if a.status != 400 || !strings.Contains(a.body, "MaxPostPreDataLengthExceeded") {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := uploadForm(t, d, "/form", nil, "body"); a.status != 400 || !strings.Contains(a.body, "Bucket POST must contain a field named &#39;key&#39;") {
		t.Errorf("%+v", a)
	}
}

func TestVirtualHost(t *testing.T) {
	d := openDoor(t, func(c *s3.Config) { c.Domains = []string{"s3.test"} })
	b := d.bucket("hosted")
	d.put(b, "hosted/k", "body")
	r, err := http.NewRequest("GET", d.url+"/hosted/k", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "hosted.s3.test"
	const hash = "UNSIGNED-PAYLOAD"
	r.Header.Set("x-amz-content-sha256", hash)
	if err := v4.NewSigner().SignHTTP(context.Background(), aws.Credentials{AccessKeyID: rootKey, SecretAccessKey: rootSecret}, r, hash, "s3", "us-east-1", time.Now()); err != nil {
		t.Fatal(err)
	}
	if a := d.roundTrip(r); a.status != 200 || a.body != "body" {
		t.Errorf("%+v", a)
	}
	if a := d.raw("GET", "/hosted/hosted/k", nil, nil); a.status != 200 {
		t.Errorf("path style beside it: %+v", a)
	}
}

func TestExpectedOwner(t *testing.T) {
	d := openDoor(t)
	b := d.bucket("owned")
	d.put(b, "k", "x")
	for owner, status := range map[string]int{"000000000000": 200, rootKey: 200, "111111111111": 403} {
		if a := d.raw("GET", "/owned/k", nil, map[string]string{"x-amz-expected-bucket-owner": owner}); a.status != status {
			t.Errorf("%s: %d, want %d", owner, a.status, status)
		}
	}
	for owner, status := range map[string]int{"000000000000": 200, "111111111111": 403} {
		a := d.raw("PUT", "/owned/copy", nil, map[string]string{"x-amz-copy-source": "owned/k", "x-amz-source-expected-bucket-owner": owner})
		if a.status != status {
			t.Errorf("source of %s: %d, want %d", owner, a.status, status)
		}
	}
}

// Who may not list a bucket does not learn which keys it lacks.
func TestAbsentKeysAreNotTold(t *testing.T) {
	d := openDoor(t)
	b := d.bucket("quiet")
	d.put(b, "there", "x")
	policy := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::quiet/*"}]}`
	if a := d.raw("PUT", "/quiet?policy", []byte(policy), nil); a.status != 204 {
		t.Fatalf("%+v", a)
	}
	for path, status := range map[string]int{"/quiet/there": 200, "/quiet/absent": 403} {
		r, err := http.NewRequest("GET", d.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if a := d.roundTrip(r); a.status != status {
			t.Errorf("%s: %d, want %d", path, a.status, status)
		}
	}
	if a := d.raw("GET", "/quiet/absent", nil, nil); a.status != 404 {
		t.Errorf("the owner: %d", a.status)
	}
}
