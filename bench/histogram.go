package bench

import (
	"math/bits"
	"time"
)

// histogram counts latencies in buckets of at most 3 % width: 32 to an octave
// of microseconds. It is not safe for concurrent use.
type histogram struct {
	counts [64 * 32]int64
	n      int64
	max    time.Duration
}

func (h *histogram) add(d time.Duration) {
	h.counts[bucket(uint64(max(d.Microseconds(), 0)))]++
	h.n++
	h.max = max(h.max, d)
}

// bucket maps microseconds to a bucket: exact below 32, then 32 an octave.
func bucket(us uint64) int {
	if us < 32 {
		return int(us)
	}
	octave := bits.Len64(us) - 6 // us >> octave is 32..63
	return 32*(octave+1) + int(us>>octave) - 32
}

// upper is the largest value of a bucket, in microseconds.
func upper(b int) uint64 {
	if b < 32 {
		return uint64(b)
	}
	octave := b/32 - 1
	return (uint64(b%32+32)+1)<<octave - 1
}

// quantile returns an upper bound of the q-quantile, in milliseconds.
func (h *histogram) quantile(q float64) float64 {
	rank := int64(q*float64(h.n) + 0.5)
	var seen int64
	for b, c := range h.counts {
		if seen += c; seen >= rank && c > 0 {
			return min(float64(upper(b))/1000, ms(h.max))
		}
	}
	return ms(h.max)
}

func (h *histogram) merge(o *histogram) {
	for b, c := range &o.counts {
		h.counts[b] += c
	}
	h.n += o.n
	h.max = max(h.max, o.max)
}

func (h *histogram) latency() Latency {
	return Latency{Count: h.n, P50: h.quantile(.5), P90: h.quantile(.9), P99: h.quantile(.99), Max: ms(h.max)}
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
