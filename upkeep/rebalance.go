package upkeep

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/objects"
	"github.com/hallig-cloud/hallig/placement"
	"github.com/hallig-cloud/hallig/shard"
)

// Rebalanced is what Rebalance did.
type Rebalanced struct {
	Versions int64   // looked at, parts of open uploads included
	Moved    int64   // versions and parts, shards of which lie elsewhere now
	Shards   int64   // of those
	Bytes    int64   // of those
	Waiting  int64   // versions that lack a shard or a drive just now
	Failed   int64   // versions whose shards could not be moved
	Before   float64 // how far the drive that is farthest off is off the mean fill, as a share of it
	After    float64
}

// errUnready says that a stripe is not whole, or a drive not there: it is
// another task's turn first.
var errUnready = errors.New("it is not in a state to be moved")

// Rebalance moves shards to other drives, so that all are as full for their
// size: what was stored before a drive was added goes to the pool that new data
// goes to, if that has the same stripes. Only the shards whose place differs are
// moved, as they are: nothing is opened, no key is needed.
//
// It begins when some drive is off the mean fill by more than
// Config.RebalanceAbove, and ends when all are within Config.RebalanceUntil, or
// nothing more can be gained. Each version moves at most once for a topology, so
// it ends.
//
// No stripe has fewer shards at any moment: a shard is on stable storage in its
// new place, and the catalog says that it belongs there, before the old one is
// deleted, after Config.Grace, and after the new one was read back. A version
// that changes meanwhile stays as the change left it. What a crash interrupts
// goes on with the next pass; old copies that it left are deleted by the next
// comparison.
func (u *Upkeep) Rebalance(ctx context.Context) (Rebalanced, error) {
	u.rebalanceMu.Lock()
	defer u.rebalanceMu.Unlock()
	b := &rebalancing{u: u, p: &planner{u: u}, work: u.work(taskRebalance, "bytes", hallig.DriveID{}), saved: u.config.Now()}
	b.p.look()
	if err := b.p.readBuckets(ctx); err != nil {
		return b.r, err
	}
	if begins, err := b.survey(ctx); err != nil || !begins {
		return b.r, err
	}
	err := u.walk(ctx, func(h *holder) (bool, error) {
		return b.one(ctx, h)
	})
	b.r.After = b.fills.spread()
	b.say()
	b.work.edit(func(t *Task) { t.Total = t.Done }) // what nothing is gained by stays
	if err == nil {
		err = u.save(ctx, taskRebalance, progress{})
	}
	return b.r, err
}

// A rebalancing is one pass.
type rebalancing struct {
	u     *Upkeep
	p     *planner
	work  *work
	fills *fills
	r     Rebalanced
	done  int64 // bytes, earlier lives of the pass included
	saved time.Time
	since time.Time
}

// walk calls f for every version and part until it returns false.
func (u *Upkeep) walk(ctx context.Context, f func(*holder) (bool, error)) error {
	var cursor []byte
	for {
		found, next, err := u.config.Catalog.Walk(ctx, cursor, reencodePage)
		if err != nil {
			return fmt.Errorf("walk the catalog: %w", err)
		}
		for _, x := range found {
			h := holderOf(x)
			if h == nil {
				continue
			}
			if more, err := f(h); err != nil || !more {
				return err
			}
		}
		if next == nil {
			return nil
		}
		cursor = next
		if err := u.config.Yield(ctx); err != nil {
			return err
		}
	}
}

// survey finds out how full the drives are, and whether to begin.
func (b *rebalancing) survey(ctx context.Context) (bool, error) {
	for _, d := range b.p.t.Active() {
		if s := b.u.readable(d.ID); s == nil {
			b.work.edit(func(t *Task) { t.Detail = "waits for drives that are away" })
			return false, nil
		}
	}
	b.fills = newFills(b.p.t)
	total := int64(0)
	err := b.u.walk(ctx, func(h *holder) (bool, error) {
		to, err := b.p.level(ctx, h)
		if err != nil {
			return false, err
		}
		extents := h.extents()
		for i := range extents {
			from, err := b.u.pool(ctx, extents[i].Pool)
			if err != nil {
				return false, err
			}
			if err := b.fills.add(b.p.rows, &extents[i], from); err != nil {
				return false, err
			}
			if to == nil || to[i] == nil {
				continue
			}
			ts, err := b.p.rows.transfers(&extents[i], from, to[i])
			if err != nil {
				return false, err
			}
			for _, x := range ts {
				total += x.length
			}
		}
		return true, nil
	})
	if err != nil {
		return false, err
	}
	b.r.Before = b.fills.spread()
	b.r.After = b.r.Before
	past, err := b.u.load(ctx, taskRebalance)
	if err != nil {
		return false, err
	}
	b.done, b.since = past.Done, past.Started
	begun := !past.Started.IsZero()
	if total == 0 || b.r.Before <= b.u.config.RebalanceAbove && (!begun || b.r.Before <= b.u.config.RebalanceUntil) {
		b.work.edit(func(t *Task) {
			t.Detail = fmt.Sprintf("drives are within %.1f %% of the mean fill", 100*b.r.Before)
		})
		if begun {
			return false, b.u.save(ctx, taskRebalance, progress{})
		}
		return false, nil
	}
	if !begun {
		b.since = b.u.config.Now()
		b.u.config.Logger.Info("rebalancing begins", "bytes", total, "spread", b.r.Before)
	}
	b.work.begin(b.done, b.done+total)
	b.work.edit(func(t *Task) { t.Found += total })
	return true, b.save(ctx)
}

