package bench

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// client is as thin an S3 client as measuring needs.
type client struct {
	base   string // http://host:port/bucket
	signer *signer
	http   *http.Client
	filler []byte // bytes of every body, repeated
}

func newClient(c Config) *client {
	filler := make([]byte, 1<<20)
	state := c.Seed
	for i := range filler { // incompressible, and the same for one seed
		state = state*6364136223846793005 + 1442695040888963407
		filler[i] = byte(state >> 56)
	}
	return &client{
		base:   strings.TrimSuffix(c.Endpoint, "/") + "/" + c.Bucket,
		signer: &signer{accessKey: c.AccessKey, secret: c.SecretKey, region: c.Region},
		http: &http.Client{Transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
			MaxIdleConnsPerHost: c.Concurrency, DisableCompression: true,
			WriteBufferSize: 64 << 10, ReadBufferSize: 64 << 10,
		}},
		filler: filler,
	}
}

// body is size bytes of the filler.
type body struct {
	filler []byte
	off    int64
	size   int64
}

func (b *body) Read(p []byte) (int, error) {
	if b.off == b.size {
		return 0, io.EOF
	}
	at := b.off % int64(len(b.filler))
	n := copy(p[:min(int64(len(p)), b.size-b.off)], b.filler[at:])
	b.off += int64(n)
	return n, nil
}

// do sends a request; an answer of 300 and above is an error. The caller closes
// the body.
func (c *client) do(ctx context.Context, method, path string, query url.Values, rd io.Reader, size int64, header ...string) (*http.Response, error) {
	u := c.base + path
	if len(query) > 0 {
		u += "?" + strings.ReplaceAll(query.Encode(), "+", "%20")
	}
	req, err := http.NewRequestWithContext(ctx, method, u, rd)
	if err != nil {
		return nil, err
	}
	if rd != nil {
		req.ContentLength = size
		if size == 0 {
			req.Body = http.NoBody
		}
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	c.signer.sign(req, time.Now())
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= 300 {
		defer resp.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 4096)) // the status says enough without it
		return nil, &statusError{method, path, resp.StatusCode, string(text)}
	}
	return resp, nil
}

type statusError struct {
	method, path string
	status       int
	text         string
}

func (e *statusError) Error() string {
	return fmt.Sprintf("%s %s: %d %s", e.method, e.path, e.status, strings.TrimSpace(e.text))
}

// finish reads an answer to its end, so that the connection is used again.
func finish(resp *http.Response) (int64, error) {
	n, err := io.Copy(io.Discard, resp.Body)
	if cerr := resp.Body.Close(); err == nil {
		err = cerr
	}
	return n, err
}

func (c *client) simple(ctx context.Context, method, path string, rd io.Reader, size int64) (int64, error) {
	resp, err := c.do(ctx, method, path, nil, rd, size)
	if err != nil {
		return 0, err
	}
	return finish(resp)
}

func (c *client) makeBucket(ctx context.Context) error {
	if _, err := c.simple(ctx, http.MethodHead, "", nil, 0); err == nil {
		return nil
	}
	_, err := c.simple(ctx, http.MethodPut, "", nil, 0)
	return err
}

func (c *client) put(ctx context.Context, key string, size int64) error {
	_, err := c.simple(ctx, http.MethodPut, "/"+key, &body{filler: c.filler, size: size}, size)
	return err
}

func (c *client) get(ctx context.Context, key string) (int64, error) {
	return c.simple(ctx, http.MethodGet, "/"+key, nil, 0)
}

func (c *client) stat(ctx context.Context, key string) error {
	_, err := c.simple(ctx, http.MethodHead, "/"+key, nil, 0)
	return err
}

func (c *client) delete(ctx context.Context, key string) error {
	_, err := c.simple(ctx, http.MethodDelete, "/"+key, nil, 0)
	return err
}

// list returns the number of keys on a page and the last of them; "" when it
// is the last page.
func (c *client) list(ctx context.Context, prefix, after string) (int, string, error) {
	resp, err := c.do(ctx, http.MethodGet, "", url.Values{"list-type": {"2"}, "prefix": {prefix}, "start-after": {after}}, nil, 0)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	var page struct {
		IsTruncated bool
		Contents    []struct{ Key string }
	}
	if err := xml.NewDecoder(resp.Body).Decode(&page); err != nil {
		return 0, "", fmt.Errorf("list: %w", err)
	}
	last := ""
	if page.IsTruncated && len(page.Contents) > 0 {
		last = page.Contents[len(page.Contents)-1].Key
	}
	return len(page.Contents), last, nil
}

func (c *client) deleteMany(ctx context.Context, keys []string) error {
	if len(keys) == 0 {
		return nil
	}
	var b bytes.Buffer
	b.WriteString("<Delete><Quiet>true</Quiet>")
	for _, k := range keys {
		b.WriteString("<Object><Key>" + k + "</Key></Object>")
	}
	b.WriteString("</Delete>")
	sum := md5.Sum(b.Bytes())
	resp, err := c.do(ctx, http.MethodPost, "", url.Values{"delete": {""}}, bytes.NewReader(b.Bytes()), int64(b.Len()),
		"Content-MD5", base64.StdEncoding.EncodeToString(sum[:]))
	if err != nil {
		return err
	}
	_, err = finish(resp)
	return err
}
