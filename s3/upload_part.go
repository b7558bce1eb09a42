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
	number, err := parsePartNumber(q.query.Get("partNumber"))
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
	customer, err := parseCustomerKey(q.r.Header, customerPrefix, q.secure())
	if err != nil {
		return err
	}
	if _, err := q.Bucket(ctx); err != nil {
		return err
	}
	u, err := q.upload(ctx)
	if err != nil {
		return err
	}
	if err := checkUploadKey(&u, customer); err != nil {
		return err
	}
	algorithm, err := claimed.partAlgorithm(u.Checksum)
	if err != nil {
		return err
	}
	p, err := s.cfg.Store.PutPart(ctx, objects.PutPartRequest{
		Bucket: q.bucketName, Key: q.key, Upload: u.ID, Number: number, Body: q.body, Size: size,
		Algorithm: algorithm, CustomerKey: customer.key, Verify: claimed.verify(q.trailer, algorithm),
	})
	if err != nil {
		return q.uploadError(err)
	}
	q.objectSize = p.Size
	q.set("ETag", quote(p.ETag))
	if a := findChecksum(algorithm); a != nil {
		q.set(a.header(), p.Checksum)
	}
	q.setEncryption(u.Encryption)
	return q.OK()
}

// partAlgorithm settles the checksum of a part: what it names must be what the
// upload was created with; a composite needs one.
func (c claim) partAlgorithm(of catalog.Checksum) (string, error) {
	mismatch := func(expected, actual string) error {
		return invalidRequest("Checksum Type mismatch occurred, expected checksum Type: " + expected + ", actual checksum Type: " + actual)
	}
	switch {
	case of.Algorithm == "" && c.algorithm == nil:
		return defaultChecksum, nil
	case of.Algorithm == "":
		return c.algorithm.name, nil
	case c.algorithm == nil && of.Type == composite:
		return "", mismatch(of.Algorithm, "null")
	case c.algorithm == nil:
		return of.Algorithm, nil
	case c.algorithm.name != of.Algorithm:
		return "", mismatch(of.Algorithm, c.algorithm.name)
	}
	return of.Algorithm, nil
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
