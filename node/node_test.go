package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/admin"
	"github.com/hallig-cloud/hallig/placement"
	"github.com/hallig-cloud/hallig/upkeep"
	"github.com/hallig-cloud/hallig/vfs"
)

func TestClock(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name string
		seen time.Time
		now  time.Time
		ok   bool
	}{
		{"first start", time.Time{}, now, true},
		{"a minute later", now.Add(-time.Minute), now, true},
		{"corrected by a little", now.Add(10 * time.Minute), now, true},
		{"an hour back", now.Add(time.Hour), now, false},
		{"a month later", now.AddDate(0, -1, 0), now, true},
		{"ten years later", now.AddDate(-10, 0, 0), now, false},
		{"before this was written", time.Time{}, time.Unix(0, 0), false},
	} {
		err := checkClock(c.now, c.seen, false)
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
		if err != nil && !errors.Is(err, ErrStart) {
			t.Errorf("%s: %v is no start error", c.name, err)
		}
		if err := checkClock(c.now, c.seen, true); err != nil {
			t.Errorf("%s, trusted: %v", c.name, err)
		}
	}
}

// The mirrors outnumber the drives that may be lost, whatever their number.
func TestMirrorsOutliveThePromise(t *testing.T) {
	for n := 1; n <= 20; n++ {
		topology := &placement.Topology{}
		for range n {
			topology.Drives = append(topology.Drives, placement.Drive{ID: hallig.NewID(), Weight: 1, State: placement.DriveActive})
		}
		want := map[hallig.Survive]int{hallig.SurviveNothing: 0, hallig.SurviveDrive: 1, hallig.SurviveTwoDrives: 2}[placement.Default(topology)]
		if losses(n) != want {
			t.Errorf("%d drives: %d may be lost here, %d by placement", n, losses(n), want)
		}
		if m := mirrorCount(n); m <= losses(n) || m > n {
			t.Errorf("%d drives: %d mirrors do not outlive the loss of %d", n, m, losses(n))
		}
	}
}

func TestPromiseTellsTheTruth(t *testing.T) {
	for _, c := range []struct {
		drives, gone int
		holds        bool
		says         string
	}{
		{1, 0, true, "NOTHING SURVIVES"},
		{1, 1, false, "only drive is gone"},
		{2, 0, true, "any one drive"},
		{2, 1, false, "NEXT LOSS"},
		{4, 0, true, "any 2 drives"},
		{4, 1, false, "one drive more"},
		{4, 2, false, "NEXT LOSS"},
		{4, 3, false, "MORE THAN THE PROMISE"},
	} {
		topology := &placement.Topology{}
		away := map[hallig.DriveID]bool{}
		for i := range c.drives {
			id := hallig.NewID()
			topology.Drives = append(topology.Drives, placement.Drive{ID: id, Weight: 1, State: placement.DriveActive})
			away[id] = i < c.gone
		}
		_, holds, says := promise(topology, func(id hallig.DriveID) bool { return away[id] }, upkeep.Kept{Drives: c.drives, Least: c.drives}, mirrorCount(c.drives)-min(c.gone, 2))
		if holds != c.holds || !strings.Contains(says, c.says) {
			t.Errorf("%d drives, %d gone: %v, %q", c.drives, c.gone, holds, says)
		}
	}
}

// While old data follows a topology that changed, the promise is what both of
// them allow.
func TestPromiseWhileDataFollows(t *testing.T) {
	for _, c := range []struct {
		active, lost, draining int
		kept                   upkeep.Kept
		holds                  bool
		says                   string
	}{
		{3, 1, 0, upkeep.Kept{Drives: 4, Least: 3}, false, "until that is done one drive may be lost, then 1"},
		{2, 1, 0, upkeep.Kept{Drives: 3, Least: 2}, false, "NEXT LOSS"},
		{4, 1, 0, upkeep.Kept{Drives: 5, Least: 4}, false, "one drive may be lost, then 2"},
		{2, 2, 0, upkeep.Kept{Drives: 4, Least: 3}, false, "NEXT LOSS"},
		{1, 2, 0, upkeep.Kept{Drives: 3, Least: 2}, false, "MORE WAS LOST"},
		{4, 0, 0, upkeep.Kept{Drives: 3, Least: 3}, false, "re-encoded: until that is done one drive may be lost, then 2"},
		{4, 0, 0, upkeep.Kept{Drives: 4, Least: 3}, false, "one drive may be lost, then 2"}, // one was away
		{4, 0, 0, upkeep.Kept{}, false, "NEXT LOSS"},
		{3, 0, 0, upkeep.Kept{Drives: 4, Least: 3}, true, "any one drive"},
		{4, 0, 1, upkeep.Kept{Drives: 5, Least: 4}, true, "any 2 drives"},
	} {
		topology := &placement.Topology{}
		for i, state := range []placement.DriveState{placement.DriveActive, placement.DriveLost, placement.DriveDraining} {
			for range []int{c.active, c.lost, c.draining}[i] {
				topology.Drives = append(topology.Drives, placement.Drive{ID: hallig.NewID(), Weight: 1, State: state})
			}
		}
		_, holds, says := promise(topology, func(hallig.DriveID) bool { return false }, c.kept, mirrorCount(c.active))
		if holds != c.holds || !strings.Contains(says, c.says) {
			t.Errorf("%+v: %v, %q", c, holds, says)
		}
	}
}

