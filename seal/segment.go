// Package seal encrypts and authenticates everything that leaves a gateway:
// bodies in segments (the STREAM construction), the hashes by which the shards
// of a stripe vouch for each other, and the keys and catalog records under the
// mesh's root key. It is pure arithmetic on memory; the key file's I/O is
// seal/keyfile's.
//
// No key is ever part of an error, a String or a log: the key types print as
// "[redacted]". See docs/decisions/0004-sealing.md for the constructions, their
// limits and the alternatives.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/hallig-cloud/hallig"
)

// Sizes, in bytes.
const (
	SegmentSize   = 64 << 10              // plaintext of a full segment
	TagSize       = 16                    // what sealing adds to a segment
	SealedSegment = SegmentSize + TagSize // equals shard.BlockSize
)

// SealedLength is the sealed length of plain bytes of a body: one tag for each
// segment begun. An empty body is one empty segment.
func SealedLength(plain int64) int64 {
	return plain + TagSize*max(1, (plain+SegmentSize-1)/SegmentSize)
}

// PlainLength is the inverse of SealedLength, or hallig.ErrCorrupt if no body
// has that sealed length.
func PlainLength(sealed int64) (int64, error) {
	n := (sealed + SealedSegment - 1) / SealedSegment
	if plain := sealed - n*TagSize; sealed >= TagSize && SealedLength(plain) == sealed {
		return plain, nil
	}
	return 0, fmt.Errorf("sealed length %d: %w", sealed, hallig.ErrCorrupt)
}

// A DataKey is the random key of one version. It prints as "[redacted]".
type DataKey [32]byte

// NewDataKey returns a fresh key.
func NewDataKey() DataKey {
	var k DataKey
	rand.Read(k[:]) //nolint:errcheck // crypto/rand.Read never returns an error
	return k
}

// String hides the key.
func (DataKey) String() string { return redacted }

// GoString hides the key.
func (DataKey) GoString() string { return redacted }

// Format hides the key whatever the verb.
func (DataKey) Format(f fmt.State, _ rune) { f.Write([]byte(redacted)) } //nolint:errcheck // fmt's own buffer

// MarshalText hides the key from encoders and from slog.
func (DataKey) MarshalText() ([]byte, error) { return []byte(redacted), nil }

const redacted = "[redacted]"

// A Body seals and opens the segments of one data id. It is safe for concurrent
// use.
//
// The data key and the data id give, by HKDF-SHA256 (RFC 5869), an AES-256-GCM
// key that serves this data id alone, a commitment to it, and a MAC key for
// vouches. Segment n has the nonce n (11 bytes, big-endian) ‖ last (1 byte), as
// in STREAM (Hoang, Reyhanitabar, Rogaway, Vizár 2015), and mesh, bucket, data
// id and n as associated data. So a segment opens only in its own place, and a
// body that was cut short or grown is recognised at its end.
type Body struct {
	aead       cipher.AEAD
	commitment [32]byte
	vouchKey   [32]byte
	voucher    *Voucher // also trusted; nil: none
	data       hallig.DataID
	aad        [len(segmentLabel) + 48]byte
}

const (
	bodyLabel    = "hallig body v1"
	segmentLabel = "hallig segment v1"
)

// NewBody derives the keys of one data id. The same arguments give the same
// body for ever. A data id must be sealed at most once: it names one upload
// attempt and is random.
func NewBody(key DataKey, mesh hallig.MeshID, bucket hallig.BucketID, data hallig.DataID) (*Body, error) {
	info := append(append([]byte(bodyLabel), mesh[:]...), bucket[:]...)
	keys, err := hkdf.Key(sha256.New, key[:], data[:], string(info), 96)
	if err != nil {
		return nil, fmt.Errorf("derive the key of data %s: %w", data, err)
	}
	b := &Body{data: data}
	if b.aead, err = newGCM(keys[:32]); err != nil {
		return nil, fmt.Errorf("seal data %s: %w", data, err)
	}
	copy(b.commitment[:], keys[32:64])
	copy(b.vouchKey[:], keys[64:])
	clear(keys)
	copy(b.aad[copy(b.aad[:], segmentLabel):], append(append(mesh[:], bucket[:]...), data[:]...))
	return b, nil
}

func newGCM(key []byte) (cipher.AEAD, error) {
	c, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(c)
}

// Commitment is a hash that binds the keys of the body: another data key has
// another one. Vouches carry it, and CheckVouch compares it before anything is
// decrypted.
func (b *Body) Commitment() [32]byte { return b.commitment }

// Seal appends the sealed form of one segment to dst: len(plain) + TagSize
// bytes. plain is SegmentSize bytes, fewer only in the last segment of the data
// id; last marks that one. dst must not overlap plain, unless it is plain[:0].
func (b *Body) Seal(dst, plain []byte, segment uint64, last bool) []byte {
	nonce, aad := b.position(segment, last)
	return b.aead.Seal(dst, nonce[:], plain, aad)
}

// Open appends the plaintext of one sealed segment to dst. Anything but the
// segment that was sealed in this place is hallig.ErrCorrupt, and dst's length
// is then unchanged. dst may be sealed[:0].
func (b *Body) Open(dst, sealed []byte, segment uint64, last bool) ([]byte, error) {
	if len(sealed) < TagSize || len(sealed) > SealedSegment || !last && len(sealed) != SealedSegment {
		return dst, fmt.Errorf("open segment %d of data %s: %d sealed bytes: %w", segment, b.data, len(sealed), hallig.ErrCorrupt)
	}
	nonce, aad := b.position(segment, last)
	out, err := b.aead.Open(dst, nonce[:], sealed, aad)
	if err != nil {
		return dst, fmt.Errorf("open segment %d of data %s: authentication failed: %w", segment, b.data, hallig.ErrCorrupt)
	}
	return out, nil
}

// position returns the nonce and the associated data of a segment.
func (b *Body) position(segment uint64, last bool) (nonce [12]byte, aad []byte) {
	binary.BigEndian.PutUint64(nonce[3:], segment)
	if last {
		nonce[11] = 1
	}
	return nonce, binary.BigEndian.AppendUint64(b.aad[:len(b.aad):len(b.aad)], segment)
}
