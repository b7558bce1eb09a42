package raft

import (
	"errors"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	pvfs "github.com/cockroachdb/pebble/v2/vfs"

	"github.com/hallig-cloud/hallig/vfs/pebblefs"
	"github.com/hallig-cloud/hallig/vfs/vfstest"
)

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
