package vfstest

import (
	"io"
	"io/fs"
	"strings"
	"sync"

	"github.com/hallig-cloud/hallig/vfs"
)

// An Op is a kind of call on a file system. Ops can be or-ed in a Fault.
type Op uint32

// The kinds of calls.
const (
	OpCreate Op = 1 << iota
	OpOpen
	OpRead // Read and ReadAt
	OpWrite
	OpSync // Sync and Datasync
	OpSyncDir
	OpRemove
	OpRename
	OpLink
	OpMkdir
	OpTruncate
	OpStat // Stat by name
	OpList
	OpLock
	OpUsage

	OpAny     = OpUsage<<1 - 1
	OpChanges = OpCreate | OpWrite | OpSync | OpSyncDir | OpRemove | OpRename | OpLink | OpMkdir | OpTruncate
)

// A Fault says what goes wrong, and when.
type Fault struct {
	Op    Op     // which kinds of calls
	Path  string // only names that contain this
	After int    // let this many matching calls pass first
	Times int    // then strike this often; 0: for good

	// What happens: the first that is set.
	Err  error  // the call fails with this error, in an *fs.PathError, and does nothing
	Lie  bool   // a write, truncation or sync returns success and does nothing
	Flip bool   // a read returns one wrong bit, in its middle byte
	Do   func() // called in place of a fault, before the call goes through; may change the faults

	Short int // with Err on a write: this many bytes are written before the failure
}

// Faults is a vfs.FS that passes everything to another and fails on demand. It
// is safe for concurrent use.
type Faults struct {
	under vfs.FS

	mu     sync.Mutex
	faults []*armed
	calls  map[Op]int
}

type armed struct {
	Fault
	seen, struck int
}

var _ vfs.FS = (*Faults)(nil)

// NewFaults returns a file system over under, without faults yet.
func NewFaults(under vfs.FS) *Faults { return &Faults{under: under, calls: map[Op]int{}} }

// Inject arms a fault and returns a function that disarms it. Of several that
// match a call, the one armed first strikes.
func (f *Faults) Inject(fault Fault) (disarm func()) {
	a := &armed{Fault: fault}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = append(f.faults, a)
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		for i, x := range f.faults {
			if x == a {
				f.faults = append(f.faults[:i:i], f.faults[i+1:]...)
				return
			}
		}
	}
}

// Clear disarms all faults.
func (f *Faults) Clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = nil
}

// Calls returns how many calls of the given kinds were made so far.
func (f *Faults) Calls(ops Op) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for op, c := range f.calls {
		if op&ops != 0 {
			n += c
		}
	}
	return n
}

// strike counts a call and returns the fault that hits it, if one does.
func (f *Faults) strike(op Op, name string) *Fault {
	f.mu.Lock()
	f.calls[op]++
	var hit *Fault
	for _, a := range f.faults {
		if a.Op&op == 0 || !strings.Contains(name, a.Path) {
			continue
		}
		a.seen++
		if a.seen <= a.After || a.Times > 0 && a.struck >= a.Times {
			continue
		}
		a.struck++
		hit = &a.Fault
		break
	}
	f.mu.Unlock()
	if hit != nil && hit.Err == nil && hit.Do != nil {
		hit.Do()
		return nil
	}
	return hit
}

// fails returns the error of a fault for calls that have no other kind.
func (f *Faults) fails(op Op, what, name string) error {
	if h := f.strike(op, name); h != nil && h.Err != nil {
		return &fs.PathError{Op: what, Path: name, Err: h.Err}
	}
	return nil
}

func (f *Faults) wrap(file vfs.File, name string, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &faultyFile{File: file, f: f, name: name}, nil
}

// Create implements vfs.FS.
func (f *Faults) Create(name string) (vfs.File, error) {
	if err := f.fails(OpCreate, "create", name); err != nil {
		return nil, err
	}
	file, err := f.under.Create(name)
	return f.wrap(file, name, err)
}

// Open implements vfs.FS.
func (f *Faults) Open(name string) (vfs.File, error) {
	if err := f.fails(OpOpen, "open", name); err != nil {
		return nil, err
	}
	file, err := f.under.Open(name)
	return f.wrap(file, name, err)
}

// OpenReadWrite implements vfs.FS.
func (f *Faults) OpenReadWrite(name string) (vfs.File, error) {
	if err := f.fails(OpOpen, "open", name); err != nil {
		return nil, err
	}
	file, err := f.under.OpenReadWrite(name)
	return f.wrap(file, name, err)
}

