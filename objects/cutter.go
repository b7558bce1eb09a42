package objects

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/placement"
	"github.com/hallig-cloud/hallig/seal"
)

// A cut is plaintext on its way to become stripes. It lies in a buffer with
// room for a tag behind every segment, so that it is sealed where it is.
type cut struct {
	*room
	users int  // the writer's: who still may seal it anew
	plain int  // plaintext bytes
	last  bool // the body ends with it
	pool  *placement.Pool
}

// A room is the buffers of a cut. Drives that are late may hold them beyond the
// request's end.
type room struct {
	buffer []byte
	parity [][]byte     // buffers of the parity made of it
	holds  atomic.Int32 // who still reads the buffers
	memory *memory
	grant  *grant
}

// newCut returns an empty cut with room for plain bytes.
func newCut(m *memory, g *grant, p *placement.Pool, plain int64) *cut {
	g.hold()
	return &cut{pool: p, users: 1, room: newRoom(m, g, int(seal.SealedLength(plain)))}
}

// done ends one use of the cut.
func (k *cut) done() {
	if k.users--; k.users == 0 {
		k.release()
	}
}

// newRoom takes over one hold of the grant.
func newRoom(m *memory, g *grant, n int) *room {
	r := &room{memory: m, grant: g, buffer: m.buffer(n)}
	r.holds.Store(1)
	return r
}

func (r *room) hold() { r.holds.Add(1) }

func (r *room) release() {
	if r.holds.Add(-1) == 0 {
		r.memory.recycle(r.buffer)
		r.forgetParity()
		r.buffer = nil
		r.grant.release()
	}
}

func (r *room) forgetParity() {
	for _, b := range r.parity {
		r.memory.recycle(b)
	}
	r.parity = nil
}

// bytes is what the buffers take of the budget.
func (r *room) bytes() int64 {
	n := int64(cap(r.buffer))
	for _, b := range r.parity {
		n += int64(cap(b))
	}
	return n
}

func (k *cut) segments() int { return segmentsOf(int64(k.plain)) }

// segment returns the plaintext of segment i, with capacity for its tag.
func (k *cut) segment(i int) []byte {
	at := i * seal.SealedSegment
	n := min(seal.SegmentSize, k.plain-i*seal.SegmentSize)
	return k.buffer[at : at+n : at+n+seal.TagSize]
}

func segmentsOf(plain int64) int {
	return int((plain + seal.SegmentSize - 1) / seal.SegmentSize)
}

// A cutter reads a body and cuts it, hashing as it goes. It runs on the
// request's goroutine, one cut ahead of the writer.
type cutter struct {
	from   io.Reader
	size   int64 // expected, or -1
	limit  int64 // greatest size accepted
	digest *digest
	one    [1]byte
	carry  int // 1 when one holds a byte read ahead
}

// fill reads into k until its room for plain bytes is full or the body ends,
// and sets k.last if nothing follows.
func (c *cutter) fill(k *cut, plain int64) error {
	for at := 0; plain > 0; at += seal.SealedSegment {
		room := k.buffer[at:][:min(plain, seal.SegmentSize)]
		n := copy(room, c.one[:c.carry])
		c.carry = 0
		m, err := readFull(c.from, room[n:])
		c.digest.write(room[:n+m])
		k.plain += n + m
		plain -= int64(len(room))
		if c.digest.size > c.limit {
			return fmt.Errorf("a body of more than %d bytes: %w", c.limit, hallig.ErrTooLarge)
		}
		if errors.Is(err, io.EOF) {
			k.last = true
			return c.ended()
		}
		if err != nil {
			return fmt.Errorf("read the body: %w", err)
		}
	}
	// Whether a segment is the body's last must be known before it is sealed,
	// and what comes behind the announced end must be refused.
	n, err := readFull(c.from, c.one[:])
	switch {
	case errors.Is(err, io.EOF):
		k.last = true
		return c.ended()
	case err != nil:
		return fmt.Errorf("read the body: %w", err)
	case c.size >= 0 && c.digest.size >= c.size:
		return fmt.Errorf("the body goes on after the %d bytes announced: %w", c.size, hallig.ErrInvalid)
	}
	c.carry = n
	return nil
}

func (c *cutter) ended() error {
	if c.size >= 0 && c.digest.size != c.size {
		return fmt.Errorf("the body has %d bytes of the %d announced: %w", c.digest.size, c.size, hallig.ErrInvalid)
	}
	return nil
}

// readFull fills p. Unlike io.ReadFull it returns the reader's own error, so
// that an end (io.EOF) and a body that was cut off (io.ErrUnexpectedEOF) stay
// apart; a full p is no error.
func readFull(r io.Reader, p []byte) (n int, err error) {
	for idle := 0; n < len(p); {
		var m int
		m, err = r.Read(p[n:])
		n += m
		if err != nil {
			break
		}
		if idle++; m > 0 {
			idle = 0
		} else if idle == 100 {
			return n, io.ErrNoProgress
		}
	}
	if n == len(p) {
		err = nil
	}
	return n, err
}

// A source says what a writer writes for.
type source struct {
	bucket *Bucket
	key    seal.DataKey
	body   io.Reader
	size   int64  // or -1
	limit  int64  // greatest size accepted
	sum    string // checksum algorithm, or ""
	grant  *grant // memory for it that the caller holds; nil: it is acquired
	// voucher vouches for stripes under a customer's key, so that they can be
	// re-encoded without it; nil: their own data key does.
	voucher *seal.Voucher
}

