package disk

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/shard"
	"github.com/hallig-cloud/hallig/shard/shardtest"
	"github.com/hallig-cloud/hallig/vfs"
	"github.com/hallig-cloud/hallig/vfs/vfstest"
)

func makeShard(n, size int) (shard.Header, []byte) {
	body := shardtest.Body(uint64(n), size)
	return shardtest.Header(9, n, body), body
}

func putShard(t testing.TB, d *Drive, n, size int) {
	t.Helper()
	h, body := makeShard(n, size)
	if err := d.Put(t.Context(), h, body); err != nil {
		t.Fatal(err)
	}
}

func wantShard(t testing.TB, d *Drive, n, size int) {
	t.Helper()
	h, body := makeShard(n, size)
	_, got, err := d.Get(t.Context(), h.ID, 0, -1, nil)
	if err != nil || !bytes.Equal(got, body) {
		t.Fatalf("shard %d: %v", n, err)
	}
}

func wantState(t testing.TB, d *Drive, want shard.State) {
	t.Helper()
	if st := d.Status(); st.State != want || (want == shard.StateOnline) != (st.Reason == "") {
		t.Fatalf("state %q (%s), want %q", st.State, st.Reason, want)
	}
}

// faulty returns a drive over a model disk and a fault injector, with every
// check done at once.
func faulty(t testing.TB, change func(*Config)) (*Drive, *vfstest.Faults, *vfstest.Disk, Config) {
	disk := vfstest.NewDisk(vfstest.DiskConfig{})
	faults := vfstest.NewFaults(disk)
	cfg := Config{FS: faults, Dir: "drive", CheckEvery: -1, MinFree: -1}
	if change != nil {
		change(&cfg)
	}
	create(t, cfg)
	return open(t, cfg), faults, disk, cfg
}

// Each kind of failed write is answered with an error, its segment is given up,
// and the next write succeeds; nothing acknowledged is lost.
func TestWriteFaults(t *testing.T) {
	for _, f := range []vfstest.Fault{
		{Op: vfstest.OpSync, Err: syscall.EIO},
		{Op: vfstest.OpWrite, Err: syscall.EIO},
		{Op: vfstest.OpWrite, Err: syscall.EIO, Short: 700},
		{Op: vfstest.OpWrite, Err: syscall.ENOSPC, Short: 100},
	} {
		t.Run(fmt.Sprint(f.Op, f.Err, f.Short), func(t *testing.T) {
			d, faults, disk, cfg := faulty(t, nil)
			putShard(t, d, 0, 5000)
			f.Path, f.Times = ".seg", 1
			faults.Inject(f)
			h, body := makeShard(1, 4000)
			err := d.Put(t.Context(), h, body)
			want := hallig.ErrReadOnly
			if f.Err == syscall.ENOSPC {
				want = hallig.ErrFull
			}
			if !errors.Is(err, want) || !errors.Is(err, f.Err) {
				t.Fatal(err)
			}
			if _, err := d.Stat(t.Context(), h.ID); !errors.Is(err, hallig.ErrNotFound) {
				t.Fatal("a failed put is there:", err)
			}
			wantShard(t, d, 0, 5000)
			putShard(t, d, 1, 4000)
			putShard(t, d, 2, 4000)
			wantState(t, d, shard.StateOnline)
			if len(d.segments) != 2 {
				t.Fatalf("%d segments: the failed one was written on", len(d.segments))
			}
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			cfg.Rebuild = true
			cfg.FS = disk.Crash(0)
			d = open(t, cfg)
			for n, size := range []int{5000, 4000, 4000} {
				wantShard(t, d, n, size)
			}
		})
	}
}

// A disk that fails every write is read-only until it does not.
func TestReadOnly(t *testing.T) {
	now := time.Unix(1e9, 0)
	d, faults, _, _ := faulty(t, func(c *Config) {
		c.now = func() time.Time { return now }
		c.CheckEvery = time.Second
	})
	putShard(t, d, 0, 100)
	faults.Inject(vfstest.Fault{Op: vfstest.OpSync, Path: ".seg", Err: syscall.EIO})
	h, body := makeShard(1, 100)
	for range 50 {
		if err := d.Put(t.Context(), h, body); !errors.Is(err, hallig.ErrReadOnly) {
			t.Fatal(err)
		}
	}
	wantState(t, d, shard.StateReadOnly)
	wantShard(t, d, 0, 100)
	if n := len(d.segments); n > 4 {
		t.Fatalf("%d segments were begun in vain", n)
	}
	faults.Clear()
	now = now.Add(time.Second)
	d.tend(t.Context()) // Run finds out by itself
	wantState(t, d, shard.StateOnline)
	putShard(t, d, 1, 100)
}