func (b *rebalancing) save(ctx context.Context) error {
	b.saved = b.u.config.Now()
	return b.u.save(ctx, taskRebalance, progress{Started: b.since, Done: b.done})
}

func (b *rebalancing) say() {
	now := b.fills.spread()
	b.work.edit(func(t *Task) {
		t.Done = b.done
		t.Detail = fmt.Sprintf("%d shards moved (%d bytes), %d versions wait, %d failed; drives are within %.1f %% of the mean fill, %.1f %% at first",
			b.r.Shards, b.r.Bytes, b.r.Waiting, b.r.Failed, 100*now, 100*b.r.Before)
	})
}

// one moves a holder if that makes the drives more even, and reports whether the
// pass goes on.
func (b *rebalancing) one(ctx context.Context, h *holder) (bool, error) {
	u := b.u
	b.r.Versions++
	if u.config.Drives.Topology() != b.p.t {
		u.kick(taskRebalance) // under another topology all is worked out anew
		return false, nil
	}
	if err := u.trim(ctx); err != nil {
		return false, err
	}
	if b.fills.spread() <= u.config.RebalanceUntil {
		return false, nil
	}
	to, err := b.p.level(ctx, h)
	if err != nil || to == nil {
		return err == nil, err
	}
	if u.running.Load() {
		if err := u.queue.idle(ctx); err != nil { // repairs go first
			return false, err
		}
	}
	switch err := b.move(ctx, h, to); {
	case ctx.Err() != nil:
		return false, ctx.Err()
	case errors.Is(err, hallig.ErrConflict), errors.Is(err, hallig.ErrNotFound): // it changed, or went
	case errors.Is(err, errUnready):
		b.r.Waiting++
		u.config.Logger.Debug("shards are not moved now", "version", h.String(), "err", err)
	case err != nil:
		b.r.Failed++
		b.work.edit(func(t *Task) { t.Failed++ })
		u.config.Logger.Warn("shards could not be moved; they stay where they are", "version", h.String(), "err", err)
	}
	b.say()
	if u.config.Now().Sub(b.saved) >= saveEvery {
		return true, b.save(ctx)
	}
	return true, nil
}

// move copies a holder's shards to where they belong in its new pools, has the
// catalog say so, and leaves the old copies to trim.
func (b *rebalancing) move(ctx context.Context, h *holder, to []*placement.Pool) error {
	u := b.u
	if err := u.holdPlaces(ctx); err != nil { // nothing is trimmed meanwhile
		return err
	}
	defer u.releasePlaces()
	now, err := h.again(ctx, u.config.Catalog)
	if err != nil {
		return err
	}
	extents := append([]catalog.Extent(nil), now.extents()...)
	var all []transfer
	var gone []relocation
	for i := range extents {
		if to[i] == nil {
			continue
		}
		from, err := u.pool(ctx, extents[i].Pool)
		if err != nil {
			return err
		}
		ts, err := b.p.rows.transfers(&extents[i], from, to[i])
		if err != nil {
			return err
		}
		all = append(all, ts...)
		gone = append(gone, relocation{extent: extents[i], from: from, to: to[i], transfers: ts})
		extents[i].Pool = to[i].ID
	}
	if len(all) == 0 || b.fills.gain(all) <= 0 {
		return nil
	}
	for i := range gone {
		if err := b.copy(ctx, &gone[i]); err != nil {
			return err
		}
	}
	if u.config.eager { // negative control
		u.discardOld(ctx, gone)
	}
	if u.config.Drives.Topology() != b.p.t {
		return fmt.Errorf("the topology changed: %w", errUnready)
	}
	if err := u.move(ctx, now, extents); err != nil {
		if errors.Is(err, hallig.ErrUnavailable) {
			u.doubt() // it may count yet, or not
		}
		return err
	}
	u.relocated(gone)
	b.fills.move(all)
	b.r.Moved++
	b.work.edit(func(t *Task) { t.Fixed += int64(len(all)) })
	return nil
}

