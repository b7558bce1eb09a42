// Package vfs is the seam between Hallig and the file system. Everything that
// must survive a power cut writes through an FS: the shard segments, Pebble
// and the Raft log alike. The implementations are OS (the real one), and for
// tests a power-cut model and a fault injector (vfs/vfstest).
package vfs

import (
	"io"
	"io/fs"
)

// A File is an open file. Errors are the operating system's, wrapped in
// *fs.PathError, so that errors.Is works with fs.ErrNotExist, syscall.ENOSPC
// and the like.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Reader // sequential, from the start
	io.Writer // sequential: appends where the last Write ended
	io.Closer
	// Stat returns the file's current size and times.
	Stat() (fs.FileInfo, error)
	// Sync makes the file's contents and metadata durable (fsync). A file that was
	// removed meanwhile is not durable: fs.ErrNotExist.
	Sync() error
	// Datasync makes the contents, and the size, durable (fdatasync); otherwise as
	// Sync.
	Datasync() error
	// Truncate changes the size.
	Truncate(size int64) error
}

// An FS is a tree of files. Names are slash-separated paths.
type FS interface {
	// Create makes or truncates a file for reading and writing.
	Create(name string) (File, error)
	// Open opens a file for reading.
	Open(name string) (File, error)
	// OpenReadWrite opens an existing file for reading and writing, at its start.
	OpenReadWrite(name string) (File, error)
	// Remove removes a file or an empty directory.
	Remove(name string) error
	// Rename replaces newname by oldname, atomically; durable after SyncDir.
	Rename(oldname, newname string) error
	// Link makes newname a hard link to oldname.
	Link(oldname, newname string) error
	// Mkdir makes a directory, mode 0700, in one that exists; durable after SyncDir
	// of that one. It is a success if it is there already.
	Mkdir(dir string) error
	// List returns the names in a directory, sorted.
	List(dir string) ([]string, error)
	// Stat describes a file.
	Stat(name string) (fs.FileInfo, error)
	// SyncDir makes a directory's entries durable.
	SyncDir(dir string) error
	// Lock takes an exclusive lock on a file, made if need be, held until Close.
	// It fails at once when another process or holder has it.
	Lock(name string) (io.Closer, error)
	// Usage returns the free and total bytes of the file system that holds dir.
	Usage(dir string) (free, total int64, err error)
}
