package s3_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/hallig-cloud/hallig/access"
	"github.com/hallig-cloud/hallig/s3"
)

// allow attaches a policy to mallory.
func (f *field) allow(t testing.TB, statements ...string) {
	t.Helper()
	document := `{"Version":"2012-10-17","Statement":[` + strings.Join(statements, ",") + `]}`
	if err := f.access.SetPolicy(context.Background(), "mallory", "p", []byte(document)); err != nil {
		t.Fatal(err)
	}
}

const onAttacked = `{"Effect":"Allow","Action":"s3:*","Resource":["arn:aws:s3:::attacked","arn:aws:s3:::attacked/*"]}`

// mustBe fails unless an answer is the given refusal (or 200 for "").
func mustBe(t testing.TB, what string, got answer, codes ...string) {
	t.Helper()
	if strings.Contains(got.body, canary) {
		t.Errorf("%s: %v gives the secret away", what, got)
	}
	for _, c := range codes {
		if got.code == c && (got.status >= 400) == (c != "") {
			return
		}
	}
	t.Errorf("%s: %v, want %v", what, got, codes)
}

func (f *field) as(t testing.TB, who caller, method, path string, headers ...string) answer {
	t.Helper()
	path, query, _ := strings.Cut(path, "?")
	return f.attack(t, byHeader(t, who, call{method: method, path: path, query: query, headers: headers}))
}

// MinIO CVE-2026-97731, RustFS #7425, VersityGW #2158, SeaweedFS #9121: a
// presigned PUT plus x-amz-copy-source reads any bucket.
func TestUnsignedHeaderIsNotHonoured(t *testing.T) {
	f := openField(t)
	for _, name := range []string{"X-Amz-Copy-Source", "X-Amz-Acl", "X-Amz-Tagging", "X-Amz-Meta-A", "X-Amz-Storage-Class", "X-Amz-Grant-Read",
		"X-Amz-Server-Side-Encryption-Customer-Key", "X-Amz-Bypass-Governance-Retention", "X-Amz-Object-Lock-Mode", "X-Amz-Expected-Bucket-Owner",
		"X-Amz-Website-Redirect-Location", "X-Amz-Checksum-Sha256", "X-Amz-Decoded-Content-Length", "X-Amz-Trailer", "X-Amz-Unheard-Of"} {
		for kind, by := range map[string]mode{"presigned": byQuery, "header": byHeader} {
			r := by(t, f.root, call{method: "PUT", path: "/attacked/new"})
			r.Header.Set(name, "vault/secret")
			got := f.attack(t, r)
			mustBe(t, kind+" "+name, got, "AccessDenied")
			if got.message != "There were headers present in the request which were not signed" || !strings.Contains(got.body, "<HeadersNotSigned>"+strings.ToLower(name)+"</HeadersNotSigned>") {
				t.Errorf("%s %s: %s", kind, name, got.body)
			}
		}
	}
	mustBe(t, "nothing is written", f.as(t, f.root, "GET", "/attacked/new"), "NoSuchKey")
}

