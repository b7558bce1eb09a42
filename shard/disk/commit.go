package disk

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"sync"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/shard"
	"github.com/hallig-cloud/hallig/vfs"
)

// group is one write: records in order, and the change of the index that
// makes them known.
type group struct {
	d      *Drive
	txn    *txn
	seg    *segment
	buf    []byte // small records, one behind the other
	runs   []run
	off    int64 // where the next record goes
	direct int64 // written past the page cache from here on; 0: not
	room   int64 // bytes of shards that may be stored
}

// run is a stretch of bytes to write: of group.buf, or a large body.
type run struct {
	off      int64
	from, to int // in group.buf, if body is nil
	body     []byte
}

// smallBody is the length up to which bodies are copied to be written together.
const smallBody = 64 << 10

var buffers = sync.Pool{New: func() any { return new([]byte) }}

// commit answers a group of requests: it plans the records, writes and syncs
// them, checks that they went where they belong, and changes the index. It runs
// in one goroutine at a time.
func (d *Drive) commit(reqs []*request) {
	err := d.health.gone()
	if err == nil {
		err = d.indexBroken()
	}
	if err == nil {
		err = d.holdOff()
	}
	if err == nil {
		err = d.commitGroup(reqs)
	}
	if err != nil {
		for _, r := range reqs {
			if r.err == nil || errors.Is(r.err, errStored) {
				r.err = err
			}
		}
	}
}

func (d *Drive) commitGroup(reqs []*request) error {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	g := &group{d: d, txn: d.begin(), buf: (*buf)[:0]}
	defer g.txn.done()
	g.room = -1
	if err := g.ready(reqs); err != nil {
		return err
	}
	g.startDirect(reqs)
	g.planEnds()
	sync := false
	for _, r := range reqs {
		r.err = g.plan(r)
		if r.err != nil && !errors.Is(r.err, errStored) && !isAnswer(r.err) {
			return r.err
		}
		sync = sync || r.sync
	}
	*buf = g.buf
	g.txn.close()
	if len(g.runs) > 0 {
		if err := g.write(); err != nil {
			d.abandon()
			return d.writeFailed(err)
		}
		if err := d.inPlace(); err != nil {
			if d.Check() == nil {
				d.lost(err)
			}
			return d.health.gone()
		}
		g.txn.row(g.seg.id.num).mark = uint32(g.off)
	}
	if err := g.txn.commit(sync); err != nil {
		d.failed(fmt.Errorf("the index cannot be written: %w", err))
		return d.health.gone()
	}
	d.settle(g)
	d.flushIndex()
	if sync {
		return d.indexBroken()
	}
	return nil
}

// indexBroken refuses what changes the drive while the index cannot be
// written; what was acknowledged before is in the segments. See Drive.mend.
func (d *Drive) indexBroken() error {
	if err := d.index.damaged(); err != nil {
		return fmt.Errorf("%w: it is about to be made anew: %w", err, hallig.ErrUnavailable)
	}
	if err := d.index.broken(); err != nil {
		return d.writeFailed(fmt.Errorf("the index: %w", err))
	}
	return nil
}

// isAnswer reports whether an error answers one request, not the whole group.
func isAnswer(err error) bool {
	return errors.Is(err, hallig.ErrStale) || errors.Is(err, hallig.ErrExists) || errors.Is(err, hallig.ErrFull) || err == errStillNeeded
}

// settle notes what a group brought about.
func (d *Drive) settle(g *group) {
	if len(g.runs) == 0 {
		return
	}
	d.failures = 0
	d.wrote()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.unflushed += g.off - g.seg.size
	d.seenRoom -= g.off - g.seg.size
	g.seg.size = g.off
	d.ends = nil
}

// flushIndex has the index made durable in the background for every half
// segment that is written, so that Open has little to read after a crash.
func (d *Drive) flushIndex() {
	if d.unflushed < d.cfg.SegmentSize/2 {
		return
	}
	d.unflushed = 0
	if err := d.index.flush(false); err != nil {
		d.log.Warn("the index cannot be flushed", "drive", d.identity.Drive.String(), "err", err)
	}
}

// ready makes sure of a segment to write to, if the group may need one.
func (g *group) ready(reqs []*request) error {
	d := g.d
	if !slices.ContainsFunc(reqs, func(r *request) bool { return r.kind <= requestMove }) {
		return nil
	}
	roll := slices.ContainsFunc(reqs, func(r *request) bool { return r.roll })
	if d.active != nil && (roll || d.active.size >= d.cfg.SegmentSize) {
		if err := d.seal(); err != nil {
			d.abandon()
			return d.writeFailed(err)
		}
	}
	if d.active == nil {
		if err := d.newSegment(); err != nil {
			return d.writeFailed(err)
		}
	}
	g.seg, g.off = d.active, d.active.size
	return nil
}

// planEnds records where segments ended whose writing failed.
func (g *group) planEnds() {
	if g.seg == nil {
		return
	}
	for _, e := range g.d.ends {
		g.appendEnd(e)
	}
}

