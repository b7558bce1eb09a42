//go:build linux

package disk

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/shard"
	"github.com/hallig-cloud/hallig/shard/shardtest"
)

// goingDown is XFS_IOC_GOINGDOWN, which ext4 has as well, and its flag "write
// nothing more, not even the log".
const (
	goingDown  = 0x8004587d
	noLogFlush = 2
)

// loopFS is a real file system in a file, whose power can be cut.
type loopFS struct {
	t          *testing.T
	image, dir string
}

func newLoopFS(t *testing.T, kind string) *loopFS {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skipf("POWER CUTS ON A REAL %s ARE NOT TESTED: it takes root", kind)
	}
	mkfs, err := exec.LookPath("mkfs." + kind)
	if err != nil {
		t.Skipf("POWER CUTS ON A REAL %s ARE NOT TESTED: there is no mkfs.%s", kind, kind)
	}
	base := t.TempDir()
	l := &loopFS{t: t, image: filepath.Join(base, "image"), dir: filepath.Join(base, "mnt")}
	f, err := os.Create(l.image)
	if err == nil {
		err = errors.Join(f.Truncate(512<<20), f.Close(), os.Mkdir(l.dir, 0o700))
	}
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(mkfs, "-q", l.image).CombinedOutput(); err != nil {
		t.Skipf("POWER CUTS ON A REAL %s ARE NOT TESTED: mkfs: %v %s", kind, err, out)
	}
	if err := l.mount(); err != nil {
		t.Skipf("POWER CUTS ON A REAL %s ARE NOT TESTED: mount: %v", kind, err)
	}
	t.Cleanup(func() { _ = l.unmount() })
	return l
}

func (l *loopFS) mount() error { return command("mount", "-o", "loop", l.image, l.dir) }

func (l *loopFS) unmount() error { return command("umount", l.dir) }

func command(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %v: %w: %s", name, args, err, out)
	}
	return nil
}

// cut stops the file system as a power cut would.
func (l *loopFS) cut() error {
	f, err := os.Open(l.dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.IoctlSetPointerInt(int(f.Fd()), goingDown, noLogFlush)
}

// restart mounts again what was cut.
func (l *loopFS) restart() {
	l.t.Helper()
	if err := l.unmount(); err != nil {
		l.t.Fatal(err)
	}
	if err := l.mount(); err != nil {
		l.t.Fatal(err)
	}
}

// powerCut is one run of writers that a power cut ends. It returns the numbers
// of the shards that were acknowledged and those that were deleted.
func powerCut(t *testing.T, l *loopFS, cfg Config, next *int, r *rand.Rand) (stored, deleted []int) {
	t.Helper()
	d, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				mu.Lock()
				n := *next
				*next++
				mu.Unlock()
				body := shardtest.Body(uint64(n), n*977%20000)
				h := shardtest.Header(1, n, body)
				if d.Put(t.Context(), h, body) != nil {
					return
				}
				bye := n%5 == 0 && d.Delete(t.Context(), h.ID) == nil
				mu.Lock()
				if bye {
					deleted = append(deleted, n)
				} else if n%5 != 0 {
					stored = append(stored, n)
				}
				mu.Unlock()
			}
		})
	}
	time.Sleep(time.Duration(5+r.IntN(40)) * time.Millisecond) // when the power goes, not what is tested
	if r.IntN(3) == 0 {
		wg.Go(func() { _ = d.Compact(t.Context()) })
	}
	// What is acknowledged from here on does not count: while the file system is
	// being shut down, an fdatasync may return success and yet be lost, which
	// no disk that loses power can do.
	mu.Lock()
	before, gone := slices.Clone(stored), slices.Clone(deleted)
	mu.Unlock()
	if err := l.cut(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	_ = d.Close() // it cannot succeed
	l.restart()
	return before, gone
}

// lostAfter opens the drive and counts broken promises.
func lostAfter(t *testing.T, cfg Config, stored, deleted []int) (lost int) {
	t.Helper()
	d, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for _, n := range stored {
		body := shardtest.Body(uint64(n), n*977%20000)
		_, got, err := d.Get(t.Context(), shardtest.Header(1, n, body).ID, 0, -1, nil)
		if err != nil || !bytes.Equal(got, body) {
			lost++
		}
	}
	for _, n := range deleted {
		body := shardtest.Body(uint64(n), n*977%20000)
		if _, err := d.Stat(t.Context(), shardtest.Header(1, n, body).ID); !errors.Is(err, hallig.ErrNotFound) {
			lost++
		}
	}
	switch st := d.Status(); {
	case st.Quarantined == 0:
	case cfg.ackEarly: // the index may be durable before what it speaks of
		lost += int(st.Quarantined)
	default:
		t.Errorf("%d shards in quarantine after a power cut", st.Quarantined)
	}
	return lost
}

