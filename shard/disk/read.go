package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sync"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/shard"
	"github.com/hallig-cloud/hallig/vfs"
)

// smallRead is the size of a record up to which it is read in one go, header,
// checksums and body.
const smallRead = 128 << 10

// checkedBlocks is how many blocks of a long read are read at a time, and
// checked while the processor's cache still holds them.
const checkedBlocks = 4

// Get implements shard.Store.
func (d *Drive) Get(ctx context.Context, id shard.ID, off, n int64, dst []byte) (shard.Header, []byte, error) {
	if off < 0 {
		return shard.Header{}, dst, fmt.Errorf("get shard %s from byte %d: %w", id, off, hallig.ErrInvalid)
	}
	out := dst
	h, err := d.read(ctx, id, func(f vfs.File, e entry) (h shard.Header, err error) {
		h, out, err = d.readRange(f, id, e, off, n, dst)
		return h, err
	})
	if err != nil {
		return shard.Header{}, dst, fmt.Errorf("get shard %s: %w", id, err)
	}
	return h, out, nil
}

// Stat implements shard.Store.
func (d *Drive) Stat(ctx context.Context, id shard.ID) (shard.Header, error) {
	h, err := d.read(ctx, id, func(f vfs.File, e entry) (shard.Header, error) {
		h, _, err := d.readRange(f, id, e, 0, 0, nil)
		return h, err
	})
	if err != nil {
		return shard.Header{}, fmt.Errorf("stat shard %s: %w", id, err)
	}
	return h, nil
}

// Verify implements shard.Store.
func (d *Drive) Verify(ctx context.Context, id shard.ID) error {
	if err := d.enter(ctx); err != nil {
		return fmt.Errorf("verify shard %s: %w", id, err)
	}
	defer d.leave()
	if err := d.verify(ctx, id); err != nil {
		return fmt.Errorf("verify shard %s: %w", id, err)
	}
	return nil
}

func (d *Drive) verify(ctx context.Context, id shard.ID) error {
	_, err := d.find(ctx, id, func(f vfs.File, e entry) (shard.Header, error) {
		buf := buffers.Get().(*[]byte)
		defer buffers.Put(buf)
		h, b, err := d.readRange(f, id, e, 0, -1, (*buf)[:0])
		*buf = b
		return h, err
	})
	return err
}

// holds reports whether a shard is stored with this body.
func (d *Drive) holds(ctx context.Context, id shard.ID, body []byte) (same bool, err error) {
	_, err = d.find(ctx, id, func(f vfs.File, e entry) (shard.Header, error) {
		if int(e.length) != len(body) {
			return shard.Header{}, nil
		}
		buf := buffers.Get().(*[]byte)
		defer buffers.Put(buf)
		h, b, err := d.readRange(f, id, e, 0, -1, (*buf)[:0])
		*buf = b
		same = err == nil && bytes.Equal(b, body)
		return h, err
	})
	return same, err
}

// read enters and finds.
func (d *Drive) read(ctx context.Context, id shard.ID, fn func(vfs.File, entry) (shard.Header, error)) (shard.Header, error) {
	if err := d.enter(ctx); err != nil {
		return shard.Header{}, err
	}
	defer d.leave()
	return d.find(ctx, id, fn)
}

// find calls fn with the file and the place of a live shard. A shard that fn
// finds ErrCorrupt, twice, is quarantined.
func (d *Drive) find(ctx context.Context, id shard.ID, fn func(vfs.File, entry) (shard.Header, error)) (shard.Header, error) {
	if err := d.health.readable(d); err != nil {
		return shard.Header{}, err
	}
	var bad entry // what was found corrupt once
	for range 100 {
		e, err := d.lookup(id)
		if err != nil {
			return shard.Header{}, d.indexFailed(err)
		}
		switch e.state {
		case entryNone, entryDeleted:
			return shard.Header{}, hallig.ErrNotFound
		case entryBad:
			return shard.Header{}, fmt.Errorf("it is quarantined: %w", hallig.ErrCorrupt)
		}
		h, err := d.readAt(e, fn)
		switch {
		case err == nil:
			d.readWorked()
			return h, nil
		case errors.Is(err, fs.ErrNotExist) && d.isGone(e.segment):
			continue // compacted since lookup
		case !errors.Is(err, hallig.ErrCorrupt):
			err = d.readFailed(err)
		}
		if !errors.Is(err, hallig.ErrCorrupt) {
			return shard.Header{}, err
		}
		if bad != e { // read it again: the fault may lie on the way
			bad = e
			continue
		}
		d.quarantine(ctx, id, recordAt{e.segment, e.off}, err)
		return shard.Header{}, err
	}
	return shard.Header{}, fmt.Errorf("it moves too often: %w", hallig.ErrUnavailable)
}

