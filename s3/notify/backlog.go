package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
)

// Limits of a batch of the backlog, one record of the catalog.
const (
	batchEvents = 500
	batchBytes  = 256 << 10
	// batchesAtOnce bounds the batches that are delivered and forgotten together:
	// a webhook that is told of one thing at a time has many of one event each.
	batchesAtOnce = 32
)

// A batch is a stored run of events.
type batch struct {
	name     string // of the record
	revision hallig.Revision
	events   []Event
}

// Records are named notify/NODE/WEBHOOK/NUMBER, numbers of 16 hex digits, so
// that they scan in the order of storing.
func (n *Notifier) backlogPrefix(webhook string) string {
	return "notify/" + n.cfg.Node + "/" + webhook + "/"
}

// backlogWebhooks returns the webhooks that this node has a backlog for.
func (n *Notifier) backlogWebhooks(ctx context.Context) ([]string, error) {
	prefix := "notify/" + n.cfg.Node + "/"
	after := prefix
	var names []string
	for {
		page, err := n.cfg.Records.Scan(ctx, catalog.KindTask, after, 1)
		if err != nil {
			return nil, err
		}
		if len(page) == 0 || !strings.HasPrefix(page[0].Name, prefix) {
			return names, nil
		}
		webhook, _, _ := strings.Cut(page[0].Name[len(prefix):], "/")
		names = append(names, webhook)
		after = prefix + webhook + "/~" // behind its last number
	}
}

// oldest returns the first batches of the backlog: at least one unless there is
// none, and no more than make up batchEvents events. A batch that cannot be read
// has none.
func (q *queue) oldest(ctx context.Context) ([]*batch, error) {
	prefix := q.n.backlogPrefix(q.webhook)
	page, err := q.n.cfg.Records.Scan(ctx, catalog.KindTask, prefix, batchesAtOnce)
	if err != nil {
		return nil, fmt.Errorf("read the backlog of webhook %s: %w", q.webhook, err)
	}
	var found []*batch
	events := 0
	for _, r := range page {
		b := &batch{name: r.Name, revision: r.Revision}
		if !strings.HasPrefix(r.Name, prefix) {
			break
		}
		if err := json.Unmarshal(r.Value, &b.events); err != nil {
			q.n.cfg.Log.ErrorContext(ctx, "a batch of event notifications cannot be read and is dropped", "webhook", q.webhook, "err", err)
			b.events = nil
		}
		if events += len(b.events); events > batchEvents && len(found) > 0 {
			break
		}
		found = append(found, b)
	}
	return found, nil
}

// settle forgets batches, or what of them was delivered. Batches that gave way
// to newer ones meanwhile are left alone.
func (q *queue) settle(ctx context.Context, batches []*batch) error {
	var changes []catalog.Change
	for _, b := range batches {
		c := catalog.Change{Kind: catalog.KindTask, Name: b.name, Expect: b.revision, Delete: len(b.events) == 0}
		if !c.Delete {
			var err error
			if c.Value, err = json.Marshal(b.events); err != nil {
				return err
			}
		}
		changes = append(changes, c)
	}
	if len(changes) == 0 {
		return nil
	}
	// What arrived is forgotten even while the process ends.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), q.n.cfg.Timeout)
	defer cancel()
	err := q.update(ctx, changes...)
	if errors.Is(err, hallig.ErrConflict) { // one at a time, then
		err = nil
		for _, c := range changes {
			if one := q.update(ctx, c); one != nil && !errors.Is(one, hallig.ErrConflict) {
				err = errors.Join(err, one)
			}
		}
	}
	if err != nil {
		return fmt.Errorf("forget delivered events of webhook %s: %w", q.webhook, err)
	}
	return nil
}

// update changes batches that exist, all or none.
func (q *queue) update(ctx context.Context, changes ...catalog.Change) error {
	if err := q.n.cfg.Records.Update(ctx, changes...); err != nil {
		return err
	}
	for _, c := range changes {
		if c.Delete {
			q.batches.Add(-1)
		}
	}
	return nil
}

