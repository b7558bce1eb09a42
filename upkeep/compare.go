package upkeep

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/erasure"
	"github.com/hallig-cloud/hallig/placement"
	"github.com/hallig-cloud/hallig/seal"
	"github.com/hallig-cloud/hallig/shard"
)

// A Comparison is what holding the drives' inventories against the catalog
// found.
type Comparison struct {
	Topology uint64 // revision
	Extents  int64
	Missing  int64 // shards that are not where they belong; they are queued
	Unplaced int64 // shards for which no drive is left: their stripes need another pool
	Surplus  int64 // shards of live data on drives where they do not belong; they stay
	Orphans  int64 // shards that nothing refers to, and that were deleted
	Trimmed  int64 // surplus shards that an interrupted rebalancing had left, and that were deleted
	Alive    int64 // shards that nothing refers to yet, of writers that live; they stay
	Away     int   // drives that could not be asked
}

// A span is an extent as the comparison needs it.
type span struct {
	data       hallig.DataID
	first      uint32
	count      uint32
	length     int64 // plaintext; 0 when not known
	pool       hallig.PoolID
	generation uint16
}

func (s span) compare(o span) int {
	return cmp.Or(slices.Compare(s.data[:], o.data[:]), cmp.Compare(s.first, o.first), cmp.Compare(s.generation, o.generation))
}

// Compare walks the catalog, and then every drive's inventory in the order of
// the IDs. What is missing is queued for repair; what nothing refers to, and no
// living writer wrote, is deleted behind a fence. Memory is bounded by
// CompareBatch: with more extents there are several walks, each over a range of
// data ids.
func (u *Upkeep) Compare(ctx context.Context) (Comparison, error) {
	u.compareMu.Lock()
	defer u.compareMu.Unlock()
	w := u.work(taskCompare, "extents", hallig.DriveID{})
	t := u.config.Drives.Topology()
	c := Comparison{Topology: t.Revision}
	queued, placed := u.queue.additions(), newRows(t)
	w.begin(0, 0)
	var lo hallig.DataID
	for {
		moved := u.moves()
		spans, hi, err := u.collect(ctx, lo)
		if err != nil {
			return c, err
		}
		c.Extents += int64(len(spans))
		for _, d := range t.Drives {
			if d.State == placement.DriveLost {
				continue
			}
			if err := u.compareDrive(ctx, &orphans{u: u, drive: d.ID, c: &c, rows: placed, moved: moved}, spans, lo, hi); err != nil {
				if ctx.Err() != nil {
					return c, ctx.Err()
				}
				c.Away++
				u.config.Logger.Warn("a drive's inventory could not be compared", "drive", d.ID, "err", err)
			}
		}
		u.queue.drop(queued, func(id stripeID) bool {
			in := slices.Compare(id.Data[:], lo[:]) >= 0 && (hi.IsZero() || slices.Compare(id.Data[:], hi[:]) < 0)
			return in && !covered(spans, id)
		})
		if err := u.countUnplaced(ctx, placed, spans, &c); err != nil {
			return c, err
		}
		w.add(int64(len(spans)))
		if hi.IsZero() {
			break
		}
		lo = hi
	}
	w.edit(func(t *Task) {
		t.Found += c.Missing
		t.Fixed += c.Orphans
		t.Detail = c.String()
	})
	u.settle(c)
	return c, nil
}

// covered reports whether a stripe belongs to one of the spans.
func covered(spans []span, id stripeID) bool {
	at, _ := slices.BinarySearchFunc(spans, id.Data, func(s span, d hallig.DataID) int { return slices.Compare(s.data[:], d[:]) })
	for ; at < len(spans) && spans[at].data == id.Data; at++ {
		s := spans[at]
		if s.generation == id.Generation && id.Number >= s.first && id.Number-s.first < s.count {
			return true
		}
	}
	return false
}

// String is one line for people.
func (c Comparison) String() string {
	return fmt.Sprintf("%d extents: %d shards missing, %d without a drive, %d surplus, %d orphans deleted, %d not yet committed, %d drives away",
		c.Extents, c.Missing, c.Unplaced, c.Surplus, c.Orphans, c.Alive, c.Away)
}

