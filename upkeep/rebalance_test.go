package upkeep

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/objects"
	"github.com/hallig-cloud/hallig/placement"
	"github.com/hallig-cloud/hallig/shard"
)

// A guarded drive tells of every deletion before it happens.
type guarded struct {
	*disk
	before func(hallig.DriveID, []shard.ID)
	id     hallig.DriveID
}

func (g *guarded) Delete(ctx context.Context, ids ...shard.ID) error {
	g.before(g.id, ids)
	return g.disk.Delete(ctx, ids...)
}

type guardedDrives struct {
	objects.Drives
	w      *world
	before func(hallig.DriveID, []shard.ID)
}

func (g guardedDrives) Drive(id hallig.DriveID) shard.Store {
	if s := g.Drives.Drive(id); s == nil {
		return nil
	}
	return &guarded{g.w.disks[id], g.before, id}
}

// guard counts deletions of shards of which no other copy is there, or whose
// place in the catalog's pool has none: what a rebalancing must never do.
func (w *world) guard(c *Config) *atomic.Int64 {
	bad := &atomic.Int64{}
	c.Drives = guardedDrives{c.Drives, w, func(from hallig.DriveID, ids []shard.ID) {
		live := w.live()
		for _, id := range ids {
			if !w.placed(from, id, live) {
				bad.Add(1)
			}
		}
	}}
	return bad
}

// placed reports whether the shard is where the catalog's extents put it, other
// than on the drive given; also when nothing refers to it.
func (w *world) placed(except hallig.DriveID, id shard.ID, live map[hallig.DataID][]catalog.Extent) bool {
	referred := false
	for _, e := range live[id.Data] {
		if e.Generation != id.Generation || id.Stripe < e.First || id.Stripe-e.First >= e.Count {
			continue
		}
		referred = true
		pool, err := w.u.pool(w.t.Context(), e.Pool)
		if err != nil {
			w.t.Error(err)
			return false
		}
		on := pool.Drives(w.Drives.Topology(), pool.Group(e.Data, id.Stripe))[id.Index]
		if _, err := w.disks[on].Stat(w.t.Context(), id); on != except && err == nil {
			return true
		}
	}
	return !referred
}

// live returns the extents that the catalog refers to.
func (w *world) live() map[hallig.DataID][]catalog.Extent {
	out := map[hallig.DataID][]catalog.Extent{}
	for cursor := []byte(nil); ; {
		found, next, err := w.Catalog.Walk(w.t.Context(), cursor, 1000)
		if err != nil {
			w.t.Error(err)
			return nil
		}
		for _, f := range found {
			for _, e := range extentsOf(f) {
				out[e.Data] = append(out[e.Data], e)
			}
		}
		if next == nil {
			return out
		}
		cursor = next
	}
}

// held is the bytes on each drive.
func (w *world) held() map[hallig.DriveID]int64 {
	out := map[hallig.DriveID]int64{}
	for _, id := range w.Drives.IDs() {
		w.disks[id].Walk(w.t.Context(), shard.ID{}, func(i shard.Info) error { //nolint:errcheck // in memory
			out[id] += int64(i.Length)
			return nil
		})
	}
	return out
}

// stock stores what a rebalancing finds something to do with, under a customer's
// key too, and leaves an upload open.
func (w *world) stock(small, large int) (*uploading, map[string][]byte) {
	under := map[string][]byte{}
	for i := range small {
		w.put(fmt.Sprint("small", i), 500+w.rng.IntN(400))
	}
	for i := range large {
		w.put(fmt.Sprint("large", i), 1<<20+w.rng.IntN(1<<18))
	}
	for i := range 10 {
		under[fmt.Sprint("under", i)] = w.putUnder(fmt.Sprint("under", i), 900, i%2 == 0)
	}
	return w.upload("open", customer, 900), under
}

func (w *world) rebalance() Rebalanced {
	w.t.Helper()
	r, err := w.u.Rebalance(w.t.Context())
	if err != nil || r.Failed+r.Waiting > 0 {
		w.t.Fatalf("%+v %v", r, err)
	}
	return r
}

