package disk

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/shard"
	"github.com/hallig-cloud/hallig/vfs"
)

// Open opens the drive at cfg.Dir, which Create has made. What the index does
// not know yet is read from the segments, so that the time it takes depends on
// what was written shortly before the last end, if that was not a Close. It is
// ErrNotFound if there is no drive, ErrForeign if it is another's, ErrUnavailable
// if another process has it open or it cannot be read.
//
// Every record that Open finds is synced before it is believed: a process that
// was killed may have left it in the page cache only.
func Open(ctx context.Context, cfg Config) (*Drive, error) {
	d := &Drive{cfg: cfg.withDefaults(), segments: map[uint64]*segment{}}
	d.fs, d.log = d.cfg.FS, d.cfg.Log
	var err error
	if d.identity, err = ReadIdentity(d.fs, d.cfg.Dir); err != nil {
		return nil, err
	}
	if err := cfg.Identity.matches(d.cfg.Dir, d.identity); err != nil {
		return nil, err
	}
	d.health.state = shard.StateOnline
	d.files = newFiles(d.fs, d.segmentPath)
	lockName := path.Join(d.cfg.Dir, lockFile)
	if d.lock, err = d.fs.Lock(lockName); err != nil {
		return nil, fmt.Errorf("open drive %s: is another hallig using it? %w: %w", d.cfg.Dir, err, hallig.ErrUnavailable)
	}
	if d.lockInfo, err = d.fs.Stat(lockName); err == nil {
		err = d.load(ctx, d.cfg.Rebuild)
	}
	if err != nil {
		d.files.closeAll()
		if d.index != nil {
			err = errors.Join(err, d.index.close())
		}
		return nil, errors.Join(fmt.Errorf("open drive %s: %w", d.cfg.Dir, err), d.lock.Close())
	}
	if err := d.Check(); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// errRebuild says that the index does not fit the segments.
var errRebuild = errors.New("the index does not fit the segments")

// load opens the index and brings it up to date with the segments, or makes it
// anew from them: if it is damaged, or if rebuild says so.
func (d *Drive) load(ctx context.Context, rebuild bool) error {
	nums, err := d.listSegments()
	if err != nil {
		return err
	}
	if !rebuild {
		err := d.openIndex()
		if err == nil {
			err = d.replay(ctx, nums)
		}
		if err == nil {
			return nil
		}
		if ctx.Err() != nil || !errors.Is(err, errRebuild) && !errors.Is(err, errDamaged) && !errors.Is(err, hallig.ErrCorrupt) {
			return err
		}
		d.log.Warn("shard index is made anew from the segments; this reads the whole drive", "dir", d.cfg.Dir, "err", err)
		if d.index != nil {
			_ = d.index.close() // it is thrown away
		}
	}
	if err := d.clearIndex(); err != nil {
		return err
	}
	if err := d.openIndex(); err != nil {
		return err
	}
	if nums, err = d.listSegments(); err != nil {
		return err
	}
	return d.replay(ctx, nums)
}

func (d *Drive) clearIndex() error {
	d.index = nil
	d.mu.Lock()
	d.bad = 0
	d.mu.Unlock()
	dir := path.Join(d.cfg.Dir, indexDir)
	names, err := d.fs.List(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := d.fs.Remove(path.Join(dir, n)); err != nil {
			return fmt.Errorf("clear the index: %w", err)
		}
	}
	return d.fs.SyncDir(dir)
}

// openIndex opens the index and reads its rows into d.segments. An index that
// cannot be opened though its files can be read is ErrCorrupt.
func (d *Drive) openIndex() (err error) {
	dir := path.Join(d.cfg.Dir, indexDir)
	if err := vfs.MkdirBelowSync(d.fs, d.cfg.Dir, dir); err != nil {
		return err
	}
	if d.index, err = d.cfg.openIndex(d.fs, dir); err != nil {
		return fmt.Errorf("%w: %w", err, hallig.ErrCorrupt)
	}
	version := append([]byte{indexVersion}, d.identity.Drive[:]...)
	key := []byte{keyVersion}
	have, ok, err := d.index.get(key)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", err, hallig.ErrCorrupt)
	case !ok:
		b := &kvBatch{}
		b.set(key, version)
		if err := d.index.apply(b, false); err != nil {
			return err
		}
	case !slices.Equal(have, version):
		return fmt.Errorf("it is another version's or drive's: %w", errRebuild)
	}
	segments, bad := map[uint64]*segment{}, int64(0)
	d.last = 0
	err = d.index.scan([]byte{keySegment}, []byte{keySegment + 1}, func(k, v []byte) error {
		r, err := decodeRow(v)
		if err != nil || len(k) != 9 {
			return errBadIndex
		}
		num := binary.BigEndian.Uint64(k[1:])
		segments[num] = &segment{id: segmentID{num, r.epoch}, size: int64(r.mark), row: r}
		d.last = max(d.last, num)
		return nil
	})
	if err != nil {
		return err
	}
	err = d.index.scan([]byte{keyBad}, []byte{keyBad + 1}, func(_, _ []byte) error {
		bad++
		return nil
	})
	d.mu.Lock() // Status looks on
	defer d.mu.Unlock()
	d.segments, d.bad = segments, bad
	return err
}

