package s3_test

import (
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hallig-cloud/hallig/s3"
)

// post sends a form.
func (f *field) post(t testing.TB, who caller, fields map[string]string, content string, headers []string, edit ...func(map[string]string)) answer {
	t.Helper()
	c := call{method: "POST", path: "/attacked", body: postForm(who, time.Now(), fields, content, edit...), headers: append([]string{"Content-Type", "multipart/form-data; boundary=x"}, headers...)}
	return f.attack(t, c.request(t))
}

// Ceph CVE-2023-43040, RustFS CVE-2026-27607: the conditions of a POST policy
// are not enforced.
func TestPostAttacks(t *testing.T) {
	f := openField(t)
	good := map[string]string{"key": "posted", "content-type": "text/plain", "x-amz-meta-a": "1"}
	set := func(name, value string) func(map[string]string) { return func(m map[string]string) { m[name] = value } }
	drop := func(name string) func(map[string]string) { return func(m map[string]string) { delete(m, name) } }
	policy := func(document string) func(map[string]string) {
		return func(m map[string]string) {
			m["policy"] = base64.StdEncoding.EncodeToString([]byte(document))
			m["x-amz-signature"] = signPolicy(f.root, m["policy"])
		}
	}
	for name, test := range map[string]struct {
		who  caller
		edit func(map[string]string)
		want string
	}{
		"another key":           {f.root, set("key", "key"), "AccessDenied"},
		"a key of another dir":  {f.root, set("key", "../vault/secret"), "AccessDenied"},
		"another bucket field":  {f.root, set("bucket", "vault"), "AccessDenied"},
		"another content type":  {f.root, set("content-type", "text/html"), "AccessDenied"},
		"an uncovered ACL":      {f.root, set("acl", "public-read"), "AccessDenied"},
		"uncovered metadata":    {f.root, set("x-amz-meta-b", "1"), "AccessDenied"},
		"an uncovered redirect": {f.root, set("success_action_redirect", "http://evil.test/"), "AccessDenied"},
		"uncovered encryption":  {f.root, set("x-amz-server-side-encryption", "AES256"), "AccessDenied"},
		"an uncovered lock":     {f.root, set("x-amz-object-lock-legal-hold", "ON"), "AccessDenied"},
		"a missing field":       {f.root, drop("x-amz-meta-a"), "AccessDenied"},
		"another policy":        {f.root, set("policy", base64.StdEncoding.EncodeToString([]byte(`{"expiration":"2099-01-01T00:00:00Z","conditions":[]}`))), "SignatureDoesNotMatch"},
		"no policy":             {f.root, drop("policy"), "InvalidArgument"},
		"no signature":          {f.root, drop("x-amz-signature"), "InvalidArgument"},
		"another signature":     {f.root, set("x-amz-signature", strings.Repeat("0", 64)), "SignatureDoesNotMatch"},
		"another's key":         {f.mallory, nil, "AccessDenied"},
		"a wrong secret":        {caller{f.root.key, "wrong-secret"}, nil, "SignatureDoesNotMatch"},
		"an unknown key":        {caller{"HLNOBODY", "wrong-secret"}, nil, "InvalidAccessKeyId"},
		"V2 fields too":         {f.root, set("awsaccesskeyid", f.root.key), "InvalidArgument"},
		"expired":               {f.root, policy(`{"expiration":"2020-01-01T00:00:00Z","conditions":[]}`), "AccessDenied"},
		"an empty policy":       {f.root, policy(`{"expiration":"2099-01-01T00:00:00Z","conditions":[]}`), "AccessDenied"},
		"too long a file":       {f.root, policy(covering(`["content-length-range",0,3]`)), "EntityTooLarge"},
		"too short a file":      {f.root, policy(covering(`["content-length-range",100,200]`)), "EntityTooSmall"},
		"no JSON":               {f.root, policy(`nonsense`), "InvalidPolicyDocument"},
	} {
		var edits []func(map[string]string)
		if test.edit != nil {
			edits = append(edits, test.edit)
		}
		mustBe(t, name, f.post(t, test.who, good, "content", nil, edits...), test.want)
	}
	mustBe(t, "anonymous", f.post(t, f.root, good, "content", nil, func(m map[string]string) { clear(m); m["key"] = "posted" }), "AccessDenied")
	mustBe(t, "nothing is stored", f.as(t, f.root, "GET", "/attacked/posted"), "NoSuchKey")
	if got := f.as(t, f.root, "GET", "/attacked/key"); got.body != canary {
		t.Errorf("the object is now %q", got.body)
	}
	// Two at once.
	for name, headers := range map[string][]string{"a header": {"Authorization", "AWS4-HMAC-SHA256 Credential=a"}} {
		mustBe(t, "form and "+name, f.post(t, f.root, good, "content", headers), "InvalidArgument")
	}
	// The control: what the policy covers is stored, and headers count nothing.
	got := f.post(t, f.root, good, "content", []string{"X-Amz-Acl", "public-read", "X-Amz-Meta-Evil", "1", "X-Amz-Copy-Source", "vault/secret", "X-Amz-Website-Redirect-Location", "/evil"})
	if got.status >= 300 {
		got = f.post(t, f.root, good, "content", []string{"X-Amz-Acl", "public-read", "X-Amz-Meta-Evil", "1"})
	}
	if got.status >= 300 {
		t.Fatal(got)
	}
	read := f.as(t, f.root, "GET", "/attacked/posted")
	names := make(map[string]string) // metadata keeps its lower case
	for name, values := range read.header {
		names[strings.ToLower(name)] = values[0]
	}
	if read.body != "content" || names["x-amz-meta-evil"] != "" || names["x-amz-website-redirect-location"] != "" || names["x-amz-meta-a"] != "1" {
		t.Errorf("%q, %v", read.body, read.header)
	}
}