// copy puts an extent's shards on the drives where they belong in the new pool,
// and makes sure that every shard of it is there.
func (b *rebalancing) copy(ctx context.Context, x *relocation) error {
	leaving := map[stripeID]map[int]transfer{}
	for _, t := range x.transfers {
		if leaving[t.stripe] == nil {
			leaving[t.stripe] = map[int]transfer{}
		}
		leaving[t.stripe][t.index] = t
	}
	last := stripeID{}
	var vouch []byte
	var failed error
	err := b.p.rows.places(&x.extent, x.to, func(n uint32, i int, _ int64, drive hallig.DriveID) {
		if failed != nil {
			return
		}
		id := stripeID{x.extent.Data, n, x.extent.Generation}
		if id != last {
			last, vouch = id, nil
		}
		t, moves := leaving[id][i]
		var h shard.Header
		if h, failed = b.settle(ctx, x, id, i, drive, moves, t.length); failed != nil {
			return
		}
		if vouch == nil {
			vouch = h.Vouch
		}
		if !bytes.Equal(vouch, h.Vouch) {
			failed = fmt.Errorf("shards of stripe %d of data %s carry different vouches: %w", n, id.Data, hallig.ErrCorrupt)
		}
	})
	if err == nil {
		err = failed
	}
	return err
}

// settle makes sure that shard i of a stripe is on the drive where it belongs,
// and returns its header. Only one that moves is copied: what else is missing is
// repair's.
func (b *rebalancing) settle(ctx context.Context, x *relocation, id stripeID, i int, on hallig.DriveID, moves bool, length int64) (shard.Header, error) {
	u := b.u
	drive := u.readable(on)
	if drive == nil {
		return shard.Header{}, fmt.Errorf("drive %s is away: %w", on, errUnready)
	}
	m := u.mendingOf(b.p.t, id, x.from, b.p.rows)
	h, err := drive.Stat(ctx, m.shard(i))
	if err == nil || ctx.Err() != nil {
		return h, ctx.Err()
	}
	if !moves {
		if errors.Is(err, hallig.ErrNotFound) || errors.Is(err, hallig.ErrCorrupt) {
			u.queue.add(id, x.from.ID, i, false)
		}
		return h, fmt.Errorf("shard %s is not on drive %s, where it belongs: %w: %s", m.shard(i), on, errUnready, err.Error())
	}
	if drive.Status().State != shard.StateOnline {
		return h, fmt.Errorf("drive %s takes no writes (%s): %w", on, drive.Status().State, errUnready)
	}
	p, err := m.find(ctx, i)
	if err != nil {
		u.queue.add(id, x.from.ID, i, false)
		return h, fmt.Errorf("%w: %s", errUnready, err.Error())
	}
	if err := u.take(ctx, u.levels, length); err != nil {
		return h, err
	}
	if err := u.take(ctx, u.bytes, length); err != nil {
		return h, err
	}
	p.header.Pool = x.to.ID
	err = drive.Put(ctx, p.header, p.body)
	switch {
	case errors.Is(err, hallig.ErrStale), errors.Is(err, hallig.ErrExists):
		// This id was deleted there once, or is taken: a new generation is not.
		u.force(id.Data)
		return h, fmt.Errorf("put shard %s on drive %s: %w: %s", m.shard(i), on, errUnready, err.Error())
	case errors.Is(err, hallig.ErrFull), errors.Is(err, hallig.ErrReadOnly), errors.Is(err, hallig.ErrUnavailable):
		return h, fmt.Errorf("put shard %s on drive %s: %w: %s", m.shard(i), on, errUnready, err.Error())
	case err != nil:
		return h, fmt.Errorf("put shard %s on drive %s: %w", m.shard(i), on, err)
	}
	b.r.Shards++
	b.r.Bytes += length
	b.done += length
	return p.header, nil
}

// find reads shard i from the first drive that has it right.
func (m *mending) find(ctx context.Context, i int) (piece, error) {
	err := fmt.Errorf("shard %s: %w", m.shard(i), hallig.ErrNotFound)
	for _, id := range m.holders(i) {
		drive := m.u.readable(id)
		if drive == nil {
			continue
		}
		p, rerr := m.read(ctx, i, drive)
		if rerr == nil || ctx.Err() != nil {
			return p, rerr
		}
		if !errors.Is(rerr, hallig.ErrNotFound) {
			err = rerr
		}
	}
	return piece{}, err
}

// mendingOf looks at a stripe as it is placed in a pool.
func (u *Upkeep) mendingOf(t *placement.Topology, id stripeID, pool *placement.Pool, r *rows) *mending {
	group := pool.Group(id.Data, id.Number)
	m := &mending{u: u, it: &item{stripeID: id, pool: pool.ID}, pool: pool, t: t, group: group,
		pieces: map[int]piece{}, others: map[string]map[int]piece{}, bad: map[int]bool{}}
	if r != nil {
		m.row = r.row(pool, group)
	} else {
		m.row = pool.Drives(t, group)
	}
	return m
}

// poolFor is the pool that new data goes to, or nil if the promise cannot be
// kept now.
func (u *Upkeep) poolFor(ctx context.Context, t *placement.Topology, survive hallig.Survive, class placement.Class) (*placement.Pool, error) {
	to, err := objects.EnsurePool(ctx, u.config.Catalog, t, survive, class)
	var refusal *placement.Refusal
	if errors.As(err, &refusal) {
		return nil, nil
	}
	return to, err
}
