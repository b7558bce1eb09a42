package upkeep

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/objects"
	"github.com/hallig-cloud/hallig/placement"
	"github.com/hallig-cloud/hallig/shard"
	shardmem "github.com/hallig-cloud/hallig/shard/mem"
)

// task returns one task of the status.
func (w *world) task(name string, drive hallig.DriveID) Task {
	w.t.Helper()
	for _, t := range w.u.Status() {
		if t.Name == name && t.Drive == drive {
			return t
		}
	}
	w.t.Fatalf("no task %s", name)
	return Task{}
}

// TestRun: over weeks of (virtual) time, with nobody doing anything, damage
// heals, a lost drive is made up for, garbage and exports happen, and Run ends
// when it is told to.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		exports := 0
		w := newWorld(t, 6, func(c *Config) {
			c.Now = time.Now
			c.ScrubRate, c.RepairRate = 32<<20, 64<<20
			c.Export = func(context.Context) error { exports++; return nil }
		}, nil)
		w.fill()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- w.u.Run(ctx) }()

		time.Sleep(time.Hour)
		all := w.inventory()
		victim := all[len(all)/2]
		if err := w.disks[victim.drive].CorruptShard(victim.id, 0); err != nil {
			t.Fatal(err)
		}
		w.put("small0", 10) // garbage
		time.Sleep(DefaultScrubEvery + time.Hour)
		synctest.Wait()
		if err := w.disks[victim.drive].Verify(ctx, victim.id); err != nil && !errors.Is(err, hallig.ErrNotFound) {
			t.Errorf("the bad shard was not healed in a pass: %v", err)
		}
		for _, id := range w.Drives.IDs() {
			if s := w.task(taskScrub, id); s.Last.IsZero() || s.Err != nil {
				t.Errorf("scrub of %s: %+v", id, s)
			}
		}
		if s := w.task(taskSweep, hallig.DriveID{}); s.Fixed == 0 {
			t.Errorf("sweep: %+v", s)
		}
		if exports < 14 || exports > 16 {
			t.Errorf("%d exports in 14 days", exports)
		}

		w.lose(w.Drives.IDs()[2], placement.DriveLost)
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if w.u.Settled() != w.Drives.Topology().Revision {
			t.Errorf("the loss of a drive is not made up for: %+v", w.u.Status())
		}
		w.whole()
		w.mustCheck()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// TestDriveComesBack: repairs that wait for a drive are done soon after it is
// back, not after their long pause.
func TestDriveComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 5, func(c *Config) { c.Now = time.Now }, nil)
		w.fill()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- w.u.Run(ctx) }()
		defer func() { cancel(); <-ended }()
		time.Sleep(time.Minute)
		id := w.Drives.IDs()[0]
		w.Drives.SetAway(id, true)
		hurt := 0
		for _, h := range w.inventory() {
			if h.drive == id {
				w.disks[id].hide(h.id)
				w.u.Damage(objects.Damage{Shard: h.id, Drive: id, Err: hallig.ErrNotFound})
				hurt++
			}
		}
		time.Sleep(3 * time.Hour)
		if n := w.u.queue.length(); n == 0 || hurt == 0 {
			t.Fatalf("%d repairs wait for the drive, %d were reported", n, hurt)
		}
		w.Drives.SetAway(id, false)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if n := w.u.queue.length(); n > 0 {
			t.Errorf("%d repairs still wait", n)
		}
		w.whole()
	})
}

// A slowScrub scrubs one shard at a time and can be stopped.
type slowScrub struct {
	*disk
	calls [][]byte
	stop  context.CancelFunc
	after int
}

func (s *slowScrub) Scrub(ctx context.Context, cursor []byte, limit int64) (shard.Findings, []byte, error) {
	s.calls = append(s.calls, cursor)
	if len(s.calls) == s.after {
		s.stop()
		return shard.Findings{}, nil, context.Canceled
	}
	time.Sleep(saveEvery)
	return s.disk.Scrub(ctx, cursor, 1)
}

