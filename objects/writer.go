package objects

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/erasure"
	"github.com/hallig-cloud/hallig/placement"
	"github.com/hallig-cloud/hallig/seal"
	"github.com/hallig-cloud/hallig/shard"
)

// A writer turns cuts into durable stripes. When drives fail under it, it goes
// on in a narrower pool under a new data id.
type writer struct {
	store *Store
	source
	pool    atomic.Pointer[placement.Pool] // what is written to now; the cutter reads it
	at      *run                           // the open data id, nil between two
	runs    []*run                         // every data id begun
	extents []catalog.Extent               // what is durable
	exclude map[hallig.DriveID]bool        // drives that failed this body
	flights []*flight                      // stripes on their way to drives, in order
	window  int                            // how many there may be
	inline  bool                           // there is one cut only
}

// A run is the stripes of one data id.
type run struct {
	data    hallig.DataID
	pool    *placement.Pool
	code    *erasure.Code
	body    *seal.Body
	stripes uint32 // begun
}

func (r *run) segments() int { return r.pool.Scheme.K * r.pool.Segments }

// A shortfall says that a stripe could not reach its pool's Ack.
type shortfall struct {
	good, need int
	cause      error
}

func (e *shortfall) Error() string {
	return fmt.Sprintf("%d shards of the %d to be acknowledged are durable: %v", e.good, e.need, e.cause)
}

func (e *shortfall) Unwrap() error { return e.cause }

// put sends k on its way: normally one stripe; several when the pool changed
// since k was cut. It returns when fewer stripes than the window are under way,
// and takes over k. When waiting receives, a further cut is there before that:
// then the drives are what the body waits for, and the window grows.
func (w *writer) put(ctx context.Context, k *cut, waiting <-chan struct{}) error {
	defer k.done()
	for sent := 0; sent < k.segments(); {
		n, err := w.send(ctx, k, sent, k.segments()-sent, k.last)
		if err != nil {
			return err
		}
		sent += n
	}
	for len(w.flights) >= w.window {
		select {
		case <-w.flights[0].over:
		case <-ctx.Done():
		case <-waiting:
			if w.widen(k) {
				return nil
			}
			waiting = nil
			continue
		}
		if err := w.settle(ctx, len(w.flights)-1); err != nil {
			return err
		}
	}
	return nil
}

// widest is how many stripes of one body may be on their way at once. A third
// one hides the drives' flushes behind the second one's; see BenchmarkPutSlow.
const widest = 3

// widen lets one stripe more of k's size be under way, if memory is plentiful.
func (w *writer) widen(k *cut) bool {
	m := w.store.memory
	used, _, _, _ := m.state()
	n := writeMemory(k.pool, -1) / ahead
	if w.window >= widest || w.grant.share != &m.large || 2*(used+n) > m.large.total {
		return false
	}
	more := m.tryAcquire(&m.large, n)
	if more == nil {
		return false
	}
	w.grant.grow(more)
	w.window++
	return true
}

// send sends one stripe of at most n segments of k from the first one on, and
// returns how many it took. ends says that the body ends with the n segments.
func (w *writer) send(ctx context.Context, k *cut, first, n int, ends bool) (int, error) {
	if err := w.settle(ctx, w.window-1); err != nil {
		return 0, err
	}
	if ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	if err := w.begin(w.pool.Load()); err != nil {
		return 0, err
	}
	f := &flight{cut: k, run: w.at, first: first, segments: min(n, w.at.segments()), number: w.at.stripes, class: w.at.pool.Class}
	// A stripe that is not full ends its data id.
	f.last = f.segments < w.at.segments() || ends && f.segments == n
	w.at.stripes++
	if f.last {
		w.at = nil
	}
	header, shards, err := w.stripe(f)
	if err != nil {
		return 0, err
	}
	k.users++
	w.flights = append(w.flights, f)
	w.store.spread(ctx, f, header, shards, w.inline)
	return f.segments, nil
}

