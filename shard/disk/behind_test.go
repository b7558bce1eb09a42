package disk

import (
	"log/slog"
	"testing"

	"github.com/hallig-cloud/hallig/shard/shardtest"
	"github.com/hallig-cloud/hallig/vfs"
	"github.com/hallig-cloud/hallig/vfs/vfstest"
)

// countingKV counts the flushes of an index.
type countingKV struct {
	kv
	flushes *int
}

func (c countingKV) flush(wait bool) error {
	*c.flushes++
	return c.kv.flush(wait)
}

// TestIndexBehind: the index, which keeps no log, is flushed for every half
// segment written, and a drive that is left without a Close has all it stored.
func TestIndexBehind(t *testing.T) {
	flushes := 0
	disk := vfstest.NewDisk(vfstest.DiskConfig{})
	cfg := create(t, Config{FS: disk, Dir: "drive", MinFree: -1, SegmentSize: 64 << 10})
	cfg.openIndex = func(fs vfs.FS, dir string) (kv, error) {
		k, err := openPebble(fs, dir, 1<<20, slog.New(slog.DiscardHandler))
		return countingKV{k, &flushes}, err
	}
	d := open(t, cfg)
	body := shardtest.Body(1, 4<<10)
	for n := range 64 {
		if err := d.Put(t.Context(), shardtest.Header(1, n, body), body); err != nil {
			t.Fatal(err)
		}
	}
	if flushes < 7 || flushes > 10 {
		t.Fatalf("%d flushes for 256 KiB in segments of 64 KiB", flushes)
	}
	cfg.FS = disk.Crash(1)
	again := open(t, cfg)
	for n := range 64 {
		if _, _, err := again.Get(t.Context(), shardtest.Header(1, n, body).ID, 0, -1, nil); err != nil {
			t.Fatal(n, err)
		}
	}
}
