package upkeep

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/objects"
	"github.com/hallig-cloud/hallig/objects/objectstest"
	"github.com/hallig-cloud/hallig/placement"
	"github.com/hallig-cloud/hallig/shard"
	shardmem "github.com/hallig-cloud/hallig/shard/mem"
)

// A disk is a drive that a test can make lose or change shards unnoticed.
type disk struct {
	*shardmem.Store
	mu     sync.Mutex
	hidden map[shard.ID]bool
	lies   map[shard.ID]bool
	forged *forged // what it says of this shard is made up
}

func (d *disk) hide(id shard.ID) { d.mu.Lock(); defer d.mu.Unlock(); d.hidden[id] = true }
func (d *disk) lie(id shard.ID)  { d.mu.Lock(); defer d.mu.Unlock(); d.lies[id] = true }
func (d *disk) is(m map[shard.ID]bool, id shard.ID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return m[id]
}

func (d *disk) forgery(id shard.ID) *forged {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.forged == nil || d.forged.header.ID != id {
		return nil
	}
	return d.forged
}

func (d *disk) Put(ctx context.Context, h shard.Header, body []byte) error {
	err := d.Store.Put(ctx, h, body)
	if err == nil {
		d.mu.Lock()
		delete(d.hidden, h.ID)
		d.mu.Unlock()
	}
	return err
}

func (d *disk) Get(ctx context.Context, id shard.ID, off, n int64, dst []byte) (shard.Header, []byte, error) {
	if d.is(d.hidden, id) {
		return shard.Header{}, dst, fmt.Errorf("hidden: %w", hallig.ErrNotFound)
	}
	if f := d.forgery(id); f != nil {
		end := int64(len(f.body))
		if n >= 0 {
			end = min(end, off+n)
		}
		return f.header, append(dst, f.body[off:end]...), nil
	}
	h, b, err := d.Store.Get(ctx, id, off, n, dst)
	if err == nil && d.is(d.lies, id) {
		b = bytes.Clone(b)
		b[len(b)/2] ^= 1
	}
	return h, b, err
}

func (d *disk) Stat(ctx context.Context, id shard.ID) (shard.Header, error) {
	if d.is(d.hidden, id) {
		return shard.Header{}, fmt.Errorf("hidden: %w", hallig.ErrNotFound)
	}
	if f := d.forgery(id); f != nil {
		return f.header, nil
	}
	return d.Store.Stat(ctx, id)
}

func (d *disk) Walk(ctx context.Context, after shard.ID, fn func(shard.Info) error) error {
	return d.Store.Walk(ctx, after, func(i shard.Info) error {
		if d.is(d.hidden, i.ID) {
			return nil
		}
		return fn(i)
	})
}

// A world is a mesh in memory, with objects in it, and its upkeep.
type world struct {
	t *testing.T
	*objectstest.Mesh
	u       *Upkeep
	disks   map[hallig.DriveID]*disk
	clock   time.Time
	mu      sync.Mutex
	bodies  map[string][]byte
	rng     *rand.Rand
	session hallig.SessionID
	mesh    hallig.MeshID
	edit    func(*Config)
}

func (w *world) now() time.Time { w.mu.Lock(); defer w.mu.Unlock(); return w.clock }
func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clock = w.clock.Add(d)
}