// settle waits until at most n stripes are under way, in their order.
func (w *writer) settle(ctx context.Context, n int) error {
	for len(w.flights) > n {
		f := w.flights[0]
		if err := f.wait(ctx); err != nil {
			return err
		}
		w.flights = w.flights[1:]
		if err := w.landed(ctx, f); err != nil {
			return err
		}
	}
	return nil
}

// landed notes how a stripe ended. When it is not durable, it and those behind
// it are sent anew.
func (w *writer) landed(ctx context.Context, f *flight) error {
	w.learn(f)
	var short *shortfall
	if errors.As(f.err, &short) {
		return w.again(ctx, f, short)
	}
	defer f.cut.done()
	if f.err != nil {
		return f.err
	}
	for _, d := range f.left { // the stripe stands: these are to be rebuilt
		w.store.damage(d)
	}
	if f.late {
		// Who did not answer in time is left to itself.
		if pool, err := w.store.poolWithout(ctx, w.bucket, f.class, w.exclude); err == nil {
			w.pool.Store(pool)
		}
	}
	w.extend(f)
	return nil
}

// learn notes which drives failed.
func (w *writer) learn(f *flight) {
	for _, d := range f.left {
		if w.exclude == nil {
			w.exclude = map[hallig.DriveID]bool{}
		}
		w.exclude[d.Drive] = true
	}
}

// again puts a stripe that fell short, and those that were sent after it, into
// the pool of the drives that are left, under other data ids. A body's stripes
// thereby stay in order.
func (w *writer) again(ctx context.Context, f *flight, short *shortfall) error {
	lost := append([]*flight{f}, w.flights...)
	w.flights, w.at = nil, nil
	defer func() {
		for _, x := range lost {
			x.cut.done()
		}
	}()
	for _, x := range lost {
		if err := x.wait(ctx); err != nil {
			return err
		}
		w.learn(x)
	}
	for _, x := range lost { // none is under way now that deleting it would meet
		if err := w.unseal(ctx, x); err != nil {
			return err
		}
		if x.number < x.run.stripes {
			w.store.discard(&run{data: x.run.data, pool: x.run.pool, stripes: x.run.stripes}, x.number)
			x.run.stripes = x.number
		}
	}
	if err := w.narrow(ctx, f.run.pool, short); err != nil {
		return err
	}
	for i, x := range lost {
		for sent := 0; sent < x.segments; {
			n, err := w.send(ctx, x.cut, x.first+sent, x.segments-sent, i == len(lost)-1 && x.ends())
			if err != nil {
				return err
			}
			sent += n
			if err := w.settle(ctx, 0); err != nil {
				return err
			}
		}
	}
	return nil
}

// abandon lets go of the stripes under way; their shards hold their buffers
// themselves.
func (w *writer) abandon() {
	for _, f := range w.flights {
		f.cut.done()
	}
	w.flights = nil
}

// begin opens a data id in the pool unless one is open there.
func (w *writer) begin(p *placement.Pool) error {
	if w.at != nil && w.at.pool == p {
		return nil
	}
	code, err := w.store.codes.Get(p.Scheme.K, p.Scheme.M)
	if err != nil {
		return err
	}
	data := hallig.NewID()
	body, err := seal.NewBody(w.key, w.store.config.Mesh, w.bucket.ID, data)
	if err != nil {
		return err
	}
	w.at = &run{data: data, pool: p, code: code, body: body}
	w.runs = append(w.runs, w.at)
	return nil
}

// stripe seals and codes a flight's segments.
func (w *writer) stripe(f *flight) (shard.Header, [][]byte, error) {
	at, k := f.run, f.cut
	for i := range f.segments {
		segment := k.segment(f.first + i)
		f.plain += len(segment)
		at.body.Seal(segment[:0], segment, uint64(f.number)*uint64(at.segments())+uint64(i), f.last && i == f.segments-1)
	}
	start := f.first * seal.SealedSegment
	sealed := k.buffer[start : start+f.plain+f.segments*seal.TagSize]
	header := shard.Header{
		ID:      shard.ID{Data: at.data, Stripe: f.number},
		Session: w.store.config.Session,
		Pool:    at.pool.ID,
		K:       uint16(at.pool.Scheme.K),
		M:       uint16(at.pool.Scheme.M),
		Stripe:  uint32(len(sealed)),
	}
	shards, err := w.encode(f, sealed)
	if err != nil {
		return header, nil, err
	}
	hashes := make([]seal.Hash, seal.StripeOf(header).Hashes())
	for i := range hashes {
		hashes[i] = seal.HashShard(shards[i])
	}
	if w.voucher != nil {
		header.Vouch, err = w.voucher.Vouch(seal.StripeOf(header), at.body.Commitment(), hashes)
	} else {
		header.Vouch, err = at.body.Vouch(seal.StripeOf(header), hashes)
	}
	return header, shards, err
}