func (w *world) trim() {
	w.t.Helper()
	w.pass(DefaultGrace + time.Minute)
	if err := w.u.trim(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// TestRebalance: what was stored before drives were added moves to them until
// they are as full as the others; every shard is where it belongs, once; no
// shard is deleted that is not in its new place; and then it ends. Two drives
// may go, before and after.
func TestRebalance(t *testing.T) {
	for _, c := range []struct{ drives, added, small, large int }{{5, 1, 400, 0}, {12, 2, 300, 30}} {
		t.Run(fmt.Sprintf("%d+%d", c.drives, c.added), func(t *testing.T) {
			w := newWorld(t, c.drives, nil, nil)
			up, under := w.stock(c.small, c.large)
			for range c.added {
				w.add()
			}
			w.reencode()
			w.pass(time.Hour)
			if _, err := w.u.Sweep(t.Context()); err != nil {
				t.Fatal(err)
			}
			var bad *atomic.Int64
			w.edit = func(c *Config) { bad = w.guard(c) }
			w.restart(w.session)
			before := len(w.inventory())
			r := w.rebalance()
			t.Logf("%+v", r)
			if r.Moved == 0 || r.Before < 0.5 || r.After > 0.5 {
				t.Fatalf("%+v", r)
			}
			if n := len(w.inventory()); n != before+int(r.Shards) {
				t.Errorf("%d shards, want the %d old and %d new ones for the time of the grace", n, before, r.Shards)
			}
			w.whole()
			w.mustCheck()
			w.trim()
			w.whole()
			if n := len(w.inventory()); n != before || bad.Load() > 0 {
				t.Errorf("%d shards, want %d; %d were deleted too early", n, before, bad.Load())
			}
			sum := int64(0)
			held := w.held()
			for _, n := range held {
				sum += n
			}
			for id, n := range held {
				if share := float64(n) * float64(len(held)) / float64(sum); share < 0.5 || share > 1.5 {
					t.Errorf("drive %s holds %.2f of the mean", id, share)
				}
			}
			if r := w.rebalance(); r.Moved > 0 {
				t.Errorf("it does not end: %+v", r)
			}
			ids := w.Drives.IDs()
			w.Drives.SetAway(ids[0], true)
			w.Drives.SetAway(ids[len(ids)-1], true)
			w.mustCheck()
			up.check()
			for key, want := range under {
				if got, err := w.getUnder(key); err != nil || !bytes.Equal(got, want) {
					t.Fatalf("%s: %d bytes, %v", key, len(got), err)
				}
			}
		})
	}
}

// TestRebalanceHysteresis: nothing begins for a small difference, and what has
// begun goes on until it is well within it, also after a restart.
func TestRebalanceHysteresis(t *testing.T) {
	w := newWorld(t, 5, func(c *Config) { c.RebalanceAbove, c.RebalanceUntil = 2, 1 }, nil)
	w.stock(300, 0)
	w.add()
	if r := w.rebalance(); r.Moved > 0 || r.Before < 0.5 {
		t.Fatalf("it began at %+v", r)
	}
	stop, cancel := context.WithCancel(t.Context())
	stopped := &stopping{Catalog: w.Catalog, after: 20, stop: cancel}
	w.edit = func(c *Config) { c.RebalanceAbove, c.RebalanceUntil, c.Catalog = 0.5, 0.05, stopped }
	w.restart(w.session)
	if _, err := w.u.Rebalance(stop); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	w.edit = func(c *Config) { c.RebalanceAbove, c.RebalanceUntil = 2, 0.05 }
	w.restart(hallig.NewID())
	if r := w.rebalance(); r.Moved == 0 || r.After > 0.4 {
		t.Fatalf("what had begun does not go on: %+v", r)
	}
	if r := w.rebalance(); r.Moved > 0 {
		t.Fatalf("%+v", r)
	}
}

// A stopping catalog ends a context after some moves.
type stopping struct {
	catalog.Catalog
	after int
	stop  func()
}

func (c *stopping) Commit(ctx context.Context, r catalog.Request) ([]catalog.Result, error) {
	if c.after--; c.after == 0 {
		c.stop()
	}
	return c.Catalog.Commit(ctx, r)
}

// TestRebalanceCutShort: however often it is interrupted, before and after a
// commit and with its answer lost, nothing is missing at any moment, and the
// lives after it finish the work and delete what was left. Negative control:
// with old copies deleted before the catalog knows of the new ones, the guard
// sees it.
func TestRebalanceCutShort(t *testing.T) {
	for _, eager := range []bool{false, true} {
		t.Run(fmt.Sprint("eager ", eager), func(t *testing.T) {
			w := newWorld(t, 5, nil, nil)
			w.stock(300, 0)
			w.add()
			before := len(w.inventory())
			early := int64(0)
			lives := 12
			for life := range lives {
				var bad *atomic.Int64
				ctx, cancel := context.WithCancel(t.Context())
				n := 3 + w.rng.IntN(8)
				kind := life % 3
				lossy := &lossyCatalog{Catalog: w.Catalog, fail: func(catalog.Request) (bool, bool) {
					if n--; n > 0 {
						return false, false
					}
					cancel()
					return kind == 0, kind == 1
				}}
				w.edit = func(c *Config) {
					bad = w.guard(c)
					c.Catalog, c.eager = lossy, eager
				}
				w.restart(hallig.NewID())
				if _, err := w.u.Rebalance(ctx); err == nil && life < 3 {
					t.Fatal("it was not interrupted")
				}
				cancel()
				early += bad.Load()
				if eager {
					break
				}
				w.u.config.Catalog = w.Catalog
				if c := w.compare(); c.Missing+c.Unplaced > 0 {
					t.Fatalf("life %d: %v", life, c)
				}
			}
			if (early > 0) != eager {
				t.Fatalf("%d shards were deleted too early", early)
			}
			if eager {
				return
			}
			var bad *atomic.Int64
			w.edit = func(c *Config) { bad = w.guard(c) }
			w.restart(hallig.NewID())
			w.rebalance()
			w.trim()
			w.restart(hallig.NewID())
			w.whole()
			if n := len(w.inventory()); n != before || bad.Load() > 0 {
				t.Errorf("%d shards, want %d; %d deleted too early", n, before, bad.Load())
			}
			w.mustCheck()
		})
	}
}

// TestRebalanceRaces: what clients do to a version while its shards are moved
// wins, and leaves nothing behind.
func TestRebalanceRaces(t *testing.T) {
	for _, what := range []string{"overwrite", "delete", "tag", "read"} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t, 5, nil, nil)
			w.stock(200, 0)
			w.add()
			touched := 0
			race := &moveRacing{Catalog: w.Catalog}
			race.before = func(v catalog.Version) {
				if _, mine := w.bodies[v.Key]; !mine || touched == 10 {
					return
				}
				touched++
				switch what {
				case "overwrite":
					w.put(v.Key, 700)
				case "delete":
					if _, err := w.Store.Delete(t.Context(), "b", objects.DeleteRequest{Key: v.Key}); err != nil {
						t.Error(err)
					}
					delete(w.bodies, v.Key)
				case "tag":
					v, err := w.Store.Head(t.Context(), "b", v.Key, "")
					if err != nil {
						t.Fatal(err)
					}
					v.Tags = []catalog.Tag{{Key: "a", Value: "b"}}
					b, err := w.Store.Bucket(t.Context(), "b")
					if err != nil {
						t.Fatal(err)
					}
					res, err := w.Catalog.Commit(t.Context(), catalog.Request{ID: hallig.NewID(), Session: w.session, Bucket: b.ID, Epoch: b.Epoch, Ops: []catalog.Op{catalog.Update{Version: v}}})
					if err != nil || res[0].Err != nil {
						t.Fatal(res, err)
					}
				case "read":
					w.mustCheck()
				}
			}
			var bad *atomic.Int64
			w.edit = func(c *Config) {
				c.Catalog = race
				bad = w.guard(c)
			}
			w.restart(w.session)
			if r, err := w.u.Rebalance(t.Context()); err != nil || r.Moved == 0 || r.Failed > 0 || touched == 0 {
				t.Fatalf("%+v %v, %d touched", r, err, touched)
			}
			w.trim()
			w.rebalance()
			w.trim()
			w.rest()
			if bad.Load() > 0 {
				t.Errorf("%d shards were deleted too early", bad.Load())
			}
			if c := w.compare(); c.Surplus+c.Alive > 0 {
				t.Errorf("%v", c)
			}
			w.Drives.SetAway(w.Drives.IDs()[1], true)
			w.Drives.SetAway(w.Drives.IDs()[5], true)
			w.mustCheck()
		})
	}
}

