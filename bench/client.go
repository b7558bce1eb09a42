package bench

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// client is as thin an S3 client as measuring needs: path-style requests of
// one worker, one after the other. It is not safe for concurrent use.
type client struct {
	conn    *conn
	signer  *signer
	bucket  string // "/bucket"
	payload Payload
	check   bool // of the bytes that are read
	filler  []byte
	seed    uint64

	head []byte
	buf  []byte
	body body
	want body

	began time.Time // when the last request was begun: bodies are made before
}

const readBuffer = 256 << 10

func newClient(e Endpoint, u *url.URL, cfg *Config, filler []byte) *client {
	return &client{
		conn:    newConn(u),
		signer:  &signer{accessKey: e.AccessKey, secret: e.SecretKey, region: e.Region},
		bucket:  "/" + e.Bucket,
		payload: cfg.Payload, check: !cfg.NoVerify, filler: filler, seed: cfg.Seed,
		buf: make([]byte, readBuffer),
	}
}

// object is a key, its number and its size in bytes.
type object struct {
	key    string
	number uint64
	size   int64
}

// statusError is an answer that is no success.
type statusError struct {
	method, path string
	status       int
	text         string
}

func (e *statusError) Error() string {
	return fmt.Sprintf("%s %s: %d %s", e.method, e.path, e.status, strings.TrimSpace(e.text))
}

// hash is the payload hash of a body; it may take a while and belongs before
// the request begins.
func (c *client) hash(b *body) string {
	switch {
	case b == nil || b.size == 0:
		return emptyHash
	case c.payload == Signed:
		return b.hash()
	}
	return unsigned
}

// send sends a request; an answer of 300 and above is a *statusError. path
// must be escaped, query encoded and sorted. extra is more header lines.
// Whoever gets an answer reads it to its end.
func (c *client) send(ctx context.Context, method, path, query, extra, hash string, b *body) (*http.Response, error) {
	c.began = time.Now()
	h := append(append(c.head[:0], method...), ' ')
	h = append(h, path...)
	if query != "" {
		h = append(append(h, '?'), query...)
	}
	h = append(append(h, " HTTP/1.1\r\nHost: "...), c.conn.host...)
	h = append(h, "\r\nUser-Agent: hallig-bench\r\n"...)
	h = append(h, extra...)
	if b != nil {
		h = append(h, "Content-Length: "...)
		h = append(strconv.AppendInt(h, b.size, 10), '\r', '\n')
	}
	h = c.signer.sign(h, method, path, query, c.conn.host, hash, c.began)
	h = append(h, '\r', '\n')
	c.head = h
	resp, err := c.conn.exchange(ctx, method, h, b)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	if resp.StatusCode >= 300 {
		defer resp.Body.Close()
		text, _ := c.text(resp) // the status says enough without it
		return nil, &statusError{method, path, resp.StatusCode, string(text)}
	}
	return resp, nil
}

// done gives the connection back after the answer was read.
func (c *client) done(resp *http.Response) {
	if resp.Close {
		c.conn.close()
	}
}

// text reads an answer of a few MiB at most to its end; the bytes are valid
// until the next request.
func (c *client) text(resp *http.Response) ([]byte, error) {
	defer c.done(resp)
	n := 0
	for {
		if n == len(c.buf) {
			if n > 16<<20 {
				c.conn.close()
				return nil, errors.New("an answer of more than 16 MiB")
			}
			c.buf = append(c.buf, make([]byte, len(c.buf))...)
		}
		m, err := resp.Body.Read(c.buf[n:])
		n += m
		if err == io.EOF {
			return c.buf[:n], nil
		}
		if err != nil {
			c.conn.close()
			return nil, err
		}
	}
}

// ask sends a request and reads the answer to its end; the text is valid until
// the next request.
func (c *client) ask(ctx context.Context, method, path, query, extra, hash string, b *body) (text []byte, header http.Header, err error) {
	resp, err := c.send(ctx, method, path, query, extra, hash, b)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	text, err = c.text(resp)
	return text, resp.Header, err
}

