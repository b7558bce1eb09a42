// Package clients drives a real node with the programs that people use,
// unmodified. A program that is not installed skips its test with one line.
package clients

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/s3/manager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/tags"

	"github.com/hallig-cloud/hallig/test/harness"
)

func TestMain(m *testing.M) {
	code := m.Run()
	harness.Cleanup()
	os.Exit(code)
}

func must[T any](t *testing.T) func(v T, err error) T {
	t.Helper()
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func contains(t *testing.T, got, want string) {
	t.Helper()
	if !strings.Contains(got, want) {
		t.Fatalf("output does not contain %q:\n%s", want, got)
	}
}

func sameFile(t *testing.T, path string, want []byte) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("%s: %d bytes differ from the %d expected", path, len(got), len(want))
	}
}

func TestAWSSDKGoV2(t *testing.T) {
	n := harness.Start(t, harness.Options{Drives: 4})
	c, ctx := n.Client(), context.Background()
	must[*s3.CreateBucketOutput](t)(c.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String("sdk")}))

	big := harness.Bytes(1, 21<<20+17)
	up := manager.NewUploader(c, func(u *manager.Uploader) { u.PartSize = 5 << 20 })
	must[*manager.UploadOutput](t)(up.Upload(ctx, &s3.PutObjectInput{Bucket: aws.String("sdk"), Key: aws.String("big/ünïcödé object"), Body: bytes.NewReader(big)}))
	w := manager.NewWriteAtBuffer(nil)
	must[int64](t)(manager.NewDownloader(c).Download(ctx, w, &s3.GetObjectInput{Bucket: aws.String("sdk"), Key: aws.String("big/ünïcödé object")}))
	if !bytes.Equal(w.Bytes(), big) {
		t.Fatal("multipart download differs")
	}

	for _, algorithm := range []types.ChecksumAlgorithm{types.ChecksumAlgorithmCrc32, types.ChecksumAlgorithmCrc32c, types.ChecksumAlgorithmCrc64nvme, types.ChecksumAlgorithmSha1, types.ChecksumAlgorithmSha256} {
		key, body := "sum-"+string(algorithm), harness.Bytes(2, 100_000)
		must[*s3.PutObjectOutput](t)(c.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String("sdk"), Key: &key, Body: bytes.NewReader(body), ChecksumAlgorithm: algorithm, Metadata: map[string]string{"color": "blue"}}))
		out := must[*s3.GetObjectOutput](t)(c.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("sdk"), Key: &key, ChecksumMode: types.ChecksumModeEnabled}))
		got := must[[]byte](t)(io.ReadAll(out.Body))
		if !bytes.Equal(got, body) || out.Metadata["color"] != "blue" {
			t.Fatalf("%s: got %d bytes, metadata %v", key, len(got), out.Metadata)
		}
	}

	must[*s3.PutObjectOutput](t)(c.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String("sdk"), Key: aws.String("once"), Body: strings.NewReader("first"), IfNoneMatch: aws.String("*")}))
	if _, err := c.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String("sdk"), Key: aws.String("once"), Body: strings.NewReader("second"), IfNoneMatch: aws.String("*")}); err == nil || !strings.Contains(err.Error(), "PreconditionFailed") {
		t.Fatalf("second conditional put: %v", err)
	}

	var keys []string
	pages := s3.NewListObjectsV2Paginator(c, &s3.ListObjectsV2Input{Bucket: aws.String("sdk"), MaxKeys: aws.Int32(2)})
	for pages.HasMorePages() {
		page := must[*s3.ListObjectsV2Output](t)(pages.NextPage(ctx))
		for _, o := range page.Contents {
			keys = append(keys, *o.Key)
		}
	}
	if len(keys) != 7 {
		t.Fatalf("listed %q", keys)
	}

	p, err := s3.NewPresignClient(c).PresignGetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("sdk"), Key: aws.String("once")}, s3.WithPresignExpires(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	resp := must[*http.Response](t)(http.Get(p.URL))
	defer resp.Body.Close()
	if body := must[[]byte](t)(io.ReadAll(resp.Body)); resp.StatusCode != 200 || string(body) != "first" {
		t.Fatalf("presigned get: %s %q", resp.Status, body)
	}
}