// MinIO CVE-2025-31489, CVE-2026-40344, CVE-2026-41145: bodies that are signed
// only in appearance must leave no object behind.
func TestTamperedStreamsStoreNothing(t *testing.T) {
	f := openField(t)
	const content = "the content of the object"
	for _, kind := range []string{"STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"} {
		for how, edit := range map[string]func(string) string{
			"content":   func(b string) string { return strings.Replace(b, "the content", "bad content", 1) },
			"truncated": func(b string) string { return b[:len(b)/2] },
			"no end":    func(b string) string { return b[:len(b)-2] },
			"trailer": func(b string) string {
				return strings.Replace(b, "x-amz-checksum-sha256:", "x-amz-checksum-sha256:A", 1)
			},
			"other":       func(b string) string { return strings.Replace(b, "x-amz-checksum-sha256:", "x-amz-meta-evil:x", 1) },
			"appended":    func(b string) string { return b + "19\r\n" + content + "\r\n0\r\n\r\n" },
			"unsigned":    func(string) string { return fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(content), content) },
			"plain":       func(string) string { return content },
			"empty":       func(string) string { return "" },
			"final alone": func(b string) string { return b[strings.LastIndex(b, "\r\n0")+2:] },
		} {
			for _, path := range []string{"/attacked/tampered", "/attacked/key?partNumber=1&uploadId=" + f.upload} {
				path, query, _ := strings.Cut(path, "?")
				r := streaming(kind)(t, f.root, call{method: "PUT", path: path, query: query, body: content})
				body, err := io.ReadAll(r.Body)
				if err != nil {
					t.Fatal(err)
				}
				if edited := edit(string(body)); edited != string(body) {
					r.Body = io.NopCloser(strings.NewReader(edited))
					if got := f.attack(t, r); got.status < 400 || got.status >= 500 {
						t.Errorf("%s, %s: %v", kind, how, got)
					}
				}
			}
		}
	}
	mustBe(t, "no object", f.as(t, f.root, "GET", "/attacked/tampered"), "NoSuchKey")
	if got := f.as(t, f.root, "GET", "/attacked/key?uploadId="+f.upload); strings.Contains(got.body, "<Part>") {
		t.Errorf("a part is stored: %s", got.body)
	}
}

// A body that is not what its x-amz-content-sha256, Content-MD5 or checksum
// says stores nothing.
func TestWrongDigestsStoreNothing(t *testing.T) {
	f := openField(t)
	r := byHeader(t, f.root, call{method: "PUT", path: "/attacked/tampered", body: "good"})
	r.Body = io.NopCloser(strings.NewReader("evil"))
	mustBe(t, "hash", f.attack(t, r), "XAmzContentSHA256Mismatch")
	r = byHeader(t, f.root, call{method: "PUT", path: "/attacked", query: "policy=", body: `{"good":1}`})
	r.Body = io.NopCloser(strings.NewReader(`{"evil":1}`))
	mustBe(t, "hash of a document", f.attack(t, r), "XAmzContentSHA256Mismatch")
	for name, value := range map[string]string{"Content-Md5": "AAAAAAAAAAAAAAAAAAAAAA==", "X-Amz-Checksum-Crc32": "AAAAAA==", "X-Amz-Checksum-Sha256": sumBase64("x")} {
		got := f.attack(t, byHeader(t, f.root, call{method: "PUT", path: "/attacked/tampered", body: "good", headers: []string{name, value}}))
		mustBe(t, name, got, "BadDigest")
	}
	mustBe(t, "no object", f.as(t, f.root, "GET", "/attacked/tampered"), "NoSuchKey")
}

// MinIO CVE-2025-62506, CVE-2023-25812, RustFS CVE-2026-40937: an explicit
// deny is ignored, or a key is stronger than its user.
func TestNoEscalation(t *testing.T) {
	f := openField(t)
	ctx := context.Background()
	f.allow(t, onAttacked, `{"Effect":"Deny","Action":"s3:GetObject","Resource":"arn:aws:s3:::attacked/key"}`)
	mustBe(t, "an explicit deny", f.as(t, f.mallory, "GET", "/attacked/key"), "AccessDenied")
	mustBe(t, "beside it", f.as(t, f.mallory, "GET", "/attacked"), "")
	mustBe(t, "another bucket", f.as(t, f.mallory, "GET", "/vault/secret"), "AccessDenied")
	mustBe(t, "another bucket's list", f.as(t, f.mallory, "GET", "/vault"), "AccessDenied")
	// A bucket policy that mallory may write does not lift the deny on mallory.
	got := f.attack(t, byHeader(t, f.mallory, call{method: "PUT", path: "/attacked", query: "policy=",
		body: `{"Statement":{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::attacked/key"}}`}))
	if got.status < 300 {
		mustBe(t, "with an own bucket policy", f.as(t, f.mallory, "GET", "/attacked/key"), "AccessDenied")
	}
	// A narrowed key stays narrow, and a wide key policy widens nothing.
	for policy, want := range map[string]map[string]string{
		`{"Statement":{"Effect":"Allow","Action":"s3:ListBucket","Resource":"*"}}`: {"/attacked": "", "/attacked?policy": "AccessDenied", "/vault": "AccessDenied"},
		`{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`:             {"/attacked": "", "/vault": "AccessDenied", "/vault/secret": "AccessDenied", "/attacked/key": "AccessDenied"},
	} {
		k, secret, err := f.access.CreateKey(ctx, access.NewKey{User: "mallory", Policy: []byte(policy)})
		if err != nil {
			t.Fatal(err)
		}
		for path, code := range want {
			mustBe(t, policy+" "+path, f.as(t, caller{k.AccessKey, secret}, "GET", path), code)
		}
	}
	// A disabled key is out at once.
	if err := f.access.EnableKey(ctx, f.mallory.key, false); err != nil {
		t.Fatal(err)
	}
	mustBe(t, "a disabled key", f.as(t, f.mallory, "GET", "/attacked"), "InvalidAccessKeyId")
}