// encode returns the stripe's shards: slices of sealed, and parity.
func (w *writer) encode(f *flight, sealed []byte) ([][]byte, error) {
	scheme, k := f.run.pool.Scheme, f.cut
	if scheme.K == 1 {
		shards := make([][]byte, scheme.Width())
		for i := range shards {
			shards[i] = sealed
		}
		return shards, nil
	}
	layout, err := erasure.NewLayout(scheme.K, scheme.M, int64(len(sealed)))
	if err != nil {
		return nil, err
	}
	data, err := layout.Split(sealed)
	if err != nil {
		return nil, err
	}
	length := int(layout.ShardLength(scheme.K))
	parity := make([][]byte, scheme.M)
	room := w.store.memory.buffer(length * scheme.M)
	k.parity = append(k.parity, room)
	for i := range parity {
		parity[i] = room[i*length : (i+1)*length : (i+1)*length]
	}
	if err := f.run.code.Encode(data, parity); err != nil {
		return nil, err
	}
	return append(data, parity...), nil
}

// extend records a durable stripe.
func (w *writer) extend(f *flight) {
	if n := len(w.extents); n > 0 && w.extents[n-1].Data == f.run.data {
		e := &w.extents[n-1]
		e.Count++
		e.Length += int64(f.plain)
		e.Last = f.last
		return
	}
	w.extents = append(w.extents, catalog.Extent{
		Data: f.run.data, First: f.number, Count: 1, Length: int64(f.plain), Last: f.last, Pool: f.run.pool.ID,
	})
}

// unseal turns the segments of a stripe that was given up back into plaintext,
// so that they can be sealed anew under another data id.
func (w *writer) unseal(ctx context.Context, f *flight) error {
	if err := w.moveOut(ctx, f.cut); err != nil {
		return err
	}
	base := uint64(f.number) * uint64(f.run.segments())
	for i := range f.segments {
		segment := f.cut.segment(f.first + i)
		sealed := segment[:len(segment)+seal.TagSize]
		if _, err := f.run.body.Open(sealed[:0], sealed, base+uint64(i), f.last && i == f.segments-1); err != nil {
			return err
		}
	}
	return nil
}

// moveOut makes k's buffer the writer's alone. Shards that are still on their
// way to a drive keep the old one, which they must not see change, and for
// which they then need memory of their own.
func (w *writer) moveOut(ctx context.Context, k *cut) error {
	if k.holds.Load() == 1 {
		k.forgetParity()
		return nil
	}
	m := w.store.memory
	late, err := m.acquireOf(ctx, &m.rescue, k.bytes())
	if err != nil {
		return err
	}
	old := k.room
	k.room = newRoom(m, old.grant, len(old.buffer))
	copy(k.buffer, old.buffer)
	old.grant = late
	old.release()
	return nil
}

// narrow moves on from a pool to that of the drives that are left.
func (w *writer) narrow(ctx context.Context, old *placement.Pool, short *shortfall) error {
	s := w.store
	pool, err := s.poolWithout(ctx, w.bucket, old.Class, w.exclude)
	if err != nil {
		return fmt.Errorf("%w: %w", short, err)
	}
	if pool == old {
		return fmt.Errorf("no other drives are left to write to: %w: %w", hallig.ErrUnavailable, short)
	}
	s.log.Warn("drives failed under a write: going on with those that are left",
		"bucket", w.bucket.Name, "pool", old.ID, "narrower", pool.ID, "survive", pool.Survive, "err", short.cause)
	w.pool.Store(pool)
	return nil
}
