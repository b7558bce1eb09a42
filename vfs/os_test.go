package vfs_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/hallig-cloud/hallig/vfs"
	"github.com/hallig-cloud/hallig/vfs/vfstest"
)

func TestOS(t *testing.T) {
	fsys := vfs.OS()
	dir := filepath.ToSlash(t.TempDir()) + "/a/b"
	if err := vfs.MkdirAllSync(fsys, dir); err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{"one", "two"} {
		if err := vfs.WriteFileSync(fsys, dir+"/f", []byte(s)); err != nil {
			t.Fatal(err)
		}
		if b, err := vfs.ReadFile(fsys, dir+"/f", 3); err != nil || string(b) != s {
			t.Fatalf("%q %v", b, err)
		}
	}
	if _, err := vfs.ReadFile(fsys, dir+"/f", 2); err == nil {
		t.Fatal("a file over the limit was read")
	}
	if names, err := fsys.List(dir); err != nil || len(names) != 1 || names[0] != "f" {
		t.Fatal(names, err)
	}
	f, err := fsys.OpenReadWrite(dir + "/f")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Datasync(); err != nil {
		t.Fatal(err)
	}
	here, _ := f.Stat()
	there, _ := fsys.Stat(dir + "/f")
	if !vfs.SameFile(here, there) {
		t.Fatal("a file is not the same as itself")
	}
	if err := vfs.WriteFileSync(fsys, dir+"/f", []byte("new")); err != nil {
		t.Fatal(err)
	}
	if there, _ = fsys.Stat(dir + "/f"); vfs.SameFile(here, there) {
		t.Fatal("a replaced file is the same as the one before it")
	}
	if _, err := fsys.Stat(dir + "/g"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if free, total, err := fsys.Usage(dir); err != nil || free < 0 || total < free {
		t.Fatal(free, total, err)
	}
	l, err := fsys.Lock(dir + "/lock")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fsys.Lock(dir + "/lock"); err == nil {
		t.Fatal("the lock was taken twice")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if l, err = fsys.Lock(dir + "/lock"); err != nil {
		t.Fatal(err)
	}
	l.Close()
}

// Nothing is made in the place of a drive that is not there.
func TestMkdirBelow(t *testing.T) {
	root := filepath.ToSlash(t.TempDir()) + "/drive"
	for name, fsys := range map[string]vfs.FS{"os": vfs.OS(), "disk": vfstest.NewDisk(vfstest.DiskConfig{})} {
		if err := vfs.MkdirBelowSync(fsys, root, root+"/a/b"); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("%s: below a directory that is not there: %v", name, err)
		}
		if _, err := fsys.Stat(root); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("%s: it was made: %v", name, err)
		}
		if err := vfs.MkdirBelowSync(fsys, root, root+"other/a"); !errors.Is(err, fs.ErrInvalid) {
			t.Fatalf("%s: beside it: %v", name, err)
		}
		if err := vfs.MkdirAllSync(fsys, root); err != nil {
			t.Fatal(name, err)
		}
		for range 2 {
			if err := vfs.MkdirBelowSync(fsys, root, root+"/a/b"); err != nil {
				t.Fatal(name, err)
			}
		}
		if st, err := fsys.Stat(root + "/a/b"); err != nil || !st.IsDir() {
			t.Fatal(name, err)
		}
		if f, err := fsys.Create(root + "/f"); err != nil || f.Close() != nil || fsys.Mkdir(root+"/f") == nil {
			t.Fatalf("%s: a file is taken for a directory (%v)", name, err)
		}
	}
}

// What has no name any more is not durable, whatever fsync says.
func TestSyncOfARemovedFile(t *testing.T) {
	dir := t.TempDir()
	f, err := vfs.OS().Create(dir + "/f")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := errors.Join(f.Sync(), f.Datasync()); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(dir + "/f"); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{f.Sync(), f.Datasync()} {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("sync of a file without a name: %v", err)
		}
	}
}
