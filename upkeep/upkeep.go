package upkeep

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/erasure"
	"github.com/hallig-cloud/hallig/objects"
	"github.com/hallig-cloud/hallig/placement"
	"github.com/hallig-cloud/hallig/shard"
)

// The names of the tasks.
const (
	taskScrub     = "scrub"
	taskRepair    = "repair"
	taskCompare   = "compare"
	taskReencode  = "re-encode"
	taskRebalance = "rebalance"
	taskSweep     = "sweep"
	taskLifecycle = "lifecycle"
	taskExport    = "export"
)

// An Upkeep does the background work of one node. All methods may be called
// concurrently.
type Upkeep struct {
	config Config
	codes  erasure.Codes
	queue  *queue
	bytes  *rate.Limiter // repair and re-encoding
	ops    *rate.Limiter // lifecycle
	levels *rate.Limiter // rebalancing

	// One pass of a kind at a time.
	compareMu, reencodeMu, rebalanceMu, sweepMu, lifecycleMu sync.Mutex
	kicks                                                    map[string]chan struct{}
	running                                                  atomic.Bool // Run is under way: the queue is worked off

	mu       sync.Mutex
	works    []*work
	pools    map[hallig.PoolID]*placement.Pool
	fenced   map[hallig.SessionID]bool
	settled  uint64 // topology revision at which nothing was left to do
	scrubs   map[hallig.DriveID]*scrubbing
	forced   map[hallig.DataID]bool   // to be re-encoded whatever their pool
	tried    map[hallig.DataID]uint16 // generations that re-encodings have used
	kept     Kept
	narrowed int // times that drives were seen away

	relocations []relocation                    // whose old copies are to go, in the order that they are due
	pending     int                             // transfers of those
	places      chan struct{}                   // see holdPlaces
	lives       map[hallig.DataID]hallig.PoolID // where the data of those is now
	moved       int64                           // moves made
	doubtful    bool                            // see doubt
}

// New returns an Upkeep; Run sets it to work.
func New(c Config) (*Upkeep, error) {
	if err := c.fill(); err != nil {
		return nil, err
	}
	u := &Upkeep{
		config: c,
		queue:  newQueue(c.Now, c.RetryAfter),
		bytes:  rate.NewLimiter(rate.Limit(c.RepairRate), int(min(max(c.RepairRate, burst), 1<<30))),
		ops:    rate.NewLimiter(rate.Limit(c.LifecycleRate), c.LifecycleRate),
		levels: rate.NewLimiter(rate.Limit(c.RebalanceRate), int(min(max(c.RebalanceRate, burst), 1<<30))),
		places: make(chan struct{}, 1),
		lives:  map[hallig.DataID]hallig.PoolID{},
		kicks:  map[string]chan struct{}{},
		pools:  map[hallig.PoolID]*placement.Pool{},
		fenced: map[hallig.SessionID]bool{},
		scrubs: map[hallig.DriveID]*scrubbing{},
		forced: map[hallig.DataID]bool{},
		tried:  map[hallig.DataID]uint16{},
	}
	for _, name := range []string{taskCompare, taskReencode, taskRebalance, taskSweep, taskLifecycle, taskExport} {
		u.kicks[name] = make(chan struct{}, 1)
	}
	return u, nil
}

// burst is the most bytes that are waited for at once.
const burst = 4 << 20

// take waits for n bytes' worth of the limiter, and for clients.
func (u *Upkeep) take(ctx context.Context, l *rate.Limiter, n int64) error {
	if err := u.config.Yield(ctx); err != nil {
		return err
	}
	for n > 0 {
		part := int(min(n, int64(l.Burst())))
		if err := l.WaitN(ctx, part); err != nil {
			return err
		}
		n -= int64(part)
	}
	return ctx.Err()
}

// Damage takes a report of a shard that is missing or bad, for repair. It does
// not block; *objects.Store calls it.
func (u *Upkeep) Damage(d objects.Damage) {
	work := u.work(taskRepair, "stripes", hallig.DriveID{})
	if u.queue.add(stripeOf(d.Shard), d.Pool, int(d.Shard.Index), errors.Is(d.Err, hallig.ErrCorrupt)) {
		work.edit(func(t *Task) { t.Found++ })
	}
}

func stripeOf(id shard.ID) stripeID {
	return stripeID{Data: id.Data, Number: id.Stripe, Generation: id.Generation}
}

