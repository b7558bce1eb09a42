package raft

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/cockroachdb/pebble/v2"
	pvfs "github.com/cockroachdb/pebble/v2/vfs"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/vfs/pebblefs"
	"github.com/hallig-cloud/hallig/vfs/vfstest"
)

// TestCloseWaitsForCalls: a call that was under way when the mirror failed goes
// on after its caller gave up. The databases are there until it ends, or it
// would write into memory that is another's (and did: a drive that was removed
// could take the process with it).
func TestCloseWaitsForCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := diskConfig(t, vfstest.NewDisk(vfstest.DiskConfig{}), 1)
		if err := c.fill(); err != nil {
			t.Fatal(err)
		}
		cache := pebble.NewCache(1 << 20)
		defer cache.Unref()
		m, err := newMirror(&c, cache, c.Dirs[0], hallig.NewID())
		if err != nil {
			t.Fatal(err)
		}
		hold, ended := make(chan struct{}), make(chan error, 1)
		gone := make(chan error, 1)
		go func() {
			gone <- m.do(func() error {
				<-hold
				err := m.state.Set([]byte("k"), []byte("v"), pebble.NoSync)
				ended <- err
				return err
			})
		}()
		synctest.Wait()
		m.fail(errors.New("the drive is gone"))
		if err := <-gone; err == nil {
			t.Error("a call on a failed mirror succeeded")
		}
		m.close()
		shut := func() bool {
			synctest.Wait()
			m.use.RLock()
			defer m.use.RUnlock()
			return m.shut
		}
		if shut() {
			t.Error("closed under a call")
		}
		if err := m.do(func() error { return nil }); err == nil {
			t.Error("a call after close")
		}
		close(hold)
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if !shut() {
			t.Error("not closed after the last call")
		}
	})
}

// TestFailedWriteLetsGo fails a mirror while something is written to it. The
// write then returns before the database is done with it, and the caller uses
// the batch again: under -race a write that still reads it is found (and was,
// when a drive was removed while it served: the batch was the next one's by
// then).
func TestFailedWriteLetsGo(t *testing.T) {
	db, err := pebble.Open("state", &pebble.Options{FS: pvfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	pool := sync.Pool{New: func() any { return make([]byte, 0, 1<<16) }}
	var writers, failers sync.WaitGroup
	for range 4 {
		writers.Go(func() {
			for range 500 {
				m := &mirror{dir: "m", cfg: &Config{}, failed: make(chan struct{})}
				m.disk = pebblefs.NewGuard(vfstest.NewDisk(vfstest.DiskConfig{}), nil)
				b := new(pebble.Batch)
				if err := b.Set([]byte("key"), make([]byte, 1<<14), nil); err != nil {
					t.Error(err)
				}
				repr := append(pool.Get().([]byte)[:0], b.Repr()...)
				failers.Go(func() { m.fail(errors.New("the drive is gone")) })
				_ = m.write(db, repr, pebble.NoSync) // either way
				clear(repr)
				pool.Put(repr) //nolint:staticcheck // one allocation more does not matter
			}
		})
	}
	writers.Wait()
	failers.Wait()
}
