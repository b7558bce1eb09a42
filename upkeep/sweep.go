package upkeep

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/placement"
	"github.com/hallig-cloud/hallig/shard"
)

// orphanBatch is how many orphans are asked about at once.
const orphanBatch = 1000

// orphans gathers the shards of one drive that the catalog does not account
// for.
type orphans struct {
	u     *Upkeep
	drive hallig.DriveID
	store shard.Store
	c     *Comparison
	found []shard.Info
	rows  *rows
	moved int64 // Upkeep.moved when the catalog was read
	left  []leftover
}

// look sorts a shard that is not expected here. What belongs to live data stays
// where it is: its id could never be stored on the drive again once it was
// deleted there, and the drive may be asked to hold it yet. Only what a
// rebalancing moved away is not to stay.
func (o *orphans) look(i shard.Info, spans []span) error {
	at, _ := slices.BinarySearchFunc(spans, i.ID.Data, func(s span, d hallig.DataID) int { return slices.Compare(s.data[:], d[:]) })
	switch {
	case at < len(spans) && spans[at].data == i.ID.Data:
		o.c.Surplus++
		return o.leftover(i, spans, at)
	case o.u.config.Living(i.Session):
		o.c.Alive++
	default:
		o.found = append(o.found, i)
		if len(o.found) >= orphanBatch {
			return errPause // nothing is deleted in the midst of a walk
		}
	}
	return nil
}

// flush fences the writers, then asks the catalog, then deletes.
func (o *orphans) flush(ctx context.Context) error {
	w := o.u.work(taskSweep, "shards", hallig.DriveID{})
	found := o.found
	o.found = nil
	for batch := range slices.Chunk(found, orphanBatch) {
		var data []hallig.DataID
		for _, i := range batch {
			if err := o.u.fence(ctx, i.Session); err != nil {
				return err
			}
			data = append(data, i.ID.Data)
		}
		data = slices.Compact(data)
		refs, err := o.u.config.Catalog.Referenced(ctx, data)
		if err != nil {
			return fmt.Errorf("ask for references: %w", err)
		}
		var doomed []shard.ID
		for _, i := range batch {
			if !refs[slices.Index(data, i.ID.Data)] {
				doomed = append(doomed, i.ID)
			}
		}
		if len(doomed) == 0 {
			continue
		}
		if err := o.u.config.Yield(ctx); err != nil {
			return err
		}
		if err := o.store.Delete(ctx, doomed...); err != nil {
			return fmt.Errorf("delete %d orphans on drive %s: %w", len(doomed), o.drive, err)
		}
		o.c.Orphans += int64(len(doomed))
		w.edit(func(t *Task) { t.Found += int64(len(doomed)); t.Fixed += int64(len(doomed)) })
		o.u.config.Logger.Info("shards that nothing refers to were deleted", "drive", o.drive, "shards", len(doomed))
	}
	return o.trim(ctx)
}

