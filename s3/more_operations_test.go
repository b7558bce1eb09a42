package s3_test

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

func TestObjectTagging(t *testing.T) {
	d := openDoor(t)
	b, key := d.bucket("tags"), "k"
	d.put(b, key, "x")
	put := func(tags ...types.Tag) error {
		_, err := d.root.PutObjectTagging(ctx, &awss3.PutObjectTaggingInput{Bucket: &b, Key: &key, Tagging: &types.Tagging{TagSet: tags}})
		return err
	}
	tag := func(k, v string) types.Tag { return types.Tag{Key: &k, Value: &v} }
	if err := put(tag("a", "1"), tag("b", "")); err != nil {
		t.Fatal(err)
	}
	wantError(t, put(tag("a", "1"), tag("a", "2")), 400, "InvalidTag")
	wantError(t, put(tag("a!", "1")), 400, "InvalidTag")
	got := must[*awss3.GetObjectTaggingOutput](t)(d.root.GetObjectTagging(ctx, &awss3.GetObjectTaggingInput{Bucket: &b, Key: &key}))
	if len(got.TagSet) != 2 || *got.TagSet[0].Key != "a" || *got.TagSet[1].Value != "" {
		t.Errorf("%+v", got.TagSet)
	}
	must[*awss3.DeleteObjectTaggingOutput](t)(d.root.DeleteObjectTagging(ctx, &awss3.DeleteObjectTaggingInput{Bucket: &b, Key: &key}))
	got = must[*awss3.GetObjectTaggingOutput](t)(d.root.GetObjectTagging(ctx, &awss3.GetObjectTaggingInput{Bucket: &b, Key: &key}))
	if len(got.TagSet) != 0 {
		t.Errorf("%+v", got.TagSet)
	}
	_, err := d.root.GetObjectTagging(ctx, &awss3.GetObjectTaggingInput{Bucket: &b, Key: aws.String("absent")})
	wantError(t, err, 404, "NoSuchKey")
}

func TestUploadPartCopy(t *testing.T) {
	d := openDoor(t)
	b, key := d.bucket("partcopy"), "k"
	d.put(b, "src", strings.Repeat("0123456789", 600_000))
	up := must[*awss3.CreateMultipartUploadOutput](t)(d.root.CreateMultipartUpload(ctx, &awss3.CreateMultipartUploadInput{Bucket: &b, Key: &key}))
	cp := func(n int32, edit func(*awss3.UploadPartCopyInput)) (*awss3.UploadPartCopyOutput, error) {
		in := &awss3.UploadPartCopyInput{Bucket: &b, Key: &key, UploadId: up.UploadId, PartNumber: &n, CopySource: aws.String("partcopy/src")}
		edit(in)
		return d.root.UploadPartCopy(ctx, in)
	}
	for header, code := range map[string]string{"bytes=0-6000000": "InvalidArgument", "bytes=5-": "InvalidArgument", "bytes=9-3": "InvalidArgument"} {
		_, err := cp(1, func(in *awss3.UploadPartCopyInput) { in.CopySourceRange = &header })
		wantError(t, err, 400, code)
	}
	_, err := cp(1, func(in *awss3.UploadPartCopyInput) { in.CopySource = aws.String("partcopy/absent") })
	wantError(t, err, 404, "NoSuchKey")
	one := must[*awss3.UploadPartCopyOutput](t)(cp(1, func(*awss3.UploadPartCopyInput) {}))
	two := must[*awss3.UploadPartCopyOutput](t)(cp(2, func(in *awss3.UploadPartCopyInput) { in.CopySourceRange = aws.String("bytes=3-5") }))
	out := must[*awss3.CompleteMultipartUploadOutput](t)(d.root.CompleteMultipartUpload(ctx, &awss3.CompleteMultipartUploadInput{
		Bucket: &b, Key: &key, UploadId: up.UploadId, MultipartUpload: &types.CompletedMultipartUpload{Parts: []types.CompletedPart{
			{PartNumber: aws.Int32(1), ETag: one.CopyPartResult.ETag}, {PartNumber: aws.Int32(2), ETag: two.CopyPartResult.ETag},
		}},
	}))
	body, _, err := d.get(b, key)
	if err != nil || len(body) != 6_000_003 || !strings.HasSuffix(body, "9345") || !strings.HasSuffix(*out.ETag, `-2"`) {
		t.Errorf("%d bytes, %v", len(body), err)
	}
}