// TestPowerCut cuts the power of a real file system under four writers. The
// number of cuts is HALLIG_POWER_CUTS, or 100; 5 with -short.
func TestPowerCut(t *testing.T) {
	cuts := 100
	if testing.Short() || raceDetector {
		cuts = 5
	}
	if v := os.Getenv("HALLIG_POWER_CUTS"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil {
			t.Fatal("HALLIG_POWER_CUTS:", err)
		}
		cuts = n
	}
	for _, kind := range []string{"ext4", "xfs"} {
		t.Run(kind, func(t *testing.T) {
			l := newLoopFS(t, kind)
			r := rand.New(rand.NewPCG(1, 2))
			cfg := create(t, Config{Dir: filepath.Join(l.dir, "drive"), SegmentSize: 4 << 20, MinFree: -1, KeepDeletes: -1, directBody: 10_000})
			next, acked := 0, 0
			var all []int
			for i := range cuts {
				stored, deleted := powerCut(t, l, cfg, &next, r)
				acked += len(stored) + len(deleted)
				all = append(all, stored...)
				check := stored
				if i%25 == 24 || i == cuts-1 {
					check = all
				}
				if lost := lostAfter(t, cfg, check, deleted); lost > 0 {
					t.Fatalf("cut %d: %d of %d acknowledged calls were lost", i, lost, len(check)+len(deleted))
				}
				if i%20 == 19 { // make room
					drain(t, cfg, all[:len(all)/2])
					all = all[len(all)/2:]
				}
			}
			t.Logf("%d power cuts, %d acknowledged puts and deletions, none lost", cuts, acked)
			if acked < cuts {
				t.Fatal("hardly anything was acknowledged: the test says nothing")
			}

			cfg.ackEarly = true // the negative control
			lost := 0
			for range 10 {
				stored, deleted := powerCut(t, l, cfg, &next, r)
				if lost += lostAfter(t, cfg, stored, deleted); lost > 0 {
					break
				}
			}
			if lost == 0 {
				t.Fatal("negative control: without fdatasync nothing was lost")
			}
		})
	}
}

// drain deletes shards and compacts.
func drain(t *testing.T, cfg Config, nums []int) {
	t.Helper()
	d, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for _, n := range nums {
		body := shardtest.Body(uint64(n), n*977%20000)
		if err := d.Delete(t.Context(), shardtest.Header(1, n, body).ID); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestRealFull fills a small real file system with shards and then, from
// outside, to the last byte: reads go on, nothing is lost, and the drive comes
// back by itself when there is space.
func TestRealFull(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("A FULL REAL FILE SYSTEM IS NOT TESTED: it takes root")
	}
	mnt := t.TempDir()
	if err := command("mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", mnt); err != nil {
		t.Skip("A FULL REAL FILE SYSTEM IS NOT TESTED:", err)
	}
	t.Cleanup(func() { _ = command("umount", mnt) })
	cfg := create(t, Config{Dir: filepath.Join(mnt, "drive"), SegmentSize: 4 << 20, KeepDeletes: -1, CheckEvery: -1})
	d, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }() // before the umount
	n := 0
	for ; n < 10000; n++ {
		h, body := makeShard(n, 9000)
		if err = d.Put(t.Context(), h, body); err != nil {
			break
		}
	}
	if !errors.Is(err, hallig.ErrFull) || n < 1000 {
		t.Fatal(n, err)
	}
	wantState(t, d, shard.StateFull)
	filler := filepath.Join(mnt, "filler")
	_ = os.WriteFile(filler, make([]byte, 64<<20), 0o600) // fills what is left
	var gone []int
	for i := range n {
		h, _ := makeShard(i, 9000)
		switch err := d.Delete(t.Context(), h.ID); {
		case err == nil:
			gone = append(gone, i)
		case !errors.Is(err, hallig.ErrFull):
			t.Fatal(err)
		}
		if i == 40 {
			break
		}
	}
	for i := 41; i < n; i++ {
		wantShard(t, d, i, 9000)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	d.tend(t.Context())
	for i := 0; i < n; i += 2 {
		h, _ := makeShard(i, 9000)
		if err := d.Delete(t.Context(), h.ID); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.tend(t.Context())
	wantState(t, d, shard.StateOnline)
	putShard(t, d, 100_000, 9000)
	for i := 41; i < n; i += 2 {
		wantShard(t, d, i, 9000)
	}
	for _, i := range gone {
		h, _ := makeShard(i, 9000)
		if _, err := d.Stat(t.Context(), h.ID); !errors.Is(err, hallig.ErrNotFound) {
			t.Fatal("a deleted shard is back:", err)
		}
	}
	t.Logf("%d shards filled it; %d deletions were taken with no space at all", n, len(gone))
}
