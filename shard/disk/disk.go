// Package disk stores shards on one drive: a directory on a disk of its own.
//
// Shards lie in append-only segment files, found by an index that can be
// rebuilt from them (docs/decisions/0002-shard-format.md). A Put or Delete
// returns when its record is on stable storage; calls that run at the same
// time share one write and one fdatasync, and a lone call waits for no other.
//
// A segment is written by one life of the process only: after a restart, or
// after a write to it failed, a new segment is begun and the old one is never
// written again. So nothing acknowledged is ever overwritten or truncated.
package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/shard"
	"github.com/hallig-cloud/hallig/vfs"
)

// Config configures a drive. The zero value of a field means its default.
type Config struct {
	Dir      string   // the drive's directory
	Identity Identity // whom the drive must belong to; a zero Mesh, Node or Drive is not compared
	FS       vfs.FS   // default vfs.OS()
	Log      *slog.Logger

	SegmentSize int64 // bytes after which a segment is finished; default a 64th of the file system, 4 MiB to 256 MiB; at most 2 GiB
	MinFree     int64 // bytes of the file system that Put leaves free, for deletions, compaction and the index; default 1 % of it, at least 96 MiB or an eighth and a segment and a quarter, at most 1 GiB; negative: none
	IndexCache  int64 // bytes of memory for the index's cache; default 16 MiB

	// CompactRatio is the share of dead bytes from which a finished segment is
	// compacted; default 0.4. While the drive is full, or nearly, 0.1 is enough.
	CompactRatio float64
	// KeepDeletes is how long a deletion is remembered at least, so that a copy
	// that comes back late is refused; default 7 days, negative: no time. It is
	// remembered in any case until no segment can hold the shard.
	KeepDeletes time.Duration
	// CheckEvery is the time between two checks of the drive's identity in Run,
	// and the most that a read relies on one; default 1 s. Every write checks
	// that its segment is where it belongs.
	CheckEvery time.Duration
	// CompactEvery is the time between two looks for work by Run; default 30 s.
	CompactEvery time.Duration
	// CompactRate bounds background compaction, in bytes read a second; default 32 MiB.
	CompactRate int64

	Rebuild bool // Open throws the index away and makes it anew from the segments

	now        func() time.Time                        // for tests
	openIndex  func(fs vfs.FS, dir string) (kv, error) // for tests
	directBody int                                     // the constant of that name; for tests

	// Negative controls: each switches a protection off.
	ackEarly      bool // acknowledge without fdatasync
	noDirSync     bool // do not sync the name of a new segment
	keepFailed    bool // do not end a segment whose writing failed
	forgetDeletes bool // compaction does not keep deletions
}

const (
	segmentsDir = "segments"
	indexDir    = "index"
	lockFile    = "hallig-drive.lock"

	defaultSegmentSize = 256 << 20 // at most
	leastSegmentSize   = 4 << 20   // by default
	segmentsToDrive    = 64        // a segment is this part of a drive, so that one fits into what is kept free
	scarceRatio        = 0.1       // CompactRatio of a drive that is short of space
	maxGroup           = 8 << 20   // bytes; a group takes no further record beyond this
	maxGroupRequests   = 1024
)

