package raft

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/maphash"

	"github.com/cockroachdb/pebble/v2"
)

// reader reads one partition's rows of one mirror. Errors of the database fail
// the mirror.
type reader struct {
	m  *mirror
	db pebble.Reader
	p  [2]byte
}

func newReader(m *mirror, db pebble.Reader, partition uint16) *reader {
	r := &reader{m: m, db: db}
	binary.BigEndian.PutUint16(r.p[:], partition)
	return r
}

// key puts the partition before a row's key.
func (r *reader) key(k []byte) []byte {
	return append(append(make([]byte, 0, 2+len(k)), r.p[:]...), k...)
}

func (r *reader) failed(err error) error {
	if err != nil {
		r.m.fail(err)
		return r.m.cause
	}
	return nil
}

// Get implements machine.Reader.
func (r *reader) Get(k []byte) ([]byte, error) {
	v, c, err := r.db.Get(r.key(k))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, r.failed(err)
	}
	out := append(make([]byte, 0, len(v)), v...)
	return out, r.failed(c.Close())
}

// bounds are the iterator options for [lo, hi); a nil hi is the partition's end.
func (r *reader) bounds(lo, hi []byte) *pebble.IterOptions {
	o := &pebble.IterOptions{LowerBound: r.key(lo)}
	if hi != nil {
		o.UpperBound = r.key(hi)
	} else {
		o.UpperBound = binary.BigEndian.AppendUint32(nil, uint32(binary.BigEndian.Uint16(r.p[:]))<<16+1<<16)
	}
	return o
}

// Scan implements machine.Reader.
func (r *reader) Scan(lo, hi []byte, fn func(key, value []byte) bool) error {
	it, err := r.iterator(lo, hi)
	if err != nil {
		return err
	}
	for ok := it.it.First(); ok; ok = it.it.Next() {
		if !fn(it.Key(), it.Value()) {
			break
		}
	}
	return it.close()
}

func (r *reader) iterator(lo, hi []byte) (*iterator, error) {
	it, err := r.db.NewIter(r.bounds(lo, hi))
	if err != nil {
		return nil, r.failed(err)
	}
	return &iterator{r: r, it: it}, nil
}

// iterator implements machine.Iterator.
type iterator struct {
	r    *reader
	it   *pebble.Iterator
	seek []byte
}

func (i *iterator) SeekGE(k []byte) bool {
	i.seek = append(append(i.seek[:0], i.r.p[:]...), k...)
	return i.it.SeekGE(i.seek)
}
func (i *iterator) Next() bool    { return i.it.Next() }
func (i *iterator) Key() []byte   { return i.it.Key()[2:] }
func (i *iterator) Value() []byte { return i.it.Value() }
func (i *iterator) Err() error    { return i.r.failed(i.it.Error()) }
func (i *iterator) close() error  { return i.r.failed(i.it.Close()) }

// writer is a reader of an indexed batch that also writes to it. The database
// must not be changed meanwhile by others than the batch.
type writer struct {
	*reader
	b    *pebble.Batch
	from *pebble.DB

	// Most of what Apply looks for is not there. DB.Get then reads a block of the
	// lowest level, whose filters it does not use; an iterator does when it is
	// asked to. It sees the database alone: written has the keys, by their hashes,
	// for which the batch must be asked.
	probe   *pebble.Iterator
	written map[uint64]struct{}
	seed    maphash.Seed
	scratch []byte
}

// newWriter returns a writer on a new indexed batch of db.
func newWriter(m *mirror, db *pebble.DB, partition uint16) *writer {
	b := db.NewIndexedBatch()
	return &writer{reader: newReader(m, b, partition), b: b, from: db, written: map[uint64]struct{}{}, seed: maphash.MakeSeed()}
}

// Get implements machine.Reader.
func (w *writer) Get(k []byte) ([]byte, error) {
	w.scratch = append(append(w.scratch[:0], w.p[:]...), k...)
	if _, ok := w.written[maphash.Bytes(w.seed, w.scratch)]; ok {
		return w.reader.Get(k)
	}
	if w.probe == nil {
		it, err := w.from.NewIter(&pebble.IterOptions{UseL6Filters: true})
		if err != nil {
			return nil, w.failed(err)
		}
		w.probe = it
	}
	if !w.probe.SeekPrefixGE(w.scratch) || !bytes.Equal(w.probe.Key(), w.scratch) {
		return nil, w.failed(w.probe.Error())
	}
	v, err := w.probe.ValueAndErr()
	return append(make([]byte, 0, len(v)), v...), w.failed(err)
}

func (w *writer) wrote(k []byte) []byte {
	w.scratch = append(append(w.scratch[:0], w.p[:]...), k...)
	w.written[maphash.Bytes(w.seed, w.scratch)] = struct{}{}
	return w.scratch
}

// Set implements machine.Rows.
func (w *writer) Set(k, v []byte) error { return w.b.Set(w.wrote(k), v, nil) }

// Delete implements machine.Rows.
func (w *writer) Delete(k []byte) error { return w.b.Delete(w.wrote(k), nil) }

// close frees what the writer holds.
func (w *writer) close() {
	if w.probe != nil {
		w.probe.Close() //nolint:errcheck // its errors were asked for
	}
	w.b.Close() //nolint:errcheck // a batch's Close frees memory only
}
