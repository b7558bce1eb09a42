package vfs_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"testing"
	"unsafe"

	"github.com/hallig-cloud/hallig/vfs"
)

func TestDirect(t *testing.T) {
	name := t.TempDir() + "/f"
	f, err := vfs.OS().Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := vfs.DirectBuffer(2 * vfs.DirectAlign)
	if a := uintptr(unsafe.Pointer(&b[0])); a%vfs.DirectAlign != 0 || len(b) != 2*vfs.DirectAlign || cap(b) != len(b) {
		t.Fatal("buffer:", a, len(b), cap(b))
	}
	for i := range b {
		b[i] = byte(i * 7)
	}
	w, err := vfs.OpenDirect(f)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip("DIRECT WRITES ARE NOT TESTED: the file system of the tests has none")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := f.WriteAt([]byte("in the page before"), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := w.WriteAt(b, vfs.DirectAlign); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(b))
	if _, err := f.ReadAt(got, vfs.DirectAlign); err != nil || !bytes.Equal(got, b) {
		t.Fatal("what was written directly is not what is read:", err)
	}
	// Another file under the name is not written to.
	if err := errors.Join(os.Remove(name), os.WriteFile(name, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := vfs.OpenDirect(f); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal("a replaced file:", err)
	}
}