// The catalog and the key file are stored, too: while they are on fewer drives
// than they should be, less may be lost.
func TestPromiseCountsTheCatalog(t *testing.T) {
	for _, c := range []struct {
		drives, copies int
		holds          bool
		says           string
	}{
		{4, 3, true, "any 2 drives"},
		{4, 2, false, "the catalog and the key file are being copied to another drive: until that is done one drive may be lost, then 2"},
		{4, 1, false, "NEXT LOSS"},
		{2, 1, false, "NEXT LOSS"},
		{1, 1, true, "NOTHING SURVIVES"},
	} {
		topology := &placement.Topology{}
		for range c.drives {
			topology.Drives = append(topology.Drives, placement.Drive{ID: hallig.NewID(), Weight: 1, State: placement.DriveActive})
		}
		_, holds, says := promise(topology, func(hallig.DriveID) bool { return false }, upkeep.Kept{Drives: c.drives, Least: c.drives}, c.copies)
		if holds != c.holds || !strings.Contains(says, c.says) {
			t.Errorf("%+v: %v, %q", c, holds, says)
		}
	}
}

// world is a node that runs in this process.
type world struct {
	t    *testing.T
	cfg  Config
	n    *Node
	info Info
	stop context.CancelFunc
	done chan error
}

// start runs a node until it serves.
func start(t *testing.T, cfg Config) *world {
	t.Helper()
	cfg.S3Addr, cfg.AdminAddr = "127.0.0.1:0", "127.0.0.1:0"
	cfg.RootAccessKey, cfg.RootSecretKey = "HALLIGTESTACCESSKEY0", "secret-of-the-tests-0123456789"
	n, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	w := &world{t: t, cfg: cfg, n: n, stop: stop, done: make(chan error, 1)}
	ready := make(chan Info, 1)
	go func() { w.done <- n.Run(ctx, func(i Info) { ready <- i }) }()
	select {
	case w.info = <-ready:
	case err := <-w.done:
		stop()
		t.Fatalf("the node did not start: %v", err)
	}
	t.Cleanup(func() { w.end() })
	return w
}

// end stops the node and returns what Run did.
func (w *world) end() error {
	w.stop()
	err, ok := <-w.done
	if ok {
		close(w.done)
	}
	return err
}

// eventually waits for what another goroutine brings about.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

func dirs(t *testing.T, count int) (data string, drives []string) {
	root := t.TempDir()
	for i := range count {
		drives = append(drives, filepath.Join(root, "d"+string(rune('1'+i))))
	}
	return filepath.Join(root, "data"), drives
}

