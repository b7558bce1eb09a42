package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"sort"
	"strings"

	"golang.org/x/sys/unix"
)

// OS returns the operating system's file system. Files are opened with
// O_CLOEXEC and made with mode 0600, directories with 0700.
func OS() FS { return osFS{} }

// SameFile reports whether two descriptions are of one and the same file
// (device and inode), whatever their names. Two descriptions of different
// kinds of FS are never of the same file.
func SameFile(a, b fs.FileInfo) bool {
	if a == nil || b == nil {
		return false
	}
	x, okx := a.(FileIdentity)
	y, oky := b.(FileIdentity)
	if okx && oky {
		return x.FileID() == y.FileID()
	}
	return os.SameFile(a, b)
}

// A FileIdentity is a fs.FileInfo of an FS that is not the operating system's.
// FileID is unique among the files that one FS ever held.
type FileIdentity interface {
	fs.FileInfo
	FileID() uint64
}

type osFS struct{}

type osFile struct{ *os.File }

// Datasync and Sync fail on a file that has lost its name, as one does when its
// directory is removed: it would be synced, and gone with the last descriptor.
func (f osFile) Datasync() error { return f.durably("fdatasync", unix.Fdatasync) }

func (f osFile) Sync() error { return f.durably("fsync", unix.Fsync) }

func (f osFile) durably(op string, sync func(fd int) error) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var serr error
	err = c.Control(func(fd uintptr) {
		for serr = sync(int(fd)); serr == unix.EINTR; serr = sync(int(fd)) {
		}
		var st unix.Stat_t
		if serr == nil && unix.Fstat(int(fd), &st) == nil && st.Nlink == 0 {
			serr = unix.ENOENT
		}
	})
	if err == nil && serr != nil {
		err = &fs.PathError{Op: op, Path: f.Name(), Err: serr}
	}
	return err
}

func openOS(name string, flag int) (File, error) {
	f, err := os.OpenFile(name, flag, 0o600) // os adds O_CLOEXEC
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (osFS) Create(name string) (File, error) {
	return openOS(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
}

func (osFS) Open(name string) (File, error) { return openOS(name, os.O_RDONLY) }

func (osFS) OpenReadWrite(name string) (File, error) { return openOS(name, os.O_RDWR) }

func (osFS) Remove(name string) error { return os.Remove(name) }

func (osFS) Rename(oldname, newname string) error { return os.Rename(oldname, newname) }

func (osFS) Link(oldname, newname string) error { return os.Link(oldname, newname) }

func (osFS) Mkdir(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		if st, serr := os.Stat(dir); serr == nil && st.IsDir() {
			return nil
		}
	}
	return err
}

func (osFS) List(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	sort.Strings(names)
	return names, err
}

func (osFS) Stat(name string) (fs.FileInfo, error) { return os.Stat(name) }

func (osFS) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	return err
}

// Lock uses flock(2), which belongs to the open file: it is released by Close
// and by the end of the process, and a second Lock of the same file fails in
// the same process as in another.
func (osFS) Lock(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if err == unix.EWOULDBLOCK {
			return nil, fmt.Errorf("lock %s: another process holds it: %w", name, err)
		}
		return nil, &fs.PathError{Op: "flock", Path: name, Err: err}
	}
	return f, nil
}

func (osFS) Usage(dir string) (free, total int64, err error) {
	var st unix.Statfs_t
	for {
		if err = unix.Statfs(dir, &st); err != unix.EINTR {
			break
		}
	}
	if err != nil {
		return 0, 0, &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	bs := int64(st.Bsize) //nolint:unconvert // another type on other platforms
	return int64(st.Bavail) * bs, int64(st.Blocks) * bs, nil
}

// MkdirAllSync makes a directory and its parents, and makes each directory
// entry that it added durable.
func MkdirAllSync(fsys FS, dir string) error {
	if _, err := fsys.Stat(dir); err == nil {
		return nil
	}
	parent := path.Dir(dir)
	if parent != dir {
		if err := MkdirAllSync(fsys, parent); err != nil {
			return err
		}
	}
	if err := fsys.Mkdir(dir); err != nil {
		return err
	}
	return fsys.SyncDir(parent)
}

// MkdirBelowSync is MkdirAllSync for a directory below root, which itself is
// never made: where a drive is not mounted nothing may appear in its place. It
// is fs.ErrNotExist if root is not there.
func MkdirBelowSync(fsys FS, root, dir string) error {
	root, dir = path.Clean(root), path.Clean(dir)
	rest, ok := strings.CutPrefix(dir, strings.TrimSuffix(root, "/")+"/")
	if !ok {
		return fmt.Errorf("make %s: it is not below %s: %w", dir, root, fs.ErrInvalid)
	}
	at := root
	for _, base := range strings.Split(rest, "/") {
		parent := at
		at = path.Join(at, base)
		if _, err := fsys.Stat(at); err == nil {
			continue
		}
		if err := fsys.Mkdir(at); err != nil {
			return err
		}
		if err := fsys.SyncDir(parent); err != nil {
			return err
		}
	}
	return nil
}

// WriteFileSync replaces the file name by one with the given contents,
// atomically and durably: after a power cut the file holds either what it held
// or data, whole. It writes name+".new" on its way.
func WriteFileSync(fsys FS, name string, data []byte) error {
	tmp := name + ".new"
	f, err := fsys.Create(tmp)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = fsys.Rename(tmp, name)
	}
	if err != nil {
		_ = fsys.Remove(tmp) // best effort: the next call replaces it
		return err
	}
	return fsys.SyncDir(path.Dir(name))
}

// ReadFile returns the contents of a file of at most limit bytes; a longer one
// is an error.
func ReadFile(fsys FS, name string, limit int64) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, &fs.PathError{Op: "read", Path: name, Err: fmt.Errorf("longer than %d bytes", limit)}
	}
	return data, nil
}
