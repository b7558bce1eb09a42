package disk

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/shard"
)

// Run checks the drive and compacts it in the background until ctx ends.
func (d *Drive) Run(ctx context.Context) error {
	var g errgroup.Group
	g.Go(func() error {
		every(ctx, d.cfg.CheckEvery, func() { d.tend(ctx) })
		return nil
	})
	g.Go(func() error {
		every(ctx, d.cfg.CompactEvery, func() {
			if err := d.compactAll(ctx, rate.NewLimiter(rate.Limit(d.cfg.CompactRate), scanBuffer)); err != nil && ctx.Err() == nil {
				d.log.Warn("compaction stopped", "drive", d.identity.Drive.String(), "dir", d.cfg.Dir, "err", err)
			}
		})
		return nil
	})
	return g.Wait()
}

func every(ctx context.Context, period time.Duration, fn func()) {
	t := time.NewTicker(period)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			fn()
		}
	}
}

// tend checks the drive, and if writes to it failed tries one.
func (d *Drive) tend(ctx context.Context) {
	if d.mend(ctx) != nil || d.enter(ctx) != nil {
		return
	}
	defer d.leave()
	if d.Check() != nil {
		return
	}
	if state, _ := d.health.get(); state == shard.StateReadOnly {
		r := &request{kind: requestDelete, probe: true}
		_ = d.queue.do(ctx, r, d.commit) // the state says how it went
	}
}

// mend opens the index again if it could not be written, when there is space:
// what it missed is in the segments. One that is damaged is made anew from
// them, which reads the whole drive; calls are refused meanwhile.
func (d *Drive) mend(ctx context.Context) error {
	if d.closedOrWhole() {
		return nil
	}
	if err := d.Check(); err != nil {
		return err
	}
	d.mending.Store(true) // who waits for gate would wait for all of it
	defer d.mending.Store(false)
	d.gate.Lock()
	defer d.gate.Unlock()
	if d.closed {
		return nil
	}
	if err := d.room(0); err != nil {
		return err
	}
	damaged := d.index.damaged()
	if damaged != nil {
		d.log.Error("shard index is damaged and made anew from the segments; this reads the whole drive", "drive", d.identity.Drive.String(), "dir", d.cfg.Dir, "err", damaged)
		d.health.set(shard.StateReadOnly, "its index is damaged and is being made anew from the segments; nothing needs to be done")
	}
	if d.active != nil {
		d.mu.Lock()
		d.retire()
		d.mu.Unlock()
	}
	_ = d.index.close() // what it holds in memory alone is thrown away
	if err := d.load(ctx, damaged != nil); err != nil {
		d.health.set(shard.StateFailed, fmt.Sprintf("its index cannot be opened (%v): restart hallig; if it comes back, replace the disk", err))
		return err
	}
	d.log.Info("shard index was opened again", "drive", d.identity.Drive.String(), "dir", d.cfg.Dir)
	d.health.set(shard.StateOnline, "")
	return nil
}

func (d *Drive) closedOrWhole() bool {
	d.gate.RLock()
	defer d.gate.RUnlock()
	return d.closed || d.health.gone() != nil || d.index.broken() == nil && d.index.damaged() == nil
}

// Compact copies the live records out of every finished segment with enough
// dead bytes (Config.CompactRatio), and of finished segments that are small,
// and removes those segments. Reads of them go on unharmed.
func (d *Drive) Compact(ctx context.Context) error {
	return d.compactAll(ctx, nil)
}

func (d *Drive) compactAll(ctx context.Context, limit *rate.Limiter) error {
	d.compact.Lock()
	defer d.compact.Unlock()
	if err := d.finish(ctx); err != nil {
		return err
	}
	for _, num := range d.worth() {
		if err := d.enter(ctx); err != nil {
			return err
		}
		err := d.health.gone()
		if err == nil {
			err = d.compactSegment(ctx, num, limit)
		}
		d.leave()
		if err != nil {
			return fmt.Errorf("compact segment %s of drive %s: %w", segmentName(num), d.cfg.Dir, err)
		}
	}
	return nil
}

// finish ends the active segment if it is worth compacting, so that what was
// deleted from it does not stay until it is full.
func (d *Drive) finish(ctx context.Context) error {
	if err := d.enter(ctx); err != nil {
		return err
	}
	defer d.leave()
	ratio := d.ratio()
	d.mu.Lock()
	s := d.active
	worth := s != nil && s.size >= d.cfg.SegmentSize/8 && d.deadShare(s) >= ratio
	d.mu.Unlock()
	if !worth || d.health.gone() != nil {
		return nil
	}
	return d.queue.do(ctx, &request{kind: requestDelete, roll: true}, d.commit)
}