func (c *client) simple(ctx context.Context, method, path, query string) error {
	_, _, err := c.ask(ctx, method, path, query, "", emptyHash, nil)
	return err
}

func (c *client) path(key string) string { return c.bucket + "/" + escape(key, true) }

func (c *client) makeBucket(ctx context.Context) error {
	err := c.simple(ctx, http.MethodHead, c.bucket, "")
	if se, ok := errors.AsType[*statusError](err); !ok || se.status != http.StatusNotFound {
		return err
	}
	return c.simple(ctx, http.MethodPut, c.bucket, "")
}

// put puts a whole object.
func (c *client) put(ctx context.Context, o object) error {
	c.body.set(c.filler, c.seed, o.number, o.size, 0, o.size)
	hash := c.hash(&c.body)
	_, _, err := c.ask(ctx, http.MethodPut, c.path(o.key), "", "", hash, &c.body)
	return err
}

// get reads a whole object and, unless told otherwise, compares it.
func (c *client) get(ctx context.Context, o object) (int64, error) {
	resp, err := c.send(ctx, http.MethodGet, c.path(o.key), "", "", emptyHash, nil)
	if err != nil {
		return 0, err
	}
	c.want.set(c.filler, c.seed, o.number, o.size, 0, o.size)
	defer resp.Body.Close()
	n, err := c.want.read(resp.Body, c.buf, c.check)
	if err != nil && !errors.Is(err, errWrongBytes) {
		c.conn.close()
		return n, err
	}
	c.done(resp)
	if err != nil {
		return n, fmt.Errorf("GET %s: %w", o.key, err)
	}
	return n, nil
}

