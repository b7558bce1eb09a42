package shard

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/hallig-cloud/hallig"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Blocks returns the number of blocks in a body of length bytes.
func Blocks(length int64) int { return int((length + BlockSize - 1) / BlockSize) }

// AppendSums appends the CRC32C of every block of body, 4 bytes each, big-endian.
func AppendSums(dst, body []byte) []byte {
	for len(body) > 0 {
		n := min(len(body), BlockSize)
		dst = binary.BigEndian.AppendUint32(dst, crc32.Checksum(body[:n], castagnoli))
		body = body[n:]
	}
	return dst
}

// Sum returns Info.Sum of the shard whose block checksums AppendSums wrote.
func Sum(sums []byte) uint32 { return crc32.Checksum(sums, castagnoli) }

// Check reports whether a store may accept the header with this body:
// ErrInvalid says what is wrong.
func (h Header) Check(body []byte) error {
	var bad string
	switch {
	case h.ID.Data.IsZero():
		bad = "it has no data id"
	case h.K == 0:
		bad = "k is 0"
	case int(h.ID.Index) >= int(h.K)+int(h.M):
		bad = fmt.Sprintf("its index is not below k+m = %d+%d", h.K, h.M)
	case len(body) > MaxLength:
		bad = fmt.Sprintf("its body is longer than %d bytes", MaxLength)
	case int64(h.Length) != int64(len(body)):
		bad = fmt.Sprintf("its header says %d bytes, its body has %d", h.Length, len(body))
	case len(h.Vouch) > MaxVouch:
		bad = fmt.Sprintf("its vouch of %d bytes is longer than %d", len(h.Vouch), MaxVouch)
	default:
		return nil
	}
	return fmt.Errorf("put shard %s: %s: %w", h.ID, bad, hallig.ErrInvalid)
}
