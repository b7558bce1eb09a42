package pebblefs

import (
	"errors"
	"io"
	"io/fs"
	"path"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/hallig-cloud/hallig/vfs"
)

// A Guard is a vfs.FS for databases whose engine panics when it cannot write
// (Pebble does, when a log cannot be rotated), so that a full, failed or
// vanished disk does not take the process with it.
//
// It passes everything to another FS until a change or a sync fails there. From
// then on the FS below is not changed any more: it stays as a crash at that
// moment would have left it, and can be opened again. All later changes go to
// memory, where the database reads them back, and succeed.
//
// So what a broken Guard acknowledges is not durable. Whoever uses one must ask
// Err after each write that has to be durable, before relying on it, and must
// close the database soon: the memory is bounded by what is still written.
type Guard struct {
	under vfs.FS

	mu   sync.RWMutex
	err  error
	hook func(error)
	mem  map[string]*memFile // files made or changed since, by name
	gone map[string]bool     // names removed since
	dirs map[string]bool     // directories made since
}

var _ vfs.FS = (*Guard)(nil)

// NewGuard returns a guard over under. onBreak, if not nil, is called once, in
// a goroutine of the database, with the error that broke it.
func NewGuard(under vfs.FS, onBreak func(error)) *Guard {
	return &Guard{under: under, hook: onBreak, mem: map[string]*memFile{}, gone: map[string]bool{}, dirs: map[string]bool{}}
}

// Err returns the error that broke the guard, or nil: everything so far that
// was synced is durable.
func (g *Guard) Err() error {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.err
}

// change does a change below. It reports whether that was done; if not, the
// guard is broken and the change is to be made in memory.
//
// Changes below hold the lock for reading, so that once the guard is broken
// none is under way.
func (g *Guard) change(do func() error) (done bool, err error) {
	g.mu.RLock()
	if g.err != nil {
		g.mu.RUnlock()
		return false, nil
	}
	err = do()
	g.mu.RUnlock()
	if err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) {
		return true, err
	}
	g.broken(err)
	return false, nil
}

// broken notes the first error.
func (g *Guard) broken(err error) {
	g.mu.Lock()
	first := g.err == nil
	if first {
		g.err = err
	}
	g.mu.Unlock()
	if first && g.hook != nil {
		g.hook(err)
	}
}

// Create implements vfs.FS. A missing directory breaks the guard: databases
// make files only where they made the directory.
func (g *Guard) Create(name string) (vfs.File, error) {
	name = path.Clean(name)
	var f vfs.File
	done, err := g.change(func() (err error) {
		f, err = g.under.Create(name)
		return hideMissing(err)
	})
	if done {
		if err != nil {
			return nil, err
		}
		return &guarded{g: g, under: f, name: name}, nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	m := &memFile{}
	g.mem[name] = m
	delete(g.gone, name)
	return &guarded{g: g, mem: m, name: name}, nil
}

// hideMissing makes an error break the guard even if it is fs.ErrNotExist.
func hideMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New(err.Error())
	}
	return err
}

// Open implements vfs.FS.
func (g *Guard) Open(name string) (vfs.File, error) { return g.open(name, g.under.Open) }

// OpenReadWrite implements vfs.FS.
func (g *Guard) OpenReadWrite(name string) (vfs.File, error) {
	return g.open(name, g.under.OpenReadWrite)
}

func (g *Guard) open(name string, open func(string) (vfs.File, error)) (vfs.File, error) {
	name = path.Clean(name)
	g.mu.RLock()
	defer g.mu.RUnlock()
	if m := g.mem[name]; m != nil {
		return &guarded{g: g, mem: m, name: name}, nil
	}
	if g.gone[name] {
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.ENOENT}
	}
	f, err := open(name)
	if err != nil {
		return nil, err
	}
	return &guarded{g: g, under: f, name: name}, nil
}

// Remove implements vfs.FS.
func (g *Guard) Remove(name string) error {
	name = path.Clean(name)
	if done, err := g.change(func() error { return g.under.Remove(name) }); done {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.mem, name)
	g.gone[name] = true
	return nil
}

// Rename implements vfs.FS.
func (g *Guard) Rename(oldname, newname string) error {
	oldname, newname = path.Clean(oldname), path.Clean(newname)
	if done, err := g.change(func() error { return g.under.Rename(oldname, newname) }); done {
		return err
	}
	if err := g.Link(oldname, newname); err != nil {
		return err
	}
	return g.Remove(oldname)
}

// Link implements vfs.FS. In memory it is a copy.
func (g *Guard) Link(oldname, newname string) error {
	oldname, newname = path.Clean(oldname), path.Clean(newname)
	if done, err := g.change(func() error { return g.under.Link(oldname, newname) }); done {
		return err
	}
	f, err := g.Open(oldname)
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mem[newname] = &memFile{data: data}
	delete(g.gone, newname)
	return nil
}

