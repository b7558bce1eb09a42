package pebblefs_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"github.com/hallig-cloud/hallig/vfs"
	"github.com/hallig-cloud/hallig/vfs/pebblefs"
)

// Write with Sync, reopen, read; then a checkpoint, which needs links.
func TestPebble(t *testing.T) {
	dir := filepath.ToSlash(filepath.Join(t.TempDir(), "db"))
	opts := func() *pebble.Options {
		return &pebble.Options{FS: pebblefs.New(vfs.OS()), MemTableSize: 1 << 16}
	}
	check := func(dir string) *pebble.DB {
		t.Helper()
		db, err := pebble.Open(dir, opts())
		if err != nil {
			t.Fatal(err)
		}
		for i := range 3000 {
			v, c, err := db.Get(fmt.Appendf(nil, "key-%06d", i))
			if err != nil {
				t.Fatalf("key %d: %v", i, err)
			}
			if string(v) != fmt.Sprint("value ", i) {
				t.Fatalf("key %d: %q", i, v)
			}
			c.Close()
		}
		return db
	}
	db, err := pebble.Open(dir, opts())
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3000 {
		o := pebble.NoSync
		if i%100 == 0 {
			o = pebble.Sync
		}
		if err := db.Set(fmt.Appendf(nil, "key-%06d", i), fmt.Append(nil, "value ", i), o); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := pebble.Open(dir, opts()); err == nil {
		t.Fatal("the database was opened twice")
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = check(dir)
	if err := db.Checkpoint(dir + "-copy"); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := check(dir + "-copy").Close(); err != nil {
		t.Fatal(err)
	}
}
