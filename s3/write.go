package s3

import (
	"context"
	"errors"
	"net/http"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/access"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/objects"
)

// Limits of uploads, in bytes.
const (
	maxPut    = 5 << 30 // one PUT, one part, one copy
	maxObject = 5 << 40
	minPart   = 5 << 20 // every part but the last
)

// A write is what the headers of an upload (PutObject, CopyObject,
// CreateMultipartUpload, a form) ask for.
type write struct {
	attributes catalog.Attributes
	customer   customerKey
	lock       lockRequest
	tagged     bool // x-amz-tagging is there
}

// parseWrite reads the headers of an upload that do not describe its bytes,
// and asks for the further permissions that some of them need.
func (q *request) parseWrite(ctx context.Context, h http.Header, b *objects.Bucket) (write, error) {
	var w write
	a := &w.attributes
	if err := parseSystemMetadata(h, a); err != nil {
		return w, err
	}
	var err error
	if a.WebsiteRedirect, err = parseWebsiteRedirect(h); err != nil {
		return w, err
	}
	if a.StorageClass, err = parseStorageClass(h); err != nil {
		return w, err
	}
	if w.tagged = h.Get("X-Amz-Tagging") != ""; w.tagged {
		if a.Tags, err = parseTagHeader(h.Get("X-Amz-Tagging")); err != nil {
			return w, err
		}
	}
	if w.lock, err = parseLockHeaders(h, q.s.cfg.Clock()); err != nil {
		return w, err
	}
	if err := w.lock.allowed(b); err != nil {
		return w, err
	}
	a.Retention, a.LegalHold, a.LegalHoldStated = w.lock.retention, w.lock.hold, w.lock.stated
	if w.customer, err = parseCustomerKey(h, customerPrefix, q.secure()); err != nil {
		return w, err
	}
	if a.Encryption, err = parseEncryption(h, w.customer); err != nil {
		return w, err
	}
	if a.ACL, a.Owner, err = q.parseObjectACL(ctx, h, b); err != nil {
		return w, err
	}
	return w, q.permitWrite(ctx, h, w)
}

// permitWrite asks for the permissions beyond s3:PutObject.
func (q *request) permitWrite(ctx context.Context, h http.Header, w write) error {
	if w.tagged {
		if err := q.permit(ctx, "s3:PutObjectTagging"); err != nil {
			return err
		}
	}
	if w.lock.retention.Mode != "" {
		if err := q.permit(ctx, "s3:PutObjectRetention"); err != nil {
			return err
		}
	}
	if h.Get("X-Amz-Object-Lock-Legal-Hold") != "" {
		if err := q.permit(ctx, "s3:PutObjectLegalHold"); err != nil {
			return err
		}
	}
	if access.HasACLHeaders(h) {
		return q.permit(ctx, "s3:PutObjectAcl")
	}
	return nil
}

// uploadLength returns the length of an upload's body: 411 when the request
// does not say, EntityTooLarge over limit.
func (q *request) uploadLength(limit int64) (int64, error) {
	if q.length < 0 {
		return 0, fail("MissingContentLength")
	}
	if q.length > limit {
		return 0, fail("EntityTooLarge").With("ProposedSize", itoa(q.length)).With("MaxSizeAllowed", itoa(limit))
	}
	return q.length, nil
}

// writeError names what can go wrong with a conditional write.
func (q *request) writeError(err error, p catalog.Precondition) error {
	var e *Error
	switch {
	case err == nil, errors.As(err, &e):
		return err
	case errors.Is(err, hallig.ErrPrecondition):
		condition := "If-Match"
		if p.IfNoneMatch != nil {
			condition = "If-None-Match"
		}
		return preconditionFailed(condition).Because(err)
	case errors.Is(err, hallig.ErrNotFound) && p.IfMatch != nil:
		return fail("NoSuchKey").With("Key", q.key).Because(err)
	case errors.Is(err, hallig.ErrNotFound):
		return fail("NoSuchBucket").With("BucketName", q.bucketName).Because(err)
	case errors.Is(err, hallig.ErrConflict) && !p.IsZero():
		return fail("ConditionalRequestConflict").Because(err)
	}
	return err
}

// setWritten sets x-amz-version-id of a write: S3 omits it where versioning is
// suspended.
func (q *request) setWritten(b *objects.Bucket, v *catalog.Version) {
	if b.Versioning == catalog.Enabled {
		q.setVersion(b, v)
	}
}

// setVersion sets x-amz-version-id, which only buckets that know versions
// have.
func (q *request) setVersion(b *objects.Bucket, v *catalog.Version) {
	if b.Versioning != catalog.Unversioned {
		q.set("X-Amz-Version-Id", string(v.ID()))
	}
}

// emit tells of what happened to an object.
func (q *request) emit(ctx context.Context, name string, v catalog.Version) {
	q.emitAll(ctx, objects.Event{Name: name, Bucket: q.bucketName, Version: v, At: q.s.cfg.Clock()})
}

// emitAll tells of several objects of the request's bucket at once.
func (q *request) emitAll(ctx context.Context, events ...objects.Event) {
	if q.s.cfg.Events != nil && len(events) > 0 {
		q.s.cfg.Events(ctx, events...)
	}
}