// moveRacing runs a function before each commit that moves a version.
type moveRacing struct {
	catalog.Catalog
	before func(catalog.Version)
}

func (c *moveRacing) Commit(ctx context.Context, r catalog.Request) ([]catalog.Result, error) {
	if u, ok := r.Ops[0].(catalog.Update); ok {
		c.before(u.Version)
	}
	return c.Catalog.Commit(ctx, r)
}

// TestRebalanceThenShrink: the drive that was rebalanced onto leaves again. Its
// shards may go to drives that have deleted them once: everything still ends
// where it belongs, and what a reader reports who still knew the old places
// does no harm.
func TestRebalanceThenShrink(t *testing.T) {
	w := newWorld(t, 5, nil, nil)
	w.stock(300, 1)
	old := w.inventory()
	w.add()
	w.rest()
	w.rebalance()
	w.trim()
	w.whole()
	for _, h := range old {
		w.u.Damage(objects.Damage{Shard: h.id, Pool: 1, Drive: h.drive, Err: hallig.ErrNotFound})
	}
	w.repair()
	w.whole()
	w.u.mu.Lock()
	forced := len(w.u.forced)
	w.u.mu.Unlock()
	if forced > 0 {
		t.Errorf("%d data ids would be re-encoded for reports that are old", forced)
	}
	w.lose(w.Drives.IDs()[5], placement.DriveDraining)
	w.compare()
	w.repair()
	w.reencode()
	w.rest()
	w.Drives.SetAway(w.Drives.IDs()[5], true)
	w.lose(w.Drives.IDs()[5], placement.DriveLost)
	w.rest()
	w.Drives.SetAway(w.Drives.IDs()[0], true)
	w.mustCheck()
}