func (c Config) withDefaults() Config {
	if c.FS == nil {
		c.FS = vfs.OS()
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.SegmentSize == 0 {
		c.SegmentSize = defaultSegmentSize
		if _, total, err := c.FS.Usage(c.Dir); err == nil && total > 0 {
			c.SegmentSize = min(max(total/segmentsToDrive, leastSegmentSize), defaultSegmentSize)
		}
	}
	c.SegmentSize = min(c.SegmentSize, 2<<30)
	if c.IndexCache == 0 {
		c.IndexCache = 16 << 20
	}
	if c.CompactRatio == 0 {
		c.CompactRatio = 0.4
	}
	if c.KeepDeletes == 0 {
		c.KeepDeletes = 7 * 24 * time.Hour
	}
	if c.CheckEvery == 0 {
		c.CheckEvery = time.Second
	}
	if c.CompactEvery == 0 {
		c.CompactEvery = 30 * time.Second
	}
	if c.CompactRate == 0 {
		c.CompactRate = 32 << 20
	}
	if c.now == nil {
		c.now = time.Now
	}
	if c.directBody == 0 {
		c.directBody = directBody
	}
	if c.openIndex == nil {
		cache, log := c.IndexCache, c.Log
		c.openIndex = func(fs vfs.FS, dir string) (kv, error) { return openPebble(fs, dir, cache, log) }
	}
	return c
}

// A Drive is a shard.Store and a shard.Scrubber on a directory.
type Drive struct {
	cfg      Config
	fs       vfs.FS
	log      *slog.Logger
	identity Identity
	lock     io.Closer
	lockInfo fs.FileInfo
	index    kv
	files    *files
	queue    queue
	gate     sync.RWMutex // held for reading by every call, for writing by Close and mend
	mending  atomic.Bool  // calls are refused: the index is opened again
	closed   bool
	health   health
	compact  sync.Mutex // one compaction or scrub step at a time

	// Changed by the leader of the queue only, under mu; read under mu.
	mu       sync.Mutex
	segments map[uint64]*segment
	active   *segment     // that is being written; nil: the next write begins one
	last     uint64       // the highest segment number ever used
	bad      int64        // quarantined shards
	ends     []segmentEnd // of failed segments, to be recorded with the next group

	// The leader's own.
	writer     vfs.File    // of the active segment
	writerInfo fs.FileInfo // of writer, to tell whether it is still in place
	direct     direct
	writerPath string
	seenRoom   int64 // bytes of shards that may be stored, as of seenAt
	seenAt     time.Time
	unflushed  int64 // bytes written since the index was last flushed
	failures   int   // writes in a row that failed
	failedAt   time.Time

	lastCheck atomic.Int64 // Unix nanoseconds of the last identity check that passed
}

var (
	_ shard.Store    = (*Drive)(nil)
	_ shard.Scrubber = (*Drive)(nil)
)

// segment is what the drive knows of one segment file.
type segment struct {
	id   segmentID
	size int64 // bytes that are written and synced
	row
}

func (d *Drive) segmentPath(num uint64) string {
	return path.Join(d.cfg.Dir, segmentsDir, segmentName(num))
}

func segmentName(num uint64) string { return fmt.Sprintf("%016x.seg", num) }

// parseSegmentName reads the name of a segment file.
func parseSegmentName(name string) (uint64, bool) {
	var num uint64
	if len(name) != 20 {
		return 0, false
	}
	if _, err := fmt.Sscanf(name, "%016x.seg", &num); err != nil || name != segmentName(num) {
		return 0, false
	}
	return num, num != 0
}

// enter begins a call; leave must be called after it when err is nil.
func (d *Drive) enter(ctx context.Context) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	if d.mending.Load() {
		return fmt.Errorf("drive %s opens its index again: %w", d.cfg.Dir, hallig.ErrUnavailable)
	}
	d.gate.RLock()
	if d.closed {
		d.gate.RUnlock()
		return fmt.Errorf("drive %s is closed: %w", d.cfg.Dir, hallig.ErrUnavailable)
	}
	return nil
}

func (d *Drive) leave() { d.gate.RUnlock() }

// Put implements shard.Store.
func (d *Drive) Put(ctx context.Context, h shard.Header, body []byte) error {
	if err := h.Check(body); err != nil {
		return err
	}
	if err := d.enter(ctx); err != nil {
		return fmt.Errorf("put shard %s: %w", h.ID, err)
	}
	defer d.leave()
	head := headers.Get().(*[]byte)
	defer headers.Put(head)
	*head = appendRecordHeader((*head)[:0], kindShard, h, body)
	r := requests.Get().(*request)
	defer func() {
		*r = request{wake: r.wake}
		requests.Put(r)
	}()
	for {
		*r = request{kind: requestPut, header: h, head: *head, body: body, wake: r.wake}
		err := d.queue.do(ctx, r, d.commit)
		if !errors.Is(err, errStored) {
			if err != nil {
				err = fmt.Errorf("put shard %s: %w", h.ID, err)
			}
			return err
		}
		// The id is taken: by the same bytes, or not?
		switch same, err := d.holds(ctx, h.ID, body); {
		case errors.Is(err, hallig.ErrCorrupt), errors.Is(err, hallig.ErrNotFound):
			continue // it was quarantined, or deleted meanwhile: decide anew
		case err != nil:
			return fmt.Errorf("put shard %s: %w", h.ID, err)
		case !same:
			return fmt.Errorf("put shard %s: other bytes are stored: %w", h.ID, hallig.ErrExists)
		}
		return nil
	}
}

