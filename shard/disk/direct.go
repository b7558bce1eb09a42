package disk

import (
	"errors"
	"slices"
	"syscall"

	"github.com/hallig-cloud/hallig/shard"
	"github.com/hallig-cloud/hallig/vfs"
)

// Groups that hold a large body are written past the page cache (O_DIRECT),
// where the file system can: the kernel's copy into fresh pages and their
// writing back took more than half of the CPU time of a large Put. Such a group
// begins and ends at a multiple of vfs.DirectAlign, so that no page is written
// both ways; a filler, an empty record of deletions, takes what is between.
// Segments look the same where direct writes are not to be had.

const (
	// directBody is the length of a body from which its group is written
	// directly. Smaller ones are likely to be read again soon, out of the cache.
	directBody = 1 << 20
	// directPiece is what is written at a time: the shard of a full stripe of
	// 2+2, its header and filler.
	directPiece = 2<<20 + 64<<10
)

// direct is the leader's way past the page cache.
type direct struct {
	writer vfs.DirectWriter // of the active segment; nil: not yet open, or none
	none   bool             // this drive has none
	piece  []byte           // aligned
}

func (d *direct) close() {
	if d.writer != nil {
		_ = d.writer.Close() // what was written is the file's own sync's
		d.writer = nil
	}
}

// isLarge reports whether a request brings a body to be written directly.
func (d *Drive) isLarge(r *request) bool {
	return len(r.body) >= d.cfg.directBody ||
		slices.ContainsFunc(r.moves, func(m move) bool { return len(m.body) >= d.cfg.directBody })
}

// startDirect has the group written directly if it is to be.
func (g *group) startDirect(reqs []*request) {
	if g.seg == nil || !slices.ContainsFunc(reqs, g.d.isLarge) {
		return
	}
	g.fill(vfs.DirectAlign)
	g.direct = g.off
	// What follows begins a run of its own.
	g.runs = append(g.runs, run{off: g.off, from: len(g.buf), to: len(g.buf)})
}

// fill brings the group to a multiple of to, which is one of groupAlign, with
// records that say nothing.
func (g *group) fill(to int64) {
	g.pad(groupAlign)
	for n := align(g.off, to) - g.off; n > 0; n = align(g.off, to) - g.off {
		// A record's padding ends at the next multiple of groupAlign.
		vouch := min(n-recordFixed-crcSize, shard.MaxVouch)
		g.append(appendRecordHeader(nil, kindDelete, shard.Header{Vouch: make([]byte, vouch)}, nil), nil)
		g.pad(groupAlign)
	}
}

// writeDirect writes runs that begin at a multiple of vfs.DirectAlign and have
// no gaps; so does their end.
func (g *group) writeDirect(runs []run) error {
	d := &g.d.direct
	if need := int(min(g.off-g.direct, directPiece)); need > len(d.piece) {
		d.piece = vfs.DirectBuffer(need)
	}
	at, n := g.direct, 0
	for _, r := range runs {
		for b := g.bytes(r); len(b) > 0; {
			m := copy(d.piece[n:], b)
			b, n = b[m:], n+m
			if n == len(d.piece) {
				if err := g.writePiece(d.piece, at); err != nil {
					return err
				}
				at, n = at+int64(n), 0
			}
		}
	}
	if n == 0 {
		return nil
	}
	return g.writePiece(d.piece[:n], at)
}

// writePiece writes directly, or otherwise where that is not possible.
func (g *group) writePiece(b []byte, off int64) error {
	d := &g.d.direct
	if d.writer == nil && !d.none {
		w, err := vfs.OpenDirect(g.d.writer)
		switch {
		case errors.Is(err, errors.ErrUnsupported):
			d.none = true
		case err != nil:
			return err
		default:
			d.writer = w
		}
	}
	if d.writer != nil {
		_, err := d.writer.WriteAt(b, off)
		if !errors.Is(err, syscall.EINVAL) {
			return err
		}
		d.close()
		d.none = true
	}
	_, err := g.d.writer.WriteAt(b, off)
	return err
}
