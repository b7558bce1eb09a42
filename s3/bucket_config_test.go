package s3_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

func TestVersioningAndLock(t *testing.T) {
	d := openDoor(t)
	ctx := t.Context()
	b := d.bucket("bucket")
	put := func(s types.BucketVersioningStatus) error {
		_, err := d.root.PutBucketVersioning(ctx, &awss3.PutBucketVersioningInput{
			Bucket: &b, VersioningConfiguration: &types.VersioningConfiguration{Status: s}})
		return err
	}
	get := func() types.BucketVersioningStatus {
		t.Helper()
		v, err := d.root.GetBucketVersioning(ctx, &awss3.GetBucketVersioningInput{Bucket: &b})
		if err != nil {
			t.Fatal(err)
		}
		return v.Status
	}
	lock := func(r *types.DefaultRetention) error {
		in := &types.ObjectLockConfiguration{ObjectLockEnabled: "Enabled"}
		if r != nil {
			in.Rule = &types.ObjectLockRule{DefaultRetention: r}
		}
		_, err := d.root.PutObjectLockConfiguration(ctx, &awss3.PutObjectLockConfigurationInput{Bucket: &b, ObjectLockConfiguration: in})
		return err
	}
	if s := get(); s != "" {
		t.Errorf("at first: %q", s)
	}
	wantCode(t, "nonsense", put("x"), "MalformedXML")
	wantCode(t, "lock without versioning", lock(nil), "InvalidBucketState")
	_, err := d.root.GetObjectLockConfiguration(ctx, &awss3.GetObjectLockConfigurationInput{Bucket: &b})
	wantCode(t, "no lock", err, "ObjectLockConfigurationNotFoundError")
	for _, s := range []types.BucketVersioningStatus{"Suspended", "Enabled"} {
		wantCode(t, string(s), put(s), "")
		if got := get(); got != s {
			t.Errorf("%q, want %q", got, s)
		}
	}
	_, err = d.root.PutBucketVersioning(ctx, &awss3.PutBucketVersioningInput{
		Bucket: &b, VersioningConfiguration: &types.VersioningConfiguration{Status: "Enabled", MFADelete: "Enabled"}})
	wantCode(t, "MFA delete", err, "NotImplemented")
	wantCode(t, "lock", lock(&types.DefaultRetention{Mode: "GOVERNANCE", Years: aws.Int32(2)}), "")
	wantCode(t, "days and years", lock(&types.DefaultRetention{Mode: "GOVERNANCE", Years: aws.Int32(2), Days: aws.Int32(1)}), "MalformedXML")
	wantCode(t, "too long", lock(&types.DefaultRetention{Mode: "GOVERNANCE", Days: aws.Int32(36501)}), "InvalidArgument")
	l, err := d.root.GetObjectLockConfiguration(ctx, &awss3.GetObjectLockConfigurationInput{Bucket: &b})
	if err != nil || l.ObjectLockConfiguration.Rule == nil || aws.ToInt32(l.ObjectLockConfiguration.Rule.DefaultRetention.Years) != 2 {
		t.Errorf("%+v %v", l, err)
	}
	wantCode(t, "suspending a locked bucket", put("Suspended"), "InvalidBucketState")
	if got := get(); got != "Enabled" {
		t.Errorf("after the refusal: %q", got)
	}
	wantCode(t, "no default retention", lock(nil), "")
	if l, err = d.root.GetObjectLockConfiguration(ctx, &awss3.GetObjectLockConfigurationInput{Bucket: &b}); err != nil || l.ObjectLockConfiguration.Rule != nil {
		t.Errorf("%+v %v", l, err)
	}
}

