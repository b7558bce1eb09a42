package objects_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/objects"
	"github.com/hallig-cloud/hallig/objects/objectstest"
	"github.com/hallig-cloud/hallig/placement"
	"github.com/hallig-cloud/hallig/shard"
)

// seed returns the seed of a randomized test: HALLIG_SEED, or a new one. It is
// logged, so that a failure can be replayed.
func seed(t *testing.T) *rand.Rand {
	n := rand.Uint64()
	if s := os.Getenv("HALLIG_SEED"); s != "" {
		n, _ = strconv.ParseUint(s, 10, 64)
	}
	t.Logf("HALLIG_SEED=%d", n)
	return rand.New(rand.NewPCG(n, 1))
}

// A hooked drive asks before every call of its own whether it fails.
type hooked struct {
	shard.Store
	before func(call string, id shard.ID) error
	after  func(id shard.ID, got []byte) []byte
}

func (h *hooked) Put(ctx context.Context, hd shard.Header, body []byte) error {
	if h.before != nil {
		if err := h.before("put", hd.ID); err != nil {
			return err
		}
	}
	return h.Store.Put(ctx, hd, body)
}

func (h *hooked) Get(ctx context.Context, id shard.ID, off, n int64, dst []byte) (shard.Header, []byte, error) {
	if h.before != nil {
		if err := h.before("get", id); err != nil {
			return shard.Header{}, nil, err
		}
	}
	hd, got, err := h.Store.Get(ctx, id, off, n, dst)
	if err == nil && h.after != nil {
		got = h.after(id, got)
	}
	return hd, got, err
}

// Any size, any range, any shards lost within the promise: identical bytes.
// With more lost: identical bytes or an error, never others.
func TestAnyRangeAnyLoss(t *testing.T) {
	r := seed(t)
	rounds := 120
	if testing.Short() {
		rounds = 30
	}
	for _, drives := range []int{1, 2, 3, 4, 5, 7} {
		m := objectstest.NewMesh(t, objectstest.Options{Drives: drives})
		s := m.Store
		bucket(t, s, objects.Bucket{Name: "b"})
		ids := m.Drives.IDs()
		promise := map[bool]int{true: min(drives-1, 1), false: 2}[drives < 4]
		for i := range rounds / 6 {
			n := r.IntN(1 << (4 + r.IntN(20)))
			data := body(uint64(i), n)
			v := put(t, s, "b", fmt.Sprint(i), data)
			for range 6 {
				lost := r.IntN(drives + 1)
				for _, x := range r.Perm(drives)[:lost] {
					m.Drives.SetAway(ids[x], true)
				}
				off := r.Int64N(int64(n) + 1)
				length := r.Int64N(int64(n)-off+2) - 1
				want := data[off:]
				if length >= 0 {
					want = want[:length]
				}
				got, err := get(s, v, off, length)
				switch {
				case err == nil && !bytes.Equal(got, want):
					t.Fatalf("%d drives, %d lost, %d bytes, range %d+%d: wrong bytes", drives, lost, n, off, length)
				case err != nil && lost <= promise:
					t.Fatalf("%d drives, %d lost, %d bytes, range %d+%d: %v", drives, lost, n, off, length, err)
				case err != nil && !errors.Is(err, hallig.ErrLost):
					t.Fatalf("an unclear error: %v", err)
				case err == nil && lost == drives && len(want) > 0:
					t.Fatal("bytes out of nowhere")
				}
				for _, id := range ids {
					m.Drives.SetAway(id, false)
				}
			}
		}
		settled(t, s)
	}
}

// settled fails the test unless every buffer was returned and none was ever
// used beyond what was granted.
func settled(t *testing.T, s *objects.Store) {
	t.Helper()
	s.WaitBackground()
	if lent, used, excess := s.MemoryLent(), s.MemoryInUse(), s.MemoryExcess(); lent != 0 || used != 0 || excess > 0 {
		t.Errorf("%d bytes of buffers and %d bytes granted are not returned; %d bytes were used beyond what was granted", lent, used, excess)
	}
}