func (d *Drive) readAt(e entry, fn func(vfs.File, entry) (shard.Header, error)) (shard.Header, error) {
	f, done, err := d.files.acquire(e.segment)
	if err != nil {
		return shard.Header{}, err
	}
	defer done()
	return fn(f, e)
}

// isGone reports whether a segment is not on the drive any more.
func (d *Drive) isGone(num uint64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.segments[num] == nil
}

func (d *Drive) indexFailed(err error) error {
	if cerr := d.Check(); cerr != nil {
		return cerr
	}
	return fmt.Errorf("read the index: %v: %w", err, hallig.ErrUnavailable) // ErrCorrupt would be said of the shard
}

// quarantine marks the shard as bad if its record is still the one at that place.
func (d *Drive) quarantine(ctx context.Context, id shard.ID, at recordAt, why error) {
	if e, err := d.lookup(id); err == nil && (e.state != entryLive || !e.at(at.segment, at.off)) {
		return // deleted, stored anew elsewhere, or known: nobody reads these bytes
	}
	d.log.Error("shard is corrupt", "drive", d.identity.Drive.String(), "shard", id.String(),
		"segment", segmentName(at.segment), "offset", at.off, "err", why)
	r := &request{kind: requestQuarantine, id: id, from: at}
	if err := d.queue.do(context.WithoutCancel(ctx), r, d.commit); err != nil {
		d.log.Warn("shard is not quarantined", "shard", id.String(), "err", err)
	}
}

// segmentID returns what records of a segment must say; zero if it is gone.
func (d *Drive) segmentID(num uint64) segmentID {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := d.segments[num]; s != nil {
		return s.id
	}
	return segmentID{}
}

var scratch = sync.Pool{New: func() any { b := make([]byte, 0, smallRead); return &b }}

// readRange appends the verified bytes [off, off+n) of a shard to dst.
func (d *Drive) readRange(f vfs.File, id shard.ID, e entry, off, n int64, dst []byte) (shard.Header, []byte, error) {
	length := int64(e.length)
	off = min(off, length)
	end := length
	if n >= 0 && n < length-off {
		end = off + n
	}
	first := off / shard.BlockSize // the blocks to read, in full
	from, to := first*shard.BlockSize, min(length, align(end, shard.BlockSize))
	if off == end {
		to = from
	}
	inOne := int64(e.hlen)+length <= smallRead && to > from
	buf := scratch.Get().(*[]byte)
	defer scratch.Put(buf)
	want := int(e.hlen)
	if inOne {
		want += int(to)
	}
	*buf = slices.Grow((*buf)[:0], want)[:want]
	if err := readFull(f, *buf, int64(e.off)); err != nil {
		return shard.Header{}, dst, err
	}
	r, err := parseRecord((*buf)[:e.hlen], d.segmentID(e.segment), e.off)
	if err != nil || r.kind != kindShard || r.header.ID != id || r.header.Length != e.length {
		return shard.Header{}, dst, fmt.Errorf("its header is damaged: %w", hallig.ErrCorrupt)
	}
	h := r.header
	h.Vouch = bytes.Clone(h.Vouch)
	if to == from {
		return h, dst, nil
	}
	if inOne {
		body := (*buf)[e.hlen:]
		if err := checkBlocks(r.sums, body[from:to], int(first)); err != nil {
			return shard.Header{}, dst, err
		}
		return h, append(dst, body[off:end]...), nil
	}
	// Read whole blocks to where they are wanted; then close the gap in front.
	out := slices.Grow(dst, int(to-from))
	blocks := out[len(dst) : len(dst)+int(to-from)]
	at, next := int64(e.off)+int64(e.hlen)+from, int(first)
	for rest := blocks; len(rest) > 0; next += checkedBlocks {
		piece := rest[:min(len(rest), checkedBlocks*shard.BlockSize)]
		if err := readFull(f, piece, at); err != nil {
			return shard.Header{}, dst, err
		}
		if err := checkBlocks(r.sums, piece, next); err != nil {
			return shard.Header{}, dst, err
		}
		at, rest = at+int64(len(piece)), rest[len(piece):]
	}
	if off > from {
		copy(blocks, blocks[off-from:end-from])
	}
	return h, out[:len(dst)+int(end-off)], nil
}

// readFull reads len(b) bytes at off. A file that is too short is ErrCorrupt.
func readFull(f vfs.File, b []byte, off int64) error {
	n, err := f.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return fmt.Errorf("its segment ends too soon: %w", hallig.ErrCorrupt)
	}
	return err
}
