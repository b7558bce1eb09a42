package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sync"
	"syscall"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/shard"
	"github.com/hallig-cloud/hallig/vfs"
)

// health is what a drive can do at the moment.
type health struct {
	mu          sync.Mutex
	state       shard.State
	reason      string
	free, total int64
	badReads    int // read errors since the last read that worked
}

// manyBadReads in a row, on a drive that is still there, mean that it failed.
const manyBadReads = 32

func (h *health) set(state shard.State, reason string) (changed bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	changed = h.state != state
	h.state, h.reason = state, reason
	return changed
}

func (h *health) get() (shard.State, string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.state, h.reason
}

func (h *health) describe(st *shard.Status) {
	h.mu.Lock()
	defer h.mu.Unlock()
	st.State, st.Reason, st.Free, st.Total = h.state, h.reason, h.free, h.total
}

// gone returns an error if the drive neither reads nor writes.
func (h *health) gone() error {
	switch state, reason := h.get(); state {
	case shard.StateMissing, shard.StateForeign, shard.StateFailed:
		return fmt.Errorf("drive is %s: %s: %w", state, reason, hallig.ErrUnavailable)
	}
	return nil
}

// readable checks from time to time that the drive is still there.
func (h *health) readable(d *Drive) error {
	if err := h.gone(); err != nil {
		return err
	}
	now := d.cfg.now().UnixNano()
	if last := d.lastCheck.Load(); now-last < int64(d.cfg.CheckEvery) && now >= last {
		return nil
	}
	return d.Check()
}

// writable returns an error if the drive cannot be written to, whatever its space.
func (h *health) writable() error { return h.gone() }

// Check looks whether the directory is still this drive, and at its space. Run
// calls it every Config.CheckEvery. A drive that is not there, or not ours, is
// not touched again until it is back.
func (d *Drive) Check() error {
	state, _ := d.health.get()
	if state == shard.StateFailed {
		return d.health.gone()
	}
	id, err := ReadIdentity(d.fs, d.cfg.Dir)
	if err == nil {
		err = d.identity.matches(d.cfg.Dir, id)
	}
	if err == nil {
		err = d.sameLock()
	}
	if err != nil {
		d.lost(err)
		return d.health.gone()
	}
	d.lastCheck.Store(d.cfg.now().UnixNano())
	free, total, err := d.fs.Usage(d.cfg.Dir)
	if err == nil {
		d.health.mu.Lock()
		d.health.free, d.health.total = free, total
		d.health.mu.Unlock()
	}
	switch {
	case state == shard.StateMissing || state == shard.StateForeign:
		d.log.Info("drive is back", "drive", d.identity.Drive.String(), "dir", d.cfg.Dir)
		d.health.set(shard.StateOnline, "")
	case state == shard.StateFull && d.room(d.breath()) == nil:
		d.log.Info("drive has space again", "drive", d.identity.Drive.String(), "dir", d.cfg.Dir)
		d.health.set(shard.StateOnline, "")
	case state == shard.StateOnline:
		if err := d.room(0); err != nil {
			d.full(err)
		}
	}
	return nil
}

// sameLock checks that the directory's lock file is the one that we hold: a
// directory copied or made anew has the right identity, but not our files.
func (d *Drive) sameLock() error {
	name := path.Join(d.cfg.Dir, lockFile)
	fi, err := d.fs.Stat(name)
	if err != nil {
		return err
	}
	if d.lockInfo != nil && !vfs.SameFile(fi, d.lockInfo) {
		return fmt.Errorf("%s was replaced while hallig ran: %w", name, hallig.ErrForeign)
	}
	return nil
}

// lost notes that the drive is not where it was, or not ours.
func (d *Drive) lost(err error) {
	state := shard.StateMissing
	reason := fmt.Sprintf("its directory %s cannot be used (%v): mount the disk again, or replace the drive", d.cfg.Dir, err)
	if errors.Is(err, hallig.ErrForeign) || errors.Is(err, hallig.ErrCorrupt) || errors.Is(err, hallig.ErrUnsupported) {
		state, reason = shard.StateForeign, err.Error()
	}
	if d.health.set(state, reason) {
		d.log.Error("drive is gone", "drive", d.identity.Drive.String(), "dir", d.cfg.Dir, "state", string(state), "err", err)
	}
}

