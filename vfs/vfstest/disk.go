// Package vfstest holds the file systems that tests put under Hallig: a model
// of a disk that can lose power (Disk), and a fault injector (Faults).
//
// # Power cuts
//
// A Disk keeps, for every file and directory, what has been made durable and
// what has happened since. Sync and Datasync make a file's bytes and size
// durable, SyncDir a directory's entries; nothing else does: not Close, not
// Rename, and syncing a file does not make its name durable.
//
// A crash state is what a disk may hold after power was cut: of everything
// that was not durable, any part may have arrived. Data arrives in sectors of
// 512 bytes, each whole or not at all and in any order; a file's size may have
// grown with or without the bytes; directory changes (a rename is one change)
// arrive in order, or with CrashConfig.UnorderedDirs in any order. States are chosen by a seed and can be replayed.
//
// Two ways to use it. To test one moment of a live system:
//
//	d := vfstest.NewDisk(vfstest.DiskConfig{})
//	... run over d ...
//	after := d.Crash(seed) // a new Disk; d goes on unharmed, or call d.PowerOff
//	... recover over after, compare ...
//
// To test every moment of a scripted run, record it and enumerate:
//
//	d := vfstest.NewDisk(vfstest.DiskConfig{Record: true})
//	... run the script; note d.Ops() at each acknowledgement ...
//	n, err := d.EachCrash(vfstest.CrashConfig{Seed: 1, Variants: 8}, func(c vfstest.Crash) error {
//		// c.Disk is a state of the disk after c.Ops operations: everything
//		// acknowledged when d.Ops() was <= c.Ops must be there.
//	})
//
// The negative control is DiskConfig.NoSync: every kind of sync then returns
// success and does nothing, and the same test must fail.
package vfstest

import (
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hallig-cloud/hallig/vfs"
)

// SectorSize is the unit, in bytes, that a disk writes whole or not at all.
const SectorSize = 512

// DiskConfig configures NewDisk.
type DiskConfig struct {
	Record   bool  // keep a journal of all operations, for EachCrash
	NoSync   bool  // syncs succeed and do nothing: the negative control
	Capacity int64 // bytes of file contents; writes beyond it fail with ENOSPC; 0: no limit
}

// A Disk is an in-memory vfs.FS with a volatile cache; see the package comment.
// It is safe for concurrent use. Relative names are relative to the root.
type Disk struct {
	mu      sync.Mutex
	cfg     DiskConfig
	st      *state
	used    int64
	off     bool
	locks   map[*inode]bool
	fail    string // see FailSync
	ops     int
	journal []op
}

var _ vfs.FS = (*Disk)(nil)

// NewDisk returns an empty disk.
func NewDisk(cfg DiskConfig) *Disk {
	return &Disk{cfg: cfg, st: newState(true), locks: map[*inode]bool{}}
}

// Ops returns the number of operations so far that changed the disk or synced it.
func (d *Disk) Ops() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ops
}

// PowerOff makes every further operation on d fail with EIO, so that
// what still runs over it can do no more.
func (d *Disk) PowerOff() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.off = true
}

// FailSync makes the next Sync or Datasync of a file whose name contains match
// fail with EIO, as Linux does it: what was not durable is still read back, but
// will never be, not even by a later sync that succeeds.
func (d *Disk) FailSync(match string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail = match
}

// SetCapacity changes DiskConfig.Capacity.
func (d *Disk) SetCapacity(n int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cfg.Capacity = n
}

// Corrupt flips the bits of mask in the byte at off of a file, durably: decay.
func (d *Disk) Corrupt(name string, off int64, mask byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	ino, err := d.find("corrupt", name)
	if err != nil {
		return err
	}
	if off < 0 || off >= int64(len(ino.cur)) {
		return pathErr("corrupt", name, syscall.EINVAL)
	}
	ino.own()
	ino.cur[off] ^= mask
	if off < int64(len(ino.durable)) {
		ino.durable = slices.Clone(ino.durable)
		ino.durOwned = true
		ino.durable[off] ^= mask
	}
	return nil
}