// settle notes that everything is in its place.
func (u *Upkeep) settle(c Comparison) {
	if c.Missing+c.Unplaced > 0 || c.Away > 0 || u.queue.length() > 0 {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.settled = max(u.settled, c.Topology)
}

// collect returns the spans with data ids in [lo, hi), sorted, at most about
// CompareBatch of them; hi is zero when there are no more.
func (u *Upkeep) collect(ctx context.Context, lo hallig.DataID) (spans []span, hi hallig.DataID, err error) {
	limit := u.config.CompareBatch
	var cursor []byte
	for {
		found, next, err := u.config.Catalog.Walk(ctx, cursor, 1000)
		if err != nil {
			return nil, hi, fmt.Errorf("walk the catalog: %w", err)
		}
		for _, f := range found {
			for _, e := range extentsOf(f) {
				if slices.Compare(e.Data[:], lo[:]) < 0 || !hi.IsZero() && slices.Compare(e.Data[:], hi[:]) >= 0 {
					continue
				}
				spans = append(spans, span{e.Data, e.First, e.Count, e.Length, e.Pool, e.Generation})
			}
		}
		if len(spans) > 2*limit {
			spans, hi = cut(spans, limit, hi)
		}
		if next == nil {
			break
		}
		cursor = next
		if err := u.config.Yield(ctx); err != nil {
			return nil, hi, err
		}
	}
	if len(spans) > limit {
		spans, hi = cut(spans, limit, hi)
	}
	slices.SortFunc(spans, span.compare)
	return slices.CompactFunc(spans, func(a, b span) bool { return a.compare(b) == 0 }), hi, nil
}

// cut keeps the first limit spans, and those of the last one's data id.
func cut(spans []span, limit int, hi hallig.DataID) ([]span, hallig.DataID) {
	slices.SortFunc(spans, span.compare)
	spans = slices.CompactFunc(spans, func(a, b span) bool { return a.compare(b) == 0 })
	n := limit
	for n < len(spans) && n > 0 && spans[n].data == spans[n-1].data {
		n++
	}
	if n >= len(spans) {
		return spans, hi
	}
	return spans[:n:n], spans[n].data
}

func extentsOf(f catalog.Stored) []catalog.Extent {
	if f.Part != nil {
		return f.Part.Extents
	}
	if f.Version != nil {
		return f.Version.Extents
	}
	return nil
}

// rows are the drives of pools' groups under one topology, worked out once.
type rows struct {
	t    *placement.Topology
	made map[hallig.PoolID][][]hallig.DriveID
}

func newRows(t *placement.Topology) *rows {
	return &rows{t: t, made: map[hallig.PoolID][][]hallig.DriveID{}}
}

func (r *rows) row(pool *placement.Pool, group int) []hallig.DriveID {
	all := r.made[pool.ID]
	if all == nil {
		all = make([][]hallig.DriveID, len(pool.Groups))
		r.made[pool.ID] = all
	}
	if all[group] == nil {
		all[group] = pool.Drives(r.t, group)
	}
	return all[group]
}

// stripesOf yields the stripes of a span with their sealed lengths.
func stripesOf(s span, pool *placement.Pool) iter.Seq2[uint32, int64] {
	return func(yield func(uint32, int64) bool) {
		size := pool.StripeSize()
		for n := range s.count {
			plain := size
			if n == s.count-1 && s.length > 0 {
				plain = s.length - int64(n)*size
			}
			if !yield(s.first+n, seal.SealedLength(plain)) {
				return
			}
		}
	}
}

// An expected is a shard that a drive should hold.
type expected struct {
	id   shard.ID
	pool hallig.PoolID
}

// expect yields, in ID order, the shards that should be on the drive under t.
func (u *Upkeep) expect(ctx context.Context, t *rows, drive hallig.DriveID, spans []span) iter.Seq2[expected, error] {
	return func(yield func(expected, error) bool) {
		for len(spans) > 0 {
			n := 1
			for n < len(spans) && spans[n].data == spans[0].data {
				n++
			}
			if n == 1 {
				if !u.expectSpan(ctx, t, drive, spans[0], yield) {
					return
				}
			} else if !u.expectMany(ctx, t, drive, spans[:n], yield) {
				return
			}
			spans = spans[n:]
		}
	}
}

// expectMany yields the shards of several spans of one data id.
func (u *Upkeep) expectMany(ctx context.Context, t *rows, drive hallig.DriveID, spans []span, yield func(expected, error) bool) bool {
	var all []expected
	for _, s := range spans {
		var failed error
		u.expectSpan(ctx, t, drive, s, func(e expected, err error) bool {
			all, failed = append(all, e), err
			return err == nil
		})
		if failed != nil {
			yield(expected{}, failed)
			return false
		}
	}
	slices.SortFunc(all, func(a, b expected) int { return a.id.Compare(b.id) })
	for _, e := range all {
		if !yield(e, nil) {
			return false
		}
	}
	return true
}

func (u *Upkeep) expectSpan(ctx context.Context, t *rows, drive hallig.DriveID, s span, yield func(expected, error) bool) bool {
	pool, err := u.pool(ctx, s.pool)
	if err != nil {
		yield(expected{}, err)
		return false
	}
	for n, sealed := range stripesOf(s, pool) {
		i := slices.Index(t.row(pool, pool.Group(s.data, n)), drive)
		if i < 0 {
			continue
		}
		layout, err := erasure.NewLayout(pool.Scheme.K, pool.Scheme.M, sealed)
		if err != nil {
			yield(expected{}, err)
			return false
		}
		if layout.ShardLength(i) == 0 {
			continue
		}
		e := expected{shard.ID{Data: s.data, Stripe: n, Generation: s.generation, Index: uint16(i)}, s.pool}
		if !yield(e, nil) {
			return false
		}
	}
	return true
}

// What ends a walk early.
var (
	errPastEnd = errors.New("past the end of the range")
	errPause   = errors.New("pause")
)

// before returns the greatest shard id below every one of data, or the zero id.
func before(data hallig.DataID) shard.ID {
	for i := len(data) - 1; i >= 0; i-- {
		data[i]--
		if data[i] != 0xff {
			return shard.ID{Data: data, Stripe: math.MaxUint32, Generation: math.MaxUint16, Index: math.MaxUint16}
		}
	}
	return shard.ID{}
}

// compareDrive merges what a drive should hold with what it holds.
func (u *Upkeep) compareDrive(ctx context.Context, found *orphans, spans []span, lo, hi hallig.DataID) error {
	drive, c := found.drive, found.c
	store := u.readable(drive)
	if store == nil {
		return fmt.Errorf("drive %s is away: %w", drive, hallig.ErrUnavailable)
	}
	found.store = store
	next, stop := iter.Pull2(u.expect(ctx, found.rows, drive, spans))
	defer stop()
	want, err, more := next()
	if err != nil {
		return err
	}
	missing := func() error {
		c.Missing++
		u.queue.add(stripeOf(want.id), want.pool, int(want.id.Index), false)
		want, err, more = next()
		return err
	}
	after := shard.ID{}
	if !lo.IsZero() {
		after = before(lo)
	}
	for paused := true; paused; {
		err = store.Walk(ctx, after, func(i shard.Info) error {
			if !hi.IsZero() && slices.Compare(i.ID.Data[:], hi[:]) >= 0 {
				return errPastEnd
			}
			for more && want.id.Compare(i.ID) < 0 {
				if err := missing(); err != nil {
					return err
				}
			}
			after = i.ID
			if more && want.id == i.ID {
				want, err, more = next()
				return err
			}
			return found.look(i, spans)
		})
		if paused = errors.Is(err, errPause); paused {
			err = found.flush(ctx)
		}
		if err != nil && !errors.Is(err, errPastEnd) {
			return err
		}
	}
	for more {
		if err := missing(); err != nil {
			return err
		}
	}
	return found.flush(ctx)
}

// countUnplaced counts the shards for which no drive is left.
func (u *Upkeep) countUnplaced(ctx context.Context, t *rows, spans []span, c *Comparison) error {
	for _, s := range spans {
		pool, err := u.pool(ctx, s.pool)
		if err != nil {
			return err
		}
		for n := range s.count {
			for _, id := range t.row(pool, pool.Group(s.data, s.first+n)) {
				if id.IsZero() {
					c.Unplaced++
				}
			}
		}
	}
	return nil
}