// RustFS CVE-2026-39360: the source of a copy is not authorized. SeaweedFS
// CVE-2026-54917: the source's path means another bucket than was checked.
func TestCopySourceIsAuthorized(t *testing.T) {
	f := openField(t)
	f.allow(t, onAttacked)
	sources := []string{"vault/secret", "/vault/secret", "vault%2Fsecret", "%2Fvault%2Fsecret", "/vault/secret?versionId=null", "vault/./secret", "attacked/../vault/secret",
		"attacked%2F..%2Fvault%2Fsecret", "attacked/%2e%2e/vault/secret", "attacked//../vault/secret", "vault//secret", "//vault/secret", "vault\\secret", "vault/secret\x00",
		"vault/secret%00", "attacked/..%5cvault/secret", "http://s3.test/vault/secret", "vault/secret#x", "vault%252Fsecret", "arn:aws:s3:::vault/secret", "", "/", "vault", "vault/", "%zz", "\xff/x"}
	for _, source := range sources {
		for what, path := range map[string]string{"copy": "/attacked/stolen", "part": "/attacked/key?partNumber=1&uploadId=" + f.upload} {
			if strings.ContainsAny(source, "\x00") {
				continue // net/http refuses it
			}
			got := f.as(t, f.mallory, "PUT", path, "X-Amz-Copy-Source", source)
			if got.status < 400 || got.status >= 500 {
				t.Errorf("%s from %q: %v", what, source, got)
			}
		}
	}
	mustBe(t, "nothing is copied", f.as(t, f.root, "GET", "/attacked/stolen"), "NoSuchKey")
	mustBe(t, "the source by right", f.as(t, f.mallory, "PUT", "/attacked/copied", "X-Amz-Copy-Source", "attacked/key"), "")
	mustBe(t, "a copy elsewhere", f.as(t, f.mallory, "PUT", "/vault/copied", "X-Amz-Copy-Source", "attacked/key"), "AccessDenied")
	// The control: with rights on the source, the same request steals.
	f.allow(t, onAttacked, `{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::vault/*"}`)
	mustBe(t, "with rights on both", f.as(t, f.mallory, "PUT", "/attacked/stolen", "X-Amz-Copy-Source", "vault/secret"), "")
}

// SDKs put headers in a presigned query; a signed copy source there is a copy,
// with its source authorized, and an unsigned one is nothing.
func TestHoistedCopySource(t *testing.T) {
	f := openField(t)
	f.allow(t, onAttacked)
	presigned := func(who caller, source string) *http.Request {
		return byQuery(t, who, call{method: "PUT", path: "/attacked/hoisted", query: "x-amz-copy-source=" + source})
	}
	mustBe(t, "another's source", f.attack(t, presigned(f.mallory, "vault%2Fsecret")), "AccessDenied")
	r := presigned(f.mallory, "attacked%2Fkey")
	r.URL.RawQuery = strings.Replace(r.URL.RawQuery, "attacked%2Fkey", "vault%2Fsecret", 1)
	mustBe(t, "a changed source", f.attack(t, r), "SignatureDoesNotMatch")
	mustBe(t, "no signature", f.attack(t, call{method: "PUT", path: "/attacked/hoisted", query: "x-amz-copy-source=attacked%2Fkey"}.request(t)), "AccessDenied")
	mustBe(t, "a false signature", f.attack(t, call{method: "PUT", path: "/attacked/hoisted", query: "X-Amz-Signature=x&x-amz-copy-source=attacked%2Fkey"}.request(t)), "AuthorizationQueryParametersError")
	mustBe(t, "nothing is copied", f.as(t, f.root, "GET", "/attacked/hoisted"), "NoSuchKey")
	mustBe(t, "by right", f.attack(t, presigned(f.mallory, "attacked%2Fkey")), "")
	if got := f.as(t, f.root, "GET", "/attacked/hoisted"); got.body != canary {
		t.Errorf("the copy holds %q", got.body)
	}
}