var headers = sync.Pool{New: func() any { return new([]byte) }}

// Delete implements shard.Store. It works on a full drive too, out of
// Config.MinFree.
func (d *Drive) Delete(ctx context.Context, ids ...shard.ID) error {
	if err := d.enter(ctx); err != nil {
		return fmt.Errorf("delete %d shards: %w", len(ids), err)
	}
	defer d.leave()
	for len(ids) > 0 {
		n := min(len(ids), maxDeletions)
		r := &request{kind: requestDelete, deletions: make([]deletion, 0, n)}
		now := d.cfg.now().Unix()
		for _, id := range ids[:n] {
			r.deletions = append(r.deletions, deletion{id: id, when: now})
		}
		if err := d.queue.do(ctx, r, d.commit); err != nil {
			return fmt.Errorf("delete %d shards: %w", n, err)
		}
		ids = ids[n:]
	}
	return nil
}

// Walk implements shard.Store. It reads the index in stretches, so that a slow
// fn holds nothing up; shards stored or deleted meanwhile may be seen or not.
func (d *Drive) Walk(ctx context.Context, after shard.ID, fn func(shard.Info) error) error {
	const stretch = 1024
	var infos []shard.Info
	enough := errors.New("enough")
	for {
		infos = infos[:0]
		if err := d.enter(ctx); err != nil {
			return fmt.Errorf("walk shards: %w", err)
		}
		seen := 0
		from := append(entryKey(keyShard, after), 0)
		err := d.health.readable(d)
		if err == nil {
			err = d.index.scan(from, []byte{keyShard + 1}, func(k, v []byte) error {
				id, err := shard.ParseID(k[1:])
				if err != nil {
					return errBadIndex
				}
				e, err := decodeEntry(v)
				if err != nil {
					return err
				}
				after = id
				if e.state == entryLive {
					infos = append(infos, shard.Info{ID: id, Session: e.session, Length: e.length, Sum: e.sum})
				}
				if seen++; seen >= stretch {
					return enough
				}
				return nil
			})
		}
		d.leave()
		if err != nil && err != enough {
			return fmt.Errorf("walk shards: %w", err)
		}
		for _, i := range infos {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := fn(i); err != nil {
				return err
			}
		}
		if err == nil {
			return nil
		}
	}
}

// Quarantined implements shard.Scrubber.
func (d *Drive) Quarantined(ctx context.Context) ([]shard.ID, error) {
	if err := d.enter(ctx); err != nil {
		return nil, fmt.Errorf("list quarantined shards: %w", err)
	}
	defer d.leave()
	if err := d.health.gone(); err != nil {
		return nil, fmt.Errorf("list quarantined shards: %w", err)
	}
	var ids []shard.ID
	err := d.index.scan([]byte{keyBad}, []byte{keyBad + 1}, func(k, _ []byte) error {
		id, err := shard.ParseID(k[1:])
		ids = append(ids, id)
		return err
	})
	return ids, err
}

// Status implements shard.Store.
func (d *Drive) Status() shard.Status {
	st := shard.Status{Drive: d.identity.Drive}
	d.health.describe(&st)
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.segments {
		st.Shards += s.shards
		st.Live += s.live
		st.Dead += max(0, s.size-segmentHeader-s.live)
	}
	st.Quarantined = d.bad
	return st
}

// Close finishes the segment being written and gives the drive back. Calls
// still running are waited for.
func (d *Drive) Close() error {
	d.gate.Lock()
	defer d.gate.Unlock()
	if d.closed {
		return nil
	}
	d.closed = true
	var err error
	if d.active != nil && d.health.writable() == nil {
		err = d.seal()
	}
	d.direct.close()
	d.files.closeAll()
	if d.index != nil {
		err = errors.Join(err, d.index.close())
	}
	err = errors.Join(err, d.lock.Close())
	if err != nil {
		return fmt.Errorf("close drive %s: %w", d.cfg.Dir, err)
	}
	return nil
}
