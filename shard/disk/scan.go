package disk

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/vfs"
)

// found is what a scan comes upon: a record, with its body good or bad, or a
// stretch that is no record.
type found struct {
	off, end int64
	record   record // record.kind 0: bytes off..end hold no readable record
	body     []byte // valid until the next found; nil if not read
	err      error  // ErrCorrupt: the body does not match the checksums
}

// scanner reads a segment in order.
type scanner struct {
	f    vfs.File
	id   segmentID // epoch 0: taken from the first record found
	size int64     // where to stop
	buf  []byte    // holds the bytes at base
	base int64
	read int64 // bytes read so far
}

const scanBuffer = 1 << 20

// scanSegment calls fn for everything in bytes from..size of a segment, in
// order. Padding is skipped. Bodies are read and verified.
func scanSegment(ctx context.Context, f vfs.File, id segmentID, from, size int64, fn func(found) error) (read int64, err error) {
	s := &scanner{f: f, id: id, size: size, base: from}
	for off := max(from, segmentHeader); off < size; {
		if err := ctx.Err(); err != nil {
			return s.read, err
		}
		it, err := s.next(off)
		if err != nil {
			return s.read, err
		}
		if it.end > it.off {
			if err := fn(it); err != nil {
				return s.read, err
			}
		}
		off = max(it.end, off+1)
	}
	return s.read, nil
}

// next returns what lies at off. If that is padding, the result is empty and
// its end is where to go on.
func (s *scanner) next(off int64) (found, error) {
	head, err := s.window(off, maxHeader)
	if err != nil {
		return found{}, err
	}
	if next := min(align(off, groupAlign), s.size); next > off && int64(len(head)) >= next-off && allZero(head[:next-off]) {
		return found{off: next, end: next}, nil // the padding of a group
	}
	r, err := parseRecord(head, s.id, uint32(off))
	if errors.Is(err, hallig.ErrUnsupported) {
		return found{}, err
	}
	if err != nil || off+r.size() > s.size {
		return s.resync(off)
	}
	s.id.epoch = r.segment.epoch
	it := found{off: off, end: off + r.size(), record: r}
	all, err := s.window(off, int64(r.hlen)+int64(r.header.Length))
	if err != nil {
		return found{}, err
	}
	// The window may have moved: parse again where the bytes are now.
	if len(all) < r.hlen+int(r.header.Length) {
		return found{off: off, end: s.size}, nil // the file is shorter than size
	}
	if it.record, err = parseRecord(all, s.id, uint32(off)); err != nil {
		return found{}, fmt.Errorf("segment %s changed while it was read: %w", segmentName(s.id.num), hallig.ErrUnavailable)
	}
	it.body = all[r.hlen : r.hlen+int(r.header.Length)]
	it.err = checkBlocks(it.record.sums, it.body, 0)
	return it, nil
}

func allZero(b []byte) bool { return len(bytes.TrimLeft(b, "\x00")) == 0 }

// resync looks for the next record behind bytes that are none.
func (s *scanner) resync(off int64) (found, error) {
	magic := binary.BigEndian.AppendUint32(nil, recordMagic)
	for at := align(off+1, recordAlign); at < s.size; {
		b, err := s.window(at, scanBuffer)
		if err != nil {
			return found{}, err
		}
		i := bytes.Index(b, magic)
		if len(b) == 0 {
			break
		}
		if i < 0 {
			at += max(recordAlign, int64(len(b))&^(recordAlign-1)-recordAlign)
			continue
		}
		if at+int64(i) != align(at+int64(i), recordAlign) {
			at = align(at+int64(i), recordAlign)
			continue
		}
		at += int64(i)
		head, err := s.window(at, maxHeader)
		if err != nil {
			return found{}, err
		}
		if r, err := parseRecord(head, s.id, uint32(at)); err == nil && at+r.size() <= s.size {
			return found{off: off, end: at}, nil
		}
		at += recordAlign
	}
	return found{off: off, end: s.size}, nil
}

// window returns n bytes at off, or fewer at the end.
func (s *scanner) window(off, n int64) ([]byte, error) {
	n = min(n, s.size-off)
	if off >= s.base && off+n <= s.base+int64(len(s.buf)) {
		return s.buf[off-s.base:][:n], nil
	}
	want := min(max(n, scanBuffer), s.size-off)
	if int64(cap(s.buf)) < want {
		s.buf = make([]byte, want)
	}
	s.buf = s.buf[:want]
	got, err := s.f.ReadAt(s.buf, off)
	if err != nil && !errors.Is(err, io.EOF) {
		if got, err = s.salvage(off); err != nil {
			s.buf = s.buf[:0]
			return nil, err
		}
	}
	s.base, s.buf = off, s.buf[:got]
	s.read += int64(got)
	return s.buf[:min(n, int64(got))], nil
}

// salvage fills the window piece by piece, leaving out what cannot be read: the
// checksums tell which records that concerns. It fails if nothing can be read.
func (s *scanner) salvage(off int64) (int, error) {
	const piece = 4096
	var last error
	end, good := 0, 0
	for at := 0; at < len(s.buf); {
		b := s.buf[at:min(len(s.buf), int(align(off+int64(at)+1, piece)-off))]
		n, err := s.f.ReadAt(b, off+int64(at))
		switch {
		case err == nil || n == len(b):
			good++
		case errors.Is(err, io.EOF):
			return at + n, nil
		default:
			last = err
			for i := range b {
				b[i] = 0xff
			}
		}
		at += len(b)
		end = at
	}
	if good == 0 {
		return 0, last
	}
	return end, nil
}
