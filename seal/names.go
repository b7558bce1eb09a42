package seal

import (
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/tink-crypto/tink-go/v2/daead/subtle"

	"github.com/hallig-cloud/hallig"
)

// maxSealers bounds the cache of buckets' catalog keys.
const maxSealers = 10_000

// A sealer seals one bucket's part of the catalog.
type sealer struct {
	names   *subtle.AESSIV
	records []byte
}

const (
	nameLabel = "hallig catalog v1"
	nameAAD   = "hallig name v1"
)

// SealName seals a name of the bucket's catalog (an object's key, say)
// deterministically, by AES-256-SIV (RFC 5297): equal names of one bucket have
// equal sealed forms, and nothing else shows but their length. The zero bucket
// is the mesh itself. The key follows from the catalog key and does not rotate.
func (k *Keyring) SealName(bucket hallig.BucketID, name []byte) ([]byte, error) {
	s, err := k.sealer(bucket)
	if err != nil {
		return nil, fmt.Errorf("seal a name: %w", err)
	}
	return s.names.EncryptDeterministically(name, []byte(nameAAD))
}

// OpenName is the inverse of SealName; hallig.ErrCorrupt if it is not a name
// that this mesh sealed for this bucket.
func (k *Keyring) OpenName(bucket hallig.BucketID, sealed []byte) ([]byte, error) {
	s, err := k.sealer(bucket)
	if err != nil {
		return nil, fmt.Errorf("open a name: %w", err)
	}
	name, err := s.names.DecryptDeterministically(sealed, []byte(nameAAD))
	if err != nil {
		return nil, fmt.Errorf("open a name of bucket %s: authentication failed: %w", bucket, hallig.ErrCorrupt)
	}
	return name, nil
}

// SealRecord seals a record of the bucket's catalog, bound to aad (its place:
// the sealed name and the revision, say). Sealing twice gives two forms; they
// are EnvelopeOverhead longer than plain.
func (k *Keyring) SealRecord(bucket hallig.BucketID, aad, plain []byte) ([]byte, error) {
	s, err := k.sealer(bucket)
	if err != nil {
		return nil, fmt.Errorf("seal a record: %w", err)
	}
	return enclose(s.records, 1, PurposeRecord, "", aad, plain)
}

// OpenRecord is the inverse of SealRecord, with the same aad; hallig.ErrCorrupt
// if anything differs.
func (k *Keyring) OpenRecord(bucket hallig.BucketID, aad, sealed []byte) ([]byte, error) {
	s, err := k.sealer(bucket)
	if err != nil {
		return nil, fmt.Errorf("open a record: %w", err)
	}
	plain, err := disclose(s.records, PurposeRecord, "", aad, sealed)
	if errors.Is(err, errWrongKey) {
		err = fmt.Errorf("not sealed by this mesh for this bucket: %w", hallig.ErrCorrupt)
	}
	if err != nil {
		return nil, fmt.Errorf("open a record of bucket %s: %w", bucket, err)
	}
	return plain, nil
}

func (k *Keyring) sealer(bucket hallig.BucketID) (*sealer, error) {
	k.mu.RLock()
	s, locked := k.sealers[bucket], k.secrets == nil
	k.mu.RUnlock()
	if locked {
		return nil, hallig.ErrKeyLocked
	}
	if s != nil {
		return s, nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.secrets == nil {
		return nil, hallig.ErrKeyLocked
	}
	keys, err := hkdf.Key(sha256.New, k.catalog, bucket[:], nameLabel, subtle.AESSIVKeySize+32)
	if err != nil {
		return nil, err
	}
	s = &sealer{records: keys[subtle.AESSIVKeySize:]}
	if s.names, err = subtle.NewAESSIV(keys[:subtle.AESSIVKeySize]); err != nil {
		return nil, err
	}
	if len(k.sealers) >= maxSealers {
		clear(k.sealers)
	}
	k.sealers[bucket] = s
	return s, nil
}
