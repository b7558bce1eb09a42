package disk

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/shard"
	"github.com/hallig-cloud/hallig/shard/shardtest"
	"github.com/hallig-cloud/hallig/vfs"
	"github.com/hallig-cloud/hallig/vfs/vfstest"
)

// script runs random operations on a drive over a recorded disk and remembers
// what was acknowledged when.
type script struct {
	t    *testing.T
	rng  *rand.Rand
	disk *vfstest.Disk
	cfg  Config
	d    *Drive
	log  kvLog

	steps      int
	recoveries int            // shards that compare has stored since the crash
	created    int            // disk operations when Create was done
	head       []shard.Header // number n of the shards tried so far
	body       [][]byte
	put        []int // disk operations when shard n was acknowledged; -1: it was not
	del        []int // … when its deletion was; -1: it was not
	bye        []int // … when its deletion was first tried; -1: it was not
}

func newScript(t *testing.T, seed uint64, disk vfstest.DiskConfig, change func(*Config)) *script {
	disk.Record = true
	s := &script{t: t, rng: rand.New(rand.NewPCG(seed, 77)), disk: vfstest.NewDisk(disk)}
	s.cfg = Config{FS: s.disk, Dir: "drive", SegmentSize: 6000, MinFree: -1, KeepDeletes: -1, CheckEvery: time.Minute}
	if seed%2 == 0 { // as drives write large bodies
		s.cfg.directBody, s.cfg.SegmentSize = 300, 24_000
	}
	s.cfg.now = func() time.Time { return time.Unix(1e9, 0).Add(time.Duration(s.steps) * time.Minute) }
	s.cfg.openIndex = func(vfs.FS, string) (kv, error) { return newMemKV(s.disk, &s.log), nil }
	if change != nil {
		change(&s.cfg)
	}
	create(t, s.cfg)
	s.created = s.disk.Ops()
	s.open()
	return s
}