func (g *group) appendEnd(e segmentEnd) {
	body := appendSegmentEnd(nil, e)
	g.append(appendRecordHeader(nil, kindEnd, shard.Header{}, body), body)
}

// plan decides about one request, in the order of the queue.
func (g *group) plan(r *request) error {
	switch r.kind {
	case requestPut:
		return g.planPut(r)
	case requestMove:
		for i := range r.moves {
			if err := g.planMove(&r.moves[i]); err != nil {
				return err
			}
		}
		return nil
	case requestDelete:
		return g.planDelete(r)
	case requestQuarantine:
		e, err := g.txn.get(r.id)
		if err == nil && e.state == entryLive && e.at(r.from.segment, r.from.off) {
			e.state = entryBad
			g.txn.set(r.id, e)
		}
		return err
	default:
		return r.change(g.txn)
	}
}

func (g *group) planPut(r *request) error {
	id := r.header.ID
	e, err := g.txn.get(id)
	if err != nil {
		return err
	}
	sums := r.head[recordFixed+len(r.header.Vouch) : len(r.head)-crcSize]
	sum := shard.Sum(sums)
	switch e.state {
	case entryDeleted:
		return fmt.Errorf("it was deleted: %w", hallig.ErrStale)
	case entryLive:
		return errStored
	case entryBad:
		if e.length != r.header.Length || e.sum != sum {
			return fmt.Errorf("other bytes are stored: %w", hallig.ErrExists)
		}
	}
	size := int64(len(r.head) + len(r.body))
	if err := g.fits(size); err != nil {
		return err
	}
	g.store(&r.header, r.head, r.body, sum)
	return nil
}

// fits takes size bytes from the space that shards may use.
func (g *group) fits(size int64) error {
	if g.room < 0 {
		if err := g.look(); err != nil {
			return err
		}
	}
	if size > g.room {
		err := fmt.Errorf("%d bytes are free beyond those kept for deletions and compaction: delete objects, or add a drive: %w", g.room, hallig.ErrFull)
		g.d.full(err)
		return err
	}
	g.room -= size
	return nil
}

// amplyRoom is how many bytes must be free for shards for what was seen to hold
// for Config.CheckEvery, less what was written since.
const amplyRoom = 1 << 30

// look finds out how many bytes of shards may be stored.
func (g *group) look() error {
	d := g.d
	if left := d.seenRoom - maxGroup; left > amplyRoom && d.cfg.now().Sub(d.seenAt) < d.cfg.CheckEvery {
		g.room = left
		return nil
	}
	g.room = 0
	if err := d.room(0); err != nil {
		d.full(err)
		return err
	}
	if state, _ := d.health.get(); state == shard.StateFull && d.room(d.breath()) == nil {
		d.health.set(shard.StateOnline, "")
	}
	d.health.mu.Lock()
	defer d.health.mu.Unlock()
	g.room = d.health.free - d.minFree(d.health.total)
	d.seenRoom, d.seenAt = g.room, d.cfg.now()
	return nil
}

func (g *group) planMove(m *move) error {
	e, err := g.txn.get(m.header.ID)
	if err != nil || e.state != entryLive || !e.at(m.from.segment, m.from.off) {
		return err
	}
	g.store(&m.header, m.head, m.body, e.sum)
	return nil
}

// store appends a shard's record and makes it the one that counts.
func (g *group) store(h *shard.Header, head, body []byte, sum uint32) {
	off := g.append(head, body)
	g.txn.set(h.ID, entry{
		state: entryLive, segment: g.seg.id.num, off: off, hlen: uint16(len(head)),
		length: h.Length, sum: sum, session: h.Session,
	})
}

func (g *group) planDelete(r *request) error {
	if r.probe {
		g.append(appendRecordHeader(nil, kindDelete, shard.Header{}, nil), nil)
	}
	if r.end != nil {
		g.appendEnd(*r.end)
	}
	body := make([]byte, 0, len(r.deletions)*deletionSize)
	for _, del := range r.deletions {
		e, err := g.txn.get(del.id)
		if err != nil {
			return err
		}
		switch {
		case r.keep && (e.state != entryDeleted || e.segment != r.from.segment):
			continue
		case !r.keep && e.state == entryDeleted:
			continue
		case !r.keep:
			del.horizon = g.seg.id.num
		}
		body = appendDeletion(body, del)
		g.txn.set(del.id, entry{state: entryDeleted, segment: g.seg.id.num, horizon: del.horizon, when: del.when})
	}
	if len(body) > 0 {
		head := appendRecordHeader(nil, kindDelete, shard.Header{Length: uint32(len(body))}, body)
		g.append(head, body)
	}
	return nil
}

// append adds a record to the group and returns its offset in the segment.
func (g *group) append(head, body []byte) uint32 {
	off := g.off
	place(head, g.seg.id, uint32(off), uint32(g.seg.size))
	g.add(head)
	if len(body) <= smallBody {
		g.add(body)
	} else {
		g.runs = append(g.runs, run{off: g.off, body: body})
		g.off += int64(len(body))
	}
	g.pad(recordAlign)
	return uint32(off)
}