func TestLostMirrorIsMadeAgain(t *testing.T) {
	data, drives := dirs(t, 4)
	w := start(t, Config{Data: data, Drives: drives, WatchEvery: 20 * time.Millisecond, LostAfter: time.Hour})
	ctx := context.Background()
	if _, err := w.n.CreateBucket(ctx, admin.NewBucket{Name: "kept"}); err != nil {
		t.Fatal(err)
	}
	lost := w.n.identity.get()
	if len(lost.Mirrors) != 3 {
		t.Fatalf("%d mirrors on 4 drives, want 3", len(lost.Mirrors))
	}
	if err := os.RemoveAll(lost.Drives[lost.Mirrors[0]]); err != nil {
		t.Fatal(err)
	}
	eventually(t, "three current mirrors with their key files, without the lost drive", func() bool {
		good := 0
		for _, m := range w.n.mirrors() {
			if m.State == "current" && m.KeyFile && m.Drive != lost.Mirrors[0].String() {
				good++
			}
		}
		return good == 3
	})
	st, err := w.n.Status(ctx)
	if err != nil || st.State != "degraded" || st.Promise.Holds {
		t.Errorf("state %q, promise %+v, %v", st.State, st.Promise, err)
	}
	if err := w.end(); err != nil {
		t.Fatal(err)
	}
	// Started again without the drive, everything is there, and the drive is not
	// made anew.
	w = start(t, Config{Data: data, WatchEvery: 20 * time.Millisecond, LostAfter: time.Hour})
	if _, err := w.n.Bucket(ctx, "kept"); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(lost.Drives[lost.Mirrors[0]]); err == nil {
		t.Error("a directory was made where the lost drive was")
	}
}

func TestDrivesAreKnownWhereverTheyAre(t *testing.T) {
	data, drives := dirs(t, 3)
	w := start(t, Config{Data: data, Drives: drives})
	if err := w.end(); err != nil {
		t.Fatal(err)
	}
	// Two disks swap their mount points, the third is mounted elsewhere.
	elsewhere := drives[2] + "-moved"
	for _, mv := range [][2]string{{drives[0], drives[0] + "x"}, {drives[1], drives[0]}, {drives[0] + "x", drives[1]}, {drives[2], elsewhere}} {
		if err := os.Rename(mv[0], mv[1]); err != nil {
			t.Fatal(err)
		}
	}
	w = start(t, Config{Data: data, Drives: []string{drives[0], drives[1], elsewhere}})
	if missing := w.n.missingDrives(); len(missing) != 0 {
		t.Errorf("missing: %+v", missing)
	}
	if got := len(w.n.fleet.snapshot()); got != 3 {
		t.Errorf("%d drives, want 3", got)
	}
}

