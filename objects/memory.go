package objects

import (
	"context"
	"fmt"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/hallig-cloud/hallig"
)

// A memory hands out stripe buffers under one budget for the whole Store, so
// that many requests together stay bounded.
type memory struct {
	wait  time.Duration
	large share
	small share                    // of its own, so that slow transfers do not starve small requests
	free  [bits.UintSize]sync.Pool // buffers by size class
	used  atomic.Int64             // bytes granted now
	peak  atomic.Int64             // most bytes ever granted
}

// A share is a part of the budget.
type share struct {
	total int64
	sem   *semaphore.Weighted
}

// smallGrant is the most bytes of a request that counts as small; an eighth of
// the budget is theirs.
const smallGrant = 1 << 20

func newMemory(total int64, wait time.Duration) *memory {
	m := &memory{wait: wait}
	m.small.total = max(total/8, 1)
	m.large.total = max(total-m.small.total, 1)
	m.small.sem, m.large.sem = semaphore.NewWeighted(m.small.total), semaphore.NewWeighted(m.large.total)
	return m
}

// A grant is a share of the budget. It returns to the budget when everybody
// who holds it has released it.
type grant struct {
	memory *memory
	share  *share
	bytes  int64
	holds  atomic.Int32
}

// acquire waits for n bytes of the budget, at most the configured time. A
// request larger than its whole share gets the whole share, alone.
func (m *memory) acquire(ctx context.Context, n int64) (*grant, error) {
	of := &m.large
	if n <= smallGrant {
		of = &m.small
	}
	n = min(max(n, 1), of.total)
	if !of.sem.TryAcquire(n) {
		wait, cancel := context.WithTimeout(ctx, m.wait)
		err := of.sem.Acquire(wait, n)
		cancel()
		if err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			return nil, fmt.Errorf("no memory for the request within %s: too many requests at once: %w", m.wait, hallig.ErrUnavailable)
		}
	}
	used := m.used.Add(n)
	for peak := m.peak.Load(); used > peak && !m.peak.CompareAndSwap(peak, used); peak = m.peak.Load() {
	}
	g := &grant{memory: m, share: of, bytes: n}
	g.holds.Store(1)
	return g, nil
}

func (g *grant) hold() { g.holds.Add(1) }

func (g *grant) release() {
	if g.holds.Add(-1) == 0 {
		g.memory.used.Add(-g.bytes)
		g.share.sem.Release(g.bytes)
	}
}

// buffer returns a buffer of length n; its contents are undefined.
func (m *memory) buffer(n int) []byte {
	if n <= 0 {
		return nil
	}
	c := sizeClass(n)
	if b, ok := m.free[c].Get().(*[]byte); ok {
		return (*b)[:n]
	}
	return make([]byte, n, classCapacity(c))
}

// recycle takes a buffer back. The caller must not use it again.
func (m *memory) recycle(b []byte) {
	if cap(b) == 0 {
		return
	}
	if c := sizeClass(cap(b)); classCapacity(c) == cap(b) {
		b = b[:cap(b)]
		m.free[c].Put(&b)
	}
}

// Classes are powers of two and a little more, so that 2^i segments with their
// tags fill one.
func classCapacity(c int) int { return 1<<c + max(16, 1<<c>>12) }

// rounded is what a buffer of n bytes really takes.
func rounded(n int64) int64 { return int64(classCapacity(sizeClass(int(max(n, 1))))) }

func sizeClass(n int) int {
	c := max(bits.Len(uint(n-1)), 10)
	if n <= classCapacity(c-1) && c > 10 {
		return c - 1
	}
	return c
}
