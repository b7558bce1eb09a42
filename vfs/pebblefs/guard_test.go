package pebblefs_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"github.com/hallig-cloud/hallig/vfs"
	"github.com/hallig-cloud/hallig/vfs/pebblefs"
	"github.com/hallig-cloud/hallig/vfs/vfstest"
)

type quiet struct{}

func (quiet) Infof(string, ...any)      {}
func (quiet) Errorf(string, ...any)     {}
func (quiet) Fatalf(f string, a ...any) { panic(fmt.Sprintf(f, a...)) }

func guardedOptions(fs vfs.FS) *pebble.Options {
	return &pebble.Options{FS: pebblefs.New(fs), MemTableSize: 1 << 16, Logger: quiet{}}
}

func value(i int) []byte { return bytes.Repeat([]byte{byte(i)}, 300) }

// fill writes and reads back, through flushes, log rotations and compactions.
func fill(t *testing.T, db *pebble.DB, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if err := db.Set(fmt.Appendf(nil, "%06d", i), value(i), pebble.Sync); err != nil {
			t.Fatal(i, err)
		}
	}
	for i := range to {
		v, c, err := db.Get(fmt.Appendf(nil, "%06d", i))
		if err != nil || !bytes.Equal(v, value(i)) {
			t.Fatal(i, err)
		}
		c.Close()
	}
}

// A database goes on when each kind of write fails for good, and what is on
// the disk can be opened: all that was written before the guard broke is there.
func TestGuardFaults(t *testing.T) {
	for _, op := range []vfstest.Op{vfstest.OpCreate, vfstest.OpWrite, vfstest.OpSync, vfstest.OpSyncDir, vfstest.OpRemove, vfstest.OpRename, vfstest.OpLink} {
		for after := range 4 {
			if testing.Short() && after != 1 {
				continue
			}
			t.Run(fmt.Sprintf("%d/%d", op, after), func(t *testing.T) {
				disk := vfstest.NewDisk(vfstest.DiskConfig{})
				faults := vfstest.NewFaults(disk)
				broke := 0
				guard := pebblefs.NewGuard(faults, func(error) { broke++ })
				_ = disk.Mkdir("db")
				db, err := pebble.Open("db", guardedOptions(guard))
				if err != nil {
					t.Fatal(err)
				}
				fill(t, db, 0, 500)
				if guard.Err() != nil {
					t.Fatal(guard.Err())
				}
				faults.Inject(vfstest.Fault{Op: op, After: after, Err: syscall.ENOSPC})
				fill(t, db, 500, 2000)
				if err := db.Close(); err != nil {
					t.Fatal(err)
				}
				if guard.Err() == nil || broke != 1 {
					if op == vfstest.OpRename || op == vfstest.OpLink {
						return // Pebble had no need
					}
					t.Fatal("the guard did not break:", broke)
				}
				faults.Clear()
				db, err = pebble.Open("db", guardedOptions(disk))
				if err != nil {
					t.Fatal(err)
				}
				fill(t, db, 500, 500)
				if err := db.Close(); err != nil {
					t.Fatal(err)
				}
			})
		}
	}
}

// The directory vanishes under the database: the process lives.
func TestGuardVanishedDirectory(t *testing.T) {
	dir := filepath.ToSlash(filepath.Join(t.TempDir(), "db"))
	guard := pebblefs.NewGuard(vfs.OS(), nil)
	db, err := pebble.Open(dir, guardedOptions(guard))
	if err != nil {
		t.Fatal(err)
	}
	fill(t, db, 0, 100)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	for i := range 3000 {
		if err := db.Set(fmt.Appendf(nil, "%06d", i), value(i), pebble.Sync); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Flush(); err != nil {
		t.Log(err)
	}
	if guard.Err() == nil {
		t.Fatal("the guard did not break")
	}
	_ = db.Close()
}

// A log that was to be used again is missing: a new one is made, and Pebble,
// which would end the process, does not learn of it.
func TestReuseMissing(t *testing.T) {
	disk := vfstest.NewDisk(vfstest.DiskConfig{})
	f, err := pebblefs.New(pebblefs.NewGuard(disk, nil)).ReuseForWrite("old", "new", "")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := disk.Stat("new"); err != nil {
		t.Fatal(err)
	}
}