func pathErr(what, name string, err error) error {
	return &fs.PathError{Op: what, Path: name, Err: err}
}

// do applies an operation to the state and the journal. d.mu is held.
func (d *Disk) do(o op) {
	d.ops++
	if d.cfg.NoSync && (o.kind == opSync || o.kind == opSyncDir) {
		o = op{kind: opNothing}
	}
	d.st.apply(o)
	if d.cfg.Record {
		d.journal = append(d.journal, o)
	}
}

func (d *Disk) find(what, name string) (*inode, error) {
	if d.off {
		return nil, pathErr(what, name, syscall.EIO)
	}
	ino, err := d.st.lookup(name)
	if err != nil {
		return nil, pathErr(what, name, err)
	}
	return ino, nil
}

// parent finds the directory of name.
func (d *Disk) parent(what, name string) (*inode, string, error) {
	dir, base := path.Split(path.Clean("/" + name))
	ino, err := d.find(what, dir)
	if err == nil && !ino.dir {
		err = pathErr(what, name, syscall.ENOTDIR)
	}
	return ino, base, err
}

// Create implements vfs.FS.
func (d *Disk) Create(name string) (vfs.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.create(name)
}

func (d *Disk) create(name string) (*handle, error) {
	dir, base, err := d.parent("create", name)
	if err != nil {
		return nil, err
	}
	ino := dir.entries[base]
	switch {
	case ino == nil:
		d.st.next++
		d.do(op{kind: opCreate, ino: dir.id, name: base, arg: d.st.next})
		ino = dir.entries[base]
	case ino.dir:
		return nil, pathErr("create", name, syscall.EISDIR)
	case len(ino.cur) > 0:
		d.used -= int64(len(ino.cur))
		d.do(op{kind: opTruncate, ino: ino.id, off: 0})
	}
	return &handle{d: d, ino: ino, name: name, rw: true}, nil
}

// Open implements vfs.FS.
func (d *Disk) Open(name string) (vfs.File, error) { return d.open(name, false) }

// OpenReadWrite implements vfs.FS.
func (d *Disk) OpenReadWrite(name string) (vfs.File, error) { return d.open(name, true) }

func (d *Disk) open(name string, rw bool) (vfs.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	ino, err := d.find("open", name)
	if err != nil {
		return nil, err
	}
	if ino.dir && rw {
		return nil, pathErr("open", name, syscall.EISDIR)
	}
	return &handle{d: d, ino: ino, name: name, rw: rw}, nil
}

// Remove implements vfs.FS.
func (d *Disk) Remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	dir, base, err := d.parent("remove", name)
	if err != nil {
		return err
	}
	ino := dir.entries[base]
	if ino == nil {
		return pathErr("remove", name, syscall.ENOENT)
	}
	if len(ino.entries) > 0 {
		return pathErr("remove", name, syscall.ENOTEMPTY)
	}
	d.do(op{kind: opRemove, ino: dir.id, name: base})
	d.released(ino)
	return nil
}

// released gives back an inode's bytes when its last name is gone.
func (d *Disk) released(ino *inode) {
	if ino != nil && ino.links == 0 {
		d.used -= int64(len(ino.cur))
	}
}

// Rename implements vfs.FS.
func (d *Disk) Rename(oldname, newname string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	from, oldbase, err := d.parent("rename", oldname)
	if err != nil {
		return err
	}
	to, newbase, err := d.parent("rename", newname)
	if err != nil {
		return err
	}
	ino, old := from.entries[oldbase], to.entries[newbase]
	switch {
	case ino == nil:
		return pathErr("rename", oldname, syscall.ENOENT)
	case ino == old:
		return nil
	case old != nil && old.dir && (!ino.dir || len(old.entries) > 0):
		return pathErr("rename", newname, syscall.EEXIST)
	case old != nil && !old.dir && ino.dir:
		return pathErr("rename", newname, syscall.ENOTDIR)
	}
	d.do(op{kind: opRename, ino: from.id, name: oldbase, ino2: to.id, name2: newbase})
	d.released(old)
	return nil
}

