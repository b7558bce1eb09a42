package objects_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/objects"
	"github.com/hallig-cloud/hallig/objects/objectstest"
	"github.com/hallig-cloud/hallig/shard"
)

// stage is a mesh whose drives a test can make lie, or hang, by number.
type stage struct {
	*objectstest.Mesh
	liar, hung atomic.Int64 // -1: none
	flip       func(got []byte)
	waiting    chan time.Time // receives when a call hangs
	free       chan struct{}  // closed: nobody hangs any more
}

func newStage(t *testing.T, drives int, config func(*objects.Config)) *stage {
	s := &stage{waiting: make(chan time.Time, 100), free: make(chan struct{}), flip: func(got []byte) { got[len(got)/2] ^= 0x10 }}
	s.liar.Store(-1)
	s.hung.Store(-1)
	s.Mesh = objectstest.NewMesh(t, objectstest.Options{Drives: drives, Config: config, Wrap: func(i int, d shard.Store) shard.Store {
		return &hooked{Store: d,
			after: func(_ shard.ID, got []byte) []byte {
				if s.liar.Load() == int64(i) && len(got) > 0 {
					got = bytes.Clone(got)
					s.flip(got)
				}
				if s.hung.Load() == int64(i) { // whatever becomes of the request
					s.waiting <- time.Time{}
					<-s.free
				}
				return got
			}}
	}})
	bucket(t, s.Store, objects.Bucket{Name: "b"})
	return s
}

// drive returns the number of the drive that holds a shard of v's first stripe.
func (s *stage) drive(t *testing.T, v catalog.Version, index int) int {
	t.Helper()
	for i, id := range s.Drives.IDs() {
		if _, err := s.Drives.Mem(id).Stat(t.Context(), shard.ID{Data: v.Extents[0].Data, Index: uint16(index)}); err == nil {
			return i
		}
	}
	t.Fatalf("shard %d is nowhere", index)
	return 0
}

// blamed reports whether a drive was reported corrupt.
func (s *stage) blamed(drive int) bool {
	return slices.ContainsFunc(s.Damage(), func(d objects.Damage) bool {
		return d.Drive == s.Drives.IDs()[drive] && errors.Is(d.Err, hallig.ErrCorrupt)
	})
}

// A parity shard is decoded from to make a short data shard, and lies behind
// that one's end: the answer does not depend on it, the report comes all the
// same. (That was the rare failure of TestLyingDrive, where shards are placed at
// random.) The negative control leaves the shard uninspected.
func TestLieBehindTheAnswer(t *testing.T) {
	for _, credulous := range []bool{false, true} {
		s := newStage(t, 6, nil)
		s.Store.SetCredulous(credulous)
		data := body(1, 300_000) // 4+2: shards of 2, 2, 1 and 0 segments
		v := put(t, s.Store, "b", "k", data)
		away, liar := s.drive(t, v, 2), s.drive(t, v, 4)
		s.Drives.SetAway(s.Drives.IDs()[away], true)
		s.flip = func(got []byte) { got[len(got)-1] ^= 1 }
		s.liar.Store(int64(liar))
		if got, err := get(s.Store, v, 0, -1); err != nil || !bytes.Equal(got, data) {
			t.Fatal(err)
		}
		settled(t, s.Store)
		if s.blamed(liar) == credulous {
			t.Errorf("inspected: %v, reported: %v", !credulous, s.blamed(liar))
		}
	}
}