// ratio returns the share of dead bytes from which a segment is compacted now.
func (d *Drive) ratio() float64 {
	if d.scarce() {
		return min(scarceRatio, d.cfg.CompactRatio)
	}
	return d.cfg.CompactRatio
}

// deadShare returns how much of a segment compaction would free. d.mu is held.
func (d *Drive) deadShare(s *segment) float64 {
	used := s.live + s.deletes*deletionSize
	return float64(s.size-segmentHeader-used) / float64(max(1, s.size-segmentHeader))
}

// worth returns the segments to compact, those with the least to copy first.
func (d *Drive) worth() []uint64 {
	ratio := d.ratio()
	d.mu.Lock()
	defer d.mu.Unlock()
	var nums, small []uint64
	for num, s := range d.segments {
		if s == d.active || !s.sealed || s.doomed {
			continue
		}
		switch {
		case s.shards == 0 && s.deletes == 0, d.deadShare(s) >= ratio:
			nums = append(nums, num)
		case s.size < d.cfg.SegmentSize/8:
			small = append(small, num)
		}
	}
	if len(small) >= 4 {
		nums = append(nums, small...)
	}
	slices.SortFunc(nums, func(a, b uint64) int {
		return int(d.segments[a].live - d.segments[b].live)
	})
	return nums
}

// compactSegment stores what a segment holds anew, makes the index say so
// durably, and removes the file.
func (d *Drive) compactSegment(ctx context.Context, num uint64, limit *rate.Limiter) error {
	d.mu.Lock()
	s := d.segments[num]
	d.mu.Unlock()
	if s == nil {
		return nil
	}
	f, done, err := d.files.acquire(num)
	if err != nil {
		return d.readFailed(err)
	}
	defer done()
	c := &compaction{d: d, ctx: ctx, s: s, limit: limit, oldest: d.oldestBut(num)}
	if _, err := scanSegment(ctx, f, s.id, segmentHeader, s.size, c.take); err != nil {
		return err
	}
	if err := c.flush(); err != nil {
		return err
	}
	return d.drop(ctx, s, c.gone)
}

// oldestBut returns the lowest number of the other segments.
func (d *Drive) oldestBut(num uint64) uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	oldest := d.last + 1
	for n := range d.segments {
		if n != num {
			oldest = min(oldest, n)
		}
	}
	return oldest
}

type compaction struct {
	d      *Drive
	ctx    context.Context // of the one call that this serves
	s      *segment
	limit  *rate.Limiter
	oldest uint64
	moves  []move // not yet committed
	size   int
	gone   []shard.ID // deletions to forget together with the segment
}

// take deals with one thing found in the segment.
func (c *compaction) take(it found) error {
	if c.limit != nil {
		for n := int(it.end - it.off); n > 0; n -= scanBuffer {
			if err := c.limit.WaitN(c.ctx, min(n, scanBuffer)); err != nil {
				return err
			}
		}
	}
	r := &it.record
	switch {
	case r.kind == kindShard && it.err == nil:
		return c.move(it)
	case r.kind == kindShard:
		c.d.quarantine(c.ctx, r.header.ID, recordAt{c.s.id.num, r.off}, it.err)
	case r.kind == kindDelete && it.err == nil:
		return c.keep(it)
	case r.kind == kindEnd && it.err == nil:
		return c.keepEnd(it)
	}
	return nil
}

// move queues a shard that is still live here.
func (c *compaction) move(it found) error {
	r := &it.record
	e, err := c.d.lookup(r.header.ID)
	if err != nil || e.state != entryLive || !e.at(c.s.id.num, r.off) {
		return err
	}
	h := r.header
	h.Vouch = slices.Clone(h.Vouch)
	body := slices.Clone(it.body)
	c.moves = append(c.moves, move{h, appendRecordHeader(nil, kindShard, h, body), body, recordAt{c.s.id.num, r.off}})
	if c.size += len(body); c.size >= maxGroup/2 || len(c.moves) >= 256 {
		return c.flush()
	}
	return nil
}