func TestMinioGo(t *testing.T) {
	n := harness.Start(t, harness.Options{Drives: 2})
	ctx := context.Background()
	c := must[*minio.Client](t)(minio.New(n.S3Addr, &minio.Options{Creds: credentials.NewStaticV4(harness.AccessKey, harness.SecretKey, ""), Region: harness.Region}))
	if err := c.MakeBucket(ctx, "minio", minio.MakeBucketOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := c.EnableVersioning(ctx, "minio"); err != nil {
		t.Fatal(err)
	}
	body := harness.Bytes(3, 12<<20)
	must[minio.UploadInfo](t)(c.PutObject(ctx, "minio", "stream", io.MultiReader(bytes.NewReader(body)), -1, minio.PutObjectOptions{PartSize: 5 << 20, ContentType: "application/x-test"}))
	must[minio.UploadInfo](t)(c.PutObject(ctx, "minio", "small", strings.NewReader("v1"), 2, minio.PutObjectOptions{UserTags: map[string]string{"a": "b"}}))
	must[minio.UploadInfo](t)(c.PutObject(ctx, "minio", "small", strings.NewReader("v2"), 2, minio.PutObjectOptions{}))
	o := must[*minio.Object](t)(c.GetObject(ctx, "minio", "stream", minio.GetObjectOptions{}))
	if got := must[[]byte](t)(io.ReadAll(o)); !bytes.Equal(got, body) {
		t.Fatal("stream differs")
	}
	if _, err := o.Seek(5<<20-3, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	must[int](t)(io.ReadFull(o, buf))
	if !bytes.Equal(buf, body[5<<20-3:][:100]) {
		t.Fatal("seek and read differs")
	}
	versions := 0
	for obj := range c.ListObjects(ctx, "minio", minio.ListObjectsOptions{WithVersions: true, Recursive: true, Prefix: "small"}) {
		if obj.Err != nil {
			t.Fatal(obj.Err)
		}
		versions++
	}
	if versions != 2 {
		t.Fatalf("%d versions of small, want 2", versions)
	}
	must[minio.UploadInfo](t)(c.CopyObject(ctx, minio.CopyDestOptions{Bucket: "minio", Object: "copy"}, minio.CopySrcOptions{Bucket: "minio", Object: "stream"}))
	must[minio.UploadInfo](t)(c.ComposeObject(ctx, minio.CopyDestOptions{Bucket: "minio", Object: "composed"},
		minio.CopySrcOptions{Bucket: "minio", Object: "stream"}, minio.CopySrcOptions{Bucket: "minio", Object: "small"}))
	st := must[minio.ObjectInfo](t)(c.StatObject(ctx, "minio", "composed", minio.StatObjectOptions{}))
	if st.Size != int64(len(body))+2 {
		t.Fatalf("composed has %d bytes", st.Size)
	}
	tg := must[*tags.Tags](t)(tags.NewTags(map[string]string{"k": "v"}, true))
	if err := c.PutObjectTagging(ctx, "minio", "copy", tg, minio.PutObjectTaggingOptions{}); err != nil {
		t.Fatal(err)
	}
	for e := range c.RemoveObjects(ctx, "minio", c.ListObjects(ctx, "minio", minio.ListObjectsOptions{WithVersions: true, Recursive: true}), minio.RemoveObjectsOptions{}) {
		t.Fatalf("remove %s: %v", e.ObjectName, e.Err)
	}
	if err := c.RemoveBucket(ctx, "minio"); err != nil {
		t.Fatal(err)
	}
}

func TestAWSCLI(t *testing.T) {
	cli := harness.Tool(t, "aws")
	n := harness.Start(t, harness.Options{Drives: 4})
	dir := t.TempDir()
	big, small := harness.Bytes(4, 20<<20), harness.Bytes(5, 1234)
	harness.WriteFile(t, dir, "tree/big", big)
	harness.WriteFile(t, dir, "tree/a b/small ü.bin", small)
	// The command signs its presigned URLs with Signature Version 2 by default,
	// which is refused unless it is switched on.
	harness.WriteFile(t, dir, "aws-config", []byte("[default]\ns3 =\n  signature_version = s3v4\n"))
	aws := func(args ...string) string { t.Helper(); return n.Run(t, dir, cli, args...) }
	aws("s3", "mb", "s3://cli")
	aws("s3", "sync", "--no-progress", "tree", "s3://cli/tree")
	contains(t, aws("s3", "ls", "--recursive", "s3://cli"), "tree/a b/small ü.bin")
	aws("s3", "sync", "--no-progress", "s3://cli/tree", "back")
	sameFile(t, filepath.Join(dir, "back/big"), big)
	sameFile(t, filepath.Join(dir, "back/a b/small ü.bin"), small)
	aws("s3", "cp", "--no-progress", "s3://cli/tree/big", "s3://cli/copy")
	aws("s3", "mv", "s3://cli/copy", "s3://cli/moved")
	contains(t, aws("s3api", "head-object", "--bucket", "cli", "--key", "moved"), fmt.Sprint(len(big)))
	aws("s3api", "put-bucket-versioning", "--bucket", "cli", "--versioning-configuration", "Status=Enabled")
	aws("s3api", "put-object-tagging", "--bucket", "cli", "--key", "moved", "--tagging", "TagSet=[{Key=a,Value=b}]")
	contains(t, aws("s3api", "get-object-tagging", "--bucket", "cli", "--key", "moved"), `"Value": "b"`)
	contains(t, aws("s3api", "get-object-attributes", "--bucket", "cli", "--key", "moved", "--object-attributes", "ETag", "ObjectSize"), "ObjectSize")
	aws("s3", "rm", "s3://cli/moved")
	contains(t, aws("s3api", "list-object-versions", "--bucket", "cli", "--prefix", "moved"), "DeleteMarkers")
	if _, err := n.Try(t, dir, cli, "s3api", "put-object", "--bucket", "cli", "--key", "tree/big", "--body", "tree/big", "--if-none-match", "*"); err == nil || !strings.Contains(err.Error(), "PreconditionFailed") {
		t.Fatalf("conditional put: %v", err)
	}
	url := strings.TrimSpace(aws("s3", "presign", "s3://cli/tree/a b/small ü.bin"))
	resp := must[*http.Response](t)(http.Get(url))
	defer resp.Body.Close()
	if got := must[[]byte](t)(io.ReadAll(resp.Body)); !bytes.Equal(got, small) {
		t.Fatalf("presigned: %s, %d bytes", resp.Status, len(got))
	}
	aws("s3", "rm", "--recursive", "s3://cli/tree")
}

// TestPrintedLines pastes what the first start prints into a shell, as it
// stands, beside nothing but a PATH and a home.
func TestPrintedLines(t *testing.T) {
	for _, region := range []string{"us-east-1", "eu-hallig-1"} {
		t.Run("region, "+region, func(t *testing.T) {
			aws, rclone := harness.Tool(t, "aws"), harness.Tool(t, "rclone")
			n := harness.Start(t, harness.Options{Args: []string{"--region", region}, Env: []string{"HALLIG_ROOT_ACCESS_KEY=", "HALLIG_ROOT_SECRET_KEY="}})
			var lines []string
			for line := range strings.Lines(n.Log()) {
				for _, word := range []string{"export ", "aws ", "echo ", "rclone "} {
					if strings.HasPrefix(line, "  "+word) {
						lines = append(lines, line)
					}
				}
			}
			if len(lines) != 5 {
				t.Fatalf("%d lines to paste:\n%s", len(lines), strings.Join(lines, ""))
			}
			dir := t.TempDir()
			cmd := exec.Command("/bin/sh", "-e", "-c", strings.Join(lines, ""))
			cmd.Dir, cmd.Env = dir, []string{"HOME=" + dir, "PATH=" + filepath.Dir(aws) + ":" + filepath.Dir(rclone) + ":" + os.Getenv("PATH")}
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s\n%s", err, strings.Join(lines, ""), out)
			}
			contains(t, string(out), "make_bucket: first")
			contains(t, string(out), "\nmoin\n")
			contains(t, string(out), "first/hello.txt\n")
		})
	}
}

func TestBoto3(t *testing.T) {
	python := harness.Tool(t, "python3")
	n := harness.Start(t, harness.Options{Drives: 3})
	dir := t.TempDir()
	if _, err := n.Try(t, dir, python, "-c", "import boto3"); err != nil {
		t.Skip("SKIPPED, NOT TESTED: boto3 is not installed for python3")
	}
	script := must[string](t)(filepath.Abs("testdata/boto3_test.py"))
	contains(t, n.Run(t, dir, python, script), "boto3: all passed")
}

func TestRclone(t *testing.T) {
	rclone := harness.Tool(t, "rclone")
	n := harness.Start(t, harness.Options{Drives: 4})
	dir := t.TempDir()
	harness.WriteFile(t, dir, "rclone.conf", []byte("[h]\ntype = s3\nprovider = Other\nenv_auth = true\nregion = us-east-1\nendpoint = "+n.Endpoint+"\nforce_path_style = true\n"))
	for i := range 40 {
		harness.WriteFile(t, dir, fmt.Sprintf("tree/d%d/file %d", i%5, i), harness.Bytes(uint64(i), 1000*i))
	}
	harness.WriteFile(t, dir, "tree/large", harness.Bytes(99, 30<<20))
	run := func(args ...string) string {
		t.Helper()
		return n.Run(t, dir, rclone, append([]string{"--config", "rclone.conf", "--s3-chunk-size", "5Mi", "--s3-upload-cutoff", "8Mi", "--retries", "1", "--low-level-retries", "1"}, args...)...)
	}
	run("mkdir", "h:rclone")
	run("sync", "tree", "h:rclone/tree")
	run("check", "--download", "tree", "h:rclone/tree")
	run("check", "tree", "h:rclone/tree")
	run("copy", "h:rclone/tree", "h:rclone/second")
	run("check", "tree", "h:rclone/second")
	contains(t, run("lsf", "h:rclone"), "second/")
	run("sync", "h:rclone/second", "back")
	sameFile(t, filepath.Join(dir, "back/large"), harness.Bytes(99, 30<<20))
	run("delete", "h:rclone/second")
	run("purge", "h:rclone")
}

func TestRestic(t *testing.T) {
	restic := harness.Tool(t, "restic")
	n := harness.Start(t, harness.Options{Drives: 4})
	dir := t.TempDir()
	for i := range 30 {
		harness.WriteFile(t, dir, fmt.Sprintf("home/f%d", i), harness.Bytes(uint64(i), 300_000))
	}
	harness.WriteFile(t, dir, "password", []byte("island"))
	run := func(args ...string) string {
		t.Helper()
		return n.Run(t, dir, restic, append([]string{"-r", "s3:" + n.Endpoint + "/backups", "--password-file", "password", "--no-cache"}, args...)...)
	}
	run("init")
	run("backup", "home")
	harness.WriteFile(t, dir, "home/f31", harness.Bytes(31, 2<<20))
	run("backup", "home")
	run("check", "--read-data")
	run("forget", "--keep-last", "1", "--prune")
	run("restore", "latest", "--target", "back")
	sameFile(t, filepath.Join(dir, "back/home/f31"), harness.Bytes(31, 2<<20))
	sameFile(t, filepath.Join(dir, "back/home/f0"), harness.Bytes(0, 300_000))
	run("check", "--read-data")
}

func TestS3cmd(t *testing.T) {
	s3cmd := harness.Tool(t, "s3cmd")
	n := harness.Start(t, harness.Options{Drives: 2})
	dir := t.TempDir()
	harness.WriteFile(t, dir, "s3cfg", []byte(fmt.Sprintf("[default]\naccess_key = %s\nsecret_key = %s\nhost_base = %s\nhost_bucket = %s\nuse_https = False\nbucket_location = us-east-1\n", harness.AccessKey, harness.SecretKey, n.S3Addr, n.S3Addr)))
	body := harness.Bytes(7, 18<<20)
	harness.WriteFile(t, dir, "tree/file", body)
	harness.WriteFile(t, dir, "tree/sub/x", []byte("x"))
	run := func(args ...string) string {
		t.Helper()
		return n.Run(t, dir, s3cmd, append([]string{"-c", "s3cfg", "--no-progress"}, args...)...)
	}
	run("mb", "s3://cmd")
	run("put", "tree/file", "s3://cmd/file")
	run("sync", "tree/", "s3://cmd/tree/")
	contains(t, run("ls", "-r", "s3://cmd"), "s3://cmd/tree/sub/x")
	run("get", "s3://cmd/file", "back")
	sameFile(t, filepath.Join(dir, "back"), body)
	sum := md5.Sum([]byte("x"))
	contains(t, run("info", "s3://cmd/tree/sub/x"), hex.EncodeToString(sum[:]))
	run("cp", "s3://cmd/file", "s3://cmd/copy")
	run("modify", "--add-header=x-amz-meta-a:b", "s3://cmd/copy")
	run("du", "s3://cmd")
	run("del", "-r", "-f", "s3://cmd")
	run("rb", "s3://cmd")
}

func TestTerraformBackend(t *testing.T) {
	terraform := harness.Tool(t, "terraform")
	n := harness.Start(t, harness.Options{})
	dir := t.TempDir()
	ctx := context.Background()
	must[*s3.CreateBucketOutput](t)(n.Client().CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String("terraform-state")}))
	harness.WriteFile(t, dir, "main.tf", []byte(`terraform {
  backend "s3" {
    bucket                      = "terraform-state"
    key                         = "state/terraform.tfstate"
    region                      = "us-east-1"
    endpoints                   = { s3 = "`+n.Endpoint+`" }
    use_path_style              = true
    use_lockfile                = true
    skip_credentials_validation = true
    skip_metadata_api_check     = true
    skip_region_validation      = true
    skip_requesting_account_id  = true
  }
}
resource "terraform_data" "island" { input = "dry" }
output "island" { value = terraform_data.island.output }
`))
	run := func(args ...string) string { t.Helper(); return n.Run(t, dir, terraform, args...) }
	run("init", "-input=false", "-no-color")
	run("apply", "-auto-approve", "-input=false", "-no-color")
	contains(t, run("output", "-no-color"), "dry")
	// A held lock file refuses a second writer.
	must[*s3.PutObjectOutput](t)(n.Client().PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String("terraform-state"), Key: aws.String("state/terraform.tfstate.tflock"),
		Body: strings.NewReader(`{"ID":"11111111-1111-1111-1111-111111111111","Operation":"OperationTypeApply","Info":"","Who":"other","Version":"1.11.4","Created":"2026-01-01T00:00:00Z","Path":"terraform-state/state/terraform.tfstate"}`)}))
	if out, err := n.Try(t, dir, terraform, "apply", "-auto-approve", "-input=false", "-no-color", "-lock-timeout=0s"); err == nil {
		t.Fatalf("apply went on under another's lock:\n%s", out)
	} else {
		contains(t, err.Error(), "PreconditionFailed")
	}
}

