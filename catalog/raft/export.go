package raft

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"path"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/fxamacker/cbor/v2"
	hraft "github.com/hashicorp/raft"
	"github.com/zeebo/blake3"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog/machine"
	"github.com/hallig-cloud/hallig/vfs"
)

// An export is the magic, then frames of length (4), CRC32C (4) and payload.
// The first payload is the head in CBOR, the others are rows (key length and
// value length as uvarints, key, value; the key begins with the partition), the
// last is empty and is followed by the row count (8) and the BLAKE3 hash of
// everything before (32).
const exportMagic = "HALLIGCATALOG\x00\x00\x01"

const (
	exportFrame = 256 << 10
	maxFrame    = machine.MaxEntry + exportFrame
)

// exportHead describes an export.
type exportHead struct {
	Mesh       hallig.MeshID `cbor:"1,keyasint"`
	When       int64         `cbor:"2,keyasint"` // unix milliseconds
	Partitions []uint16      `cbor:"3,keyasint"`
	Epoch      uint16        `cbor:"4,keyasint"` // highest partition epoch
}

// Export streams the sealed state of all partitions as of one moment of each:
// a restore of it holds every write acknowledged before the call. Opened names
// are not in it. A blind node can export, but not seal the whole: a restore
// refuses that.
func (n *Catalog) Export(ctx context.Context, w io.Writer) error {
	var ids []uint16
	for _, p := range n.partitions {
		if err := p.strict(ctx); err != nil {
			return err
		}
		ids = append(ids, p.id)
	}
	h := blake3.New()
	if err := n.export(io.MultiWriter(contextWriter{ctx, w}, h), ids); err != nil {
		return err
	}
	return writeExportSeal(w, &n.cfg, h.Sum(nil))
}

type contextWriter struct {
	ctx context.Context
	w   io.Writer
}

func (c contextWriter) Write(b []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.w.Write(b)
}

func (n *Catalog) export(w io.Writer, ids []uint16) error {
	m, err := n.set.first()
	if err != nil {
		return err
	}
	m.use.RLock()
	defer m.use.RUnlock()
	if !m.ok() {
		return m.cause
	}
	snap := m.state.NewSnapshot()
	defer snap.Close() //nolint:errcheck // frees memory only
	head := exportHead{Mesh: n.cfg.Mesh, When: n.cfg.Now().UnixMilli(), Partitions: ids}
	for _, id := range ids {
		e, err := machine.Epoch(newReader(m, snap, id))
		if err != nil {
			return err
		}
		head.Epoch = max(head.Epoch, e)
	}
	x := newExporter(w)
	if err := x.head(&head); err != nil {
		return err
	}
	for _, id := range ids {
		r := newReader(m, snap, id)
		var inner error
		err := r.Scan(nil, nil, func(k, v []byte) bool {
			if !machine.IsFeed(k) && !bytes.Equal(k, trimmedKey) {
				inner = x.row(r.key(k), v)
			}
			return inner == nil
		})
		if err = errors.Join(err, inner); err != nil {
			return fmt.Errorf("export the catalog: %w", err)
		}
	}
	return x.end()
}

type exporter struct {
	w    *bufio.Writer
	hash *blake3.Hasher
	buf  []byte
	rows uint64
}

func newExporter(w io.Writer) *exporter {
	h := blake3.New()
	return &exporter{w: bufio.NewWriterSize(io.MultiWriter(w, h), exportFrame), hash: h}
}

func (x *exporter) head(h *exportHead) error {
	if _, err := x.w.WriteString(exportMagic); err != nil {
		return err
	}
	b, err := cbor.Marshal(h)
	if err != nil {
		return err
	}
	x.buf = b
	return x.frame()
}

// frame writes what is buffered.
func (x *exporter) frame() error {
	head := binary.BigEndian.AppendUint32(nil, uint32(len(x.buf)))
	head = binary.BigEndian.AppendUint32(head, crc32.Checksum(x.buf, crc32.MakeTable(crc32.Castagnoli)))
	if _, err := x.w.Write(head); err != nil {
		return err
	}
	_, err := x.w.Write(x.buf)
	x.buf = x.buf[:0]
	return err
}