// TestRebalanceRuns: by itself, throttled, and with its progress to be seen.
func TestRebalanceRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 5, func(c *Config) {
			c.Now = time.Now
			c.RebalanceRate = 1 // a burst, then a byte a second
		}, nil)
		w.stock(300, 0)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- w.u.Run(ctx) }()
		defer func() { cancel(); <-ended }()
		time.Sleep(time.Hour)
		w.u.levels.AllowN(time.Now(), burst) // the burst is used up
		w.add()
		time.Sleep(2 * time.Hour)
		s := w.task(taskRebalance, hallig.DriveID{})
		if s.State != TaskRunning || s.Done == 0 || s.Done > 3*3600 || s.Total <= s.Done || s.ETA == 0 || s.Unit != "bytes" {
			t.Errorf("%+v", s)
		}
		time.Sleep(72 * time.Hour)
		synctest.Wait()
		s = w.task(taskRebalance, hallig.DriveID{})
		if s.State == TaskRunning || s.Last.IsZero() || s.Err != nil || s.Fixed == 0 {
			t.Errorf("%+v", s)
		}
		held := w.held()
		if n := held[w.Drives.IDs()[5]]; n == 0 {
			t.Error("the new drive holds nothing")
		}
		if c := w.compare(); c.Surplus+c.Missing > 0 {
			t.Errorf("%v", c)
		}
		w.mustCheck()
	})
}
