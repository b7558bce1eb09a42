package objects

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

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

// put makes k durable: normally one stripe; several when the pool changed since
// k was cut.
func (w *writer) put(ctx context.Context, k *cut) error {
	for done := 0; done < k.segments(); {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := w.begin(w.pool.Load()); err != nil {
			return err
		}
		n := min(k.segments()-done, w.at.segments())
		// A stripe that is not full ends its data id.
		last := n < w.at.segments() || k.last && done+n == k.segments()
		err := w.stripe(ctx, k, done, n, last)
		var short *shortfall
		if errors.As(err, &short) {
			if err := w.unseal(ctx, k, done, n, last); err != nil {
				return err
			}
			if err := w.narrow(ctx, short); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		done += n
		if last {
			w.at = nil
		}
	}
	return nil
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

// stripe seals, codes and puts n segments of k from the first one on.
func (w *writer) stripe(ctx context.Context, k *cut, first, n int, last bool) error {
	at := w.at
	number := at.stripes
	at.stripes++
	plain := 0
	for i := range n {
		segment := k.segment(first + i)
		plain += len(segment)
		at.body.Seal(segment[:0], segment, uint64(number)*uint64(at.segments())+uint64(i), last && i == n-1)
	}
	start := first * seal.SealedSegment
	sealed := k.buffer[start : start+plain+n*seal.TagSize]
	shards, err := w.encode(k, sealed)
	if err != nil {
		return err
	}
	header := shard.Header{
		ID:      shard.ID{Data: at.data, Stripe: number},
		Session: w.store.config.Session,
		Pool:    at.pool.ID,
		K:       uint16(at.pool.Scheme.K),
		M:       uint16(at.pool.Scheme.M),
		Stripe:  uint32(len(sealed)),
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
	if err != nil {
		return err
	}
	if err := w.spread(ctx, k, header, shards); err != nil {
		return err
	}
	w.extend(number, int64(plain), last)
	return nil
}

// encode returns the stripe's shards: slices of sealed, and parity.
func (w *writer) encode(k *cut, sealed []byte) ([][]byte, error) {
	scheme := w.at.pool.Scheme
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
	if err := w.at.code.Encode(data, parity); err != nil {
		return nil, err
	}
	return append(data, parity...), nil
}

// extend records a durable stripe.
func (w *writer) extend(number uint32, plain int64, last bool) {
	if n := len(w.extents); n > 0 && w.extents[n-1].Data == w.at.data {
		e := &w.extents[n-1]
		e.Count++
		e.Length += plain
		e.Last = last
		return
	}
	w.extents = append(w.extents, catalog.Extent{
		Data: w.at.data, First: number, Count: 1, Length: plain, Last: last, Pool: w.at.pool.ID,
	})
}

// unseal turns segments that were sealed for a stripe that failed back into
// plaintext, so that they can be sealed anew under another data id.
func (w *writer) unseal(ctx context.Context, k *cut, first, n int, last bool) error {
	base := uint64(w.at.stripes-1) * uint64(w.at.segments())
	if err := w.moveOut(ctx, k); err != nil {
		return err
	}
	for i := range n {
		segment := k.segment(first + i)
		sealed := segment[:len(segment)+seal.TagSize]
		if _, err := w.at.body.Open(sealed[:0], sealed, base+uint64(i), last && i == n-1); err != nil {
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

// narrow moves on to the pool of the drives that are left.
func (w *writer) narrow(ctx context.Context, short *shortfall) error {
	s := w.store
	old := w.at
	w.at = nil
	s.discard(&run{data: old.data, pool: old.pool, stripes: old.stripes}, old.stripes-1)
	old.stripes--
	pool, err := s.poolWithout(ctx, w.bucket, old.pool.Class, w.exclude)
	if err != nil {
		return fmt.Errorf("%w: %w", short, err)
	}
	if pool == old.pool {
		return fmt.Errorf("no other drives are left to write to: %w: %w", hallig.ErrUnavailable, short)
	}
	s.log.Warn("drives failed under a write: going on with those that are left",
		"bucket", w.bucket.Name, "pool", old.pool.ID, "narrower", pool.ID, "survive", pool.Survive, "err", short.cause)
	w.pool.Store(pool)
	return nil
}

// outcome is how the put of one shard ended.
type outcome struct {
	index int
	err   error
}

// spread puts a stripe's shards on the drives of its group and returns nil when
// enough of them are on stable storage, or a *shortfall.
func (w *writer) spread(ctx context.Context, k *cut, header shard.Header, shards [][]byte) error {
	s := w.store
	pool := w.at.pool
	row := pool.Drives(s.config.Drives.Topology(), pool.Group(header.ID.Data, header.ID.Stripe))
	outcomes := make(chan outcome, len(row))
	pending := make([]bool, len(row))
	waiting, good := 0, 0
	for i, id := range row {
		if len(shards[i]) == 0 {
			good++ // nothing to store: coding takes it as there
			continue
		}
		h := header
		h.ID.Index, h.Length = uint16(i), uint32(len(shards[i]))
		pending[i] = true
		waiting++
		room := k.room
		room.hold()
		s.background.Add(1)
		go func() {
			defer s.background.Done()
			defer room.release()
			outcomes <- outcome{i, s.putShard(ctx, id, h, shards[i])}
		}()
	}
	wait := &spreading{writer: w, row: row, header: header, pending: pending, waiting: waiting, good: good, need: s.ack(pool)}
	return wait.run(ctx, outcomes)
}

// putShard puts one shard within the time for it. The request's end does not
// cut it short.
func (s *Store) putShard(ctx context.Context, id hallig.DriveID, h shard.Header, body []byte) error {
	var drive shard.Store
	if !id.IsZero() {
		drive = s.config.Drives.Drive(id)
	}
	if drive == nil {
		return fmt.Errorf("put shard %s: drive %s: %w", h.ID, id, hallig.ErrUnavailable)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.config.ShardTimeout)
	defer cancel()
	if err := drive.Put(ctx, h, body); err != nil {
		return fmt.Errorf("put shard %s on drive %s: %w", h.ID, id, err)
	}
	return nil
}

// spreading waits for a stripe's shards.
type spreading struct {
	*writer
	row        []hallig.DriveID
	header     shard.Header
	pending    []bool
	waiting    int
	good, need int
	errs       []error
	left       []Damage // what was not written
}

func (p *spreading) run(ctx context.Context, outcomes <-chan outcome) error {
	config := &p.store.config
	late, stop := config.Timer(config.ShardTimeout)
	defer func() { stop() }()
	enough := false
	for p.waiting > 0 {
		if p.good >= p.need && !enough {
			enough = true
			stop()
			late, stop = config.Timer(config.StragglerAfter)
		}
		select {
		case o := <-outcomes:
			p.waiting--
			p.pending[o.index] = false
			p.settle(o)
		case <-late:
			p.giveUp(ctx, outcomes)
			p.waiting = 0
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if p.good < p.need {
		return &shortfall{good: p.good, need: p.need, cause: errors.Join(p.errs...)}
	}
	for _, d := range p.left { // the stripe stands: these are to be rebuilt
		p.store.damage(d)
	}
	return nil
}

// settle notes how one put ended.
func (p *spreading) settle(o outcome) {
	id := p.row[o.index]
	if o.err == nil {
		p.good++
		p.store.fleet.failing.absolve(id)
		return
	}
	p.errs = append(p.errs, o.err)
	p.leaveOut(o.index, o.err)
}

func (p *spreading) leaveOut(index int, err error) {
	id := p.row[index]
	if p.exclude == nil {
		p.exclude = map[hallig.DriveID]bool{}
	}
	p.exclude[id] = true
	if ownFault(err) || errors.Is(err, context.DeadlineExceeded) {
		p.store.fleet.failing.blame(id)
	}
	missing := p.header.ID
	missing.Index = uint16(index)
	p.left = append(p.left, Damage{Shard: missing, Pool: p.header.Pool, Drive: id, Err: err})
}

// giveUp leaves the drives that did not answer in time to themselves. What they
// still do is noted when they have done it.
func (p *spreading) giveUp(ctx context.Context, outcomes <-chan outcome) {
	err := fmt.Errorf("no answer in time: %w", hallig.ErrUnavailable)
	p.errs = append(p.errs, err)
	for i, pending := range p.pending {
		if pending {
			p.leaveOut(i, err)
		}
	}
	if p.good >= p.need {
		if pool, err := p.store.poolWithout(ctx, p.bucket, p.at.pool.Class, p.exclude); err == nil {
			p.pool.Store(pool)
		}
	}
}

// discard deletes what the writer has written, as far as that is easy.
func (w *writer) discard() {
	for _, r := range w.runs {
		w.store.discard(r, 0)
	}
}

// discardTime bounds a try to delete what a failed write left.
const discardTime = 30 * time.Second

// discard deletes the shards of a run's stripes from the first one on, in the
// background and as far as drives answer; the sweep finds the rest.
func (s *Store) discard(r *run, first uint32) {
	if first >= r.stripes {
		return
	}
	s.background.Add(1)
	go func() {
		defer s.background.Done()
		ctx, cancel := context.WithTimeout(s.life, discardTime)
		defer cancel()
		t := s.config.Drives.Topology()
		for from := first; from < r.stripes; {
			doomed := map[hallig.DriveID][]shard.ID{}
			for n := 0; from < r.stripes && n < catalog.MaxOps; from++ {
				for i, id := range r.pool.Drives(t, r.pool.Group(r.data, from)) {
					doomed[id] = append(doomed[id], shard.ID{Data: r.data, Stripe: from, Index: uint16(i)})
					n++
				}
			}
			for id, ids := range doomed {
				drive := s.config.Drives.Drive(id)
				if drive == nil || !s.fleet.writable(id) {
					continue
				}
				if err := drive.Delete(ctx, ids...); err != nil {
					s.log.Debug("what a failed write left stays for the sweep", "drive", id, "err", err)
				}
			}
		}
	}()
}
