package upkeep

import (
	"math/rand/v2"
	"path"
	"strings"
	"testing"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/objects"
	"github.com/hallig-cloud/hallig/objects/objectstest"
	"github.com/hallig-cloud/hallig/shard"
	sharddisk "github.com/hallig-cloud/hallig/shard/disk"
	"github.com/hallig-cloud/hallig/vfs/vfstest"
)

// onDisk makes the world's drives real ones over a file system in memory.
func onDisk(t *testing.T, drives int) (*world, []*vfstest.Disk) {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	w := &world{t: t, bodies: map[string][]byte{}, rng: rand.New(rand.NewPCG(seed, 1))}
	var systems []*vfstest.Disk
	w.Mesh = objectstest.NewMesh(t, objectstest.Options{
		Drives: drives,
		Open: func(id hallig.DriveID, _ int) shard.Store {
			fs := vfstest.NewDisk(vfstest.DiskConfig{})
			systems = append(systems, fs)
			if err := fs.Mkdir("d"); err != nil {
				t.Fatal(err)
			}
			if err := sharddisk.Create(fs, "d", sharddisk.Identity{Mesh: hallig.NewID(), Node: hallig.NewID(), Drive: id}); err != nil {
				t.Fatal(err)
			}
			d, err := sharddisk.Open(t.Context(), sharddisk.Config{Dir: "d", FS: fs, MinFree: -1})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := d.Close(); err != nil {
					t.Error(err)
				}
			})
			return d
		},
		Config: func(c *objects.Config) {
			c.SmallLimit = 1000
			w.session, w.mesh = c.Session, c.Mesh
		},
	})
	u, err := New(Config{Catalog: w.Catalog, Drives: w.Drives, Buckets: w.Store, Keys: w.Keys, Mesh: w.mesh, Session: w.session,
		RepairRate: 1 << 40, ScrubRate: 1 << 40})
	if err != nil {
		t.Fatal(err)
	}
	w.u = u
	if _, err := w.Store.CreateBucket(t.Context(), objects.Bucket{Name: "b", Owner: "o"}); err != nil {
		t.Fatal(err)
	}
	return w, systems
}

// TestFlippedBytesOnDisk: flip bytes anywhere in one drive's segments. The scrub
// and the comparison find it, repair heals it, and reads are right throughout.
func TestFlippedBytesOnDisk(t *testing.T) {
	w, systems := onDisk(t, 5)
	w.fill()
	victim := w.rng.IntN(len(systems))
	fs := systems[victim]
	flipped := 0
	for _, name := range files(t, fs, "d") {
		if !strings.Contains(name, "segment") && !strings.HasSuffix(name, ".seg") {
			continue
		}
		info, err := fs.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			if err := fs.Corrupt(name, w.rng.Int64N(info.Size()), 1<<w.rng.IntN(8)); err != nil {
				t.Fatal(err)
			}
			flipped++
		}
	}
	if flipped == 0 {
		t.Fatalf("no segment among %v", files(t, fs, "d"))
	}
	w.mustCheck()
	// What a read met is in quarantine already.
	bad := int(w.Drives.Drive(w.Drives.IDs()[victim]).Status().Quarantined)
	if err := w.u.ScrubNow(t.Context(), func(p ScrubProgress) { bad += len(p.Bad) + int(p.Unnamed) }); err != nil {
		t.Fatal(err)
	}
	if bad == 0 {
		t.Fatal("the scrub found nothing")
	}
	w.repair()
	w.compare()
	w.repair()
	if c := w.compare(); c.Missing+c.Unplaced+c.Orphans > 0 || c.Away > 0 {
		t.Fatalf("not whole: %v", c)
	}
	bad = 0
	if err := w.u.ScrubNow(t.Context(), func(p ScrubProgress) { bad += len(p.Bad) }); err != nil {
		t.Fatal(err)
	}
	if bad > 0 {
		t.Errorf("after the repair a scrub finds %d bad shards", bad)
	}
	// All five drives are good again: any two may go.
	for _, i := range w.rng.Perm(5)[:2] {
		w.Drives.SetAway(w.Drives.IDs()[i], true)
	}
	w.mustCheck()
}

func files(t *testing.T, fs *vfstest.Disk, dir string) []string {
	t.Helper()
	names, err := fs.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, n := range names {
		name := path.Join(dir, n)
		info, err := fs.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.IsDir() {
			out = append(out, files(t, fs, name)...)
		} else {
			out = append(out, name)
		}
	}
	return out
}
