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
)

// A batch is a stored run of events.
type batch struct {
	name   string // of the record
	events []Event
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

// oldest returns the first batch of the backlog, nil if there is none. A batch
// that cannot be read is dropped.
func (q *queue) oldest(ctx context.Context) (*batch, error) {
	prefix := q.n.backlogPrefix(q.webhook)
	page, err := q.n.cfg.Records.Scan(ctx, catalog.KindTask, prefix, 1)
	if err != nil {
		return nil, fmt.Errorf("read the backlog of webhook %s: %w", q.webhook, err)
	}
	if len(page) == 0 || !strings.HasPrefix(page[0].Name, prefix) {
		return nil, nil
	}
	b := &batch{name: page[0].Name}
	if err := json.Unmarshal(page[0].Value, &b.events); err != nil {
		q.n.cfg.Log.ErrorContext(ctx, "a batch of event notifications cannot be read and is dropped", "webhook", q.webhook, "err", err)
	}
	return b, nil
}

func (q *queue) forget(ctx context.Context, b *batch) error {
	err := q.n.cfg.Records.Update(ctx, catalog.Change{Kind: catalog.KindTask, Name: b.name, Delete: true, Expect: catalog.AnyRevision})
	if err != nil {
		return fmt.Errorf("forget delivered events of webhook %s: %w", q.webhook, err)
	}
	if q.batches > 0 {
		q.batches--
	}
	return nil
}

// rewrite stores what is left of a batch.
func (q *queue) rewrite(ctx context.Context, b *batch, left []Event) error {
	if len(left) == len(b.events) {
		return nil
	}
	value, err := json.Marshal(left)
	if err != nil {
		return err
	}
	return q.n.cfg.Records.Update(ctx, catalog.Change{Kind: catalog.KindTask, Name: b.name, Value: value, Expect: catalog.AnyRevision})
}

// store moves everything that waits in memory to the backlog.
func (q *queue) store(ctx context.Context) error {
	for {
		events := q.take(batchEvents)
		if len(events) == 0 {
			return nil
		}
		rest, err := q.storeBatch(ctx, events)
		if len(rest) > 0 {
			q.putBack(rest)
		}
		if err != nil {
			return fmt.Errorf("store events of webhook %s: %w", q.webhook, err)
		}
	}
}

// storeBatch writes one batch and returns the events that it had no room for.
func (q *queue) storeBatch(ctx context.Context, events []Event) (rest []Event, err error) {
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
	q.batches++
	return rest, nil
}

// number returns the next batch's number, or ErrFull.
func (q *queue) number(ctx context.Context) (uint64, error) {
	if q.next == 0 {
		if err := q.count(ctx); err != nil {
			return 0, err
		}
	}
	if q.batches >= q.n.cfg.Batches {
		return 0, fmt.Errorf("the backlog of webhook %s: %w", q.webhook, hallig.ErrFull)
	}
	return q.next, nil
}

// count finds out how many batches there are and the next number. It looks at
// a few at a time: their values come along.
func (q *queue) count(ctx context.Context) error {
	const few = 8
	prefix := q.n.backlogPrefix(q.webhook)
	after, last := prefix, uint64(0)
	q.batches = 0
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
			q.batches++
			after = r.Name
		}
		if len(page) < few {
			q.next = last + 1
			return nil
		}
	}
}
