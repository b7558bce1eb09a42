package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync/atomic"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/shard"
	"github.com/hallig-cloud/hallig/vfs"
	"github.com/hallig-cloud/hallig/vfs/pebblefs"
)

// A kv is the ordered store under the index. It may lose the last batches in a
// crash, in reverse order, but never one that was applied with sync or that
// came before one.
type kv interface {
	get(key []byte) (value []byte, ok bool, err error)
	// probe returns a reader of what is there now, good at finding that a key is
	// not. It must be closed.
	probe() (kvProbe, error)
	// scan calls fn for every key in [from, to), in order; the slices are only
	// valid during the call.
	scan(from, to []byte, fn func(key, value []byte) error) error
	apply(b *kvBatch, sync bool) error
	// flush begins to make durable what was applied, and waits for it if wait says so.
	flush(wait bool) error
	// broken returns an error once changes do not reach the disk any more.
	// They are still made and read back, until close.
	broken() error
	// damaged returns an error once something could not be read back as it was
	// written: the index is of no use any more and is made anew.
	damaged() error
	close() error
}

// A kvProbe reads a kv as it was at one time.
type kvProbe interface {
	get(key []byte) (value []byte, ok bool, err error) // value is valid until the next call
	close() error
}

// kvBatch is a set of changes that is applied as one. Who applies it keeps
// nothing of it.
type kvBatch struct {
	ops []kvOp
	buf []byte // holds keys and values
}

type kvOp struct{ key, value []byte } // a nil value deletes

func (b *kvBatch) set(key, value []byte) { b.ops = append(b.ops, kvOp{key, value}) }
func (b *kvBatch) del(key []byte)        { b.ops = append(b.ops, kvOp{key, nil}) }

// hold returns what fn appends to a slice, kept as long as the batch.
func (b *kvBatch) hold(fn func([]byte) []byte) []byte {
	n := len(b.buf)
	b.buf = fn(b.buf)
	return b.buf[n:len(b.buf):len(b.buf)]
}

// entryKey returns a key of the index that the batch keeps.
func (b *kvBatch) entryKey(prefix byte, id shard.ID) []byte {
	return b.hold(func(buf []byte) []byte {
		buf, _ = id.AppendBinary(append(buf, prefix)) // never fails
		return buf
	})
}

func (b *kvBatch) reset() {
	clear(b.ops)
	b.ops, b.buf = b.ops[:0], b.buf[:0]
}

// The keys of the index.
const (
	keyShard   = 's' // + shard id: an entry
	keyBad     = 'q' // + shard id: it is quarantined; no value
	keySegment = 'g' // + segment number: a row
	keyVersion = 'v' // indexVersion and the drive's id
)

const indexVersion = 1

// indexMemory is how many bytes of changes the index holds in memory before it
// writes them to a table.
const indexMemory = 8 << 20

// entryState says what the drive knows of a shard id.
type entryState uint8

const (
	entryNone entryState = iota
	entryLive
	entryBad     // stored, found bad, not yet repaired
	entryDeleted // deleted for good
)

// entry is what the index holds for one shard id.
type entry struct {
	state entryState

	segment uint64 // that holds the shard, or the deletion

	// Of a live or bad shard.
	off     uint32
	hlen    uint16
	length  uint32
	sum     uint32
	session hallig.SessionID

	// Of a deleted one.
	horizon uint64
	when    int64
}

func (e *entry) size() int64 { return recordSize(int(e.hlen), int(e.length)) }

// at reports whether the entry's record is the one at that place.
func (e *entry) at(segment uint64, off uint32) bool {
	return (e.state == entryLive || e.state == entryBad) && e.segment == segment && e.off == off
}

func entryKey(prefix byte, id shard.ID) []byte {
	k := make([]byte, 1, 1+shard.IDSize)
	k[0] = prefix
	k, _ = id.AppendBinary(k)
	return k
}

func (e *entry) encode() []byte { return e.append(nil) }

