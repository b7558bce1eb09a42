package raft

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/catalog/catalogtest"
	"github.com/hallig-cloud/hallig/vfs/vfstest"
)

// put commits one small put.
func put(n *Catalog, b hallig.BucketID, key, etag string) error {
	p := benchPut(0)
	p.Version.Key, p.Version.ETag = key, etag
	res, err := n.Commit(context.Background(), catalog.Request{ID: hallig.NewID(), Bucket: b, Epoch: 1, Ops: []catalog.Op{p}})
	if err != nil {
		return err
	}
	return res[0].Err
}

// holds checks that exactly the keys 0..count-1 are there, listed and readable.
func holds(t testing.TB, n *Catalog, b hallig.BucketID, count int) {
	t.Helper()
	ctx := context.Background()
	seen := 0
	q := catalog.Query{Bucket: b, Limit: 1000}
	for {
		p, err := n.List(ctx, q)
		if err != nil {
			t.Fatal(err)
		}
		seen += len(p.Items)
		if q.After = p.Next; !p.Truncated {
			break
		}
	}
	if u, err := n.Usage(ctx, b); err != nil || u.Current != int64(count) || seen != count {
		t.Fatalf("listed %d, counted %+v, want %d: %v", seen, u, count, err)
	}
	for i := range count {
		if v, err := n.Head(ctx, b, fmt.Sprint("k", i), ""); err != nil || v.ETag != fmt.Sprint("e", i) {
			t.Fatalf("key %d: %+v %v", i, v, err)
		}
	}
}

func puts(t testing.TB, n *Catalog, b hallig.BucketID, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if err := put(n, b, fmt.Sprint("k", i), fmt.Sprint("e", i)); err != nil {
			t.Fatal(err)
		}
	}
}

// rebuilt waits until the catalog has n current mirrors.
func rebuilt(t testing.TB, n *Catalog, want int) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		current := 0
		for _, m := range n.Status().Mirrors {
			if m.Current {
				current++
			}
		}
		if current == want {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("mirrors: %+v", n.Status().Mirrors)
		case <-time.After(time.Millisecond):
		}
	}
}

// crashCopy copies a live catalog's directories: what a killed process leaves.
func crashCopy(t testing.TB, c Config) Config {
	t.Helper()
	root := t.TempDir()
	dirs := c.Dirs
	c.Dirs = nil
	for i, dir := range dirs {
		to := ""
		for try := range 10 { // files come and go while it is copied
			to = filepath.Join(root, fmt.Sprint("drive", i, "try", try))
			err := os.CopyFS(to, os.DirFS(dir))
			if err == nil {
				break
			}
			if !missing(err) || try == 9 {
				t.Fatal(err)
			}
		}
		c.Dirs = append(c.Dirs, to)
	}
	return c
}

func TestReopen(t *testing.T) {
	c := config(t, 2)
	n := open(t, c)
	b := benchBucket(t, n)
	puts(t, n, b, 0, 200)
	kill := open(t, crashCopy(t, c)) // not closed
	holds(t, kill, b, 200)
	puts(t, kill, b, 200, 210)
	holds(t, kill, b, 210)
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	n = open(t, c)
	holds(t, n, b, 200)
	if err := n.AddMirror(context.Background(), c.Dirs[0]); !errors.Is(err, hallig.ErrExists) {
		t.Fatal(err)
	}
}

