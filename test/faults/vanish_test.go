package faults

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/hallig-cloud/hallig/test/harness"
)

// TestEveryMirrorVanishes takes every copy of the catalog away at once, which no
// promise covers: requests fail and no write is acknowledged, but no object is said to be absent, no listing
// leaves one out, and no wrong byte is served; the node does not start again
// without a catalog, not even with an empty one by --accept-stale-catalog, and
// says what to do.
func TestEveryMirrorVanishes(t *testing.T) {
	n := harness.Start(t, harness.Options{Drives: 2})
	ctx, c := context.Background(), n.Client()
	if _, err := c.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String("vanish")}); err != nil {
		t.Fatal(err)
	}
	const objects = 30
	key := func(i int) *string { return aws.String(fmt.Sprintf("key %02d", i)) }
	for i := range objects {
		if _, err := c.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String("vanish"), Key: key(i), Body: bytes.NewReader(harness.Bytes(uint64(i), 3000))}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := n.Hallig("catalog", "export", "last"); err != nil {
		t.Fatal(err)
	}
	for _, d := range n.Drives {
		// A mirror may write into it meanwhile: what is left is removed again.
		if os.RemoveAll(filepath.Join(d, "catalog")) != nil {
			if err := os.RemoveAll(filepath.Join(d, "catalog")); err != nil {
				t.Fatal(err)
			}
		}
	}
	absent := func(err error) bool {
		re, ok := errors.AsType[*awshttp.ResponseError](err)
		return ok && re.HTTPStatusCode() == http.StatusNotFound
	}
	failed := 0
	for i, end := 0, time.Now().Add(5*time.Second); failed < 2 && time.Now().Before(end); i++ {
		out, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("vanish"), Key: key(i % objects)})
		switch {
		case absent(err):
			t.Fatalf("%s is said to be absent: %v", *key(i % objects), err)
		case err == nil:
			body, err := io.ReadAll(out.Body)
			out.Body.Close()
			if err == nil && !bytes.Equal(body, harness.Bytes(uint64(i%objects), 3000)) {
				t.Fatalf("%s has wrong bytes", *key(i % objects))
			}
		}
		list, err := c.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: aws.String("vanish"), MaxKeys: aws.Int32(objects)})
		if absent(err) || err == nil && len(list.Contents) != objects {
			t.Fatalf("listed %d of %d: %v", len(list.Contents), objects, err)
		}
		brief, stop := context.WithTimeout(ctx, 2*time.Second) // the node tries for longer
		_, err = c.PutObject(brief, &s3.PutObjectInput{Bucket: aws.String("vanish"), Key: aws.String("zz new"), Body: bytes.NewReader([]byte("new"))})
		stop()
		switch {
		case err == nil:
			t.Fatal("a write was acknowledged that is on no drive")
		case absent(err):
			t.Fatalf("put: %v", err)
		default:
			failed++
		}
	}
	if failed == 0 {
		t.Error("writes went on without a catalog on any drive")
	}
	n.Kill()
	refuses(t, n, "catalog restore")
	refuses(t, n.With("--accept-stale-catalog"), "catalog restore")
	if out, err := n.Hallig("catalog", "restore", "--drive", n.Drives[0], "--drive", n.Drives[1], filepath.Join(n.Drives[0], "exports", "last.catalog"), "--force"); err != nil {
		t.Fatal(out, err)
	}
	if err := n.Restart(); err != nil {
		t.Fatal(err)
	}
	for i := range objects {
		if _, err := c.HeadObject(ctx, &s3.HeadObjectInput{Bucket: aws.String("vanish"), Key: key(i)}); err != nil {
			t.Fatalf("%s after the restore: %v", *key(i), err)
		}
	}
}
