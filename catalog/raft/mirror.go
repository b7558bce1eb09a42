package raft

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"path"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/fxamacker/cbor/v2"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/vfs"
	"github.com/hallig-cloud/hallig/vfs/pebblefs"
)

// recordFile is the file in a mirror's directory that says which mirror it is.
const recordFile = "MIRROR"

// A MirrorSet is what is recorded of the mirrors that hold everything that was
// acknowledged. Epoch grows with every change.
type MirrorSet struct {
	Epoch   uint64      `cbor:"1,keyasint"`
	Members []hallig.ID `cbor:"2,keyasint"` // identities; a rebuilt mirror gets a new one
	Dirs    []string    `cbor:"3,keyasint"` // of the members, for people
}

// record is the content of recordFile, behind its CRC32C (4 bytes, big-endian).
type record struct {
	Format uint8         `cbor:"1,keyasint"`
	Mesh   hallig.MeshID `cbor:"2,keyasint"`
	Node   hallig.NodeID `cbor:"3,keyasint"`
	Self   hallig.ID     `cbor:"4,keyasint"`
	Set    MirrorSet     `cbor:"5,keyasint"`
}

const recordFormat = 1

func encodeRecord(r *record) ([]byte, error) {
	b, err := cbor.Marshal(r)
	if err != nil {
		return nil, err
	}
	sum := crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
	return append([]byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)}, b...), nil
}

func decodeRecord(b []byte) (r record, err error) {
	if len(b) < 5 {
		return r, fmt.Errorf("mirror record of %d bytes: %w", len(b), hallig.ErrCorrupt)
	}
	sum := crc32.Checksum(b[4:], crc32.MakeTable(crc32.Castagnoli))
	if sum != uint32(b[0])<<24|uint32(b[1])<<16|uint32(b[2])<<8|uint32(b[3]) {
		return r, fmt.Errorf("mirror record with a wrong checksum: %w", hallig.ErrCorrupt)
	}
	if err := cbor.Unmarshal(b[4:], &r); err != nil {
		return r, fmt.Errorf("mirror record: %w: %w", err, hallig.ErrCorrupt)
	}
	if r.Format != recordFormat {
		return r, fmt.Errorf("mirror record of format %d: written by a newer version: %w", r.Format, hallig.ErrUnsupported)
	}
	return r, nil
}

// readRecord reads a directory's record; fs.ErrNotExist when there is none.
func readRecord(c *Config, dir string) (record, error) {
	b, err := vfs.ReadFile(c.FS, path.Join(dir, recordFile), 1<<16)
	if err != nil {
		return record{}, fmt.Errorf("catalog mirror %s: %w", dir, err)
	}
	r, err := decodeRecord(b)
	if err != nil {
		return r, fmt.Errorf("catalog mirror %s: %w", dir, err)
	}
	if r.Mesh != c.Mesh || r.Node != c.Node {
		return r, fmt.Errorf("catalog mirror %s is of node %s in mesh %s; this is node %s in mesh %s: use another directory, or empty it if you are sure: %w",
			dir, r.Node, r.Mesh, c.Node, c.Mesh, hallig.ErrForeign)
	}
	return r, nil
}

// A mirror is one directory's databases. When one of them fails the whole
// mirror has failed: it is never retried.
type mirror struct {
	id     hallig.ID
	dir    string
	cfg    *Config
	cache  *pebble.Cache
	disk   *pebblefs.Guard // keeps what the disk refuses from Pebble, which would panic
	log    *pebble.DB
	state  *pebble.DB
	opened *pebble.DB

	// use is held for reading by whoever reads the databases, so that they are
	// not closed under them; who comes later finds shut.
	use    sync.RWMutex
	shut   bool
	once   sync.Once
	failed chan struct{} // closed by fail

	// Calls run in goroutines of their own and may outlast a caller who gave
	// up when the mirror failed. The databases are not closed under them: their
	// memory would be gone, and with it the process.
	inMu    sync.Mutex
	closing bool // nothing enters any more
	in      sync.WaitGroup
	cause   error // set before failed is closed
}

// dbNames are the databases' directories under the mirror's own.
var dbNames = [...]string{"log", "state", "opened"}

func (m *mirror) path(name string) string { return path.Join(m.dir, m.id.String(), name) }

// newMirror opens, or makes, the databases of the mirror id in dir.
func newMirror(c *Config, cache *pebble.Cache, dir string, id hallig.ID) (*mirror, error) {
	m := &mirror{id: id, dir: dir, cfg: c, cache: cache, failed: make(chan struct{})}
	m.disk = pebblefs.NewGuard(c.FS, func(err error) {
		if !c.noBreak {
			m.fail(err)
		}
	})
	for i, db := range []**pebble.DB{&m.log, &m.state, &m.opened} {
		p := m.path(dbNames[i])
		err := vfs.MkdirBelowSync(c.FS, path.Dir(dir), p)
		if err == nil {
			err = m.open(p, db, i == 0)
		}
		if err != nil {
			m.close()
			return nil, fmt.Errorf("open catalog database %s: %w", p, err)
		}
	}
	return m, nil
}

// open opens one of the databases. The log's rows are sealed bytes, which do not
// compress, and most are deleted before they are worth a compaction.
func (m *mirror) open(p string, db **pebble.DB, isLog bool) error {
	o := &pebble.Options{
		FS:                          pebblefs.New(m.disk),
		Cache:                       m.cache,
		MemTableSize:                m.cfg.Memory,
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       4,
		MaxOpenFiles:                500,
		FormatMajorVersion:          pebble.FormatNewest,
		Logger:                      pebbleLogger{m, m.cfg.Log.With("db", p)},
		EventListener: &pebble.EventListener{
			BackgroundError: func(err error) { m.fail(err) },
			DataCorruption: func(i pebble.DataCorruptionInfo) {
				m.fail(fmt.Errorf("%s: %w", i.Path, hallig.ErrCorrupt))
			},
		},
	}
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	if isLog {
		o.L0CompactionThreshold = 12
		o.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionNone })
	}
	return m.call(func() error {
		var err error
		*db, err = pebble.Open(p, o)
		return err
	})
}

