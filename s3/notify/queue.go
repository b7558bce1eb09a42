package notify

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hallig-cloud/hallig"
)

// parallel is how many messages go to one webhook at a time.
const parallel = 4

// A queue holds one webhook's events: those in memory, and behind them, older,
// the backlog in the catalog.
type queue struct {
	n       *Notifier
	webhook string
	more    chan struct{} // a hint that events came

	mu     sync.Mutex
	events []Event

	// Of the backlog; used by the worker alone, and by keep after it.
	next    uint64 // number of the next batch; 0: not counted yet
	batches int
}

func (q *queue) add(e Event, limit int) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.events) >= limit {
		return false
	}
	q.events = append(q.events, e)
	select {
	case q.more <- struct{}{}:
	default:
	}
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
// everything that waits is stored, so that a crash does not lose it, and the
// queue pauses.
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
	batch, err := q.oldest(ctx)
	if err != nil {
		return false, err
	}
	if batch != nil {
		if gone {
			q.n.drop(q.webhook, len(batch.events))
			return false, q.forget(ctx, batch)
		}
		if left, err := q.deliver(ctx, w, batch.events); err != nil {
			return false, errors.Join(err, q.rewrite(ctx, batch, left))
		}
		return false, q.forget(ctx, batch)
	}
	events := q.take(parallel * 8)
	switch {
	case len(events) == 0:
		return true, nil
	case gone:
		q.n.drop(q.webhook, len(events))
		return false, nil
	}
	left, err := q.deliver(ctx, w, events)
	if len(left) > 0 {
		q.putBack(left)
	}
	return false, err
}

// deliver posts the events, some at a time, and returns those that did not
// arrive. After the first failure it begins no more.
func (q *queue) deliver(ctx context.Context, w Webhook, events []Event) (left []Event, err error) {
	for len(events) > 0 {
		n := min(parallel, len(events))
		failures := make([]error, n)
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() { failures[i] = q.deliverOne(ctx, w, events[i]) })
		}
		wg.Wait()
		for i, f := range failures {
			if f != nil {
				left = append(left, events[i])
			}
		}
		events = events[n:]
		if err := errors.Join(failures...); err != nil {
			return append(left, events...), err
		}
	}
	return nil, nil
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
