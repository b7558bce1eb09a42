package vfs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// DirectAlign is what the offset, the length and the memory of a direct write
// are a multiple of, in bytes.
const DirectAlign = 4096

// A DirectWriter writes to a file past the page cache: the bytes are not
// copied there, and need not be written back by a later Sync. They are durable
// after the file's own Sync or Datasync only, like any other. Reads see them
// when WriteAt returns. A page of the file must not be written directly and
// through the File at the same time.
type DirectWriter interface {
	io.WriterAt
	io.Closer
}

// OpenDirect opens an open file once more, for direct writes. It fails with
// errors.ErrUnsupported where there is no such thing; WriteAt may still fail
// with EINVAL where a file system asks for more than DirectAlign.
func OpenDirect(f File) (DirectWriter, error) {
	if d, ok := f.(interface{ OpenDirect() (DirectWriter, error) }); ok {
		return d.OpenDirect()
	}
	return nil, fmt.Errorf("direct writes: %w", errors.ErrUnsupported)
}

// OpenDirect implements what the function OpenDirect asks for.
func (f osFile) OpenDirect() (DirectWriter, error) {
	w, err := os.OpenFile(f.Name(), os.O_WRONLY|unix.O_DIRECT, 0) // os adds O_CLOEXEC
	if err != nil {
		if errors.Is(err, unix.EINVAL) {
			err = fmt.Errorf("%w: %w", err, errors.ErrUnsupported)
		}
		return nil, err
	}
	here, err := f.File.Stat()
	there, err2 := w.Stat()
	if err = errors.Join(err, err2); err == nil && !os.SameFile(here, there) {
		err = fmt.Errorf("%s is another file now: %w", f.Name(), os.ErrNotExist)
	}
	if err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

// DirectBuffer returns n bytes of memory, as aligned as direct writes ask for.
func DirectBuffer(n int) []byte {
	b := make([]byte, n+DirectAlign)
	at := -int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) & (DirectAlign - 1) //nolint:gosec // the address alone
	return b[at : at+n : at+n]
}
