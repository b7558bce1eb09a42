package raft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	hraft "github.com/hashicorp/raft"

	"github.com/hallig-cloud/hallig"
)

// The log database's rows: partition (2 bytes), a table byte, and
//
//	'L' index (8)  a log entry
//	'S' name       a stable value
//	'W'            the number of the last write to the partition's rows
//	'N'            the latest snapshot's description
const (
	tableLog      = 'L'
	tableStable   = 'S'
	tableWrites   = 'W'
	tableSnapshot = 'N'
)

func logTable(partition uint16, table byte) []byte {
	return append(binary.BigEndian.AppendUint16(make([]byte, 0, 16), partition), table)
}

func logKey(partition uint16, index uint64) []byte {
	return binary.BigEndian.AppendUint64(logTable(partition, tableLog), index)
}

// logStore is one partition's part of the log databases: a hraft.LogStore and
// hraft.StableStore. All partitions of a node share the databases, so that
// their concurrent commits share an fsync.
type logStore struct {
	set       *mirrors
	partition uint16

	// fatal is told of a write that no mirror took.
	fatal func(error)

	mu          sync.Mutex // orders the writes, which are numbered
	writes      uint64
	first, last uint64 // indexes; 0: empty

	grown atomic.Int64 // bytes stored since the last truncation was asked for
}

// newLogStore returns the partition's store; the mirrors must agree.
func newLogStore(set *mirrors, partition uint16) (*logStore, error) {
	l := &logStore{set: set, partition: partition}
	err := set.read(func(m *mirror) error {
		var err error
		if l.writes, err = logWrites(m, partition); err != nil {
			return err
		}
		l.first, l.last, err = logRange(m, partition)
		return err
	})
	return l, err
}

// get reads a row of a mirror's log database; nil when there is none.
func (m *mirror) get(k []byte) ([]byte, error) {
	v, c, err := m.log.Get(k)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		m.fail(err)
		return nil, m.cause
	}
	out := append([]byte{}, v...)
	return out, c.Close()
}

// logWrites reads how many writes a mirror has seen.
func logWrites(m *mirror, partition uint16) (uint64, error) {
	v, err := m.get(logTable(partition, tableWrites))
	if err != nil || v == nil {
		return 0, err
	}
	if len(v) != 8 {
		return 0, fmt.Errorf("catalog log's write count: %w", hallig.ErrCorrupt)
	}
	return binary.BigEndian.Uint64(v), nil
}

// logRange reads the first and last index of a mirror's log.
func logRange(m *mirror, partition uint16) (first, last uint64, err error) {
	lo := logTable(partition, tableLog)
	it, err := m.log.NewIter(&pebble.IterOptions{LowerBound: lo, UpperBound: logTable(partition, tableLog+1)})
	if err != nil {
		m.fail(err)
		return 0, 0, m.cause
	}
	if it.First() && len(it.Key()) == 11 {
		first = binary.BigEndian.Uint64(it.Key()[3:])
	}
	if it.Last() && len(it.Key()) == 11 {
		last = binary.BigEndian.Uint64(it.Key()[3:])
	}
	if err := errors.Join(it.Error(), it.Close()); err != nil {
		m.fail(err)
		return 0, 0, m.cause
	}
	return first, last, nil
}

// write commits what fill puts into a batch to every mirror.
func (l *logStore) write(sync bool, fill func(b *pebble.Batch) error, done func()) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := new(pebble.Batch)
	if err := fill(b); err != nil {
		return err
	}
	n := binary.BigEndian.AppendUint64(nil, l.writes+1)
	if err := b.Set(logTable(l.partition, tableWrites), n, nil); err != nil {
		return err
	}
	o := pebble.NoSync
	if sync && !l.set.cfg.noSync {
		o = pebble.Sync
	}
	repr := b.Repr()
	if err := l.set.each(func(m *mirror) error { return m.write(m.log, repr, o) }); err != nil {
		if l.fatal != nil {
			l.fatal(err)
		}
		return err
	}
	l.writes++
	if done != nil {
		done()
	}
	return nil
}

// IsMonotonic implements hraft.MonotonicLogStore: entries have no gaps.
func (l *logStore) IsMonotonic() bool { return true }

// FirstIndex implements hraft.LogStore.
func (l *logStore) FirstIndex() (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.first, nil
}

// LastIndex implements hraft.LogStore.
func (l *logStore) LastIndex() (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last, nil
}

// GetLog implements hraft.LogStore. Raft panics on an error while it applies:
// see Set.
func (l *logStore) GetLog(index uint64, out *hraft.Log) error {
	err := l.set.read(func(m *mirror) error { return m.entry(l.partition, index, out) })
	if err != nil && !errors.Is(err, hraft.ErrLogNotFound) && !errors.Is(err, errClosed) && l.fatal != nil {
		l.fatal(err)
		runtime.Goexit()
	}
	return err
}

// entry reads one log entry of a mirror.
func (m *mirror) entry(partition uint16, index uint64, out *hraft.Log) error {
	v, err := m.get(logKey(partition, index))
	if err != nil {
		return err
	}
	if v == nil {
		return hraft.ErrLogNotFound
	}
	if err := decodeLog(v, out); err != nil {
		m.fail(err)
		return m.cause
	}
	out.Index = index
	return nil
}

// StoreLog implements hraft.LogStore.
func (l *logStore) StoreLog(e *hraft.Log) error { return l.StoreLogs([]*hraft.Log{e}) }

