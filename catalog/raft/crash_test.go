package raft

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"testing"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/vfs"
	"github.com/hallig-cloud/hallig/vfs/vfstest"
)

// diskConfig is a Config with n mirrors on a model disk.
func diskConfig(t testing.TB, fs vfs.FS, n int) Config {
	c := config(t, 0)
	c.FS, c.Reserve, c.Probe = fs, -1, time.Hour
	for i := range n {
		c.Dirs = append(c.Dirs, fmt.Sprintf("/drive%d/catalog", i))
	}
	return c
}

// A story is a run whose every acknowledgement is known.
type story struct {
	t      testing.TB
	d      *vfstest.Disk
	cfg    Config
	n      *Catalog
	bucket hallig.BucketID
	now    map[string]string // key → etag
	states []map[string]string
	acked  []int // disk operations at which states[i] was acknowledged
}

func (s *story) ack() {
	s.states = append(s.states, maps.Clone(s.now))
	s.acked = append(s.acked, s.d.Ops())
}

func (s *story) do(op catalog.Op) {
	s.t.Helper()
	epoch := uint64(1)
	if _, ok := op.(catalog.SetBucket); ok {
		epoch = 0
	}
	res, err := s.n.Commit(context.Background(), catalog.Request{ID: hallig.NewID(), Bucket: s.bucket, Epoch: epoch, Ops: []catalog.Op{op}})
	if err != nil || res[0].Err != nil {
		s.t.Fatal(res, err)
	}
	switch o := op.(type) {
	case catalog.Put:
		s.now[o.Version.Key] = o.Version.ETag
	case catalog.Delete:
		delete(s.now, o.Key)
	}
	s.ack()
}

// puts changes a few keys over and over.
func (s *story) puts(from, to int) {
	s.t.Helper()
	for i := from; i < to; i++ {
		if i%7 == 3 {
			s.do(catalog.Delete{Key: fmt.Sprint("key/", (i-1)%11)})
			continue
		}
		p := benchPut(i)
		p.Version.Key, p.Version.ETag = fmt.Sprint("key/", i%11), fmt.Sprint("etag", i)
		s.do(p)
	}
}

func (s *story) snapshot() {
	s.t.Helper()
	for _, p := range s.n.partitions {
		if err := p.raft.Snapshot().Error(); err != nil {
			s.t.Fatal(err)
		}
	}
}

// tell runs the story: two mirrors, a snapshot, one mirror dropped and rebuilt,
// restarts, an opened index made anew.
func tell(t testing.TB, d *vfstest.Disk, noSync bool) *story {
	t.Helper()
	s := &story{t: t, d: d, cfg: diskConfig(t, d, 2), bucket: hallig.NewID(), now: map[string]string{}}
	s.cfg.noSync = noSync
	s.ack()
	start := func() {
		t.Helper()
		var err error
		if s.n, err = Open(context.Background(), s.cfg); err != nil {
			t.Fatal(err)
		}
	}
	stop := func() {
		t.Helper()
		if err := s.n.Close(); err != nil {
			t.Fatal(err)
		}
	}
	start()
	s.do(catalog.SetBucket{Epoch: 1})
	s.puts(0, 12)
	s.snapshot()
	s.puts(12, 20)
	s.n.set.list()[0].fail(errors.New("test: this mirror is gone"))
	s.puts(20, 26)
	if err := s.n.AddMirror(context.Background(), s.cfg.Dirs[0]); err != nil {
		t.Fatal(err)
	}
	s.puts(26, 32)
	s.snapshot()
	p := s.n.partitions[1]
	for _, m := range s.n.set.list() { // have the opened index made anew at the next start
		if err := m.opened.Delete(newReader(m, nil, p.id).key(openedKey), nil); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	start()
	s.puts(32, 40)
	stop()
	return s
}

// lost is what check returns when an acknowledged commit is missing.
var errLost = errors.New("acknowledged commits are lost")

// check opens a crash state and compares what it holds: one of the states from
// the last acknowledged on, alike by list, by head and by counter.
func (s *story) check(c vfstest.Crash) (err error) {
	at := 0
	for at+1 < len(s.acked) && s.acked[at+1] <= c.Ops {
		at++
	}
	cfg := s.cfg
	cfg.FS, cfg.Log, cfg.noSync = c.Disk, slog.New(slog.DiscardHandler), false
	n, err := Open(context.Background(), cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	page, err := n.List(context.Background(), catalog.Query{Bucket: s.bucket, Limit: 100})
	if err != nil {
		return err
	}
	got := map[string]string{}
	for _, i := range page.Items {
		v, err := n.Head(context.Background(), s.bucket, i.Version.Key, catalog.CurrentVersion)
		if err != nil || v.ETag != i.Version.ETag {
			return fmt.Errorf("listed %+v, head %+v: %w", i.Version, v, err)
		}
		got[i.Version.Key] = i.Version.ETag
	}
	u, err := n.Usage(context.Background(), s.bucket)
	if err != nil || u.Current != int64(len(got)) || u.Versions != int64(len(got)) {
		return fmt.Errorf("usage %+v with %d keys listed: %v", u, len(got), err)
	}
	if at > 0 && u.Epoch != 1 {
		return fmt.Errorf("the bucket: %w", errLost)
	}
	for i := at; i < min(at+2, len(s.states)); i++ {
		if maps.Equal(got, s.states[i]) {
			return nil
		}
	}
	return fmt.Errorf("holds %v, acknowledged %v: %w", got, s.states[at], errLost)
}

func crashConfig() vfstest.CrashConfig {
	return vfstest.CrashConfig{Seed: 1, Variants: 3, Stride: 23}
}

// TestCrash cuts the power all along a run.
func TestCrash(t *testing.T) {
	d := vfstest.NewDisk(vfstest.DiskConfig{Record: true})
	s := tell(t, d, false)
	cfg := crashConfig()
	if testing.Short() {
		cfg.Stride = 101
	}
	n, err := d.EachCrash(cfg, s.check)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d crash states of %d operations, %d acknowledgements", n, d.Ops(), len(s.acked))
}

// TestCrashWithoutSync is the negative control: the same run, acknowledged
// before it is durable, loses commits.
func TestCrashWithoutSync(t *testing.T) {
	d := vfstest.NewDisk(vfstest.DiskConfig{Record: true})
	s := tell(t, d, true)
	cfg := crashConfig()
	if _, err := d.EachCrash(cfg, s.check); !errors.Is(err, errLost) {
		t.Fatalf("without syncs nothing was lost: %v", err)
	}
}
