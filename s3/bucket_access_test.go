package s3_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

func policyOf(principal, action, resource string) string {
	return fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":%s,"Action":"%s","Resource":"%s"}]}`, principal, action, resource)
}

func TestOwnershipAndACL(t *testing.T) {
	d := openDoor(t)
	ctx := t.Context()
	b := d.bucket("bucket")
	id, reader := d.member("reader", "")
	own := func(o types.ObjectOwnership) error {
		_, err := d.root.PutBucketOwnershipControls(ctx, &awss3.PutBucketOwnershipControlsInput{Bucket: &b,
			OwnershipControls: &types.OwnershipControls{Rules: []types.OwnershipControlsRule{{ObjectOwnership: o}}}})
		return err
	}
	owned := func(want types.ObjectOwnership) {
		t.Helper()
		o, err := d.root.GetBucketOwnershipControls(ctx, &awss3.GetBucketOwnershipControlsInput{Bucket: &b})
		if err != nil || o.OwnershipControls.Rules[0].ObjectOwnership != want {
			t.Errorf("ownership %+v %v, want %s", o, err, want)
		}
	}
	acl := func(f func(*awss3.PutBucketAclInput)) error {
		in := &awss3.PutBucketAclInput{Bucket: &b}
		f(in)
		_, err := d.root.PutBucketAcl(ctx, in)
		return err
	}
	grant := func(in *awss3.PutBucketAclInput) { in.GrantRead = aws.String(`id="` + id + `"`) }
	owned("BucketOwnerEnforced")
	wantCode(t, "ACL while they are off", acl(grant), "AccessControlListNotSupported")
	got, err := d.root.GetBucketAcl(ctx, &awss3.GetBucketAclInput{Bucket: &b})
	if err != nil || len(got.Grants) != 1 || got.Grants[0].Permission != "FULL_CONTROL" || *got.Grants[0].Grantee.ID != *got.Owner.ID {
		t.Fatalf("%+v %v", got, err)
	}
	owner := *got.Owner.ID
	wantCode(t, "nonsense", own("x"), "MalformedXML")
	wantCode(t, "preferred", own("BucketOwnerPreferred"), "")
	owned("BucketOwnerPreferred")

	_, err = reader.ListObjectsV2(ctx, &awss3.ListObjectsV2Input{Bucket: &b})
	wantCode(t, "before the grant", err, "AccessDenied")
	wantCode(t, "grant", acl(grant), "")
	_, err = reader.ListObjectsV2(ctx, &awss3.ListObjectsV2Input{Bucket: &b})
	wantCode(t, "after the grant", err, "")
	_, err = reader.PutObject(ctx, &awss3.PutObjectInput{Bucket: &b, Key: aws.String("k")})
	wantCode(t, "what was not granted", err, "AccessDenied")
	wantCode(t, "enforced over grants", own("BucketOwnerEnforced"), "InvalidBucketAclWithObjectOwnership")
	owned("BucketOwnerPreferred")

	body := func(owner, grantee string) func(*awss3.PutBucketAclInput) {
		return func(in *awss3.PutBucketAclInput) {
			in.AccessControlPolicy = &types.AccessControlPolicy{Owner: &types.Owner{ID: &owner},
				Grants: []types.Grant{{Permission: "READ", Grantee: &types.Grantee{Type: "CanonicalUser", ID: &grantee}}}}
		}
	}
	for name, tt := range map[string]struct {
		f    func(*awss3.PutBucketAclInput)
		code string
	}{
		"nothing":      {func(*awss3.PutBucketAclInput) {}, "MissingSecurityHeader"},
		"canned":       {func(in *awss3.PutBucketAclInput) { in.ACL = "x" }, "InvalidArgument"},
		"both":         {func(in *awss3.PutBucketAclInput) { in.ACL = "private"; grant(in) }, "InvalidRequest"},
		"body, header": {func(in *awss3.PutBucketAclInput) { in.ACL = "private"; body(owner, id)(in) }, "UnexpectedContent"},
		"new owner":    {body(id, id), "InvalidArgument"},
		"no such user": {body(owner, strings.Repeat("0", 64)), "InvalidArgument"},
		"by e-mail":    {func(in *awss3.PutBucketAclInput) { in.GrantRead = aws.String("emailAddress=nobody@example.com") }, "UnresolvableGrantByEmailAddress"},
		"good":         {body(owner, id), ""},
	} {
		wantCode(t, name, acl(tt.f), tt.code)
	}
	wantCode(t, "private", acl(func(in *awss3.PutBucketAclInput) { in.ACL = "private" }), "")
	_, err = reader.ListObjectsV2(ctx, &awss3.ListObjectsV2Input{Bucket: &b})
	wantCode(t, "after private", err, "AccessDenied")
	wantCode(t, "enforced", own("BucketOwnerEnforced"), "")

	_, err = d.root.DeleteBucketOwnershipControls(ctx, &awss3.DeleteBucketOwnershipControlsInput{Bucket: &b})
	wantCode(t, "delete", err, "")
	_, err = d.root.GetBucketOwnershipControls(ctx, &awss3.GetBucketOwnershipControlsInput{Bucket: &b})
	wantCode(t, "deleted", err, "OwnershipControlsNotFoundError")
	wantCode(t, "ACLs count without the setting", acl(grant), "")
}

