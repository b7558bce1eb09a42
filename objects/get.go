package objects

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/hallig-cloud/hallig"
)

// Get opens a version's bytes; see API. The first stripe has been read and
// verified when it returns, so what is lost altogether is an error here rather
// than in the middle of an answer. The stream also implements io.WriterTo.
func (s *Store) Get(ctx context.Context, r GetRequest) (io.ReadCloser, error) {
	fail := func(err error) (io.ReadCloser, error) { return nil, fmt.Errorf("get %q: %w", r.Version.Key, err) }
	p, err := s.planGet(ctx, &r)
	if err != nil {
		return fail(err)
	}
	s.readers.begin(p)
	g, err := s.memory.acquire(ctx, p.memory())
	if err != nil {
		s.readers.end(p)
		return fail(err)
	}
	defer g.release()
	st, err := s.stream(ctx, p, g)
	if err != nil {
		return fail(err)
	}
	return st, nil
}

// planGet opens the version's key, which also says whether the customer's is
// the right one, and plans the range.
func (s *Store) planGet(ctx context.Context, r *GetRequest) (*plan, error) {
	v := &r.Version
	if v.DeleteMarker {
		return nil, fmt.Errorf("a delete marker has no bytes: %w", hallig.ErrNotFound)
	}
	length, err := rangeOf(v.Size, r.Offset, r.Length)
	if err != nil {
		return nil, err
	}
	if v.Inline != nil {
		return nil, fmt.Errorf("a body inside its catalog record: %w", hallig.ErrUnsupported)
	}
	b, err := s.bucketByID(ctx, v.Bucket)
	if err != nil {
		return nil, err
	}
	key, err := s.openKey(b, v.DataKey, &v.Encryption, r.CustomerKey)
	if err != nil {
		return nil, err
	}
	total := int64(0)
	for _, e := range v.Extents {
		total += e.Length
	}
	if total != v.Size {
		return nil, fmt.Errorf("extents of %d bytes for an object of %d: %w", total, v.Size, hallig.ErrCorrupt)
	}
	sealer, err := s.sealer(b)
	if err != nil {
		return nil, err
	}
	return s.planRead(ctx, v.Extents, opening{key, v.Bucket, sealer.Voucher()}, r.Offset, length)
}

// stream starts to read a plan, of which the readers know. It holds the memory,
// and is a reader, until it is closed.
func (s *Store) stream(ctx context.Context, p *plan, g *grant) (*stream, error) {
	g.hold()
	st := &stream{store: s, plan: p, grant: g, left: p.length}
	st.ctx, st.cancel = context.WithCancelCause(ctx)
	st.next, st.stop = iter.Pull2(p.stripes())
	if err := st.open(); err != nil {
		st.Close()
		return nil, err
	}
	return st, nil
}

// rangeOf returns the length of a range that is cut at the end of size bytes.
func rangeOf(size, offset, length int64) (int64, error) {
	if offset < 0 || offset > size || length < -1 {
		return 0, fmt.Errorf("range of %d bytes from %d of %d: %w", length, offset, size, hallig.ErrInvalid)
	}
	if length < 0 || length > size-offset {
		length = size - offset
	}
	return length, nil
}

// A stream is the plaintext of a planned range: one stripe is read ahead while
// the one before is consumed.
type stream struct {
	store  *Store
	plan   *plan
	grant  *grant
	ctx    context.Context //nolint:containedctx // of the request whose body this is
	cancel context.CancelCauseFunc
	next   func() (*stripe, error, bool)
	stop   func()
	ahead  chan opened // nil when nothing is read ahead
	now    opened
	left   int64 // bytes not yet delivered
	err    error
	closed bool
}

// opened is plaintext, verified.
type opened struct {
	segments [][]byte
	buffers  [][]byte
	err      error
	end      bool
}

// open reads the first stripe and starts to read ahead if there are more.
func (st *stream) open() error {
	first := st.readNext()
	st.now = first
	if first.err != nil {
		return first.err
	}
	held := int64(0)
	for _, b := range first.segments {
		held += int64(len(b))
	}
	if held >= st.left {
		return nil
	}
	st.ahead = make(chan opened)
	go func() {
		defer close(st.ahead)
		for {
			o := st.readNext()
			select {
			case st.ahead <- o:
			case <-st.ctx.Done():
				st.recycle(o)
				return
			}
			if o.err != nil || o.end {
				return
			}
		}
	}()
	return nil
}