// A full drive refuses shards, still reads, deletes and compacts, and takes
// shards again when there is space.
func TestFull(t *testing.T) {
	d, _, disk, cfg := faulty(t, func(c *Config) { c.MinFree, c.SegmentSize, c.KeepDeletes = 500_000, 50_000, -1 })
	disk.SetCapacity(2_000_000)
	n := 0
	var err error
	for ; n < 1000; n++ {
		h, body := makeShard(n, 9000)
		if err = d.Put(t.Context(), h, body); err != nil {
			break
		}
	}
	if !errors.Is(err, hallig.ErrFull) || n < 50 {
		t.Fatal(n, err)
	}
	wantState(t, d, shard.StateFull)
	for i := range n {
		wantShard(t, d, i, 9000)
	}
	for i := range n / 2 {
		h, _ := makeShard(i*2, 9000)
		if err := d.Delete(t.Context(), h.ID); err != nil {
			t.Fatal("delete on a full drive:", err)
		}
	}
	if err := d.Compact(t.Context()); err != nil {
		t.Fatal("compact a full drive:", err)
	}
	if err := d.Check(); err != nil {
		t.Fatal(err)
	}
	wantState(t, d, shard.StateOnline)
	for i := range 20 {
		putShard(t, d, 1000+i, 9000)
	}
	for i := range n {
		if i%2 == 1 || i >= n/2*2 {
			wantShard(t, d, i, 9000)
		}
	}
	if st := d.Status(); st.Dead > st.Live {
		t.Errorf("after compaction: %+v", st)
	}
	_ = cfg
}

// No space at all, for the index either: reads go on, and the drive is mended
// by itself when there is space.
func TestNoSpaceForIndex(t *testing.T) {
	d, faults, _, _ := faulty(t, nil)
	for n := range 20 {
		putShard(t, d, n, 3000)
	}
	faults.Inject(vfstest.Fault{Op: vfstest.OpWrite | vfstest.OpCreate, Err: syscall.ENOSPC})
	pebbleOf(d).Flush() //nolint:errcheck // it fails behind the guard
	if d.index.broken() == nil {
		t.Fatal("the index is whole")
	}
	h, body := makeShard(20, 3000)
	for range 3 {
		if err := d.Put(t.Context(), h, body); !errors.Is(err, hallig.ErrFull) {
			t.Fatal(err)
		}
	}
	for n := range 20 {
		wantShard(t, d, n, 3000)
	}
	if err := d.mend(t.Context()); err == nil {
		t.Log("mended too early: the file system says that it has space")
	}
	faults.Clear()
	d.tend(t.Context())
	if st := d.Status(); st.State != shard.StateOnline && st.State != shard.StateFailed {
		t.Fatalf("%+v", st)
	}
	wantState(t, d, shard.StateOnline)
	for n := range 20 {
		wantShard(t, d, n, 3000)
	}
	putShard(t, d, 20, 3000)
}

// One wrong bit on the way is read again; a read error is corruption of that
// shard; many in a row are a failed drive.
func TestReadFaults(t *testing.T) {
	d, faults, _, _ := faulty(t, nil)
	for n := range 100 {
		putShard(t, d, n, 3000)
	}
	faults.Inject(vfstest.Fault{Op: vfstest.OpRead, Path: ".seg", Flip: true, Times: 1})
	wantShard(t, d, 0, 3000)
	faults.Inject(vfstest.Fault{Op: vfstest.OpRead, Path: ".seg", Err: syscall.EIO, Times: 2})
	h, _ := makeShard(1, 3000)
	if _, _, err := d.Get(t.Context(), h.ID, 0, -1, nil); !errors.Is(err, hallig.ErrCorrupt) {
		t.Fatal(err)
	}
	wantShard(t, d, 2, 3000)
	if st := d.Status(); st.Quarantined != 1 || st.State != shard.StateOnline {
		t.Fatalf("%+v", st)
	}
	putShard(t, d, 1, 3000) // healed
	wantShard(t, d, 1, 3000)
	faults.Inject(vfstest.Fault{Op: vfstest.OpRead, Path: ".seg", Err: syscall.EIO})
	for n := range 60 {
		h, _ := makeShard(n, 3000)
		if _, _, err := d.Get(t.Context(), h.ID, 0, -1, nil); !errors.Is(err, hallig.ErrCorrupt) && !errors.Is(err, hallig.ErrUnavailable) {
			t.Fatal(err)
		}
	}
	wantState(t, d, shard.StateFailed)
}