// bytes returns what a run writes.
func (g *group) bytes(r run) []byte {
	if r.body != nil {
		return r.body
	}
	return g.buf[r.from:r.to]
}

// add copies bytes to the end of the group.
func (g *group) add(b []byte) {
	n := len(g.runs)
	if n == 0 || g.runs[n-1].body != nil {
		g.runs = append(g.runs, run{off: g.off, from: len(g.buf)})
		n++
	}
	g.buf = append(g.buf, b...)
	g.runs[n-1].to = len(g.buf)
	g.off += int64(len(b))
}

func (g *group) pad(to int64) {
	if n := align(g.off, to) - g.off; n > 0 {
		g.add(zeros[:n])
	}
}

var zeros [groupAlign]byte

// write puts the group on stable storage. Its end is padded to groupAlign, so
// that no later write touches a sector of this one.
func (g *group) write() error {
	g.pad(groupAlign)
	if g.direct > 0 {
		g.fill(vfs.DirectAlign)
	}
	f := g.d.writer
	for i, r := range g.runs {
		if r.off == g.direct {
			if err := g.writeDirect(g.runs[i:]); err != nil {
				return err
			}
			break
		}
		if _, err := f.WriteAt(g.bytes(r), r.off); err != nil {
			return err
		}
	}
	if g.d.cfg.ackEarly {
		return nil
	}
	return f.Datasync()
}

// inPlace checks that the segment that was written to is still the one at its
// path: a drive that was removed, renamed or unmounted is written to no more.
func (d *Drive) inPlace() error {
	name := d.writerPath
	fi, err := d.fs.Stat(name)
	if err != nil {
		return err
	}
	if !vfs.SameFile(fi, d.writerInfo) {
		return fmt.Errorf("%s was replaced while hallig wrote to it: %w", name, hallig.ErrForeign)
	}
	return nil
}

// newSegment begins a segment. Its name is durable on return, its contents are
// with the first group.
func (d *Drive) newSegment() error {
	d.mu.Lock()
	id := segmentID{num: d.last + 1, epoch: newEpoch()}
	d.last++ // a number is used once, even if this fails
	d.mu.Unlock()
	name := d.segmentPath(id.num)
	f, err := d.fs.Create(name)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(appendSegmentHeader(nil, d.identity.Drive, id), 0)
	if err == nil && !d.cfg.noDirSync {
		err = d.fs.SyncDir(path.Join(d.cfg.Dir, segmentsDir))
	}
	var fi, _ = f.Stat()
	if err != nil {
		_ = d.fs.Remove(name) // nothing is in it; Open removes it too
		return errors.Join(err, f.Close())
	}
	s := &segment{id: id, size: segmentHeader, row: row{epoch: id.epoch, mark: segmentHeader}}
	d.writer, d.writerInfo, d.writerPath = f, fi, name
	d.files.add(id.num, f)
	d.mu.Lock()
	d.segments[id.num] = s
	d.active = s
	d.mu.Unlock()
	return nil
}

// seal finishes the active segment: a last record says that all before it was
// settled.
func (d *Drive) seal() error {
	s := d.active
	g := &group{d: d, txn: d.begin(), seg: s, off: s.size}
	g.append(appendRecordHeader(nil, kindSeal, shard.Header{}, nil), nil)
	if err := g.write(); err != nil {
		return err
	}
	r := g.txn.row(s.id.num)
	r.mark, r.sealed = uint32(g.off), true
	if err := g.txn.commit(false); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	s.size = g.off
	d.retire()
	return nil
}

// abandon gives the active segment up after a failed write: it ends where it
// was last settled. The failed write is never tried again there, as the kernel
// may hold pages that it takes for written.
func (d *Drive) abandon() {
	s := d.active
	if s == nil {
		return
	}
	d.failures++
	d.failedAt = d.cfg.now()
	if d.cfg.keepFailed {
		return
	}
	_ = d.writer.Truncate(s.size) // best effort: forget those pages
	d.mu.Lock()
	defer d.mu.Unlock()
	s.sealed = true
	d.ends = append(d.ends, segmentEnd{s.id, uint32(s.size)})
	d.retire()
}

// retire stops writing to the active segment. d.mu is held.
func (d *Drive) retire() {
	d.files.release(d.active.id.num)
	d.direct.close()
	d.active, d.writer, d.writerInfo = nil, nil, nil
}

// holdOff refuses writes for a while after several in a row failed.
func (d *Drive) holdOff() error {
	if d.failures < 2 || d.cfg.now().Sub(d.failedAt) >= d.cfg.CheckEvery {
		return nil
	}
	state, reason := d.health.get()
	if state == shard.StateFull {
		return fmt.Errorf("%s: %w", reason, hallig.ErrFull)
	}
	return fmt.Errorf("%s: %w", reason, hallig.ErrReadOnly)
}
