package disk

import (
	"log/slog"
	"path"
	"strings"
	"testing"

	"github.com/hallig-cloud/hallig/vfs/vfstest"
)

// TestIndexTableMissing takes the index's tables away, as the removal of a
// drive's directory does: who reads gets an error, and the process lives.
func TestIndexTableMissing(t *testing.T) {
	d := vfstest.NewDisk(vfstest.DiskConfig{})
	if err := d.MkdirAll("index"); err != nil {
		t.Fatal(err)
	}
	reopen := func() pebbleKV {
		t.Helper()
		k, err := openPebble(d, "index", 1<<20, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return k.(pebbleKV)
	}
	k := reopen()
	if err := k.db.Set([]byte("k"), []byte("v"), nil); err != nil {
		t.Fatal(err)
	}
	if err := k.db.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := k.close(); err != nil {
		t.Fatal(err)
	}
	k = reopen()
	names, err := d.List("index")
	if err != nil {
		t.Fatal(err)
	}
	gone := 0
	for _, n := range names {
		if strings.HasSuffix(n, ".sst") {
			gone++
			if err := d.Remove(path.Join("index", n)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if v, ok, err := k.get([]byte("k")); gone == 0 || err == nil {
		t.Fatalf("%d tables removed, read %q %v", gone, v, ok)
	}
	if err := k.close(); err != nil {
		t.Log(err)
	}
}