// covering is a policy that covers the good form, and one condition more.
func covering(condition string) string {
	return `{"expiration":"2099-01-01T00:00:00Z","conditions":[{"bucket":"attacked"},{"key":"posted"},{"content-type":"text/plain"},{"x-amz-meta-a":"1"},
		["starts-with","$x-amz-algorithm",""],["starts-with","$x-amz-date",""],["starts-with","$x-amz-credential",""],` + condition + `]}`
}

func signPolicy(who caller, policy string) string {
	return hex.EncodeToString(mac(signingKey(who, time.Now()), policy))
}

// Malformed and unbounded forms.
func TestFormsAreBounded(t *testing.T) {
	f := openField(t)
	for name, body := range map[string]string{
		"empty":            "",
		"no file":          "--x\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nk\r\n--x--\r\n",
		"a huge field":     "--x\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\n" + strings.Repeat("k", 1<<20) + "\r\n--x--\r\n",
		"many fields":      strings.Repeat("--x\r\nContent-Disposition: form-data; name=\"x-ignore\"\r\n\r\nk\r\n", 50_000) + "--x--\r\n",
		"a huge header":    "--x\r\nContent-Disposition: form-data; name=\"" + strings.Repeat("k", 1<<20) + "\"\r\n\r\nk\r\n--x--\r\n",
		"no end":           "--x\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nk",
		"a repeated key":   "--x\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nk\r\n--x\r\nContent-Disposition: form-data; name=\"Key\"\r\n\r\nl\r\n--x\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nl\r\n--x--\r\n",
		"not a form":       "hello",
		"other boundary":   "--y\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nk\r\n--y--\r\n",
		"no disposition":   "--x\r\n\r\nk\r\n--x--\r\n",
		"NUL in the key":   "--x\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nk\x00\r\n--x\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nl\r\n--x--\r\n",
		"nested multipart": "--x\r\nContent-Disposition: form-data; name=\"key\"\r\nContent-Type: multipart/mixed; boundary=y\r\n\r\n--y\r\n\r\n--y--\r\n--x--\r\n",
	} {
		got := f.attack(t, call{method: "POST", path: "/attacked", body: body, headers: []string{"Content-Type", "multipart/form-data; boundary=x"}}.request(t))
		if got.status < 400 || got.status >= 500 {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// A website serves what is public, whatever credentials come with the visit.
func TestWebsiteServesThePublicAlone(t *testing.T) {
	f := openField(t, func(c *s3.Config) { c.Domains = []string{"s3.test"} })
	put := func(query, body string) {
		if got := f.attack(t, byHeader(t, f.root, call{method: "PUT", path: "/attacked", query: query, body: body})); got.status >= 300 {
			t.Fatal(got)
		}
	}
	put("website=", "<WebsiteConfiguration><IndexDocument><Suffix>key</Suffix></IndexDocument></WebsiteConfiguration>")
	visit := func(path string) answer {
		r := call{method: "GET", path: path}.request(t)
		r.Host = "attacked.s3-website.s3.test"
		signWith(t, r, f.root, sum(""), time.Now())
		return f.attack(t, r)
	}
	for _, path := range []string{"/", "/key", "/../vault/secret", "//vault/secret"} {
		if got := visit(path); got.status < 400 || strings.Contains(got.body, canary) {
			t.Errorf("%s: %v", path, got)
		}
	}
	put("policy=", `{"Statement":{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::attacked/*"}}`)
	if got := visit("/"); got.status != http.StatusOK || got.body != canary {
		t.Errorf("a public website: %v", got)
	}
}

// A signature for one virtual host does not serve on another.
func TestVirtualHostsAreSigned(t *testing.T) {
	f := openField(t, func(c *s3.Config) { c.Domains = []string{"s3.test"} })
	r := call{method: "GET", path: "/key"}.request(t)
	r.Host = "attacked.s3.test"
	signWith(t, r, f.root, sum(""), time.Now())
	if got := f.attack(t, r); got.body != canary {
		t.Fatal(got)
	}
	for _, host := range []string{"vault.s3.test", "attacked.s3.test.evil.test", "s3.test", "ATTACKED.s3.test:80"} {
		again := r.Clone(t.Context())
		again.Host = host
		if got := f.attack(t, again); got.status < 400 {
			t.Errorf("%s: %v", host, got)
		}
	}
}
