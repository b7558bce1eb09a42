// Package erasure codes stripes into k data and m parity shards and back:
// Reed-Solomon over GF(2^8) by klauspost/reedsolomon, which this package
// wraps. Any k of the k+m shards give the stripe. It is pure arithmetic: who
// holds which shard is package placement's matter, whether bytes are the right
// ones package shard's (checksums) and package seal's (authentication).
package erasure

import (
	"fmt"

	"github.com/klauspost/reedsolomon"

	"github.com/hallig-cloud/hallig"
)

// inversionCacheWidth is the widest code whose decoding matrices are cached.
// Of wider ones so many patterns of loss exist that the cache would not end.
const inversionCacheWidth = 20

// A Code is a k+m code. It is safe for concurrent use and costly to make: keep
// one for each (k, m), as Codes does.
type Code struct {
	k, m int
	rs   reedsolomon.Encoder // nil for copies (k = 1) and without parity (m = 0)
}

func check(k, m int) error {
	if k < 1 || m < 0 || k+m > MaxWidth {
		return fmt.Errorf("erasure code %d+%d: want 1 ≤ k, 0 ≤ m, k+m ≤ %d: %w", k, m, MaxWidth, hallig.ErrInvalid)
	}
	return nil
}

// New returns the k+m code, 1 ≤ k, 0 ≤ m, k+m ≤ MaxWidth. k = 1 means m+1
// identical copies.
func New(k, m int) (*Code, error) {
	if err := check(k, m); err != nil {
		return nil, err
	}
	c := &Code{k: k, m: m}
	if k == 1 || m == 0 {
		return c, nil
	}
	rs, err := reedsolomon.New(k, m, reedsolomon.WithInversionCache(k+m <= inversionCacheWidth))
	if err != nil {
		return nil, fmt.Errorf("erasure code %d+%d: %w", k, m, err)
	}
	c.rs = rs
	return c, nil
}

// K is the number of data shards.
func (c *Code) K() int { return c.k }

// M is the number of parity shards.
func (c *Code) M() int { return c.m }

// Encode fills parity from data. data holds the K data shards at their true
// lengths (a Layout's: none longer than the first; the short ones count as
// zero-padded); parity holds M buffers of the first one's length, which are
// overwritten. data is not changed.
func (c *Code) Encode(data, parity [][]byte) error {
	if len(data) != c.k || len(parity) != c.m {
		return fmt.Errorf("encode %d+%d shards with a %d+%d code: %w", len(data), len(parity), c.k, c.m, hallig.ErrInvalid)
	}
	size, even := len(data[0]), true
	for i, d := range data {
		if len(d) > size {
			return fmt.Errorf("encode: data shard %d is longer than the first: %w", i, hallig.ErrInvalid)
		}
		even = even && len(d) == size
	}
	for i, p := range parity {
		if len(p) != size {
			return fmt.Errorf("encode: parity shard %d has %d bytes, want %d: %w", i, len(p), size, hallig.ErrInvalid)
		}
	}
	switch {
	case c.m == 0 || size == 0:
		return nil
	case c.k == 1:
		for _, p := range parity {
			copy(p, data[0])
		}
		return nil
	case even:
		all := make([][]byte, 0, c.k+c.m)
		return c.wrap("encode", c.rs.Encode(append(append(all, data...), parity...)))
	}
	return c.encodeUneven(data, parity)
}

// encodeUneven adds up the shards one by one: what a short one lacks is zero
// and adds nothing, so nothing is padded or copied.
func (c *Code) encodeUneven(data, parity [][]byte) error {
	for _, p := range parity {
		clear(p)
	}
	head := make([][]byte, c.m)
	for i, d := range data {
		if len(d) == 0 {
			continue
		}
		for j := range parity {
			head[j] = parity[j][:len(d)]
		}
		if err := c.rs.EncodeIdx(d, i, head); err != nil {
			return c.wrap("encode", err)
		}
	}
	return nil
}