func (x *exporter) row(k, v []byte) error {
	x.buf = binary.AppendUvarint(x.buf, uint64(len(k)))
	x.buf = binary.AppendUvarint(x.buf, uint64(len(v)))
	x.buf = append(append(x.buf, k...), v...)
	x.rows++
	if len(x.buf) < exportFrame {
		return nil
	}
	return x.frame()
}

func (x *exporter) end() error {
	if len(x.buf) > 0 {
		if err := x.frame(); err != nil {
			return err
		}
	}
	if err := x.frame(); err != nil {
		return err
	}
	if _, err := x.w.Write(binary.BigEndian.AppendUint64(nil, x.rows)); err != nil {
		return err
	}
	if err := x.w.Flush(); err != nil {
		return err
	}
	if _, err := x.w.Write(x.hash.Sum(nil)); err != nil {
		return err
	}
	return x.w.Flush()
}

// readExport reads an export, without its seal, and calls fn with batches of its
// rows. Only when it returns nil was the export whole. It reads no byte beyond
// it, in small pieces: r had better be buffered.
func readExport(r io.Reader, fn func(*exportHead, *pebble.Batch) error) error {
	h := blake3.New()
	in := io.TeeReader(r, h)
	magic := make([]byte, len(exportMagic))
	if _, err := io.ReadFull(in, magic); err != nil {
		return broken("its beginning", err)
	}
	if string(magic) != exportMagic {
		if bytes.HasPrefix(magic, []byte(exportMagic[:13])) {
			return fmt.Errorf("catalog export of format %x: written by a newer version: %w", magic[13:], hallig.ErrUnsupported)
		}
		return broken("its magic", nil)
	}
	payload, err := readFrame(in)
	if err != nil {
		return err
	}
	var head exportHead
	if err := cbor.Unmarshal(payload, &head); err != nil {
		return broken("its head", err)
	}
	var rows uint64
	for {
		payload, err := readFrame(in)
		if err != nil {
			return err
		}
		if len(payload) == 0 {
			return readEnd(in, h, rows)
		}
		b := new(pebble.Batch)
		n, err := addRows(b, payload)
		if err != nil {
			return err
		}
		rows += n
		if err := fn(&head, b); err != nil {
			return err
		}
	}
}

func broken(what string, err error) error {
	if err != nil {
		return fmt.Errorf("catalog export: %s: %w: %w", what, err, hallig.ErrCorrupt)
	}
	return fmt.Errorf("catalog export: %s: %w", what, hallig.ErrCorrupt)
}

func readFrame(r io.Reader) ([]byte, error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, broken("a frame", err)
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxFrame {
		return nil, broken("a frame's length", nil)
	}
	var b bytes.Buffer // grows with what is there, not with what is claimed
	if _, err := io.CopyN(&b, r, int64(n)); err != nil {
		return nil, broken("a frame", err)
	}
	if crc32.Checksum(b.Bytes(), crc32.MakeTable(crc32.Castagnoli)) != binary.BigEndian.Uint32(head[4:]) {
		return nil, broken("a frame's checksum", nil)
	}
	return b.Bytes(), nil
}

func addRows(b *pebble.Batch, p []byte) (n uint64, err error) {
	for len(p) > 0 {
		kl, w := binary.Uvarint(p)
		if w <= 0 {
			return 0, broken("a row", nil)
		}
		p = p[w:]
		vl, w := binary.Uvarint(p)
		if w <= 0 {
			return 0, broken("a row", nil)
		}
		p = p[w:]
		if kl < 3 || kl > uint64(len(p)) || vl > uint64(len(p))-kl {
			return 0, broken("a row", nil)
		}
		if err := b.Set(p[:kl], p[kl:kl+vl], nil); err != nil {
			return 0, err
		}
		p = p[kl+vl:]
		n++
	}
	return n, nil
}

func readEnd(in io.Reader, h *blake3.Hasher, rows uint64) error {
	var count [8]byte
	if _, err := io.ReadFull(in, count[:]); err != nil {
		return broken("its end", err)
	}
	want := h.Sum(nil)
	got := make([]byte, len(want))
	if _, err := io.ReadFull(in, got); err != nil {
		return broken("its end", err)
	}
	if binary.BigEndian.Uint64(count[:]) != rows || !bytes.Equal(want, got) {
		return broken("its row count or hash", nil)
	}
	return nil
}