// SeaweedFS CVE-2026-58372, MinIO CVE-2026-42600, RustFS CVE-2025-68705: a path
// is taken for another than the one that was authorized.
func TestPathsAreLiteral(t *testing.T) {
	f := openField(t)
	f.allow(t, onAttacked)
	for _, path := range []string{"/attacked/../vault/secret", "/attacked/./../vault/secret", "//vault/secret", "/attacked//../../vault/secret", "/./vault/secret",
		"/attacked/../../etc/passwd", "/attacked/..", "/attacked/.", "/..", "/.", "/attacked\\..\\vault\\secret", "/attacked/key/../key", "/attacked/key/"} {
		for _, method := range []string{"GET", "HEAD", "DELETE"} {
			got := f.attack(t, byHeader(t, f.mallory, call{method: method, path: path}))
			if strings.Contains(got.body, canary) || got.status >= 500 || method == "GET" && got.status < 400 {
				t.Errorf("%s %s: %v", method, path, got)
			}
		}
	}
	for _, raw := range []string{"/attacked/%2e%2e/vault/secret", "/attacked/%2E%2E%2Fvault%2Fsecret", "/attacked%2F..%2Fvault%2Fsecret", "/attacked%2Fkey", "/%2e%2e/vault/secret",
		"/attacked/%252e%252e/vault/secret", "/attacked/key%00", "/attacked/%00key", "/atta%00cked/key", "/attacked/key%ff", "/%2Fattacked/key", "/attacked/..%5c..%5cvault"} {
		r := call{method: "GET", path: "/x"}.request(t)
		u, err := url.Parse("http://s3.test" + raw)
		if err != nil {
			t.Fatal(err)
		}
		r.URL = u
		signWith(t, r, f.mallory, sum(""), time.Now())
		if got := f.attack(t, r); got.status < 400 || got.status >= 500 || strings.Contains(got.body, canary) {
			t.Errorf("GET %s: %v", raw, got)
		}
	}
	// What is written under such a key is read under it, and nowhere else.
	for _, key := range []string{"../vault/secret", "a/../b", "./c", "d//e", "/f", "g/", "..", "h\\i"} {
		if got := f.attack(t, byHeader(t, f.mallory, call{method: "PUT", path: "/attacked/" + key, body: "at " + key})); got.status != http.StatusOK {
			t.Errorf("PUT %q: %v", key, got)
			continue
		}
		if got := f.as(t, f.mallory, "GET", "/attacked/"+key); got.body != "at "+key {
			t.Errorf("GET %q: %v %q", key, got, got.body)
		}
	}
	if got := f.as(t, f.root, "GET", "/vault/secret"); got.body != canary {
		t.Errorf("the vault holds %q", got.body)
	}
	// DeleteObjects and XML bodies.
	for _, key := range []string{"../vault/secret", "/vault/secret", "..%2Fvault%2Fsecret", "vault/secret"} {
		body := "<Delete><Object><Key>" + key + "</Key></Object></Delete>"
		f.attack(t, byHeader(t, f.mallory, f.callOf(s3.Route{Name: "DeleteObjects", Method: "POST", Scope: "BUCKET", Query: []string{"delete"}}, body)))
	}
	if got := f.as(t, f.root, "GET", "/vault/secret"); got.body != canary {
		t.Errorf("after DeleteObjects the vault holds %q", got.body)
	}
	for _, key := range []string{"a&#0;b", "a\x00b", "&#xFFFE;"} {
		body := "<Delete><Object><Key>" + key + "</Key></Object></Delete>"
		got := f.attack(t, byHeader(t, f.root, f.callOf(s3.Route{Name: "DeleteObjects", Method: "POST", Scope: "BUCKET", Query: []string{"delete"}}, body)))
		mustBe(t, "a NUL in XML", got, "MalformedXML")
	}
}

