package powercut

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/objects"
	"github.com/hallig-cloud/hallig/vfs/vfstest"
)

// errLost is what a check returns when an acknowledged change is missing.
var errLost = errors.New("an acknowledged change is lost")

// content returns n reproducible bytes.
func content(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24)})
	_, _ = r.Read(b)
	return b
}

// An event is one change of a key by its writer: the only one, so that changes
// of a key follow each other.
type event struct {
	gone    bool
	seed    uint64
	size    int
	version catalog.VersionID // of an acknowledged put in the versioned bucket
	acked   int               // disk operations when it was acknowledged
}

// A story is a run whose every acknowledgement is known.
type story struct {
	t     *testing.T
	disk  *vfstest.Disk
	fs    *vfstest.Faults // over disk
	id    *identity
	stack *stack
	from  int // disk operations after which the buckets were there

	mu      sync.Mutex
	seed    uint64
	history map[[2]string][]event // bucket and key → events, in order
}

// the buckets
const (
	plain     = "plain"
	versioned = "versioned"
)

// do makes a change and notes it: before, since a power cut may leave it, and
// after.
func (s *story) do(bucket, key string, e event, change func() (catalog.Version, error)) error {
	at := [2]string{bucket, key}
	s.mu.Lock()
	e.acked = 1 << 60
	i := len(s.history[at])
	s.history[at] = append(s.history[at], e)
	s.mu.Unlock()
	v, err := change()
	if err != nil {
		return fmt.Errorf("%s/%s: %w", bucket, key, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.history[at][i].acked = s.disk.Ops()
	s.history[at][i].version = v.ID()
	return nil
}

func (s *story) fresh(size int) event {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seed++
	return event{seed: s.seed, size: size}
}

func (s *story) put(ctx context.Context, bucket, key string, size int) error {
	e := s.fresh(size)
	return s.do(bucket, key, e, func() (catalog.Version, error) {
		return s.stack.store.Put(ctx, objects.PutRequest{Bucket: bucket, Key: key, Body: bytes.NewReader(content(e.seed, size)), Size: int64(size)})
	})
}

func (s *story) remove(ctx context.Context, bucket, key string) error {
	return s.do(bucket, key, event{gone: true}, func() (catalog.Version, error) {
		res, err := s.stack.store.Delete(ctx, bucket, objects.DeleteRequest{Key: key})
		if err == nil {
			err = res[0].Err
		}
		return catalog.Version{}, err
	})
}

// multipart uploads an object in two parts.
func (s *story) multipart(ctx context.Context, bucket, key string) error {
	const first = 5 << 20
	e := s.fresh(first + 70_000)
	data := content(e.seed, e.size)
	u, err := s.stack.store.CreateUpload(ctx, objects.CreateUploadRequest{Bucket: bucket, Key: key})
	if err != nil {
		return err
	}
	var parts []objects.CompletePart
	for i, b := range [][]byte{data[:first], data[first:]} {
		p, err := s.stack.store.PutPart(ctx, objects.PutPartRequest{Bucket: bucket, Key: key, Upload: u.ID, Number: i + 1, Body: bytes.NewReader(b), Size: int64(len(b))})
		if err != nil {
			return err
		}
		parts = append(parts, objects.CompletePart{Number: i + 1, ETag: p.ETag, Checksum: p.Checksum})
	}
	return s.do(bucket, key, e, func() (catalog.Version, error) {
		return s.stack.store.Complete(ctx, objects.CompleteRequest{Bucket: bucket, Key: key, Upload: u.ID, Parts: parts, Size: -1})
	})
}

// write is one writer's part of a phase.
func (s *story) write(ctx context.Context, writer int, rng *rand.Rand, changes int) error {
	sizes := []int{0, 100, 4096, 70_000, 200_000, 1_200_000}
	if writer == 0 {
		if err := s.multipart(ctx, plain, "w0/large"); err != nil {
			return err
		}
	}
	for range changes {
		bucket := plain
		if rng.IntN(3) == 0 {
			bucket = versioned
		}
		key := fmt.Sprintf("w%d/%d", writer, rng.IntN(5))
		var err error
		if rng.IntN(4) == 0 {
			err = s.remove(ctx, bucket, key)
		} else {
			err = s.put(ctx, bucket, key, sizes[rng.IntN(len(sizes))])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// phase runs the writers side by side.
func (s *story) phase(ctx context.Context, seed uint64, changes int) {
	s.t.Helper()
	const writers = 3
	errs := make([]error, writers)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() { errs[w] = s.write(ctx, w, rand.New(rand.NewPCG(seed, uint64(w))), changes) })
	}
	wg.Wait()
	s.must(errors.Join(errs...))
}

func (s *story) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *story) restart(ctx context.Context, rebuild func(int) bool) {
	s.t.Helper()
	s.must(s.stack.close())
	var err error
	s.stack, err = open(ctx, s.id, s.fs, rebuild)
	s.must(err)
}

func none(int) bool { return false }

// tell runs the story: writers on three drives, segments that fill up, garbage
// swept and drives compacted while they write, a restart with an index thrown
// away, snapshots of the catalog that truncate its log. With lies, no sync does
// anything once the buckets are there.
func tell(t *testing.T, d *vfstest.Disk, seed uint64, lies bool) *story {
	t.Helper()
	ctx := t.Context()
	s := &story{t: t, disk: d, fs: vfstest.NewFaults(d), history: map[[2]string][]event{}}
	var err error
	s.id, err = create(s.fs, 3)
	s.must(err)
	s.stack, err = open(ctx, s.id, s.fs, none)
	s.must(err)
	_, err = s.stack.store.CreateBucket(ctx, objects.Bucket{Name: plain, Owner: "o"})
	s.must(err)
	_, err = s.stack.store.CreateBucket(ctx, objects.Bucket{Name: versioned, Owner: "o", Versioning: catalog.Enabled})
	s.must(err)
	s.from = d.Ops()
	if lies {
		s.fs.Inject(vfstest.Fault{Op: vfstest.OpSync | vfstest.OpSyncDir, Lie: true})
	}
	s.phase(ctx, seed, 20)
	s.restart(ctx, func(i int) bool { return i == 0 })
	tidied := make(chan error, 1)
	go func() { tidied <- s.stack.tidy(ctx) }()
	s.phase(ctx, seed+1, 20)
	s.must(<-tidied)
	s.must(s.stack.tidy(ctx))
	for i := range 300 { // the log keeps 256 entries
		s.must(s.put(ctx, plain, "counter", i%2))
	}
	snapshots := uint64(0)
	for _, p := range s.stack.catalog.Status().Partitions {
		snapshots += p.Snapshot
	}
	if snapshots == 0 {
		t.Error("the catalog took no snapshot")
	}
	s.phase(ctx, seed+2, 8)
	s.must(s.stack.close())
	return s
}

// read returns the bytes of a version.
func read(ctx context.Context, st *objects.Store, v catalog.Version) ([]byte, error) {
	r, err := st.Get(ctx, objects.GetRequest{Version: v, Length: -1})
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(r)
	return b, errors.Join(err, r.Close())
}

// holds reports whether what a store returned for a version is the event's.
func (e event) holds(b []byte, err error) bool {
	if e.gone {
		return errors.Is(err, hallig.ErrNotFound)
	}
	return err == nil && len(b) == e.size && bytes.Equal(b, content(e.seed, e.size))
}

// check starts the store on a crash state and compares what it holds with what
// was acknowledged. In every other state the power goes a second time, after
// the first recovery.
func (s *story) check(c vfstest.Crash) (err error) {
	ctx := context.Background()
	rebuild := func(i int) bool { return i == c.Variant%5 }
	st, err := open(ctx, s.id, c.Disk, rebuild)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.close()) }()
	if err := st.tidy(ctx); err != nil {
		return err
	}
	if c.Variant%2 == 0 {
		return s.compare(ctx, st, c.Ops)
	}
	again, err := open(ctx, s.id, c.Disk.Crash(c.Seed+uint64(c.Ops)), none)
	if err != nil {
		return fmt.Errorf("after a second cut: %w", err)
	}
	defer func() { err = errors.Join(err, again.close()) }()
	if err := s.compare(ctx, again, c.Ops); err != nil {
		return fmt.Errorf("after a second cut: %w", err)
	}
	return nil
}

