package machine

import "github.com/hallig-cloud/hallig"

// A Sealer seals what replicas must not read. The zero BucketID stands for the
// mesh's own records. Open and OpenName of anything that was not made by the
// same keys, bucket and associated data wrap hallig.ErrCorrupt; a missing key
// is hallig.ErrKeyLocked or hallig.ErrKeyUnknown. All methods may be called
// concurrently and keep none of the slices.
type Sealer interface {
	// SealName encrypts a name deterministically (AES-SIV) under the bucket's
	// name key, which never rotates.
	SealName(bucket hallig.BucketID, name []byte) ([]byte, error)
	// OpenName reverses SealName.
	OpenName(bucket hallig.BucketID, sealed []byte) ([]byte, error)
	// SealRecord encrypts and authenticates plain together with aad.
	SealRecord(bucket hallig.BucketID, aad, plain []byte) ([]byte, error)
	// OpenRecord reverses SealRecord.
	OpenRecord(bucket hallig.BucketID, aad, sealed []byte) ([]byte, error)
}

// Clear is the Sealer that seals nothing: for catalog/mem and tests.
type Clear struct{}

// SealName returns a copy of name.
func (Clear) SealName(_ hallig.BucketID, name []byte) ([]byte, error) {
	return append([]byte{}, name...), nil
}

// OpenName returns a copy of sealed.
func (Clear) OpenName(_ hallig.BucketID, sealed []byte) ([]byte, error) {
	return append([]byte{}, sealed...), nil
}

// SealRecord returns a copy of plain.
func (Clear) SealRecord(_ hallig.BucketID, _, plain []byte) ([]byte, error) {
	return append([]byte{}, plain...), nil
}

// OpenRecord returns a copy of sealed.
func (Clear) OpenRecord(_ hallig.BucketID, _, sealed []byte) ([]byte, error) {
	return append([]byte{}, sealed...), nil
}
