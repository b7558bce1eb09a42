package disk

import (
	"io/fs"
	"log/slog"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"github.com/hallig-cloud/hallig/vfs"
	"github.com/hallig-cloud/hallig/vfs/vfstest"
)

// tablesGone is a file system whose tables can no longer be opened.
type tablesGone struct{ vfs.FS }

// Open opens anything but a table.
func (g tablesGone) Open(name string) (vfs.File, error) {
	if strings.HasSuffix(name, ".sst") {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return g.FS.Open(name)
}

// TestIndexTableMissing takes the index's tables away, as the removal of a
// drive's directory does: who reads gets an error, and the process lives.
func TestIndexTableMissing(t *testing.T) {
	d := vfstest.NewDisk(vfstest.DiskConfig{})
	if err := d.Mkdir("index"); err != nil {
		t.Fatal(err)
	}
	var fsys vfs.FS = d
	reopen := func() pebbleKV {
		t.Helper()
		k, err := openPebble(fsys, "index", 1<<20, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return k.(pebbleKV)
	}
	k := reopen()
	if err := k.db.Set([]byte("k"), []byte("v"), pebble.NoSync); err != nil {
		t.Fatal(err)
	}
	if err := k.db.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := k.close(); err != nil {
		t.Fatal(err)
	}
	// From here on no table can be opened, by whoever comes first: a read, or
	// Pebble's own background work.
	fsys = tablesGone{d}
	k = reopen()
	if v, ok, err := k.get([]byte("k")); err == nil {
		t.Fatalf("without its table, read %q %v", v, ok)
	}
	if err := k.close(); err != nil {
		t.Log(err)
	}
}