func TestBucketTagging(t *testing.T) {
	d := openDoor(t)
	ctx := t.Context()
	b := d.bucket("bucket")
	put := func(pairs ...string) error {
		set := []types.Tag{}
		for i := 0; i < len(pairs); i += 2 {
			set = append(set, types.Tag{Key: &pairs[i], Value: &pairs[i+1]})
		}
		_, err := d.root.PutBucketTagging(ctx, &awss3.PutBucketTaggingInput{Bucket: &b, Tagging: &types.Tagging{TagSet: set}})
		return err
	}
	_, err := d.root.GetBucketTagging(ctx, &awss3.GetBucketTaggingInput{Bucket: &b})
	wantCode(t, "none", err, "NoSuchTagSet")
	wantCode(t, "two", put("a", "1", "b", "2"), "")
	wantCode(t, "twice", put("a", "1", "a", "2"), "InvalidTag")
	got, err := d.root.GetBucketTagging(ctx, &awss3.GetBucketTaggingInput{Bucket: &b})
	if err != nil || len(got.TagSet) != 2 || *got.TagSet[1].Key != "b" {
		t.Errorf("%+v %v", got, err)
	}
	_, err = d.root.DeleteBucketTagging(ctx, &awss3.DeleteBucketTaggingInput{Bucket: &b})
	wantCode(t, "delete", err, "")
	_, err = d.root.GetBucketTagging(ctx, &awss3.GetBucketTaggingInput{Bucket: &b})
	wantCode(t, "deleted", err, "NoSuchTagSet")
}

// A configuration document is checked against Content-MD5 and checksums, and
// changes nothing when it is refused.
func TestDocumentDigests(t *testing.T) {
	d := openDoor(t)
	ctx := t.Context()
	b := d.bucket("bucket")
	cfg := &types.CORSConfiguration{CORSRules: []types.CORSRule{{AllowedOrigins: []string{"*"}, AllowedMethods: []string{"GET"}}}}
	for md5, code := range map[string]string{"nonsense": "InvalidDigest", "1B2M2Y8AsgTpgAmY7PhCfg==": "BadDigest"} {
		_, err := d.root.PutBucketCors(ctx, &awss3.PutBucketCorsInput{Bucket: &b, CORSConfiguration: cfg, ContentMD5: &md5})
		wantCode(t, md5, err, code)
		_, err = d.root.GetBucketCors(ctx, &awss3.GetBucketCorsInput{Bucket: &b})
		wantCode(t, "after it", err, "NoSuchCORSConfiguration")
	}
	for _, a := range types.ChecksumAlgorithmCrc32.Values() {
		switch a {
		case "CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256":
			_, err := d.root.PutBucketCors(ctx, &awss3.PutBucketCorsInput{Bucket: &b, CORSConfiguration: cfg, ChecksumAlgorithm: a})
			wantCode(t, string(a), err, "")
		}
	}
}

func TestBucketEncryption(t *testing.T) {
	d := openDoor(t)
	ctx := t.Context()
	b := d.bucket("bucket")
	check := func(what string, algorithm types.ServerSideEncryption, key string) {
		t.Helper()
		out, err := d.root.GetBucketEncryption(ctx, &awss3.GetBucketEncryptionInput{Bucket: &b})
		if err != nil {
			t.Fatal(err)
		}
		rule := out.ServerSideEncryptionConfiguration.Rules[0]
		if e := rule.ApplyServerSideEncryptionByDefault; e.SSEAlgorithm != algorithm || aws.ToString(e.KMSMasterKeyID) != key || rule.BucketKeyEnabled == nil {
			t.Errorf("%s: %+v", what, e)
		}
	}
	put := func(algorithm types.ServerSideEncryption, key *string) error {
		_, err := d.root.PutBucketEncryption(ctx, &awss3.PutBucketEncryptionInput{Bucket: &b,
			ServerSideEncryptionConfiguration: &types.ServerSideEncryptionConfiguration{Rules: []types.ServerSideEncryptionRule{{
				ApplyServerSideEncryptionByDefault: &types.ServerSideEncryptionByDefault{SSEAlgorithm: algorithm, KMSMasterKeyID: key}}}}})
		return err
	}
	check("at first", "AES256", "")
	wantCode(t, "kms", put("aws:kms", aws.String("key")), "")
	check("kms", "aws:kms", "key")
	wantCode(t, "key without kms", put("AES256", aws.String("key")), "InvalidArgument")
	wantCode(t, "nonsense", put("rot13", nil), "MalformedXML")
	check("after refusals", "aws:kms", "key")
	_, err := d.root.DeleteBucketEncryption(ctx, &awss3.DeleteBucketEncryptionInput{Bucket: &b})
	wantCode(t, "delete", err, "")
	check("deleted", "AES256", "")
}