// compare holds a store against what was acknowledged before a cut.
func (s *story) compare(ctx context.Context, st *stack, ops int) error {
	listed, err := list(ctx, st.store)
	if err != nil {
		return err
	}
	for at, events := range s.history {
		if err := s.checkKey(ctx, st.store, ops, at, events, listed[at]); err != nil {
			return fmt.Errorf("%s/%s: %w", at[0], at[1], err)
		}
		delete(listed, at)
	}
	for at := range listed {
		return fmt.Errorf("%s/%s is listed and was never put", at[0], at[1])
	}
	return nil
}

// checkKey compares one key: it is as the last acknowledged change left it, or
// the one after that, which was under way.
func (s *story) checkKey(ctx context.Context, st *objects.Store, ops int, at [2]string, events []event, listed bool) error {
	last := -1
	for i, e := range events {
		if e.acked <= ops {
			last = i
		}
	}
	var b []byte
	v, err := st.Head(ctx, at[0], at[1], catalog.CurrentVersion)
	if err == nil {
		if b, err = read(ctx, st, v); err != nil {
			return fmt.Errorf("event %d: head answers and the body cannot be read: %w: %w", last, err, errLost)
		}
	}
	if listed != (err == nil) {
		return fmt.Errorf("listed: %v, read: %w", listed, err)
	}
	before := event{gone: true}
	if last >= 0 {
		before = events[last]
	}
	if !before.holds(b, err) && (last+1 >= len(events) || !events[last+1].holds(b, err)) {
		return fmt.Errorf("%d bytes (%v), acknowledged was event %d, %+v: %w", len(b), err, last, before, errLost)
	}
	if at[0] != versioned {
		return nil
	}
	for i, e := range events[:last+1] { // no version was ever deleted
		if e.gone {
			continue
		}
		v, err := st.Head(ctx, at[0], at[1], e.version)
		if err == nil {
			b, err = read(ctx, st, v)
		}
		if !e.holds(b, err) {
			return fmt.Errorf("version %s of event %d: %d bytes, %w: %w", e.version, i, len(b), err, errLost)
		}
	}
	return nil
}

