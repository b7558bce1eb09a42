package upkeep

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/placement"
	"github.com/hallig-cloud/hallig/shard"
)

const (
	scrubStep = 4 << 20         // bytes verified in one go
	saveEvery = 5 * time.Minute // between two records of a scrub's progress
	lookEvery = 10 * time.Second
)

// A scrubbing is the scrub of one drive.
type scrubbing struct {
	mu sync.Mutex // one pass at a time
}

// scrubAll keeps one scrub running for every drive that is a shard.Scrubber
// here, as drives come and go.
func (u *Upkeep) scrubAll(ctx context.Context) error {
	var g sync.WaitGroup
	defer g.Wait()
	running := map[hallig.DriveID]context.CancelFunc{}
	away := map[hallig.DriveID]bool{}
	changed := make(chan struct{}, 1)
	stop := u.config.Drives.Watch(func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	})
	defer stop()
	for {
		present := map[hallig.DriveID]bool{}
		if u.returned(away) {
			u.queue.hurry()
			u.kick(taskCompare) // it may have missed writes
		}
		for _, id := range u.scrubbable() {
			present[id] = true
			if running[id] == nil {
				dctx, cancel := context.WithCancel(ctx)
				running[id] = cancel
				g.Go(func() { u.scrubDrive(dctx, id) })
			}
		}
		for id, cancel := range running {
			if !present[id] {
				cancel()
				delete(running, id)
			}
		}
		timer := time.NewTimer(lookEvery)
		select {
		case <-timer.C:
		case <-changed:
			timer.Stop()
		case <-ctx.Done():
			timer.Stop()
			for _, cancel := range running {
				cancel()
			}
			return nil
		}
	}
}

// returned brings away, the drives that cannot be read or written, up to date,
// and reports whether one is back.
func (u *Upkeep) returned(away map[hallig.DriveID]bool) bool {
	back := false
	for _, d := range u.config.Drives.Topology().Drives {
		store := u.readable(d.ID)
		now := store == nil || store.Status().State != shard.StateOnline
		back = back || away[d.ID] && !now
		away[d.ID] = now
	}
	return back
}

// scrubbable lists the drives that are read and verified here.
func (u *Upkeep) scrubbable() []hallig.DriveID {
	var out []hallig.DriveID
	for _, d := range u.config.Drives.Topology().Drives {
		if d.State == placement.DriveLost {
			continue
		}
		if _, ok := u.readable(d.ID).(shard.Scrubber); ok {
			out = append(out, d.ID)
		}
	}
	return out
}

