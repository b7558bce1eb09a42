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
	small share // of its own, so that slow transfers do not starve small requests
	// Of its own too: for what reads of damaged stripes need beyond what they
	// asked for. Who holds some of it never waits for more memory, nor for a
	// client, so those who hold the rest and wait for some of it get it.
	rescue share
	free   [bits.UintSize]sync.Pool // buffers by size class

	mu     sync.Mutex
	used   int64 // bytes granted now
	peak   int64 // most bytes ever granted
	lent   int64 // bytes of buffers handed out now
	excess int64 // most bytes ever handed out beyond what was granted
}

// account notes a change of what is granted, or handed out.
func (m *memory) account(used, lent int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.used += used
	m.lent += lent
	m.peak = max(m.peak, m.used)
	m.excess = max(m.excess, m.lent-m.used)
}

// state returns used, peak, lent and excess.
func (m *memory) state() (used, peak, lent, excess int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.used, m.peak, m.lent, m.excess
}

// A share is a part of the budget.
type share struct {
	total int64
	sem   *semaphore.Weighted
}

// smallGrant is the most bytes of a request that counts as small; an eighth of
// the budget is theirs, and an eighth is for rescue.
const smallGrant = 1 << 20

func newMemory(total int64, wait time.Duration) *memory {
	m := &memory{wait: wait}
	m.small.total, m.rescue.total = max(total/8, 1), max(total/8, 1)
	m.large.total = max(total-m.small.total-m.rescue.total, 1)
	for _, x := range []*share{&m.small, &m.large, &m.rescue} {
		x.sem = semaphore.NewWeighted(x.total)
	}
	return m
}

// A grant is a share of the budget. It returns to the budget when everybody
// who holds it has released it.
type grant struct {
	memory *memory
	share  *share
	bytes  atomic.Int64
	holds  atomic.Int32
}

// acquire waits for n bytes of the budget, at most the configured time. A
// request larger than its whole share gets the whole share, alone.
func (m *memory) acquire(ctx context.Context, n int64) (*grant, error) {
	if n <= smallGrant {
		return m.acquireOf(ctx, &m.small, n)
	}
	return m.acquireOf(ctx, &m.large, n)
}

func (m *memory) acquireOf(ctx context.Context, of *share, n int64) (*grant, error) {
	if g := m.tryAcquire(of, n); g != nil {
		return g, nil
	}
	n = min(max(n, 1), of.total)
	wait, cancel := context.WithTimeout(ctx, m.wait)
	defer cancel()
	if err := of.sem.Acquire(wait, n); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("no memory for the request within %s: too many requests at once: %w", m.wait, hallig.ErrUnavailable)
	}
	return m.granted(of, n), nil
}

// tryAcquire is acquire for those who do not wait: nil if there is no memory.
func (m *memory) tryAcquire(of *share, n int64) *grant {
	n = min(max(n, 1), of.total)
	if !of.sem.TryAcquire(n) {
		return nil
	}
	return m.granted(of, n)
}

func (m *memory) granted(of *share, n int64) *grant {
	m.account(n, 0)
	g := &grant{memory: m, share: of}
	g.bytes.Store(n)
	g.holds.Store(1)
	return g
}

func (g *grant) hold() { g.holds.Add(1) }

func (g *grant) release() {
	if g.holds.Add(-1) == 0 {
		n := g.bytes.Load()
		g.memory.account(-n, 0)
		g.share.sem.Release(n)
	}
}

// grow adds the bytes of another grant of the same share, which is no more.
func (g *grant) grow(by *grant) { g.bytes.Add(by.bytes.Swap(0)) }

// split takes n bytes, or what is left, out of a grant into one of their own.
func (g *grant) split(n int64) *grant {
	piece := &grant{memory: g.memory, share: g.share}
	n = min(n, g.bytes.Load())
	g.bytes.Add(-n)
	piece.bytes.Store(n)
	piece.holds.Store(1)
	return piece
}

// buffer returns a buffer of length n; its contents are undefined. Whoever asks
// for it holds a grant that covers rounded(n), and recycles it.
func (m *memory) buffer(n int) []byte {
	if n <= 0 {
		return nil
	}
	c := sizeClass(n)
	m.account(0, int64(classCapacity(c)))
	if b, ok := m.free[c].Get().(*[]byte); ok {
		return (*b)[:n]
	}
	return make([]byte, n, classCapacity(c))
}

// recycle takes a buffer back, as buffer gave it. The caller must not use it
// again.
func (m *memory) recycle(b []byte) {
	if cap(b) == 0 {
		return
	}
	if c := sizeClass(cap(b)); classCapacity(c) == cap(b) {
		m.account(0, -int64(cap(b)))
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