// A drive that fails any one call, or every call from one on, fails no request
// and loses no byte.
func TestDriveFailsAtEveryCall(t *testing.T) {
	data := body(7, 9<<20) // three stripes of four drives' pool
	small := body(8, 5000)
	for _, forever := range []bool{false, true} {
		for at := int64(0); ; at++ {
			var calls atomic.Int64
			var armed atomic.Bool
			m := objectstest.NewMesh(t, objectstest.Options{Drives: 4, Wrap: func(i int, d shard.Store) shard.Store {
				if i != 1 {
					return d
				}
				return &hooked{Store: d, before: func(string, shard.ID) error {
					if !armed.Load() {
						return nil
					}
					n := calls.Add(1) - 1
					if n == at || forever && n > at {
						return fmt.Errorf("injected: %w", hallig.ErrUnavailable)
					}
					return nil
				}}
			}})
			s := m.Store
			bucket(t, s, objects.Bucket{Name: "b"})
			armed.Store(true)
			for key, want := range map[string][]byte{"large": data, "small": small} {
				v := put(t, s, "b", key, want)
				if got, err := get(s, v, 0, -1); err != nil || !bytes.Equal(got, want) {
					t.Fatalf("call %d fails, forever %v: %s: %v", at, forever, key, err)
				}
				// The promise of two drives holds of what was written meanwhile.
				ids := m.Drives.IDs()
				for a := range ids {
					for b := range a {
						if forever && a != 1 && b != 1 {
							continue // the failing one is one of the two
						}
						m.Drives.SetAway(ids[a], true)
						m.Drives.SetAway(ids[b], true)
						got, err := get(s, v, 0, -1)
						if err != nil || !bytes.Equal(got, want) {
							t.Fatalf("call %d failed, forever %v: %s with drives %d and %d away: %v (extents %+v)", at, forever, key, a, b, err, v.Extents)
						}
						m.Drives.SetAway(ids[a], false)
						m.Drives.SetAway(ids[b], false)
					}
				}
				armed.Store(true)
			}
			settled(t, s)
			s.Close()
			if calls.Load() <= at {
				break
			}
			if testing.Short() && at > 3 || at > 12 {
				break
			}
		}
	}
}

// With every drive but one gone a write still goes through, under the promise
// that is left, and says so.
func TestWritesGoOnWithWhatIsLeft(t *testing.T) {
	m := objectstest.NewMesh(t, objectstest.Options{Drives: 5})
	s := m.Store
	bucket(t, s, objects.Bucket{Name: "b"})
	ids := m.Drives.IDs()
	wantSurvive := []hallig.Survive{hallig.SurviveTwoDrives, hallig.SurviveTwoDrives, hallig.SurviveTwoDrives, hallig.SurviveDrive, hallig.SurviveNothing}
	data := body(3, 5<<20)
	versions := map[string]catalog.Version{}
	for gone := range 5 {
		key := fmt.Sprint(gone)
		versions[key] = put(t, s, "b", key, data)
		pools, err := objects.Pools(context.Background(), m.Catalog)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range pools {
			if p.Pool.ID == versions[key].Extents[0].Pool && p.Pool.Survive != wantSurvive[gone] {
				t.Errorf("with %d drives gone it is written for %q, want %q", gone, p.Pool.Survive, wantSurvive[gone])
			}
		}
		m.Drives.SetAway(ids[gone], true)
	}
	_, err := s.Put(context.Background(), objects.PutRequest{Bucket: "b", Key: "x", Body: bytes.NewReader(data), Size: -1})
	if !errors.Is(err, hallig.ErrUnavailable) {
		t.Fatalf("a write with no drive left: %v", err)
	}
	for _, id := range ids {
		m.Drives.SetAway(id, false)
	}
	for key, v := range versions {
		if got, err := get(s, v, 0, -1); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: %v", key, err)
		}
	}
	// All back: the first pool is used again, none is made.
	if v := put(t, s, "b", "again", data); v.Extents[0].Pool != versions["0"].Extents[0].Pool {
		t.Errorf("written to pool %d, the whole mesh's is %d", v.Extents[0].Pool, versions["0"].Extents[0].Pool)
	}
}

// A drive that fills up, turns read-only or loses power in the middle of a
// body: the body goes on elsewhere, in further extents.
func TestDriveLeavesInMidBody(t *testing.T) {
	for _, state := range []shard.State{shard.StateFull, shard.StateReadOnly, shard.StateFailed} {
		for _, size := range []int64{-1, 21<<20 + 77} {
			m := objectstest.NewMesh(t, objectstest.Options{Drives: 4})
			bucket(t, m.Store, objects.Bucket{Name: "b"})
			data := body(5, 21<<20+77)
			gone := m.Drives.Mem(m.Drives.IDs()[2])
			reader := &triggered{Reader: bytes.NewReader(data), at: 9 << 20, do: func() {
				for gone.Status().Shards == 0 { // a stripe is there before it happens
					runtime.Gosched()
				}
				gone.SetState(state, "test")
			}}
			v, err := m.Store.Put(context.Background(), objects.PutRequest{Bucket: "b", Key: "k", Body: reader, Size: size})
			if err != nil {
				t.Fatalf("%s: %v", state, err)
			}
			if len(v.Extents) < 2 {
				t.Fatalf("%s: the body lies in %d extent: %+v", state, len(v.Extents), v.Extents)
			}
			for range 20 {
				off := rand.Int64N(v.Size)
				n := rand.Int64N(v.Size - off)
				got, err := get(m.Store, v, off, n)
				if err != nil || !bytes.Equal(got, data[off:off+n]) {
					t.Fatalf("%s: range %d+%d: %v", state, off, n, err)
				}
			}
			settled(t, m.Store)
		}
	}
}