// scrubDrive scrubs one drive again and again, a pass in ScrubEvery.
func (u *Upkeep) scrubDrive(ctx context.Context, id hallig.DriveID) {
	w := u.work(taskScrub, "bytes", id)
	name := taskScrub + "/" + id.String()
	for ctx.Err() == nil {
		p, err := u.load(ctx, name)
		wait := time.Duration(0)
		if err == nil && len(p.Cursor) == 0 && !p.Last.IsZero() {
			// The last pass is complete; the next one begins when its time is over.
			wait = max(0, u.config.ScrubEvery-u.config.Now().Sub(p.Started))
			wait = min(wait, u.config.ScrubEvery)
		}
		if err == nil && wait == 0 {
			if len(p.Cursor) == 0 {
				p = progress{Started: u.config.Now(), Last: p.Last}
			}
			err = u.scrubPass(ctx, id, name, p, false, nil)
			if ctx.Err() != nil {
				return
			}
			w.end(err, u.config.Now())
		}
		if err != nil {
			wait = u.config.RetryAfter
			u.config.Logger.Warn("a scrub failed; it will go on", "drive", id, "err", err)
		}
		w.edit(func(t *Task) { t.Next = u.config.Now().Add(wait) })
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// scrubPass takes a pass from where p says to its end. In the background (not
// fast) it is spread over what is left of ScrubEvery.
func (u *Upkeep) scrubPass(ctx context.Context, id hallig.DriveID, name string, p progress, fast bool, report func(ScrubProgress)) error {
	u.mu.Lock()
	s := u.scrubs[id]
	if s == nil {
		s = &scrubbing{}
		u.scrubs[id] = s
	}
	u.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	store := u.readable(id)
	scrubber, ok := store.(shard.Scrubber)
	if !ok {
		return fmt.Errorf("scrub drive %s: it is away: %w", id, hallig.ErrUnavailable)
	}
	w := u.work(taskScrub, "bytes", id)
	total := store.Status().Live
	w.begin(p.Done, total)
	if err := u.quarantined(ctx, scrubber); err != nil {
		return err
	}
	limiter := rate.NewLimiter(u.pace(total, p, fast), burst)
	saved := u.config.Now()
	for {
		if err := u.config.Yield(ctx); err != nil {
			return err
		}
		f, next, err := scrubber.Scrub(ctx, p.Cursor, scrubStep)
		if err != nil {
			return fmt.Errorf("scrub drive %s: %w", id, err)
		}
		u.found(w, f)
		p.Cursor, p.Done = next, p.Done+f.Bytes
		if report != nil {
			report(ScrubProgress{Drive: id, Done: p.Done, Total: total, Shards: f.Shards, Bad: f.Bad, Unnamed: f.Unnamed, End: next == nil})
		}
		if next == nil {
			p.Cursor, p.Done, p.Last = nil, 0, u.config.Now()
			w.edit(func(t *Task) { t.Last = p.Last })
			return u.save(ctx, name, p)
		}
		if u.config.Now().Sub(saved) >= saveEvery {
			if err := u.save(ctx, name, p); err != nil {
				return err
			}
			saved = u.config.Now()
			limiter.SetLimit(u.pace(total-p.Done, p, fast))
		}
		for n := f.Bytes; n > 0; n -= burst {
			if err := limiter.WaitN(ctx, int(min(n, burst))); err != nil {
				return err
			}
		}
	}
}

// pace is the bytes a second that bring a pass with left bytes to its end in
// time, within ScrubRate.
func (u *Upkeep) pace(left int64, p progress, fast bool) rate.Limit {
	most := float64(u.config.ScrubRate)
	if fast {
		return rate.Limit(most)
	}
	span := (u.config.ScrubEvery - u.config.Now().Sub(p.Started)).Seconds()
	if span <= 0 {
		return rate.Limit(most)
	}
	return rate.Limit(min(most, max(float64(left)/span, 64<<10)))
}

// quarantined queues what a drive found bad before.
func (u *Upkeep) quarantined(ctx context.Context, s shard.Scrubber) error {
	ids, err := s.Quarantined(ctx)
	if err != nil {
		return fmt.Errorf("list the quarantined shards: %w", err)
	}
	for _, id := range ids {
		u.queue.add(stripeOf(id), 0, int(id.Index), true)
	}
	return nil
}

// found counts and queues what a step of a scrub found.
func (u *Upkeep) found(w *work, f shard.Findings) {
	for _, id := range f.Bad {
		u.queue.add(stripeOf(id), 0, int(id.Index), true)
		u.config.Logger.Warn("the scrub found a bad shard", "drive", w.t.Drive, "shard", id)
	}
	w.edit(func(t *Task) {
		t.Done += f.Bytes
		t.Found += int64(len(f.Bad)) + f.Unnamed
		if f.Unnamed > 0 {
			t.Detail = "unreadable stretches were found; what is missing is found by the comparison"
		}
	})
	if f.Unnamed > 0 {
		u.kick(taskCompare)
	}
}

// A ScrubProgress is reported after every step of ScrubNow.
type ScrubProgress struct {
	Drive       hallig.DriveID
	Done, Total int64 // bytes of the drive's pass
	Shards      int64 // verified in this step
	Bad         []shard.ID
	Unnamed     int64
	End         bool // the drive's pass is complete
}

// ScrubNow reads and verifies the drives (none: all of this process) in full,
// at ScrubRate each, and queues what is bad for repair. progress may be nil and
// is called from one goroutine at a time.
func (u *Upkeep) ScrubNow(ctx context.Context, progressed func(ScrubProgress), drives ...hallig.DriveID) error {
	if len(drives) == 0 {
		drives = u.scrubbable()
	}
	var mu sync.Mutex
	report := func(p ScrubProgress) {
		if progressed != nil {
			mu.Lock()
			defer mu.Unlock()
			progressed(p)
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, id := range drives {
		g.Go(func() error {
			w := u.work(taskScrub, "bytes", id)
			err := u.scrubPass(ctx, id, taskScrub+"/"+id.String(), progress{Started: u.config.Now()}, true, report)
			w.end(err, u.config.Now().Add(u.config.ScrubEvery))
			return err
		})
	}
	return g.Wait()
}
