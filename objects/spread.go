package objects

import (
	"context"
	"errors"
	"fmt"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/placement"
	"github.com/hallig-cloud/hallig/shard"
)

// A flight is one stripe on its way to its drives.
type flight struct {
	cut             *cut
	first, segments int // of the cut
	run             *run
	number          uint32 // of the stripe within its data id
	class           placement.Class
	last            bool // it ends its data id
	plain           int  // bytes of plaintext

	over chan struct{} // closed when the rest is settled
	err  error         // nil: enough shards are on stable storage; a *shortfall: not
	left []Damage      // shards that were not written
	late bool          // some did not answer in time
}

// ends reports whether the body ends with the flight.
func (f *flight) ends() bool { return f.cut.last && f.first+f.segments == f.cut.segments() }

// wait returns when the flight is over. Its own end is in f.err.
func (f *flight) wait(ctx context.Context) error {
	select {
	case <-f.over:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// outcome is how the put of one shard ended.
type outcome struct {
	index int
	err   error
}

// spread starts to put a stripe's shards on the drives of its group. The flight
// is over when enough of them are on stable storage and the others have had
// their time, or when it cannot succeed; inline says that it is when spread
// returns.
func (s *Store) spread(ctx context.Context, f *flight, header shard.Header, shards [][]byte, inline bool) {
	pool := f.run.pool
	row := pool.Drives(s.config.Drives.Topology(), pool.Group(header.ID.Data, header.ID.Stripe))
	p := &spreading{store: s, flight: f, row: row, header: header,
		pending: make([]bool, len(row)), outcomes: make(chan outcome, len(row)), need: s.ack(pool)}
	f.over = make(chan struct{})
	for i, id := range row {
		if len(shards[i]) == 0 {
			p.good++ // nothing to store: coding takes it as there
			continue
		}
		h := header
		h.ID.Index, h.Length = uint16(i), uint32(len(shards[i]))
		p.pending[i] = true
		p.waiting++
		room := f.cut.room
		room.hold()
		s.background.Add(1)
		go func() {
			defer s.background.Done()
			defer room.release()
			p.outcomes <- outcome{i, s.putShard(ctx, id, h, shards[i])}
		}()
	}
	if inline {
		f.err = p.run(ctx)
		close(f.over)
		return
	}
	s.background.Add(1)
	go func() {
		defer s.background.Done()
		defer close(f.over)
		f.err = p.run(ctx)
	}()
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
	*flight
	store      *Store
	row        []hallig.DriveID
	header     shard.Header
	outcomes   chan outcome
	pending    []bool
	waiting    int
	good, need int
	errs       []error
}

func (p *spreading) run(ctx context.Context) error {
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
		case o := <-p.outcomes:
			p.waiting--
			p.pending[o.index] = false
			p.settle(o)
		case <-late:
			p.giveUp()
			p.waiting = 0
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if p.good < p.need {
		return &shortfall{good: p.good, need: p.need, cause: errors.Join(p.errs...)}
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
	if ownFault(err) || errors.Is(err, context.DeadlineExceeded) {
		p.store.fleet.failing.blame(id)
	}
	missing := p.header.ID
	missing.Index = uint16(index)
	p.left = append(p.left, Damage{Shard: missing, Pool: p.header.Pool, Drive: id, Err: err})
}

// giveUp leaves the drives that did not answer in time to themselves. What they
// still do is noted when they have done it.
func (p *spreading) giveUp() {
	err := fmt.Errorf("no answer in time: %w", hallig.ErrUnavailable)
	p.errs = append(p.errs, err)
	for i, pending := range p.pending {
		if pending {
			p.leaveOut(i, err)
		}
	}
	p.late = true
}