// readNext reads and opens the next stripe of the plan.
func (st *stream) readNext() opened {
	p, err, more := st.next()
	if err != nil {
		return opened{err: err}
	}
	if !more {
		return opened{end: true}
	}
	sealed, buffers, err := st.store.gather(st.ctx, p, st.grant)
	if err != nil {
		return opened{err: err}
	}
	segments, err := p.open(sealed)
	if errors.Is(err, hallig.ErrCorrupt) {
		// Some drive lies: see which.
		for _, b := range buffers {
			st.store.memory.recycle(b)
		}
		if sealed, buffers, err = st.store.careful(st.ctx, p); err == nil {
			segments, err = p.open(sealed)
		}
	}
	return opened{segments: segments, buffers: buffers, err: err}
}

// open opens the wanted segments where they are, and trims them to what is
// wanted.
func (st *stripe) open(sealed [][]byte) ([][]byte, error) {
	final := st.segments() - 1
	left := st.take
	for i, b := range sealed {
		n := st.from + i
		plain, err := st.body.Open(b[:0], b, st.base+uint64(n), st.last && n == final)
		if err != nil {
			return nil, err
		}
		if i == 0 {
			if len(plain) < st.skip {
				return nil, fmt.Errorf("segment %d of data %s is too short: %w", n, st.data, hallig.ErrCorrupt)
			}
			plain = plain[st.skip:]
		}
		sealed[i] = plain[:min(left, len(plain))]
		left -= len(sealed[i])
	}
	if left != 0 {
		return nil, fmt.Errorf("stripe %d of data %s is %d bytes too short: %w", st.number, st.data, left, hallig.ErrCorrupt)
	}
	return sealed, nil
}

func (st *stream) recycle(o opened) {
	for _, b := range o.buffers {
		st.store.memory.recycle(b)
	}
}

// advance makes the next non-empty segment current; it returns io.EOF when all
// bytes were delivered and never before.
func (st *stream) advance() error {
	for {
		if st.err != nil {
			return st.err
		}
		for len(st.now.segments) > 0 {
			if len(st.now.segments[0]) > 0 {
				return nil
			}
			st.now.segments = st.now.segments[1:]
		}
		st.recycle(st.now)
		st.now = opened{}
		switch {
		case st.left == 0:
			st.err = io.EOF
		case st.ahead == nil:
			st.err = st.cutShort()
		default:
			o, ok := <-st.ahead
			if st.now = o; !ok || o.end {
				st.err = st.cutShort()
			} else if o.err != nil {
				st.err = o.err
			}
		}
	}
}

func (st *stream) cutShort() error {
	if err := context.Cause(st.ctx); err != nil {
		return err
	}
	return fmt.Errorf("%d bytes are missing at the end: %w", st.left, hallig.ErrCorrupt)
}

// Read implements io.Reader.
func (st *stream) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		if err := st.advance(); err != nil {
			if n > 0 {
				return n, nil
			}
			return 0, err
		}
		m := copy(p[n:], st.now.segments[0])
		st.now.segments[0] = st.now.segments[0][m:]
		st.left -= int64(m)
		n += m
		if len(st.now.segments) == 1 && len(st.now.segments[0]) == 0 {
			break // do not wait for the next stripe with bytes in hand
		}
	}
	return n, nil
}

// WriteTo implements io.WriterTo: segments go out from where they were opened.
func (st *stream) WriteTo(w io.Writer) (int64, error) {
	var n int64
	for {
		err := st.advance()
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		m, err := w.Write(st.now.segments[0])
		n += int64(m)
		st.left -= int64(m)
		st.now.segments[0] = st.now.segments[0][m:]
		if err != nil {
			return n, err
		}
	}
}

// Close releases the stream. It must not be called while Read runs.
func (st *stream) Close() error {
	if st.closed {
		return nil
	}
	st.closed = true
	st.cancel(errClosed)
	if st.ahead != nil {
		for o := range st.ahead {
			st.recycle(o)
		}
	}
	st.stop()
	st.recycle(st.now)
	st.now = opened{}
	if st.err == nil {
		st.err = errClosed
	}
	st.grant.release()
	st.store.readers.end(st.plan)
	return nil
}

var errClosed = errors.New("the stream is closed")