func TestDataDirectoryIsMadeAgainFromADrive(t *testing.T) {
	data, drives := dirs(t, 2)
	w := start(t, Config{Data: data, Drives: drives})
	mesh := w.n.fleet.mesh
	if _, err := w.n.CreateBucket(context.Background(), admin.NewBucket{Name: "kept"}); err != nil {
		t.Fatal(err)
	}
	if err := w.end(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(data); err != nil {
		t.Fatal(err)
	}
	w = start(t, Config{Data: data, Drives: drives})
	if w.n.fleet.mesh != mesh {
		t.Fatal("another mesh was made")
	}
	if _, err := w.n.Bucket(context.Background(), "kept"); err != nil {
		t.Error(err)
	}
}

// A copy of the catalog that missed writes must never be served as the newest.
func TestStaleMirrorIsRefused(t *testing.T) {
	data, drives := dirs(t, 2)
	w := start(t, Config{Data: data, Drives: drives, WatchEvery: 20 * time.Millisecond})
	away := drives[0] + "-away"
	if err := os.Rename(drives[0], away); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the mirror is dropped", func() bool { return len(w.n.identity.get().Mirrors) == 1 })
	if _, err := w.n.CreateBucket(context.Background(), admin.NewBucket{Name: "later"}); err != nil {
		t.Fatal(err)
	}
	if err := w.end(); err != nil {
		t.Fatal(err)
	}
	// Now the drive with the newest catalog is away, and the stale one is back.
	if err := errors.Join(os.Rename(away, drives[0]), os.Rename(drives[1], drives[1]+"-away")); err != nil {
		t.Fatal(err)
	}
	n, err := New(Config{Data: data, S3Addr: "127.0.0.1:0", AdminAddr: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Run(context.Background(), func(Info) { t.Error("the past is served") }); !errors.Is(err, ErrStart) {
		t.Errorf("got %v, want a start error", err)
	}
	if err := os.Rename(drives[1]+"-away", drives[1]); err != nil {
		t.Fatal(err)
	}
	w = start(t, Config{Data: data})
	if _, err := w.n.Bucket(context.Background(), "later"); err != nil {
		t.Error(err)
	}
}

func TestRestoreFromAnExport(t *testing.T) {
	data, drives := dirs(t, 2)
	w := start(t, Config{Data: data, Drives: drives})
	ctx := context.Background()
	if _, err := w.n.CreateBucket(ctx, admin.NewBucket{Name: "kept"}); err != nil {
		t.Fatal(err)
	}
	x, err := w.n.Export(ctx, "mine")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.end(); err != nil {
		t.Fatal(err)
	}
	if _, err := RestoreCatalog(ctx, Config{Data: data}, x.Path, false); !errors.Is(err, hallig.ErrExists) {
		t.Errorf("restore over a catalog: %v, want ErrExists", err)
	}
	for _, d := range drives {
		if err := os.RemoveAll(filepath.Join(d, catalogDir)); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := New(Config{Data: data, S3Addr: "127.0.0.1:0", AdminAddr: "127.0.0.1:0"}); err != nil {
		t.Fatal(err)
	} else if err := n.Run(ctx, func(Info) { t.Error("started without its catalog") }); !errors.Is(err, ErrStart) {
		t.Errorf("start without a catalog: %v, want a start error", err)
	}
	// What cannot be restored is refused before the present catalog is moved.
	whole, err := os.ReadFile(x.Path)
	if err != nil {
		t.Fatal(err)
	}
	damaged := filepath.Join(t.TempDir(), "damaged")
	if err := os.WriteFile(damaged, whole[:len(whole)-1], 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(drives[0], catalogDir), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := RestoreCatalog(ctx, Config{Data: data}, damaged, true); !errors.Is(err, hallig.ErrCorrupt) || !strings.Contains(err.Error(), damaged) {
		t.Errorf("restore of a damaged export: %v", err)
	}
	if _, err := os.Stat(filepath.Join(drives[0], catalogDir)); err != nil {
		t.Errorf("a refused restore moved the catalog away: %v", err)
	}
	if got, err := RestoreCatalog(ctx, Config{Data: data}, x.Path, true); err != nil || got.At.Sub(x.At).Abs() > time.Minute {
		t.Fatal(got, err)
	}
	w = start(t, Config{Data: data})
	if _, err := w.n.Bucket(ctx, "kept"); err != nil {
		t.Error(err)
	}
}

// A rotation wraps every bucket's key anew; one that cannot be saved changes
// nothing.
func TestRotateRewrapsEveryBucket(t *testing.T) {
	data, drives := dirs(t, 2)
	w := start(t, Config{Data: data, Drives: drives})
	ctx := context.Background()
	for i := range 3 {
		if _, err := w.n.CreateBucket(ctx, admin.NewBucket{Name: fmt.Sprintf("bucket%d", i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.n.Rotate(ctx, admin.Rotation{}); err != nil {
		t.Fatal(err)
	}
	s, err := w.n.services()
	if err != nil {
		t.Fatal(err)
	}
	list, err := s.objects.Buckets(ctx, "", 0)
	if err != nil || len(list) != 3 {
		t.Fatalf("%d buckets, %v", len(list), err)
	}
	for _, b := range list {
		if _, stale, err := w.n.keys.ring.RewrapBucket(b.ID, b.Key); err != nil || stale {
			t.Errorf("bucket %s after the rotation: under a former root %v, %v", b.Name, stale, err)
		}
	}
}

func TestIdentityCopies(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, IdentityFile)
	for text, want := range map[string]error{
		``: hallig.ErrCorrupt, `{`: hallig.ErrCorrupt, `{"format":1}`: hallig.ErrCorrupt, `{"format":99}`: hallig.ErrUnsupported,
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readIdentity(vfs.OS(), name); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", text, err, want)
		}
	}
	want := Identity{Format: 1, Mesh: hallig.NewID(), Node: hallig.NewID(), Edition: 7}
	if err := writeIdentity(vfs.OS(), name, want); err != nil {
		t.Fatal(err)
	}
	if got, err := readIdentity(vfs.OS(), name); err != nil || got.Node != want.Node || got.Edition != 7 {
		t.Errorf("got %+v, %v", got, err)
	}
}

func FuzzIdentity(f *testing.F) {
	f.Add([]byte(`{"format":1,"mesh":"00112233445566778899aabbccddeeff","node":"00112233445566778899aabbccddeeff","drives":{}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		name := filepath.Join(t.TempDir(), "x")
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Skip()
		}
		id, err := readIdentity(vfs.OS(), name)
		if err == nil && (id.Mesh.IsZero() || id.Node.IsZero() || id.Drives == nil) {
			t.Errorf("accepted %+v", id)
		}
	})
}