// A drive that is removed, renamed or replaced while serving acknowledges
// nothing more, and says what happened.
func TestGone(t *testing.T) {
	away := func(dir string) error { return os.Rename(dir, dir+".away") }
	back := func(dir string) error {
		_ = os.RemoveAll(dir)
		return os.Rename(dir+".away", dir)
	}
	for name, c := range map[string]struct {
		remove func(dir string) error
		state  shard.State
		back   func(dir string) error
	}{
		"renamed": {away, shard.StateMissing, back},
		"removed": {os.RemoveAll, shard.StateMissing, nil},
		"emptied": {func(dir string) error {
			return errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700))
		}, shard.StateMissing, nil},
		"identity removed": {func(dir string) error { return os.Remove(filepath.Join(dir, IdentityFile)) }, shard.StateMissing, nil},
		"another drive": {func(dir string) error {
			return errors.Join(away(dir), Create(vfs.OS(), dir, Identity{Mesh: hallig.MeshID{1}, Node: hallig.NodeID{2}, Drive: hallig.DriveID{9}}))
		}, shard.StateForeign, back},
		"another mesh": {func(dir string) error {
			return errors.Join(away(dir), Create(vfs.OS(), dir, Identity{Mesh: hallig.MeshID{7}, Node: hallig.NodeID{2}, Drive: hallig.DriveID{3}}))
		}, shard.StateForeign, back},
		"made anew with the same identity": {func(dir string) error {
			return errors.Join(away(dir), Create(vfs.OS(), dir, testIdentity))
		}, shard.StateMissing, back},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := create(t, Config{Dir: filepath.ToSlash(filepath.Join(t.TempDir(), "drive")), CheckEvery: -1})
			d := open(t, cfg)
			putShard(t, d, 0, 100)
			if err := c.remove(cfg.Dir); err != nil {
				t.Fatal(err)
			}
			h, body := makeShard(1, 100)
			if name == "identity removed" {
				_ = d.Check() // no write depends on it
			}
			if err := d.Put(t.Context(), h, body); !errors.Is(err, hallig.ErrUnavailable) {
				t.Fatal("put:", err)
			}
			if err := d.Delete(t.Context(), h.ID); !errors.Is(err, hallig.ErrUnavailable) {
				t.Fatal("delete:", err)
			}
			if _, err := d.Stat(t.Context(), h.ID); !errors.Is(err, hallig.ErrUnavailable) {
				t.Fatal("stat:", err)
			}
			if err := d.Walk(t.Context(), shard.ID{}, func(shard.Info) error { return nil }); !errors.Is(err, hallig.ErrUnavailable) {
				t.Fatal("walk:", err)
			}
			wantState(t, d, c.state)
			t.Log(d.Status().Reason)
			if c.back == nil {
				return
			}
			if err := c.back(cfg.Dir); err != nil {
				t.Fatal(err)
			}
			if err := d.Check(); err != nil {
				t.Fatal(err)
			}
			wantShard(t, d, 0, 100)
			putShard(t, d, 1, 100)
			wantState(t, d, shard.StateOnline)
		})
	}
}

