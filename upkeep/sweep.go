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
}

// look sorts a shard that is not expected here. What belongs to live data stays
// where it is: its id could never be stored on the drive again once it was
// deleted there, and the drive may be asked to hold it yet.
func (o *orphans) look(i shard.Info, spans []span) error {
	at, _ := slices.BinarySearchFunc(spans, i.ID.Data, func(s span, d hallig.DataID) int { return slices.Compare(s.data[:], d[:]) })
	switch {
	case at < len(spans) && spans[at].data == i.ID.Data:
		o.c.Surplus++
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
	return nil
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
		for _, g := range page {
			after = g.Revision
			if u.config.Now().Sub(time.UnixMilli(g.When)) < u.config.Grace {
				s.Waiting++
				continue
			}
			n, complete, err := u.collectGarbage(ctx, g)
			s.Shards += n
			w.edit(func(t *Task) { t.Done += n; t.Found += n; t.Fixed += n })
			if err != nil {
				return s, err
			}
			if complete {
				done = append(done, g.Revision)
			} else {
				s.Waiting++
			}
		}
		if len(done) > 0 {
			if err := u.config.Catalog.Collected(ctx, done...); err != nil {
				return s, fmt.Errorf("forget collected garbage: %w", err)
			}
			s.Garbage += int64(len(done))
		}
	}
}

// collectGarbage deletes one entry's shards; complete is false if a drive that
// may hold some could not be asked.
func (u *Upkeep) collectGarbage(ctx context.Context, g catalog.Garbage) (n int64, complete bool, err error) {
	complete = true
	for _, e := range g.Extents {
		pool, err := u.pool(ctx, e.Pool)
		if errors.Is(err, hallig.ErrNotFound) {
			u.config.Logger.Error("garbage names a pool that does not exist", "pool", e.Pool, "data", e.Data)
			continue
		}
		if err != nil {
			return n, false, err
		}
		for lo := uint32(0); lo < e.Count; lo += garbageStripes {
			more, ok, err := u.deleteStripes(ctx, pool, e.Data, e.Generation, e.First+lo, min(garbageStripes, e.Count-lo))
			n += more
			complete = complete && ok
			if err != nil {
				return n, false, err
			}
		}
	}
	return n, complete, nil
}

// garbageStripes is how many stripes are deleted in one go.
const garbageStripes = 64

// deleteStripes deletes all shards of some stripes. On the drives where they
// belong the deletion is recorded even if they are not there, so that a write
// that is still under way comes too late.
func (u *Upkeep) deleteStripes(ctx context.Context, pool *placement.Pool, data hallig.DataID, generation uint16, first, count uint32) (n int64, complete bool, err error) {
	if err := u.config.Yield(ctx); err != nil {
		return 0, false, err
	}
	t := u.config.Drives.Topology()
	belongs := map[hallig.DriveID][]shard.ID{}
	var all []shard.ID
	for s := first; s < first+count; s++ {
		group := pool.Group(data, s)
		for i := range pool.Scheme.Width() {
			id := shard.ID{Data: data, Stripe: s, Generation: generation, Index: uint16(i)}
			all = append(all, id)
			places := append(pool.Holders(t, group, i), pool.Groups[group][i])
			slices.SortFunc(places, func(a, b hallig.DriveID) int { return slices.Compare(a[:], b[:]) })
			for _, d := range slices.Compact(places) {
				belongs[d] = append(belongs[d], id)
			}
		}
	}
	complete = true
	for _, d := range t.Drives {
		store := u.readable(d.ID)
		if store == nil {
			complete = complete && d.State == placement.DriveLost
			continue
		}
		doomed := belongs[d.ID]
		for _, id := range all {
			if slices.Contains(doomed, id) {
				continue
			}
			if _, err := store.Stat(ctx, id); !errors.Is(err, hallig.ErrNotFound) {
				doomed = append(doomed, id)
			}
		}
		if len(doomed) == 0 {
			continue
		}
		err := store.Delete(ctx, doomed...)
		switch {
		case err == nil:
			n += int64(len(doomed))
		case ctx.Err() != nil:
			return n, false, ctx.Err()
		default:
			complete = false
			u.config.Logger.Warn("garbage could not be deleted; it will be tried again", "drive", d.ID, "err", err)
		}
	}
	return n, complete, nil
}