// With every drive full writes say so, and reads go on.
func TestEveryDriveFull(t *testing.T) {
	m := objectstest.NewMesh(t, objectstest.Options{Drives: 3})
	bucket(t, m.Store, objects.Bucket{Name: "b"})
	data := body(1, 5000)
	v := put(t, m.Store, "b", "k", data)
	for _, id := range m.Drives.IDs() {
		m.Drives.Mem(id).SetState(shard.StateFull, "test")
	}
	_, err := m.Store.Put(context.Background(), objects.PutRequest{Bucket: "b", Key: "k", Body: bytes.NewReader(data), Size: -1})
	if !errors.Is(err, hallig.ErrFull) {
		t.Errorf("%v", err)
	}
	if got, err := get(m.Store, v, 0, -1); err != nil || !bytes.Equal(got, data) {
		t.Error(err)
	}
	if _, err := m.Store.Delete(context.Background(), "b", objects.DeleteRequest{Key: "k"}); err != nil {
		t.Error(err)
	}
}

// Full drives do not come back by themselves: as long as those that are left
// keep the promise they take over, then writes are refused. Drives that are
// away weaken the promise instead.
func TestSomeDrivesFull(t *testing.T) {
	for _, state := range []shard.State{shard.StateFull, shard.StateReadOnly} {
		m := objectstest.NewMesh(t, objectstest.Options{Drives: 4})
		bucket(t, m.Store, objects.Bucket{Name: "b"})
		data := body(1, 3<<20)
		write := func() error {
			_, err := m.Store.Put(t.Context(), objects.PutRequest{Bucket: "b", Key: "k", Body: bytes.NewReader(data), Size: int64(len(data))})
			return err
		}
		m.Drives.Mem(m.Drives.IDs()[0]).SetState(state, "test")
		if err := write(); err != nil {
			t.Fatalf("one of four %s: %v", state, err)
		}
		v, err := m.Store.Head(t.Context(), "b", "k", "")
		if err != nil {
			t.Fatal(err)
		}
		m.Drives.Mem(m.Drives.IDs()[1]).SetState(state, "test")
		if err := write(); errors.Is(err, hallig.ErrFull) != (state == shard.StateFull) || err != nil && state != shard.StateFull {
			t.Fatalf("two of four %s: %v", state, err)
		}
		if state != shard.StateFull {
			continue
		}
		for _, id := range m.Drives.IDs()[2:] {
			m.Drives.SetAway(id, true) // what was written with one full lives through any two
		}
		if got, err := get(m.Store, v, 0, -1); err != nil || !bytes.Equal(got, data) {
			t.Fatal(err)
		}
	}
}

// triggered does something once after so many bytes.
type triggered struct {
	io.Reader
	at   int
	read int
	do   func()
	once sync.Once
}

func (r *triggered) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if r.read += n; r.read > r.at {
		r.once.Do(r.do)
	}
	return n, err
}

// Flip any byte of any stored shard: the read that touches it serves the right
// bytes and reports the damage.
func TestCorruptShardIsReplacedInMidStream(t *testing.T) {
	for _, drives := range []int{2, 4, 6} {
		m := objectstest.NewMesh(t, objectstest.Options{Drives: drives})
		bucket(t, m.Store, objects.Bucket{Name: "b"})
		data := body(9, 9<<20)
		v := put(t, m.Store, "b", "k", data)
		id := m.Drives.IDs()[1]
		bad, data4 := 0, 0
		m.Drives.Mem(id).Walk(context.Background(), shard.ID{}, func(i shard.Info) error {
			if i.ID.Index < 2 {
				data4++ // a data shard in every one of these pools: it is read
			}
			if err := m.Drives.Mem(id).CorruptShard(i.ID, int64(bad*1000)%int64(i.Length)); err != nil {
				t.Fatal(err)
			}
			bad++
			return nil
		})
		got, err := get(m.Store, v, 0, -1)
		if err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%d drives: %v", drives, err)
		}
		if bad == 0 {
			t.Fatal("nothing was corrupted")
		}
		if drives == 2 || data4 == 0 {
			continue // only other shards were read
		}
		if d := m.Damage(); len(d) == 0 || !errors.Is(d[0].Err, hallig.ErrCorrupt) || d[0].Drive != id {
			t.Fatalf("%d drives: reported damage: %v", drives, d)
		}
	}
}