// DeleteObjects authorizes each key by itself.
func TestDeleteObjectsAuthorizesEachKey(t *testing.T) {
	f := openField(t)
	f.allow(t, `{"Effect":"Allow","Action":"s3:DeleteObject","Resource":"arn:aws:s3:::attacked/mine/*"}`)
	for _, key := range []string{"mine/a", "theirs"} {
		f.attack(t, byHeader(t, f.root, call{method: "PUT", path: "/attacked/" + key, body: "x"}))
	}
	body := "<Delete><Object><Key>mine/a</Key></Object><Object><Key>theirs</Key></Object><Object><Key>key</Key></Object></Delete>"
	f.attack(t, byHeader(t, f.mallory, f.callOf(s3.Route{Name: "DeleteObjects", Method: "POST", Scope: "BUCKET", Query: []string{"delete"}}, body)))
	for key, want := range map[string]string{"mine/a": "NoSuchKey", "theirs": "", "key": ""} {
		got := f.as(t, f.root, "HEAD", "/attacked/"+key)
		if (got.status == http.StatusOK) != (want == "") {
			t.Errorf("%s: %v", key, got)
		}
	}
}

// MinIO GHSA-3rh2-v3gr-35p9: headers that a server uses inside are taken from
// the client.
func TestInternalHeadersAreNotTaken(t *testing.T) {
	f := openField(t)
	internal := []string{"X-Hallig-Owner", "X-Hallig-Internal", "X-Hallig-Replication", "X-Minio-Internal-Server-Side-Encryption-Iv", "X-Minio-Source-Mtime", "X-Minio-Replication-Request",
		"X-Amz-Replication-Status", "X-Amz-Owner", "X-Amz-Version-Id", "X-Amz-Delete-Marker", "X-Amz-Object-Size", "X-Amz-Restore", "X-Amz-Expiration", "X-Rgw-Object-Type", "X-Vgw-Owner"}
	var headers []string
	for _, name := range internal {
		headers = append(headers, name, "forged")
	}
	got := f.attack(t, byHeader(t, f.root, call{method: "PUT", path: "/attacked/forged", body: "x", headers: headers}))
	if got.status != http.StatusOK {
		t.Fatal(got)
	}
	stored, err := f.mesh.Store.Head(context.Background(), "attacked", "forged", "")
	if err != nil {
		t.Fatal(err)
	}
	if text := fmt.Sprintf("%+v", stored); strings.Contains(text, "forged") && strings.Count(text, "forged") > strings.Count(text, "Key:forged") {
		t.Errorf("stored: %s", text)
	}
	head := f.as(t, f.root, "HEAD", "/attacked/forged")
	for name, values := range head.header {
		if strings.Contains(strings.Join(values, ","), "forged") {
			t.Errorf("%s: %v comes back", name, values)
		}
	}
}

