package objects

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/seal"
)

// A suspicion is the reading of a stripe of which some drive gave wrong bytes
// with right checksums: whole shards, each held against its vouched-for hash.
type suspicion struct {
	store    *Store
	stripe   *stripe
	arrivals chan confirmed

	mu   sync.Mutex
	over bool // what comes now comes too late
}

// A confirmed shard is what was written, or an error.
type confirmed struct {
	fetched
	index int
	piece *grant // memory of it
	err   error
}

// careful gathers a stripe of which some drive lied, and reports the liar. Every
// drive is asked, at once, because one of them has lied and only who is asked
// is found out; the answer waits for k shards that are what was written, and
// for nobody who is slow. It returns what gather returns.
func (s *Store) careful(ctx context.Context, st *stripe) (segments, buffers [][]byte, err error) {
	k, width := st.pool.Scheme.K, st.pool.Scheme.Width()
	size := rounded(int64(st.lengths[0]))
	g, err := s.memory.acquireOf(ctx, &s.memory.rescue, int64(width+min(k, st.pool.Scheme.M)+1)*size)
	if err != nil {
		return nil, nil, err
	}
	defer g.release()
	p := &suspicion{store: s, stripe: st, arrivals: make(chan confirmed, width)}
	shards := make([]confirmed, width)
	defer func() { p.end(shards) }()
	have, pending := 0, 0
	for _, i := range s.fleet.order(s.config.Drives.Topology(), st.row) {
		if st.lengths[i] == 0 {
			have++
			continue
		}
		pending++
		p.ask(i, g.split(size))
	}
	var errs []error
	for have < k {
		if pending == 0 {
			return nil, nil, fmt.Errorf("stripe %d of data %s in pool %d: %w: %w", st.number, st.data, st.pool.ID, hallig.ErrLost, errors.Join(errs...))
		}
		select {
		case a := <-p.arrivals:
			pending--
			shards[a.index] = a
			if a.err != nil {
				errs = append(errs, a.err)
			} else {
				have++
			}
		case <-ctx.Done():
			return nil, nil, context.Cause(ctx)
		}
	}
	return p.decode(shards)
}

// ask starts to read one whole shard. It goes on when the request has ended,
// so that the liar is found; Close ends it.
func (p *suspicion) ask(index int, piece *grant) {
	p.store.background.Add(1)
	go func() {
		defer p.store.background.Done()
		a := confirmed{index: index, piece: piece}
		a.fetched, a.err = p.store.vouchedFor(p.store.life, p.stripe, index)
		p.mu.Lock()
		late := p.over
		if !late {
			p.arrivals <- a
		}
		p.mu.Unlock()
		if late {
			p.store.drop(a)
		}
	}()
}

// end recycles the shards that have come, and lets none in any more.
func (p *suspicion) end(shards []confirmed) {
	p.mu.Lock()
	p.over = true
	p.mu.Unlock()
	for _, a := range shards {
		p.store.drop(a)
	}
	for {
		select {
		case a := <-p.arrivals:
			p.store.drop(a)
		default:
			return
		}
	}
}

func (s *Store) drop(a confirmed) {
	s.memory.recycle(a.buffer)
	if a.piece != nil {
		a.piece.release()
	}
}

// decode makes the data shards of the first k that came and copies what is
// wanted to buffers of its own, for which the request has memory.
func (p *suspicion) decode(arrived []confirmed) (segments, buffers [][]byte, err error) {
	st, memory := p.stripe, p.store.memory
	k := st.pool.Scheme.K
	shards, data := make([][]byte, len(arrived)), make([]int, k)
	var rooms [][]byte
	defer func() {
		for _, b := range rooms {
			memory.recycle(b)
		}
	}()
	have := 0
	for i := range arrived {
		switch {
		case have < k && arrived[i].bytes != nil:
			shards[i] = arrived[i].bytes
			have++
		case have < k && st.lengths[i] == 0:
			have++
			fallthrough
		case i < k:
			room := memory.buffer(st.lengths[0])
			rooms, shards[i] = append(rooms, room), room[:0]
		}
	}
	for i := range data {
		data[i] = i
	}
	code, err := p.store.codes.Get(k, st.pool.Scheme.M)
	if err == nil {
		err = code.Reconstruct(shards, st.lengths, data)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("decode stripe %d of data %s: %w", st.number, st.data, err)
	}
	for i := range data {
		off, n := st.span(i, max(0, st.from-i*st.run), min(st.run, st.to-i*st.run))
		if n <= 0 {
			continue
		}
		buffer := memory.buffer(n)
		copy(buffer, shards[i][off:off+n])
		segments, buffers = split(segments, buffer), append(buffers, buffer)
	}
	return segments, buffers, nil
}

// vouchedFor reads one whole shard from a drive that has what was written.
func (s *Store) vouchedFor(ctx context.Context, st *stripe, index int) (fetched, error) {
	var errs []error
	for _, id := range s.holders(st, index, true) {
		got, err := s.fetchFrom(ctx, st, index, 0, st.run, st.lengths[0], id)
		if err == nil {
			if seal.HashShard(got.bytes) == got.vouched(index) {
				return got, nil
			}
			s.memory.recycle(got.buffer)
			errs = append(errs, s.lied(st, index, id))
			continue
		}
		if ctx.Err() != nil {
			return fetched{}, err
		}
		if errors.Is(err, hallig.ErrCorrupt) {
			s.damage(Damage{Shard: st.shard(index), Pool: st.pool.ID, Drive: id, Err: err})
		}
		errs = append(errs, err)
	}
	return fetched{}, errors.Join(errs...)
}
