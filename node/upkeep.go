package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/admin"
	"github.com/hallig-cloud/hallig/objects"
	"github.com/hallig-cloud/hallig/upkeep"
)

// startUpkeep sets the background work going.
func (n *Node) startUpkeep(ctx context.Context, s *services) error {
	u, err := upkeep.New(upkeep.Config{
		Catalog: s.catalog, Drives: n.fleet, Buckets: s.objects, Keys: n.keys.ring,
		Mesh: n.fleet.mesh, Session: s.session, Logger: n.cfg.Log, Reading: s.objects.Reading,
		Events:     func(e objects.Event) { n.publish(ctx, s, e) },
		ScrubEvery: n.cfg.ScrubEvery, RebalanceRate: n.cfg.RebalanceRate,
		Export: func(ctx context.Context) error {
			_, err := n.export(ctx, s, "")
			return err
		},
		Yield: n.yield, Now: n.cfg.Now,
	})
	if err != nil {
		return fmt.Errorf("background work: %w", err)
	}
	if err := u.RecallKept(ctx); err != nil {
		return fmt.Errorf("background work: %w", err)
	}
	s.upkeep.Store(u)
	s.run(ctx, n.cfg.Log, "background work", u.Run)
	return nil
}

// damage passes reports of damaged shards on to repair, once it runs.
func (s *services) damage(d objects.Damage) {
	if u := s.upkeep.Load(); u != nil {
		u.Damage(d)
	}
}

// publish tells webhooks what happened to objects of one bucket: the events are
// on stable storage when it returns.
func (n *Node) publish(ctx context.Context, s *services, e ...objects.Event) {
	if err := s.notify.Objects(ctx, s.objects, e...); err != nil {
		n.cfg.Log.ErrorContext(ctx, "events were not stored and can be lost", "event", e[0].Name, "bucket", e[0].Bucket, "count", len(e), "err", err)
	}
}

// yieldFor is the longest that one unit of background work waits for clients.
const yieldFor = 50 * time.Millisecond

// yield holds background work back while requests are in flight, but never for
// good: repair must end under any load.
func (n *Node) yield(ctx context.Context) error {
	for waited := time.Duration(0); n.inFlight.Load() > 0 && waited < yieldFor; waited += 5 * time.Millisecond {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
	return ctx.Err()
}

// tasks lists background work. The drives' scrubs are shown as one.
func (n *Node) tasks() []admin.Task {
	out := []admin.Task{}
	s := n.store.Load()
	if s == nil {
		return out
	}
	u := s.upkeep.Load()
	if u == nil {
		return out
	}
	scrub := -1
	for _, t := range u.Status() {
		x := describeTask(t)
		if t.Name != "scrub" {
			out = append(out, x)
			continue
		}
		if scrub < 0 {
			scrub = len(out)
			out = append(out, x)
			continue
		}
		joinTasks(&out[scrub], x)
	}
	n.scrub.show(out)
	return out
}

func describeTask(t upkeep.Task) admin.Task {
	x := admin.Task{
		Name: t.Name, State: string(t.State), Done: t.Done, Total: t.Total, Unit: t.Unit, Detail: t.Detail,
		Found: t.Found, Fixed: t.Fixed, Failed: t.Failed, Last: t.Last, Next: t.Next,
	}
	if t.Err != nil {
		x.Detail = t.Err.Error()
	} else if t.State == upkeep.TaskRunning && t.ETA > 0 && x.Detail == "" {
		x.Detail = "about " + t.ETA.Round(time.Second).String() + " left"
	}
	return x
}

// joinTasks adds one drive's task to the sum: the pass is done when every
// drive's is.
func joinTasks(sum *admin.Task, x admin.Task) {
	sum.Done += x.Done
	sum.Total += x.Total
	sum.Found += x.Found
	sum.Fixed += x.Fixed
	sum.Failed += x.Failed
	if x.Last.IsZero() || (!sum.Last.IsZero() && x.Last.Before(sum.Last)) {
		sum.Last = x.Last
	}
	if x.Next.Before(sum.Next) {
		sum.Next = x.Next
	}
	if x.State == string(upkeep.TaskRunning) || sum.State == string(upkeep.TaskWaiting) {
		sum.State = x.State
	}
	if sum.Detail == "" {
		sum.Detail = x.Detail
	}
}

// scrubbing is the full pass that an operator asked for.
type scrubbing struct {
	mu      sync.Mutex
	running bool
	drives  map[hallig.DriveID]upkeep.ScrubProgress
	found   int64
	failed  int64
	err     error
	last    time.Time
}

// show puts the operator's pass in the place of the scrub's own figures while
// it runs, and its end if that is the newer one.
func (s *scrubbing) show(tasks []admin.Task) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range tasks {
		x := &tasks[i]
		if x.Name != "scrub" {
			continue
		}
		if s.last.After(x.Last) {
			x.Last, x.Found, x.Failed = s.last, max(x.Found, s.found), s.failed
			if s.err != nil {
				x.Detail = s.err.Error()
			}
		}
		if s.running {
			x.State, x.Done, x.Total = string(upkeep.TaskRunning), 0, 0
			for _, d := range s.drives {
				x.Done += d.Done
				x.Total += d.Total
			}
			x.Found, x.Last = s.found, s.last // who waits, waits for all drives and the repair
		}
	}
}

// StartScrub implements admin.Work: one pass over everything, then the repair
// of what it found.
func (n *Node) StartScrub(context.Context) (admin.Task, error) {
	s, err := n.services()
	if err != nil {
		return admin.Task{}, err
	}
	u := s.upkeep.Load()
	n.scrub.mu.Lock()
	if !n.scrub.running {
		n.scrub.running, n.scrub.found, n.scrub.drives = true, 0, map[hallig.DriveID]upkeep.ScrubProgress{}
		s.run(s.background, n.cfg.Log, "scrub", func(ctx context.Context) error {
			n.scrubNow(ctx, u)
			return nil
		})
	}
	n.scrub.mu.Unlock()
	for _, t := range n.tasks() {
		if t.Name == "scrub" {
			return t, nil
		}
	}
	return admin.Task{Name: "scrub", State: string(upkeep.TaskRunning), Unit: "bytes"}, nil
}

func (n *Node) scrubNow(ctx context.Context, u *upkeep.Upkeep) {
	var unnamed int64
	err := u.ScrubNow(ctx, func(p upkeep.ScrubProgress) {
		n.scrub.mu.Lock()
		defer n.scrub.mu.Unlock()
		unnamed += p.Unnamed
		n.scrub.drives[p.Drive] = p
		n.scrub.found += int64(len(p.Bad)) + p.Unnamed
	})
	if err == nil && unnamed > 0 {
		_, err = u.Compare(ctx) // whose shards they were is seen by what is missing
	}
	if err == nil {
		err = u.RepairWaiting(ctx)
	}
	// What still waits could not be healed. Bad shards that nothing refers to any
	// more are no damage: they stay in quarantine until they are swept.
	var left int64
	for _, t := range u.Status() {
		if t.Name == "repair" {
			left += t.Total - t.Done
		}
	}
	n.scrub.mu.Lock()
	defer n.scrub.mu.Unlock()
	n.scrub.running, n.scrub.last, n.scrub.failed, n.scrub.err = false, n.cfg.Now(), left, err
	if err != nil && !errors.Is(err, context.Canceled) {
		n.events.add("error", "scrub: "+err.Error())
	}
}