// MaxPart is the greatest size of a part, and of an object put in one piece,
// in bytes. Source: S3 User Guide, "Multipart upload limits".
const MaxPart = 5 << 30

// ahead is how many cuts of one body are in memory: one being read, one being
// written.
const ahead = 2

// write stores a body: cuts, seals, codes and puts it. The writer says where it
// lies, once every stripe is on stable storage; nothing of it is visible. After
// an error the shards written are deleted as far as that is easy, else left to
// the sweep.
func (s *Store) write(ctx context.Context, src source) (*writer, Sums, error) {
	d, err := newDigest(src.sum)
	if err != nil {
		return nil, Sums{}, err
	}
	if src.size > src.limit {
		return nil, Sums{}, fmt.Errorf("%d bytes, at most %d: %w", src.size, src.limit, hallig.ErrTooLarge)
	}
	pool, err := s.poolFor(ctx, src.bucket, s.classOf(src.size))
	if err != nil {
		return nil, Sums{}, err
	}
	if src.grant == nil {
		if src.grant, err = s.memory.acquire(ctx, writeMemory(pool, src.size)); err != nil {
			return nil, Sums{}, err
		}
		defer src.grant.release()
	}
	w := &writer{store: s, source: src}
	w.pool.Store(pool)
	if src.body == nil {
		src.body = bytes.NewReader(nil)
	}
	c := &cutter{from: src.body, size: src.size, limit: src.limit, digest: d}
	if err := w.run(ctx, c); err != nil {
		w.discard()
		return nil, Sums{}, err
	}
	return w, d.sums(), nil
}

// classOf is the size class of a body; of unknown size (-1) it is Large.
func (s *Store) classOf(size int64) placement.Class {
	if size >= 0 && size <= s.config.SmallLimit {
		return placement.Small
	}
	return placement.Large
}

// writeMemory is the stripe memory that a body of size bytes takes.
func writeMemory(pool *placement.Pool, size int64) int64 {
	stripe, cuts := pool.StripeSize(), int64(ahead)
	if size >= 0 && size <= stripe {
		stripe, cuts = size, 1
	}
	n := rounded(seal.SealedLength(stripe))
	if k := int64(pool.Scheme.K); k > 1 && pool.Scheme.M > 0 {
		shard := (int64(segmentsOf(stripe)) + k - 1) / k * seal.SealedSegment
		n += rounded(int64(pool.Scheme.M) * shard)
	}
	return cuts * n
}

// run moves cuts from c to the writer, which works on its own goroutine when
// there is more than one.
func (w *writer) run(ctx context.Context, c *cutter) error {
	w.window = 1
	k, err := w.next(ctx, c)
	if err != nil {
		return err
	}
	if k.last {
		c.digest.check(k)
		return w.single(ctx, k)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	cuts, waiting, done := make(chan *cut), make(chan struct{}, 1), make(chan error, 1)
	go func() {
		err := w.work(ctx, c, cuts, waiting)
		if err != nil {
			cancel(err)
		}
		for k := range cuts {
			k.done()
		}
		done <- err
	}()
	for more := true; more && err == nil; {
		more = !k.last
		select {
		case waiting <- struct{}{}:
		default:
		}
		select {
		case cuts <- k:
			if more {
				k, err = w.next(ctx, c)
			}
		case <-ctx.Done():
			k.done()
			err = context.Cause(ctx)
		}
	}
	close(cuts)
	if writeErr := <-done; writeErr != nil {
		return writeErr // the cause: the reading side's error may be its echo
	}
	return err
}

// work writes the cuts that come; waiting says that one does.
func (w *writer) work(ctx context.Context, c *cutter, cuts <-chan *cut, waiting <-chan struct{}) error {
	defer w.abandon()
	for k := range cuts {
		select {
		case <-waiting: // it was this one
		default:
		}
		c.digest.check(k)
		if err := w.put(ctx, k, waiting); err != nil {
			return err
		}
	}
	return w.settle(ctx, 0)
}

// single writes a body that fits one cut. A body whose size was not known may
// turn out to be a small one.
func (w *writer) single(ctx context.Context, k *cut) error {
	defer w.abandon()
	w.inline = true
	if k.plain == 0 {
		k.done()
		return nil
	}
	if w.store.classOf(int64(k.plain)) == placement.Small && k.pool.Class != placement.Small {
		small, err := w.store.poolFor(ctx, w.bucket, placement.Small)
		if err != nil {
			k.done()
			return err
		}
		k.pool = small
		w.pool.Store(small)
	}
	if err := w.put(ctx, k, nil); err != nil {
		return err
	}
	return w.settle(ctx, 0)
}

// next reads the next cut, of a full stripe of the pool that is written to now.
func (w *writer) next(ctx context.Context, c *cutter) (*cut, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	pool := w.pool.Load()
	plain := pool.StripeSize()
	if c.size >= 0 {
		plain = min(plain, c.size-c.digest.size)
	}
	k := newCut(w.store.memory, w.grant, pool, plain)
	if err := c.fill(k, plain); err != nil {
		k.done()
		return nil, err
	}
	return k, nil
}