// listSegments returns the numbers of the segment files, highest first.
func (d *Drive) listSegments() ([]uint64, error) {
	names, err := d.fs.List(path.Join(d.cfg.Dir, segmentsDir))
	if err != nil {
		return nil, err
	}
	var nums []uint64
	for _, n := range names {
		if num, ok := parseSegmentName(n); ok {
			nums = append(nums, num)
		} else {
			d.log.Warn("unknown file among the segments", "dir", d.cfg.Dir, "file", n)
		}
	}
	slices.Sort(nums)
	slices.Reverse(nums)
	return nums, nil
}

// replay brings the index up to date with the segment files: from the highest
// number down, as a higher one may say that a lower one ends early.
func (d *Drive) replay(ctx context.Context, nums []uint64) error {
	known := map[uint64]bool{}
	for _, num := range nums {
		known[num] = true
		d.last = max(d.last, num)
	}
	for num, s := range d.segments {
		if !known[num] && !s.doomed && (s.shards > 0 || s.deletes > 0) {
			return fmt.Errorf("segment %s, with %d shards, is not there: %w", segmentName(num), s.shards, errRebuild)
		}
	}
	ends := map[segmentID]uint32{}
	for _, num := range nums {
		if err := d.replaySegment(ctx, num, ends); err != nil {
			return fmt.Errorf("segment %s: %w", segmentName(num), err)
		}
	}
	return d.removeDoomed(known)
}

// removeDoomed completes compactions that were cut short.
func (d *Drive) removeDoomed(known map[uint64]bool) error {
	t := d.begin()
	for num, s := range d.segments {
		if known[num] && !s.doomed {
			continue
		}
		if known[num] {
			d.files.forget(num)
			if err := d.fs.Remove(d.segmentPath(num)); err != nil {
				return err
			}
		}
		t.forget = append(t.forget, num)
	}
	if len(t.forget) == 0 {
		return nil
	}
	if err := d.fs.SyncDir(path.Join(d.cfg.Dir, segmentsDir)); err != nil {
		return err
	}
	slices.Sort(t.forget)
	if err := t.commit(false); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, num := range t.forget {
		delete(d.segments, num)
	}
	return nil
}

// replaySegment reads what the index does not know of one segment.
func (d *Drive) replaySegment(ctx context.Context, num uint64, ends map[segmentID]uint32) error {
	s := d.segments[num]
	if s != nil && s.doomed {
		return nil
	}
	fi, err := d.fs.Stat(d.segmentPath(num))
	if err != nil {
		return err
	}
	if fi.Size() >= maxSegment {
		return fmt.Errorf("it is %d bytes long, more than hallig writes: %w", fi.Size(), hallig.ErrUnsupported)
	}
	if s != nil && s.sealed && fi.Size() >= int64(s.mark) {
		return nil
	}
	f, done, err := d.files.acquire(num)
	if err != nil {
		return err
	}
	defer done()
	if s == nil {
		if s, err = d.meetSegment(f, num, fi.Size()); err != nil || s == nil {
			return err
		}
	}
	if err := f.Datasync(); err != nil {
		return err
	}
	p := &replayer{d: d, s: s, t: d.begin(), ends: ends, settled: s.mark}
	return p.run(ctx, f, fi.Size())
}

// meetSegment reads the header of a segment that the index does not know. If
// that is damaged, or bytes that lay on the disk before, the records tell. A
// file with nothing in it, left by a power cut, is removed.
func (d *Drive) meetSegment(f vfs.File, num uint64, size int64) (*segment, error) {
	head := make([]byte, segmentHeader)
	n, _ := f.ReadAt(head, 0)
	drive, id, err := parseSegmentHeader(head[:n])
	if errors.Is(err, hallig.ErrUnsupported) {
		return nil, err
	}
	if err != nil || drive != d.identity.Drive || id.num != num {
		epoch, eerr := findEpoch(f, num, size)
		switch {
		case eerr != nil:
			return nil, eerr
		case epoch == 0 && err != nil:
			d.log.Info("empty segment is removed", "dir", d.cfg.Dir, "segment", segmentName(num))
			d.files.forget(num)
			return nil, d.fs.Remove(d.segmentPath(num))
		case epoch == 0:
			d.log.Warn("segment of something else is left alone", "dir", d.cfg.Dir, "segment", segmentName(num))
			return nil, nil
		case err == nil && epoch == id.epoch:
			return nil, fmt.Errorf("it is of drive %s: take the file away: %w", drive, hallig.ErrForeign)
		}
		id = segmentID{num, epoch}
		d.log.Error("segment has a damaged header", "dir", d.cfg.Dir, "segment", segmentName(num))
	}
	s := &segment{id: id, size: segmentHeader, row: row{epoch: id.epoch, mark: segmentHeader}}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.segments[num] = s
	return s, nil
}

