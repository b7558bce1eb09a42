package upkeep

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/placement"
	"github.com/hallig-cloud/hallig/shard"
)

// add gives the world one drive more.
func (w *world) add() {
	id := w.Drives.Add()
	w.disks[id] = &disk{Store: w.Drives.Mem(id), hidden: map[shard.ID]bool{}, lies: map[shard.ID]bool{}}
}

// reencode makes a pass, none of which may fail.
func (w *world) reencode() Reencoded {
	w.t.Helper()
	r, err := w.u.Reencode(w.t.Context())
	if err != nil || r.Failed > 0 || r.Held > 0 {
		w.t.Fatalf("%+v %v", r, err)
	}
	return r
}

// rest lets background work end, and demands that everything is in its place.
func (w *world) rest() {
	w.t.Helper()
	w.compare()
	w.repair()
	if r := w.reencode(); r.Waiting > 0 {
		w.t.Fatalf("%+v", r)
	}
	w.pass(time.Hour)
	if _, err := w.u.Sweep(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	w.whole()
	w.mustCheck()
	if w.u.Settled() != w.Drives.Topology().Revision {
		w.t.Fatal("not settled")
	}
}

// TestWritesWhileAway: what is written while a drive is away lies in a narrower
// pool, from which it should move. As long as the drive is away nothing is
// tried, so nothing fails; once it is declared lost, or is back, everything
// ends where it belongs, and as many drives as promised may go.
//
// Negative control: without the look at the drives every version is tried, and
// uses up a generation.
func TestWritesWhileAway(t *testing.T) {
	for _, drives := range []int{3, 4, 5} {
		for _, back := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d drives, back %v", drives, back), func(t *testing.T) {
				w := newWorld(t, drives, nil, nil)
				w.fill()
				ids := w.Drives.IDs()
				w.Drives.SetAway(ids[1], true)
				for i := range 4 {
					w.put(fmt.Sprint("away", i), 70_000)
				}
				if r := w.reencode(); drives > 3 && r.Waiting != 4 {
					t.Fatalf("%+v", r)
				}
				if len(w.u.tried) > 0 {
					t.Fatalf("%d generations were used up", len(w.u.tried))
				}
				if drives > 3 {
					w.u.config.hasty = true
					w.reencode()
					if len(w.u.tried) == 0 {
						t.Errorf("the control: %d generations were used up", len(w.u.tried))
					}
					w.u.config.hasty = false
				}
				if back {
					w.Drives.SetAway(ids[1], false)
				} else {
					w.lose(ids[1], placement.DriveLost)
					drives--
				}
				w.rest()
				gone := 1
				if drives > 3 {
					gone = 2
				}
				for _, id := range ids[2:][:min(gone, len(ids)-2)] {
					w.Drives.SetAway(id, true)
				}
				w.mustCheck()
			})
		}
	}
}

// A watchedCatalog calls a function before each Head.
type watchedCatalog struct {
	catalog.Catalog
	head func()
}

func (c *watchedCatalog) Head(ctx context.Context, b hallig.BucketID, key string, id catalog.VersionID) (catalog.Version, error) {
	c.head()
	return c.Catalog.Head(ctx, b, key, id)
}

// TestLostWithinAPass: a drive is declared lost while a pass moves versions
// into a pool that needs it. The one under way waits; the others are judged by
// what is left, and none fails.
func TestLostWithinAPass(t *testing.T) {
	w := newWorld(t, 3, nil, nil)
	w.fill()
	w.add()
	lost := false
	w.edit = func(c *Config) {
		c.Catalog = &watchedCatalog{c.Catalog, func() {
			if !lost {
				lost = true
				w.lose(w.Drives.IDs()[0], placement.DriveLost)
			}
		}}
	}
	w.restart(w.session)
	if r := w.reencode(); r.Waiting > 1 || !lost {
		t.Fatalf("%+v, lost %v", r, lost)
	}
	w.rest()
	w.Drives.SetAway(w.Drives.IDs()[1], true)
	w.mustCheck()
}

// TestShrinkAndGrow: a drive less, and a new one in its place: every version is
// in the pool of the drives that are there, and the wider promise is back.
func TestShrinkAndGrow(t *testing.T) {
	for _, drives := range []int{3, 4, 5} {
		for _, state := range []placement.DriveState{placement.DriveLost, placement.DriveDraining} {
			t.Run(fmt.Sprintf("%d %s", drives, state), func(t *testing.T) {
				w := newWorld(t, drives, nil, nil)
				w.fill()
				ids := w.Drives.IDs()
				w.lose(ids[1], state)
				w.rest()
				w.Drives.SetAway(ids[1], true) // a drained one is taken out now
				w.Drives.Change(func(d []placement.Drive) []placement.Drive {
					var left []placement.Drive
					for _, x := range d {
						if x.ID != ids[1] {
							left = append(left, x)
						}
					}
					return left
				})
				w.mustCheck()
				w.add()
				w.rest()
				for _, id := range ids[2:][:map[int]int{3: 1, 4: 2, 5: 2}[drives]] {
					w.Drives.SetAway(id, true)
				}
				w.mustCheck()
			})
		}
	}
}

// TestKept: what is known of the promise follows the data, not the drives: a
// new drive changes it only with the pass that moves what there was, a drive
// that is away takes it back, and another life of the process knows it.
func TestKept(t *testing.T) {
	w := newWorld(t, 3, nil, nil)
	now := func(d, least int) Kept { return Kept{w.Drives.Topology().Revision, d, least} }
	is := func(when string, want Kept) {
		t.Helper()
		if k := w.u.Kept(); k != want {
			t.Fatalf("%s: %+v, want %+v", when, k, want)
		}
	}
	recall := func() {
		t.Helper()
		if err := w.u.RecallKept(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	is("nothing is known", Kept{})
	recall()
	is("an empty store", now(3, 3))
	w.fill()
	w.restart(w.session)
	recall()
	is("nothing was recorded", Kept{})
	w.reencode()
	is("all is in place", now(3, 3))
	before := w.u.Kept()
	w.add()
	recall()
	is("old data has not moved", before)
	w.Drives.SetAway(w.Drives.IDs()[3], true)
	if r := w.reencode(); r.Short == 0 {
		t.Fatalf("nothing is short of its promise: %+v", r)
	}
	is("a drive is away", Kept{0, 3, 3})
	w.Drives.SetAway(w.Drives.IDs()[3], false)
	w.reencode()
	is("all has moved", now(4, 4))
	w.restart(w.session)
	recall()
	is("another life", now(4, 4))
}
