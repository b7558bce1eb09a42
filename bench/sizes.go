package bench

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/hallig-cloud/hallig"
)

// MaxSize is the largest object in bytes.
const MaxSize = 5 << 30

// RealWorld is the mix of sizes that "mix" stands for, by thousandths of the
// objects: as in published traces of object stores most objects are small and
// most bytes are in large ones. The median is 16 KiB, the mean 0.85 MiB.
const RealWorld = "1KiB:200,4KiB:200,16KiB:180,64KiB:150,256KiB:120,1MiB:90,4MiB:40,16MiB:15,64MiB:5"

// Sizes is how large objects are: one size, or several by weight. The zero
// value is objects of no bytes.
type Sizes struct {
	text  string
	sizes []int64
	upTo  []uint64 // sum of the weights so far
}

// ParseSizes reads "4KiB", "mix", or sizes with weights: "4KiB:60,1MiB:40".
func ParseSizes(s string) (Sizes, error) {
	out := Sizes{text: s}
	if s == "mix" {
		s = RealWorld
	}
	var sum uint64
	for entry := range strings.SplitSeq(s, ",") {
		size, weight, weighted := strings.Cut(entry, ":")
		n, err := ParseSize(size)
		if err != nil {
			return Sizes{}, err
		}
		w := uint64(1)
		if weighted {
			if w, err = strconv.ParseUint(weight, 10, 32); err != nil || w == 0 {
				return Sizes{}, fmt.Errorf("weight %q of size %s: give a whole number above 0: %w", weight, size, hallig.ErrInvalid)
			}
		}
		sum += w
		out.sizes, out.upTo = append(out.sizes, n), append(out.upTo, sum)
	}
	return out, nil
}

// FixedSize is objects of n bytes each.
func FixedSize(n int64) Sizes {
	return Sizes{text: strconv.FormatInt(n, 10), sizes: []int64{n}, upTo: []uint64{1}}
}

// String is what was parsed.
func (s Sizes) String() string { return s.text }

// Mean is the mean size in bytes.
func (s Sizes) Mean() float64 {
	if len(s.sizes) == 0 {
		return 0
	}
	var total float64
	before := uint64(0)
	for i, up := range s.upTo {
		total += float64(s.sizes[i]) * float64(up-before)
		before = up
	}
	return total / float64(before)
}

// of is the size of an object whose number hashes to h.
func (s Sizes) of(h uint64) int64 {
	if len(s.sizes) == 0 {
		return 0
	}
	at := h % s.upTo[len(s.upTo)-1]
	for i, up := range s.upTo {
		if at < up {
			return s.sizes[i]
		}
	}
	return s.sizes[len(s.sizes)-1]
}

// ParseSize reads bytes with an optional binary unit: 4096, 4KiB, 64MiB; at
// most MaxSize.
func ParseSize(s string) (int64, error) {
	units := []struct {
		suffix string
		factor int64
	}{{"kib", 1 << 10}, {"mib", 1 << 20}, {"gib", 1 << 30}, {"k", 1 << 10}, {"m", 1 << 20}, {"g", 1 << 30}, {"b", 1}, {"", 1}}
	low := strings.ToLower(strings.TrimSpace(s))
	for _, u := range units {
		digits, ok := strings.CutSuffix(low, u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(digits, 10, 64)
		if err != nil || n < 0 || n > math.MaxInt64/u.factor || n*u.factor > MaxSize || digits[0] == '+' {
			break
		}
		return n * u.factor, nil
	}
	return 0, fmt.Errorf("size %q: give bytes such as 4096, 4KiB or 64MiB, at most 5GiB: %w", s, hallig.ErrInvalid)
}