// fence makes sure that a session that is not living can commit nothing more.
func (u *Upkeep) fence(ctx context.Context, s hallig.SessionID) error {
	if u.config.noFence {
		return nil
	}
	u.mu.Lock()
	done := u.fenced[s]
	u.mu.Unlock()
	if done {
		return nil
	}
	if u.config.Living(s) {
		return fmt.Errorf("fence session %s: it is alive: %w", s, hallig.ErrConflict)
	}
	if err := u.config.Catalog.Fence(ctx, s); err != nil {
		return fmt.Errorf("fence session %s: %w", s, err)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.fenced[s] = true
	return nil
}

// Swept is what Sweep did.
type Swept struct {
	Garbage int64 // entries of the catalog's garbage that are done with
	Shards  int64 // deleted
	Waiting int64 // entries that wait: for readers, or for drives that are away
}

// Sweep deletes replaced and removed data whose grace is over from every drive
// that may hold it, and has the catalog forget it. While a drive that is not
// declared lost is away, what it may hold waits for it.
func (u *Upkeep) Sweep(ctx context.Context) (Swept, error) {
	u.sweepMu.Lock()
	defer u.sweepMu.Unlock()
	w := u.work(taskSweep, "shards", hallig.DriveID{})
	w.begin(0, 0)
	var s Swept
	grace := u.grace()
	var after hallig.Revision
	for {
		page, err := u.config.Catalog.Garbage(ctx, after, 200)
		if err != nil {
			return s, fmt.Errorf("read the garbage: %w", err)
		}
		if len(page) == 0 {
			return s, nil
		}
		var done []hallig.Revision
		d := u.newDeletion()
		for _, g := range page {
			after = g.Revision
			if u.config.Now().Sub(time.UnixMilli(g.When)) < grace || u.beingRead(g.Extents) {
				s.Waiting++
				continue
			}
			if err := d.addAll(ctx, g.Extents); err != nil {
				return s, err
			}
			done = append(done, g.Revision)
		}
		err = d.flush(ctx)
		s.Shards += d.deleted
		w.edit(func(t *Task) { t.Done += d.deleted; t.Found += d.deleted; t.Fixed += d.deleted })
		if err != nil {
			return s, err
		}
		if !d.complete {
			s.Waiting += int64(len(done))
			continue
		}
		if len(done) > 0 {
			if err := u.config.Catalog.Collected(ctx, done...); err != nil {
				return s, fmt.Errorf("forget collected garbage: %w", err)
			}
			s.Garbage += int64(len(done))
		}
	}
}

// grace returns how old garbage must be to be deleted now.
func (u *Upkeep) grace() time.Duration {
	if u.config.Reading != nil && u.scarce() {
		return min(u.config.Grace, u.config.ScarceGrace)
	}
	return u.config.Grace
}

// scarce reports whether some drive has less than an eighth of itself and
// 256 MiB free: what was deleted is to come free soon.
func (u *Upkeep) scarce() bool {
	for _, x := range u.config.Drives.Topology().Drives {
		if store := u.readable(x.ID); store != nil {
			if st := store.Status(); st.State == shard.StateFull || st.Total > 0 && st.Free < st.Total/8+256<<20 {
				return true
			}
		}
	}
	return false
}

// beingRead reports whether somebody reads any of the extents.
func (u *Upkeep) beingRead(extents []catalog.Extent) bool {
	return u.config.Reading != nil && slices.ContainsFunc(extents, func(e catalog.Extent) bool { return u.config.Reading(e.Data) })
}

// maxDoomed is how many shards are deleted from a drive in one go: deletions
// are durable, so few and large ones are cheap.
const maxDoomed = 4096

// A deletion gathers the shards of stripes by drive and deletes them together.
type deletion struct {
	u        *Upkeep
	t        *placement.Topology
	doomed   map[hallig.DriveID][]shard.ID
	gathered int
	deleted  int64
	complete bool // no drive that may hold some could not be asked
}

func (u *Upkeep) newDeletion() *deletion {
	return &deletion{u: u, t: u.config.Drives.Topology(), doomed: map[hallig.DriveID][]shard.ID{}, complete: true}
}

// addAll adds the stripes of extents.
func (d *deletion) addAll(ctx context.Context, extents []catalog.Extent) error {
	for _, e := range extents {
		pool, err := d.u.pool(ctx, e.Pool)
		if errors.Is(err, hallig.ErrNotFound) {
			d.u.config.Logger.Error("garbage names a pool that does not exist", "pool", e.Pool, "data", e.Data)
			continue
		}
		if err != nil {
			return err
		}
		for n := range e.Count {
			if err := d.add(ctx, pool, stripeID{e.Data, e.First + n, e.Generation}); err != nil {
				return err
			}
		}
	}
	return nil
}

// add adds all shards of one stripe, wherever they may be. On the drives where
// they belong the deletion is recorded even if they are not there, so that a
// write that is still under way comes too late.
func (d *deletion) add(ctx context.Context, pool *placement.Pool, s stripeID) error {
	group := pool.Group(s.Data, s.Number)
	for i := range pool.Scheme.Width() {
		id := shard.ID{Data: s.Data, Stripe: s.Number, Generation: s.Generation, Index: uint16(i)}
		belongs := append(pool.Holders(d.t, group, i), pool.Groups[group][i])
		for _, x := range d.t.Drives {
			if !slices.Contains(belongs, x.ID) {
				store := d.u.readable(x.ID)
				if store == nil {
					d.complete = d.complete && x.State == placement.DriveLost
					continue
				}
				if _, err := store.Stat(ctx, id); errors.Is(err, hallig.ErrNotFound) {
					continue
				}
			}
			d.doomed[x.ID] = append(d.doomed[x.ID], id)
			d.gathered++
		}
	}
	if d.gathered >= maxDoomed {
		return d.flush(ctx)
	}
	return nil
}

// flush deletes what was gathered. A drive that refuses makes the deletion
// incomplete; only the end of ctx is an error.
func (d *deletion) flush(ctx context.Context) error {
	if d.gathered == 0 {
		return nil
	}
	if err := d.u.config.Yield(ctx); err != nil {
		return err
	}
	for _, x := range d.t.Drives {
		ids := d.doomed[x.ID]
		if len(ids) == 0 {
			continue
		}
		store := d.u.readable(x.ID)
		if store == nil {
			d.complete = d.complete && x.State == placement.DriveLost
			continue
		}
		err := store.Delete(ctx, ids...)
		switch {
		case err == nil:
			d.deleted += int64(len(ids))
		case ctx.Err() != nil:
			return ctx.Err()
		default:
			d.complete = false
			d.u.config.Logger.Warn("garbage could not be deleted; it will be tried again", "drive", x.ID, "err", err)
		}
	}
	clear(d.doomed)
	d.gathered = 0
	return nil
}
