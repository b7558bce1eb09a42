package disk

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/hallig-cloud/hallig/shard"
	"github.com/hallig-cloud/hallig/shard/shardtest"
	"github.com/hallig-cloud/hallig/vfs"
)

// Large bodies among small ones, on the real file system: direct groups and
// others share no page, everything reads back, through the index and through
// one made anew, and the scrub finds nothing.
func TestDirect(t *testing.T) {
	cfg := create(t, Config{SegmentSize: 8 << 20, KeepDeletes: -1})
	d := open(t, cfg)
	r := rand.New(rand.NewPCG(3, 4))
	var heads []shard.Header
	var bodies [][]byte
	for n := range 24 {
		size := 1 + r.IntN(9000)
		if n%2 == 0 {
			size = directBody + r.IntN(2<<20)
		}
		body := shardtest.Body(uint64(n), size)
		heads, bodies = append(heads, shardtest.Header(1, n, body)), append(bodies, body)
	}
	check := func(d *Drive) {
		t.Helper()
		for i, h := range heads {
			if _, got, err := d.Get(t.Context(), h.ID, 0, -1, nil); err != nil || !bytes.Equal(got, bodies[i]) {
				t.Fatalf("shard %d of %d bytes: %v", i, len(bodies[i]), err)
			}
		}
	}
	for i, h := range heads[:12] { // one by one
		if err := d.Put(t.Context(), h, bodies[i]); err != nil {
			t.Fatal(err)
		}
		if at, err := d.lookup(h.ID); err != nil || len(bodies[i]) >= directBody && (at.off%vfs.DirectAlign != 0 || d.active != nil && d.active.size%vfs.DirectAlign != 0) {
			t.Fatalf("a large body's record at %d, its group's end at %d: %v", at.off, d.active.size, err)
		}
	}
	if d.direct.none || d.direct.writer == nil {
		t.Log("THE FILE SYSTEM OF THE TESTS HAS NO DIRECT WRITES: only the form is tested")
	}
	var wg sync.WaitGroup
	for i, h := range heads[12:] { // in groups
		wg.Go(func() {
			if err := d.Put(t.Context(), h, bodies[12+i]); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	check(d)
	for i := range 8 { // compaction moves large bodies too
		if err := d.Delete(t.Context(), heads[i].ID); err != nil {
			t.Fatal(err)
		}
	}
	heads, bodies = heads[8:], bodies[8:]
	if err := d.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	check(d)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	cfg.Rebuild = true
	again := open(t, cfg)
	check(again)
	for _, h := range heads {
		if err := again.Verify(t.Context(), h.ID); err != nil {
			t.Fatal(err)
		}
	}
	if bad, err := again.Quarantined(t.Context()); err != nil || len(bad) > 0 {
		t.Fatal("quarantined:", bad, err)
	}
}

// Fillers reach every multiple, and scan as records that say nothing.
func TestFill(t *testing.T) {
	for from := int64(segmentHeader); from <= segmentHeader+2*vfs.DirectAlign; from += recordAlign {
		g := &group{seg: &segment{id: segmentID{1, 2}, size: from}, off: from}
		g.fill(vfs.DirectAlign)
		if g.off != align(from, vfs.DirectAlign) {
			t.Fatalf("from %d to %d", from, g.off)
		}
		f := filepath.Join(t.TempDir(), "segment")
		file, err := vfs.OS().Create(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range g.runs {
			if _, err := file.WriteAt(g.bytes(r), r.off); err != nil {
				t.Fatal(err)
			}
		}
		_, err = scanSegment(t.Context(), file, g.seg.id, from, g.off, func(it found) error {
			if it.record.kind == 0 && it.end > it.off || it.err != nil || len(it.body) > 0 {
				return fmt.Errorf("at %d: %+v", it.off, it)
			}
			return nil
		})
		if err := errors.Join(err, file.Close()); err != nil {
			t.Fatalf("from %d: %v", from, err)
		}
	}
}

// refusing is a way past the page cache that a file system does not like.
type refusing struct{ err error }

func (w refusing) WriteAt([]byte, int64) (int, error) { return 0, w.err }
func (refusing) Close() error                         { return nil }

// Where direct writes turn out not to work they are left; where they fail, so
// does the Put, and its segment is written no more.
func TestDirectRefused(t *testing.T) {
	d := open(t, create(t, Config{CheckEvery: -1}))
	body := shardtest.Body(1, directBody)
	if err := d.Put(t.Context(), shardtest.Header(1, 1, body), body); err != nil {
		t.Fatal(err)
	}
	if !d.direct.none {
		d.direct.close()
	}
	d.direct.none, d.direct.writer = false, refusing{syscall.EIO}
	was := d.active.id.num
	if err := d.Put(t.Context(), shardtest.Header(1, 2, body), body); !errors.Is(err, syscall.EIO) {
		t.Fatal("a failed write:", err)
	}
	if err := d.Put(t.Context(), shardtest.Header(1, 2, body), body); err != nil || d.active.id.num == was {
		t.Fatal("after a failed write:", err)
	}
	d.direct.close()
	d.direct.writer = refusing{syscall.EINVAL}
	for n := 3; n < 5; n++ {
		h := shardtest.Header(1, n, body)
		if err := d.Put(t.Context(), h, body); err != nil || !d.direct.none {
			t.Fatal("refused:", err)
		}
		if _, got, err := d.Get(t.Context(), h.ID, 0, -1, nil); err != nil || !bytes.Equal(got, body) {
			t.Fatal(err)
		}
	}
}
