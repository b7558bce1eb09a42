package s3_test

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/objects"
	"github.com/hallig-cloud/hallig/s3"
)

var ctx = context.Background()

// wantError fails unless err is the S3 error of that code and status.
func wantError(t testing.TB, err error, status int, code string) {
	t.Helper()
	var api smithy.APIError
	var resp *smithyhttp.ResponseError
	if !errors.As(err, &api) || !errors.As(err, &resp) {
		t.Fatalf("want %d %s, got %v", status, code, err)
	}
	if api.ErrorCode() != code || resp.HTTPStatusCode() != status {
		t.Fatalf("want %d %s, got %d %s (%s)", status, code, resp.HTTPStatusCode(), api.ErrorCode(), api.ErrorMessage())
	}
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func (d *door) put(bucket, key, body string, edit ...func(*awss3.PutObjectInput)) *awss3.PutObjectOutput {
	d.t.Helper()
	in := &awss3.PutObjectInput{Bucket: &bucket, Key: &key, Body: strings.NewReader(body)}
	for _, f := range edit {
		f(in)
	}
	out, err := d.root.PutObject(ctx, in)
	if err != nil {
		d.t.Fatal(err)
	}
	return out
}

func (d *door) get(bucket, key string, edit ...func(*awss3.GetObjectInput)) (string, *awss3.GetObjectOutput, error) {
	in := &awss3.GetObjectInput{Bucket: &bucket, Key: &key}
	for _, f := range edit {
		f(in)
	}
	out, err := d.root.GetObject(ctx, in)
	if err != nil {
		return "", nil, err
	}
	body, err := io.ReadAll(out.Body)
	return string(body), out, err
}

func versioned(d *door, bucket string) {
	if _, err := d.root.PutBucketVersioning(ctx, &awss3.PutBucketVersioningInput{Bucket: &bucket, VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled}}); err != nil {
		d.t.Fatal(err)
	}
}

func TestRangesAndParts(t *testing.T) {
	d := openDoor(t)
	b := d.bucket("ranges")
	d.put(b, "k", "0123456789")
	for header, want := range map[string]string{"bytes=2-4": "234", "bytes=-3": "789", "bytes=8-": "89", "bytes=0-0,2-3": "0123456789", "nonsense": "0123456789"} {
		body, out, err := d.get(b, "k", func(in *awss3.GetObjectInput) { in.Range = &header })
		if err != nil || body != want {
			t.Errorf("%s: %q, %v", header, body, err)
		} else if (out.ContentRange != nil) != (want != "0123456789") {
			t.Errorf("%s: Content-Range %q", header, aws.ToString(out.ContentRange))
		}
	}
	_, _, err := d.get(b, "k", func(in *awss3.GetObjectInput) { in.Range = aws.String("bytes=10-") })
	wantError(t, err, 416, "InvalidRange")
	_, out, err := d.get(b, "k", func(in *awss3.GetObjectInput) { in.PartNumber = aws.Int32(1) })
	if err != nil || aws.ToString(out.ContentRange) != "bytes 0-9/10" || out.PartsCount != nil {
		t.Errorf("part 1 of a plain object: %+v %v", out, err)
	}
	_, _, err = d.get(b, "k", func(in *awss3.GetObjectInput) { in.PartNumber = aws.Int32(2) })
	wantError(t, err, 416, "InvalidPartNumber")
	_, _, err = d.get(b, "k", func(in *awss3.GetObjectInput) { in.PartNumber = aws.Int32(10001) })
	wantError(t, err, 400, "InvalidArgument")
}

// Of writers that all demand that nothing is there yet, one wins. With the
// demand dropped on its way to the store all would.
func TestConditionalWritesHaveOneWinner(t *testing.T) {
	if won := winners(t, openDoor(t)); won != 1 {
		t.Errorf("%d writers won", won)
	}
	careless := openDoor(t, func(c *s3.Config) { c.Store = unconditional{c.Store} })
	if won := winners(t, careless); won == 1 {
		t.Error("the test would not notice that conditions are dropped")
	}
}

type unconditional struct{ objects.API }

func (u unconditional) Put(ctx context.Context, r objects.PutRequest) (catalog.Version, error) {
	r.If = catalog.Precondition{}
	return u.API.Put(ctx, r)
}