// RustFS CVE-2026-21862: aws:SourceIp from a forwarded header.
func TestForwardedHeadersAreNotTrusted(t *testing.T) {
	f := openField(t)
	policy := func(network string) {
		got := f.attack(t, byHeader(t, f.root, call{method: "PUT", path: "/attacked", query: "policy=", body: `{"Statement":{"Effect":"Allow","Principal":"*","Action":"s3:GetObject",
			"Resource":"arn:aws:s3:::attacked/*","Condition":{"IpAddress":{"aws:SourceIp":"` + network + `"}}}}`}))
		if got.status != http.StatusNoContent {
			t.Fatal(got)
		}
	}
	policy("10.0.0.0/8")
	for name, value := range map[string]string{"X-Forwarded-For": "10.1.1.1", "X-Real-Ip": "10.1.1.1", "Forwarded": "for=10.1.1.1", "True-Client-Ip": "10.1.1.1",
		"Cf-Connecting-Ip": "10.1.1.1", "X-Client-Ip": "10.1.1.1", "X-Amz-Source-Ip": "10.1.1.1", "Aws-Sourceip": "10.1.1.1"} {
		mustBe(t, name, f.attack(t, call{method: "GET", path: "/attacked/key", headers: []string{name, value}}.request(t)), "AccessDenied")
	}
	policy("192.0.2.0/24")
	if got := f.attack(t, call{method: "GET", path: "/attacked/key"}.request(t)); got.body != canary {
		t.Errorf("from the right address: %v", got)
	}
}

// VersityGW 1.8.0: a request that panics ends the process.
func TestPanicsAreContained(t *testing.T) {
	f := openField(t)
	f.server.Sabotage("GetObject")
	mustBe(t, "a panic", f.as(t, f.root, "GET", "/attacked/key"), "InternalError")
	mustBe(t, "the next request", f.as(t, f.root, "GET", "/attacked"), "")
}

// No method, odd or unknown, gets past the table.
func TestOddMethods(t *testing.T) {
	f := openField(t)
	for _, method := range []string{"PATCH", "TRACE", "CONNECT", "PROPFIND", "get", "FOO"} {
		for _, path := range []string{"/", "/attacked", "/attacked/key"} {
			if method == "CONNECT" {
				continue // its target is no path
			}
			got := f.attack(t, byHeader(t, f.root, call{method: method, path: path}))
			if got.status < 400 || got.status >= 500 && got.code != "NotImplemented" || strings.Contains(got.body, canary) {
				t.Errorf("%s %s: %v", method, path, got)
			}
		}
	}
	// Methods are not overridden by headers or parameters.
	mustBe(t, "override", f.attack(t, call{method: "GET", path: "/attacked/key", headers: []string{"X-Http-Method-Override", "PUT"}}.request(t)), "AccessDenied")
}

// SeaweedFS #8800, RustFS #1659, VersityGW #2288: a conditional write that is
// checked, then written, has several winners.
func TestConditionalWriteHasOneWinner(t *testing.T) {
	f := openField(t)
	for round := range 5 {
		key := fmt.Sprintf("/attacked/once-%d", round)
		var wg sync.WaitGroup
		var mu sync.Mutex
		winners := 0
		for i := range 16 {
			wg.Go(func() {
				got := f.attack(t, byHeader(t, f.root, call{method: "PUT", path: key, body: fmt.Sprint(i), headers: []string{"If-None-Match", "*"}}))
				mu.Lock()
				defer mu.Unlock()
				if got.status == http.StatusOK {
					winners++
				} else if got.status != http.StatusPreconditionFailed && got.status != http.StatusConflict {
					t.Errorf("%v", got)
				}
			})
		}
		wg.Wait()
		if winners != 1 {
			t.Errorf("%d winners", winners)
		}
	}
}

