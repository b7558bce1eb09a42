package s3

import (
	"context"
	"errors"
	"fmt"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/objects"
)

// uploadPart is UploadPart.
func (s *Server) uploadPart(ctx context.Context, q *request) error {
	number, customer, err := q.parsePart()
	if err != nil {
		return err
	}
	size, err := q.uploadLength(maxPut)
	if err != nil {
		return err
	}
	claimed, err := parseClaim(q.r.Header)
	if err != nil {
		return err
	}
	u, err := q.uploadOfPart(ctx, customer)
	if err != nil {
		return err
	}
	if err := claimed.checkPart(u.Checksum); err != nil {
		return err
	}
	body, beside := q.body, claimed.beside(q.body, u.Checksum.Algorithm)
	if beside != nil {
		body = beside
	}
	p, err := s.cfg.Store.PutPart(ctx, objects.PutPartRequest{
		Bucket: q.bucketName, Key: q.key, Upload: u.ID, Number: number, Body: body, Size: size,
		CustomerKey: customer.key, Verify: claimed.verify(q.trailer, beside),
	})
	if err != nil {
		return q.uploadError(err)
	}
	q.objectSize = p.Size
	q.set("Etag", quote(p.ETag))
	switch {
	case beside != nil:
		q.set(claimed.algorithm.field, beside.sum())
	case claimed.algorithm != nil || !unasked(u.Checksum):
		if a := findChecksum(u.Checksum.Algorithm); a != nil {
			q.set(a.field, p.Checksum)
		}
	}
	q.setEncryption(u.Encryption)
	return q.OK()
}

// parsePart reads what UploadPart and UploadPartCopy have in common: the part's
// number and the customer's key.
func (q *request) parsePart() (number int, customer customerKey, err error) {
	if number, err = parsePartNumber(q.query.Get("partNumber")); err != nil {
		return 0, customer, err
	}
	customer, err = parseCustomerKey(q.r.Header, customerPrefix, q.secure())
	return number, customer, err
}

// uploadOfPart finds the upload that a part is for, which must be under the
// same customer's key.
func (q *request) uploadOfPart(ctx context.Context, customer customerKey) (catalog.Upload, error) {
	if _, err := q.Bucket(ctx); err != nil {
		return catalog.Upload{}, err
	}
	u, err := q.upload(ctx)
	if err != nil {
		return u, err
	}
	return u, checkUploadKey(&u, customer)
}

// checkPart holds the checksum of a part against what the upload was created
// with; a composite needs one.
func (c claim) checkPart(of catalog.Checksum) error {
	given := "null"
	switch {
	case unasked(of), c.algorithm == nil && of.Type == fullObject:
		return nil
	case c.algorithm != nil && c.algorithm.name == of.Algorithm:
		return nil
	case c.algorithm != nil:
		given = c.algorithm.name
	}
	return invalidRequest("Checksum Type mismatch occurred, expected checksum Type: " + of.Algorithm + ", actual checksum Type: " + given)
}

// unasked reports whether an upload's client named no checksum algorithm.
func unasked(c catalog.Checksum) bool { return c.Type == objects.Unasked || c.Algorithm == "" }

// shown is an upload's checksum as clients are told of it.
func shown(c catalog.Checksum) catalog.Checksum {
	if unasked(c) {
		return catalog.Checksum{}
	}
	return c
}

// upload returns the open upload that the request names. A malformed id is as
// unknown as any other.
func (q *request) upload(ctx context.Context) (catalog.Upload, error) {
	id, err := q.uploadID()
	if err != nil {
		return catalog.Upload{}, err
	}
	u, err := q.s.cfg.Store.Upload(ctx, q.bucketName, q.key, id)
	if err != nil {
		return u, q.uploadError(err)
	}
	return u, nil
}

func (q *request) uploadID() (hallig.UploadID, error) {
	id, err := hallig.ParseID(q.query.Get("uploadId"))
	if err != nil {
		return id, q.noSuchUpload().Because(err)
	}
	return id, nil
}

func (q *request) noSuchUpload() *Error {
	return fail("NoSuchUpload").With("UploadId", q.query.Get("uploadId"))
}

// uploadError names what can go wrong with an upload.
func (q *request) uploadError(err error) error {
	var e *Error
	if errors.As(err, &e) {
		return err
	}
	if errors.Is(err, hallig.ErrNotFound) {
		return q.noSuchUpload().Because(err)
	}
	return fmt.Errorf("upload %s: %w", q.query.Get("uploadId"), err)
}

// checkUploadKey compares a part's SSE-C key with the upload's.
func checkUploadKey(u *catalog.Upload, c customerKey) error {
	want := u.Encryption.CustomerMD5
	switch {
	case want == "" && c.key == nil:
		return nil
	case want == "":
		return invalidRequest("The multipart upload initiate requested encryption with a different method. Subsequent part requests must use the same method.")
	case c.key == nil:
		return invalidRequest("The multipart upload initiate requested encryption. Subsequent part requests must include the appropriate encryption parameters.")
	case want != c.md5:
		return invalidRequest("The provided encryption parameters did not match the ones used originally.")
	}
	return nil
}
