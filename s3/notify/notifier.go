package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/objects"
)

// Config is what a Notifier is made of.
type Config struct {
	Records catalog.Records // webhooks and the backlog
	// Node names the backlog, so that two gateways do not deliver each other's;
	// letters, digits and hyphens. Required.
	Node   string
	Region string // awsRegion of messages; default "us-east-1"
	// Client sends the messages; default: one without redirects, with Timeout.
	Client *http.Client
	Log    *slog.Logger     // default: discards
	Clock  func() time.Time // default: time.Now
	// Waiting bounds the events of one webhook that wait in memory because the
	// catalog did not take them; what comes on top is dropped and counted. Default
	// 10,000.
	Waiting int
	// Batches bounds the backlog of one webhook in the catalog, in batches of at
	// most 500 events; beyond it the oldest are dropped and counted. Default 100,000.
	Batches int
	Timeout time.Duration // for one delivery, and for storing an event; default 10 s
	// Pauses between attempts grow from First to Longest by doubling.
	First, Longest time.Duration // default 1 s, 5 min
	GiveUp         time.Duration // age at which an event is dropped; default 72 h
}

func (c Config) withDefaults() Config {
	set := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	set(&c.Timeout, 10*time.Second)
	set(&c.First, time.Second)
	set(&c.Longest, 5*time.Minute)
	set(&c.GiveUp, 72*time.Hour)
	if c.Region == "" {
		c.Region = "us-east-1"
	}
	if c.Waiting <= 0 {
		c.Waiting = 10_000
	}
	if c.Batches <= 0 {
		c.Batches = 100_000
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Client == nil {
		c.Client = &http.Client{
			Timeout:       c.Timeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	return c
}

// Counts are a Notifier's totals since it was made.
type Counts struct {
	Delivered, Failed, Dropped int64
	Waiting                    int64 // now in memory: the catalog did not take them
}

// A Notifier delivers events. Publish is safe for concurrent use, and keeps
// events whether Run runs or not; Run delivers them.
type Notifier struct {
	cfg   Config
	hooks *Webhooks

	delivered, failed, dropped, waiting atomic.Int64

	mu     sync.Mutex
	queues map[string]*queue // by webhook
	parsed map[hallig.BucketID]parsedConfig
	wake   chan *queue // queues that have no worker yet
}

type parsedConfig struct {
	edit    hallig.Revision
	targets []Target
}

// New returns a Notifier.
func New(cfg Config) *Notifier {
	cfg = cfg.withDefaults()
	return &Notifier{
		cfg: cfg, hooks: NewWebhooks(cfg.Records),
		queues: make(map[string]*queue), parsed: make(map[hallig.BucketID]parsedConfig),
		wake: make(chan *queue, 1024),
	}
}

// Webhooks returns the record of targets.
func (n *Notifier) Webhooks() *Webhooks { return n.hooks }

// Counts returns the totals, for metrics.
func (n *Notifier) Counts() Counts {
	return Counts{n.delivered.Load(), n.failed.Load(), n.dropped.Load(), n.waiting.Load()}
}

// Publish hands events to every target of the bucket that wants them. When it
// returns they are on stable storage; concurrent calls share that. The error is
// about storing them: they then wait in memory, for as long as this process
// lives and there is room.
func (n *Notifier) Publish(ctx context.Context, b *objects.Bucket, events ...Event) error {
	doc := b.Documents[objects.DocNotification]
	if len(doc) == 0 {
		return nil
	}
	wanted := make(map[string][]Event) // by webhook
	for _, t := range n.targets(b, doc) {
		for _, e := range events {
			if !t.Wants(e.Name, e.Key) {
				continue
			}
			e.Bucket, e.Owner, e.TargetID = b.Name, b.Owner, t.ID
			if e.Region == "" {
				e.Region = n.cfg.Region
			}
			wanted[t.Webhook] = append(wanted[t.Webhook], e)
		}
	}
	var errs []error
	for webhook, events := range wanted {
		q := n.queue(webhook)
		if q == nil {
			n.drop(webhook, len(events))
			continue
		}
		err := q.record(ctx, events)
		if err != nil {
			n.keepInMemory(q, events)
			errs = append(errs, err)
		}
		q.wake()
	}
	return errors.Join(errs...)
}

func (n *Notifier) keepInMemory(q *queue, events []Event) {
	for _, e := range events {
		if !q.add(e, n.cfg.Waiting) {
			n.drop(q.webhook, 1)
			continue
		}
		n.waiting.Add(1)
	}
}

// Test sends the message s3:TestEvent to a webhook, once and at once; a bucket's
// new configuration is stored only if every webhook takes it.
func (n *Notifier) Test(ctx context.Context, webhook string, e Event) error {
	w, err := n.hooks.Get(ctx, webhook)
	if err != nil {
		return err
	}
	e.TestBucket = true
	body, err := e.Message()
	if err != nil {
		return fmt.Errorf("test event: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, n.cfg.Timeout)
	defer cancel()
	if err := w.post(ctx, n.cfg.Client, n.cfg.Clock(), body); err != nil {
		return fmt.Errorf("test event to webhook %s: %w: %w", webhook, hallig.ErrUnavailable, err)
	}
	return nil
}

// targets parses a bucket's configuration once for each of its revisions.
func (n *Notifier) targets(b *objects.Bucket, doc []byte) []Target {
	n.mu.Lock()
	p, ok := n.parsed[b.ID]
	n.mu.Unlock()
	if ok && p.edit == b.Edit && b.Edit != 0 {
		return p.targets
	}
	c, err := Parse(doc)
	if err != nil {
		n.cfg.Log.Error("notification configuration cannot be read; no events are sent", "bucket", b.Name, "err", err)
	}
	p = parsedConfig{b.Edit, c.Targets()}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.parsed) >= 10_000 {
		clear(n.parsed)
	}
	n.parsed[b.ID] = p
	return p.targets
}

// queue returns the webhook's queue, which it makes at need; nil when there are
// too many.
func (n *Notifier) queue(webhook string) *queue {
	n.mu.Lock()
	defer n.mu.Unlock()
	q := n.queues[webhook]
	if q == nil && len(n.queues) < cap(n.wake) {
		q = newQueue(n, webhook)
		n.queues[webhook] = q
		n.wake <- q // has room for every queue there can be
	}
	return q
}

func (n *Notifier) drop(webhook string, count int) {
	if n.dropped.Add(int64(count)) == int64(count) || count > 1 {
		n.cfg.Log.Error("event notifications dropped", "webhook", webhook, "count", count)
	}
}

// Run delivers until ctx ends; then it tries once more to store what waits in
// memory (for at most Config.Timeout) and returns. It first takes up the backlog that
// an earlier process left.
func (n *Notifier) Run(ctx context.Context) error {
	if err := n.resume(ctx); err != nil {
		return fmt.Errorf("resume event notifications: %w", err)
	}
	var workers sync.WaitGroup
	for {
		select {
		case <-ctx.Done():
			workers.Wait()
			return n.keep()
		case q := <-n.wake:
			workers.Go(func() { q.run(ctx) })
		}
	}
}

// resume makes a queue for each webhook with a backlog.
func (n *Notifier) resume(ctx context.Context) error {
	names, err := n.backlogWebhooks(ctx)
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, name := range names {
		if n.queues[name] == nil {
			q := newQueue(n, name)
			n.queues[name] = q
			n.wake <- q
		}
	}
	return nil
}

// keep stores every waiting event after the workers have ended.
func (n *Notifier) keep() error {
	ctx, cancel := context.WithTimeout(context.Background(), n.cfg.Timeout)
	defer cancel()
	n.mu.Lock()
	queues := make([]*queue, 0, len(n.queues))
	for _, q := range n.queues {
		queues = append(queues, q)
	}
	n.mu.Unlock()
	var errs []error
	for _, q := range queues {
		errs = append(errs, q.store(ctx))
	}
	return errors.Join(errs...)
}