func TestBucketLogging(t *testing.T) {
	d := openDoor(t)
	ctx := t.Context()
	b, logs := d.bucket("bucket"), d.bucket("logs")
	_, other := d.member("other", allowAll)
	if _, err := other.CreateBucket(ctx, &awss3.CreateBucketInput{Bucket: aws.String("foreign")}); err != nil {
		t.Fatal(err)
	}
	put := func(target string) error {
		in := &types.BucketLoggingStatus{}
		if target != "" {
			in.LoggingEnabled = &types.LoggingEnabled{TargetBucket: &target, TargetPrefix: aws.String("p/")}
		}
		_, err := d.root.PutBucketLogging(ctx, &awss3.PutBucketLoggingInput{Bucket: &b, BucketLoggingStatus: in})
		return err
	}
	get := func() *types.LoggingEnabled {
		t.Helper()
		out, err := d.root.GetBucketLogging(ctx, &awss3.GetBucketLoggingInput{Bucket: &b})
		if err != nil {
			t.Fatal(err)
		}
		return out.LoggingEnabled
	}
	if get() != nil {
		t.Error("logging is on at first")
	}
	wantCode(t, "nowhere", put("nowhere"), "InvalidTargetBucketForLogging")
	wantCode(t, "another's", put("foreign"), "InvalidTargetBucketForLogging")
	wantCode(t, "on", put(logs), "")
	if l := get(); l == nil || *l.TargetBucket != logs || *l.TargetPrefix != "p/" {
		t.Errorf("%+v", l)
	}
	wantCode(t, "off", put(""), "")
	if get() != nil {
		t.Error("logging is still on")
	}
}

func TestUnusedConfigurations(t *testing.T) {
	d := openDoor(t)
	ctx := t.Context()
	b, id := d.bucket("bucket"), aws.String("id")
	_, err := d.root.GetBucketReplication(ctx, &awss3.GetBucketReplicationInput{Bucket: &b})
	wantCode(t, "replication", err, "ReplicationConfigurationNotFoundError")
	_, err = d.root.DeleteBucketReplication(ctx, &awss3.DeleteBucketReplicationInput{Bucket: &b})
	wantCode(t, "delete replication", err, "")
	_, err = d.root.GetBucketMetricsConfiguration(ctx, &awss3.GetBucketMetricsConfigurationInput{Bucket: &b, Id: id})
	wantCode(t, "metrics", err, "NoSuchConfiguration")
	_, err = d.root.DeleteBucketInventoryConfiguration(ctx, &awss3.DeleteBucketInventoryConfigurationInput{Bucket: &b, Id: id})
	wantCode(t, "delete inventory", err, "NoSuchConfiguration")
	_, err = d.root.PutBucketMetricsConfiguration(ctx, &awss3.PutBucketMetricsConfigurationInput{Bucket: &b, Id: id, MetricsConfiguration: &types.MetricsConfiguration{Id: id}})
	wantCode(t, "put metrics", err, "NotImplemented")
	a, err := d.root.ListBucketAnalyticsConfigurations(ctx, &awss3.ListBucketAnalyticsConfigurationsInput{Bucket: &b})
	if err != nil || len(a.AnalyticsConfigurationList) != 0 || aws.ToBool(a.IsTruncated) {
		t.Errorf("%+v %v", a, err)
	}
	p, err := d.root.GetBucketRequestPayment(ctx, &awss3.GetBucketRequestPaymentInput{Bucket: &b})
	if err != nil || p.Payer != "BucketOwner" {
		t.Errorf("%+v %v", p, err)
	}
	for payer, code := range map[types.Payer]string{"BucketOwner": "", "Requester": "NotImplemented", "x": "MalformedXML"} {
		_, err = d.root.PutBucketRequestPayment(ctx, &awss3.PutBucketRequestPaymentInput{Bucket: &b,
			RequestPaymentConfiguration: &types.RequestPaymentConfiguration{Payer: payer}})
		wantCode(t, string(payer), err, code)
	}
	for status, code := range map[types.BucketAccelerateStatus]string{"Suspended": "", "Enabled": "NotImplemented", "x": "MalformedXML"} {
		_, err = d.root.PutBucketAccelerateConfiguration(ctx, &awss3.PutBucketAccelerateConfigurationInput{Bucket: &b,
			AccelerateConfiguration: &types.AccelerateConfiguration{Status: status}})
		wantCode(t, string(status), err, code)
	}
}