func (e *entry) append(b []byte) []byte {
	b = append(b, byte(e.state))
	b = binary.BigEndian.AppendUint64(b, e.segment)
	if e.state == entryDeleted {
		b = binary.BigEndian.AppendUint64(b, e.horizon)
		return binary.BigEndian.AppendUint64(b, uint64(e.when))
	}
	b = binary.BigEndian.AppendUint32(b, e.off)
	b = binary.BigEndian.AppendUint16(b, e.hlen)
	b = binary.BigEndian.AppendUint32(b, e.length)
	b = binary.BigEndian.AppendUint32(b, e.sum)
	return append(b, e.session[:]...)
}

var errBadIndex = fmt.Errorf("index of the drive: %w", hallig.ErrCorrupt)

func decodeEntry(b []byte) (entry, error) {
	if len(b) < 9 {
		return entry{}, errBadIndex
	}
	e := entry{state: entryState(b[0]), segment: binary.BigEndian.Uint64(b[1:])}
	switch {
	case e.state == entryDeleted && len(b) == 25:
		e.horizon, e.when = binary.BigEndian.Uint64(b[9:]), int64(binary.BigEndian.Uint64(b[17:]))
	case (e.state == entryLive || e.state == entryBad) && len(b) == 39:
		e.off, e.hlen = binary.BigEndian.Uint32(b[9:]), binary.BigEndian.Uint16(b[13:])
		e.length, e.sum = binary.BigEndian.Uint32(b[15:]), binary.BigEndian.Uint32(b[19:])
		copy(e.session[:], b[23:])
	default:
		return entry{}, errBadIndex
	}
	return e, nil
}

// row is what the index holds for one segment.
type row struct {
	epoch   uint64
	mark    uint32 // the index knows every record before this offset
	sealed  bool   // nothing will be written to it any more
	doomed  bool   // its live records are elsewhere: the file is to be removed
	live    int64  // bytes of live records
	shards  int64  // live records
	deletes int64  // deletions that the index places here
}

func segmentKey(num uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{keySegment}, num)
}

func (r *row) encode() []byte {
	b := make([]byte, 0, 40)
	b = binary.BigEndian.AppendUint64(b, r.epoch)
	b = binary.BigEndian.AppendUint32(b, r.mark)
	var flags byte
	if r.sealed {
		flags |= 1
	}
	if r.doomed {
		flags |= 2
	}
	b = append(b, flags)
	b = binary.BigEndian.AppendUint64(b, uint64(r.live))
	b = binary.BigEndian.AppendUint64(b, uint64(r.shards))
	return binary.BigEndian.AppendUint64(b, uint64(r.deletes))
}

func decodeRow(b []byte) (row, error) {
	if len(b) != 37 {
		return row{}, errBadIndex
	}
	return row{
		epoch: binary.BigEndian.Uint64(b), mark: binary.BigEndian.Uint32(b[8:]),
		sealed: b[12]&1 != 0, doomed: b[12]&2 != 0,
		live: int64(binary.BigEndian.Uint64(b[13:])), shards: int64(binary.BigEndian.Uint64(b[21:])),
		deletes: int64(binary.BigEndian.Uint64(b[29:])),
	}, nil
}

// pebbleKV is the index on a drive.
type pebbleKV struct {
	db     *pebble.DB
	guard  *pebblefs.Guard
	damage *damage
}

// damage remembers the first sign that files of the index are not as they were
// written: bytes that do not match their checksum, a file that is gone, a
// sector that cannot be read.
type damage struct{ first atomic.Pointer[error] }

// errDamaged is wrapped by every error of an index that is damaged.
var errDamaged = errors.New("the index is damaged")

// note returns err, marked if it is a sign of damage.
func (d *damage) note(err error) error {
	if err == nil || !pebble.IsCorruptionError(err) && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.EIO) && !errors.Is(err, errBadIndex) {
		return err
	}
	err = fmt.Errorf("%w: %w", errDamaged, err)
	d.first.CompareAndSwap(nil, &err)
	return err
}

func (d *damage) err() error {
	if p := d.first.Load(); p != nil {
		return *p
	}
	return nil
}