// A copy that comes after a hedge has answered is looked at too, though only a
// range of it was asked for and its drive tells the truth the second time.
func TestLieThatCameTooLate(t *testing.T) {
	for _, again := range []bool{true, false} {
		var s *stage
		s = newStage(t, 3, func(c *objects.Config) {
			c.HedgeAfter = time.Nanosecond
			c.Timer = func(d time.Duration) (<-chan time.Time, func()) {
				if d != c.HedgeAfter {
					return make(chan time.Time), func() {}
				}
				late := make(chan time.Time, 1)
				go func() { // the hedge goes out once the first copy hangs
					select {
					case at := <-s.waiting:
						late <- at
					case <-t.Context().Done():
					}
				}()
				return late, func() {}
			}
		})
		data := body(2, 120_000)
		v := put(t, s.Store, "b", "k", data)
		liar := s.drive(t, v, 0)
		lies := 0
		s.flip = func(got []byte) {
			if lies++; lies == 1 || again {
				got[0] ^= 1
			}
		}
		s.liar.Store(int64(liar))
		s.hung.Store(int64(liar))
		if got, err := get(s.Store, v, 70_000, 1000); err != nil || !bytes.Equal(got, data[70_000:71_000]) {
			t.Fatal(err)
		}
		if s.blamed(liar) {
			t.Fatal("it has said nothing yet")
		}
		close(s.free)
		settled(t, s.Store)
		if !s.blamed(liar) {
			t.Errorf("lies again: %v: nobody was told", again)
		}
	}
}

// When a drive lies, another one that hangs is not waited for; the liar is
// reported, and everything is returned once the hanging call ends.
func TestLiarAndHungDrive(t *testing.T) {
	for _, n := range []int{50_000, 3 << 20} {
		s := newStage(t, 4, func(c *objects.Config) { c.ShardTimeout = time.Hour })
		data := body(3, n)
		v := put(t, s.Store, "b", "k", data)
		last := map[bool]int{true: 2, false: 3}[n < 128<<10] // copies, or 2+2
		liar, hung := s.drive(t, v, 0), s.drive(t, v, last)
		s.liar.Store(int64(liar))
		s.hung.Store(int64(hung))
		got := make(chan error, 1)
		go func() {
			b, err := get(s.Store, v, 0, -1)
			if err == nil && !bytes.Equal(b, data) {
				err = fmt.Errorf("wrong bytes")
			}
			got <- err
		}()
		select {
		case err := <-got:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(time.Minute):
			t.Error("the read waits for the drive that hangs")
		}
		<-s.waiting // it was asked
		if s.Store.MemoryLent() == 0 || s.Store.MemoryInUse() < s.Store.MemoryLent() {
			t.Errorf("%d bytes are in use under the call that hangs, %d are granted", s.Store.MemoryLent(), s.Store.MemoryInUse())
		}
		close(s.free)
		settled(t, s.Store)
		if !s.blamed(liar) {
			t.Errorf("%d bytes: the liar was not reported", n)
		}
	}
}

// Reads that decode, whatever their range and whoever is away or lies, use no
// memory but what they were granted. Without the grant they use more.
func TestDegradedReadsStayInTheBudget(t *testing.T) {
	r := seed(t)
	for _, drives := range []int{3, 4, 6} {
		for _, spending := range []bool{false, true} {
			s := newStage(t, drives, nil)
			data := body(4, 9<<20+12345)
			v := put(t, s.Store, "b", "k", data)
			s.Store.SetSpending(spending)
			for i := range 40 {
				ids := s.Drives.IDs()
				away := ids[r.IntN(drives)]
				s.Drives.SetAway(away, true)
				if !spending && drives > 3 && i%2 == 1 {
					s.liar.Store(r.Int64N(int64(drives)))
				}
				off := r.Int64N(v.Size)
				n := 1 + r.Int64N(min(v.Size-off, 1<<(10+r.IntN(15))))
				if got, err := get(s.Store, v, off, n); err != nil || !bytes.Equal(got, data[off:off+n]) {
					t.Fatalf("%d drives: range %d+%d: %v", drives, off, n, err)
				}
				s.liar.Store(-1)
				s.Drives.SetAway(away, false)
			}
			if spending {
				if s.Store.MemoryExcess() == 0 && drives > 3 { // three drives hold copies: nothing is decoded
					t.Errorf("%d drives: the negative control used no more than it was granted", drives)
				}
				continue
			}
			settled(t, s.Store)
		}
	}
}