// StoreLogs implements hraft.LogStore: the entries are on stable storage on
// every mirror when it returns.
func (l *logStore) StoreLogs(logs []*hraft.Log) error {
	if len(logs) == 0 {
		return nil
	}
	return l.write(true, func(b *pebble.Batch) error {
		for _, e := range logs {
			if err := b.Set(logKey(l.partition, e.Index), encodeLog(e), nil); err != nil {
				return err
			}
		}
		return nil
	}, func() {
		if l.first == 0 {
			l.first = logs[0].Index
		}
		l.last = logs[len(logs)-1].Index
		for _, e := range logs {
			l.grown.Add(int64(len(e.Data)))
		}
	})
}

// bootstrap writes the first term and configuration in one batch, which
// hraft.BootstrapCluster does in two: a crash between them leaves a group
// without voters.
func (l *logStore) bootstrap(c hraft.Configuration) error {
	e := &hraft.Log{Index: 1, Term: 1, Type: hraft.LogConfiguration, Data: hraft.EncodeConfiguration(c)}
	term := append(logTable(l.partition, tableStable), "CurrentTerm"...)
	return l.write(true, func(b *pebble.Batch) error {
		return errors.Join(
			b.Set(term, binary.BigEndian.AppendUint64(nil, e.Term), nil),
			b.Set(logKey(l.partition, e.Index), encodeLog(e), nil))
	}, func() { l.first, l.last = e.Index, e.Index })
}

// DeleteRange implements hraft.LogStore.
func (l *logStore) DeleteRange(lo, hi uint64) error {
	l.mu.Lock()
	first, last := l.first, l.last
	l.mu.Unlock()
	// Dropping old entries may come back after a power cut; dropping the newest
	// may not.
	return l.write(hi >= last, func(b *pebble.Batch) error {
		return b.DeleteRange(logKey(l.partition, lo), logKey(l.partition, hi+1), nil)
	}, func() {
		switch {
		case lo <= first && hi >= last:
			l.first, l.last = 0, 0
		case lo <= first:
			l.first = max(first, hi+1)
		case hi >= last:
			l.last = lo - 1
		}
	})
}

// Set implements hraft.StableStore. Raft panics when it gets an error: when no
// mirror is left, the calling goroutine, Raft's own, ends instead, and with it
// the replica.
func (l *logStore) Set(k, v []byte) error {
	err := l.write(true, func(b *pebble.Batch) error {
		return b.Set(append(logTable(l.partition, tableStable), k...), v, nil)
	}, nil)
	if err != nil && l.fatal != nil {
		runtime.Goexit()
	}
	return err
}

// Get implements hraft.StableStore; an absent value is empty.
func (l *logStore) Get(k []byte) (v []byte, err error) {
	err = l.set.read(func(m *mirror) error {
		v, err = m.get(append(logTable(l.partition, tableStable), k...))
		return err
	})
	return v, err
}

// SetUint64 implements hraft.StableStore.
func (l *logStore) SetUint64(k []byte, v uint64) error {
	return l.Set(k, binary.BigEndian.AppendUint64(nil, v))
}

// GetUint64 implements hraft.StableStore.
func (l *logStore) GetUint64(k []byte) (uint64, error) {
	v, err := l.Get(k)
	if err != nil || v == nil {
		return 0, err
	}
	if len(v) != 8 {
		return 0, fmt.Errorf("catalog log's value %q: %w", k, hallig.ErrCorrupt)
	}
	return binary.BigEndian.Uint64(v), nil
}

// A log entry's row: format 1, type, term (8), unix nanoseconds (8), length of
// the extensions (4), extensions, data.
const (
	logFormat = 1
	logHead   = 1 + 1 + 8 + 8 + 4
)

func encodeLog(e *hraft.Log) []byte {
	b := make([]byte, 0, logHead+len(e.Extensions)+len(e.Data))
	b = append(b, logFormat, byte(e.Type))
	b = binary.BigEndian.AppendUint64(b, e.Term)
	var at int64
	if !e.AppendedAt.IsZero() {
		at = e.AppendedAt.UnixNano()
	}
	b = binary.BigEndian.AppendUint64(b, uint64(at))
	b = binary.BigEndian.AppendUint32(b, uint32(len(e.Extensions)))
	return append(append(b, e.Extensions...), e.Data...)
}

func decodeLog(b []byte, out *hraft.Log) error {
	if len(b) < logHead {
		return fmt.Errorf("catalog log entry of %d bytes: %w", len(b), hallig.ErrCorrupt)
	}
	if b[0] != logFormat {
		return fmt.Errorf("catalog log entry of format %d: %w", b[0], hallig.ErrUnsupported)
	}
	n := binary.BigEndian.Uint32(b[18:])
	if uint64(n) > uint64(len(b)-logHead) {
		return fmt.Errorf("catalog log entry's extensions: %w", hallig.ErrCorrupt)
	}
	*out = hraft.Log{Type: hraft.LogType(b[1]), Term: binary.BigEndian.Uint64(b[2:])}
	if at := int64(binary.BigEndian.Uint64(b[10:])); at != 0 {
		out.AppendedAt = time.Unix(0, at)
	}
	if n > 0 {
		out.Extensions = b[logHead : logHead+n]
	}
	if data := b[logHead+n:]; len(data) > 0 {
		out.Data = data
	}
	return nil
}