// Run works until ctx is done, and returns nil then. It never gives up: a task
// that fails is tried again.
func (u *Upkeep) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	u.running.Store(true)
	defer u.running.Store(false)
	u.noteDrives()
	stop := u.config.Drives.Watch(func() {
		u.noteDrives()
		u.queue.hurry()
		u.kick(taskCompare)
	})
	defer stop()
	for range u.config.Workers {
		g.Go(func() error { return u.repairs(ctx) })
	}
	g.Go(func() error { return u.scrubAll(ctx) })
	g.Go(func() error { return u.chase(ctx) })
	g.Go(func() error {
		return u.repeat(ctx, taskCompare, "extents", u.config.CompareEvery, settleIn, func(ctx context.Context) error {
			if err := u.resumeReencodings(ctx); err != nil {
				return err
			}
			_, err := u.Compare(ctx)
			u.kick(taskReencode)
			return err
		})
	})
	g.Go(func() error {
		return u.repeat(ctx, taskReencode, "versions", u.config.CompareEvery, never, func(ctx context.Context) error {
			r, err := u.Reencode(ctx)
			if r.Moved > 0 {
				u.kick(taskCompare)
			}
			u.kick(taskRebalance)
			return err
		})
	})
	g.Go(func() error {
		return u.repeat(ctx, taskRebalance, "bytes", u.config.CompareEvery, u.config.CompareEvery, func(ctx context.Context) error {
			_, err := u.Rebalance(ctx)
			return err
		})
	})
	g.Go(func() error {
		return u.repeat(ctx, taskSweep, "shards", u.config.GarbageEvery, 0, func(ctx context.Context) error {
			_, err := u.Sweep(ctx)
			return errors.Join(err, u.trim(ctx))
		})
	})
	g.Go(func() error {
		return u.repeat(ctx, taskLifecycle, "versions", u.config.LifecycleEvery, settleIn, func(ctx context.Context) error {
			_, err := u.Lifecycle(ctx)
			return err
		})
	})
	if u.config.Export != nil {
		g.Go(func() error {
			return u.repeat(ctx, taskExport, "exports", u.config.ExportEvery, never, u.export)
		})
	}
	if err := g.Wait(); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

// kick makes a task run soon.
func (u *Upkeep) kick(name string) {
	select {
	case u.kicks[name] <- struct{}{}:
	default:
	}
}

// When a task runs first: soon after the start, when the node has settled, or
// not before the interval since its last full pass is over, restarts included.
const (
	settleIn = 30 * time.Second
	never    = -1
)

// repeat runs f when wait is over (see above), then every interval and when it
// is kicked; after a failure sooner.
func (u *Upkeep) repeat(ctx context.Context, name, unit string, every, wait time.Duration, f func(context.Context) error) error {
	w := u.work(name, unit, hallig.DriveID{})
	remember := wait == never
	if remember {
		wait = every
		if p, err := u.load(ctx, name); err == nil {
			wait = max(0, min(every, every-u.config.Now().Sub(p.Last)))
		}
	}
	pause := u.config.RetryAfter
	for {
		w.edit(func(t *Task) { t.Next = u.config.Now().Add(wait) })
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-u.kicks[name]:
			timer.Stop()
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
		err := f(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // told to end: f's error is of no interest
		}
		if err != nil {
			wait = min(pause, every)
			pause = min(2*pause, every)
			u.config.Logger.Error("background work failed; it will be tried again", "task", name, "after", wait, "err", err)
		} else {
			wait, pause = every, u.config.RetryAfter
			if remember {
				if err := u.save(ctx, name, progress{Last: u.config.Now()}); err != nil {
					u.config.Logger.Warn("the time of a pass was not recorded", "task", name, "err", err)
				}
			}
		}
		w.end(err, u.config.Now().Add(wait))
	}
}

func (u *Upkeep) export(ctx context.Context) error {
	w := u.work(taskExport, "exports", hallig.DriveID{})
	w.begin(0, 1)
	err := u.config.Export(ctx)
	if err == nil {
		w.add(1)
	}
	return err
}

// pool returns a pool by id; pools never change.
func (u *Upkeep) pool(ctx context.Context, id hallig.PoolID) (*placement.Pool, error) {
	u.mu.Lock()
	p := u.pools[id]
	u.mu.Unlock()
	if p != nil {
		return p, nil
	}
	rec, err := u.config.Catalog.Get(ctx, catalog.KindPool, objects.PoolName(id))
	if err != nil {
		return nil, fmt.Errorf("pool %d: %w", id, err)
	}
	decoded, err := objects.DecodePool(rec)
	if err != nil {
		return nil, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.pools[id] = &decoded.Pool
	return &decoded.Pool, nil
}

// readable returns a drive's store if reads of it may succeed, else nil.
func (u *Upkeep) readable(id hallig.DriveID) shard.Store {
	if id.IsZero() {
		return nil
	}
	d := u.config.Drives.Drive(id)
	if d == nil {
		return nil
	}
	switch d.Status().State {
	case shard.StateOnline, shard.StateFull, shard.StateReadOnly:
		return d
	}
	return nil
}

// Settled returns the greatest topology revision under which a comparison of
// every drive found everything in its place and nothing left to re-encode:
// drives that were draining then hold nothing that is needed. 0: none yet.
func (u *Upkeep) Settled() uint64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.settled
}