func TestLitestream(t *testing.T) {
	litestream, python := harness.Tool(t, "litestream"), harness.Tool(t, "python3")
	n := harness.Start(t, harness.Options{Drives: 2})
	dir := t.TempDir()
	must[*s3.CreateBucketOutput](t)(n.Client().CreateBucket(context.Background(), &s3.CreateBucketInput{Bucket: aws.String("lite")}))
	harness.WriteFile(t, dir, "litestream.yml", []byte("access-key-id: "+harness.AccessKey+"\nsecret-access-key: "+harness.SecretKey+`
dbs:
  - path: `+filepath.Join(dir, "app.db")+`
    replicas:
      - type: s3
        bucket: lite
        path: app
        endpoint: `+n.Endpoint+`
        region: us-east-1
        force-path-style: true
        sync-interval: 100ms
`))
	n.Run(t, dir, python, "-c", `import sqlite3
c = sqlite3.connect("app.db"); c.execute("pragma journal_mode=wal"); c.execute("create table t (x)")
c.executemany("insert into t values (?)", [(i,) for i in range(5000)]); c.commit()`)
	n.Run(t, dir, litestream, "replicate", "-config", "litestream.yml", "-once")
	n.Run(t, dir, litestream, "restore", "-config", "litestream.yml", "-o", filepath.Join(dir, "back.db"), filepath.Join(dir, "app.db"))
	contains(t, n.Run(t, dir, python, "-c", `import sqlite3
print("rows", sqlite3.connect("back.db").execute("select count(*), sum(x) from t").fetchone())`), "rows (5000, 12497500)")
}