func (s *script) open() {
	d, err := Open(s.t.Context(), s.cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	s.d = d
}

// keepIndex makes the next Open find the index that there is.
func (s *script) keepIndex(d *Drive) {
	have, ok := d.index.(*memKV)
	if !ok {
		return
	}
	fresh := s.cfg.openIndex
	s.cfg.openIndex = func(vfs.FS, string) (kv, error) {
		s.cfg.openIndex = fresh
		return have, nil
	}
}

// run does n steps.
func (s *script) run(n int) {
	for range n {
		s.step()
	}
	_ = s.d.Close()
}

func (s *script) step() {
	s.steps++
	switch p := s.rng.IntN(100); {
	case p < 62:
		s.putGroup(1 + s.rng.IntN(4))
	case p < 80:
		s.deleteSome()
	case p < 88:
		if err := s.d.Compact(s.t.Context()); err != nil {
			s.t.Fatal("compact:", err)
		}
	case p < 92:
		if err := s.d.Close(); err != nil {
			s.t.Fatal(err)
		}
		s.keepIndex(s.d)
		s.open()
	case p < 95:
		s.kill()
	case p < 97:
		_ = s.d.Close()
		s.open() // the index is lost: made anew
	default:
		s.failingPut()
	}
}

// kill ends the drive as kill -9 does: what it wrote is in the page cache.
func (s *script) kill() {
	if _, ok := s.d.index.(*memKV); !ok { // Pebble cannot be left lying about
		_ = s.d.Close()
		s.open()
		return
	}
	_ = s.d.lock.Close()
	s.keepIndex(s.d)
	s.open()
}

// failingPut has a sync fail, and perhaps the process killed; then it tries again.
func (s *script) failingPut() {
	s.disk.FailSync(".seg")
	nums := s.putGroup(2)
	s.disk.FailSync("")
	if s.rng.IntN(2) == 0 {
		s.kill()
	}
	s.steps++
	s.putAgain(nums)
}

// putGroup stores new shards, and some that failed before, in one group.
func (s *script) putGroup(n int) (nums []int) {
	for range n {
		num := len(s.head)
		if again := s.rng.IntN(num + 1); again < num && s.bye[again] < 0 && s.rng.IntN(6) == 0 {
			num = again
		} else {
			size := s.rng.IntN(1800)
			if s.rng.IntN(6) == 0 {
				size = s.rng.IntN(20)
			}
			s.body = append(s.body, shardtest.Body(uint64(num), size))
			s.head = append(s.head, shardtest.Header(5, num, s.body[num]))
			s.put, s.del, s.bye = append(s.put, -1), append(s.del, -1), append(s.bye, -1)
		}
		nums = append(nums, num)
	}
	s.putAgain(nums)
	return nums
}

// putAgain stores shards in one group.
func (s *script) putAgain(nums []int) {
	var reqs []*request
	for _, num := range nums {
		h := s.head[num]
		reqs = append(reqs, &request{kind: requestPut, header: h, body: s.body[num], head: appendRecordHeader(nil, kindShard, h, s.body[num])})
	}
	s.d.commit(reqs)
	for i, r := range reqs {
		num := nums[i]
		if (r.err == nil || errors.Is(r.err, errStored)) && s.put[num] < 0 {
			s.put[num] = s.disk.Ops()
		}
		if r.err == nil || errors.Is(r.err, errStored) || errors.Is(r.err, hallig.ErrReadOnly) {
			continue
		}
		s.t.Fatalf("put %d: %v", num, r.err)
	}
}

func (s *script) deleteSome() {
	var ids []shard.ID
	var nums []int
	for range 1 + s.rng.IntN(4) {
		if len(s.head) > 0 {
			num := s.rng.IntN(len(s.head))
			nums = append(nums, num)
			ids = append(ids, s.head[num].ID)
			if s.bye[num] < 0 {
				s.bye[num] = s.disk.Ops()
			}
		}
	}
	if err := s.d.Delete(s.t.Context(), ids...); err != nil {
		s.t.Fatal("delete:", err)
	}
	for _, num := range nums {
		if s.del[num] < 0 {
			s.del[num] = s.disk.Ops()
		}
	}
}

// check recovers a crash state and compares it with what was acknowledged.
func (s *script) check(c vfstest.Crash) error {
	r := rand.New(rand.NewPCG(c.Seed+99, uint64(c.Ops)<<8|uint64(c.Variant)))
	index := s.log.restore(c.Disk, c.Ops, func(floor, n int) int {
		switch c.Variant {
		case 0:
			return floor
		case 1:
			return n
		}
		return floor + r.IntN(n-floor+1)
	})
	lost := c.Variant > 1 && r.IntN(6) == 0
	s.recoveries = 0
	if err := s.recovered(c.Disk, index, c.Ops, lost, r); err != nil {
		return err
	}
	return nil
}

// errWrong tells a broken promise from a script that cannot go on.
var errWrong = errors.New("broken promise")

func (s *script) recovered(disk *vfstest.Disk, index *memKV, ops int, lost bool, r *rand.Rand) error {
	cfg := s.cfg
	cfg.FS = disk
	opened := 0
	pebble := cfg.openIndex == nil
	memory := func(vfs.FS, string) (kv, error) {
		if opened++; opened == 1 && !lost {
			return index, nil
		}
		return newMemKV(disk, nil), nil
	}
	if !pebble {
		cfg.openIndex = memory
	}
	if _, err := ReadIdentity(disk, cfg.Dir); err != nil && ops < s.created {
		return nil // Create was cut short, before anything could be acknowledged
	}
	d, err := Open(s.t.Context(), cfg)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := s.compare(d, ops, r); err != nil {
		return err
	}
	switch r.IntN(8) {
	case 0:
	case 1: // power goes again, after the put that compare did; the index is lost
		if lost = !lost; !lost || pebble {
			return nil
		}
		return s.recovered(disk.Crash(r.Uint64()), nil, ops, true, r)
	default:
		return nil
	}
	before := d.dump()
	if err := d.Close(); err != nil {
		return err
	}
	cfg.Rebuild = true
	if !pebble {
		cfg.openIndex = memIndex(disk)
	}
	again, err := Open(s.t.Context(), cfg)
	if err != nil {
		return err
	}
	defer again.Close()
	if after := again.dump(); !maps.Equal(before, after) {
		return fmt.Errorf("a rebuilt index is another: %s: %w", difference(before, after), errWrong)
	}
	if err := s.compare(again, ops, r); err != nil {
		return fmt.Errorf("after a rebuild: %w", err)
	}
	return nil
}

func difference(a, b map[string]string) string {
	var out []string
	for k := range a {
		if a[k] != b[k] {
			x, _ := decodeEntry([]byte(a[k]))
			y, _ := decodeEntry([]byte(b[k]))
			out = append(out, fmt.Sprintf("%x: %+v, then %+v", k[1:], x, y))
		}
	}
	for k := range b {
		if _, ok := a[k]; !ok {
			y, _ := decodeEntry([]byte(b[k]))
			out = append(out, fmt.Sprintf("%x: nothing, then %+v", k[1:], y))
		}
	}
	return strings.Join(out, "; ")
}

// compare checks every promise made by the time of the crash, and stores one
// more shard on the drive.
func (s *script) compare(d *Drive, ops int, r *rand.Rand) error {
	ctx := s.t.Context()
	for n, h := range s.head {
		_, got, err := d.Get(ctx, h.ID, 0, -1, nil)
		deleted := s.del[n] >= 0 && s.del[n] <= ops
		dying := s.bye[n] >= 0 && s.bye[n] <= ops
		switch {
		case err == nil && !bytes.Equal(got, s.body[n]):
			return fmt.Errorf("shard %d has wrong bytes: %w", n, errWrong)
		case err == nil && deleted:
			return fmt.Errorf("shard %d was deleted after %d operations and is there: %w", n, s.del[n], errWrong)
		case err != nil && !errors.Is(err, hallig.ErrNotFound):
			return fmt.Errorf("shard %d: %w: %w", n, err, errWrong)
		case err != nil && s.put[n] >= 0 && s.put[n] <= ops && !dying:
			return fmt.Errorf("shard %d was stored after %d operations and is gone: %w", n, s.put[n], errWrong)
		}
	}
	if st := d.Status(); st.Quarantined != 0 || st.State != shard.StateOnline {
		return fmt.Errorf("status %+v: %w", st, errWrong)
	}
	// Shards that recoveries stored must be there after the next crash.
	for n := 0; ; n++ {
		body := shardtest.Body(uint64(n), 300)
		h := shardtest.Header(200, n, body)
		_, got, err := d.Get(ctx, h.ID, 0, -1, nil)
		switch {
		case errors.Is(err, hallig.ErrNotFound) && n < s.recoveries:
			return fmt.Errorf("shard %d, stored after a recovery, is gone: %w", n, errWrong)
		case errors.Is(err, hallig.ErrNotFound):
			if err := d.Put(ctx, h, body); err != nil {
				return fmt.Errorf("put after recovery: %w", err)
			}
			s.recoveries = n + 1
			return nil
		case err != nil || !bytes.Equal(got, body):
			return fmt.Errorf("shard %d, stored after a recovery: %w: %w", n, err, errWrong)
		}
	}
}

// crashBudget is how many crash states a test may make.
func crashBudget(t *testing.T) int {
	if v := os.Getenv("HALLIG_CRASH_STATES"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil {
			t.Fatal("HALLIG_CRASH_STATES:", err)
		}
		return n
	}
	if testing.Short() || raceDetector { // it runs on one goroutine
		return 4000
	}
	return 100_000
}

// TestCrash cuts power at every write boundary of scripted runs: nothing
// acknowledged is lost, nothing deleted comes back, no byte is wrong, and what
// was torn before it was acknowledged is not taken for corruption.
func TestCrash(t *testing.T) {
	budget := crashBudget(t)
	states := 0
	for seed := uint64(1); states < budget; seed++ {
		s := newScript(t, seed, vfstest.DiskConfig{}, nil)
		s.run(60)
		n, err := s.disk.EachCrash(vfstest.CrashConfig{Seed: seed, Variants: 8, Recycled: true, UnorderedDirs: true}, s.check)
		states += n
		if err != nil {
			t.Fatalf("script %d: %v", seed, err)
		}
	}
	t.Logf("%d crash states", states)
}

// TestCrashPebble is TestCrash with the index that drives have, over the same
// model disk.
func TestCrashPebble(t *testing.T) {
	budget := 1500
	if testing.Short() || raceDetector {
		budget = 150
	}
	states := 0
	for seed := uint64(1); states < budget; seed++ {
		s := newScript(t, seed, vfstest.DiskConfig{}, func(c *Config) { c.openIndex = nil })
		s.run(30)
		stride := max(1, s.disk.Ops()/100)
		n, err := s.disk.EachCrash(vfstest.CrashConfig{Seed: seed, Variants: 4, Stride: stride}, s.check)
		states += n
		if err != nil {
			t.Fatalf("script %d: %v", seed, err)
		}
	}
	t.Logf("%d crash states", states)
}

// TestCrashControls switches one protection off at a time: TestCrash must fail.
func TestCrashControls(t *testing.T) {
	for name, c := range map[string]struct {
		disk   vfstest.DiskConfig
		change func(*Config)
	}{
		"no syncs":               {disk: vfstest.DiskConfig{NoSync: true}},
		"acknowledged too early": {change: func(c *Config) { c.ackEarly = true }},
		"no directory sync":      {change: func(c *Config) { c.noDirSync = true }},
		"failed segments go on":  {change: func(c *Config) { c.keepFailed = true }},
		"deletions forgotten":    {change: func(c *Config) { c.forgetDeletes = true }},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := uint64(1); seed < 20; seed++ {
				s := newScript(t, seed, c.disk, c.change)
				s.run(60)
				cfg := vfstest.CrashConfig{Seed: seed, Variants: 8, UnorderedDirs: true}
				if _, err := s.disk.EachCrash(cfg, s.check); err != nil {
					t.Log("as it must be:", err)
					return
				}
			}
			t.Fatal("the protection is off and nothing was lost")
		})
	}
}