func newWorld(t *testing.T, drives int, edit func(*Config), wrap func(catalog.Catalog) catalog.Catalog) *world {
	t.Helper()
	const replay = 0
	seed := uint64(replay)
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d", seed)
	w := &world{t: t, disks: map[hallig.DriveID]*disk{}, bodies: map[string][]byte{}, rng: rand.New(rand.NewPCG(seed, 1)), clock: time.Now(), edit: edit}
	w.Mesh = objectstest.NewMesh(t, objectstest.Options{
		Drives: drives,
		Open: func(id hallig.DriveID, _ int) shard.Store {
			d := &disk{Store: shardmem.New(shardmem.Config{Drive: id}), hidden: map[shard.ID]bool{}, lies: map[shard.ID]bool{}}
			w.disks[id] = d
			return d
		},
		Config: func(c *objects.Config) {
			c.SmallLimit = 1000
			c.Avoid = time.Nanosecond
			w.session, w.mesh = c.Session, c.Mesh
			c.Damage = func(d objects.Damage) {
				if w.u != nil {
					w.u.Damage(d)
				}
			}
		},
		WrapCatalog: wrap,
	})
	w.restart(w.session)
	if _, err := w.Store.CreateBucket(t.Context(), objects.Bucket{Name: "b", Owner: "o"}); err != nil {
		t.Fatal(err)
	}
	return w
}

// restart makes a new Upkeep, as another life of the process would.
func (w *world) restart(session hallig.SessionID) {
	w.t.Helper()
	c := Config{Catalog: w.Catalog, Drives: w.Drives, Buckets: w.Store, Keys: w.Keys, Mesh: w.mesh, Session: session,
		Now: w.now, RepairRate: 1 << 40, ScrubRate: 1 << 40}
	if w.edit != nil {
		w.edit(&c)
	}
	u, err := New(c)
	if err != nil {
		w.t.Fatal(err)
	}
	w.u = u
}

// put stores an object of n bytes.
func (w *world) put(key string, n int) {
	w.t.Helper()
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(w.rng.Uint32()), byte(w.rng.Uint32())}).Read(b) //nolint:errcheck // never fails
	if _, err := w.Store.Put(w.t.Context(), objects.PutRequest{Bucket: "b", Key: key, Body: bytes.NewReader(b), Size: int64(n)}); err != nil {
		w.t.Fatalf("put %s: %v", key, err)
	}
	w.bodies[key] = b
}

// fill stores objects of every kind: small ones, one-segment, many-stripe.
func (w *world) fill() {
	for i := range 12 {
		w.put(fmt.Sprint("small", i), 1+w.rng.IntN(900))
	}
	for i, n := range []int{1001, 64 << 10, 300_000, 700_000, 4<<20 + 1} {
		w.put(fmt.Sprint("large", i), n)
	}
}

// check reads every object.
func (w *world) check() error {
	for key, want := range w.bodies {
		v, err := w.Store.Head(w.t.Context(), "b", key, "")
		if err != nil {
			return err
		}
		r, err := w.Store.Get(w.t.Context(), objects.GetRequest{Version: v, Length: -1})
		if err != nil {
			return err
		}
		got, err := io.ReadAll(r)
		r.Close()
		if err != nil || !bytes.Equal(got, want) {
			return fmt.Errorf("%s: %d of %d bytes, %w", key, len(got), len(want), err)
		}
	}
	return nil
}

func (w *world) mustCheck() {
	w.t.Helper()
	if err := w.check(); err != nil {
		w.t.Fatal(err)
	}
}

// inventory lists every shard with its drive, in a stable order.
type held struct {
	drive hallig.DriveID
	id    shard.ID
}

func (w *world) inventory() []held {
	var out []held
	for _, id := range w.Drives.IDs() {
		w.disks[id].Walk(w.t.Context(), shard.ID{}, func(i shard.Info) error { //nolint:errcheck // in memory
			out = append(out, held{id, i.ID})
			return nil
		})
	}
	return out
}

