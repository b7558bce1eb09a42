package s3_test

import (
	"io"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/hallig-cloud/hallig/s3"
)

func TestWebsite(t *testing.T) {
	d := openDoor(t, func(c *s3.Config) { c.Domains = []string{"s3.test"} })
	ctx := t.Context()
	b := d.bucket("site")
	const host = "site.s3-website.s3.test:8080"
	get := func(method, path string, header map[string]string) (status int, body, location string) {
		t.Helper()
		res := d.send(method, host, path, header)
		text, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(text), res.Header.Get("Location")
	}
	want := func(path string, status int, body, location string) {
		t.Helper()
		s, text, to := get("GET", path, nil)
		if s != status || !strings.Contains(text, body) || to != location {
			t.Errorf("%s: %d %q to %q, want %d %q to %q", path, s, text, to, status, body, location)
		}
	}
	want("/", 404, "<li>Code: NoSuchWebsiteConfiguration</li>", "")
	put := func(key, body string, edit ...func(*awss3.PutObjectInput)) {
		t.Helper()
		in := &awss3.PutObjectInput{Bucket: &b, Key: &key, Body: strings.NewReader(body), ContentType: aws.String("text/html")}
		for _, f := range edit {
			f(in)
		}
		if _, err := d.root.PutObject(ctx, in); err != nil {
			t.Fatal(err)
		}
	}
	put("index.html", "the index")
	put("docs/index.html", "the docs")
	put("a b/ü.html", "umlaut")
	put("404.html", "my own error")
	put("moved", "", func(in *awss3.PutObjectInput) { in.WebsiteRedirectLocation = aws.String("/elsewhere") })
	put("secret/x", "secret")
	configure := func(c types.WebsiteConfiguration) {
		t.Helper()
		if _, err := d.root.PutBucketWebsite(ctx, &awss3.PutBucketWebsiteInput{Bucket: &b, WebsiteConfiguration: &c}); err != nil {
			t.Fatal(err)
		}
	}
	index := &types.IndexDocument{Suffix: aws.String("index.html")}
	rule := func(prefix, code, replace string) types.RoutingRule {
		r := types.RoutingRule{Condition: &types.Condition{KeyPrefixEquals: &prefix}, Redirect: &types.Redirect{ReplaceKeyPrefixWith: &replace}}
		if code != "" {
			r.Condition.HttpErrorCodeReturnedEquals = &code
		}
		return r
	}
	configure(types.WebsiteConfiguration{IndexDocument: index, RoutingRules: []types.RoutingRule{rule("old/", "", "docs/"), rule("gone/", "404", "docs/")}})

	want("/", 403, "<li>Code: AccessDenied</li>", "") // nothing is public yet
	want("/old/x", 301, "", "http://"+host+"/docs/x")
	policy := `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::site/*"},
		{"Effect":"Allow","Principal":"*","Action":"s3:ListBucket","Resource":"arn:aws:s3:::site"},
		{"Effect":"Deny","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::site/secret/*"}]}`
	if _, err := d.root.PutBucketPolicy(ctx, &awss3.PutBucketPolicyInput{Bucket: &b, Policy: &policy}); err != nil {
		t.Fatal(err)
	}
	want("/", 200, "the index", "")
	want("/docs/", 200, "the docs", "")
	want("/docs?q=1", 302, "", "/docs/?q=1")
	want("/a%20b/%C3%BC.html", 200, "umlaut", "")
	want("/moved", 301, "", "/elsewhere")
	want("/none", 404, "<li>Code: NoSuchKey</li>", "")
	want("/gone/x", 301, "", "http://"+host+"/docs/x")
	want("/secret/x", 403, "<li>Code: AccessDenied</li>", "")
	want("/index.html?versioning", 200, "the index", "") // no sub-resources here
	if s, text, _ := get("HEAD", "/", nil); s != 200 || text != "" {
		t.Errorf("HEAD: %d %q", s, text)
	}
	if s, _, _ := get("PUT", "/x", nil); s != 405 {
		t.Errorf("PUT: %d", s)
	}
	if s, text, _ := get("GET", "/index.html", map[string]string{"Range": "bytes=4-"}); s != 206 || text != "index" {
		t.Errorf("range: %d %q", s, text)
	}
	// Whoever sends credentials is still nobody.
	if s, _, _ := get("GET", "/secret/x", map[string]string{"Authorization": "AWS4-HMAC-SHA256 Credential=" + rootKey}); s != 403 {
		t.Errorf("with credentials: %d", s)
	}

	configure(types.WebsiteConfiguration{IndexDocument: index, ErrorDocument: &types.ErrorDocument{Key: aws.String("404.html")}})
	want("/none", 404, "my own error", "")
	want("/secret/x", 403, "my own error", "")
	configure(types.WebsiteConfiguration{IndexDocument: index, ErrorDocument: &types.ErrorDocument{Key: aws.String("secret/x")}})
	want("/none", 404, "An Error Occurred While Attempting to Retrieve a Custom Error Document", "")

	configure(types.WebsiteConfiguration{RedirectAllRequestsTo: &types.RedirectAllRequestsTo{HostName: aws.String("w.test"), Protocol: "https"}})
	want("/a/b?c=d", 301, "", "https://w.test/a/b?c=d")
	if _, err := d.root.DeleteBucketWebsite(ctx, &awss3.DeleteBucketWebsiteInput{Bucket: &b}); err != nil {
		t.Fatal(err)
	}
	_, err := d.root.GetBucketWebsite(ctx, &awss3.GetBucketWebsiteInput{Bucket: &b})
	wantCode(t, "deleted", err, "NoSuchWebsiteConfiguration")
	if res := d.send("GET", "nowhere.s3-website.s3.test", "/", nil); res.StatusCode != 404 {
		t.Errorf("no bucket: %d", res.StatusCode)
	}
	res := d.send("GET", "s3-website.s3.test:8080", "/", nil)
	if res.StatusCode != 301 || res.Header.Get("x-amz-error-code") != "WebsiteRedirect" {
		t.Errorf("no bucket in the host: %d %v", res.StatusCode, res.Header)
	}
}
