package s3_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/hallig-cloud/hallig/s3"
)

// TestAttackSlowBody promises a body and stops sending: the request is ended
// with S3's RequestTimeout, what it held is free, and nothing becomes visible.
func TestAttackSlowBody(t *testing.T) {
	d := openDoor(t, func(c *s3.Config) { c.Idle = 50 * time.Millisecond })
	bucket, key := d.bucket("slow"), "stalled"
	u, err := awss3.NewPresignClient(d.root).PresignPutObject(context.Background(), &awss3.PutObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		t.Fatal(err)
	}
	host := strings.TrimPrefix(d.url, "http://")
	c, err := net.Dial("tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "PUT %s HTTP/1.1\r\nHost: %s\r\nContent-Length: 100000\r\n\r\nten bytes.", strings.TrimPrefix(u.URL, d.url), host)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusBadRequest || !strings.Contains(string(body), "<Code>RequestTimeout</Code>") {
		t.Fatalf("%s\n%s", resp.Status, body)
	}
	if _, err := d.root.HeadObject(context.Background(), &awss3.HeadObjectInput{Bucket: &bucket, Key: &key}); err == nil {
		t.Fatal("half an object is visible")
	}
}