// flush commits the queued moves as one, so that they share a sync.
func (c *compaction) flush() error {
	if len(c.moves) == 0 {
		return nil
	}
	err := c.d.queue.do(c.ctx, &request{kind: requestMove, moves: c.moves}, c.d.commit)
	c.moves, c.size = nil, 0
	return err
}

// keep stores those deletions anew that are still needed: another segment may
// hold the shard, or they are younger than Config.KeepDeletes.
func (c *compaction) keep(it found) error {
	dels, err := parseDeletions(it.body)
	if err != nil {
		return nil
	}
	now := c.d.cfg.now()
	var kept []deletion
	for _, del := range dels {
		e, err := c.d.lookup(del.id)
		if err != nil {
			return err
		}
		if e.state != entryDeleted || e.segment != c.s.id.num {
			continue
		}
		del.horizon, del.when = e.horizon, e.when
		if !c.d.cfg.forgetDeletes && c.oldest <= del.horizon || now.Sub(time.Unix(del.when, 0)) < c.d.cfg.KeepDeletes {
			kept = append(kept, del)
		} else {
			c.gone = append(c.gone, del.id)
		}
	}
	if len(kept) > 0 {
		r := &request{kind: requestDelete, deletions: kept, keep: true, from: recordAt{segment: c.s.id.num}}
		if err := c.d.queue.do(c.ctx, r, c.d.commit); err != nil {
			return err
		}
	}
	return nil
}

// keepEnd stores anew where a segment that is still there ends.
func (c *compaction) keepEnd(it found) error {
	e, err := parseSegmentEnd(it.body)
	if err != nil || c.d.segmentID(e.segment.num) != e.segment {
		return nil
	}
	return c.d.queue.do(c.ctx, &request{kind: requestDelete, end: &e}, c.d.commit)
}

var errStillNeeded = errors.New("it still holds shards")

// drop removes a segment that nothing refers to any more. The index is durable
// before the file goes, and the file is gone for good before it is forgotten.
func (d *Drive) drop(ctx context.Context, s *segment, gone []shard.ID) error {
	num := s.id.num
	d.mu.Lock()
	left := s.shards
	d.mu.Unlock()
	if left != 0 {
		if err := d.missing(ctx, s); err != nil {
			return err
		}
	}
	// Nearly all of it is made durable outside the queue, where nobody waits.
	if err := d.index.flush(true); err != nil {
		return err
	}
	doom := &request{kind: requestIndex, sync: true, change: func(t *txn) error {
		// Only deletions to be forgotten may be left; the leader alone changes s.
		var here []shard.ID
		for _, id := range gone {
			e, err := t.get(id)
			if err != nil {
				return err
			}
			if e.state == entryDeleted && e.segment == num {
				here = append(here, id)
			}
		}
		r := t.row(num)
		if s.shards+r.shards != 0 || s.deletes+r.deletes != int64(len(here)) {
			return errStillNeeded
		}
		for _, id := range here {
			t.set(id, entry{})
		}
		r.doomed = true
		return nil
	}}
	if err := d.queue.do(ctx, doom, d.commit); err != nil {
		return err
	}
	if err := d.inPlaceDir(); err != nil {
		return err
	}
	if err := d.fs.Remove(d.segmentPath(num)); err != nil {
		return err
	}
	if err := d.fs.SyncDir(path.Join(d.cfg.Dir, segmentsDir)); err != nil {
		return err
	}
	forget := &request{kind: requestIndex, change: func(t *txn) error {
		t.forget = append(t.forget, num)
		return nil
	}}
	if err := d.queue.do(ctx, forget, d.commit); err != nil {
		return err
	}
	d.mu.Lock()
	delete(d.segments, num)
	d.mu.Unlock()
	d.files.forget(num)
	return nil
}

// inPlaceDir checks that the directory is still ours before a file is removed.
func (d *Drive) inPlaceDir() error { return d.Check() }

// missing quarantines the shards that the index places in a segment where the
// scan did not come upon them.
func (d *Drive) missing(ctx context.Context, s *segment) error {
	ids, err := d.within(s.id.num, 0, maxSegment)
	if err != nil {
		return err
	}
	for _, id := range ids {
		e, err := d.lookup(id)
		if err != nil {
			return err
		}
		if e.segment == s.id.num && e.state == entryLive {
			d.quarantine(ctx, id, recordAt{e.segment, e.off}, fmt.Errorf("its record is not there: %w", hallig.ErrCorrupt))
		}
	}
	return nil
}
