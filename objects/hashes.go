package objects

import (
	"crypto/md5" //nolint:gosec // one of S3's checksums
	"crypto/sha512"
	"hash"

	"github.com/cespare/xxhash/v2"
	"github.com/zeebo/xxh3"
)

// The checksum algorithms that S3 added later. Over parts they are COMPOSITE
// only.
const (
	MD5       = "MD5"
	SHA512    = "SHA512"
	XXHash64  = "XXHASH64"
	XXHash3   = "XXHASH3"
	XXHash128 = "XXHASH128"
)

// Unasked as the Checksum.Type of an upload says that the client named no
// algorithm: the object gets a FULL_OBJECT one all the same, but nobody is told
// of the parts' checksums.
const Unasked = "UNASKED"

// NewChecksum returns the hash of one of S3's checksum algorithms, or
// ErrInvalid.
func NewChecksum(algorithm string) (hash.Hash, error) { return newChecksum(algorithm) }

// laterChecksum returns the hash of an algorithm above, or nil.
func laterChecksum(algorithm string) hash.Hash {
	switch algorithm {
	case MD5:
		return md5.New() //nolint:gosec // asked for by the client
	case SHA512:
		return sha512.New()
	case XXHash64:
		return xxhash.New()
	case XXHash3:
		return xxh3.New()
	case XXHash128:
		return wideXXH3{xxh3.New()}
	}
	return nil
}

// wideXXH3 is the 128-bit XXH3.
type wideXXH3 struct{ *xxh3.Hasher }

// Size is 16.
func (h wideXXH3) Size() int { return 16 }

// Sum appends the digest, big-endian.
func (h wideXXH3) Sum(b []byte) []byte {
	sum := h.Sum128().Bytes()
	return append(b, sum[:]...)
}
