package objects

import (
	"crypto/md5" //nolint:gosec // S3 names customer keys by their MD5
	"encoding/base64"
	"fmt"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/seal"
)

// S3's names of server-side encryption.
const (
	AES256     = "AES256"
	AWSKMS     = "aws:kms"
	AWSKMSDSSE = "aws:kms:dsse"
)

// sealer opens a bucket's key, once.
func (s *Store) sealer(b *Bucket) (*seal.Bucket, error) {
	if opened := s.buckets.sealer(b.ID); opened != nil {
		return opened, nil
	}
	opened, err := s.keys.Bucket(b.ID, b.Key)
	if err != nil {
		return nil, err
	}
	s.buckets.putSealer(b.ID, opened)
	return opened, nil
}

// voucher returns what vouches for stripes under a customer's key; nil for others.
func (s *Store) voucher(b *Bucket, customer bool) (*seal.Voucher, error) {
	if !customer {
		return nil, nil
	}
	sealer, err := s.sealer(b)
	if err != nil {
		return nil, err
	}
	v := sealer.Voucher()
	return &v, nil
}

// wrapping says what a data key goes under.
func wrapping(e *catalog.Encryption, customer []byte) (seal.Wrapping, error) {
	if len(customer) > 0 {
		if e.Algorithm != "" {
			return seal.Wrapping{}, fmt.Errorf("a customer key and %s: %w", e.Algorithm, hallig.ErrInvalid)
		}
		return seal.Wrapping{Customer: customer}, nil
	}
	switch e.Algorithm {
	case AES256:
		return seal.Wrapping{}, nil
	case AWSKMS, AWSKMSDSSE:
		// Without a key id it is the bucket's own key, as S3 takes its own.
		return seal.Wrapping{Named: e.KeyID, Context: e.Context}, nil
	}
	return seal.Wrapping{}, fmt.Errorf("encryption %q: %w", e.Algorithm, hallig.ErrInvalid)
}

// wrapKey wraps a data key as e and the bucket's defaults say, and completes e.
func (s *Store) wrapKey(b *Bucket, e *catalog.Encryption, customer []byte, key seal.DataKey) (catalog.SealedKey, error) {
	if len(customer) == 0 && e.Algorithm == "" {
		e.Algorithm, e.KeyID, e.BucketKey = b.Encryption.Algorithm, b.Encryption.KeyID, b.Encryption.BucketKey
		if e.Algorithm == "" {
			e.Algorithm = AES256
		}
	}
	w, err := wrapping(e, customer)
	if err != nil {
		return catalog.SealedKey{}, err
	}
	sealer, err := s.sealer(b)
	if err != nil {
		return catalog.SealedKey{}, err
	}
	if w.Customer != nil {
		if e.CustomerCheck, err = sealer.CustomerCheck(customer); err != nil {
			return catalog.SealedKey{}, err
		}
		sum := md5.Sum(customer) //nolint:gosec // what S3 clients are told of
		e.CustomerMD5 = base64.StdEncoding.EncodeToString(sum[:])
	}
	return sealer.WrapData(key, w)
}

// openKey unwraps the data key of a version or an upload. A wrong or missing
// customer key is ErrDenied, before anything is opened.
func (s *Store) openKey(b *Bucket, sealed catalog.SealedKey, e *catalog.Encryption, customer []byte) (seal.DataKey, error) {
	sealer, err := s.sealer(b)
	if err != nil {
		return seal.DataKey{}, err
	}
	w := seal.Wrapping{Context: e.Context}
	if len(e.CustomerCheck) > 0 {
		if len(customer) != 32 {
			return seal.DataKey{}, fmt.Errorf("the object is under a customer key of 32 bytes, %d were given: %w", len(customer), hallig.ErrDenied)
		}
		if err := sealer.CheckCustomer(e.CustomerCheck, customer); err != nil {
			return seal.DataKey{}, err
		}
	}
	if len(customer) > 0 {
		w.Customer = customer
	}
	return sealer.UnwrapData(sealed, w)
}