// findEpoch returns the epoch of the first readable record of a segment, or 0.
func findEpoch(f vfs.File, num uint64, size int64) (epoch uint64, err error) {
	stop := errors.New("stop")
	_, err = scanSegment(context.Background(), f, segmentID{num: num}, segmentHeader, size, func(it found) error {
		if it.record.kind == 0 {
			return nil
		}
		epoch = it.record.segment.epoch
		return stop
	})
	if err == stop {
		err = nil
	}
	return epoch, err
}

// replayer takes the records of one segment into the index.
type replayer struct {
	d       *Drive
	s       *segment
	t       *txn
	ends    map[segmentID]uint32
	settled uint32 // what is bad before this offset was good once
	suspect []suspect
}

// suspect is a stretch that is bad: torn, if nothing behind it says otherwise.
type suspect struct {
	off, end int64
	id       shard.ID
	entry    entry // none: no record can be read there
}

func (p *replayer) run(ctx context.Context, f vfs.File, size int64) error {
	defer func() { p.t.close() }()
	if end, ok := p.ends[p.s.id]; ok {
		size = min(size, int64(end))
	}
	start, known := int64(p.s.mark), int64(p.s.mark)
	if size < start { // the index knows of more than there is: bytes were lost
		start = size
	}
	if _, err := scanSegment(ctx, f, p.s.id, start, size, p.take); err != nil {
		return err
	}
	if size < known {
		p.suspect = append(p.suspect, suspect{off: size, end: known})
	}
	for _, x := range p.suspect {
		if x.off >= int64(p.settled) {
			continue // torn by a power cut before it was acknowledged
		}
		if err := p.corrupt(x); err != nil {
			return err
		}
	}
	r := p.t.row(p.s.id.num)
	r.mark, r.sealed = uint32(max(size, known)), true
	p.d.mu.Lock()
	p.s.size = max(size, known)
	p.d.mu.Unlock()
	return p.t.commit(false)
}

// take takes in one thing found.
func (p *replayer) take(it found) error {
	if len(p.t.entries) >= 4096 {
		p.t.row(p.s.id.num).mark = 0 // the mark only moves when the segment is read to its end
		if err := p.t.commit(false); err != nil {
			return err
		}
		p.t = p.d.begin()
	}
	r := &it.record
	if r.kind != 0 {
		p.settled = max(p.settled, r.settled)
	}
	switch {
	case r.kind == 0 || it.err != nil && r.kind != kindShard:
		p.suspect = append(p.suspect, suspect{off: it.off, end: it.end})
	case r.kind == kindShard:
		e := entry{
			state: entryLive, segment: p.s.id.num, off: r.off, hlen: uint16(r.hlen),
			length: r.header.Length, sum: shard.Sum(r.sums), session: r.header.Session,
		}
		if it.err != nil {
			p.suspect = append(p.suspect, suspect{it.off, it.end, r.header.ID, e})
			return nil
		}
		return p.t.absorb(r.header.ID, e)
	case r.kind == kindDelete:
		dels, err := parseDeletions(it.body)
		if err != nil {
			return nil // from a writer with other ideas; the scrub will say
		}
		for _, del := range dels {
			e := entry{state: entryDeleted, segment: p.s.id.num, horizon: del.horizon, when: del.when}
			if err := p.t.absorb(del.id, e); err != nil {
				return err
			}
		}
	case r.kind == kindEnd:
		if e, err := parseSegmentEnd(it.body); err == nil {
			p.ends[e.segment] = e.end
		}
	case r.kind == kindSeal:
		p.settled = max(p.settled, uint32(it.end))
	}
	return nil
}

// corrupt notes a stretch that was good once and is not any more.
func (p *replayer) corrupt(x suspect) error {
	d := p.d
	d.log.Error("segment is corrupt", "drive", d.identity.Drive.String(), "segment", segmentName(p.s.id.num),
		"offset", x.off, "bytes", x.end-x.off)
	if x.entry.state != entryNone {
		x.entry.state = entryBad
		return p.t.absorb(x.id, x.entry)
	}
	if err := p.t.commit(false); err != nil {
		return err
	}
	p.t = d.begin()
	ids, err := d.within(p.s.id.num, x.off, x.end)
	for _, id := range ids {
		e, err := p.t.get(id)
		if err != nil {
			return err
		}
		e.state = entryBad
		p.t.set(id, e)
	}
	return err
}

// within returns the live shards that the index places in a stretch of a
// segment. It reads the whole index: for stretches without readable headers.
func (d *Drive) within(num uint64, from, to int64) ([]shard.ID, error) {
	var ids []shard.ID
	err := d.index.scan([]byte{keyShard}, []byte{keyShard + 1}, func(k, v []byte) error {
		e, err := decodeEntry(v)
		if err != nil {
			return err
		}
		if e.state == entryLive && e.segment == num && int64(e.off) < to && int64(e.off)+e.size() > from {
			id, err := shard.ParseID(k[1:])
			if err != nil {
				return errBadIndex
			}
			ids = append(ids, id)
		}
		return nil
	})
	return ids, err
}
