package erasure

import (
	"fmt"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/shard"
)

// MaxWidth is the greatest number of shards of one stripe, K+M.
const MaxWidth = 256

// A Layout says which bytes of a stripe lie in which shard. It follows from
// the code and the stripe's length alone, so that headers suffice to rebuild.
//
// A stripe is a run of sealed segments (shard.BlockSize bytes each, the last
// may be shorter). They are dealt to the data shards in runs: with s =
// ceil(segments/K), data shard i holds segments [i*s, (i+1)*s). A segment never
// straddles two shards. The last data shards of a short stripe may be short or
// empty and count as zero-padded to the longest; parity has the longest length.
// With K = 1 every shard is the stripe itself.
type Layout struct {
	K, M   int   // data and parity shards
	Sealed int64 // sealed bytes of the stripe
	run    int64 // bytes of a full data shard: s * shard.BlockSize
}

// NewLayout returns the layout of a stripe of sealed bytes in a k+m code.
// It refuses codes that New refuses, negative lengths, and stripes of which a
// shard would be longer than shard.MaxLength, with hallig.ErrInvalid.
func NewLayout(k, m int, sealed int64) (Layout, error) {
	if err := check(k, m); err != nil {
		return Layout{}, err
	}
	if sealed < 0 || sealed > int64(k)*shard.MaxLength {
		return Layout{}, fmt.Errorf("stripe of %d sealed bytes in %d data shards of at most %d: %w", sealed, k, shard.MaxLength, hallig.ErrInvalid)
	}
	segments := (sealed + shard.BlockSize - 1) / shard.BlockSize
	per := (segments + int64(k) - 1) / int64(k)
	return Layout{K: k, M: m, Sealed: sealed, run: per * shard.BlockSize}, nil
}

// Width is the number of shards of the stripe.
func (l Layout) Width() int { return l.K + l.M }

// DataLength is the true length in bytes of data shard i, 0 ≤ i < K.
func (l Layout) DataLength(i int) int64 {
	return max(0, min(l.run, l.Sealed-int64(i)*l.run))
}

// ShardLength is the length in bytes of shard i, 0 ≤ i < K+M. A shard of
// length 0 need not be stored: coding takes it as present.
func (l Layout) ShardLength(i int) int64 {
	if i < l.K {
		return l.DataLength(i)
	}
	return l.DataLength(0)
}

// Lengths returns ShardLength of every shard.
func (l Layout) Lengths() []int {
	n := make([]int, l.Width())
	for i := range n {
		n[i] = int(l.ShardLength(i))
	}
	return n
}

// Segments is the number of sealed segments of the stripe.
func (l Layout) Segments() int64 {
	return (l.Sealed + shard.BlockSize - 1) / shard.BlockSize
}

// Locate returns where sealed segment n of the stripe lies: its data shard, its
// offset in that shard and its length, in bytes. ok is false if n is outside.
func (l Layout) Locate(n int64) (index int, offset, length int64, ok bool) {
	if n < 0 || n >= l.Segments() {
		return 0, 0, 0, false
	}
	at := n * shard.BlockSize
	index = int(at / l.run)
	return index, at % l.run, min(shard.BlockSize, l.Sealed-at), true
}

// Split cuts a stripe into its K data shards without copying. Shards are
// slices of sealed, which must be l.Sealed bytes long.
func (l Layout) Split(sealed []byte) ([][]byte, error) {
	if int64(len(sealed)) != l.Sealed {
		return nil, fmt.Errorf("split a stripe of %d bytes by a layout of %d: %w", len(sealed), l.Sealed, hallig.ErrInvalid)
	}
	out := make([][]byte, l.K)
	for i := range out {
		n := l.DataLength(i)
		out[i], sealed = sealed[:n:n], sealed[n:]
	}
	return out, nil
}
