package sigv4

import (
	"net/http"
	"testing"
	"time"
)

// TestV2Examples checks the examples of "Signing and authenticating REST
// requests" (S3 Developer Guide), and that the switch is what lets them in.
func TestV2Examples(t *testing.T) {
	bucket := func(host string) string {
		if host == "awsexamplebucket1.us-west-1.s3.amazonaws.com" {
			return "awsexamplebucket1"
		}
		return ""
	}
	at := time.Date(2007, 3, 27, 19, 36, 42, 0, time.UTC)
	for name, test := range map[string]struct {
		r  *http.Request
		at time.Time
	}{
		"GET": {request("GET", "/photos/puppy.jpg", "awsexamplebucket1.us-west-1.s3.amazonaws.com", "", "Date", "Tue, 27 Mar 2007 19:36:42 +0000",
			"Authorization", "AWS AKIAIOSFODNN7EXAMPLE:qgk2+6Sv9/oM7G3qLEjTH1a1l1g="), at},
		"list": {request("GET", "/?prefix=photos&max-keys=50&marker=puppy", "awsexamplebucket1.us-west-1.s3.amazonaws.com", "", "Date", "Tue, 27 Mar 2007 19:42:41 +0000",
			"Authorization", "AWS AKIAIOSFODNN7EXAMPLE:m0WP8eCtspQl5Ahe6L1SozdX9YA="), at},
		"acl": {request("GET", "/?acl", "awsexamplebucket1.us-west-1.s3.amazonaws.com", "", "Date", "Tue, 27 Mar 2007 19:44:46 +0000",
			"Authorization", "AWS AKIAIOSFODNN7EXAMPLE:82ZHiFIjc+WbcwFKGUVEQspPn+0="), at},
	} {
		if _, err := verifierAt(test.at, func(c *Config) { c.AllowV2, c.HostBucket = true, bucket }).Authenticate(test.r); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := verifierAt(test.at).Authenticate(test.r); code(err) != "InvalidRequest" {
			t.Errorf("%s with the switch off: %v", name, err)
		}
		test.r.Header.Set("X-Amz-Acl", "public-read")
		if _, err := verifierAt(test.at, func(c *Config) { c.AllowV2, c.HostBucket = true, bucket }).Authenticate(test.r); code(err) != "SignatureDoesNotMatch" {
			t.Errorf("%s with a header added: %v", name, err)
		}
		if _, err := verifierAt(test.at.Add(time.Hour), func(c *Config) { c.AllowV2 = true }).Authenticate(test.r); code(err) != "RequestTimeTooSkewed" {
			t.Errorf("%s an hour later: %v", name, err)
		}
	}
}

// TestV2Presigned signs a query and lets it expire.
func TestV2Presigned(t *testing.T) {
	allow := func(c *Config) { c.AllowV2 = true }
	v := verifierAt(time.Unix(1_000, 0), allow)
	r := request("GET", "/bucket/key?AWSAccessKeyId="+exampleKey+"&Expires=2000&Signature=x&versionId=3", "s3.test", "")
	query, _ := parseQuery(r.URL.RawQuery)
	toSign := v.stringToSignV2(r, query, "2000")
	if toSign != "GET\n\n\n2000\n/bucket/key?versionId=3" {
		t.Fatalf("%q", toSign)
	}
	for target, want := range map[string]string{
		"/bucket/key?Expires=2000&Signature=x":                                                "AccessDenied",
		"/bucket/key?AWSAccessKeyId=" + exampleKey + "&Expires=999&Signature=x":               "AccessDenied",
		"/bucket/key?AWSAccessKeyId=" + exampleKey + "&Expires=x&Signature=x":                 "AccessDenied",
		"/bucket/key?AWSAccessKeyId=" + exampleKey + "&Expires=2000&Expires=3000&Signature=x": "AccessDenied",
		"/bucket/key?AWSAccessKeyId=" + exampleKey + "&Expires=2000&Signature=x":              "SignatureDoesNotMatch",
		"/bucket/key?AWSAccessKeyId=nobody&Expires=2000&Signature=x":                          "InvalidAccessKeyId",
	} {
		if _, err := v.Authenticate(request("GET", target, "s3.test", "")); code(err) != want {
			t.Errorf("%s: %v, want %s", target, err, want)
		}
	}
	if _, err := verifierAt(time.Unix(1_000, 0)).Authenticate(r); code(err) != "InvalidRequest" {
		t.Errorf("with the switch off: %v", err)
	}
}
