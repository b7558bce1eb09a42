package s3_test

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
)

func TestPutGetObject(t *testing.T) {
	d := openDoor(t)
	b := d.bucket("plain")
	ctx := context.Background()
	for _, key := range []string{"a", "a/b", "/leading", "double//slash", "../up", "./dot", "a/../b", "dir/", "spa ce+plus%25", "ünïcode/🏝", strings.Repeat("k", 1024)} {
		body := []byte("body of " + key)
		put, err := d.root.PutObject(ctx, &awss3.PutObjectInput{
			Bucket: &b, Key: &key, Body: bytes.NewReader(body), Metadata: map[string]string{"Name": "value"},
		})
		if err != nil {
			t.Fatalf("put %q: %v", key, err)
		}
		got, err := d.root.GetObject(ctx, &awss3.GetObjectInput{Bucket: &b, Key: &key})
		if err != nil {
			t.Fatalf("get %q: %v", key, err)
		}
		read, err := io.ReadAll(got.Body)
		if err != nil || !bytes.Equal(read, body) {
			t.Fatalf("get %q: %q, %v", key, read, err)
		}
		if *got.ETag != *put.ETag || got.Metadata["name"] != "value" || aws.ToString(got.ContentType) != "application/octet-stream" {
			t.Errorf("get %q: %+v", key, got)
		}
	}
}
