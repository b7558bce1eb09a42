package disk

import (
	"container/list"
	"crypto/rand"
	"encoding/binary"
	"sync"

	"github.com/hallig-cloud/hallig/vfs"
)

// maxOpenFiles bounds the segment files held open for reading.
const maxOpenFiles = 256

// files keeps segment files open. A file removed while it is read stays
// readable to those who read it.
type files struct {
	fs   vfs.FS
	path func(num uint64) string

	mu   sync.Mutex
	open map[uint64]*openFile
	idle *list.List // of *openFile with no user, the longest idle first
}

type openFile struct {
	vfs.File
	num     uint64
	users   int
	removed bool
	idle    *list.Element
}

func newFiles(fs vfs.FS, path func(uint64) string) *files {
	return &files{fs: fs, path: path, open: map[uint64]*openFile{}, idle: list.New()}
}

// add takes over a file that was just made, in use until release.
func (f *files) add(num uint64, file vfs.File) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open[num] = &openFile{File: file, num: num, users: 1}
}

// acquire opens a segment for reading; done must be called.
func (f *files) acquire(num uint64) (file vfs.File, done func(), err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	o := f.open[num]
	if o == nil {
		file, err := f.fs.Open(f.path(num))
		if err != nil {
			return nil, nil, err
		}
		o = &openFile{File: file, num: num}
		f.open[num] = o
		f.evict()
	}
	if o.idle != nil {
		f.idle.Remove(o.idle)
		o.idle = nil
	}
	o.users++
	return o.File, func() { f.put(o) }, nil
}

// release ends what add began.
func (f *files) release(num uint64) {
	f.mu.Lock()
	o := f.open[num]
	f.mu.Unlock()
	if o != nil {
		f.put(o)
	}
}

func (f *files) put(o *openFile) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if o.users--; o.users > 0 {
		return
	}
	if o.removed {
		_ = o.Close() // it was only read, or synced before
		return
	}
	o.idle = f.idle.PushBack(o)
	f.evict()
}

// evict closes the files that were idle longest. f.mu is held.
func (f *files) evict() {
	for len(f.open) > maxOpenFiles && f.idle.Len() > 0 {
		o := f.idle.Remove(f.idle.Front()).(*openFile)
		delete(f.open, o.num)
		_ = o.Close()
	}
}

// forget closes a segment that was removed, when its readers are done.
func (f *files) forget(num uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	o := f.open[num]
	if o == nil {
		return
	}
	delete(f.open, num)
	o.removed = true
	if o.users == 0 {
		f.idle.Remove(o.idle)
		_ = o.Close()
	}
}

func (f *files) closeAll() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, o := range f.open {
		_ = o.Close()
	}
	clear(f.open)
	f.idle.Init()
}

// newEpoch returns a random number that no other segment has.
func newEpoch() uint64 {
	var b [8]byte
	rand.Read(b[:]) //nolint:errcheck // never returns an error
	return binary.BigEndian.Uint64(b[:]) | 1
}