// Mkdir implements vfs.FS.
func (g *Guard) Mkdir(dir string) error {
	dir = path.Clean(dir)
	if done, err := g.change(func() error { return g.under.Mkdir(dir) }); done {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.dirs[dir] = true
	return nil
}

// List implements vfs.FS. A broken guard lists what it knows, if need be
// without what is below.
func (g *Guard) List(dir string) ([]string, error) {
	dir = path.Clean(dir)
	names, err := g.under.List(dir)
	g.mu.RLock()
	defer g.mu.RUnlock()
	if g.err == nil {
		return names, err
	}
	names = slices.DeleteFunc(names, func(n string) bool { return g.gone[path.Join(dir, n)] })
	for name := range g.mem {
		if path.Dir(name) == dir && !slices.Contains(names, path.Base(name)) {
			names = append(names, path.Base(name))
		}
	}
	slices.Sort(names)
	return names, nil
}

// Stat implements vfs.FS.
func (g *Guard) Stat(name string) (fs.FileInfo, error) {
	name = path.Clean(name)
	g.mu.RLock()
	defer g.mu.RUnlock()
	switch {
	case g.mem[name] != nil:
		return g.mem[name].info(name), nil
	case g.gone[name]:
		return nil, &fs.PathError{Op: "stat", Path: name, Err: syscall.ENOENT}
	}
	fi, err := g.under.Stat(name)
	if err != nil && g.dirs[name] {
		return memInfo{name: path.Base(name), dir: true}, nil
	}
	return fi, err
}

// SyncDir implements vfs.FS.
func (g *Guard) SyncDir(dir string) error {
	_, _ = g.change(func() error { return hideMissing(g.under.SyncDir(dir)) })
	return nil
}

// Lock implements vfs.FS.
func (g *Guard) Lock(name string) (io.Closer, error) { return g.under.Lock(name) }

// Usage implements vfs.FS.
func (g *Guard) Usage(dir string) (free, total int64, err error) { return g.under.Usage(dir) }

// guarded is an open file: one below, until a change to it has to go to memory.
type guarded struct {
	g     *Guard
	under vfs.File
	name  string

	mu         sync.Mutex
	mem        *memFile
	rpos, wpos int64
}

// inMemory returns the file's stand-in, which is a copy of what is below.
func (f *guarded) inMemory() (*memFile, error) {
	if f.mem != nil {
		return f.mem, nil
	}
	f.g.mu.Lock()
	defer f.g.mu.Unlock()
	if m := f.g.mem[f.name]; m != nil {
		f.mem = m
		return m, nil
	}
	m := &memFile{}
	if fi, err := f.under.Stat(); err == nil {
		m.data = make([]byte, fi.Size())
		n, _ := f.under.ReadAt(m.data, 0) // what cannot be read is not worse than lost
		m.data = m.data[:n]
	}
	f.mem = m
	if !f.g.gone[f.name] {
		f.g.mem[f.name] = m
	}
	return m, nil
}

func (f *guarded) current() *memFile {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mem
}

func (f *guarded) ReadAt(p []byte, off int64) (int, error) {
	if m := f.current(); m != nil {
		return m.readAt(p, off)
	}
	return f.under.ReadAt(p, off)
}

func (f *guarded) Read(p []byte) (int, error) {
	f.mu.Lock()
	off := f.rpos
	f.mu.Unlock()
	n, err := f.ReadAt(p, off)
	f.mu.Lock()
	f.rpos += int64(n)
	f.mu.Unlock()
	if n > 0 && errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

func (f *guarded) WriteAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mem == nil {
		done, err := f.g.change(func() error {
			_, err := f.under.WriteAt(p, off)
			return hideMissing(err)
		})
		if done {
			return len(p), err
		}
	}
	m, err := f.inMemory()
	if err != nil {
		return 0, err
	}
	m.writeAt(p, off)
	return len(p), nil
}

func (f *guarded) Write(p []byte) (int, error) {
	f.mu.Lock()
	off := f.wpos
	f.wpos += int64(len(p))
	f.mu.Unlock()
	return f.WriteAt(p, off)
}

func (f *guarded) Sync() error     { return f.sync(vfs.File.Sync) }
func (f *guarded) Datasync() error { return f.sync(vfs.File.Datasync) }

func (f *guarded) sync(sync func(vfs.File) error) error {
	if f.current() == nil {
		_, _ = f.g.change(func() error { return hideMissing(sync(f.under)) })
	}
	return nil
}

func (f *guarded) Truncate(size int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mem == nil {
		if done, err := f.g.change(func() error { return f.under.Truncate(size) }); done {
			return err
		}
	}
	m, err := f.inMemory()
	if err == nil {
		m.truncate(size)
	}
	return err
}

func (f *guarded) Stat() (fs.FileInfo, error) {
	if m := f.current(); m != nil {
		return m.info(f.name), nil
	}
	return f.under.Stat()
}

func (f *guarded) Close() error {
	if f.under == nil {
		return nil
	}
	if err := f.under.Close(); err != nil && f.g.Err() == nil {
		f.g.broken(err)
	}
	return nil
}

// memFile is a file of a broken guard.
type memFile struct {
	mu   sync.RWMutex
	data []byte
}

func (m *memFile) readAt(p []byte, off int64) (int, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if off >= int64(len(m.data)) {
		return 0, io.EOF
	}
	n := copy(p, m.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (m *memFile) writeAt(p []byte, off int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if end := off + int64(len(p)); end > int64(len(m.data)) {
		m.data = append(m.data, make([]byte, end-int64(len(m.data)))...)
	}
	copy(m.data[off:], p)
}

func (m *memFile) truncate(size int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if size <= int64(len(m.data)) {
		m.data = m.data[:size]
		return
	}
	m.data = append(m.data, make([]byte, size-int64(len(m.data)))...)
}

func (m *memFile) info(name string) fs.FileInfo {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return memInfo{name: path.Base(name), size: int64(len(m.data))}
}

type memInfo struct {
	name string
	size int64
	dir  bool
}

func (i memInfo) Name() string       { return i.name }
func (i memInfo) Size() int64        { return i.size }
func (i memInfo) ModTime() time.Time { return time.Time{} }
func (i memInfo) IsDir() bool        { return i.dir }
func (i memInfo) Sys() any           { return nil }
func (i memInfo) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o700
	}
	return 0o600
}