func TestPolicyAndPublicAccessBlock(t *testing.T) {
	d := openDoor(t)
	ctx := t.Context()
	b := d.bucket("bucket", func(in *awss3.CreateBucketInput) { in.ObjectOwnership = "ObjectWriter" })
	if _, err := d.root.PutObject(ctx, &awss3.PutObjectInput{Bucket: &b, Key: aws.String("k"), Body: strings.NewReader("x")}); err != nil {
		t.Fatal(err)
	}
	d.member("known", "")
	nobody := d.client("", "")
	put := func(p string) error {
		_, err := d.root.PutBucketPolicy(ctx, &awss3.PutBucketPolicyInput{Bucket: &b, Policy: &p})
		return err
	}
	read := func() error {
		_, err := nobody.GetObject(ctx, &awss3.GetObjectInput{Bucket: &b, Key: aws.String("k")})
		return err
	}
	public := func() (bool, error) {
		s, err := d.root.GetBucketPolicyStatus(ctx, &awss3.GetBucketPolicyStatusInput{Bucket: &b})
		return err == nil && aws.ToBool(s.PolicyStatus.IsPublic), err
	}
	block := func(c types.PublicAccessBlockConfiguration) error {
		_, err := d.root.PutPublicAccessBlock(ctx, &awss3.PutPublicAccessBlockInput{Bucket: &b, PublicAccessBlockConfiguration: &c})
		return err
	}
	_, err := d.root.GetBucketPolicy(ctx, &awss3.GetBucketPolicyInput{Bucket: &b})
	wantCode(t, "none", err, "NoSuchBucketPolicy")
	_, err = public()
	wantCode(t, "status of none", err, "NoSuchBucketPolicy")
	for what, p := range map[string]string{
		"no JSON": "x", "nobody's": policyOf(`{"AWS":"arn:aws:iam::000000000000:user/nobody"}`, "s3:GetObject", "arn:aws:s3:::bucket/*"),
		"another bucket": policyOf(`"*"`, "s3:GetObject", "arn:aws:s3:::other/*"), "no action": policyOf(`"*"`, "s3:Eat", "arn:aws:s3:::bucket/*"),
	} {
		wantCode(t, what, put(p), "MalformedPolicy")
	}
	wantCode(t, "before", read(), "AccessDenied")
	open := policyOf(`"*"`, "s3:GetObject", "arn:aws:s3:::bucket/*")
	wantCode(t, "open", put(open), "")
	wantCode(t, "after", read(), "")
	got, err := d.root.GetBucketPolicy(ctx, &awss3.GetBucketPolicyInput{Bucket: &b})
	if err != nil || *got.Policy != open {
		t.Errorf("%+v %v", got, err)
	}
	if p, err := public(); !p || err != nil {
		t.Errorf("public %v %v", p, err)
	}

	_, err = d.root.GetPublicAccessBlock(ctx, &awss3.GetPublicAccessBlockInput{Bucket: &b})
	wantCode(t, "no block", err, "NoSuchPublicAccessBlockConfiguration")
	wantCode(t, "restrict", block(types.PublicAccessBlockConfiguration{RestrictPublicBuckets: aws.Bool(true)}), "")
	wantCode(t, "restricted", read(), "AccessDenied")
	wantCode(t, "block policies", block(types.PublicAccessBlockConfiguration{BlockPublicPolicy: aws.Bool(true), BlockPublicAcls: aws.Bool(true)}), "")
	wantCode(t, "the stored policy goes on", read(), "")
	wantCode(t, "a new public policy", put(open), "AccessDenied")
	wantCode(t, "one that is not", put(policyOf(`{"AWS":"arn:aws:iam::000000000000:user/known"}`, "s3:GetObject", "arn:aws:s3:::bucket/*")), "")
	_, err = d.root.PutBucketAcl(ctx, &awss3.PutBucketAclInput{Bucket: &b, ACL: "public-read"})
	wantCode(t, "a public ACL", err, "AccessDenied")
	c, err := d.root.GetPublicAccessBlock(ctx, &awss3.GetPublicAccessBlockInput{Bucket: &b})
	if err != nil || !*c.PublicAccessBlockConfiguration.BlockPublicPolicy || *c.PublicAccessBlockConfiguration.RestrictPublicBuckets {
		t.Errorf("%+v %v", c, err)
	}
	_, err = d.root.DeletePublicAccessBlock(ctx, &awss3.DeletePublicAccessBlockInput{Bucket: &b})
	wantCode(t, "delete block", err, "")
	wantCode(t, "everything to everybody", put(policyOf(`"*"`, "s3:*", "arn:aws:s3:::bucket")), "")
	_, err = nobody.GetBucketPolicy(ctx, &awss3.GetBucketPolicyInput{Bucket: &b})
	wantCode(t, "but not the policy", err, "MethodNotAllowed")
	p := policyOf(`"*"`, "s3:*", "arn:aws:s3:::bucket")
	_, err = nobody.PutBucketPolicy(ctx, &awss3.PutBucketPolicyInput{Bucket: &b, Policy: &p})
	wantCode(t, "nor to change it", err, "MethodNotAllowed")
	_, err = d.root.DeleteBucketPolicy(ctx, &awss3.DeleteBucketPolicyInput{Bucket: &b})
	wantCode(t, "delete", err, "")
	wantCode(t, "closed again", read(), "AccessDenied")
}