// A drive that answers with other bytes and right checksums is caught by
// authentication, found out by the vouched-for hashes, and worked around.
func TestLyingDrive(t *testing.T) {
	for _, drives := range []int{2, 3, 4, 6} {
		for liar := range drives {
			var lies atomic.Int64
			m := objectstest.NewMesh(t, objectstest.Options{Drives: drives, Wrap: func(i int, d shard.Store) shard.Store {
				if i != liar {
					return d
				}
				return &hooked{Store: d, after: func(_ shard.ID, got []byte) []byte {
					if len(got) > 0 {
						got = bytes.Clone(got)
						got[len(got)/2] ^= 0x10
						lies.Add(1)
					}
					return got
				}}
			}})
			bucket(t, m.Store, objects.Bucket{Name: "b"})
			for i, n := range []int{3000, 300_000, 5 << 20} {
				data := body(uint64(n), n)
				v := put(t, m.Store, "b", fmt.Sprint(i), data)
				before := lies.Load()
				if got, err := get(m.Store, v, 0, -1); err != nil || !bytes.Equal(got, data) {
					t.Fatalf("%d drives, %d lies, %d bytes: %v", drives, liar, n, err)
				}
				// The liar is also caught when another drive is away and it is decoded from.
				if drives >= 4 {
					m.Drives.SetAway(m.Drives.IDs()[(liar+1)%drives], true)
					if got, err := get(m.Store, v, 0, -1); err != nil || !bytes.Equal(got, data) {
						t.Fatalf("%d drives, %d lies, one away, %d bytes: %v", drives, liar, n, err)
					}
					m.Drives.SetAway(m.Drives.IDs()[(liar+1)%drives], false)
				}
				m.Store.WaitBackground()
				if lies.Load() > before && len(m.Damage()) == 0 {
					t.Fatalf("%d drives: drive %d lied and nobody was told", drives, liar)
				}
			}
			settled(t, m.Store)
		}
	}
}

// A shard that lies elsewhere than the topology now says is found.
func TestShardsAreFoundAfterTopologyChanges(t *testing.T) {
	m := objectstest.NewMesh(t, objectstest.Options{Drives: 5})
	bucket(t, m.Store, objects.Bucket{Name: "b"})
	data := body(4, 6<<20)
	v := put(t, m.Store, "b", "k", data)
	small := put(t, m.Store, "b", "s", data[:999])
	ids := m.Drives.IDs()
	check := func(when string) {
		t.Helper()
		if got, err := get(m.Store, v, 0, -1); err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%s: %v", when, err)
		}
		if got, err := get(m.Store, small, 0, -1); err != nil || !bytes.Equal(got, data[:999]) {
			t.Fatalf("%s: small: %v", when, err)
		}
	}
	m.Drives.Add()
	check("a drive added")
	set := func(state placement.DriveState, which ...hallig.DriveID) {
		m.Drives.Change(func(all []placement.Drive) []placement.Drive {
			for i := range all {
				for _, id := range which {
					if all[i].ID == id {
						all[i].State = state
					}
				}
			}
			return all
		})
	}
	set(placement.DriveDraining, ids...)
	check("all the old drives draining")
	set(placement.DriveLost, ids[0])
	m.Drives.SetAway(ids[0], true)
	check("one of them lost")
	set(placement.DriveLost, ids[3])
	m.Drives.SetAway(ids[3], true)
	check("two of them lost")
	put(t, m.Store, "b", "new", data)
	// Shards that somebody moved to any other drive are found in the end.
	m = objectstest.NewMesh(t, objectstest.Options{Drives: 4})
	bucket(t, m.Store, objects.Bucket{Name: "b"})
	v = put(t, m.Store, "b", "k", data)
	small = put(t, m.Store, "b", "s", data[:999])
	shuffle(t, m)
	check("every shard moved on by one drive")
}

// shuffle moves every shard to the next drive.
func shuffle(t *testing.T, m *objectstest.Mesh) {
	ctx := context.Background()
	ids := m.Drives.IDs()
	type moved struct {
		h    shard.Header
		body []byte
	}
	all := make([][]moved, len(ids))
	for i, id := range ids {
		d := m.Drives.Mem(id)
		d.Walk(ctx, shard.ID{}, func(info shard.Info) error {
			h, b, err := d.Get(ctx, info.ID, 0, -1, nil)
			if err != nil {
				t.Error(err)
			}
			all[i] = append(all[i], moved{h, b})
			return nil
		})
	}
	for i := range ids {
		d := m.Drives.Mem(ids[i])
		for _, x := range all[i] {
			d.Delete(ctx, x.h.ID)
		}
	}
	for i := range ids {
		for _, x := range all[i] {
			if err := m.Drives.Mem(ids[(i+1)%len(ids)]).Put(ctx, x.h, x.body); err != nil {
				t.Fatal(err)
			}
		}
	}
}