// failed notes that the drive cannot be used until it is opened again.
func (d *Drive) failed(err error) {
	if d.Check() != nil {
		return // it is not there at all: that says more
	}
	if d.health.set(shard.StateFailed, fmt.Sprintf("%v: restart hallig; if it comes back, replace the disk", err)) {
		d.log.Error("drive failed", "drive", d.identity.Drive.String(), "dir", d.cfg.Dir, "err", err)
	}
}

// room returns ErrFull if writing n bytes of shards would leave less than
// Config.MinFree.
func (d *Drive) room(n int64) error {
	free, total, err := d.fs.Usage(d.cfg.Dir)
	if err != nil {
		return nil // the write will tell
	}
	d.health.mu.Lock()
	d.health.free, d.health.total = free, total
	d.health.mu.Unlock()
	if least := d.minFree(total); free < n+least {
		return fmt.Errorf("%d bytes are free, of which %d are kept for deletions and compaction: delete objects, or add a drive: %w", free, least, hallig.ErrFull)
	}
	return nil
}

func (d *Drive) minFree(total int64) int64 {
	switch {
	case d.cfg.MinFree < 0:
		return 0
	case d.cfg.MinFree > 0:
		return d.cfg.MinFree
	}
	// A segment that is compacted must fit, whatever it holds.
	return min(max(total/100, min(total/8, max(96<<20, d.cfg.SegmentSize*5/4))), 1<<30)
}

// scarce reports whether the drive is full, or so nearly that what is dead is
// better given back now.
func (d *Drive) scarce() bool {
	if d.room(d.breath()) != nil {
		return true
	}
	state, _ := d.health.get()
	return state == shard.StateFull
}

// breath is how much more than nothing must be free for shards before a full
// drive takes them again, so that it does not change its mind every second.
func (d *Drive) breath() int64 {
	if d.cfg.MinFree != 0 {
		return 0
	}
	return min(d.cfg.SegmentSize, maxGroup)
}

func (d *Drive) full(err error) {
	if d.health.set(shard.StateFull, err.Error()) {
		d.log.Warn("drive is full", "drive", d.identity.Drive.String(), "dir", d.cfg.Dir, "err", err)
	}
}

// writeFailed turns an error of a write into what the caller gets, and into
// the drive's state.
func (d *Drive) writeFailed(err error) error {
	if cerr := d.Check(); cerr != nil {
		return cerr
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		err = fmt.Errorf("%w: %w", err, hallig.ErrFull)
		d.full(err)
		return err
	}
	reason := fmt.Sprintf("a write failed (%v): look at the system's log; if it comes back, replace the disk", err)
	if d.health.set(shard.StateReadOnly, reason) {
		d.log.Error("drive is read-only", "drive", d.identity.Drive.String(), "dir", d.cfg.Dir, "err", err)
	}
	return fmt.Errorf("%w: %w", err, hallig.ErrReadOnly)
}

// wrote notes that a group was written, which ends a read-only state.
func (d *Drive) wrote() {
	if state, _ := d.health.get(); state == shard.StateReadOnly {
		d.log.Info("drive takes writes again", "drive", d.identity.Drive.String(), "dir", d.cfg.Dir)
		d.health.set(shard.StateOnline, "")
	}
}

// readFailed turns an error of a read into what the caller gets: the record
// is bad, or the drive is.
func (d *Drive) readFailed(err error) error {
	if errors.Is(err, fs.ErrClosed) {
		return fmt.Errorf("%w: %w", err, hallig.ErrUnavailable)
	}
	if cerr := d.Check(); cerr != nil {
		return cerr
	}
	d.health.mu.Lock()
	d.health.badReads++
	many := d.health.badReads >= manyBadReads
	d.health.mu.Unlock()
	if many {
		d.failed(fmt.Errorf("%d reads in a row failed, the last with %w", manyBadReads, err))
		return d.health.gone()
	}
	return fmt.Errorf("%w: %w", err, hallig.ErrCorrupt)
}

func (d *Drive) readWorked() {
	d.health.mu.Lock()
	d.health.badReads = 0
	d.health.mu.Unlock()
}
