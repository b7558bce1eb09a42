package objects

import (
	"context"
	"fmt"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/seal"
)

// CreateUpload opens a multipart upload; see API. The type of its checksum is
// settled here: FULL_OBJECT for CRC64NVME, COMPOSITE for the others, unless
// Attributes.Checksum.Type says otherwise.
func (s *Store) CreateUpload(ctx context.Context, r CreateUploadRequest) (catalog.Upload, error) {
	bucket, key, a := r.Bucket, r.Key, r.Attributes
	fail := func(err error) (catalog.Upload, error) {
		return catalog.Upload{}, fmt.Errorf("create upload of %s/%s: %w", bucket, key, err)
	}
	if err := checkKey(key); err != nil {
		return fail(err)
	}
	var err error
	unasked := a.Checksum.Type == Unasked
	if unasked {
		a.Checksum.Type = FullObject
	}
	if a.Checksum.Type, err = checksumType(a.Checksum.Algorithm, a.Checksum.Type); err != nil {
		return fail(err)
	}
	if unasked {
		a.Checksum.Type = Unasked
	}
	a.Checksum.Value = ""
	data := seal.NewDataKey()
	var u catalog.Upload
	_, results, err := s.commit(ctx, bucket, func(b *Bucket) ([]catalog.Op, error) {
		now := s.now()
		u = catalog.Upload{ID: catalog.NewUploadID(now), Bucket: b.ID, Key: key, Initiated: now, Initiator: r.Initiator, Attributes: a}
		var err error
		if u.DataKey, err = s.wrapKey(b, &u.Encryption, r.CustomerKey, data); err != nil {
			return nil, err
		}
		return []catalog.Op{catalog.CreateUpload{Upload: u}}, nil
	})
	if err == nil {
		err = results[0].Err
	}
	if err != nil {
		return fail(err)
	}
	return u, nil
}

// PutPart stores a part; see API. A part of the same number is replaced.
func (s *Store) PutPart(ctx context.Context, r PutPartRequest) (catalog.Part, error) {
	p, err := s.putPart(ctx, r, nil)
	if err != nil {
		return catalog.Part{}, fmt.Errorf("put part %d of %s/%s: %w", r.Number, r.Bucket, r.Key, err)
	}
	return p, nil
}

func (s *Store) putPart(ctx context.Context, r PutPartRequest, g *grant) (catalog.Part, error) {
	if r.Number < 1 || r.Number > catalog.MaxParts {
		return catalog.Part{}, fmt.Errorf("part number %d, 1 to %d are allowed: %w", r.Number, catalog.MaxParts, hallig.ErrInvalid)
	}
	b, err := s.bucket(ctx, r.Bucket)
	if err != nil {
		return catalog.Part{}, err
	}
	u, err := s.catalog.Upload(ctx, b.ID, r.Key, r.Upload)
	if err != nil {
		return catalog.Part{}, err
	}
	algorithm := u.Checksum.Algorithm
	switch {
	case algorithm == "":
		algorithm = r.Algorithm
	case r.Algorithm != "" && r.Algorithm != algorithm:
		return catalog.Part{}, fmt.Errorf("a %s checksum in an upload with %s: %w", r.Algorithm, algorithm, hallig.ErrInvalid)
	}
	key, err := s.openKey(b, u.DataKey, &u.Encryption, r.CustomerKey)
	if err != nil {
		return catalog.Part{}, err
	}
	voucher, err := s.voucher(b, len(u.Encryption.CustomerCheck) > 0)
	if err != nil {
		return catalog.Part{}, err
	}
	w, sums, err := s.write(ctx, source{bucket: b, key: key, body: r.Body, size: r.Size, limit: MaxPart, sum: algorithm, grant: g, voucher: voucher})
	if err != nil {
		return catalog.Part{}, err
	}
	if r.Verify != nil {
		if err := r.Verify(sums); err != nil {
			w.discard()
			return catalog.Part{}, err
		}
	}
	p := catalog.Part{Number: r.Number, Size: sums.Size, ETag: sums.etag(), Checksum: sums.Checksum, Modified: s.now(), Extents: w.extents}
	stored := p
	if u.Checksum.Algorithm == "" {
		stored.Checksum = "" // it was to be verified only
	}
	_, results, err := s.commit(ctx, r.Bucket, func(now *Bucket) ([]catalog.Op, error) {
		if now.ID != b.ID {
			return nil, fmt.Errorf("bucket %s was deleted and made anew meanwhile: %w", r.Bucket, hallig.ErrNotFound)
		}
		return []catalog.Op{catalog.PutPart{Key: r.Key, Upload: r.Upload, Part: stored}}, nil
	})
	if err == nil {
		err = results[0].Err
	}
	if err != nil {
		if !inDoubt(err) {
			w.discard()
		}
		return catalog.Part{}, err
	}
	return p, nil
}

// Abort drops an upload; see API.
func (s *Store) Abort(ctx context.Context, bucket, key string, id hallig.UploadID) error {
	_, results, err := s.commit(ctx, bucket, func(*Bucket) ([]catalog.Op, error) {
		return []catalog.Op{catalog.AbortUpload{Key: key, Upload: id}}, nil
	})
	if err == nil {
		err = results[0].Err
	}
	if err != nil {
		return fmt.Errorf("abort upload of %s/%s: %w", bucket, key, err)
	}
	return nil
}

// Upload returns an open upload; see API.
func (s *Store) Upload(ctx context.Context, bucket, key string, id hallig.UploadID) (catalog.Upload, error) {
	b, err := s.bucket(ctx, bucket)
	if err != nil {
		return catalog.Upload{}, err
	}
	u, err := s.catalog.Upload(ctx, b.ID, key, id)
	if err != nil {
		return catalog.Upload{}, fmt.Errorf("upload %s of %s/%s: %w", id, bucket, key, err)
	}
	return u, nil
}

// Parts lists an upload's parts; see API.
func (s *Store) Parts(ctx context.Context, bucket, key string, id hallig.UploadID, after, limit int) ([]catalog.Part, bool, error) {
	b, err := s.bucket(ctx, bucket)
	if err != nil {
		return nil, false, err
	}
	parts, more, err := s.catalog.Parts(ctx, b.ID, key, id, after, limit)
	if err != nil {
		return nil, false, fmt.Errorf("parts of upload %s of %s/%s: %w", id, bucket, key, err)
	}
	return parts, more, nil
}
