package s3_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"github.com/hallig-cloud/hallig/access"
	"github.com/hallig-cloud/hallig/s3"
)

// wantCode checks that err is the S3 error of the code; "" wants none.
func wantCode(t testing.TB, what string, err error, code string) {
	t.Helper()
	var api smithy.APIError
	switch {
	case code == "" && err != nil:
		t.Errorf("%s: %v", what, err)
	case code != "" && (!errors.As(err, &api) || api.ErrorCode() != code):
		t.Errorf("%s: got %v, want %s", what, err, code)
	}
}

// member makes a user with a key and an optional policy, and returns a client.
func (d *door) member(name, policy string) (id string, c *awss3.Client) {
	d.t.Helper()
	ctx := context.Background()
	u, err := d.access.CreateUser(ctx, name, "", name+"@example.com")
	if err != nil {
		d.t.Fatal(err)
	}
	if policy != "" {
		if err := d.access.SetPolicy(ctx, name, "p", []byte(policy)); err != nil {
			d.t.Fatal(err)
		}
	}
	k, secret, err := d.access.CreateKey(ctx, access.NewKey{User: name})
	if err != nil {
		d.t.Fatal(err)
	}
	return u.ID, d.client(k.AccessKey, secret)
}

const allowAll = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}`

func TestCreateBucket(t *testing.T) {
	d := openDoor(t)
	ctx := t.Context()
	_, other := d.member("other", allowAll)
	create := func(c *awss3.Client, name string, f func(*awss3.CreateBucketInput)) (*awss3.CreateBucketOutput, error) {
		in := &awss3.CreateBucketInput{Bucket: &name}
		if f != nil {
			f(in)
		}
		return c.CreateBucket(ctx, in)
	}
	out, err := create(d.root, "first", nil)
	if err != nil || aws.ToString(out.Location) != "/first" || aws.ToString(out.BucketArn) != "arn:aws:s3:::first" {
		t.Fatalf("%+v %v", out, err)
	}
	location := func(l string) func(*awss3.CreateBucketInput) {
		return func(in *awss3.CreateBucketInput) {
			in.CreateBucketConfiguration = &types.CreateBucketConfiguration{LocationConstraint: types.BucketLocationConstraint(l)}
		}
	}
	for _, tt := range []struct {
		name, bucket, code string
		client             *awss3.Client
		edit               func(*awss3.CreateBucketInput)
	}{
		{"again", "first", "BucketAlreadyOwnedByYou", d.root, nil},
		{"another's", "first", "BucketAlreadyExists", other, nil},
		{"bad name", "First", "InvalidBucketName", d.root, nil},
		{"short name", "aa", "InvalidBucketName", d.root, nil},
		{"us-east-1 by name", "b1-ok", "InvalidLocationConstraint", d.root, location("us-east-1")},
		{"elsewhere", "b2-ok", "InvalidLocationConstraint", d.root, location("eu-west-1")},
		{"ownership", "b3-ok", "InvalidArgument", d.root, func(in *awss3.CreateBucketInput) { in.ObjectOwnership = "x" }},
		{"ACL without ACLs", "b4-ok", "InvalidBucketAclWithObjectOwnership", d.root, func(in *awss3.CreateBucketInput) { in.ACL = "public-read" }},
		{"private ACL", "b5-ok", "", d.root, func(in *awss3.CreateBucketInput) { in.ACL = "private" }},
		{"unknown ACL", "b6-ok", "InvalidArgument", d.root, func(in *awss3.CreateBucketInput) { in.ACL = "x" }},
		{"public ACL", "b7-ok", "", d.root, func(in *awss3.CreateBucketInput) { in.ACL, in.ObjectOwnership = "public-read", "ObjectWriter" }},
		{"bad tags", "b8-ok", "InvalidTag", d.root, func(in *awss3.CreateBucketInput) {
			in.CreateBucketConfiguration = &types.CreateBucketConfiguration{Tags: []types.Tag{{Key: aws.String("a!"), Value: aws.String("")}}}
		}},
		{"anonymous", "b9-ok", "AccessDenied", d.client("", ""), nil},
	} {
		_, err := create(tt.client, tt.bucket, tt.edit)
		wantCode(t, tt.name, err, tt.code)
		if tt.code != "" && tt.bucket != "first" {
			_, err = d.root.HeadBucket(ctx, &awss3.HeadBucketInput{Bucket: &tt.bucket})
			if err == nil {
				t.Errorf("%s: refused, and yet there", tt.name)
			}
		}
	}
	_, err = create(d.root, "locked", func(in *awss3.CreateBucketInput) {
		in.ObjectLockEnabledForBucket = aws.Bool(true)
		in.CreateBucketConfiguration = &types.CreateBucketConfiguration{Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}}
	})
	wantCode(t, "with lock and tags", err, "")
	v, err := d.root.GetBucketVersioning(ctx, &awss3.GetBucketVersioningInput{Bucket: aws.String("locked")})
	if err != nil || v.Status != "Enabled" {
		t.Errorf("versioning of a locked bucket: %+v %v", v, err)
	}
	tags, err := d.root.GetBucketTagging(ctx, &awss3.GetBucketTaggingInput{Bucket: aws.String("locked")})
	if err != nil || len(tags.TagSet) != 1 {
		t.Errorf("tags: %+v %v", tags, err)
	}
}

func TestRegion(t *testing.T) {
	d := openDoor(t, func(c *s3.Config) { c.Region = "eu-hallig-1" })
	ctx := t.Context()
	root := d.client(rootKey, rootSecret, func(o *awss3.Options) { o.Region = "eu-hallig-1" })
	for name, location := range map[string]string{"named": "eu-hallig-1", "unnamed": ""} {
		in := &awss3.CreateBucketInput{Bucket: &name}
		if location != "" {
			in.CreateBucketConfiguration = &types.CreateBucketConfiguration{LocationConstraint: types.BucketLocationConstraint(location)}
		}
		_, err := root.CreateBucket(ctx, in)
		wantCode(t, name, err, "")
		l, err := root.GetBucketLocation(ctx, &awss3.GetBucketLocationInput{Bucket: &name})
		if err != nil || l.LocationConstraint != "eu-hallig-1" {
			t.Errorf("%s: %+v %v", name, l, err)
		}
		h, err := root.HeadBucket(ctx, &awss3.HeadBucketInput{Bucket: &name})
		if err != nil || aws.ToString(h.BucketRegion) != "eu-hallig-1" {
			t.Errorf("%s: %+v %v", name, h, err)
		}
	}
}

func TestHeadLocationDelete(t *testing.T) {
	d := openDoor(t)
	ctx := t.Context()
	b := d.bucket("bucket")
	h, err := d.root.HeadBucket(ctx, &awss3.HeadBucketInput{Bucket: &b})
	if err != nil || aws.ToString(h.BucketRegion) != "us-east-1" || aws.ToBool(h.AccessPointAlias) {
		t.Errorf("%+v %v", h, err)
	}
	l, err := d.root.GetBucketLocation(ctx, &awss3.GetBucketLocationInput{Bucket: &b})
	if err != nil || l.LocationConstraint != "" {
		t.Errorf("%+v %v", l, err)
	}
	_, err = d.root.HeadBucket(ctx, &awss3.HeadBucketInput{Bucket: aws.String("nowhere")})
	wantCode(t, "head of nothing", err, "NotFound")
	if _, err := d.root.PutObject(ctx, &awss3.PutObjectInput{Bucket: &b, Key: aws.String("k"), Body: strings.NewReader("x")}); err != nil {
		t.Fatal(err)
	}
	_, err = d.root.DeleteBucket(ctx, &awss3.DeleteBucketInput{Bucket: &b, ExpectedBucketOwner: aws.String("999999999999")})
	wantCode(t, "another owner expected", err, "AccessDenied")
	_, err = d.root.DeleteBucket(ctx, &awss3.DeleteBucketInput{Bucket: &b})
	wantCode(t, "not empty", err, "BucketNotEmpty")
	if _, err := d.root.DeleteObject(ctx, &awss3.DeleteObjectInput{Bucket: &b, Key: aws.String("k")}); err != nil {
		t.Fatal(err)
	}
	_, stranger := d.member("stranger", "")
	_, err = stranger.DeleteBucket(ctx, &awss3.DeleteBucketInput{Bucket: &b})
	wantCode(t, "a stranger", err, "AccessDenied")
	_, err = d.root.DeleteBucket(ctx, &awss3.DeleteBucketInput{Bucket: &b})
	wantCode(t, "empty", err, "")
	_, err = d.root.DeleteBucket(ctx, &awss3.DeleteBucketInput{Bucket: &b})
	wantCode(t, "gone", err, "NoSuchBucket")
}

func TestListBuckets(t *testing.T) {
	d := openDoor(t)
	ctx := t.Context()
	var all []string
	for i := range 12 {
		all = append(all, d.bucket(fmt.Sprintf("list-%02d", i)))
	}
	d.bucket("other-1")
	_, user := d.member("lister", `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":["s3:ListAllMyBuckets","s3:CreateBucket"],"Resource":"*"},
		{"Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::list-03"}]}`)
	if _, err := user.CreateBucket(ctx, &awss3.CreateBucketInput{Bucket: aws.String("mine")}); err != nil {
		t.Fatal(err)
	}
	list := func(c *awss3.Client, in awss3.ListBucketsInput) (names []string, token string) {
		t.Helper()
		out, err := c.ListBuckets(ctx, &in)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range out.Buckets {
			if b.CreationDate == nil || aws.ToString(b.BucketRegion) != "us-east-1" {
				t.Errorf("%+v", b)
			}
			names = append(names, *b.Name)
		}
		return names, aws.ToString(out.ContinuationToken)
	}
	if got, _ := list(d.root, awss3.ListBucketsInput{}); !slices.Equal(got, append(slices.Clone(all), "mine", "other-1")) {
		t.Errorf("root sees %v", got)
	}
	if got, _ := list(user, awss3.ListBucketsInput{}); !slices.Equal(got, []string{"list-03", "mine"}) {
		t.Errorf("the user sees %v", got)
	}
	var paged []string
	for token := (*string)(nil); ; {
		got, next := list(d.root, awss3.ListBucketsInput{Prefix: aws.String("list-"), MaxBuckets: aws.Int32(5), ContinuationToken: token})
		paged = append(paged, got...)
		if next == "" {
			break
		}
		token = &next
	}
	if !slices.Equal(paged, all) {
		t.Errorf("pages: %v", paged)
	}
	if got, _ := list(d.root, awss3.ListBucketsInput{BucketRegion: aws.String("mars")}); len(got) != 0 {
		t.Errorf("another region: %v", got)
	}
	if got, token := list(d.root, awss3.ListBucketsInput{Prefix: aws.String("list-"), MaxBuckets: aws.Int32(12)}); len(got) != 12 || token != "" {
		t.Errorf("an exact page: %v, then %q", got, token)
	}
	for _, n := range []int32{0, -1, 10001} {
		_, err := d.root.ListBuckets(ctx, &awss3.ListBucketsInput{MaxBuckets: &n})
		wantCode(t, fmt.Sprint("max-buckets ", n), err, "InvalidArgument")
	}
	_, err := d.client("", "").ListBuckets(ctx, &awss3.ListBucketsInput{})
	wantCode(t, "anonymous", err, "AccessDenied")
}

// Every configuration operation on a bucket that is not there is NoSuchBucket,
// and refuses a stranger and, without a policy, everybody.
func TestConfigurationRefusals(t *testing.T) {
	d := openDoor(t)
	d.bucket("bucket")
	_, stranger := d.member("stranger", "")
	ctx := t.Context()
	calls := map[string]func(c *awss3.Client, b *string) error{
		"GetBucketVersioning": func(c *awss3.Client, b *string) error {
			_, err := c.GetBucketVersioning(ctx, &awss3.GetBucketVersioningInput{Bucket: b})
			return err
		},
		"GetBucketTagging": func(c *awss3.Client, b *string) error {
			_, err := c.GetBucketTagging(ctx, &awss3.GetBucketTaggingInput{Bucket: b})
			return err
		},
		"DeleteBucketTagging": func(c *awss3.Client, b *string) error {
			_, err := c.DeleteBucketTagging(ctx, &awss3.DeleteBucketTaggingInput{Bucket: b})
			return err
		},
		"GetBucketCors": func(c *awss3.Client, b *string) error {
			_, err := c.GetBucketCors(ctx, &awss3.GetBucketCorsInput{Bucket: b})
			return err
		},
		"DeleteBucketCors": func(c *awss3.Client, b *string) error {
			_, err := c.DeleteBucketCors(ctx, &awss3.DeleteBucketCorsInput{Bucket: b})
			return err
		},
		"GetBucketPolicy": func(c *awss3.Client, b *string) error {
			_, err := c.GetBucketPolicy(ctx, &awss3.GetBucketPolicyInput{Bucket: b})
			return err
		},
		"DeleteBucketPolicy": func(c *awss3.Client, b *string) error {
			_, err := c.DeleteBucketPolicy(ctx, &awss3.DeleteBucketPolicyInput{Bucket: b})
			return err
		},
		"GetBucketPolicyStatus": func(c *awss3.Client, b *string) error {
			_, err := c.GetBucketPolicyStatus(ctx, &awss3.GetBucketPolicyStatusInput{Bucket: b})
			return err
		},
		"GetPublicAccessBlock": func(c *awss3.Client, b *string) error {
			_, err := c.GetPublicAccessBlock(ctx, &awss3.GetPublicAccessBlockInput{Bucket: b})
			return err
		},
		"DeletePublicAccessBlock": func(c *awss3.Client, b *string) error {
			_, err := c.DeletePublicAccessBlock(ctx, &awss3.DeletePublicAccessBlockInput{Bucket: b})
			return err
		},
		"GetBucketOwnershipControls": func(c *awss3.Client, b *string) error {
			_, err := c.GetBucketOwnershipControls(ctx, &awss3.GetBucketOwnershipControlsInput{Bucket: b})
			return err
		},
		"GetBucketAcl": func(c *awss3.Client, b *string) error {
			_, err := c.GetBucketAcl(ctx, &awss3.GetBucketAclInput{Bucket: b})
			return err
		},
		"PutBucketAcl": func(c *awss3.Client, b *string) error {
			_, err := c.PutBucketAcl(ctx, &awss3.PutBucketAclInput{Bucket: b, ACL: "private"})
			return err
		},
		"GetObjectLockConfiguration": func(c *awss3.Client, b *string) error {
			_, err := c.GetObjectLockConfiguration(ctx, &awss3.GetObjectLockConfigurationInput{Bucket: b})
			return err
		},
		"GetBucketEncryption": func(c *awss3.Client, b *string) error {
			_, err := c.GetBucketEncryption(ctx, &awss3.GetBucketEncryptionInput{Bucket: b})
			return err
		},
		"DeleteBucketEncryption": func(c *awss3.Client, b *string) error {
			_, err := c.DeleteBucketEncryption(ctx, &awss3.DeleteBucketEncryptionInput{Bucket: b})
			return err
		},
		"GetBucketWebsite": func(c *awss3.Client, b *string) error {
			_, err := c.GetBucketWebsite(ctx, &awss3.GetBucketWebsiteInput{Bucket: b})
			return err
		},
		"GetBucketNotification": func(c *awss3.Client, b *string) error {
			_, err := c.GetBucketNotificationConfiguration(ctx, &awss3.GetBucketNotificationConfigurationInput{Bucket: b})
			return err
		},
		"GetBucketLogging": func(c *awss3.Client, b *string) error {
			_, err := c.GetBucketLogging(ctx, &awss3.GetBucketLoggingInput{Bucket: b})
			return err
		},
		"GetBucketRequestPayment": func(c *awss3.Client, b *string) error {
			_, err := c.GetBucketRequestPayment(ctx, &awss3.GetBucketRequestPaymentInput{Bucket: b})
			return err
		},
		"GetBucketAccelerate": func(c *awss3.Client, b *string) error {
			_, err := c.GetBucketAccelerateConfiguration(ctx, &awss3.GetBucketAccelerateConfigurationInput{Bucket: b})
			return err
		},
		"GetBucketReplication": func(c *awss3.Client, b *string) error {
			_, err := c.GetBucketReplication(ctx, &awss3.GetBucketReplicationInput{Bucket: b})
			return err
		},
		"ListBucketMetrics": func(c *awss3.Client, b *string) error {
			_, err := c.ListBucketMetricsConfigurations(ctx, &awss3.ListBucketMetricsConfigurationsInput{Bucket: b})
			return err
		},
	}
	for name, call := range calls {
		wantCode(t, name+" of nothing", call(d.root, aws.String("nowhere")), "NoSuchBucket")
		wantCode(t, name+" by a stranger", call(stranger, aws.String("bucket")), "AccessDenied")
		wantCode(t, name+" by nobody", call(d.client("", ""), aws.String("bucket")), "AccessDenied")
	}
}

// send makes a request without credentials.
func (d *door) send(method, host, path string, header map[string]string) *http.Response {
	d.t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), method, d.url+path, nil)
	if err != nil {
		d.t.Fatal(err)
	}
	if host != "" {
		r.Host = host
	}
	for k, v := range header {
		r.Header.Set(k, v)
	}
	c := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := c.Do(r)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { res.Body.Close() })
	return res
}
