package objects

import (
	"context"
	"fmt"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/seal"
)

func checkKey(key string) error {
	if key == "" || len(key) > catalog.MaxKey {
		return fmt.Errorf("a key of %d bytes, 1 to %d are allowed: %w", len(key), catalog.MaxKey, hallig.ErrInvalid)
	}
	return nil
}

// Put stores an object; see API.
func (s *Store) Put(ctx context.Context, r PutRequest) (catalog.Version, error) {
	v, err := s.putObject(ctx, r, nil)
	if err != nil {
		return v, fmt.Errorf("put %s/%s: %w", r.Bucket, r.Key, err)
	}
	return v, nil
}

// putObject is Put under memory that may be the caller's.
func (s *Store) putObject(ctx context.Context, r PutRequest, g *grant) (catalog.Version, error) {
	if err := checkKey(r.Key); err != nil {
		return catalog.Version{}, err
	}
	b, err := s.bucket(ctx, r.Bucket)
	if err != nil {
		return catalog.Version{}, err
	}
	// What cannot be sealed is refused before the body is read.
	key := seal.NewDataKey()
	k := &keyed{key: key, customer: r.CustomerKey, bucket: b, encryption: r.Attributes.Encryption}
	if k.sealed, err = s.wrapKey(b, &k.encryption, r.CustomerKey, key); err != nil {
		return catalog.Version{}, err
	}
	voucher, err := s.voucher(b, len(r.CustomerKey) > 0)
	if err != nil {
		return catalog.Version{}, err
	}
	w, sums, err := s.write(ctx, source{
		bucket: b, key: key, body: r.Body, size: r.Size, limit: MaxPart,
		sum: r.Attributes.Checksum.Algorithm, grant: g, voucher: voucher,
	})
	if err != nil {
		return catalog.Version{}, err
	}
	if r.Verify != nil {
		if err := r.Verify(sums); err != nil {
			w.discard()
			return catalog.Version{}, err
		}
	}
	v := catalog.Version{Key: r.Key, Size: sums.Size, ETag: sums.etag(), Extents: w.extents, Attributes: r.Attributes}
	if v.Checksum.Algorithm != "" {
		v.Checksum.Type, v.Checksum.Value = FullObject, sums.Checksum
	}
	v, err = s.commitVersion(ctx, r.Bucket, b.ID, v, catalog.Put{If: r.If}, k)
	if err != nil {
		if !inDoubt(err) {
			w.discard()
		}
		return catalog.Version{}, err
	}
	return v, nil
}

// keyed is a data key as it was wrapped under one configuration of its bucket;
// under another one it is wrapped anew.
type keyed struct {
	key        seal.DataKey
	customer   []byte
	bucket     *Bucket
	sealed     catalog.SealedKey
	encryption catalog.Encryption
}

// commitVersion makes v visible: completed by what the bucket's configuration
// decides. k is nil when v.DataKey is wrapped already.
func (s *Store) commitVersion(ctx context.Context, bucket string, id hallig.BucketID, v catalog.Version, put catalog.Put, k *keyed) (catalog.Version, error) {
	_, results, err := s.commit(ctx, bucket, func(b *Bucket) ([]catalog.Op, error) {
		if b.ID != id {
			// What was written is sealed for the bucket that was there before.
			return nil, fmt.Errorf("bucket %s was deleted and made anew meanwhile: %w", bucket, hallig.ErrNotFound)
		}
		put.Version = v
		put.Version.Bucket = b.ID
		put.Version.Modified = s.now()
		put.Versioning = b.Versioning
		if put.Version.Retention.Mode == "" {
			put.Version.Retention = b.Lock.retention(put.Version.Modified)
		}
		switch {
		case k == nil:
		case k.bucket == b:
			put.Version.DataKey, put.Version.Encryption = k.sealed, k.encryption
		default:
			var err error
			if put.Version.DataKey, err = s.wrapKey(b, &put.Version.Encryption, k.customer, k.key); err != nil {
				return nil, err
			}
		}
		return []catalog.Op{put}, nil
	})
	if err != nil {
		return catalog.Version{}, err
	}
	if results[0].Err != nil {
		return catalog.Version{}, results[0].Err
	}
	return results[0].Version, nil
}