// Remove implements vfs.FS.
func (f *Faults) Remove(name string) error {
	if err := f.fails(OpRemove, "remove", name); err != nil {
		return err
	}
	return f.under.Remove(name)
}

// Rename implements vfs.FS.
func (f *Faults) Rename(oldname, newname string) error {
	if err := f.fails(OpRename, "rename", newname); err != nil {
		return err
	}
	return f.under.Rename(oldname, newname)
}

// Link implements vfs.FS.
func (f *Faults) Link(oldname, newname string) error {
	if err := f.fails(OpLink, "link", newname); err != nil {
		return err
	}
	return f.under.Link(oldname, newname)
}

// Mkdir implements vfs.FS.
func (f *Faults) Mkdir(dir string) error {
	if err := f.fails(OpMkdir, "mkdir", dir); err != nil {
		return err
	}
	return f.under.Mkdir(dir)
}

// List implements vfs.FS.
func (f *Faults) List(dir string) ([]string, error) {
	if err := f.fails(OpList, "list", dir); err != nil {
		return nil, err
	}
	return f.under.List(dir)
}

// Stat implements vfs.FS.
func (f *Faults) Stat(name string) (fs.FileInfo, error) {
	if err := f.fails(OpStat, "stat", name); err != nil {
		return nil, err
	}
	return f.under.Stat(name)
}

// SyncDir implements vfs.FS.
func (f *Faults) SyncDir(dir string) error {
	if h := f.strike(OpSyncDir, dir); h != nil {
		if h.Err != nil {
			return &fs.PathError{Op: "sync", Path: dir, Err: h.Err}
		}
		if h.Lie {
			return nil
		}
	}
	return f.under.SyncDir(dir)
}

// Lock implements vfs.FS.
func (f *Faults) Lock(name string) (io.Closer, error) {
	if err := f.fails(OpLock, "lock", name); err != nil {
		return nil, err
	}
	return f.under.Lock(name)
}

// Usage implements vfs.FS.
func (f *Faults) Usage(dir string) (free, total int64, err error) {
	if err := f.fails(OpUsage, "usage", dir); err != nil {
		return 0, 0, err
	}
	return f.under.Usage(dir)
}

type faultyFile struct {
	vfs.File
	f    *Faults
	name string
}

func (f *faultyFile) read(p []byte, read func([]byte) (int, error)) (int, error) {
	h := f.f.strike(OpRead, f.name)
	if h != nil && h.Err != nil {
		return 0, &fs.PathError{Op: "read", Path: f.name, Err: h.Err}
	}
	n, err := read(p)
	if h != nil && h.Flip && n > 0 {
		p[n/2] ^= 0x10
	}
	return n, err
}

func (f *faultyFile) ReadAt(p []byte, off int64) (int, error) {
	return f.read(p, func(p []byte) (int, error) { return f.File.ReadAt(p, off) })
}

func (f *faultyFile) Read(p []byte) (int, error) { return f.read(p, f.File.Read) }

func (f *faultyFile) write(p []byte, write func([]byte) (int, error)) (int, error) {
	h := f.f.strike(OpWrite, f.name)
	switch {
	case h != nil && h.Err != nil:
		n := 0
		if h.Short > 0 {
			n, _ = write(p[:min(h.Short, len(p))])
		}
		return n, &fs.PathError{Op: "write", Path: f.name, Err: h.Err}
	case h != nil && h.Lie:
		return len(p), nil
	}
	return write(p)
}

func (f *faultyFile) WriteAt(p []byte, off int64) (int, error) {
	return f.write(p, func(p []byte) (int, error) { return f.File.WriteAt(p, off) })
}

func (f *faultyFile) Write(p []byte) (int, error) { return f.write(p, f.File.Write) }

func (f *faultyFile) sync(op Op, what string, call func() error) error {
	if h := f.f.strike(op, f.name); h != nil {
		if h.Err != nil {
			return &fs.PathError{Op: what, Path: f.name, Err: h.Err}
		}
		if h.Lie {
			return nil
		}
	}
	return call()
}

func (f *faultyFile) Sync() error     { return f.sync(OpSync, "fsync", f.File.Sync) }
func (f *faultyFile) Datasync() error { return f.sync(OpSync, "fdatasync", f.File.Datasync) }
func (f *faultyFile) Truncate(size int64) error {
	return f.sync(OpTruncate, "truncate", func() error { return f.File.Truncate(size) })
}