func TestFinalChecksum(t *testing.T) {
	d := openDoor(t)
	b, key := d.bucket("final"), "k"
	start := func() (*string, []types.CompletedPart) {
		up := must[*awss3.CreateMultipartUploadOutput](t)(d.root.CreateMultipartUpload(ctx, &awss3.CreateMultipartUploadInput{
			Bucket: &b, Key: &key, ChecksumAlgorithm: types.ChecksumAlgorithmCrc32, ChecksumType: types.ChecksumTypeFullObject,
		}))
		p := must[*awss3.UploadPartOutput](t)(d.root.UploadPart(ctx, &awss3.UploadPartInput{
			Bucket: &b, Key: &key, UploadId: up.UploadId, PartNumber: aws.Int32(1), Body: bytes.NewReader([]byte("123456789")), ChecksumAlgorithm: types.ChecksumAlgorithmCrc32,
		}))
		return up.UploadId, []types.CompletedPart{{PartNumber: aws.Int32(1), ETag: p.ETag, ChecksumCRC32: p.ChecksumCRC32}}
	}
	id, parts := start()
	complete := func(edit func(*awss3.CompleteMultipartUploadInput)) error {
		in := &awss3.CompleteMultipartUploadInput{Bucket: &b, Key: &key, UploadId: id, MultipartUpload: &types.CompletedMultipartUpload{Parts: parts}}
		edit(in)
		_, err := d.root.CompleteMultipartUpload(ctx, in)
		return err
	}
	wantError(t, complete(func(in *awss3.CompleteMultipartUploadInput) { in.ChecksumCRC32 = aws.String("AAAAAA==") }), 400, "BadDigest")
	wantError(t, complete(func(in *awss3.CompleteMultipartUploadInput) { in.ChecksumCRC32 = aws.String("AAAAAA==-1") }), 400, "InvalidRequest")
	wantError(t, complete(func(in *awss3.CompleteMultipartUploadInput) { in.ChecksumType = types.ChecksumTypeComposite }), 400, "InvalidRequest")
	if err := complete(func(in *awss3.CompleteMultipartUploadInput) { in.ChecksumCRC32 = aws.String("y/Q5Jg==") }); err != nil {
		t.Fatal(err)
	}
}

func TestObjectACL(t *testing.T) {
	d := openDoor(t)
	enforced := d.bucket("enforced")
	d.put(enforced, "k", "x")
	_, err := d.root.PutObjectAcl(ctx, &awss3.PutObjectAclInput{Bucket: &enforced, Key: aws.String("k"), ACL: types.ObjectCannedACLPublicRead})
	wantError(t, err, 400, "AccessControlListNotSupported")
	b := d.bucket("granting", func(in *awss3.CreateBucketInput) { in.ObjectOwnership = types.ObjectOwnershipObjectWriter })
	d.put(b, "k", "x", func(in *awss3.PutObjectInput) { in.ACL = types.ObjectCannedACLPublicRead })
	d.put(b, "private", "x")
	anonymous := d.client("", "")
	if _, err := anonymous.GetObject(ctx, &awss3.GetObjectInput{Bucket: &b, Key: aws.String("k")}); err != nil {
		t.Errorf("public-read: %v", err)
	}
	_, err = anonymous.GetObject(ctx, &awss3.GetObjectInput{Bucket: &b, Key: aws.String("private")})
	wantError(t, err, 403, "AccessDenied")
	_, err = anonymous.GetObject(ctx, &awss3.GetObjectInput{Bucket: &b, Key: aws.String("k"), ResponseContentType: aws.String("text/html")})
	wantError(t, err, 400, "InvalidRequest")
	must[*awss3.PutObjectAclOutput](t)(d.root.PutObjectAcl(ctx, &awss3.PutObjectAclInput{Bucket: &b, Key: aws.String("k"), ACL: types.ObjectCannedACLPrivate}))
	_, err = anonymous.GetObject(ctx, &awss3.GetObjectInput{Bucket: &b, Key: aws.String("k")})
	wantError(t, err, 403, "AccessDenied")
	acl := must[*awss3.GetObjectAclOutput](t)(d.root.GetObjectAcl(ctx, &awss3.GetObjectAclInput{Bucket: &b, Key: aws.String("k")}))
	if len(acl.Grants) != 1 || acl.Grants[0].Permission != types.PermissionFullControl {
		t.Errorf("%+v", acl.Grants)
	}
}