func (w *world) compare() Comparison {
	w.t.Helper()
	c, err := w.u.Compare(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *world) repair() {
	w.t.Helper()
	if err := w.u.RepairWaiting(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// whole fails the test unless every shard is where it belongs, and right.
func (w *world) whole() {
	w.t.Helper()
	if c := w.compare(); c.Missing+c.Unplaced+c.Orphans > 0 || c.Away > 0 {
		w.t.Fatalf("not whole: %v", c)
	}
	for _, h := range w.inventory() {
		if err := w.disks[h.drive].Verify(w.t.Context(), h.id); err != nil {
			w.t.Fatalf("%s on %s: %v", h.id, h.drive, err)
		}
	}
}

// lose declares a drive lost.
func (w *world) lose(id hallig.DriveID, state placement.DriveState) {
	w.Drives.SetAway(id, state == placement.DriveLost)
	w.Drives.Change(func(d []placement.Drive) []placement.Drive {
		for i := range d {
			if d[i].ID == id {
				d[i].State = state
			}
		}
		return d
	})
}

// TestHeal: what is corrupted or vanishes is found by scrub and comparison and
// rebuilt, identical, where it belongs.
func TestHeal(t *testing.T) {
	for _, drives := range []int{2, 3, 5, 8} {
		t.Run(fmt.Sprint(drives), func(t *testing.T) {
			w := newWorld(t, drives, nil, nil)
			w.fill()
			before := w.inventory()
			w.whole()
			if w.u.Settled() != w.Drives.Topology().Revision {
				t.Fatal("a whole store is settled")
			}
			// Within what a stripe can lose: one shard of each stripe.
			hurt := map[stripeID]bool{}
			corrupted, hidden := 0, 0
			for _, i := range w.rng.Perm(len(before)) {
				h := before[i]
				if hurt[stripeOf(h.id)] {
					continue
				}
				hurt[stripeOf(h.id)] = true
				if len(hurt)%2 == 0 {
					w.disks[h.drive].hide(h.id)
					hidden++
					continue
				}
				corrupted++
				if err := w.disks[h.drive].CorruptShard(h.id, 0); err != nil {
					t.Fatal(err)
				}
			}
			var seen int
			if err := w.u.ScrubNow(t.Context(), func(p ScrubProgress) { seen += len(p.Bad) }); err != nil {
				t.Fatal(err)
			}
			if seen < corrupted { // what is hidden is verified by the disk all the same
				t.Fatalf("the scrub found %d of %d bad shards", seen, corrupted)
			}
			w.repair()
			if c := w.compare(); c.Missing < int64(hidden) {
				t.Fatalf("the comparison found %d of %d missing shards", c.Missing, hidden)
			}
			w.repair()
			w.whole()
			if after := w.inventory(); !slices.Equal(before, after) {
				t.Fatalf("%d shards before, %d after", len(before), len(after))
			}
			w.mustCheck()
		})
	}
}

// TestDamage: a GET that meets a bad shard has it repaired.
func TestDamage(t *testing.T) {
	w := newWorld(t, 5, nil, nil)
	w.fill()
	for _, h := range w.inventory() {
		if h.id.Index == 0 {
			if err := w.disks[h.drive].CorruptShard(h.id, 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.mustCheck()
	if w.u.queue.length() == 0 {
		t.Fatal("reads reported nothing")
	}
	w.repair()
	w.compare() // copies that no read touched
	w.repair()
	w.whole()
}

// TestNothingWrongIsSpread: a drive gives wrong bytes with right checksums while
// another's shard is rebuilt. With verification off the corruption spreads, and
// the test sees it.
func TestNothingWrongIsSpread(t *testing.T) {
	for _, off := range []bool{false, true} {
		w := newWorld(t, 5, func(c *Config) { c.noVerify = off }, nil)
		w.put("large", 300_000)
		var victim held
		originals := map[shard.ID][]byte{}
		for _, h := range w.inventory() {
			_, b, err := w.disks[h.drive].Get(t.Context(), h.id, 0, -1, nil)
			if err != nil {
				t.Fatal(err)
			}
			originals[h.id] = b
			switch h.id.Index {
			case 0:
				w.disks[h.drive].lie(h.id)
			case 4:
				victim = h
				w.disks[h.drive].hide(h.id)
			}
		}
		// The hidden shard must be really gone, or Put finds it.
		w.disks[victim.drive].Store = shardmem.New(shardmem.Config{Drive: victim.drive})
		w.compare()
		w.repair()
		_, got, err := w.disks[victim.drive].Get(t.Context(), victim.id, 0, -1, nil)
		if err != nil {
			t.Fatal(err)
		}
		if spread := !bytes.Equal(got, originals[victim.id]); spread != off {
			t.Errorf("verification off %v: corruption spread %v", off, spread)
		}
	}
}

// TestLostDrive: a drive is declared lost. Copies go to substitutes, coded
// stripes whose pool no longer fits are re-encoded, and then as many drives as
// promised may go at once.
func TestLostDrive(t *testing.T) {
	for _, drives := range []int{2, 3, 4, 6} {
		t.Run(fmt.Sprint(drives), func(t *testing.T) {
			w := newWorld(t, drives, nil, nil)
			w.fill()
			ids := w.Drives.IDs()
			w.lose(ids[1], placement.DriveLost)
			w.compare()
			w.repair()
			r, err := w.u.Reencode(t.Context())
			if err != nil || r.Failed > 0 || r.Held > 0 {
				t.Fatalf("%+v %v", r, err)
			}
			w.pass(time.Hour)
			if _, err := w.u.Sweep(t.Context()); err != nil {
				t.Fatal(err)
			}
			w.whole()
			w.mustCheck()
			if w.u.Settled() != w.Drives.Topology().Revision {
				t.Error("not settled")
			}
			r, err = w.u.Reencode(t.Context())
			if err != nil || r.Moved > 0 {
				t.Fatalf("nothing is left to be moved: %+v %v", r, err)
			}
			gone := map[hallig.Survive]int{hallig.SurviveDrive: 1, hallig.SurviveTwoDrives: 2}[placement.Default(w.Drives.Topology())]
			for _, id := range ids[2 : 2+gone] {
				w.Drives.SetAway(id, true)
			}
			w.mustCheck()
		})
	}
}

// TestNeverLessSafe: when the default promise shrinks with the drives, what can
// stay as safe as it was does; when somebody states a smaller promise, it
// shrinks, and when drives are back it grows.
func TestNeverLessSafe(t *testing.T) {
	w := newWorld(t, 4, nil, nil)
	w.put("small", 100)   // 3 copies
	w.put("large", 50000) // 2+2
	w.lose(w.Drives.IDs()[0], placement.DriveLost)
	scheme := func(key string) string {
		v, err := w.Store.Head(t.Context(), "b", key, "")
		if err != nil {
			t.Fatal(err)
		}
		p, err := w.u.pool(t.Context(), v.Extents[0].Pool)
		if err != nil {
			t.Fatal(err)
		}
		return p.Scheme.String()
	}
	step := func(small, large string) {
		t.Helper()
		w.compare()
		w.repair()
		if r, err := w.u.Reencode(t.Context()); err != nil || r.Failed > 0 {
			t.Fatalf("%+v %v", r, err)
		}
		w.pass(time.Hour)
		if _, err := w.u.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.whole()
		if scheme("small") != small || scheme("large") != large {
			t.Fatalf("small %s, large %s; want %s, %s", scheme("small"), scheme("large"), small, large)
		}
		w.mustCheck()
	}
	step("3 copies", "2 copies")
	if _, err := w.Store.UpdateBucket(t.Context(), "b", func(b *objects.Bucket) error { b.Survive = hallig.SurviveDrive; return nil }); err != nil {
		t.Fatal(err)
	}
	step("2 copies", "2 copies")
	if _, err := w.Store.UpdateBucket(t.Context(), "b", func(b *objects.Bucket) error { b.Survive = ""; return nil }); err != nil {
		t.Fatal(err)
	}
	id := w.Drives.Add()
	w.disks[id] = &disk{Store: w.Drives.Mem(id), hidden: map[shard.ID]bool{}, lies: map[shard.ID]bool{}}
	step("3 copies", "2+2")
}

// TestDrain: a draining drive is emptied of what is needed, then it may go.
func TestDrain(t *testing.T) {
	w := newWorld(t, 8, nil, nil)
	w.fill()
	id := w.Drives.IDs()[3]
	w.lose(id, placement.DriveDraining)
	w.compare()
	w.repair()
	if _, err := w.u.Reencode(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.repair()
	w.whole()
	if w.u.Settled() != w.Drives.Topology().Revision {
		t.Fatal("not settled")
	}
	w.Drives.SetAway(id, true)
	w.mustCheck()
}

// TestGrown: more drives make a wider pool, and what there was moves into it.
func TestGrown(t *testing.T) {
	w := newWorld(t, 1, nil, nil)
	w.fill()
	for range 4 {
		id := w.Drives.Add()
		w.disks[id] = &disk{Store: w.Drives.Mem(id), hidden: map[shard.ID]bool{}, lies: map[shard.ID]bool{}}
	}
	r, err := w.u.Reencode(t.Context())
	if err != nil || r.Moved != int64(len(w.bodies)) {
		t.Fatalf("%+v %v", r, err)
	}
	w.pass(time.Hour)
	if _, err := w.u.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.whole()
	for _, id := range w.Drives.IDs()[:2] {
		w.Drives.SetAway(id, true)
	}
	w.mustCheck()
}

// TestCompareInRanges: with little memory it takes several walks, and finds the
// same.
func TestCompareInRanges(t *testing.T) {
	w := newWorld(t, 5, func(c *Config) { c.CompareBatch = 4 }, nil)
	w.fill()
	w.whole()
	all := w.inventory()
	hidden := int64(0)
	for i, h := range all {
		if i%5 == 0 {
			w.disks[h.drive].hide(h.id)
			hidden++
		}
	}
	c := w.compare()
	if c.Missing != hidden || c.Extents != int64(len(w.bodies)) || c.Alive+c.Orphans+c.Surplus > 0 {
		t.Fatalf("%d hidden: %v", hidden, c)
	}
}

// TestSweep: replaced and removed data goes after its grace, nothing else.
func TestSweep(t *testing.T) {
	w := newWorld(t, 4, nil, nil)
	w.fill()
	live := len(w.inventory())
	w.put("small0", 500)
	w.put("large4", 4<<20+1)
	w.put("gone", 3<<20)
	if _, err := w.Store.Delete(t.Context(), "b", objects.DeleteRequest{Key: "gone"}); err != nil {
		t.Fatal(err)
	}
	delete(w.bodies, "gone")
	s, err := w.u.Sweep(t.Context())
	if err != nil || s.Shards > 0 || s.Waiting != 3 {
		t.Fatalf("before the grace is over: %+v %v", s, err)
	}
	w.pass(DefaultGrace + time.Hour)
	// A drive that is away keeps the catalog from forgetting.
	away := w.Drives.IDs()[2]
	w.Drives.SetAway(away, true)
	if s, err = w.u.Sweep(t.Context()); err != nil || s.Garbage > 0 {
		t.Fatalf("with a drive away: %+v %v", s, err)
	}
	w.Drives.SetAway(away, false)
	if s, err = w.u.Sweep(t.Context()); err != nil || s.Garbage != 3 {
		t.Fatalf("%+v %v", s, err)
	}
	if n := len(w.inventory()); n != live {
		t.Errorf("%d shards are left, want %d", n, live)
	}
	w.whole()
	w.mustCheck()
}

// TestSweepScarce: with little space left garbage goes as soon as nobody reads
// it, and what is being read stays beyond the grace.
func TestSweepScarce(t *testing.T) {
	for _, blind := range []bool{false, true} { // blind: the negative control
		var reading hallig.DataID
		w := newWorld(t, 4, func(c *Config) {
			c.Reading = func(d hallig.DataID) bool { return d == reading && !blind }
		}, nil)
		w.put("read", 3<<20)
		w.put("gone", 3<<20)
		v, err := w.Store.Head(t.Context(), "b", "read", "")
		if err != nil {
			t.Fatal(err)
		}
		reading = v.Extents[0].Data
		for _, key := range []string{"read", "gone"} {
			if _, err := w.Store.Delete(t.Context(), "b", objects.DeleteRequest{Key: key}); err != nil {
				t.Fatal(err)
			}
		}
		w.pass(time.Minute)
		if s, err := w.u.Sweep(t.Context()); err != nil || s.Garbage != 0 {
			t.Fatalf("there is space: %+v %v", s, err)
		}
		id := w.Drives.IDs()[1]
		w.disks[id].SetState(shard.StateFull, "full")
		want := Swept{Garbage: 1, Waiting: 1}
		if blind {
			want = Swept{Garbage: 2}
		}
		if s, err := w.u.Sweep(t.Context()); err != nil || s.Garbage != want.Garbage || s.Waiting != want.Waiting {
			t.Fatalf("a drive is full: %+v %v, want %+v", s, err, want)
		}
		if blind {
			continue
		}
		w.pass(24 * time.Hour)
		if s, err := w.u.Sweep(t.Context()); err != nil || s.Garbage != 0 || s.Waiting != 1 {
			t.Fatalf("it is still being read: %+v %v", s, err)
		}
		reading = hallig.DataID{}
		if s, err := w.u.Sweep(t.Context()); err != nil || s.Garbage != 1 {
			t.Fatalf("the reader is done: %+v %v", s, err)
		}
	}
}

// orphan stores a body's shards under a session without committing them, and
// returns the commit that would make it exist.
func (w *world) orphan(session hallig.SessionID) func() error {
	w.t.Helper()
	w.put("template", 2000)
	v, err := w.Store.Head(w.t.Context(), "b", "template", "")
	if err != nil {
		w.t.Fatal(err)
	}
	data := hallig.NewID()
	for _, h := range w.inventory() {
		if h.id.Data != v.Extents[0].Data {
			continue
		}
		header, body, err := w.disks[h.drive].Get(w.t.Context(), h.id, 0, -1, nil)
		if err != nil {
			w.t.Fatal(err)
		}
		header.ID.Data, header.Session = data, session
		if err := w.disks[h.drive].Put(w.t.Context(), header, body); err != nil {
			w.t.Fatal(err)
		}
	}
	b, err := w.Store.Bucket(w.t.Context(), "b")
	if err != nil {
		w.t.Fatal(err)
	}
	return func() error {
		n := v
		n.Key, n.Extents = "slow", slices.Clone(v.Extents)
		n.Extents[0].Data = data
		res, err := w.Catalog.Commit(w.t.Context(), catalog.Request{ID: hallig.NewID(), Session: session, Bucket: b.ID, Epoch: b.Epoch, Ops: []catalog.Op{catalog.Put{Version: n}}})
		if err != nil {
			return err
		}
		return res[0].Err
	}
}

// TestOrphans: what a dead writer left goes; what a living one wrote stays; and
// a writer that was taken for dead cannot commit what was deleted. Without the
// fence it can, its acknowledged write is lost, and the test sees it.
func TestOrphans(t *testing.T) {
	for _, off := range []bool{false, true} {
		alive := hallig.NewID()
		w := newWorld(t, 4, func(c *Config) {
			c.noFence = off
			own := c.Session
			c.Living = func(s hallig.SessionID) bool { return s == own || s == alive }
		}, nil)
		w.fill()
		living := w.orphan(alive)
		slow := w.orphan(hallig.NewID())
		c := w.compare()
		if c.Orphans == 0 || c.Alive == 0 {
			t.Fatalf("%v", c)
		}
		if err := living(); err != nil {
			t.Fatalf("a living writer's commit: %v", err)
		}
		err := slow()
		if !off && !errors.Is(err, hallig.ErrFenced) {
			t.Fatalf("the fenced writer's commit: %v", err)
		}
		lost := err == nil && w.compare().Missing > 0
		if lost != off {
			t.Errorf("fence off %v: an acknowledged write was lost %v", off, lost)
		}
		w.mustCheck()
	}
}

// A lossyCatalog loses the answers of commits.
type lossyCatalog struct {
	catalog.Catalog
	fail func(catalog.Request) (before, after bool)
}

func (c *lossyCatalog) Commit(ctx context.Context, r catalog.Request) ([]catalog.Result, error) {
	before, after := false, false
	if c.fail != nil {
		before, after = c.fail(r)
	}
	if before {
		return nil, hallig.ErrUnavailable
	}
	res, err := c.Catalog.Commit(ctx, r)
	if after {
		return nil, hallig.ErrUnavailable
	}
	return res, err
}

// TestReencodeCutShort: a re-encoding whose commit was lost, or whose answer
// was, is settled by the next life of the process: nothing stays, nothing is
// lost, and the next try succeeds.
func TestReencodeCutShort(t *testing.T) {
	for _, applied := range []bool{false, true} {
		w := newWorld(t, 6, nil, nil)
		w.put("large", 9_000_000)
		w.put("small", 100)
		lossy := &lossyCatalog{Catalog: w.Catalog, fail: func(r catalog.Request) (bool, bool) {
			_, update := r.Ops[0].(catalog.Update)
			return update && !applied, update && applied
		}}
		w.lose(w.Drives.IDs()[0], placement.DriveLost)
		w.edit = func(c *Config) { c.Catalog = lossy }
		w.restart(w.session)
		if r, err := w.u.Reencode(t.Context()); err != nil || r.Failed == 0 {
			t.Fatalf("%+v %v", r, err)
		}
		w.edit = nil
		w.restart(hallig.NewID()) // the store's own session is dead to this one
		if err := w.u.resumeReencodings(t.Context()); err != nil {
			t.Fatal(err)
		}
		recs, err := w.Catalog.Scan(t.Context(), catalog.KindTask, reencodePrefix, 10)
		if err != nil || len(recs) > 0 {
			t.Fatalf("%d records are left, %v", len(recs), err)
		}
		w.compare()
		w.repair()
		r, err := w.u.Reencode(t.Context())
		if want := map[bool]int64{false: 1, true: 0}[applied]; err != nil || r.Moved != want {
			t.Fatalf("applied %v: %+v %v", applied, r, err)
		}
		w.pass(time.Hour)
		if _, err := w.u.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.compare()
		w.repair()
		if c := w.compare(); c.Missing+c.Unplaced+c.Surplus > 0 {
			t.Fatalf("applied %v: %v", applied, c)
		}
		w.mustCheck()
	}
}

// TestExpectOrder: shards are expected in ID order, also when one data id has
// several extents and generations.
func TestExpectOrder(t *testing.T) {
	w := newWorld(t, 2, nil, nil)
	w.put("x", 5<<20)
	v, err := w.Store.Head(t.Context(), "b", "x", "")
	if err != nil {
		t.Fatal(err)
	}
	e := v.Extents[0]
	spans := []span{
		{e.Data, 0, 2, 5 << 20, e.Pool, 1},
		{e.Data, 0, 3, 9 << 20, e.Pool, 4},
		{e.Data, 5, 1, 10, e.Pool, 0},
	}
	slices.SortFunc(spans, span.compare)
	var got []shard.ID
	for x, err := range w.u.expect(t.Context(), newRows(w.Drives.Topology()), w.Drives.IDs()[0], spans) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, x.id)
	}
	if len(got) != 6 || !slices.IsSortedFunc(got, shard.ID.Compare) {
		t.Errorf("%v", got)
	}
	for _, id := range got {
		if !covered(spans, stripeOf(id)) {
			t.Errorf("%v is not covered", id)
		}
	}
	if covered(spans, stripeID{e.Data, 2, 1}) || covered(spans, stripeID{e.Data, 5, 1}) {
		t.Error("what no span has is covered")
	}
}
