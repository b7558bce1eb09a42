package disk

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/shard"
	"github.com/hallig-cloud/hallig/shard/shardtest"
	"github.com/hallig-cloud/hallig/vfs"
	"github.com/hallig-cloud/hallig/vfs/vfstest"
)

var testIdentity = Identity{Mesh: hallig.MeshID{1}, Node: hallig.NodeID{2}, Drive: hallig.DriveID{3}}

// testDrive can be damaged.
type testDrive struct{ *Drive }

func (d testDrive) CorruptShard(id shard.ID, off int64) error {
	e, err := d.lookup(id)
	if err != nil {
		return err
	}
	if e.state != entryLive {
		return hallig.ErrNotFound
	}
	return flip(d.fs, d.segmentPath(e.segment), int64(e.off)+int64(e.hlen)+off)
}

func flip(fsys vfs.FS, name string, off int64) error {
	f, err := fsys.OpenReadWrite(name)
	if err != nil {
		return err
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], off); err != nil {
		return fmt.Errorf("flip byte %d of %s: %w", off, name, err)
	}
	b[0] ^= 4
	_, err = f.WriteAt(b[:], off)
	return err
}

func create(t testing.TB, cfg Config) Config {
	t.Helper()
	if cfg.FS == nil {
		cfg.FS = vfs.OS()
	}
	if cfg.Dir == "" {
		cfg.Dir = filepath.ToSlash(t.TempDir())
	}
	if err := Create(cfg.FS, cfg.Dir, testIdentity); err != nil {
		t.Fatal(err)
	}
	return cfg
}

func open(t testing.TB, cfg Config) *Drive {
	t.Helper()
	d, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func TestConformance(t *testing.T) {
	for _, size := range []int64{0, 20000} { // one segment; many
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			shardtest.Run(t, func(t *testing.T) shard.Store {
				return testDrive{open(t, create(t, Config{SegmentSize: size}))}
			})
		})
	}
}

func pebbleOf(d *Drive) *pebble.DB { return d.index.(pebbleKV).db }

// The format is a promise: these bytes must never change.
func TestFormat(t *testing.T) {
	const want = "8ebacb1eaebbf2f7dd3929773ddcbce1f361455728d66212851fbbb89e66620d"
	if got := fmt.Sprintf("%x", sha256.Sum256(sampleSegment())); got != want {
		t.Errorf("a segment of format version %d has hash %s, want %s: make it a new version", formatVersion, got, want)
	}
	e := entry{state: entryLive, segment: 1, off: 2, hlen: 3, length: 4, sum: 5}
	dead := entry{state: entryDeleted, segment: 1, horizon: 2, when: 3}
	r := row{epoch: 1, mark: 2, sealed: true, live: 3, shards: 4, deletes: 5}
	for _, c := range []struct{ got, want string }{
		{fmt.Sprintf("%x", e.encode()), "0100000000000000010000000200030000000400000005" + strings.Repeat("00", 16)},
		{fmt.Sprintf("%x", dead.encode()), "03000000000000000100000000000000020000000000000003"},
		{fmt.Sprintf("%x", r.encode()), "00000000000000010000000201000000000000000300000000000000040000000000000005"},
	} {
		if c.got != c.want {
			t.Errorf("index: %s, want %s", c.got, c.want)
		}
	}
}

// Run checks and compacts by itself and ends with its context; Close comes back
// while calls are under way.
func TestRun(t *testing.T) {
	d := open(t, create(t, Config{SegmentSize: 20_000, CheckEvery: time.Millisecond, CompactEvery: time.Millisecond, KeepDeletes: -1}))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	for n := range 40 {
		putShard(t, d, n, 3000)
		if n%4 != 0 {
			h, _ := makeShard(n, 3000)
			if err := d.Delete(t.Context(), h.ID); err != nil {
				t.Fatal(err)
			}
		}
	}
	for st := d.Status(); st.Dead > st.Live+20_000; st = d.Status() {
		runtime.Gosched() // until Run has compacted
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for n := 0; n < 40; n += 4 {
		wantShard(t, d, n, 3000)
	}
}

// A Put that waits behind another group is withdrawn when its context ends,
// and leaves nothing behind.
func TestPutWithdrawn(t *testing.T) {
	d, faults, _, _ := faulty(t, nil)
	putShard(t, d, 0, 10)
	entered, release := make(chan struct{}), make(chan struct{})
	faults.Inject(vfstest.Fault{Op: vfstest.OpSync, Path: ".seg", Times: 1, Do: func() {
		close(entered)
		<-release
	}})
	first := make(chan error, 1)
	go func() {
		h, body := makeShard(1, 10)
		first <- d.Put(t.Context(), h, body)
	}()
	<-entered
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	h, body := makeShard(2, 10)
	r := &request{kind: requestPut, header: h, head: appendRecordHeader(nil, kindShard, h, body), body: body}
	if err := d.queue.do(ctx, r, d.commit); err != context.Canceled {
		t.Fatal(err)
	}
	close(release)
	if err := <-first; err != nil {
		t.Fatal(err)
	}
	wantShard(t, d, 1, 10)
	if _, err := d.Stat(t.Context(), h.ID); !errors.Is(err, hallig.ErrNotFound) {
		t.Fatal(err)
	}
}
