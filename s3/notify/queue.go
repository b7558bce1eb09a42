package notify

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hallig-cloud/hallig"
)

// parallel is how many messages go to one webhook at a time.
const parallel = 4

// A queue holds one webhook's events: the backlog in the catalog, and in memory
// those that the catalog did not take.
type queue struct {
	n       *Notifier
	webhook string
	more    chan struct{} // a hint that events came

	mu     sync.Mutex
	events []Event
	group  *group // of events to be stored, that more may still join; nil: none

	// storing is held by whoever writes a batch, and covers what follows.
	storing sync.Mutex
	next    uint64 // number of the next batch; 0: not counted yet

	batches atomic.Int64 // in the catalog, once they were counted
}

// A group is what concurrent calls of record store together. Its events belong
// to queue.mu while it is queue.group, the rest to queue.storing.
type group struct {
	events []Event
	done   bool
	err    error
}

func newQueue(n *Notifier, webhook string) *queue {
	return &queue{n: n, webhook: webhook, more: make(chan struct{}, 1)}
}

// record stores events in the backlog. Calls that come while another one is
// storing share one batch: the first of them to get its turn stores for all.
func (q *queue) record(ctx context.Context, events []Event) error {
	q.mu.Lock()
	if q.group == nil || len(q.group.events)+len(events) > batchEvents {
		q.group = &group{}
	}
	g := q.group
	g.events = append(g.events, events...)
	q.mu.Unlock()

	q.storing.Lock()
	defer q.storing.Unlock()
	if g.done {
		return g.err
	}
	q.mu.Lock()
	if q.group == g {
		q.group = nil // closed: nobody joins it any more
	}
	q.mu.Unlock()
	// A client that goes away takes nobody's events with it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), q.n.cfg.Timeout)
	defer cancel()
	for rest := g.events; len(rest) > 0 && g.err == nil; {
		rest, g.err = q.storeBatch(ctx, rest)
	}
	if g.err != nil {
		g.err = fmt.Errorf("store events of webhook %s: %w", q.webhook, g.err)
	}
	g.done = true
	return g.err
}

// wake tells the worker that there is something to do.
func (q *queue) wake() {
	select {
	case q.more <- struct{}{}:
	default:
	}
}

func (q *queue) add(e Event, limit int) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.events) >= limit {
		return false
	}
	q.events = append(q.events, e)
	return true
}

// take removes up to max of the oldest events in memory.
func (q *queue) take(max int) []Event {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := min(max, len(q.events))
	out := q.events[:n:n]
	q.events = q.events[n:]
	if len(q.events) == 0 {
		q.events = nil
	}
	q.n.waiting.Add(int64(-n))
	return out
}

// putBack returns events to the front.
func (q *queue) putBack(events []Event) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.events = append(append(make([]Event, 0, len(events)+len(q.events)), events...), q.events...)
	q.n.waiting.Add(int64(len(events)))
}

// run delivers until ctx ends. The backlog goes first. After a failure
// everything that waits in memory is stored, and the queue pauses.
func (q *queue) run(ctx context.Context) {
	pause := q.n.cfg.First
	for ctx.Err() == nil {
		idle, err := q.round(ctx)
		switch {
		case err != nil:
			q.n.cfg.Log.WarnContext(ctx, "event notification failed; trying again later", "webhook", q.webhook, "pause", pause, "err", err)
			if err := q.store(ctx); err != nil && ctx.Err() == nil {
				q.n.cfg.Log.ErrorContext(ctx, "event notifications wait in memory only", "webhook", q.webhook, "err", err)
			}
			q.wait(ctx, pause)
			pause = min(2*pause, q.n.cfg.Longest)
		case idle:
			select {
			case <-ctx.Done():
			case <-q.more:
			}
		default:
			pause = q.n.cfg.First
		}
	}
}

// wait pauses for d, storing what comes meanwhile once a good number waits.
func (q *queue) wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			return
		case <-q.more:
			if q.length() >= batchEvents {
				_ = q.store(ctx) // they stay in memory if it fails, and are tried again
			}
		}
	}
}

func (q *queue) length() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.events)
}

// round delivers one batch of the backlog or, if there is none, some events
// from memory. idle says that there was nothing to do.
func (q *queue) round(ctx context.Context) (idle bool, err error) {
	w, err := q.n.hooks.Get(ctx, q.webhook)
	gone := errors.Is(err, hallig.ErrNotFound)
	if err != nil && !gone {
		return false, err
	}
	batches, err := q.oldest(ctx)
	if err != nil {
		return false, err
	}
	if len(batches) > 0 {
		return false, q.deliverBatches(ctx, w, gone, batches)
	}
	events := q.take(parallel * 8)
	switch {
	case len(events) == 0:
		return true, nil
	case gone:
		q.n.drop(q.webhook, len(events))
		return false, nil
	}
	arrived, err := q.deliver(ctx, w, events)
	if left := without(events, arrived); len(left) > 0 {
		q.putBack(left)
	}
	return false, err
}

// deliverBatches posts the events of batches, and settles what has become of
// them: what arrived is not sent again.
func (q *queue) deliverBatches(ctx context.Context, w Webhook, gone bool, batches []*batch) error {
	var events []Event
	for _, b := range batches {
		events = append(events, b.events...)
	}
	if gone {
		q.n.drop(q.webhook, len(events))
		for _, b := range batches {
			b.events = nil
		}
		return q.settle(ctx, batches)
	}
	arrived, err := q.deliver(ctx, w, events)
	var changed []*batch
	for _, b := range batches {
		n := len(b.events)
		left := without(b.events, arrived[:n])
		arrived = arrived[n:]
		if len(left) < n || n == 0 {
			b.events = left
			changed = append(changed, b)
		}
	}
	return errors.Join(err, q.settle(ctx, changed))
}

// without returns the events that did not arrive.
func without(events []Event, arrived []bool) (left []Event) {
	for i := range events {
		if !arrived[i] {
			left = append(left, events[i])
		}
	}
	return left
}

// deliver posts the events, some at a time, and says for each whether it is
// done with. After the first failure it begins no more.
func (q *queue) deliver(ctx context.Context, w Webhook, events []Event) (arrived []bool, err error) {
	arrived = make([]bool, len(events))
	for first := 0; first < len(events) && err == nil; first += parallel {
		n := min(parallel, len(events)-first)
		failures := make([]error, n)
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() { failures[i] = q.deliverOne(ctx, w, events[first+i]) })
		}
		wg.Wait()
		for i, f := range failures {
			arrived[first+i] = f == nil
		}
		err = errors.Join(failures...)
	}
	return arrived, err
}

func (q *queue) deliverOne(ctx context.Context, w Webhook, e Event) error {
	now := q.n.cfg.Clock()
	if now.Sub(e.At) > q.n.cfg.GiveUp {
		q.n.drop(q.webhook, 1)
		return nil
	}
	body, err := e.Message()
	if err != nil {
		q.n.drop(q.webhook, 1) // it would fail for ever
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, q.n.cfg.Timeout)
	defer cancel()
	if err := w.post(ctx, q.n.cfg.Client, now, body); err != nil {
		q.n.failed.Add(1)
		return err
	}
	q.n.delivered.Add(1)
	return nil
}