func TestResponseOverrides(t *testing.T) {
	d := openDoor(t)
	b := d.bucket("overrides")
	d.put(b, "k", "x")
	_, out, err := d.get(b, "k", func(in *awss3.GetObjectInput) {
		in.ResponseContentType, in.ResponseContentDisposition = aws.String("text/html"), aws.String("attachment")
	})
	if err != nil || *out.ContentType != "text/html" || *out.ContentDisposition != "attachment" {
		t.Errorf("%+v %v", out, err)
	}
}

func TestWriteHeaders(t *testing.T) {
	d := openDoor(t)
	d.bucket("writes")
	for _, c := range []struct {
		header, value string
		status        int
		code          string
	}{
		{"x-amz-storage-class", "STANDARD_IA", 200, ""},
		{"x-amz-storage-class", "DEEP_ARCHIVE", 400, "InvalidStorageClass"},
		{"x-amz-storage-class", "standard", 400, "InvalidStorageClass"},
		{"x-amz-server-side-encryption", "AES256", 200, ""},
		{"x-amz-server-side-encryption", "aws:nothing", 400, "InvalidArgument"},
		{"x-amz-server-side-encryption-aws-kms-key-id", "k", 400, "InvalidArgument"},
		{"x-amz-server-side-encryption-customer-algorithm", "AES256", 400, "InvalidArgument"},
		{"x-amz-server-side-encryption-customer-algorithm", "AES128", 400, "InvalidEncryptionAlgorithmError"},
		{"x-amz-website-redirect-location", "ftp://x", 400, "InvalidRedirectLocation"},
		{"x-amz-object-lock-mode", "GOVERNANCE", 400, "InvalidArgument"},
		{"x-amz-object-lock-legal-hold", "ON", 400, "InvalidRequest"},
		{"x-amz-object-lock-legal-hold", "MAYBE", 400, "InvalidArgument"},
		{"x-amz-tagging", "a=1&a=2", 400, "InvalidArgument"},
		{"x-amz-acl", "nonsense", 400, "InvalidArgument"},
		{"x-amz-checksum-crc32", "AAAA", 400, "InvalidRequest"},
		{"x-amz-checksum-crc33", "AAAAAA==", 400, "InvalidRequest"},
		{"x-amz-sdk-checksum-algorithm", "CRC32", 400, "InvalidRequest"},
		{"Content-MD5", "nonsense", 400, "InvalidDigest"},
		{"x-amz-meta-big", strings.Repeat("v", 3000), 400, "MetadataTooLarge"},
		{"x-amz-write-offset-bytes", "1", 501, "NotImplemented"},
	} {
		a := d.raw(http.MethodPut, "/writes/k", []byte("body"), map[string]string{c.header: c.value})
		if a.status != c.status || c.code != "" && !strings.Contains(a.body, "<Code>"+c.code+"</Code>") {
			t.Errorf("%s: %.30s: %d %s", c.header, c.value, a.status, a.body)
		}
	}
}

func TestAbortByTime(t *testing.T) {
	d := openDoor(t)
	b, key := d.bucket("abort"), "k"
	up := must[*awss3.CreateMultipartUploadOutput](t)(d.root.CreateMultipartUpload(ctx, &awss3.CreateMultipartUploadInput{Bucket: &b, Key: &key}))
	_, err := d.root.AbortMultipartUpload(ctx, &awss3.AbortMultipartUploadInput{Bucket: &b, Key: &key, UploadId: up.UploadId, IfMatchInitiatedTime: aws.Time(time.Now().Add(-time.Hour))})
	wantError(t, err, 412, "PreconditionFailed")
	page := must[*awss3.ListMultipartUploadsOutput](t)(d.root.ListMultipartUploads(ctx, &awss3.ListMultipartUploadsInput{Bucket: &b, Prefix: &key, KeyMarker: aws.String("a"), UploadIdMarker: up.UploadId}))
	if len(page.Uploads) != 1 || page.Uploads[0].ChecksumAlgorithm != "" {
		t.Errorf("%+v", page.Uploads)
	}
	must[*awss3.AbortMultipartUploadOutput](t)(d.root.AbortMultipartUpload(ctx, &awss3.AbortMultipartUploadInput{Bucket: &b, Key: &key, UploadId: up.UploadId, IfMatchInitiatedTime: page.Uploads[0].Initiated}))
}