// list returns the keys of both buckets.
func list(ctx context.Context, st *objects.Store) (map[[2]string]bool, error) {
	keys := map[[2]string]bool{}
	for _, bucket := range []string{plain, versioned} {
		page, err := st.List(ctx, bucket, catalog.Query{Limit: 1000})
		if err != nil || page.Truncated {
			return nil, fmt.Errorf("list %s: truncated %v, %w", bucket, page.Truncated, err)
		}
		for _, i := range page.Items {
			keys[[2]string{bucket, i.Version.Key}] = true
		}
	}
	return keys, nil
}

// variants is how many states are made at each boundary.
const variants = 4

// crashes spreads a number of states over a story: a two-hundredth of
// HALLIG_CRASH_STATES, since a state costs that much more than one of a drive.
func (s *story) crashes(seed uint64) vfstest.CrashConfig {
	budget := 200
	if testing.Short() {
		budget = 16
	}
	if n, err := strconv.Atoi(os.Getenv("HALLIG_CRASH_STATES")); err == nil {
		budget = n / 200
	}
	return vfstest.CrashConfig{Seed: seed, Variants: variants, From: s.from, Stride: max(1, (s.disk.Ops()-s.from)*variants/max(budget, 1))}
}

// eachCrash is d.EachCrash with several states under way at a time: a start
// waits for elections most of its time.
func eachCrash(d *vfstest.Disk, cfg vfstest.CrashConfig, check func(vfstest.Crash) error) (int, error) {
	var g errgroup.Group
	g.SetLimit(6)
	var failed atomic.Bool
	n, err := d.EachCrash(cfg, func(c vfstest.Crash) error {
		if failed.Load() {
			return vfstest.Stop
		}
		g.Go(func() error {
			if err := check(c); err != nil {
				failed.Store(true)
				return fmt.Errorf("%s: %w", c, err)
			}
			return nil
		})
		return nil
	})
	return n, errors.Join(err, g.Wait())
}

// storySeed is that of the run; HALLIG_SEED replays one.
func storySeed(t *testing.T) uint64 {
	seed := rand.Uint64N(1 << 32)
	if n, err := strconv.ParseUint(os.Getenv("HALLIG_SEED"), 10, 64); err == nil {
		seed = n
	}
	t.Logf("HALLIG_SEED=%d", seed)
	return seed
}

// TestPowerCut cuts the power all along a run of the whole store.
func TestPowerCut(t *testing.T) {
	seed := storySeed(t)
	d := vfstest.NewDisk(vfstest.DiskConfig{Record: true})
	s := tell(t, d, seed, false)
	n, err := eachCrash(d, s.crashes(seed), s.check)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d crash states of %d operations, %d keys", n, d.Ops(), len(s.history))
}

// TestPowerCutWithoutSync is the negative control: the same run on a disk whose
// syncs do nothing loses what was acknowledged, all over the place.
func TestPowerCutWithoutSync(t *testing.T) {
	seed := storySeed(t)
	d := vfstest.NewDisk(vfstest.DiskConfig{Record: true})
	s := tell(t, d, seed, true)
	lost, broken := 0, 0
	n, err := d.EachCrash(vfstest.CrashConfig{Seed: seed, Variants: variants, From: s.from, Stride: max(1, (d.Ops()-s.from)/6)}, func(c vfstest.Crash) error {
		switch err := s.check(c); {
		case errors.Is(err, errLost):
			lost++
		case err != nil:
			broken++
		}
		return nil
	})
	if err != nil || lost == 0 {
		t.Fatalf("without syncs, of %d states %d have lost something, %d do not start: %v", n, lost, broken, err)
	}
	t.Logf("%d states: %d have lost something, %d do not start", n, lost, broken)
}