func openPebble(fsys vfs.FS, dir string, cache int64, log *slog.Logger) (kv, error) {
	c := pebble.NewCache(cache)
	defer c.Unref() // the database holds its own reference
	guard, found := pebblefs.NewGuard(fsys, nil), &damage{}
	opts := &pebble.Options{
		FS: pebblefs.New(guard), Cache: c, Logger: pebbleLog{log},
		MemTableSize: indexMemory,
		// No log: what a crash takes from memory is read from the segments, which
		// are behind the index's marks then. See Drive.flushIndex.
		DisableWAL:         true,
		FormatMajorVersion: pebble.FormatNewest,
		// A table that is damaged or missing is an error of whoever reads it;
		// left to itself Pebble would call Fatalf, in any goroutine.
		EventListener: &pebble.EventListener{DataCorruption: func(i pebble.DataCorruptionInfo) {
			log.Error("shard index: a table cannot be read", "path", i.Path, "err", i.Details)
			err := fmt.Errorf("%w: %s: %w", errDamaged, i.Path, i.Details)
			found.first.CompareAndSwap(nil, &err)
		}},
	}
	opts.Levels[0].FilterPolicy = bloom.FilterPolicy(10)
	db, err := pebble.Open(dir, opts)
	if err != nil {
		return nil, fmt.Errorf("open the index: %w", err)
	}
	return pebbleKV{db, guard, found}, nil
}

func (p pebbleKV) get(key []byte) ([]byte, bool, error) {
	v, c, err := p.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, p.damage.note(err)
	}
	v = bytes.Clone(v)
	return v, true, c.Close()
}

func (p pebbleKV) scan(from, to []byte, fn func(key, value []byte) error) error {
	it, err := p.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		return p.damage.note(err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		if err := fn(it.Key(), it.Value()); err != nil {
			return errors.Join(p.damage.note(err), it.Close())
		}
	}
	return p.damage.note(it.Close())
}

func (p pebbleKV) apply(b *kvBatch, sync bool) error {
	batch := p.db.NewBatch()
	defer batch.Close() //nolint:errcheck // frees memory only
	for _, o := range b.ops {
		var err error
		if o.value == nil {
			err = batch.Delete(o.key, nil)
		} else {
			err = batch.Set(o.key, o.value, nil)
		}
		if err != nil {
			return err
		}
	}
	if err := batch.Commit(pebble.NoSync); err != nil || !sync {
		return err
	}
	return p.db.Flush()
}

func (p pebbleKV) flush(wait bool) error {
	if wait {
		return p.db.Flush()
	}
	_, err := p.db.AsyncFlush()
	return err
}

// probe implements kv. Only an iterator uses the filters of the lowest level,
// where nearly everything is: DB.Get reads a block of it for every key that is
// not there, as new shards are not.
func (p pebbleKV) probe() (kvProbe, error) {
	it, err := p.db.NewIter(&pebble.IterOptions{UseL6Filters: true})
	if err != nil {
		return nil, p.damage.note(err)
	}
	return pebbleProbe{p, it}, nil
}

type pebbleProbe struct {
	kv pebbleKV
	it *pebble.Iterator
}

func (p pebbleProbe) get(key []byte) ([]byte, bool, error) {
	if !p.it.SeekPrefixGE(key) || !bytes.Equal(p.it.Key(), key) {
		return nil, false, p.kv.damage.note(p.it.Error())
	}
	v, err := p.it.ValueAndErr()
	return v, err == nil, p.kv.damage.note(err)
}

func (p pebbleProbe) close() error { return p.kv.damage.note(p.it.Close()) }

func (p pebbleKV) broken() error  { return p.guard.Err() }
func (p pebbleKV) damaged() error { return p.damage.err() }

// close makes durable what was applied, unless it is thrown away.
func (p pebbleKV) close() error {
	var err error
	if p.broken() == nil && p.damaged() == nil {
		err = p.db.Flush()
	}
	return errors.Join(err, p.db.Close())
}

// pebbleLog passes on what an operator may need.
type pebbleLog struct{ log *slog.Logger }

func (pebbleLog) Infof(string, ...any) {}
func (l pebbleLog) Errorf(format string, args ...any) {
	l.log.Warn("shard index", "message", fmt.Sprintf(format, args...))
}
func (l pebbleLog) Fatalf(format string, args ...any) {
	panic("shard index: " + fmt.Sprintf(format, args...))
}