// stat asks for an object's head and compares its size.
func (c *client) stat(ctx context.Context, o object) error {
	resp, err := c.send(ctx, http.MethodHead, c.path(o.key), "", "", emptyHash, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	c.done(resp)
	if c.check && resp.ContentLength != o.size {
		return fmt.Errorf("HEAD %s: a size of %d instead of %d: %w", o.key, resp.ContentLength, o.size, errWrongBytes)
	}
	return nil
}

func (c *client) delete(ctx context.Context, o object) error {
	return c.simple(ctx, http.MethodDelete, c.path(o.key), "")
}

// deleteMany deletes up to 1,000 objects with one request.
func (c *client) deleteMany(ctx context.Context, objects []object) error {
	if len(objects) == 0 {
		return nil
	}
	var b bytes.Buffer
	b.WriteString(`<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Quiet>true</Quiet>`)
	for _, o := range objects {
		b.WriteString("<Object><Key>" + html.EscapeString(o.key) + "</Key></Object>")
	}
	b.WriteString("</Delete>")
	sum := md5.Sum(b.Bytes())
	c.body.setRaw(b.Bytes())
	hash := c.hash(&c.body)
	text, _, err := c.ask(ctx, http.MethodPost, c.bucket, "delete=",
		"Content-MD5: "+base64.StdEncoding.EncodeToString(sum[:])+"\r\nContent-Type: application/xml\r\n", hash, &c.body)
	if err == nil && bytes.Contains(text, []byte("<Error>")) {
		err = fmt.Errorf("multi-delete: %.500s", text)
	}
	return err
}

// page is one page of a listing: what lies between <Key> and </Key> in order,
// and the token of the next page or "".
type page struct {
	keys [][]byte // valid until the next request
	next string
}

// list reads a page of at most 1,000 keys: behind the key after, or where p
// says that the next page is. The answer is searched, not decoded: decoding
// XML would take longer than most servers' whole work.
func (c *client) list(ctx context.Context, prefix, after string, p *page) error {
	query := "list-type=2&max-keys=1000&prefix=" + escape(prefix, false)
	switch {
	case p.next != "":
		query = "continuation-token=" + escape(p.next, false) + "&" + query
	case after != "":
		query += "&start-after=" + escape(after, false)
	}
	text, _, err := c.ask(ctx, http.MethodGet, c.bucket, query, "", emptyHash, nil)
	if err != nil {
		return err
	}
	if !bytes.Contains(text, []byte("</ListBucketResult>")) {
		return fmt.Errorf("listing: no page but %.200q", text)
	}
	p.keys, p.next = p.keys[:0], ""
	if bytes.Contains(text, []byte("<IsTruncated>true</IsTruncated>")) {
		p.next = between(text, "<NextContinuationToken>", "</NextContinuationToken>")
	}
	for rest := text; ; {
		var found bool
		if _, rest, found = bytes.Cut(rest, []byte("<Key>")); !found {
			return nil
		}
		key, after, _ := bytes.Cut(rest, []byte("</Key>"))
		p.keys, rest = append(p.keys, key), after
	}
}

func (c *client) createUpload(ctx context.Context, o object) (id string, err error) {
	text, _, err := c.ask(ctx, http.MethodPost, c.path(o.key), "uploads=", "Content-Length: 0\r\n", emptyHash, nil)
	if err != nil {
		return "", err
	}
	if id = between(text, "<UploadId>", "</UploadId>"); id == "" {
		return "", fmt.Errorf("no upload id in %.200q", text)
	}
	return id, nil
}

// putPart puts bytes off to off+length of the object as a part and returns its
// ETag.
func (c *client) putPart(ctx context.Context, o object, id string, part int, off, length int64) (etag string, err error) {
	c.body.set(c.filler, c.seed, o.number, o.size, off, length)
	hash := c.hash(&c.body)
	query := "partNumber=" + strconv.Itoa(part) + "&uploadId=" + escape(id, false)
	_, header, err := c.ask(ctx, http.MethodPut, c.path(o.key), query, "", hash, &c.body)
	if err != nil {
		return "", err
	}
	return header.Get("Etag"), nil
}

func (c *client) completeUpload(ctx context.Context, o object, id string, etags []string) error {
	var b bytes.Buffer
	b.WriteString(`<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">`)
	for i, etag := range etags {
		fmt.Fprintf(&b, "<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>", i+1, html.EscapeString(etag))
	}
	b.WriteString("</CompleteMultipartUpload>")
	c.body.setRaw(b.Bytes())
	text, _, err := c.ask(ctx, http.MethodPost, c.path(o.key), "uploadId="+escape(id, false),
		"Content-Type: application/xml\r\n", c.hash(&c.body), &c.body)
	if err == nil && !bytes.Contains(text, []byte("CompleteMultipartUploadResult")) {
		err = fmt.Errorf("complete the upload: %.500s", text)
	}
	return err
}

func (c *client) abortUpload(ctx context.Context, o object, id string) error {
	return c.simple(ctx, http.MethodDelete, c.path(o.key), "uploadId="+escape(id, false))
}

func between(text []byte, from, to string) string {
	_, rest, _ := bytes.Cut(text, []byte(from))
	found, _, ok := bytes.Cut(rest, []byte(to))
	if !ok {
		return ""
	}
	return html.UnescapeString(string(found))
}

// escape encodes as AWS's signatures want it: everything but letters, digits
// and -._~ (and / in a path) as %XX.
func escape(s string, path bool) string {
	const hexDigits = "0123456789ABCDEF"
	plain := func(c byte) bool {
		return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
			c == '-' || c == '.' || c == '_' || c == '~' || (path && c == '/')
	}
	extra := 0
	for i := range len(s) {
		if !plain(s[i]) {
			extra += 2
		}
	}
	if extra == 0 {
		return s
	}
	out := make([]byte, 0, len(s)+extra)
	for i := range len(s) {
		if c := s[i]; plain(c) {
			out = append(out, c)
		} else {
			out = append(out, '%', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return string(out)
}
