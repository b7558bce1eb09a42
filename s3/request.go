package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/objects"
)

// A request is one S3 request on its way through the door. Handlers get it
// authenticated and authorized.
type request struct {
	s *Server
	w *response
	r *http.Request

	id, hostID string // x-amz-request-id, x-amz-id-2
	started    time.Time
	op         *operation
	query      url.Values

	bucketName  string
	key         string
	virtualHost bool
	version     catalog.VersionID // versionId parameter, checked; "" if absent
	versioned   bool              // a versionId parameter was given

	auth    credentials        // who asks
	body    io.Reader          // decoded and verified at EOF; never nil
	length  int64              // decoded bytes to come, -1 unknown
	trailer func() http.Header // the verified trailers, after body's EOF; may be nil

	facts      map[string][]string // condition keys that the body tells
	bucket     *objects.Bucket     // loaded by Bucket
	found      *catalog.Version    // loaded by find
	objectSize int64               // for the access log
	observed   bool
}

// Bucket returns the addressed bucket, loading it once. A missing one is
// NoSuchBucket.
func (q *request) Bucket(ctx context.Context) (*objects.Bucket, error) {
	if q.bucket != nil {
		return q.bucket, nil
	}
	b, err := q.s.loadBucket(ctx, q.bucketName)
	if err != nil {
		return nil, err
	}
	q.bucket = &b
	return q.bucket, nil
}

func (s *Server) loadBucket(ctx context.Context, name string) (objects.Bucket, error) {
	b, err := s.cfg.Store.Bucket(ctx, name)
	if errors.Is(err, hallig.ErrNotFound) || err == nil && b.Closing {
		return b, fail("NoSuchBucket").With("BucketName", name)
	}
	if err != nil {
		return b, fmt.Errorf("load bucket %s: %w", name, err)
	}
	return b, nil
}

// header returns a request header, "" if absent.
func (q *request) header(name string) string { return q.r.Header.Get(name) }

// set sets a response header unless the value is empty.
func (q *request) set(name, value string) {
	if value != "" {
		q.w.Header().Set(name, value)
	}
}

// XML answers 200 with a document.
func (q *request) XML(v any) error { return q.XMLStatus(http.StatusOK, v) }

// XMLStatus answers with a document.
func (q *request) XMLStatus(status int, v any) error {
	doc, err := renderXML(v)
	if err != nil {
		return fmt.Errorf("encode the response: %w", err)
	}
	return q.sendDocument(status, doc)
}

// sendDocument answers with an XML document, which it does not keep.
func (q *request) sendDocument(status int, doc []byte) error {
	h := q.w.Header()
	h.Set("Content-Type", "application/xml")
	h.Set("Content-Length", strconv.Itoa(len(doc)))
	q.w.WriteHeader(status)
	if q.r.Method != http.MethodHead {
		_, _ = q.w.Write(doc) // a client that went away is no error of ours
	}
	return nil
}

// OK answers 200 without a body.
func (q *request) OK() error {
	q.w.Header().Set("Content-Length", "0")
	q.w.WriteHeader(http.StatusOK)
	return nil
}

// NoContent answers 204.
func (q *request) NoContent() error {
	q.w.WriteHeader(http.StatusNoContent)
	return nil
}

// ReadBody returns the whole request body, at most limit bytes, verified
// (signature, hash, and Content-MD5 and checksum headers if given). A longer
// one is MaxMessageLengthExceeded.
func (q *request) ReadBody(limit int64) ([]byte, error) {
	b, err := q.readRaw(limit)
	if err != nil {
		return nil, err
	}
	return b, q.verifyDocument(b)
}

// readRaw is ReadBody without the comparison with Content-MD5 and checksum
// headers.
func (q *request) readRaw(limit int64) ([]byte, error) {
	if q.length > limit {
		return nil, fail("MaxMessageLengthExceeded").With("MaxMessageLengthBytes", strconv.FormatInt(limit, 10))
	}
	b, err := io.ReadAll(io.LimitReader(q.body, limit+1))
	if err != nil {
		return nil, bodyError(err)
	}
	if int64(len(b)) > limit {
		return nil, fail("MaxMessageLengthExceeded").With("MaxMessageLengthBytes", strconv.FormatInt(limit, 10))
	}
	return b, nil
}

// ReadXML decodes the request document with the given root element into v; see
// ReadBody and parseXML. An absent document is MissingRequestBodyError.
func (q *request) ReadXML(root string, v any, limit int64) error {
	b, err := q.ReadBody(limit)
	if err != nil {
		return err
	}
	if len(b) == 0 {
		return fail("MissingRequestBodyError")
	}
	return parseXML(b, root, v)
}

// bodyError keeps S3 errors of the body's verification and calls what is left
// of network failures by S3's name.
func bodyError(err error) error {
	var e *Error
	if _, refused := fromProof(err); refused || errors.As(err, &e) {
		return err
	}
	return fail("IncompleteBody").Because(err)
}

func itoa[T int | int32 | int64](n T) string { return strconv.FormatInt(int64(n), 10) }
