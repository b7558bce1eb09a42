// Package pebblefs lets Pebble databases run over the vfs seam, so that the
// faults and power cuts of vfs/vfstest reach every byte that Pebble writes.
package pebblefs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"syscall"

	pebblevfs "github.com/cockroachdb/pebble/v2/vfs"

	"github.com/hallig-cloud/hallig/vfs"
)

// New returns fsys as the file system of a Pebble database (Options.FS). Set
// Options.FS to it and open the database by its slash-separated directory.
//
// Preallocation, prefetching and asynchronous write-back are not passed on.
func New(fsys vfs.FS) pebblevfs.FS { return adapter{fsys} }

type adapter struct{ fs vfs.FS }

// Create makes a new file. Pebble wants a new inode, never the truncation of
// one that a hard link may share.
func (a adapter) Create(name string, _ pebblevfs.DiskWriteCategory) (pebblevfs.File, error) {
	if err := a.fs.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return wrap(a.fs.Create(name))
}

func (a adapter) Link(oldname, newname string) error { return a.fs.Link(oldname, newname) }

func (a adapter) Open(name string, opts ...pebblevfs.OpenOption) (pebblevfs.File, error) {
	f, err := wrap(a.fs.Open(name))
	if err != nil {
		return nil, err
	}
	for _, o := range opts {
		o.Apply(f)
	}
	return f, nil
}

func (a adapter) OpenReadWrite(name string, _ pebblevfs.DiskWriteCategory, opts ...pebblevfs.OpenOption) (pebblevfs.File, error) {
	f, err := a.fs.OpenReadWrite(name)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = a.fs.Create(name)
	}
	if err != nil {
		return nil, err
	}
	w := file{f}
	for _, o := range opts {
		o.Apply(w)
	}
	return w, nil
}

func (a adapter) OpenDir(name string) (pebblevfs.File, error) {
	fi, err := a.fs.Stat(name)
	if err != nil {
		return nil, err
	}
	if !fi.IsDir() {
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.ENOTDIR}
	}
	return &dir{fs: a.fs, name: name}, nil
}

func (a adapter) Remove(name string) error { return a.fs.Remove(name) }

func (a adapter) RemoveAll(name string) error {
	fi, err := a.fs.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var first error
	if fi.IsDir() {
		names, err := a.fs.List(name)
		first = err
		for _, n := range names {
			if err := a.RemoveAll(path.Join(name, n)); err != nil && first == nil {
				first = err
			}
		}
	}
	if err := a.fs.Remove(name); err != nil && first == nil && !errors.Is(err, fs.ErrNotExist) {
		first = err
	}
	return first
}

func (a adapter) Rename(oldname, newname string) error { return a.fs.Rename(oldname, newname) }

// ReuseForWrite does not reuse: bytes of an older log are never where a new
// one may be torn. That the old log is missing is no error: Pebble would end
// the process (Fatalf), and whether the directory is still there, Create finds
// out.
func (a adapter) ReuseForWrite(oldname, newname string, c pebblevfs.DiskWriteCategory) (pebblevfs.File, error) {
	if err := a.fs.Remove(oldname); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return a.Create(newname, c)
}

// MkdirAll makes one directory: its parents are there, or are not to be made.
func (a adapter) MkdirAll(dir string, _ os.FileMode) error { return a.fs.Mkdir(dir) }

func (a adapter) Lock(name string) (io.Closer, error) { return a.fs.Lock(name) }

func (a adapter) List(dir string) ([]string, error) { return a.fs.List(dir) }

func (a adapter) Stat(name string) (pebblevfs.FileInfo, error) { return describe(a.fs.Stat(name)) }

func (adapter) PathBase(p string) string { return path.Base(p) }

func (adapter) PathJoin(elem ...string) string { return path.Join(elem...) }

func (adapter) PathDir(p string) string { return path.Dir(p) }

func (a adapter) GetDiskUsage(p string) (pebblevfs.DiskUsage, error) {
	free, total, err := a.fs.Usage(p)
	if err != nil {
		return pebblevfs.DiskUsage{}, err
	}
	return pebblevfs.DiskUsage{AvailBytes: uint64(free), TotalBytes: uint64(total), UsedBytes: uint64(total - free)}, nil
}

func (adapter) Unwrap() pebblevfs.FS { return nil }

type info struct{ fs.FileInfo }

func (info) DeviceID() pebblevfs.DeviceID { return pebblevfs.DeviceID{} }

func describe(fi fs.FileInfo, err error) (pebblevfs.FileInfo, error) {
	if err != nil {
		return nil, err
	}
	return info{fi}, nil
}

type file struct{ vfs.File }

func wrap(f vfs.File, err error) (pebblevfs.File, error) {
	if err != nil {
		return nil, err
	}
	return file{f}, nil
}

func (f file) Stat() (pebblevfs.FileInfo, error)   { return describe(f.File.Stat()) }
func (file) Preallocate(_, _ int64) error          { return nil }
func (f file) SyncData() error                     { return f.File.Datasync() }
func (file) SyncTo(int64) (fullSync bool, _ error) { return false, nil }
func (file) Prefetch(_, _ int64) error             { return nil }
func (file) Fd() uintptr                           { return pebblevfs.InvalidFd }

// dir is a directory opened to be synced.
type dir struct {
	fs   vfs.FS
	name string
}

func (d *dir) bad(op string) error {
	return &fs.PathError{Op: op, Path: d.name, Err: syscall.EISDIR}
}

func (d *dir) Close() error                            { return nil }
func (d *dir) Read([]byte) (int, error)                { return 0, d.bad("read") }
func (d *dir) ReadAt([]byte, int64) (int, error)       { return 0, d.bad("read") }
func (d *dir) Write([]byte) (int, error)               { return 0, d.bad("write") }
func (d *dir) WriteAt([]byte, int64) (int, error)      { return 0, d.bad("write") }
func (d *dir) Preallocate(_, _ int64) error            { return nil }
func (d *dir) Stat() (pebblevfs.FileInfo, error)       { return describe(d.fs.Stat(d.name)) }
func (d *dir) Sync() error                             { return d.fs.SyncDir(d.name) }
func (d *dir) SyncTo(int64) (fullSync bool, err error) { return false, nil }
func (d *dir) SyncData() error                         { return d.Sync() }
func (d *dir) Prefetch(_, _ int64) error               { return nil }
func (d *dir) Fd() uintptr                             { return pebblevfs.InvalidFd }