// TestScrubGoesOn: a pass that a restart interrupts goes on where it was.
func TestScrubGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, func(c *Config) { c.Now = time.Now }, nil)
		w.fill()
		id := w.Drives.IDs()[0]
		ctx, cancel := context.WithCancel(t.Context())
		slow := &slowScrub{disk: w.disks[id], stop: cancel, after: 6}
		drives := fixed{w.Drives, slow}
		w.u.config.Drives = drives
		w.u.scrubDrive(ctx, id)
		if len(slow.calls) != 6 || slow.calls[0] != nil {
			t.Fatalf("%d calls", len(slow.calls))
		}
		w.restart(hallig.NewID())
		again := &slowScrub{disk: w.disks[id], stop: func() {}}
		w.u.config.Drives = fixed{w.Drives, again}
		ctx, cancel = context.WithCancel(t.Context())
		done := make(chan bool)
		go func() { w.u.scrubDrive(ctx, id); close(done) }()
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		cancel()
		<-done
		shards := len(w.inventory())
		if !bytes.Equal(again.calls[0], slow.calls[5]) || len(again.calls) != shards-5+1 {
			t.Errorf("began at %x, want %x; %d steps for %d shards", again.calls[0], slow.calls[5], len(again.calls), shards)
		}
	})
}

// fixed is a drive set with one drive replaced.
type fixed struct {
	objects.Drives
	store shard.Store
}

func (f fixed) Drive(hallig.DriveID) shard.Store { return f.store }

// TestWrongShardIsReplaced: a shard with right checksums that is not what was
// written cannot be healed under its id; its version gets a new generation, and
// nothing of the old one stays.
func TestWrongShardIsReplaced(t *testing.T) {
	w := newWorld(t, 5, nil, nil)
	w.put("large", 300_000)
	w.put("other", 300_000)
	v, err := w.Store.Head(t.Context(), "b", "large", "")
	if err != nil {
		t.Fatal(err)
	}
	var wrong held
	for _, h := range w.inventory() {
		if h.id.Data == v.Extents[0].Data && h.id.Index == 1 {
			wrong = h
		}
	}
	d := w.disks[wrong.drive]
	old := d.Store
	d.Store = shardmem.New(shardmem.Config{Drive: wrong.drive})
	err = old.Walk(t.Context(), shard.ID{}, func(i shard.Info) error {
		h, body, err := old.Get(t.Context(), i.ID, 0, -1, nil)
		if err != nil {
			return err
		}
		if i.ID == wrong.id {
			body[5] ^= 1
		}
		return d.Put(t.Context(), h, body)
	})
	if err != nil {
		t.Fatal(err)
	}
	w.whole() // to the checksums and the inventory all is well
	w.mustCheck()
	if w.u.queue.length() != 1 {
		t.Fatalf("the read reported %d stripes", w.u.queue.length())
	}
	w.repair()
	r, err := w.u.Reencode(t.Context())
	if err != nil || r.Moved != 1 {
		t.Fatalf("%+v %v", r, err)
	}
	if w.u.queue.length() != 0 {
		t.Error("the old generation is still to be repaired")
	}
	w.pass(time.Hour)
	if s, err := w.u.Sweep(t.Context()); err != nil || s.Garbage != 1 {
		t.Fatalf("%+v %v", s, err)
	}
	w.whole()
	w.mustCheck()
	if w.u.queue.length() != 0 {
		t.Error("reads still find damage")
	}
}

// TestStatus: tasks say how far they are.
func TestStatus(t *testing.T) {
	w := newWorld(t, 4, nil, nil)
	w.fill()
	work := w.u.work(taskScrub, "bytes", w.Drives.IDs()[0])
	work.begin(100, 1100)
	work.add(200)
	w.pass(10 * time.Second)
	s := work.snapshot()
	if s.Rate != 20 || s.ETA != 40*time.Second || s.State != TaskRunning {
		t.Errorf("%+v", s)
	}
	work.end(hallig.ErrUnavailable, time.Time{})
	if s = work.snapshot(); s.State != TaskFailed || !errors.Is(s.Err, hallig.ErrUnavailable) {
		t.Errorf("%+v", s)
	}
}

// TestConfig: what is missing is said.
func TestConfig(t *testing.T) {
	if _, err := New(Config{}); !errors.Is(err, hallig.ErrInvalid) {
		t.Error(err)
	}
}