// store moves everything that waits in memory to the backlog.
func (q *queue) store(ctx context.Context) error {
	for {
		events := q.take(batchEvents)
		if len(events) == 0 {
			return nil
		}
		q.storing.Lock()
		rest, err := q.storeBatch(ctx, events)
		q.storing.Unlock()
		if len(rest) > 0 {
			q.putBack(rest)
		}
		if err != nil {
			return fmt.Errorf("store events of webhook %s: %w", q.webhook, err)
		}
	}
}

// storeBatch writes one batch and returns the events that it had no room for.
// The caller holds storing.
func (q *queue) storeBatch(ctx context.Context, events []Event) (rest []Event, err error) {
	if len(events) > batchEvents {
		events, rest = events[:batchEvents], events[batchEvents:]
	}
	value, err := json.Marshal(events)
	for err == nil && len(value) > batchBytes && len(events) > 1 {
		half := len(events) / 2
		rest = append(append([]Event(nil), events[half:]...), rest...)
		events = events[:half]
		value, err = json.Marshal(events)
	}
	if err != nil {
		return nil, err
	}
	all := append(append([]Event(nil), events...), rest...)
	number, err := q.number(ctx)
	if err != nil {
		return all, err
	}
	name := fmt.Sprintf("%s%016x", q.n.backlogPrefix(q.webhook), number)
	err = q.n.cfg.Records.Update(ctx, catalog.Change{Kind: catalog.KindTask, Name: name, Value: value, Expect: 0})
	switch {
	case errors.Is(err, hallig.ErrConflict): // the number was taken after all
		q.next = 0 // count again
		return all, err
	case err != nil:
		return all, err
	}
	q.next = number + 1
	q.batches.Add(1)
	return rest, nil
}

// number returns the next batch's number. A full backlog makes room first.
func (q *queue) number(ctx context.Context) (uint64, error) {
	if q.next == 0 {
		if err := q.count(ctx); err != nil {
			return 0, err
		}
	}
	for q.batches.Load() >= int64(q.n.cfg.Batches) {
		if err := q.giveWay(ctx); err != nil {
			return 0, err
		}
	}
	return q.next, nil
}

// giveWay drops the oldest batches.
func (q *queue) giveWay(ctx context.Context) error {
	oldest, err := q.oldest(ctx)
	if err != nil {
		return err
	}
	if len(oldest) == 0 {
		q.batches.Store(0)
		return nil
	}
	for _, b := range oldest {
		if q.batches.Load() < int64(q.n.cfg.Batches) {
			return nil
		}
		err := q.update(ctx, catalog.Change{Kind: catalog.KindTask, Name: b.name, Expect: b.revision, Delete: true})
		switch {
		case errors.Is(err, hallig.ErrConflict): // delivered, or partly, meanwhile
		case err != nil:
			return fmt.Errorf("make room in the backlog of webhook %s: %w", q.webhook, err)
		default:
			q.n.drop(q.webhook, len(b.events))
		}
	}
	return nil
}

// count finds out how many batches there are and the next number. It looks at
// a few at a time: their values come along.
func (q *queue) count(ctx context.Context) error {
	const few = 8
	prefix := q.n.backlogPrefix(q.webhook)
	after, last := prefix, uint64(0)
	q.batches.Store(0)
	for {
		page, err := q.n.cfg.Records.Scan(ctx, catalog.KindTask, after, few)
		if err != nil {
			return err
		}
		for _, r := range page {
			digits, ok := strings.CutPrefix(r.Name, prefix)
			if !ok {
				page = nil
				break
			}
			if last, err = strconv.ParseUint(digits, 16, 64); err != nil {
				return fmt.Errorf("backlog record %s: %w", r.Name, hallig.ErrCorrupt)
			}
			q.batches.Add(1)
			after = r.Name
		}
		if len(page) < few {
			q.next = last + 1
			return nil
		}
	}
}