func (d *door) putCORS(b string, rules ...types.CORSRule) error {
	_, err := d.root.PutBucketCors(context.Background(), &awss3.PutBucketCorsInput{Bucket: &b, CORSConfiguration: &types.CORSConfiguration{CORSRules: rules}})
	return err
}

func TestCORS(t *testing.T) {
	d := openDoor(t)
	b := d.bucket("bucket")
	preflight := map[string]string{"Origin": "http://a.example", "Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "X-Amz-Date"}
	if res := d.send("OPTIONS", "", "/bucket/key", preflight); res.StatusCode != 403 {
		t.Errorf("without a configuration: %d", res.StatusCode)
	}
	wantCode(t, "put", d.putCORS(b, types.CORSRule{
		AllowedOrigins: []string{"http://*.example"}, AllowedMethods: []string{"PUT", "GET"}, AllowedHeaders: []string{"*"},
		ExposeHeaders: []string{"ETag"}, MaxAgeSeconds: aws.Int32(60)}), "")
	res := d.send("OPTIONS", "", "/bucket/key", preflight)
	for k, v := range map[string]string{
		"Access-Control-Allow-Origin": "http://a.example", "Access-Control-Allow-Methods": "PUT, GET", "Access-Control-Allow-Headers": "x-amz-date",
		"Access-Control-Expose-Headers": "ETag", "Access-Control-Max-Age": "60", "Access-Control-Allow-Credentials": "true",
		"Vary": "Origin, Access-Control-Request-Headers, Access-Control-Request-Method",
	} {
		if got := res.Header.Get(k); res.StatusCode != 200 || got != v {
			t.Errorf("preflight %d: %s is %q, want %q", res.StatusCode, k, got, v)
		}
	}
	preflight["Origin"] = "http://evil.test"
	res = d.send("OPTIONS", "", "/bucket/key", preflight)
	body, _ := io.ReadAll(res.Body)
	if res.StatusCode != 403 || res.Header.Get("Access-Control-Allow-Origin") != "" || !strings.Contains(string(body), "<ResourceType>OBJECT</ResourceType>") {
		t.Errorf("foreign origin: %d %v %s", res.StatusCode, res.Header, body)
	}
	if res := d.send("OPTIONS", "", "/nowhere", preflight); res.StatusCode != 404 {
		t.Errorf("no bucket: %d", res.StatusCode)
	}
	// Even a refused request tells the browser that it may look at the refusal.
	res = d.send("GET", "", "/bucket/key", map[string]string{"Origin": "http://a.example"})
	if res.StatusCode != 403 || res.Header.Get("Access-Control-Allow-Origin") != "http://a.example" {
		t.Errorf("actual request: %d %v", res.StatusCode, res.Header)
	}
	if res = d.send("DELETE", "", "/bucket/key", map[string]string{"Origin": "http://a.example"}); res.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("method that no rule has: %v", res.Header)
	}
	if _, err := d.root.DeleteBucketCors(t.Context(), &awss3.DeleteBucketCorsInput{Bucket: &b}); err != nil {
		t.Error(err)
	}
}

