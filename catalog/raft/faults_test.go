package raft

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/vfs/vfstest"
)

// harm is a way in which a mirror's disk goes bad, for good.
type harm struct {
	name string
	ops  vfstest.Op
	err  error
}

// harms are the ways. The operations of "vanished" are those that a removed
// directory refuses: files that are open live on.
var harms = []harm{
	{"vanished", vfstest.OpCreate | vfstest.OpOpen | vfstest.OpRename | vfstest.OpLink | vfstest.OpSyncDir |
		vfstest.OpMkdir | vfstest.OpStat | vfstest.OpList | vfstest.OpRemove, fs.ErrNotExist},
	{"EIO", vfstest.OpAny, syscall.EIO},
	{"ENOSPC", vfstest.OpCreate | vfstest.OpWrite | vfstest.OpLink | vfstest.OpMkdir | vfstest.OpSync, syscall.ENOSPC},
	{"no sync", vfstest.OpSync, syscall.EIO},
}

// A harmed run is commits to a catalog while the disk of its first mirror goes
// bad.
type harmed struct {
	t      *testing.T
	disk   *vfstest.Disk
	faults *vfstest.Faults
	cfg    Config
	bucket hallig.BucketID
	acked  int
	err    error // of the first commit that failed; the run ends there
}

// runHarmed opens a catalog of n mirrors, arms the harm to strike after so many
// calls, and commits, with every database made to rotate its log, to flush and
// to compact several times. It returns how many calls the harm could have struck.
func runHarmed(t *testing.T, mirrors int, h harm, after int, change func(*Config)) (*harmed, int) {
	t.Helper()
	d := vfstest.NewDisk(vfstest.DiskConfig{})
	r := &harmed{t: t, disk: d, faults: vfstest.NewFaults(d)}
	r.cfg = diskConfig(t, r.faults, mirrors)
	r.cfg.Log = slog.New(slog.DiscardHandler)
	if change != nil {
		change(&r.cfg)
	}
	n := open(t, r.cfg)
	r.bucket = benchBucket(t, n)
	before := r.faults.Calls(h.ops)
	r.faults.Inject(vfstest.Fault{Op: h.ops, Path: "/drive0/", After: after, Err: h.err})
	members := n.set.list()
	for i := 0; i < 24 && r.err == nil; i++ {
		if r.err = put(n, r.bucket, fmt.Sprint("k", i), fmt.Sprint("e", i)); r.err != nil {
			break
		}
		r.acked++
		if i%4 != 3 {
			continue
		}
		for _, m := range members {
			r.rotate(m)
		}
		if i == 11 {
			_ = n.partitions[1].raft.Snapshot().Error()
		}
	}
	return r, r.faults.Calls(h.ops) - before
}

// rotate has a mirror's databases write out their memtables, while it is there.
func (r *harmed) rotate(m *mirror) {
	for _, db := range []*pebble.DB{m.log, m.state, m.opened} {
		_ = m.do(func() error {
			m.use.RLock()
			defer m.use.RUnlock()
			if !m.ok() {
				return nil
			}
			return db.Flush()
		})
	}
}

// lost says what is missing of what was acknowledged, after a power cut now and
// a start with every drive well again. What was under way may be there.
func (r *harmed) lost() error {
	c := r.cfg
	c.FS, c.noBreak = r.disk.Crash(0), false
	n := open(r.t, c)
	for i := range r.acked {
		v, err := n.Head(r.t.Context(), r.bucket, fmt.Sprint("k", i), "")
		if err != nil || v.ETag != fmt.Sprint("e", i) {
			return fmt.Errorf("key %d of %d: %+v: %w: %w", i, r.acked, v, errLost, errors.Join(err))
		}
	}
	return nil
}

// harmRuns is how many runs a test may make of each harm; HALLIG_FAULT_RUNS
// raises it. Negative: one for every call.
func harmRuns(t *testing.T) int {
	if n, err := strconv.Atoi(os.Getenv("HALLIG_FAULT_RUNS")); err == nil {
		return n
	}
	if testing.Short() {
		return 4
	}
	return 10
}

// eachHarm runs fn with each harm at calls all along a run.
func eachHarm(t *testing.T, mirrors int, fn func(r *harmed) error) {
	t.Helper()
	runs := harmRuns(t)
	for _, h := range harms {
		t.Run(strings.ReplaceAll(h.name, " ", "-"), func(t *testing.T) {
			_, calls := runHarmed(t, mirrors, h, 1<<30, nil)
			calls /= mirrors
			stride := 1
			if runs > 0 {
				stride = max(1, calls/runs)
			}
			states := 0
			for after := 0; after <= calls; after += stride {
				states++
				t.Run(strconv.Itoa(after), func(t *testing.T) {
					r, _ := runHarmed(t, mirrors, h, after, nil)
					if err := fn(r); err != nil {
						t.Fatal(err)
					}
				})
			}
			t.Logf("%d runs over %d calls", states, calls)
		})
	}
}

// TestHarmedMirror has one of two mirrors' disks go bad at calls all along a
// run: no commit fails, none is lost, and the process lives.
func TestHarmedMirror(t *testing.T) {
	eachHarm(t, 2, func(r *harmed) error { return errors.Join(r.err, r.lost()) })
}

// TestHarmedLastMirror has the only mirror's disk go bad: commits end with an
// error, what was acknowledged before is there, and the process lives.
func TestHarmedLastMirror(t *testing.T) {
	eachHarm(t, 1, func(r *harmed) error {
		if r.err != nil && !errors.Is(r.err, hallig.ErrUnavailable) && !errors.Is(r.err, hallig.ErrFull) {
			return r.err
		}
		return r.lost()
	})
}

// TestHarmedBelieved is the negative control: when what a failed disk is said
// to have taken is believed, commits are lost.
func TestHarmedBelieved(t *testing.T) {
	r, _ := runHarmed(t, 1, harms[3], 5, func(c *Config) { c.noBreak = true })
	if err := r.lost(); !errors.Is(err, errLost) {
		t.Fatalf("of %d commits nothing was lost: %v", r.acked, err)
	}
}
