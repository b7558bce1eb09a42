package s3

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/objects"
	"github.com/hallig-cloud/hallig/s3/subresource"
)

// updateBucket changes the addressed bucket's record. change sees the current
// record, may be called again, and may refuse.
func (s *Server) updateBucket(ctx context.Context, q *request, change func(*objects.Bucket) error) error {
	_, err := s.cfg.Store.UpdateBucket(ctx, q.bucketName, func(b *objects.Bucket) error {
		b.Documents = maps.Clone(b.Documents) // the store's own map may be shared with readers
		return change(b)
	})
	if errors.Is(err, hallig.ErrNotFound) {
		return fail("NoSuchBucket").With("BucketName", q.bucketName)
	}
	if err != nil {
		return fmt.Errorf("update bucket %s: %w", q.bucketName, err)
	}
	return nil
}

// putDocument stores a checked document.
func (s *Server) putDocument(ctx context.Context, q *request, name objects.Document, data []byte) error {
	return s.updateBucket(ctx, q, func(b *objects.Bucket) error {
		setDocument(b, name, data)
		return nil
	})
}

// deleteDocument removes a document, if it is there, and answers 204.
func (s *Server) deleteDocument(ctx context.Context, q *request, name objects.Document) error {
	if err := s.putDocument(ctx, q, name, nil); err != nil {
		return err
	}
	return q.NoContent()
}

// setDocument puts a document into a bucket record; nil data removes it.
func setDocument(b *objects.Bucket, name objects.Document, data []byte) {
	if data == nil {
		delete(b.Documents, name)
		return
	}
	if b.Documents == nil {
		b.Documents = make(map[objects.Document][]byte)
	}
	b.Documents[name] = data
}

// sendDocument answers with a stored document; one that is not there is the
// error missing, with the bucket's name.
func (s *Server) sendDocument(ctx context.Context, q *request, name objects.Document, missing string) error {
	b, err := q.Bucket(ctx)
	if err != nil {
		return err
	}
	data := b.Documents[name]
	if data == nil {
		return fail(missing).With("BucketName", q.bucketName)
	}
	return q.Raw("application/xml", data)
}

// Raw answers 200 with a ready body.
func (q *request) Raw(contentType string, body []byte) error {
	h := q.w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", itoa(len(body)))
	q.w.WriteHeader(http.StatusOK)
	if q.r.Method != http.MethodHead {
		_, _ = q.w.Write(body) // a client that went away is no error of ours
	}
	return nil
}

// sendXML answers with v as a document under the given root.
func (q *request) sendXML(root string, v any) error {
	doc, err := subresource.Marshal(root, v)
	if err != nil {
		return fmt.Errorf("encode %s: %w", root, err)
	}
	return q.Raw("application/xml", doc)
}

// readDocument returns the request's configuration document, which must not be
// empty. The bucket must exist, so that a missing one is told before a bad body.
func (s *Server) readDocument(ctx context.Context, q *request, max int64) ([]byte, error) {
	if _, err := q.Bucket(ctx); err != nil {
		return nil, err
	}
	data, err := q.ReadBody(max)
	if err != nil {
		return nil, err
	}
	if len(data) == 0 {
		return nil, fail("MissingRequestBodyError")
	}
	return data, nil
}

// fromDocument turns a document's refusal into the error that is sent.
func fromDocument(err error) (*Error, bool) {
	var bad *subresource.Error
	if !errors.As(err, &bad) {
		return nil, false
	}
	e := &Error{Code: bad.Code, Message: worded(bad.Code, bad.Message), Status: bad.Status}
	for _, f := range bad.Fields {
		e = e.With(f.Name, f.Value)
	}
	return e, true
}