// TestMirrorRemoved removes a mirror's directory, and later fails another's
// syncs, under load: no request fails, and both come back.
func TestMirrorRemoved(t *testing.T) {
	c := config(t, 3)
	c.Probe = 5 * time.Millisecond
	var recorded atomic.Uint64
	c.OnMirrors = func(s MirrorSet) error { recorded.Store(s.Epoch); return nil }
	faults := vfstest.NewFaults(osFS())
	c.FS = faults
	n := open(t, c)
	b := benchBucket(t, n)
	var wg sync.WaitGroup
	var next atomic.Int64
	var done atomic.Bool
	for range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for !done.Load() {
				i := int(next.Add(1)) - 1
				if err := put(n, b, fmt.Sprint("k", i), fmt.Sprint("e", i)); err != nil {
					t.Errorf("put %d: %v", i, err)
					return
				}
				if _, err := n.Head(context.Background(), b, fmt.Sprint("k", i), ""); err != nil {
					t.Errorf("head %d: %v", i, err)
				}
				if _, err := n.List(context.Background(), catalog.Query{Bucket: b, Limit: 3}); err != nil {
					t.Errorf("list: %v", err)
				}
			}
		}()
	}
	one := func() {
		i := int(next.Add(1)) - 1
		if err := put(n, b, fmt.Sprint("k", i), fmt.Sprint("e", i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.RemoveAll(c.Dirs[0]); err != nil {
		t.Fatal(err)
	}
	rebuilt(t, n, 2)
	one()
	epoch := recorded.Load()
	disarm := faults.Inject(vfstest.Fault{Op: vfstest.OpSync, Path: c.Dirs[1], Err: syscall.EIO})
	rebuilt(t, n, 1)
	disarm()
	// One more write is acknowledged: by then the loss is on record.
	one()
	if recorded.Load() <= epoch {
		t.Error("the second loss was not recorded on the other drives")
	}
	for i := range 2 {
		if err := n.AddMirror(context.Background(), c.Dirs[i]); err != nil {
			t.Fatal(err)
		}
	}
	rebuilt(t, n, 3)
	done.Store(true)
	wg.Wait()
	count := int(next.Load())
	holds(t, n, b, count)
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	for _, dir := range c.Dirs { // each mirror alone holds everything
		one := c
		one.FS, one.Dirs = nil, []string{dir}
		holds(t, open(t, crashCopy(t, one)), b, count)
	}
}

// TestStaleMirror starts from mirrors of which some have missed writes.
func TestStaleMirror(t *testing.T) {
	c := config(t, 2)
	n := open(t, c)
	b := benchBucket(t, n)
	puts(t, n, b, 0, 10)
	old := crashCopy(t, c)
	n.set.list()[0].fail(errors.New("test"))
	puts(t, n, b, 10, 20)
	epoch := n.Status().Set.Epoch
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	stale := c
	stale.Dirs, stale.KnownEpoch = c.Dirs[:1], epoch
	_, err := Open(context.Background(), stale)
	if !errors.Is(err, hallig.ErrStale) || !strings.Contains(err.Error(), "restore") {
		t.Fatalf("a stale mirror alone: %v", err)
	}
	n = open(t, c) // the stale one is recognised and rebuilt
	rebuilt(t, n, 2)
	holds(t, n, b, 20)
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	// The negative control: without the epoch, and by order, the loss shows.
	one := old
	one.Dirs, one.KnownEpoch, one.AcceptStale = old.Dirs[:1], epoch+5, true
	n = open(t, one)
	holds(t, n, b, 10)
	if n.Status().Set.Epoch <= epoch+5 {
		t.Error("the accepted set is not newer than the known one")
	}
}

func TestForeignAndDamaged(t *testing.T) {
	c := config(t, 2)
	n := open(t, c)
	b := benchBucket(t, n)
	puts(t, n, b, 0, 5)
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	other := c
	other.Node = hallig.NewID()
	if _, err := Open(context.Background(), other); !errors.Is(err, hallig.ErrForeign) {
		t.Fatal(err)
	}
	gone := c
	gone.Dirs, gone.KnownEpoch = []string{t.TempDir()}, 1
	for _, gone.AcceptStale = range []bool{false, true} {
		if _, err := Open(context.Background(), gone); !errors.Is(err, hallig.ErrNotFound) {
			t.Fatalf("an empty directory where a catalog was known: %v", err)
		}
	}
	// A mirror whose databases are damaged is left out and rebuilt when asked.
	ids, err := filepath.Glob(filepath.Join(c.Dirs[0], "*", "state", "MANIFEST*"))
	if err != nil || len(ids) == 0 {
		t.Fatal(ids, err)
	}
	for _, f := range ids {
		if err := os.WriteFile(f, bytes.Repeat([]byte{0xff}, 5000), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	n = open(t, c)
	holds(t, n, b, 5)
	if err := n.AddMirror(context.Background(), c.Dirs[0]); err != nil {
		t.Fatal(err)
	}
	rebuilt(t, n, 2)
	if err := n.ReplaceMirror(context.Background(), c.Dirs[1], c.Dirs[1]); err != nil {
		t.Fatal(err)
	}
	rebuilt(t, n, 2)
	holds(t, n, b, 5)
}

// TestLastMirror fails the only mirror: requests fail, nothing hangs, and what
// was acknowledged is there after a restart.
func TestLastMirror(t *testing.T) {
	d := vfstest.NewDisk(vfstest.DiskConfig{})
	c := diskConfig(t, d, 1)
	n := open(t, c)
	b := benchBucket(t, n)
	puts(t, n, b, 0, 5)
	d.FailSync("log")
	if err := put(n, b, "k5", "e5"); !errors.Is(err, hallig.ErrUnavailable) {
		t.Fatal(err)
	}
	if err := put(n, b, "k6", "e6"); !errors.Is(err, hallig.ErrUnavailable) {
		t.Fatal(err)
	}
	if s := n.Status(); s.Mirrors[0].Current || s.Mirrors[0].Reason == "" {
		t.Fatalf("%+v", s.Mirrors)
	}
	c.FS = d.Crash(0)
	holds(t, open(t, c), b, 5)
}

func TestFull(t *testing.T) {
	d := vfstest.NewDisk(vfstest.DiskConfig{Capacity: 1 << 40})
	c := diskConfig(t, d, 1)
	c.Reserve = 1 << 30
	n := open(t, c)
	b := benchBucket(t, n)
	puts(t, n, b, 0, 2)
	d.SetCapacity(1 << 29)
	n.probeOnce()
	if err := put(n, b, "k2", "e2"); !errors.Is(err, hallig.ErrFull) {
		t.Fatal(err)
	}
	res, err := n.Commit(context.Background(), catalog.Request{ID: hallig.NewID(), Bucket: b, Epoch: 1, Ops: []catalog.Op{catalog.Delete{Key: "k1"}}})
	if err != nil || res[0].Err != nil {
		t.Fatal("a delete on a full drive:", res, err)
	}
	holds(t, n, b, 1)
	d.SetCapacity(1 << 40)
	n.probeOnce()
	puts(t, n, b, 1, 3)
}

// TestWithoutCompare is the negative control of the conditional writes: when
// Apply does not compare revisions, several of those who put at once under the
// same condition win.
func TestWithoutCompare(t *testing.T) {
	c := config(t, 1)
	c.noCompare = true
	const rounds, writers = 30, 32
	if w := catalogtest.OneWinner(t, open(t, c), rounds, writers); w == rounds {
		t.Fatal("one winner without comparing revisions")
	}
}

func TestBlind(t *testing.T) {
	c := config(t, 1)
	n := open(t, c)
	b := benchBucket(t, n)
	puts(t, n, b, 0, 50)
	ctx := context.Background()
	for _, k := range []catalog.Kind{catalog.KindUser, catalog.KindTopology} {
		if err := n.Update(ctx, catalog.Change{Kind: k, Name: "secret-name", Value: []byte("secret-value")}); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range n.partitions {
		if err := p.raft.Snapshot().Error(); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	sealer := c.Sealer
	c.Sealer = nil
	n = open(t, c)
	if _, err := n.Head(ctx, b, "k1", ""); !errors.Is(err, hallig.ErrKeyLocked) {
		t.Fatal(err)
	}
	if _, err := n.List(ctx, catalog.Query{Bucket: b, Limit: 1}); !errors.Is(err, hallig.ErrKeyLocked) {
		t.Fatal(err)
	}
	if err := put(n, b, "x", "x"); !errors.Is(err, hallig.ErrKeyLocked) {
		t.Fatal(err)
	}
	if _, err := n.Get(ctx, catalog.KindUser, "secret-name"); !errors.Is(err, hallig.ErrKeyLocked) {
		t.Fatal(err)
	}
	if r, err := n.Get(ctx, catalog.KindTopology, "secret-name"); err != nil || string(r.Value) != "secret-value" {
		t.Fatal(r, err)
	}
	if !n.Status().Blind {
		t.Error("status does not say that the node is blind")
	}
	n.Unlock(sealer)
	holds(t, n, b, 50)
}

// TestNothingInTheClear looks for plaintext in the log and the state.
func TestNothingInTheClear(t *testing.T) {
	c := config(t, 1)
	n := open(t, c)
	b := benchBucket(t, n)
	if err := put(n, b, "canary-key/canary-key", "canary-etag"); err != nil {
		t.Fatal(err)
	}
	if err := n.Update(context.Background(), catalog.Change{Kind: catalog.KindUser, Name: "canary-name", Value: []byte("canary-value")}); err != nil {
		t.Fatal(err)
	}
	if _, err := n.List(context.Background(), catalog.Query{Bucket: b, Limit: 1}); err != nil {
		t.Fatal(err)
	}
	var x bytes.Buffer
	if err := n.Export(context.Background(), &x); err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	err := filepath.WalkDir(c.Dirs[0], func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(p)
		if bytes.Contains(data, []byte("canary")) {
			found[filepath.Base(filepath.Dir(p))] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(found, map[string]bool{"opened": true}) || bytes.Contains(x.Bytes(), []byte("canary")) {
		t.Fatalf("plaintext in %v; only the opened index has any", found)
	}
}

func exported(t testing.TB, n *Catalog) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := n.Export(context.Background(), &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestExportRestore(t *testing.T) {
	c := config(t, 1)
	n := open(t, c)
	b := benchBucket(t, n)
	puts(t, n, b, 0, 300)
	ctx := context.Background()
	if err := n.Update(ctx, catalog.Change{Kind: catalog.KindUser, Name: "u", Value: []byte("v")}); err != nil {
		t.Fatal(err)
	}
	x := exported(t, n)
	puts(t, n, b, 300, 310) // lost to the restore
	last, err := n.Head(ctx, b, "k309", "")
	if err != nil {
		t.Fatal(err)
	}
	r := c
	r.Dirs, r.KnownEpoch = []string{t.TempDir(), t.TempDir()}, 41
	if err := Restore(ctx, c, bytes.NewReader(x)); !errors.Is(err, hallig.ErrExists) {
		t.Fatal(err)
	}
	if err := Restore(ctx, r, bytes.NewReader(x)); err != nil {
		t.Fatal(err)
	}
	restored := open(t, r)
	holds(t, restored, b, 300)
	if u, err := restored.Get(ctx, catalog.KindUser, "u"); err != nil || string(u.Value) != "v" {
		t.Fatal(u, err)
	}
	puts(t, restored, b, 300, 320)
	holds(t, restored, b, 320)
	v, err := restored.Head(ctx, b, "k309", "")
	if err != nil || v.Revision.Epoch() <= last.Revision.Epoch() || v.Revision <= last.Revision {
		t.Fatalf("revision %x after the restore, %x before: %v", v.Revision, last.Revision, err)
	}
	if s := restored.Status(); s.Set.Epoch < 42 || len(s.Set.Members) != 2 {
		t.Fatalf("%+v", s.Set)
	}
	if err := restored.Close(); err != nil {
		t.Fatal(err)
	}
	holds(t, open(t, r), b, 320)
}

// TestExportDamaged flips bytes and cuts exports short: always an error, and
// never a catalog.
func TestExportDamaged(t *testing.T) {
	n := open(t, config(t, 1))
	b := benchBucket(t, n)
	puts(t, n, b, 0, 3)
	x := exported(t, n)
	for i := 0; i < len(x); i += 1 + len(x)/97 {
		y := slices.Clone(x)
		y[i] ^= 0x10
		for _, data := range [][]byte{y, x[:i]} {
			if _, err := CheckExport(n.cfg, bytes.NewReader(data)); err == nil {
				t.Fatalf("damage at %d was not seen", i)
			}
		}
	}
	c := config(t, 1)
	c.Mesh, c.FS = n.cfg.Mesh, osFS()
	if err := Restore(context.Background(), c, bytes.NewReader(x[:len(x)-1])); !errors.Is(err, hallig.ErrCorrupt) {
		t.Fatal(err)
	}
	if _, err := readRecord(&c, c.Dirs[0]); !missing(err) {
		t.Fatalf("a failed restore left a catalog: %v", err)
	}
	c.Mesh = hallig.NewID()
	if err := Restore(context.Background(), c, bytes.NewReader(x)); !errors.Is(err, hallig.ErrForeign) {
		t.Fatal(err)
	}
}

// TestInstallSnapshot streams a partition's snapshot into another node's
// state, as a leader does to a follower.
func TestInstallSnapshot(t *testing.T) {
	c := config(t, 1)
	from := open(t, c)
	b := benchBucket(t, from)
	puts(t, from, b, 0, 40)
	p := from.partitions[1]
	if err := p.raft.Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	src := &snapshots{p}
	list, err := src.List()
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	meta, rc, err := src.Open(list[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	to := c
	to.Dirs = config(t, 2).Dirs
	other := open(t, to)
	puts(t, other, benchBucket(t, other), 0, 3) // is replaced
	dst := &snapshots{other.partitions[1]}
	sink, err := dst.Create(1, meta.Index, meta.Term, meta.Configuration, meta.ConfigurationIndex, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(sink, rc); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(sink.Close(), rc.Close()); err != nil {
		t.Fatal(err)
	}
	crashed := crashCopy(t, to) // received, not installed
	_, rc, err = dst.Open(sink.ID())
	if err != nil {
		t.Fatal(err)
	}
	if err := (fsm{other.partitions[1]}).Restore(rc); err != nil {
		t.Fatal(err)
	}
	other.opener.wake()
	holds(t, other, b, 40)
	for _, dir := range crashed.Dirs { // the row names the original's directory
		if _, err := os.Stat(filepath.Join(dir, "install-1")); err == nil {
			crashed.Dirs = []string{dir}
		}
	}
	os.RemoveAll(to.Dirs[0])
	_ = os.MkdirAll(to.Dirs[0], 0o700)
	data, err := os.ReadFile(filepath.Join(crashed.Dirs[0], "install-1"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(to.Dirs[0], "install-1"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	holds(t, open(t, crashed), b, 40)
}

// TestLastMirrorUnderLoad loses the only mirror while many write: every request
// ends, and Close does.
func TestLastMirrorUnderLoad(t *testing.T) {
	d := vfstest.NewDisk(vfstest.DiskConfig{})
	n := open(t, diskConfig(t, d, 1))
	b := benchBucket(t, n)
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := 0; ; i++ {
				if err := put(n, b, fmt.Sprint(w, i), "e"); err != nil {
					if !errors.Is(err, hallig.ErrUnavailable) {
						t.Error(err)
					}
					return
				}
				if w == 0 && i == 10 {
					d.PowerOff()
				}
			}
		}()
	}
	wg.Wait()
}

// TestTruncate lets the log grow and looks at whether it is cut.
func TestTruncate(t *testing.T) {
	c := config(t, 1)
	c.SnapshotBytes, c.Probe = 1<<16, time.Millisecond
	n := open(t, c)
	b := benchBucket(t, n)
	for i := 0; n.Status().Partitions[1].Snapshot == 0; i++ {
		puts(t, n, b, 0, 20)
	}
	puts(t, n, b, 0, 20)
	holds(t, open(t, crashCopy(t, c)), b, 20)
}

// TestDirectoryRemovedAtRotation removes a mirror's directory and has every
// database of it make new files at once.
func TestDirectoryRemovedAtRotation(t *testing.T) {
	for i := range 3 {
		c := config(t, 3)
		c.Probe = time.Hour // nothing but the databases notices
		n := open(t, c)
		b := benchBucket(t, n)
		puts(t, n, b, 0, 20)
		m := n.set.list()[i]
		if err := os.RemoveAll(c.Dirs[i]); err != nil {
			t.Fatal(err)
		}
		for _, db := range []*pebble.DB{m.log, m.state, m.opened} {
			_, _ = db.AsyncFlush() // rotates the log
		}
		puts(t, n, b, 20, 40)
		rebuilt(t, n, 2)
		holds(t, n, b, 40)
	}
}