func TestOpenRefused(t *testing.T) {
	cfg := create(t, Config{})
	for name, want := range map[string]Identity{
		"mesh":  {Mesh: hallig.MeshID{8}},
		"node":  {Mesh: hallig.MeshID{1}, Node: hallig.NodeID{8}},
		"drive": {Drive: hallig.DriveID{8}},
	} {
		c := cfg
		c.Identity = want
		if _, err := Open(t.Context(), c); !errors.Is(err, hallig.ErrForeign) {
			t.Error(name, err)
		}
	}
	if _, err := Open(t.Context(), Config{Dir: t.TempDir()}); !errors.Is(err, hallig.ErrNotFound) {
		t.Error(err)
	}
	open(t, cfg)
	if _, err := Open(t.Context(), cfg); !errors.Is(err, hallig.ErrUnavailable) {
		t.Error("opened twice:", err)
	}
	if err := Create(vfs.OS(), cfg.Dir, testIdentity); !errors.Is(err, hallig.ErrExists) {
		t.Error(err)
	}
	other := t.TempDir()
	if err := os.WriteFile(filepath.Join(other, "thesis.tex"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Create(vfs.OS(), other, testIdentity); !errors.Is(err, hallig.ErrNotEmpty) {
		t.Error(err)
	}
	bad := create(t, Config{})
	if err := os.WriteFile(filepath.Join(bad.Dir, IdentityFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), bad); !errors.Is(err, hallig.ErrCorrupt) {
		t.Error(err)
	}
}

// A bad record with good ones behind it is corruption, wherever it is found:
// when the index is made anew, by the scrub, or by a read. It is never taken
// for a torn tail, survives a restart, and is healed by a Put.
func TestCorruptRecord(t *testing.T) {
	for _, where := range []string{"magic", "header", "body"} {
		for _, how := range []string{"read", "scrub", "compact", "rebuild"} {
			t.Run(where+"/"+how, func(t *testing.T) {
				cfg := create(t, Config{CheckEvery: -1})
				d := open(t, cfg)
				for n := range 5 {
					putShard(t, d, n, 3000)
				}
				h, _ := makeShard(2, 3000)
				e, err := d.lookup(h.ID)
				if err != nil {
					t.Fatal(err)
				}
				off := map[string]int64{"magic": 1, "header": 40, "body": int64(e.hlen) + 1500}[where]
				if how == "rebuild" || how == "compact" {
					if err := d.Close(); err != nil {
						t.Fatal(err)
					}
				}
				if err := flip(cfg.FS, d.segmentPath(e.segment), int64(e.off)+off); err != nil {
					t.Fatal(err)
				}
				named := true // the id can be told
				switch how {
				case "read":
					if _, _, err := d.Get(t.Context(), h.ID, 0, -1, nil); !errors.Is(err, hallig.ErrCorrupt) {
						t.Fatal(err)
					}
				case "scrub":
					f, _, err := d.Scrub(t.Context(), nil, 1<<30)
					if err != nil || f.Shards != 5 || !slices.Equal(f.Bad, []shard.ID{h.ID}) {
						t.Fatalf("%+v %v", f, err)
					}
				case "compact":
					cfg.CompactRatio = 1e-9
					d = open(t, cfg)
					if err := d.Compact(t.Context()); err != nil {
						t.Fatal(err)
					}
				case "rebuild":
					cfg.Rebuild = true
					d = open(t, cfg)
					named = where == "body"
				}
				wantErr := hallig.ErrCorrupt
				if !named {
					wantErr = hallig.ErrNotFound
				}
				for range 2 {
					if _, err := d.Stat(t.Context(), h.ID); !errors.Is(err, wantErr) {
						t.Fatal(err)
					}
					if ids, err := d.Quarantined(t.Context()); err != nil || named != slices.Equal(ids, []shard.ID{h.ID}) {
						t.Fatal(ids, err)
					}
					for _, n := range []int{0, 1, 3, 4} {
						wantShard(t, d, n, 3000)
					}
					if err := d.Close(); err != nil {
						t.Fatal(err)
					}
					cfg.Rebuild = false
					d = open(t, cfg)
				}
				putShard(t, d, 2, 3000)
				wantShard(t, d, 2, 3000)
				if st := d.Status(); st.Quarantined != 0 || st.Shards != 5 {
					t.Fatalf("%+v", st)
				}
			})
		}
	}
}

// Compaction frees space while readers go on, and takes their segments away.
func TestCompactUnderLoad(t *testing.T) {
	cfg := create(t, Config{SegmentSize: 100_000, KeepDeletes: -1})
	d := open(t, cfg)
	const shards = 300
	for n := range shards {
		putShard(t, d, n, 4000)
	}
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for w := range 4 {
		wg.Go(func() {
			for n := w; ; n = (n + 7) % shards {
				select {
				case <-stop:
					return
				default:
				}
				if n%3 != 0 {
					continue
				}
				h, body := makeShard(n, 4000)
				_, got, err := d.Get(t.Context(), h.ID, 0, -1, nil)
				if err != nil || !bytes.Equal(got, body) {
					t.Errorf("shard %d: %v", n, err)
					return
				}
			}
		})
	}
	before := d.Status()
	for n := range shards {
		if n%3 != 0 {
			h, _ := makeShard(n, 4000)
			if err := d.Delete(t.Context(), h.ID); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 3 {
		if err := d.Compact(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	wg.Wait()
	after := d.Status()
	if after.Shards != shards/3 || after.Dead > after.Live || after.Live != before.Live/3 {
		t.Fatalf("before %+v, after %+v", before, after)
	}
	names, err := os.ReadDir(filepath.Join(cfg.Dir, segmentsDir))
	if err != nil || len(names) != len(d.segments) {
		t.Fatal(len(names), len(d.segments), err)
	}
	d.Close()
	d = open(t, cfg)
	for n := 0; n < shards; n += 3 {
		wantShard(t, d, n, 4000)
	}
}