// Link implements vfs.FS.
func (d *Disk) Link(oldname, newname string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	ino, err := d.find("link", oldname)
	if err != nil {
		return err
	}
	to, base, err := d.parent("link", newname)
	if err != nil {
		return err
	}
	if to.entries[base] != nil {
		return pathErr("link", newname, syscall.EEXIST)
	}
	if ino.dir {
		return pathErr("link", newname, syscall.EPERM)
	}
	d.do(op{kind: opLink, ino: to.id, name: base, arg: ino.id})
	return nil
}

// Mkdir implements vfs.FS.
func (d *Disk) Mkdir(dir string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.off {
		return pathErr("mkdir", dir, syscall.EIO)
	}
	at, base, err := d.parent("mkdir", dir)
	if err != nil {
		return err
	}
	if next := at.entries[base]; next != nil {
		if !next.dir {
			return pathErr("mkdir", dir, syscall.EEXIST)
		}
		return nil
	}
	d.st.next++
	d.do(op{kind: opMkdir, ino: at.id, name: base, arg: d.st.next})
	return nil
}

// List implements vfs.FS.
func (d *Disk) List(dir string) ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	ino, err := d.find("list", dir)
	if err != nil {
		return nil, err
	}
	if !ino.dir {
		return nil, pathErr("list", dir, syscall.ENOTDIR)
	}
	names := make([]string, 0, len(ino.entries))
	for n := range ino.entries {
		names = append(names, n)
	}
	slices.Sort(names)
	return names, nil
}

// Stat implements vfs.FS. The FileInfo is a vfs.FileIdentity.
func (d *Disk) Stat(name string) (fs.FileInfo, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	ino, err := d.find("stat", name)
	if err != nil {
		return nil, err
	}
	return ino.info(name), nil
}

// SyncDir implements vfs.FS.
func (d *Disk) SyncDir(dir string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	ino, err := d.find("sync", dir)
	if err != nil {
		return err
	}
	if !ino.dir {
		return pathErr("sync", dir, syscall.ENOTDIR)
	}
	d.do(op{kind: opSyncDir, ino: ino.id})
	return nil
}

// Lock implements vfs.FS. A crash releases all locks.
func (d *Disk) Lock(name string) (io.Closer, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	ino, err := d.find("lock", name)
	if err != nil {
		h, err := d.create(name)
		if err != nil {
			return nil, err
		}
		ino = h.ino
	}
	if d.locks[ino] {
		return nil, pathErr("lock", name, syscall.EWOULDBLOCK)
	}
	d.locks[ino] = true
	return unlocker{d, ino}, nil
}

type unlocker struct {
	d   *Disk
	ino *inode
}

func (u unlocker) Close() error {
	u.d.mu.Lock()
	defer u.d.mu.Unlock()
	delete(u.d.locks, u.ino)
	return nil
}

// Usage implements vfs.FS. Without a capacity it reports a terabyte.
func (d *Disk) Usage(dir string) (free, total int64, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, err := d.find("usage", dir); err != nil {
		return 0, 0, err
	}
	total = d.cfg.Capacity
	if total == 0 {
		total = 1 << 40
	}
	return max(0, total-d.used), total, nil
}

type handle struct {
	d          *Disk
	ino        *inode
	name       string
	rpos, wpos int64
	rw, closed bool
}

func (h *handle) check(what string, write bool) error {
	switch {
	case h.closed:
		return pathErr(what, h.name, fs.ErrClosed)
	case h.d.off:
		return pathErr(what, h.name, syscall.EIO)
	case h.ino.dir:
		return pathErr(what, h.name, syscall.EISDIR)
	case write && !h.rw:
		return pathErr(what, h.name, syscall.EBADF)
	}
	return nil
}