// winners lets eight writers race for a key and counts who won.
func winners(t *testing.T, d *door) int {
	t.Helper()
	b, key := d.bucket("race"), "key"
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for i := range 8 {
		wg.Go(func() {
			_, err := d.root.PutObject(ctx, &awss3.PutObjectInput{Bucket: &b, Key: &key, Body: strings.NewReader(fmt.Sprint(i)), IfNoneMatch: aws.String("*")})
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won++
				return
			}
			var api smithy.APIError
			if !errors.As(err, &api) || api.ErrorCode() != "PreconditionFailed" && api.ErrorCode() != "ConditionalRequestConflict" {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	return won
}

func TestConditionsOfWrites(t *testing.T) {
	d := openDoor(t)
	b := d.bucket("conditions")
	etag := d.put(b, "k", "one").ETag
	put := func(key string, edit func(*awss3.PutObjectInput)) error {
		in := &awss3.PutObjectInput{Bucket: &b, Key: &key, Body: strings.NewReader("two")}
		edit(in)
		_, err := d.root.PutObject(ctx, in)
		return err
	}
	wantError(t, put("k", func(in *awss3.PutObjectInput) { in.IfNoneMatch = aws.String("*") }), 412, "PreconditionFailed")
	wantError(t, put("k", func(in *awss3.PutObjectInput) { in.IfMatch = aws.String("other") }), 412, "PreconditionFailed")
	wantError(t, put("none", func(in *awss3.PutObjectInput) { in.IfMatch = etag }), 404, "NoSuchKey")
	wantError(t, put("k", func(in *awss3.PutObjectInput) { in.IfNoneMatch = etag }), 501, "NotImplemented")
	if body, _, _ := d.get(b, "k"); body != "one" {
		t.Fatalf("a refused write changed the object to %q", body)
	}
	if err := put("k", func(in *awss3.PutObjectInput) { in.IfMatch = etag }); err != nil {
		t.Fatal(err)
	}
	_, err := d.root.DeleteObject(ctx, &awss3.DeleteObjectInput{Bucket: &b, Key: aws.String("k"), IfMatch: etag})
	wantError(t, err, 412, "PreconditionFailed")
	_, err = d.root.DeleteObject(ctx, &awss3.DeleteObjectInput{Bucket: &b, Key: aws.String("k"), IfMatchSize: aws.Int64(99)})
	wantError(t, err, 412, "PreconditionFailed")
	if _, err = d.root.DeleteObject(ctx, &awss3.DeleteObjectInput{Bucket: &b, Key: aws.String("k"), IfMatchSize: aws.Int64(3)}); err != nil {
		t.Fatal(err)
	}
}

func TestConditionsOfReads(t *testing.T) {
	d := openDoor(t)
	b := d.bucket("reads")
	etag := d.put(b, "k", "one").ETag
	_, _, err := d.get(b, "k", func(in *awss3.GetObjectInput) { in.IfMatch = aws.String("x") })
	wantError(t, err, 412, "PreconditionFailed")
	resp := d.raw(http.MethodGet, "/reads/k", nil, map[string]string{"If-None-Match": *etag})
	if resp.status != 304 || resp.body != "" || resp.header.Get("ETag") != *etag || resp.header.Get("Last-Modified") == "" {
		t.Errorf("304: %+v", resp)
	}
	resp = d.raw(http.MethodGet, "/reads/k", nil, map[string]string{"Range": "bytes=0-0", "If-Range": `"other"`})
	if resp.status != 200 || resp.body != "one" {
		t.Errorf("If-Range of another version: %+v", resp)
	}
}

func TestVersions(t *testing.T) {
	d := openDoor(t)
	b := d.bucket("versions")
	null := d.put(b, "k", "zero")
	if null.VersionId != nil {
		t.Error("a bucket without versioning tells version ids")
	}
	versioned(d, b)
	one, two := d.put(b, "k", "one"), d.put(b, "k", "two")
	for id, want := range map[string]string{"null": "zero", *one.VersionId: "one", *two.VersionId: "two"} {
		if body, out, err := d.get(b, "k", func(in *awss3.GetObjectInput) { in.VersionId = &id }); err != nil || body != want || aws.ToString(out.VersionId) != id {
			t.Errorf("%s: %q %v", id, body, err)
		}
	}
	del := must[*awss3.DeleteObjectOutput](t)(d.root.DeleteObject(ctx, &awss3.DeleteObjectInput{Bucket: &b, Key: aws.String("k")}))
	if !aws.ToBool(del.DeleteMarker) || del.VersionId == nil {
		t.Fatalf("%+v", del)
	}
	resp := d.raw(http.MethodGet, "/versions/k", nil, nil)
	if resp.status != 404 || resp.header.Get("x-amz-delete-marker") != "true" || !strings.Contains(resp.body, "<Code>NoSuchKey</Code>") {
		t.Errorf("a delete marker: %+v", resp)
	}
	resp = d.raw(http.MethodHead, "/versions/k?versionId="+*del.VersionId, nil, nil)
	if resp.status != 405 || resp.header.Get("x-amz-delete-marker") != "true" || resp.header.Get("Allow") != "DELETE" || resp.body != "" {
		t.Errorf("a delete marker by its id: %+v", resp)
	}
	list := must[*awss3.ListObjectVersionsOutput](t)(d.root.ListObjectVersions(ctx, &awss3.ListObjectVersionsInput{Bucket: &b}))
	if len(list.Versions) != 3 || len(list.DeleteMarkers) != 1 || !*list.DeleteMarkers[0].IsLatest || *list.Versions[0].VersionId != *two.VersionId {
		t.Errorf("%+v", list)
	}
	var seen []string
	in := &awss3.ListObjectVersionsInput{Bucket: &b, MaxKeys: aws.Int32(1)}
	for {
		page := must[*awss3.ListObjectVersionsOutput](t)(d.root.ListObjectVersions(ctx, in))
		for _, v := range page.Versions {
			seen = append(seen, *v.VersionId)
		}
		for _, v := range page.DeleteMarkers {
			seen = append(seen, *v.VersionId)
		}
		if !*page.IsTruncated {
			break
		}
		in.KeyMarker, in.VersionIdMarker = page.NextKeyMarker, page.NextVersionIdMarker
	}
	if want := fmt.Sprint([]string{*del.VersionId, *two.VersionId, *one.VersionId, "null"}); fmt.Sprint(seen) != want {
		t.Errorf("page by page: %v, want %v", seen, want)
	}
	must[*awss3.DeleteObjectOutput](t)(d.root.DeleteObject(ctx, &awss3.DeleteObjectInput{Bucket: &b, Key: aws.String("k"), VersionId: del.VersionId}))
	if body, _, err := d.get(b, "k"); err != nil || body != "two" {
		t.Errorf("without its delete marker: %q %v", body, err)
	}
}

func TestDeleteObjects(t *testing.T) {
	d := openDoor(t)
	b := d.bucket("many")
	d.put(b, "a", "x")
	d.put(b, "b", "x")
	long := strings.Repeat("k", 1025)
	out := must[*awss3.DeleteObjectsOutput](t)(d.root.DeleteObjects(ctx, &awss3.DeleteObjectsInput{Bucket: &b, Delete: &types.Delete{Objects: []types.ObjectIdentifier{
		{Key: aws.String("a")}, {Key: &long}, {Key: aws.String("absent")}, {Key: aws.String("b"), ETag: aws.String("other")},
	}}}))
	if len(out.Deleted) != 2 || *out.Deleted[0].Key != "a" || *out.Deleted[1].Key != "absent" {
		t.Errorf("deleted %+v", out.Deleted)
	}
	if len(out.Errors) != 2 || *out.Errors[0].Code != "KeyTooLongError" || *out.Errors[1].Code != "PreconditionFailed" {
		t.Errorf("errors %+v", out.Errors)
	}
	doc := `<Delete><Quiet>true</Quiet><Object><Key>b</Key></Object></Delete>`
	resp := d.raw(http.MethodPost, "/many?delete", []byte(doc), nil)
	if resp.status != 400 || !strings.Contains(resp.body, "Missing required header for this request: Content-MD5 OR x-amz-checksum-*") {
		t.Errorf("without a digest: %+v", resp)
	}
	wrong := md5.Sum([]byte("other"))
	resp = d.raw(http.MethodPost, "/many?delete", []byte(doc), map[string]string{"Content-MD5": base64.StdEncoding.EncodeToString(wrong[:])})
	if resp.status != 400 || !strings.Contains(resp.body, "<Code>BadDigest</Code>") {
		t.Errorf("with a wrong digest: %+v", resp)
	}
	if _, _, err := d.get(b, "b"); err != nil {
		t.Fatal("a refused deletion deleted:", err)
	}
	right := md5.Sum([]byte(doc))
	resp = d.raw(http.MethodPost, "/many?delete", []byte(doc), map[string]string{"Content-MD5": base64.StdEncoding.EncodeToString(right[:])})
	if resp.status != 200 || strings.Contains(resp.body, "<Deleted>") {
		t.Errorf("quietly: %+v", resp)
	}
	many := "<Delete>" + strings.Repeat("<Object><Key>k</Key></Object>", 1001) + "</Delete>"
	sum := md5.Sum([]byte(many))
	resp = d.raw(http.MethodPost, "/many?delete", []byte(many), map[string]string{"Content-MD5": base64.StdEncoding.EncodeToString(sum[:])})
	if resp.status != 400 || !strings.Contains(resp.body, "<Code>MalformedXML</Code>") {
		t.Errorf("1001 keys: %d", resp.status)
	}
}

func TestLists(t *testing.T) {
	d := openDoor(t)
	b := d.bucket("lists")
	for _, k := range []string{"a", "b/1", "b/2", "c d+e", "d/x/y", "ü"} {
		d.put(b, k, "x")
	}
	var keys, prefixes []string
	in := &awss3.ListObjectsV2Input{Bucket: &b, Delimiter: aws.String("/"), MaxKeys: aws.Int32(1), EncodingType: types.EncodingTypeUrl}
	for {
		page := must[*awss3.ListObjectsV2Output](t)(d.root.ListObjectsV2(ctx, in))
		if *page.KeyCount != 1 {
			t.Errorf("KeyCount %d", *page.KeyCount)
		}
		for _, o := range page.Contents {
			keys = append(keys, *o.Key)
		}
		for _, p := range page.CommonPrefixes {
			prefixes = append(prefixes, *p.Prefix)
		}
		if !*page.IsTruncated {
			break
		}
		in.ContinuationToken = page.NextContinuationToken
	}
	if fmt.Sprint(keys) != "[a c+d%2Be %C3%BC]" || fmt.Sprint(prefixes) != "[b/ d/]" {
		t.Errorf("%q %q", keys, prefixes)
	}
	v1 := must[*awss3.ListObjectsOutput](t)(d.root.ListObjects(ctx, &awss3.ListObjectsInput{Bucket: &b, Marker: aws.String("b/1"), MaxKeys: aws.Int32(2)}))
	if len(v1.Contents) != 2 || *v1.Contents[0].Key != "b/2" || !*v1.IsTruncated || v1.Contents[0].Owner == nil {
		t.Errorf("%+v", v1)
	}
	none := must[*awss3.ListObjectsV2Output](t)(d.root.ListObjectsV2(ctx, &awss3.ListObjectsV2Input{Bucket: &b, MaxKeys: aws.Int32(0)}))
	if len(none.Contents) != 0 || *none.IsTruncated {
		t.Errorf("max-keys=0: %+v", none)
	}
	_, err := d.root.ListObjectsV2(ctx, &awss3.ListObjectsV2Input{Bucket: &b, MaxKeys: aws.Int32(-1)})
	wantError(t, err, 400, "InvalidArgument")
	_, err = d.root.ListObjectsV2(ctx, &awss3.ListObjectsV2Input{Bucket: &b, ContinuationToken: aws.String("!")})
	wantError(t, err, 400, "InvalidArgument")
	_, err = d.root.ListObjectsV2(ctx, &awss3.ListObjectsV2Input{Bucket: aws.String("absent")})
	wantError(t, err, 404, "NoSuchBucket")
}

func TestCopyObject(t *testing.T) {
	d := openDoor(t)
	b := d.bucket("copies")
	src := d.put(b, "src", "body", func(in *awss3.PutObjectInput) {
		in.Metadata, in.Tagging, in.ContentType = map[string]string{"m": "1"}, aws.String("t=1"), aws.String("text/x")
		in.WebsiteRedirectLocation = aws.String("/elsewhere")
	})
	cp := func(key string, edit func(*awss3.CopyObjectInput)) error {
		in := &awss3.CopyObjectInput{Bucket: &b, Key: &key, CopySource: aws.String("copies/src")}
		edit(in)
		_, err := d.root.CopyObject(ctx, in)
		return err
	}
	if err := cp("dst", func(*awss3.CopyObjectInput) {}); err != nil {
		t.Fatal(err)
	}
	body, out, err := d.get(b, "dst")
	if err != nil || body != "body" || out.Metadata["m"] != "1" || *out.ContentType != "text/x" || aws.ToInt32(out.TagCount) != 1 || out.WebsiteRedirectLocation != nil {
		t.Errorf("%q %+v %v", body, out, err)
	}
	if err := cp("new", func(in *awss3.CopyObjectInput) {
		in.MetadataDirective, in.Metadata = types.MetadataDirectiveReplace, map[string]string{"m": "2"}
		in.TaggingDirective = types.TaggingDirectiveReplace
	}); err != nil {
		t.Fatal(err)
	}
	if _, out, _ := d.get(b, "new"); out.Metadata["m"] != "2" || out.TagCount != nil || *out.ContentType == "text/x" {
		t.Errorf("%+v", out)
	}
	wantError(t, cp("src", func(*awss3.CopyObjectInput) {}), 400, "InvalidRequest")
	wantError(t, cp("x", func(in *awss3.CopyObjectInput) { in.CopySourceIfNoneMatch = src.ETag }), 412, "PreconditionFailed")
	wantError(t, cp("x", func(in *awss3.CopyObjectInput) { in.CopySourceIfMatch = aws.String("no") }), 412, "PreconditionFailed")
	wantError(t, cp("x", func(in *awss3.CopyObjectInput) { in.CopySource = aws.String("copies/absent") }), 404, "NoSuchKey")
	wantError(t, cp("x", func(in *awss3.CopyObjectInput) { in.MetadataDirective = "X" }), 400, "InvalidArgument")
	wantError(t, cp("dst", func(in *awss3.CopyObjectInput) { in.IfNoneMatch = aws.String("*") }), 412, "PreconditionFailed")
}

func TestMultipart(t *testing.T) {
	d := openDoor(t)
	b := d.bucket("multi")
	key := "k"
	up := must[*awss3.CreateMultipartUploadOutput](t)(d.root.CreateMultipartUpload(ctx, &awss3.CreateMultipartUploadInput{
		Bucket: &b, Key: &key, ChecksumAlgorithm: types.ChecksumAlgorithmCrc32c, ChecksumType: types.ChecksumTypeComposite, Metadata: map[string]string{"m": "1"},
	}))
	big := bytes.Repeat([]byte("x"), 5<<20)
	var parts []types.CompletedPart
	for i, body := range [][]byte{big, []byte("tail")} {
		n := int32(i + 1)
		p := must[*awss3.UploadPartOutput](t)(d.root.UploadPart(ctx, &awss3.UploadPartInput{
			Bucket: &b, Key: &key, UploadId: up.UploadId, PartNumber: &n, Body: bytes.NewReader(body), ChecksumAlgorithm: types.ChecksumAlgorithmCrc32c,
		}))
		parts = append(parts, types.CompletedPart{PartNumber: &n, ETag: p.ETag, ChecksumCRC32C: p.ChecksumCRC32C})
	}
	list := must[*awss3.ListPartsOutput](t)(d.root.ListParts(ctx, &awss3.ListPartsInput{Bucket: &b, Key: &key, UploadId: up.UploadId, MaxParts: aws.Int32(1)}))
	if len(list.Parts) != 1 || !*list.IsTruncated || *list.NextPartNumberMarker != "1" || list.ChecksumAlgorithm != types.ChecksumAlgorithmCrc32c {
		t.Errorf("%+v", list)
	}
	complete := func(ps []types.CompletedPart, edit ...func(*awss3.CompleteMultipartUploadInput)) (*awss3.CompleteMultipartUploadOutput, error) {
		in := &awss3.CompleteMultipartUploadInput{Bucket: &b, Key: &key, UploadId: up.UploadId, MultipartUpload: &types.CompletedMultipartUpload{Parts: ps}}
		for _, f := range edit {
			f(in)
		}
		return d.root.CompleteMultipartUpload(ctx, in)
	}
	_, err := complete([]types.CompletedPart{parts[1], parts[0]})
	wantError(t, err, 400, "InvalidPartOrder")
	bad := parts[1]
	bad.ETag = aws.String("0123")
	_, err = complete([]types.CompletedPart{parts[0], bad})
	wantError(t, err, 400, "InvalidPart")
	_, err = complete(nil)
	wantError(t, err, 400, "MalformedXML")
	_, err = complete(parts, func(in *awss3.CompleteMultipartUploadInput) { in.MpuObjectSize = aws.Int64(1) })
	wantError(t, err, 400, "InvalidRequest")
	out := must[*awss3.CompleteMultipartUploadOutput](t)(complete(parts))
	if !strings.HasSuffix(*out.ETag, `-2"`) || !strings.HasSuffix(aws.ToString(out.ChecksumCRC32C), "-2") || *out.Location != d.url+"/multi/k" {
		t.Errorf("%+v", out)
	}
	again := must[*awss3.CompleteMultipartUploadOutput](t)(complete(parts))
	if *again.ETag != *out.ETag {
		t.Errorf("the repeat answers %+v", again)
	}
	_, err = complete(parts[:1])
	wantError(t, err, 404, "NoSuchUpload")
	_, got, err := d.get(b, key, func(in *awss3.GetObjectInput) { in.PartNumber = aws.Int32(2) })
	if err != nil || *got.ContentLength != 4 || *got.PartsCount != 2 || aws.ToString(got.ContentRange) != fmt.Sprintf("bytes %d-%d/%d", 5<<20, 5<<20+3, 5<<20+4) {
		t.Errorf("%+v %v", got, err)
	}
	attrs := must[*awss3.GetObjectAttributesOutput](t)(d.root.GetObjectAttributes(ctx, &awss3.GetObjectAttributesInput{
		Bucket: &b, Key: &key, MaxParts: aws.Int32(1), ObjectAttributes: []types.ObjectAttributes{"ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"},
	}))
	if p := attrs.ObjectParts; p == nil || *p.TotalPartsCount != 2 || !*p.IsTruncated || len(p.Parts) != 1 || *attrs.ObjectSize != 5<<20+4 || attrs.Checksum == nil {
		t.Errorf("%+v", attrs)
	}
}

func TestMultipartTooSmallAndAbort(t *testing.T) {
	d := openDoor(t)
	b, key := d.bucket("small"), "k"
	up := must[*awss3.CreateMultipartUploadOutput](t)(d.root.CreateMultipartUpload(ctx, &awss3.CreateMultipartUploadInput{Bucket: &b, Key: &key}))
	var parts []types.CompletedPart
	for n := int32(1); n <= 2; n++ {
		p := must[*awss3.UploadPartOutput](t)(d.root.UploadPart(ctx, &awss3.UploadPartInput{Bucket: &b, Key: &key, UploadId: up.UploadId, PartNumber: &n, Body: strings.NewReader("x")}))
		parts = append(parts, types.CompletedPart{PartNumber: &n, ETag: p.ETag})
	}
	_, err := d.root.CompleteMultipartUpload(ctx, &awss3.CompleteMultipartUploadInput{Bucket: &b, Key: &key, UploadId: up.UploadId, MultipartUpload: &types.CompletedMultipartUpload{Parts: parts}})
	wantError(t, err, 400, "EntityTooSmall")
	uploads := must[*awss3.ListMultipartUploadsOutput](t)(d.root.ListMultipartUploads(ctx, &awss3.ListMultipartUploadsInput{Bucket: &b}))
	if len(uploads.Uploads) != 1 || *uploads.Uploads[0].UploadId != *up.UploadId {
		t.Errorf("%+v", uploads)
	}
	must[*awss3.AbortMultipartUploadOutput](t)(d.root.AbortMultipartUpload(ctx, &awss3.AbortMultipartUploadInput{Bucket: &b, Key: &key, UploadId: up.UploadId}))
	_, err = d.root.ListParts(ctx, &awss3.ListPartsInput{Bucket: &b, Key: &key, UploadId: up.UploadId})
	wantError(t, err, 404, "NoSuchUpload")
	_, err = d.root.UploadPart(ctx, &awss3.UploadPartInput{Bucket: &b, Key: &key, UploadId: aws.String("../x"), PartNumber: aws.Int32(1), Body: strings.NewReader("x")})
	wantError(t, err, 404, "NoSuchUpload")
	_, err = d.root.UploadPart(ctx, &awss3.UploadPartInput{Bucket: &b, Key: &key, UploadId: up.UploadId, PartNumber: aws.Int32(10001), Body: strings.NewReader("x")})
	wantError(t, err, 400, "InvalidArgument")
}

func TestChecksums(t *testing.T) {
	d := openDoor(t)
	b := d.bucket("sums")
	for _, a := range types.ChecksumAlgorithm("").Values() {
		if a == types.ChecksumAlgorithmMd5 || strings.HasPrefix(string(a), "XX") || a == types.ChecksumAlgorithmSha512 {
			continue // this SDK does not compute them
		}
		key := string(a)
		d.put(b, key, "body", func(in *awss3.PutObjectInput) { in.ChecksumAlgorithm = a })
		if _, out, err := d.get(b, key, func(in *awss3.GetObjectInput) { in.ChecksumMode = types.ChecksumModeEnabled }); err != nil || out.ChecksumType != types.ChecksumTypeFullObject {
			t.Errorf("%s: %+v %v", a, out, err)
		}
	}
	_, err := d.root.PutObject(ctx, &awss3.PutObjectInput{Bucket: &b, Key: aws.String("bad"), Body: strings.NewReader("body"), ChecksumCRC32: aws.String("AAAAAA==")})
	wantError(t, err, 400, "BadDigest")
	_, err = d.root.PutObject(ctx, &awss3.PutObjectInput{Bucket: &b, Key: aws.String("bad"), Body: strings.NewReader("body"), ContentMD5: aws.String("1B2M2Y8AsgTpgAmY7PhCfg==")})
	wantError(t, err, 400, "BadDigest")
	_, _, err = d.get(b, "bad")
	wantError(t, err, 404, "NoSuchKey")
	plain := d.client(rootKey, rootSecret, func(o *awss3.Options) { o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired })
	out := must[*awss3.PutObjectOutput](t)(plain.PutObject(ctx, &awss3.PutObjectInput{Bucket: &b, Key: aws.String("default"), Body: strings.NewReader("body")}))
	if out.ChecksumCRC64NVME == nil || out.ChecksumType != types.ChecksumTypeFullObject {
		t.Errorf("%+v", out)
	}
}

func TestCustomerKeys(t *testing.T) {
	d := openDoor(t)
	b := d.bucket("customer")
	key := bytes.Repeat([]byte{7}, 32)
	sum := md5.Sum(key)
	k, m := base64.StdEncoding.EncodeToString(key), base64.StdEncoding.EncodeToString(sum[:])
	put := d.put(b, "k", "secret", func(in *awss3.PutObjectInput) {
		in.SSECustomerAlgorithm, in.SSECustomerKey, in.SSECustomerKeyMD5 = aws.String("AES256"), &k, &m
	})
	if aws.ToString(put.SSECustomerKeyMD5) != m || put.ServerSideEncryption != "" {
		t.Errorf("%+v", put)
	}
	_, _, err := d.get(b, "k")
	wantError(t, err, 400, "InvalidRequest")
	other := bytes.Repeat([]byte{8}, 32)
	osum := md5.Sum(other)
	_, _, err = d.get(b, "k", func(in *awss3.GetObjectInput) {
		in.SSECustomerAlgorithm, in.SSECustomerKey = aws.String("AES256"), aws.String(base64.StdEncoding.EncodeToString(other))
		in.SSECustomerKeyMD5 = aws.String(base64.StdEncoding.EncodeToString(osum[:]))
	})
	wantError(t, err, 403, "AccessDenied")
	body, _, err := d.get(b, "k", func(in *awss3.GetObjectInput) {
		in.SSECustomerAlgorithm, in.SSECustomerKey, in.SSECustomerKeyMD5 = aws.String("AES256"), &k, &m
	})
	if err != nil || body != "secret" {
		t.Errorf("%q %v", body, err)
	}
	_, err = d.root.PutObject(ctx, &awss3.PutObjectInput{Bucket: &b, Key: aws.String("x"), Body: strings.NewReader("x"), SSECustomerAlgorithm: aws.String("AES256"), SSECustomerKey: &k, SSECustomerKeyMD5: aws.String("1B2M2Y8AsgTpgAmY7PhCfg==")})
	wantError(t, err, 400, "InvalidArgument")
}

func TestLocks(t *testing.T) {
	d := openDoor(t)
	b := d.bucket("locks", func(in *awss3.CreateBucketInput) { in.ObjectLockEnabledForBucket = aws.Bool(true) })
	until := time.Now().Add(time.Hour)
	v := d.put(b, "k", "x", func(in *awss3.PutObjectInput) {
		in.ObjectLockMode, in.ObjectLockRetainUntilDate = types.ObjectLockModeGovernance, &until
	}).VersionId
	del := func(bypass bool) error {
		_, err := d.root.DeleteObject(ctx, &awss3.DeleteObjectInput{Bucket: &b, Key: aws.String("k"), VersionId: v, BypassGovernanceRetention: &bypass})
		return err
	}
	wantError(t, del(false), 403, "AccessDenied")
	retain := func(mode types.ObjectLockRetentionMode, until time.Time, bypass bool) error {
		_, err := d.root.PutObjectRetention(ctx, &awss3.PutObjectRetentionInput{Bucket: &b, Key: aws.String("k"), VersionId: v, BypassGovernanceRetention: &bypass, Retention: &types.ObjectLockRetention{Mode: mode, RetainUntilDate: &until}})
		return err
	}
	wantError(t, retain("GOVERNANCE", until.Add(-time.Minute), false), 403, "AccessDenied")
	wantError(t, retain("COMPLIANCE", until.Add(time.Minute), false), 403, "AccessDenied")
	wantError(t, retain("GOVERNANCE", until.Add(-48*time.Hour), true), 400, "InvalidArgument")
	for _, err := range []error{retain("GOVERNANCE", until.Add(time.Minute), false), retain("GOVERNANCE", until, true)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	hold := func(s types.ObjectLockLegalHoldStatus) {
		must[*awss3.PutObjectLegalHoldOutput](t)(d.root.PutObjectLegalHold(ctx, &awss3.PutObjectLegalHoldInput{Bucket: &b, Key: aws.String("k"), LegalHold: &types.ObjectLockLegalHold{Status: s}}))
	}
	_, err := d.root.GetObjectLegalHold(ctx, &awss3.GetObjectLegalHoldInput{Bucket: &b, Key: aws.String("k")})
	wantError(t, err, 404, "NoSuchObjectLockConfiguration")
	hold("ON")
	wantError(t, del(true), 403, "AccessDenied")
	hold("OFF")
	if out := must[*awss3.GetObjectLegalHoldOutput](t)(d.root.GetObjectLegalHold(ctx, &awss3.GetObjectLegalHoldInput{Bucket: &b, Key: aws.String("k")})); out.LegalHold.Status != "OFF" {
		t.Errorf("%+v", out.LegalHold)
	}
	if err := del(true); err != nil {
		t.Fatal(err)
	}
}

func TestEventsAndRecords(t *testing.T) {
	d := openDoor(t)
	b := d.bucket("events")
	d.put(b, "k", "body")
	_, _, _ = d.get(b, "absent")
	must[*awss3.DeleteObjectOutput](t)(d.root.DeleteObject(ctx, &awss3.DeleteObjectInput{Bucket: &b, Key: aws.String("k")}))
	if names := d.told(); fmt.Sprint(names) != "[ObjectCreated:Put k ObjectRemoved:Delete k]" {
		t.Errorf("%v", names)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var ops []string
	for _, r := range d.records {
		ops = append(ops, fmt.Sprint(r.Operation, r.Status, r.Code))
	}
	if fmt.Sprint(ops) != "[CreateBucket200 PutObject200 GetObject404NoSuchKey DeleteObject204]" {
		t.Errorf("%v", ops)
	}
}

// told returns what was told of objects since it was last asked.
func (d *door) told() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var names []string
	for _, e := range d.events {
		names = append(names, e.Name+" "+e.Version.Key)
	}
	d.events = nil
	return names
}

// TestEventsOnce: each change of an object is told of once, by its S3 name.
func TestEventsOnce(t *testing.T) {
	d := openDoor(t)
	b, k := d.bucket("attacked", func(in *awss3.CreateBucketInput) { in.ObjectOwnership = types.ObjectOwnershipObjectWriter }), aws.String("k")
	step := func(want string, err error) {
		t.Helper()
		if got := strings.Join(d.told(), ", "); err != nil || got != want {
			t.Errorf("told of %q, want %q; %v", got, want, err)
		}
	}
	d.put(b, "k", "body")
	step("ObjectCreated:Put k", nil)
	_, err := d.root.PutObjectTagging(ctx, &awss3.PutObjectTaggingInput{Bucket: &b, Key: k, Tagging: &types.Tagging{TagSet: []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}}})
	step("ObjectTagging:Put k", err)
	_, err = d.root.DeleteObjectTagging(ctx, &awss3.DeleteObjectTaggingInput{Bucket: &b, Key: k})
	step("ObjectTagging:Delete k", err)
	_, err = d.root.PutObjectAcl(ctx, &awss3.PutObjectAclInput{Bucket: &b, Key: k, ACL: types.ObjectCannedACLPublicRead})
	step("ObjectAcl:Put k", err)
	_, err = d.root.CopyObject(ctx, &awss3.CopyObjectInput{Bucket: &b, Key: aws.String("copy"), CopySource: aws.String(b + "/k")})
	step("ObjectCreated:Copy copy", err)
	if code := d.takers()["form"]("posted"); code != "" {
		t.Error(code)
	}
	step("ObjectCreated:Post posted", nil)
	if code := d.takers()["completion"]("whole"); code != "" {
		t.Error(code)
	}
	step("ObjectCreated:CompleteMultipartUpload whole", nil)
	_, err = d.root.DeleteObjects(ctx, &awss3.DeleteObjectsInput{Bucket: &b, Delete: &types.Delete{Objects: []types.ObjectIdentifier{{Key: k}, {Key: aws.String("copy")}}}})
	step("ObjectRemoved:Delete k, ObjectRemoved:Delete copy", err)
	versioned(d, b)
	_, err = d.root.DeleteObject(ctx, &awss3.DeleteObjectInput{Bucket: &b, Key: aws.String("whole")})
	step("ObjectRemoved:DeleteMarkerCreated whole", err)
	step("", nil)
}