// Restore makes a catalog in c.Dirs, which must hold none, from an export. The
// partitions' epochs are raised, so that revisions given out after the export
// are not given out again. It is durable when Restore returns; Open serves it.
// On an error the directories hold no catalog. An export that is damaged, cut
// short or put together from others is ErrCorrupt; CheckExport says so before.
func Restore(ctx context.Context, c Config, r io.Reader) error {
	if err := c.fill(); err != nil {
		return err
	}
	for _, dir := range c.Dirs {
		if err := vfs.MkdirBelowSync(c.FS, path.Dir(dir), dir); err != nil {
			return fmt.Errorf("restore the catalog into %s: %w", dir, err)
		}
		if _, err := readRecord(&c, dir); !missing(err) {
			return fmt.Errorf("restore the catalog into %s: it holds one already (%v): %w", dir, err, hallig.ErrExists)
		}
	}
	cache := pebble.NewCache(c.Cache)
	defer cache.Unref()
	set := MirrorSet{Epoch: c.KnownEpoch + 1, Dirs: c.Dirs}
	var ms []*mirror
	defer func() {
		for _, m := range ms {
			m.close()
		}
	}()
	for _, dir := range c.Dirs {
		m, err := newMirror(&c, cache, dir, hallig.NewID())
		if err != nil {
			return err
		}
		ms = append(ms, m)
		set.Members = append(set.Members, m.id)
	}
	var head *exportHead
	err := readSealedExport(&c, r, func(h *exportHead, b *pebble.Batch) error {
		if head = h; h.Mesh != c.Mesh {
			return fmt.Errorf("the export is of mesh %s: %w", h.Mesh, hallig.ErrForeign)
		}
		repr := b.Repr()
		for _, m := range ms {
			if err := m.write(m.state, repr, pebble.NoSync); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
	if err == nil && head == nil {
		err = broken("it has no rows", nil)
	}
	for _, m := range ms {
		if err == nil {
			err = m.restored(head)
		}
	}
	for _, m := range ms {
		if err == nil {
			err = m.record(set)
		}
	}
	if err == nil && c.OnMirrors != nil {
		err = c.OnMirrors(set)
	}
	if err != nil {
		return fmt.Errorf("restore the catalog: %w", err)
	}
	c.Log.Info("catalog restored", "exported", time.UnixMilli(head.When).UTC())
	return nil
}

// restored gives a restored state its epochs and a log that begins behind it.
func (m *mirror) restored(h *exportHead) error {
	for _, id := range h.Partitions {
		w := newWriter(m, m.state, id)
		err := machine.SetEpoch(w, h.Epoch+1+id)
		if err == nil {
			err = m.write(m.state, w.b.Repr(), pebble.NoSync)
		}
		w.close()
		if err != nil {
			return err
		}
		index, term, err := appliedOf(newReader(m, m.state, id))
		if err != nil {
			return err
		}
		if index == 0 {
			continue
		}
		if err := m.restoredLog(id, index, max(term, 1)); err != nil {
			return err
		}
	}
	if err := m.sync(m.log); err != nil {
		return err
	}
	return m.sync(m.state)
}

func (m *mirror) restoredLog(id uint16, index, term uint64) error {
	node := m.cfg.Node.String()
	conf := hraft.Configuration{Servers: []hraft.Server{{ID: hraft.ServerID(node), Address: hraft.ServerAddress(node)}}}
	row, err := cbor.Marshal(&snapshotRow{ID: fmt.Sprintf("%d-%d", term, index), Index: index, Term: term,
		Config: hraft.EncodeConfiguration(conf), At: index})
	if err != nil {
		return err
	}
	b := new(pebble.Batch)
	err = errors.Join(
		b.Set(logTable(id, tableSnapshot), row, nil),
		b.Set(append(logTable(id, tableStable), "CurrentTerm"...), binary.BigEndian.AppendUint64(nil, term), nil),
		b.Set(logTable(id, tableWrites), binary.BigEndian.AppendUint64(nil, 1), nil))
	if err != nil {
		return err
	}
	return m.write(m.log, b.Repr(), pebble.NoSync)
}
