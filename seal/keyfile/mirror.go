package keyfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/vfs"
)

// State says what was found at one path.
type State string

// The states of a mirror.
const (
	Good       State = "good"
	Missing    State = "missing"
	Stale      State = "stale"      // an older revision, or the older of two of the same
	Damaged    State = "damaged"    // unreadable, or its checksum is wrong
	Foreign    State = "foreign"    // another mesh's
	Unreadable State = "unreadable" // the file system failed
)

// A Mirror is one copy of the key file.
type Mirror struct {
	Path    string
	State   State
	Exposed bool  // others than the owner may read it
	Err     error // why it is not good; nil for Good, Missing and Stale
}

// Load reads every mirror and returns the newest that is good, with the state
// of each path in the order given. Without any file it is hallig.ErrNotFound;
// with none that is good the first one's error. When good mirrors are of
// different meshes it is hallig.ErrForeign, and nothing is chosen.
func Load(fsys vfs.FS, paths ...string) (*File, []Mirror, error) {
	mirrors := make([]Mirror, len(paths))
	files := make([]*File, len(paths))
	best := -1
	for i, p := range paths {
		mirrors[i] = Mirror{Path: p, State: Good}
		f, err := read(fsys, p)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			mirrors[i].State = Missing
			continue
		case errors.Is(err, hallig.ErrCorrupt):
			mirrors[i].State, mirrors[i].Err = Damaged, err
			continue
		case err != nil:
			mirrors[i].State, mirrors[i].Err = Unreadable, err
			continue
		}
		if info, err := fsys.Stat(p); err == nil {
			mirrors[i].Exposed = info.Mode().Perm()&0o077 != 0
		}
		files[i] = f
		if best < 0 || newer(f, files[best]) {
			best = i
		}
	}
	if best < 0 {
		return nil, mirrors, none(mirrors)
	}
	for i, f := range files {
		if f == nil {
			continue
		}
		if f.Mesh != files[best].Mesh {
			mirrors[i].State = Foreign
			mirrors[i].Err = fmt.Errorf("key file %s is of mesh %s, %s of mesh %s: %w", paths[i], f.Mesh, paths[best], files[best].Mesh, hallig.ErrForeign)
			return nil, mirrors, mirrors[i].Err
		}
		if newer(files[best], f) || !same(files[best], f) {
			mirrors[i].State = Stale
		}
	}
	return files[best], mirrors, nil
}

// newer orders files of equal revision, which a crash between two mirrors can
// leave, by when they were written.
func newer(a, b *File) bool {
	if a.Revision != b.Revision {
		return a.Revision > b.Revision
	}
	return a.Written > b.Written
}

func same(a, b *File) bool {
	x, errX := a.encode()
	y, errY := b.encode()
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

func none(mirrors []Mirror) error {
	for _, m := range mirrors {
		if m.Err != nil {
			return fmt.Errorf("no mirror of the key file is readable: %s: %w", m.Path, m.Err)
		}
	}
	return fmt.Errorf("key file: %w", hallig.ErrNotFound)
}

func read(fsys vfs.FS, name string) (*File, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // opened for reading
	b, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("read the key file: %w", err)
	}
	if len(b) > MaxSize {
		return nil, fmt.Errorf("key file is larger than %d bytes: %w", MaxSize, hallig.ErrCorrupt)
	}
	return Decode(b)
}

// Save raises the file's revision and writes it to every path, each atomically
// (a temporary file, fsync, rename, fsync of the directory, which is made if
// need be; its parent is expected to exist). It returns how many
// mirrors are durable, and the errors of the others joined: the caller decides
// whether that many are enough. With none, the file is as it was. now is in
// unix milliseconds.
func (f *File) Save(fsys vfs.FS, now int64, paths ...string) (int, error) {
	next := *f
	next.Revision++
	next.Written = now
	n, err := next.Write(fsys, paths...)
	if n > 0 {
		*f = next
	}
	return n, err
}

// Write writes the file as it is, with its present revision: to bring back a
// mirror that is missing, stale or damaged.
func (f *File) Write(fsys vfs.FS, paths ...string) (int, error) {
	b, err := f.encode()
	if err != nil {
		return 0, err
	}
	n := 0
	var errs []error
	for _, p := range paths {
		if err := vfs.WriteFileSync(fsys, p, b); err != nil {
			errs = append(errs, fmt.Errorf("write the key file %s: %w", p, err))
			continue
		}
		n++
	}
	return n, errors.Join(errs...)
}
