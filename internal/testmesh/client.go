package testmesh

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // S3's ETag
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/hallig-cloud/hallig/internal/testmesh/history"
)

// ClientConfig describes an S3 client.
type ClientConfig struct {
	ID                   int // in the history
	Endpoint             string
	AccessKey, SecretKey string
	Bucket               string
	// Space is put before keys in the history: histories of stores that know
	// nothing of each other may lie in one.
	Space   string
	Dial    func(ctx context.Context, network, addr string) (net.Conn, error)
	History *history.History
	Timeout time.Duration // of one request, after which its outcome is unknown; 0 is 10 s
}

// A Client is an S3 client that never retries and writes into a history what
// it does and sees. It is used by one goroutine.
type Client struct {
	c    ClientConfig
	s3   *s3.Client
	http *http.Transport
}

// NewClient returns a client; Close it.
func NewClient(c ClientConfig) *Client {
	if c.Timeout == 0 {
		c.Timeout = 10 * time.Second
	}
	transport := &http.Transport{DialContext: c.Dial}
	return &Client{c: c, http: transport, s3: s3.New(s3.Options{
		BaseEndpoint:     aws.String(c.Endpoint),
		Region:           "us-east-1",
		UsePathStyle:     true,
		Credentials:      credentials.NewStaticCredentialsProvider(c.AccessKey, c.SecretKey, ""),
		RetryMaxAttempts: 1,
		HTTPClient:       &http.Client{Transport: transport},
	})}
}

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// MakeBucket makes the client's bucket; that it exists is no error.
func (c *Client) MakeBucket(ctx context.Context) error {
	_, err := c.s3.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &c.c.Bucket})
	var owned *types.BucketAlreadyOwnedByYou
	if errors.As(err, &owned) {
		return nil
	}
	return err
}

// A Condition is If-Match or If-None-Match, an ETag or "*"; empty is none.
type Condition struct{ IfMatch, IfNoneMatch string }

func (w Condition) match() *string     { return optional(w.IfMatch) }
func (w Condition) noneMatch() *string { return optional(w.IfNoneMatch) }

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// do runs one operation under its timeout and notes what came of it.
func (c *Client) do(ctx context.Context, op history.Op, f func(ctx context.Context) (history.Result, error)) history.Result {
	op.Key = c.c.Space + op.Key
	ctx, cancel := context.WithTimeout(ctx, c.c.Timeout)
	defer cancel()
	p := c.c.History.Begin(c.c.ID, op)
	r, err := f(ctx)
	r.Outcome = outcome(err)
	p.End(r)
	return r
}

// outcome says what an error of the SDK tells about an operation.
func outcome(err error) history.Outcome {
	if err == nil {
		return history.OK
	}
	var dial *net.OpError
	if errors.As(err, &dial) && dial.Op == "dial" { // nothing was sent
		return history.Failed
	}
	var answer *smithyhttp.ResponseError
	if errors.As(err, &answer) && answer.Response != nil {
		var upload *types.NoSuchUpload
		switch status := answer.HTTPStatusCode(); {
		case status == http.StatusNotFound && !errors.As(err, &upload) && !strings.Contains(err.Error(), "NoSuchUpload"):
			return history.NotFound // of the bucket too: that it is lost must be found
		case status == http.StatusPreconditionFailed:
			return history.Refused
		case status == http.StatusNotModified:
			return history.NotModified
		case status >= 400 && status < 500 && status != http.StatusRequestTimeout:
			return history.Failed
		}
		return history.Unknown
	}
	return history.Unknown
}

// Put puts an object.
func (c *Client) Put(ctx context.Context, key string, body []byte, w Condition) history.Result {
	op := history.Op{Kind: history.Put, Key: key, Value: history.Digest(body), ETag: etag(body), IfMatch: w.IfMatch, IfNoneMatch: w.IfNoneMatch}
	return c.do(ctx, op, func(ctx context.Context) (r history.Result, err error) {
		out, err := c.s3.PutObject(ctx, &s3.PutObjectInput{
			Bucket: &c.c.Bucket, Key: &key, Body: bytes.NewReader(body), IfMatch: w.match(), IfNoneMatch: w.noneMatch(),
		})
		if err == nil {
			r.ETag = aws.ToString(out.ETag)
		}
		return r, err
	})
}

// Multipart uploads a body as one part and completes it; only the completion
// is an operation of the history. ok is false if it did not come so far.
func (c *Client) Multipart(ctx context.Context, key string, body []byte, w Condition) (r history.Result, ok bool) {
	begin, cancel := context.WithTimeout(ctx, c.c.Timeout)
	defer cancel()
	up, err := c.s3.CreateMultipartUpload(begin, &s3.CreateMultipartUploadInput{Bucket: &c.c.Bucket, Key: &key})
	if err != nil {
		return r, false
	}
	part, err := c.s3.UploadPart(begin, &s3.UploadPartInput{
		Bucket: &c.c.Bucket, Key: &key, UploadId: up.UploadId, PartNumber: aws.Int32(1), Body: bytes.NewReader(body),
	})
	if err != nil {
		return r, false
	}
	sum := md5.Sum(body)        //nolint:gosec // S3's ETag
	whole := etag(sum[:], "-1") // of one part
	parts := []types.CompletedPart{{ETag: part.ETag, PartNumber: aws.Int32(1)}}
	op := history.Op{Kind: history.Complete, Key: key, Value: history.Digest(body), ETag: whole, IfMatch: w.IfMatch, IfNoneMatch: w.IfNoneMatch}
	return c.do(ctx, op, func(ctx context.Context) (r history.Result, err error) {
		out, err := c.s3.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
			Bucket: &c.c.Bucket, Key: &key, UploadId: up.UploadId, IfMatch: w.match(), IfNoneMatch: w.noneMatch(),
			MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
		})
		if err == nil {
			r.ETag = aws.ToString(out.ETag)
		}
		return r, err
	}), true
}