// What is no document of the operation is MalformedXML; an empty one, an
// overlong one and one that is cut short have their own errors. Nothing is
// stored.
func TestBadDocuments(t *testing.T) {
	d := openDoor(t)
	d.bucket("bucket")
	for _, sub := range []string{"versioning", "tagging", "cors", "object-lock", "encryption", "lifecycle", "publicAccessBlock", "ownershipControls", "website",
		"notification", "logging", "requestPayment", "accelerate"} {
		for body, code := range map[string]string{
			"": "MissingRequestBodyError", "x": "MalformedXML", "<a/>": "MalformedXML", "{": "MalformedXML",
			`<!DOCTYPE a [<!ENTITY b "b">]><a>&b;</a>`: "MalformedXML",
			strings.Repeat("<a>", 10_000):              "MalformedXML",
			strings.Repeat("x", 2<<20):                 "MaxMessageLengthExceeded",
		} {
			res := d.signed("PUT", "/bucket?"+sub, body)
			text, err := io.ReadAll(res.Body)
			if err != nil || !strings.Contains(string(text), "<Code>"+code+"</Code>") {
				t.Errorf("%s with %.20q: %d %s, want %s", sub, body, res.StatusCode, text, code)
			}
		}
	}
}

// signed sends a signed request with a body.
func (d *door) signed(method, path, body string) *http.Response {
	d.t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), method, d.url+path, strings.NewReader(body))
	if err != nil {
		d.t.Fatal(err)
	}
	d.sign(r, body)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { res.Body.Close() })
	return res
}

// sign signs a request as root.
func (d *door) sign(r *http.Request, body string) {
	d.t.Helper()
	sum := sha256.Sum256([]byte(body))
	hash := hex.EncodeToString(sum[:])
	r.Header.Set("x-amz-content-sha256", hash)
	err := v4.NewSigner().SignHTTP(r.Context(), aws.Credentials{AccessKeyID: rootKey, SecretAccessKey: rootSecret}, r, hash, "s3", "us-east-1", time.Now(),
		func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	if err != nil {
		d.t.Fatal(err)
	}
}

func TestBucketLifecycle(t *testing.T) {
	d := openDoor(t)
	ctx := t.Context()
	b := d.bucket("bucket")
	put := func(r types.LifecycleRule) error {
		_, err := d.root.PutBucketLifecycleConfiguration(ctx, &awss3.PutBucketLifecycleConfigurationInput{
			Bucket: &b, LifecycleConfiguration: &types.BucketLifecycleConfiguration{Rules: []types.LifecycleRule{r}}})
		return err
	}
	rule := types.LifecycleRule{ID: aws.String("r"), Status: "Enabled", Filter: &types.LifecycleRuleFilter{Prefix: aws.String("tmp/")},
		Expiration: &types.LifecycleExpiration{Days: aws.Int32(3)}}
	_, err := d.root.GetBucketLifecycleConfiguration(ctx, &awss3.GetBucketLifecycleConfigurationInput{Bucket: &b})
	wantCode(t, "none", err, "NoSuchLifecycleConfiguration")
	wantCode(t, "put", put(rule), "")
	bad := rule
	bad.Expiration = &types.LifecycleExpiration{Days: aws.Int32(0)}
	wantCode(t, "no days", put(bad), "InvalidArgument")
	bad.Expiration = nil
	wantCode(t, "no action", put(bad), "InvalidRequest")
	got, err := d.root.GetBucketLifecycleConfiguration(ctx, &awss3.GetBucketLifecycleConfigurationInput{Bucket: &b})
	if err != nil || len(got.Rules) != 1 || aws.ToString(got.Rules[0].Filter.Prefix) != "tmp/" || aws.ToInt32(got.Rules[0].Expiration.Days) != 3 {
		t.Errorf("%+v %v", got, err)
	}
	_, err = d.root.DeleteBucketLifecycle(ctx, &awss3.DeleteBucketLifecycleInput{Bucket: &b})
	wantCode(t, "delete", err, "")
	_, err = d.root.GetBucketLifecycleConfiguration(ctx, &awss3.GetBucketLifecycleConfigurationInput{Bucket: &b})
	wantCode(t, "deleted", err, "NoSuchLifecycleConfiguration")
}
