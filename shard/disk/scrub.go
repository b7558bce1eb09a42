package disk

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/shard"
)

// Scrub implements shard.Scrubber: it reads segments in the order of their
// numbers, sequentially. The cursor is a segment's number and an offset.
func (d *Drive) Scrub(ctx context.Context, cursor []byte, limit int64) (shard.Findings, []byte, error) {
	var f shard.Findings
	var at recordAt
	if cursor != nil {
		if len(cursor) != 12 {
			return f, nil, fmt.Errorf("scrub from a cursor of %d bytes: %w", len(cursor), hallig.ErrInvalid)
		}
		at = recordAt{binary.BigEndian.Uint64(cursor), binary.BigEndian.Uint32(cursor[8:])}
	}
	d.compact.Lock()
	defer d.compact.Unlock()
	if err := d.enter(ctx); err != nil {
		return f, nil, fmt.Errorf("scrub: %w", err)
	}
	defer d.leave()
	if err := d.health.readable(d); err != nil {
		return f, nil, fmt.Errorf("scrub: %w", err)
	}
	for {
		num, size, ok := d.segmentFrom(at.segment)
		if !ok {
			return f, nil, nil
		}
		if num != at.segment {
			at = recordAt{segment: num}
		}
		s := &scrub{d: d, ctx: ctx, num: num, limit: limit, f: &f}
		stopped, err := s.segment(at.off, size)
		if err != nil {
			return f, nil, fmt.Errorf("scrub segment %s of drive %s: %w", segmentName(num), d.cfg.Dir, err)
		}
		if stopped > 0 {
			next := binary.BigEndian.AppendUint64(nil, num)
			return f, binary.BigEndian.AppendUint32(next, stopped), nil
		}
		at = recordAt{segment: num + 1}
	}
}

// segmentFrom returns the first segment with a number of at least num, and how
// much of it is settled.
func (d *Drive) segmentFrom(num uint64) (uint64, int64, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var best *segment
	for n, s := range d.segments {
		if n >= num && !s.doomed && (best == nil || n < best.id.num) {
			best = s
		}
	}
	if best == nil {
		return 0, 0, false
	}
	return best.id.num, best.size, true
}

type scrub struct {
	d     *Drive
	ctx   context.Context // of the one call that this serves
	num   uint64
	limit int64
	f     *shard.Findings
}

var errEnough = errors.New("enough for now")

// segment verifies a segment from off. It returns where it stopped, or 0 at its end.
func (s *scrub) segment(off uint32, size int64) (stopped uint32, err error) {
	file, done, err := s.d.files.acquire(s.num)
	if err != nil {
		return 0, s.d.readFailed(err)
	}
	defer done()
	id := s.d.segmentID(s.num)
	_, err = scanSegment(s.ctx, file, id, max(int64(off), segmentHeader), size, func(it found) error {
		if err := s.take(it); err != nil {
			return err
		}
		if s.f.Bytes += it.end - it.off; s.f.Bytes >= s.limit && it.end < size {
			stopped = uint32(it.end)
			return errEnough
		}
		return nil
	})
	if err == errEnough {
		return stopped, nil
	}
	return 0, err
}

// take verifies one thing found.
func (s *scrub) take(it found) error {
	r := &it.record
	if r.kind == 0 {
		return s.unnamed(it)
	}
	if r.kind != kindShard {
		if it.err != nil {
			s.f.Unnamed++
			s.d.log.Error("segment is corrupt", "drive", s.d.identity.Drive.String(), "segment", segmentName(s.num), "offset", it.off)
		}
		return nil
	}
	e, err := s.d.lookup(r.header.ID)
	if err != nil {
		return s.d.indexFailed(err)
	}
	if e.state != entryLive || !e.at(s.num, r.off) {
		return nil // dead
	}
	s.f.Shards++
	if it.err != nil {
		s.bad(r.header.ID)
	}
	return nil
}

// bad has a shard read again, which quarantines it if it is bad still.
func (s *scrub) bad(id shard.ID) {
	if err := s.d.verify(s.ctx, id); errors.Is(err, hallig.ErrCorrupt) && !slices.Contains(s.f.Bad, id) {
		s.f.Bad = append(s.f.Bad, id)
	}
}

// unnamed deals with a stretch that holds no record: whose was it?
func (s *scrub) unnamed(it found) error {
	ids, err := s.d.within(s.num, it.off, it.end)
	if err != nil {
		return s.d.indexFailed(err)
	}
	if len(ids) == 0 {
		return nil // a write that failed, or a record that is dead
	}
	s.f.Unnamed++
	for _, id := range ids {
		s.f.Shards++
		s.bad(id)
	}
	return nil
}
