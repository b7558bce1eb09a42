package disk

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"path"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/shard"
	"github.com/hallig-cloud/hallig/vfs/vfstest"
)

const damagedShards = 800 // more than one block of the index holds

// withIndexTables makes a drive in memory whose index lies in tables, and
// closes it.
func withIndexTables(t *testing.T) (*vfstest.Disk, Config) {
	t.Helper()
	disk := vfstest.NewDisk(vfstest.DiskConfig{})
	if err := disk.Mkdir("d"); err != nil {
		t.Fatal(err)
	}
	cfg := create(t, Config{FS: disk, Dir: "d", MinFree: -1})
	d := open(t, cfg)
	for n := range damagedShards {
		putShard(t, d, n, 10)
	}
	if err := d.Delete(t.Context(), shardID(0), shardID(1)); err != nil {
		t.Fatal(err)
	}
	if err := pebbleOf(d).Flush(); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	return disk, cfg
}

func flipOn(disk *vfstest.Disk, name string, off int64) error { return disk.Corrupt(name, off, 4) }

func shardID(n int) shard.ID { h, _ := makeShard(n, 10); return h.ID }

// wantDamagedShards reads back all that withIndexTables stored.
func wantDamagedShards(t *testing.T, d *Drive) {
	t.Helper()
	for n := 2; n < damagedShards; n++ {
		wantShard(t, d, n, 10)
	}
	for n := range 2 {
		if _, err := d.Stat(t.Context(), shardID(n)); !errors.Is(err, hallig.ErrNotFound) {
			t.Fatalf("deleted shard %d: %v", n, err)
		}
	}
}

// TestIndexDamagedAtOpen flips bytes all over the files of the index, and takes
// each away, before the drive is opened: every shard is there all the same, and
// nothing that was deleted comes back.
func TestIndexDamagedAtOpen(t *testing.T) {
	whole, cfg := withIndexTables(t)
	names, err := whole.List(path.Join(cfg.Dir, indexDir))
	if err != nil {
		t.Fatal(err)
	}
	rebuilt, flips := 0, 11
	if testing.Short() || raceDetector {
		flips = 3
	}
	for _, name := range names {
		file := path.Join(cfg.Dir, indexDir, name)
		fi, err := whole.Stat(file)
		if err != nil || fi.Size() == 0 {
			continue
		}
		for i := range flips + 1 {
			disk := whole.Clone()
			if i == flips {
				err = disk.Remove(file)
			} else {
				err = flipOn(disk, file, fi.Size()*int64(i)/int64(flips))
			}
			if err != nil {
				t.Fatal(err)
			}
			var log bytes.Buffer
			c := cfg
			c.FS, c.Log = disk, slog.New(slog.NewTextHandler(&log, nil))
			d, err := Open(t.Context(), c)
			if err != nil {
				t.Fatalf("%s, damage %d: %v", name, i, err)
			}
			for n := 0; d.index.damaged() == nil && n < damagedShards; n += 50 {
				_, _ = d.Stat(t.Context(), shardID(n))
			}
			d.tend(t.Context())
			wantDamagedShards(t, d)
			if strings.Contains(log.String(), "made anew") {
				rebuilt++
			}
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if rebuilt < 5 {
		t.Errorf("the index was made anew %d times only: the damage did not hit", rebuilt)
	}
}

// TestIndexDamagedWhileServing finds a damaged table when it is read: the shards
// behind it are unavailable, never corrupt or absent, nothing is written, and
// the next look at the drive makes the index anew while Status goes on.
func TestIndexDamagedWhileServing(t *testing.T) {
	disk, cfg := withIndexTables(t)
	table, size := "", int64(0)
	names, err := disk.List(path.Join(cfg.Dir, indexDir))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		file := path.Join(cfg.Dir, indexDir, n)
		if fi, err := disk.Stat(file); err == nil && strings.HasSuffix(n, ".sst") && fi.Size() > size {
			table, size = file, fi.Size()
		}
	}
	for off := size / 4; off < size/2; off += 512 {
		if err := flipOn(disk, table, off); err != nil {
			t.Fatal(err)
		}
	}
	d := open(t, cfg)
	ctx := context.Background()
	unavailable := 0
	for n := 2; n < damagedShards; n++ {
		switch _, err := d.Stat(ctx, shardID(n)); {
		case errors.Is(err, hallig.ErrUnavailable) && !errors.Is(err, hallig.ErrCorrupt) && !errors.Is(err, hallig.ErrNotFound):
			unavailable++
		case err != nil:
			t.Fatalf("shard %d: %v", n, err)
		}
	}
	if unavailable == 0 {
		t.Fatal("the damage was not met")
	}
	h, body := makeShard(damagedShards, 10)
	if err := d.Put(ctx, h, body); !errors.Is(err, hallig.ErrUnavailable) {
		t.Fatalf("put into a damaged index: %v", err)
	}
	var lookers sync.WaitGroup
	done := make(chan struct{})
	for range 2 {
		lookers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				_ = d.Status()
				_, err := d.Stat(ctx, shardID(2))
				if err != nil && !errors.Is(err, hallig.ErrUnavailable) {
					t.Errorf("while the index is made anew: %v", err)
				}
			}
		})
	}
	d.tend(ctx)
	close(done)
	lookers.Wait()
	wantState(t, d, shard.StateOnline)
	wantDamagedShards(t, d)
	putShard(t, d, damagedShards, 10)
	if st := d.Status(); st.Shards != damagedShards-1 || st.Quarantined != 0 {
		t.Errorf("%+v", st)
	}
}

// TestIndexUnreadable is the same for a table with a bad sector.
func TestIndexUnreadable(t *testing.T) {
	disk, cfg := withIndexTables(t)
	faults := vfstest.NewFaults(disk)
	cfg.FS = faults
	d := open(t, cfg)
	faults.Inject(vfstest.Fault{Op: vfstest.OpRead, Path: ".sst", Err: syscall.EIO})
	if _, err := d.Stat(t.Context(), shardID(400)); !errors.Is(err, hallig.ErrUnavailable) {
		t.Fatalf("a table that cannot be read: %v", err)
	}
	faults.Clear() // the file is replaced, the sector not used again
	d.tend(t.Context())
	wantState(t, d, shard.StateOnline)
	wantDamagedShards(t, d)
}