// RustFS CVE-2026-22782: secrets in logs.
func TestSecretsAreNotLogged(t *testing.T) {
	var log lockedBuffer
	f := openField(t, func(c *s3.Config) {
		c.Log = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	const customerKey = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
	f.as(t, f.root, "GET", "/attacked/key")
	f.as(t, f.mallory, "GET", "/attacked/key")
	f.as(t, caller{f.root.key, "wrong-secret-canary"}, "GET", "/attacked/key")
	f.attack(t, byHeader(t, f.root, call{method: "PUT", path: "/attacked/c", body: "x", headers: []string{"X-Amz-Server-Side-Encryption-Customer-Key", customerKey,
		"X-Amz-Server-Side-Encryption-Customer-Algorithm", "AES256", "X-Amz-Server-Side-Encryption-Customer-Key-Md5", "AAAAAAAAAAAAAAAAAAAAAA=="}}))
	r := byQuery(t, f.root, call{method: "GET", path: "/attacked/key"})
	signature := r.URL.Query().Get("X-Amz-Signature")
	f.attack(t, r)
	f.server.Sabotage("GetObject")
	f.as(t, f.root, "GET", "/attacked/key")
	text := log.String()
	if text == "" {
		t.Error("the panic is not logged")
	}
	for _, secret := range []string{f.root.secret, f.mallory.secret, customerKey, signature, canary} {
		if strings.Contains(text, secret) {
			t.Errorf("the log has %q:\n%s", secret, text)
		}
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// The server's clock decides, over the whole door.
func TestClockOverTheDoor(t *testing.T) {
	offset := time.Duration(0)
	f := openField(t, func(c *s3.Config) { c.Clock = func() time.Time { return time.Now().Add(offset) } })
	for o, want := range map[time.Duration]string{16 * time.Minute: "RequestTimeTooSkewed", -16 * time.Minute: "RequestTimeTooSkewed", 14 * time.Minute: ""} {
		offset = o
		got := f.as(t, f.root, "GET", "/attacked")
		mustBe(t, o.String(), got, want)
		if want != "" && !strings.Contains(got.body, "<MaxAllowedSkewMilliseconds>900000</MaxAllowedSkewMilliseconds>") {
			t.Error(got.body)
		}
	}
	offset = 11 * time.Minute
	mustBe(t, "a presigned request after its end", f.attack(t, byQuery(t, f.root, call{method: "GET", path: "/attacked/key"})), "AccessDenied")
	offset = -20 * time.Minute
	mustBe(t, "a presigned request of the future", f.attack(t, byQuery(t, f.root, call{method: "GET", path: "/attacked/key"})), "AccessDenied")
}

// A public policy or ACL opens what it says and no more, and the public access
// block closes it.
func TestPublicAccess(t *testing.T) {
	f := openField(t)
	put := func(query, body string) answer {
		return f.attack(t, byHeader(t, f.root, call{method: "PUT", path: "/attacked", query: query, body: body}))
	}
	document, err := json.Marshal(map[string]any{"Statement": map[string]any{"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::attacked/*"}})
	if err != nil {
		t.Fatal(err)
	}
	if got := put("policy=", string(document)); got.status != http.StatusNoContent {
		t.Fatal(got)
	}
	anonymous := func(method, path string) answer { return f.attack(t, call{method: method, path: path}.request(t)) }
	if got := anonymous("GET", "/attacked/key"); got.body != canary {
		t.Errorf("a public object: %v", got)
	}
	mustBe(t, "listing", anonymous("GET", "/attacked"), "AccessDenied")
	mustBe(t, "writing", anonymous("PUT", "/attacked/key"), "AccessDenied")
	mustBe(t, "deleting", anonymous("DELETE", "/attacked/key"), "AccessDenied")
	mustBe(t, "the vault", anonymous("GET", "/vault/secret"), "AccessDenied")
	block := "<PublicAccessBlockConfiguration><RestrictPublicBuckets>true</RestrictPublicBuckets><BlockPublicPolicy>true</BlockPublicPolicy></PublicAccessBlockConfiguration>"
	if got := put("publicAccessBlock=", block); got.status != http.StatusOK {
		t.Fatal(got)
	}
	mustBe(t, "restricted", anonymous("GET", "/attacked/key"), "AccessDenied")
	mustBe(t, "another public policy", put("policy=", string(document)), "AccessDenied")
}

// A bucket's expected owner is checked before anything is done.
func TestExpectedBucketOwner(t *testing.T) {
	f := openField(t)
	got := f.as(t, f.root, "GET", "/attacked/key", "X-Amz-Expected-Bucket-Owner", "999999999999")
	mustBe(t, "read", got, "AccessDenied")
	mustBe(t, "copy", f.as(t, f.root, "PUT", "/attacked/x", "X-Amz-Copy-Source", "vault/secret", "X-Amz-Source-Expected-Bucket-Owner", "999999999999"), "AccessDenied")
}

// Nothing is told of a key that does not exist to who may not list.
func TestExistenceIsNotTold(t *testing.T) {
	f := openField(t)
	f.allow(t, `{"Effect":"Allow","Action":["s3:GetObject"],"Resource":"arn:aws:s3:::attacked/*"}`)
	mustBe(t, "may not list", f.as(t, f.mallory, "GET", "/attacked/absent"), "AccessDenied")
	f.allow(t, onAttacked)
	mustBe(t, "may list", f.as(t, f.mallory, "GET", "/attacked/absent"), "NoSuchKey")
	if _, err := f.door.root.HeadBucket(context.Background(), &awss3.HeadBucketInput{Bucket: aws.String("attacked")}); err != nil {
		t.Error(err)
	}
}

// A policy's conditions on tags and retention hold wherever the tags and the
// retention stand: in headers, in bodies, in forms.
func TestConditionsOnBodies(t *testing.T) {
	f := openField(t)
	tagging := func(value string) string {
		return "<Tagging><TagSet><Tag><Key>class</Key><Value>" + value + "</Value></Tag></TagSet></Tagging>"
	}
	put := call{method: "PUT", path: "/attacked/key", query: "tagging="}
	header := call{method: "PUT", path: "/attacked/tagged", body: "x"}
	try := func(what, value, want string) {
		t.Helper()
		c := put
		c.body = tagging(value)
		mustBe(t, what+", body "+value, f.attack(t, byHeader(t, f.mallory, c)), want)
		h := header
		h.headers = []string{"X-Amz-Tagging", "class=" + value}
		mustBe(t, what+", header "+value, f.attack(t, byHeader(t, f.mallory, h)), want)
		got := f.post(t, f.mallory, map[string]string{"key": "posted", "tagging": tagging(value)}, "content", nil)
		if (got.code == want) != (want != "" || got.status < 300) || want == "" && got.status >= 300 {
			t.Errorf("%s, form %s: %v, want %q", what, value, got, want)
		}
	}
	f.allow(t, onAttacked, `{"Effect":"Deny","Action":"s3:PutObjectTagging","Resource":"*","Condition":{"StringEquals":{"s3:RequestObjectTag/class":"secret"}}}`)
	try("a deny", "secret", "AccessDenied")
	try("a deny", "public", "")
	f.allow(t, `{"Effect":"Allow","Action":"s3:PutObject","Resource":"arn:aws:s3:::attacked/*"}`,
		`{"Effect":"Allow","Action":"s3:PutObjectTagging","Resource":"*","Condition":{"StringEquals":{"s3:RequestObjectTag/class":"public"}}}`)
	try("an allow", "secret", "AccessDenied")
	try("an allow", "public", "")
	f.allow(t, onAttacked, `{"Effect":"Deny","Action":"s3:PutObjectRetention","Resource":"*","Condition":{"NumericGreaterThan":{"s3:object-lock-remaining-retention-days":10}}}`)
	retain := func(days int) call {
		return call{method: "PUT", path: "/attacked/key", query: "retention=", body: "<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>" +
			time.Now().UTC().AddDate(0, 0, days).Format(time.RFC3339) + "</RetainUntilDate></Retention>"}
	}
	mustBe(t, "a long retention", f.attack(t, byHeader(t, f.mallory, retain(100))), "AccessDenied")
	mustBe(t, "a short one, in a bucket without locks", f.attack(t, byHeader(t, f.mallory, retain(5))), "InvalidRequest")
}

// What GetObject is denied for, GetObjectAttributes does not tell.
func TestAttributesNeedGetObject(t *testing.T) {
	f := openField(t)
	f.allow(t, onAttacked, `{"Effect":"Deny","Action":"s3:GetObject","Resource":"*"}`)
	mustBe(t, "attributes", f.as(t, f.mallory, "GET", "/attacked/key?attributes=", "X-Amz-Object-Attributes", "ETag"), "AccessDenied")
	f.allow(t, onAttacked)
	mustBe(t, "with both", f.as(t, f.mallory, "GET", "/attacked/key?attributes=", "X-Amz-Object-Attributes", "ETag"), "")
}