func (h *handle) ReadAt(p []byte, off int64) (int, error) {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	return h.readAt(p, off)
}

func (h *handle) readAt(p []byte, off int64) (int, error) {
	if err := h.check("read", false); err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, pathErr("read", h.name, syscall.EINVAL)
	}
	if off >= int64(len(h.ino.cur)) {
		if len(p) == 0 {
			return 0, nil
		}
		return 0, io.EOF
	}
	n := copy(p, h.ino.cur[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (h *handle) Read(p []byte) (int, error) {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	n, err := h.readAt(p, h.rpos)
	h.rpos += int64(n)
	if n > 0 && err == io.EOF {
		err = nil
	}
	return n, err
}

func (h *handle) WriteAt(p []byte, off int64) (int, error) {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	return h.writeAt(p, off)
}

func (h *handle) writeAt(p []byte, off int64) (int, error) {
	if err := h.check("write", true); err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, pathErr("write", h.name, syscall.EINVAL)
	}
	if len(p) == 0 {
		return 0, nil
	}
	var full error
	grow := max(0, off+int64(len(p))-int64(len(h.ino.cur)))
	if c := h.d.cfg.Capacity; c > 0 && h.d.used+grow > c && grow > 0 {
		full = pathErr("write", h.name, syscall.ENOSPC)
		fits := int64(len(p)) - (h.d.used + grow - c)
		if fits <= 0 {
			return 0, full
		}
		p = p[:fits]
		grow = max(0, off+fits-int64(len(h.ino.cur)))
	}
	if h.ino.links > 0 {
		h.d.used += grow
	}
	h.d.do(op{kind: opWrite, ino: h.ino.id, off: off, data: slices.Clone(p)})
	return len(p), full
}

func (h *handle) Write(p []byte) (int, error) {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	n, err := h.writeAt(p, h.wpos)
	h.wpos += int64(n)
	return n, err
}

func (h *handle) Close() error {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	if h.closed {
		return pathErr("close", h.name, fs.ErrClosed)
	}
	h.closed = true
	return nil
}

func (h *handle) Stat() (fs.FileInfo, error) {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	if h.closed {
		return nil, pathErr("stat", h.name, fs.ErrClosed)
	}
	return h.ino.info(h.name), nil
}

func (h *handle) Sync() error {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	if err := h.check("sync", false); err != nil {
		return err
	}
	if h.d.fail != "" && strings.Contains(h.name, h.d.fail) {
		h.d.fail = ""
		h.d.do(op{kind: opLoseSync, ino: h.ino.id})
		return pathErr("sync", h.name, syscall.EIO)
	}
	h.d.do(op{kind: opSync, ino: h.ino.id})
	return nil
}

func (h *handle) Datasync() error { return h.Sync() }

func (h *handle) Truncate(size int64) error {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	if err := h.check("truncate", true); err != nil {
		return err
	}
	if size < 0 {
		return pathErr("truncate", h.name, syscall.EINVAL)
	}
	if h.ino.links > 0 {
		h.d.used += size - int64(len(h.ino.cur))
	}
	h.d.do(op{kind: opTruncate, ino: h.ino.id, off: size})
	return nil
}

type info struct {
	name string
	size int64
	dir  bool
	id   uint64
}

func (ino *inode) info(name string) info {
	return info{path.Base(name), int64(len(ino.cur)), ino.dir, ino.id}
}

func (i info) Name() string { return i.name }
func (i info) Size() int64  { return i.size }
func (i info) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o700
	}
	return 0o600
}
func (i info) ModTime() time.Time { return time.Time{} }
func (i info) IsDir() bool        { return i.dir }
func (i info) Sys() any           { return nil }
func (i info) FileID() uint64     { return i.id }