// call guards fn, holds the databases open until it ends, and returns its error;
// or, earlier, why the mirror failed.
func (m *mirror) call(fn func() error) error {
	m.inMu.Lock()
	if m.closing {
		m.inMu.Unlock()
		return closed()
	}
	m.in.Add(1)
	m.inMu.Unlock()
	return m.await(m.guard(func() error {
		defer m.in.Done()
		return fn()
	}))
}

func (m *mirror) await(ended <-chan error) error {
	select {
	case err := <-ended:
		return err
	case <-m.failed:
		return m.cause
	}
}

// guard runs fn in a goroutine of its own and sends its error. Pebble answers a
// failed log write with Fatalf, which holds that goroutine and fails the mirror
// instead of ending the process; nothing is then sent.
func (m *mirror) guard(fn func() error) <-chan error {
	errs := make(chan error, 1)
	go func() {
		defer func() {
			if r := recover(); r != nil {
				m.fail(fmt.Errorf("catalog mirror %s: %v", m.dir, r))
			}
		}()
		err := fn()
		if derr := m.disk.Err(); derr != nil && !m.cfg.noBreak {
			err = derr // what was written since is in memory only
		}
		errs <- err
	}()
	return errs
}

// fail marks the mirror as failed, for good.
func (m *mirror) fail(err error) {
	m.once.Do(func() {
		m.cause = fmt.Errorf("catalog mirror %s: %w", m.dir, err)
		close(m.failed)
	})
}

func (m *mirror) ok() bool {
	select {
	case <-m.failed:
		return false
	default:
		return true
	}
}

// do runs fn and fails the mirror on its error.
func (m *mirror) do(fn func() error) error {
	if !m.ok() {
		return m.cause
	}
	err := m.call(fn)
	if err != nil && !errors.Is(err, errClosed) {
		m.fail(err)
		return m.cause
	}
	return err
}

// write applies an encoded batch to one of the mirror's databases. The batch is
// the caller's again when write returns, which on a mirror that has failed may
// be before the database is done with it: it gets a copy.
func (m *mirror) write(db *pebble.DB, repr []byte, o *pebble.WriteOptions) error {
	own := bytes.Clone(repr)
	return m.do(func() error {
		b := db.NewBatch()
		defer b.Close() //nolint:errcheck // a batch's Close frees memory only
		if err := b.SetRepr(own); err != nil {
			return err
		}
		return db.Apply(b, o)
	})
}

// record writes the mirror's record durably.
func (m *mirror) record(s MirrorSet) error {
	b, err := encodeRecord(&record{Format: recordFormat, Mesh: m.cfg.Mesh, Node: m.cfg.Node, Self: m.id, Set: s})
	if err != nil {
		return err
	}
	return m.do(func() error { return vfs.WriteFileSync(m.cfg.FS, path.Join(m.dir, recordFile), b) })
}

// sync makes all that was written to a database durable.
func (m *mirror) sync(db *pebble.DB) error {
	return m.do(func() error { return db.LogData([]byte{0}, pebble.Sync) })
}

// close closes the databases once nothing uses them. Those of a failed mirror
// are closed in the background, since that may never end.
func (m *mirror) close() {
	m.inMu.Lock()
	m.closing = true
	m.inMu.Unlock()
	closeAll := func() error {
		m.in.Wait()
		m.use.Lock()
		defer m.use.Unlock()
		m.shut = true
		var errs []error
		for _, db := range []*pebble.DB{m.log, m.state, m.opened} {
			if db != nil {
				errs = append(errs, db.Close())
			}
		}
		return errors.Join(errs...)
	}
	well := m.ok()
	ended := m.guard(closeAll)
	if !well {
		return
	}
	if err := m.await(ended); err != nil {
		m.fail(err)
		m.cfg.Log.Warn("catalog mirror did not close", "dir", m.dir, "err", err)
	}
}

// remains removes what other incarnations of mirrors left in a directory.
func remains(c *Config, dir string, keep hallig.ID) {
	names, err := c.FS.List(dir)
	if err != nil {
		return
	}
	for _, n := range names {
		id, err := hallig.ParseID(n)
		if err != nil || id == keep {
			continue
		}
		if err := removeAll(c.FS, path.Join(dir, n)); err != nil {
			c.Log.Warn("leftover catalog mirror was not removed", "dir", path.Join(dir, n), "err", err)
		}
	}
}

func removeAll(f vfs.FS, dir string) error { return pebblefs.New(f).RemoveAll(dir) }

func missing(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// pebbleLogger passes Pebble's messages on. Its Fatalf fails the mirror and holds
// the calling goroutine for good: a process with other mirrors goes on. Ending
// it (runtime.Goexit) would run Pebble's deferred unlocks, of mutexes that it does
// not hold just then (rotateWAL, flush), which ends the process.
type pebbleLogger struct {
	m   *mirror
	log *slog.Logger
}

func (l pebbleLogger) Infof(string, ...any) {}

func (l pebbleLogger) Errorf(format string, args ...any) {
	l.log.Warn("pebble", "err", strings.TrimSpace(fmt.Sprintf(format, args...)))
}

func (l pebbleLogger) Fatalf(format string, args ...any) {
	err := fmt.Errorf(format, args...)
	for _, a := range args {
		if e, ok := a.(error); ok {
			err = e
		}
	}
	l.m.fail(err)
	select {} // see above
}