// TestAbortWhileListing: a client that aborts what it lists, page by page, sees
// every upload of a key once, though each marker names a closed one.
func TestAbortWhileListing(t *testing.T) {
	d := openDoor(t)
	b, key := d.bucket("abort"), "k"
	want := map[string]bool{}
	for range 7 {
		u := must[*awss3.CreateMultipartUploadOutput](t)(d.root.CreateMultipartUpload(ctx, &awss3.CreateMultipartUploadInput{Bucket: &b, Key: &key}))
		want[*u.UploadId] = true
	}
	in := &awss3.ListMultipartUploadsInput{Bucket: &b, MaxUploads: aws.Int32(2)}
	for more := true; more; {
		page := must[*awss3.ListMultipartUploadsOutput](t)(d.root.ListMultipartUploads(ctx, in))
		for _, u := range page.Uploads {
			if !want[*u.UploadId] {
				t.Errorf("%s is listed again", *u.UploadId)
			}
			delete(want, *u.UploadId)
			must[*awss3.AbortMultipartUploadOutput](t)(d.root.AbortMultipartUpload(ctx, &awss3.AbortMultipartUploadInput{Bucket: &b, Key: &key, UploadId: u.UploadId}))
		}
		in.KeyMarker, in.UploadIdMarker, more = page.NextKeyMarker, page.NextUploadIdMarker, aws.ToBool(page.IsTruncated)
	}
	if len(want) > 0 {
		t.Errorf("never listed: %v", want)
	}
}

// TestInitiator: an upload names who began it, whoever will own the object:
// users by their ARN, the account by its canonical id.
func TestInitiator(t *testing.T) {
	d := openDoor(t)
	b, key := d.bucket("initiated"), "k"
	_, ann := d.member("ann", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}`)
	for name, c := range map[string]*awss3.Client{"ann": ann, "root": d.root} {
		up := must[*awss3.CreateMultipartUploadOutput](t)(c.CreateMultipartUpload(ctx, &awss3.CreateMultipartUploadInput{Bucket: &b, Key: &key}))
		page := must[*awss3.ListMultipartUploadsOutput](t)(d.root.ListMultipartUploads(ctx, &awss3.ListMultipartUploadsInput{Bucket: &b}))
		parts := must[*awss3.ListPartsOutput](t)(d.root.ListParts(ctx, &awss3.ListPartsInput{Bucket: &b, Key: &key, UploadId: up.UploadId}))
		owner, initiator := aws.ToString(page.Uploads[0].Owner.ID), aws.ToString(page.Uploads[0].Initiator.ID)
		asUser := strings.HasPrefix(initiator, "arn:aws:iam::") && strings.HasSuffix(initiator, ":user/"+name)
		if name == "root" && initiator != owner || name != "root" && !asUser || *parts.Initiator.ID != initiator || *parts.Owner.ID != owner {
			t.Errorf("%s: initiator %q, owner %q; parts: %q %q", name, initiator, owner, *parts.Initiator.ID, *parts.Owner.ID)
		}
		must[*awss3.AbortMultipartUploadOutput](t)(d.root.AbortMultipartUpload(ctx, &awss3.AbortMultipartUploadInput{Bucket: &b, Key: &key, UploadId: up.UploadId}))
	}
}

func TestDeleteVersionsAtOnce(t *testing.T) {
	d := openDoor(t)
	b, key := d.bucket("atonce"), "k"
	versioned(d, b)
	v := d.put(b, key, "one").VersionId
	out := must[*awss3.DeleteObjectsOutput](t)(d.root.DeleteObjects(ctx, &awss3.DeleteObjectsInput{Bucket: &b, Delete: &types.Delete{Objects: []types.ObjectIdentifier{
		{Key: &key}, {Key: &key, VersionId: v}, {Key: &key, VersionId: aws.String("nonsense")},
	}}}))
	if len(out.Deleted) != 2 || !aws.ToBool(out.Deleted[0].DeleteMarker) || out.Deleted[0].DeleteMarkerVersionId == nil || *out.Deleted[1].VersionId != *v {
		t.Errorf("%+v", out.Deleted)
	}
	if len(out.Errors) != 1 || *out.Errors[0].Code != "NoSuchVersion" {
		t.Errorf("%+v", out.Errors)
	}
}