// etag returns the quoted ETag of bytes with a suffix.
func etag(b []byte, suffix ...string) string {
	sum := md5.Sum(b) //nolint:gosec // S3's ETag
	return `"` + hex.EncodeToString(sum[:]) + strings.Join(suffix, "") + `"`
}

// Get gets an object and reads all of it.
func (c *Client) Get(ctx context.Context, key string, w Condition) history.Result {
	op := history.Op{Kind: history.Get, Key: key, IfMatch: w.IfMatch, IfNoneMatch: w.IfNoneMatch}
	return c.do(ctx, op, func(ctx context.Context) (r history.Result, err error) {
		out, err := c.s3.GetObject(ctx, &s3.GetObjectInput{Bucket: &c.c.Bucket, Key: &key, IfMatch: w.match(), IfNoneMatch: w.noneMatch()})
		if err != nil {
			return r, err
		}
		defer out.Body.Close()
		body, err := io.ReadAll(out.Body)
		if err == nil && int64(len(body)) != aws.ToInt64(out.ContentLength) {
			err = io.ErrUnexpectedEOF
		}
		return history.Result{Value: history.Digest(body), ETag: aws.ToString(out.ETag)}, err
	})
}

// Head asks for an object.
func (c *Client) Head(ctx context.Context, key string) history.Result {
	return c.do(ctx, history.Op{Kind: history.Head, Key: key}, func(ctx context.Context) (r history.Result, err error) {
		out, err := c.s3.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &c.c.Bucket, Key: &key})
		if err == nil {
			r.ETag = aws.ToString(out.ETag)
		}
		return r, err
	})
}

// Delete deletes an object.
func (c *Client) Delete(ctx context.Context, key string, w Condition) history.Result {
	return c.do(ctx, history.Op{Kind: history.Delete, Key: key, IfMatch: w.IfMatch}, func(ctx context.Context) (history.Result, error) {
		_, err := c.s3.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &c.c.Bucket, Key: &key, IfMatch: w.match()})
		return history.Result{}, err
	})
}

// List lists the bucket, at most 1,000 keys, and notes which of keys it
// showed: all that may exist. It returns false if it failed.
func (c *Client) List(ctx context.Context, keys []string) bool {
	ctx, cancel := context.WithTimeout(ctx, c.c.Timeout)
	defer cancel()
	p := c.c.History.Begin(c.c.ID, history.Op{Kind: history.List, Key: c.c.Space})
	out, err := c.s3.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &c.c.Bucket})
	if err != nil {
		p.End(history.Result{Outcome: history.Unknown})
		return false
	}
	shown := map[string]string{}
	for _, o := range out.Contents {
		shown[c.c.Space+aws.ToString(o.Key)] = aws.ToString(o.ETag)
	}
	var all []string
	for _, key := range keys {
		all = append(all, c.c.Space+key)
	}
	p.EndList(all, shown)
	return true
}

// Work does a mix of operations on keys until ctx ends, and returns how many
// it did. No two bodies of a history are alike if no two clients have the same
// ID; they have up to most bytes.
func (c *Client) Work(ctx context.Context, seed uint64, keys []string, most int) (done int) {
	r := rand.New(rand.NewPCG(seed, uint64(c.c.ID)))
	seen := map[string]string{} // the last ETag of each key that this client saw
	for ; ctx.Err() == nil; done++ {
		key := keys[r.IntN(len(keys))]
		if c.one(context.WithoutCancel(ctx), r, key, keys, c.body(r, done, most), seen) {
			continue
		}
		select { // whoever does not answer is not asked in a busy loop
		case <-time.After(askEvery):
		case <-ctx.Done():
		}
	}
	return done
}

// body returns bytes that no other operation writes.
func (c *Client) body(r *rand.Rand, n, most int) []byte {
	body := []byte(fmt.Sprintf("client %d operation %d %s ", c.c.ID, n, c.c.Space))
	size := len(body) + r.IntN(max(most-len(body), 1))
	for len(body) < size {
		body = append(body, byte(r.Uint32()))
	}
	return body
}

// one does one operation and reports whether it was answered.
func (c *Client) one(ctx context.Context, r *rand.Rand, key string, keys []string, body []byte, seen map[string]string) bool {
	var w Condition
	switch r.IntN(4) {
	case 0:
		w.IfMatch = seen[key] // what it saw last: a compare-and-swap
	case 1:
		w.IfNoneMatch = "*"
	}
	var got history.Result
	switch n := r.IntN(20); {
	case n < 6:
		got = c.Put(ctx, key, body, w)
	case n < 8:
		got, _ = c.Multipart(ctx, key, body, w)
	case n < 10:
		got = c.Delete(ctx, key, Condition{IfMatch: w.IfMatch})
	case n < 17:
		if w.IfNoneMatch != "" {
			w.IfNoneMatch = seen[key]
		}
		got = c.Get(ctx, key, w)
	case n < 19:
		got = c.Head(ctx, key)
	default:
		return c.List(ctx, keys)
	}
	if got.ETag != "" {
		seen[key] = got.ETag
	}
	return got.Outcome != history.Failed && got.Outcome != history.Unknown && got.Outcome != ""
}
