package disk

import (
	"errors"
	"testing"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/shard"
	"github.com/hallig-cloud/hallig/vfs/vfstest"
)

// A small drive with the default segment size and reserve: each time it is full
// and a third is deleted, spread over everything, compaction gives that third
// back. With segments of 256 MiB it gives nothing back.
func TestSmallDriveComesFree(t *testing.T) {
	for _, segment := range []int64{0, 256 << 20} {
		const capacity, body = 64 << 20, 256 << 10
		model := vfstest.NewDisk(vfstest.DiskConfig{Capacity: capacity})
		d := open(t, create(t, Config{FS: model, Dir: "drive", CheckEvery: -1, KeepDeletes: -1, SegmentSize: segment}))
		next := 0
		fill := func() (ids []shard.ID) {
			for {
				h, b := makeShard(next, body)
				next++
				err := d.Put(t.Context(), h, b)
				if errors.Is(err, hallig.ErrFull) {
					return ids
				}
				if err != nil {
					t.Fatal(err)
				}
				ids = append(ids, h.ID)
			}
		}
		held := fill()
		for round := range 4 {
			wantState(t, d, shard.StateFull)
			var kept, gone []shard.ID
			for i, id := range held {
				if i%3 == 0 {
					gone = append(gone, id)
				} else {
					kept = append(kept, id)
				}
			}
			if err := d.Delete(t.Context(), gone...); err != nil {
				t.Fatal(err)
			}
			err := d.Compact(t.Context())
			added := fill()
			if segment != 0 { // negative control
				if err == nil && len(added) >= len(gone)/2 {
					t.Fatalf("segments of a drive's size: %d of %d deleted came free", len(added), len(gone))
				}
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(added) < len(gone)*2/3 {
				t.Fatalf("round %d: %d shards were deleted, %d fit again", round, len(gone), len(added))
			}
			held = append(kept, added...)
		}
		for _, id := range held {
			if err := d.Verify(t.Context(), id); err != nil && segment == 0 {
				t.Fatal(err)
			}
		}
	}
}

// The defaults fit each other on any drive: what is kept free holds a segment
// that is compacted.
func TestDefaultsScale(t *testing.T) {
	for _, total := range []int64{64 << 20, 300 << 20, 1 << 30, 8 << 30, 20 << 30, 100 << 30, 16 << 40} {
		model := vfstest.NewDisk(vfstest.DiskConfig{Capacity: total})
		c := Config{FS: model, Dir: "."}.withDefaults()
		d := &Drive{cfg: c}
		least := d.minFree(total)
		if c.SegmentSize < 1<<20 || c.SegmentSize > total/8 || least < c.SegmentSize || least > total/8 || least > 1<<30 {
			t.Errorf("%d bytes: segments of %d, %d kept free", total, c.SegmentSize, least)
		}
	}
	if c := (Config{FS: vfstest.NewDisk(vfstest.DiskConfig{}), Dir: "."}).withDefaults(); c.CompactEvery != 30*time.Second {
		t.Error("docs/operating.md states the time in which deleting frees a full drive")
	}
}