// Reconstruct fills in the shards named by want (indexes; nil: every missing
// one). shards holds K+M entries at the lengths given (a Layout's Lengths),
// empty where a shard is missing. Shards of length 0 are never missing. It
// returns hallig.ErrLost, and fills in nothing, if fewer than K are there. Bytes
// are not checked: a wrong shard gives wrong shards.
//
// Memory is the caller's where it gives any: an entry whose capacity reaches
// the first shard's length is filled in, or padded with zeros behind its end,
// where it is (entries of length 0 may share theirs); for others it is
// allocated.
func (c *Code) Reconstruct(shards [][]byte, lengths, want []int) error {
	missing, err := c.missing(shards, lengths, want)
	if err != nil || len(missing) == 0 {
		return err
	}
	if c.k == 1 {
		return c.copyOut(shards, lengths, missing)
	}
	size := lengths[0]
	work := make([][]byte, len(shards))
	required := make([]bool, len(shards))
	have := 0
	for i, s := range shards {
		if len(s) == 0 && lengths[i] > 0 {
			continue
		}
		have++
		work[i] = padded(s, size)
	}
	if have < c.k {
		return fmt.Errorf("reconstruct: %d of %d shards are left, %d are needed: %w", have, len(shards), c.k, hallig.ErrLost)
	}
	for _, i := range missing {
		required[i] = true
		if work[i] = shards[i][:0]; cap(work[i]) < size {
			work[i] = make([]byte, 0, size)
		}
	}
	if err := c.rs.ReconstructSome(work, required); err != nil {
		return c.wrap("reconstruct", err)
	}
	for _, i := range missing {
		shards[i] = work[i][:lengths[i]]
	}
	return nil
}

// padded returns s with zeros behind it up to size bytes.
func padded(s []byte, size int) []byte {
	if len(s) == size {
		return s
	}
	if cap(s) < size {
		return append(make([]byte, 0, size), s...)[:size]
	}
	whole := s[:size]
	clear(whole[len(s):])
	return whole
}

// missing checks the arguments of Reconstruct and returns the wanted shards
// that are not there.
func (c *Code) missing(shards [][]byte, lengths, want []int) ([]int, error) {
	if len(shards) != c.k+c.m || len(lengths) != len(shards) {
		return nil, fmt.Errorf("reconstruct: %d shards and %d lengths with a %d+%d code: %w", len(shards), len(lengths), c.k, c.m, hallig.ErrInvalid)
	}
	for i, s := range shards {
		switch {
		case lengths[i] < 0 || lengths[i] > lengths[0], (i >= c.k || c.k == 1) && lengths[i] != lengths[0]:
			return nil, fmt.Errorf("reconstruct: length %d of shard %d does not fit the first one's %d: %w", lengths[i], i, lengths[0], hallig.ErrInvalid)
		case len(s) > 0 && len(s) != lengths[i]:
			return nil, fmt.Errorf("reconstruct: shard %d has %d bytes, want %d: %w", i, len(s), lengths[i], hallig.ErrInvalid)
		}
	}
	var out []int
	if want == nil {
		for i, s := range shards {
			if len(s) == 0 {
				out = c.add(out, shards, lengths, i)
			}
		}
		return out, nil
	}
	for _, i := range want {
		if i < 0 || i >= len(shards) {
			return nil, fmt.Errorf("reconstruct shard %d of %d: %w", i, len(shards), hallig.ErrInvalid)
		}
		if len(shards[i]) == 0 {
			out = c.add(out, shards, lengths, i)
		}
	}
	return out, nil
}

func (c *Code) add(out []int, shards [][]byte, lengths []int, i int) []int {
	if lengths[i] == 0 {
		if shards[i] == nil {
			shards[i] = []byte{}
		}
		return out
	}
	return append(out, i)
}

func (c *Code) copyOut(shards [][]byte, lengths, missing []int) error {
	for _, s := range shards {
		if len(s) == 0 {
			continue
		}
		for _, i := range missing {
			shards[i] = append(shards[i][:0], s[:lengths[i]]...)
		}
		return nil
	}
	return fmt.Errorf("reconstruct: no copy is left: %w", hallig.ErrLost)
}

// Verify reports whether parity is what data encodes to. The arguments are
// those of Encode; nothing is changed.
func (c *Code) Verify(data, parity [][]byte) (bool, error) {
	want := make([][]byte, len(parity))
	for i := range want {
		want[i] = make([]byte, len(parity[i]))
	}
	if err := c.Encode(data, want); err != nil {
		return false, err
	}
	for i := range want {
		if string(want[i]) != string(parity[i]) {
			return false, nil
		}
	}
	return true, nil
}

func (c *Code) wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s with a %d+%d code: %w", what, c.k, c.m, err)
}
