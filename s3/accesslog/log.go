package accesslog

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/objects"
	"github.com/hallig-cloud/hallig/s3"
	"github.com/hallig-cloud/hallig/s3/subresource"
)

// Store is what the log needs of the object store; objects.API is it.
type Store interface {
	Bucket(ctx context.Context, name string) (objects.Bucket, error)
	Put(ctx context.Context, r objects.PutRequest) (catalog.Version, error)
}

// Config is what a Log is made of.
type Config struct {
	Store   Store
	Region  string           // in the names of partitioned logs; default "us-east-1"
	Account string           // 12 digits, likewise; default zeros
	Every   time.Duration    // longest wait of a line; default 5 min
	Size    int              // bytes of lines that are delivered at once; default 1 MiB
	Waiting int              // requests not yet looked at; more are dropped; default 10,000
	Log     *slog.Logger     // default: discards
	Clock   func() time.Time // default: time.Now
}

// A Log gathers and delivers lines. Observe is safe for concurrent use; Run
// must be running for anything to be delivered.
type Log struct {
	cfg     Config
	entries chan entry
	dropped atomic.Int64

	// Of Run alone.
	open   map[target]*strings.Builder
	parsed map[hallig.BucketID]settings
}

// A target is one log object to be.
type target struct {
	source, bucket, prefix string
	partitioned, eventTime bool
	date                   string // of the events, with eventTime
}

type settings struct {
	edit hallig.Revision
	on   *subresource.LoggingEnabled
}

// maxOpen bounds the log objects gathered at a time.
const maxOpen = 1000

// New returns a Log.
func New(cfg Config) *Log {
	if cfg.Every <= 0 {
		cfg.Every = 5 * time.Minute
	}
	if cfg.Size <= 0 {
		cfg.Size = 1 << 20
	}
	if cfg.Waiting <= 0 {
		cfg.Waiting = 10_000
	}
	if cfg.Region == "" {
		cfg.Region = "us-east-1"
	}
	if cfg.Account == "" {
		cfg.Account = "000000000000"
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	return &Log{
		cfg: cfg, entries: make(chan entry, cfg.Waiting),
		open: make(map[target]*strings.Builder), parsed: make(map[hallig.BucketID]settings),
	}
}

// Observe takes note of a request; it is meant for s3.Config.Observe. It never
// blocks.
func (l *Log) Observe(r s3.Record) {
	if r.Bucket == "" || r.Request == nil {
		return
	}
	select {
	case l.entries <- newEntry(r):
	default:
		l.dropped.Add(1)
	}
}

// Dropped returns how many lines were lost so far.
func (l *Log) Dropped() int64 { return l.dropped.Load() }

// Run gathers and delivers until ctx ends, then delivers what it has, taking at
// most ten seconds.
func (l *Log) Run(ctx context.Context) error {
	tick := time.NewTicker(l.cfg.Every)
	defer tick.Stop()
	for {
		select {
		case e := <-l.entries:
			l.take(ctx, e)
		case <-tick.C:
			l.flush(ctx)
		case <-ctx.Done():
			return l.end(ctx)
		}
	}
}

func (l *Log) end(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	for {
		select {
		case e := <-l.entries:
			l.take(ctx, e)
		default:
			l.flush(ctx)
			return nil
		}
	}
}

// take appends a request's line to the log object that its bucket asks for.
func (l *Log) take(ctx context.Context, e entry) {
	b, err := l.cfg.Store.Bucket(ctx, e.bucket)
	if err != nil {
		if !errors.Is(err, hallig.ErrNotFound) {
			l.dropped.Add(1)
		}
		return
	}
	on := l.settings(&b)
	if on == nil {
		return
	}
	t := target{source: b.Name, bucket: on.TargetBucket, prefix: on.TargetPrefix}
	if f := on.KeyFormat; f != nil && f.Partitioned != nil {
		t.partitioned = true
		if f.Partitioned.DateSource == "EventTime" {
			t.eventTime, t.date = true, e.at.UTC().Format("2006-01-02")
		}
	}
	buf := l.open[t]
	if buf == nil {
		if len(l.open) >= maxOpen {
			l.flush(ctx)
		}
		buf = &strings.Builder{}
		l.open[t] = buf
	}
	buf.WriteString(e.line(b.Owner))
	if buf.Len() >= l.cfg.Size {
		delete(l.open, t)
		l.deliver(ctx, t, buf.String())
	}
}

// settings parses a bucket's logging document once for each of its revisions.
func (l *Log) settings(b *objects.Bucket) *subresource.LoggingEnabled {
	doc := b.Documents[objects.DocLogging]
	if len(doc) == 0 {
		return nil
	}
	if p, ok := l.parsed[b.ID]; ok && p.edit == b.Edit && b.Edit != 0 {
		return p.on
	}
	parsed, err := subresource.ParseLogging(doc)
	if err != nil {
		l.cfg.Log.Error("logging configuration cannot be read; no access log is written", "bucket", b.Name, "err", err)
	}
	if len(l.parsed) >= 10_000 {
		clear(l.parsed)
	}
	l.parsed[b.ID] = settings{b.Edit, parsed.Enabled}
	return parsed.Enabled
}

func (l *Log) flush(ctx context.Context) {
	for _, t := range slices.SortedFunc(maps.Keys(l.open), func(a, b target) int {
		return strings.Compare(a.source+a.date, b.source+b.date)
	}) {
		text := l.open[t].String()
		delete(l.open, t)
		l.deliver(ctx, t, text)
	}
}

// deliver writes one log object, owned by the target bucket's owner.
func (l *Log) deliver(ctx context.Context, t target, text string) {
	err := l.put(ctx, t, text)
	if err != nil {
		l.dropped.Add(int64(strings.Count(text, "\n")))
		l.cfg.Log.ErrorContext(ctx, "access log could not be written", "bucket", t.source, "target", t.bucket, "err", err)
	}
}

func (l *Log) put(ctx context.Context, t target, text string) error {
	b, err := l.cfg.Store.Bucket(ctx, t.bucket)
	if err != nil {
		return fmt.Errorf("target bucket: %w", err)
	}
	_, err = l.cfg.Store.Put(ctx, objects.PutRequest{
		Bucket: t.bucket, Key: l.key(t), Body: strings.NewReader(text), Size: int64(len(text)),
		Attributes: catalog.Attributes{Owner: b.Owner, ContentType: "text/plain"},
	})
	return err
}

// key names a log object: PREFIX2006-01-02-15-04-05-UNIQUE, or with the
// source and the date between.
func (l *Log) key(t target) string {
	now := l.cfg.Clock().UTC()
	stamp := now.Format("2006-01-02-15-04-05")
	if t.eventTime {
		stamp = t.date + "-00-00-00"
	}
	var unique [8]byte
	rand.Read(unique[:]) //nolint:errcheck // never fails
	name := stamp + "-" + strings.ToUpper(hex.EncodeToString(unique[:]))
	if !t.partitioned {
		return t.prefix + name
	}
	date := strings.ReplaceAll(stamp[:len("2006-01-02")], "-", "/")
	return t.prefix + strings.Join([]string{l.cfg.Account, l.cfg.Region, t.source, date, name}, "/")
}
