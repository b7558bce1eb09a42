package vfstest_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"github.com/hallig-cloud/hallig/vfs"
	"github.com/hallig-cloud/hallig/vfs/pebblefs"
	"github.com/hallig-cloud/hallig/vfs/vfstest"
)

func write(t testing.TB, d vfs.FS, name string, data []byte, sync bool) {
	t.Helper()
	f, err := d.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		t.Fatal(err)
	}
	if sync {
		if err := f.Datasync(); err != nil {
			t.Fatal(err)
		}
	}
}

func read(d vfs.FS, name string) string {
	b, err := vfs.ReadFile(d, name, 1<<20)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// What is synced survives every crash; what is not survives some and not others.
func TestCrash(t *testing.T) {
	d := vfstest.NewDisk(vfstest.DiskConfig{})
	if err := vfs.MkdirAllSync(d, "a"); err != nil {
		t.Fatal(err)
	}
	write(t, d, "a/named", []byte("named"), true)
	if err := d.SyncDir("a"); err != nil {
		t.Fatal(err)
	}
	write(t, d, "a/nameless", []byte("nameless"), true)
	if err := d.Rename("a/named", "a/renamed"); err != nil {
		t.Fatal(err)
	}
	big := bytes.Repeat([]byte("0123456789abcdef"), 100)
	f, _ := d.OpenReadWrite("a/renamed")
	if _, err := f.WriteAt(big, 5); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for seed := range uint64(300) {
		c := d.Crash(seed)
		_, err1 := c.Stat("a/named")
		_, err2 := c.Stat("a/renamed")
		name := "a/named"
		if err1 != nil {
			name = "a/renamed"
		}
		got := read(c, name)
		if (err1 == nil) == (err2 == nil) || got[:5] != "named" {
			t.Fatal(seed, err1, err2, got)
		}
		_, err := c.Stat("a/nameless")
		seen[fmt.Sprint("renamed ", name)] = true
		seen[fmt.Sprint("new name kept ", err == nil)] = true
		whole := got[5:] == string(big)
		seen[fmt.Sprint("whole ", whole)] = true
		if !whole && len(got) > 5 {
			seen["torn"] = true
		}
		if seed == 0 && (got != "named" || name != "a/named" || err == nil) || seed == 1 && !(whole && err == nil) {
			t.Fatal("seeds 0 and 1 are to keep nothing and everything")
		}
		if again := d.Crash(seed); read(again, name) != got {
			t.Fatal("the same seed made another state")
		}
	}
	if len(seen) != 7 {
		t.Fatal("states not reached:", seen)
	}
	if got := read(d, "a/renamed"); got != "named"+string(big) {
		t.Fatal("a crash state changed the disk it was made from")
	}
	d.PowerOff()
	if err := f.Sync(); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
}

func TestCapacity(t *testing.T) {
	d := vfstest.NewDisk(vfstest.DiskConfig{Capacity: 1000})
	f, _ := d.Create("f")
	if n, err := f.Write(make([]byte, 1500)); n != 1000 || !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(n, err)
	}
	if _, err := f.WriteAt(make([]byte, 500), 100); err != nil {
		t.Fatal("overwriting needs no space:", err)
	}
	if free, total, err := d.Usage("/"); free != 0 || total != 1000 || err != nil {
		t.Fatal(free, total, err)
	}
	if err := d.Remove("f"); err != nil {
		t.Fatal(err)
	}
	if free, _, _ := d.Usage("/"); free != 1000 {
		t.Fatal(free)
	}
}

func TestFaults(t *testing.T) {
	d := vfstest.NewFaults(vfstest.NewDisk(vfstest.DiskConfig{}))
	d.Inject(vfstest.Fault{Op: vfstest.OpSync, Path: "f", After: 1, Times: 1, Err: syscall.EIO})
	d.Inject(vfstest.Fault{Op: vfstest.OpWrite, After: 1, Times: 1, Err: syscall.ENOSPC, Short: 2})
	f, _ := d.Create("f")
	for i, want := range []error{nil, syscall.EIO, nil} {
		if err := f.Sync(); !errors.Is(err, want) {
			t.Fatal(i, err)
		}
	}
	if _, err := f.Write([]byte("abc")); err != nil {
		t.Fatal(err)
	}
	if n, err := f.Write([]byte("def")); n != 2 || !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(n, err)
	}
	if s := read(d, "f"); s != "abcde" {
		t.Fatal(s)
	}
	disarm := d.Inject(vfstest.Fault{Op: vfstest.OpRead, Flip: true})
	if s := read(d, "f"); s == "abcde" {
		t.Fatal(s)
	}
	disarm()
	d.Inject(vfstest.Fault{Op: vfstest.OpStat, Err: fs.ErrPermission})
	if _, err := d.Stat("f"); !errors.Is(err, fs.ErrPermission) {
		t.Fatal(err)
	}
	d.Clear()
	if _, err := d.Stat("f"); err != nil {
		t.Fatal(err)
	}
}

// pebbleScript writes to a database and returns what was acknowledged when.
func pebbleScript(t *testing.T, d *vfstest.Disk, puts int) []int {
	t.Helper()
	if err := d.Mkdir("db"); err != nil {
		t.Fatal(err)
	}
	_ = d.SyncDir("/")
	db, err := pebble.Open("db", pebbleOptions(d))
	if err != nil {
		t.Fatal(err)
	}
	var acked []int
	for i := range puts {
		if err := db.Set(fmt.Appendf(nil, "k%03d", i), bytes.Repeat([]byte{byte(i)}, 700), pebble.Sync); err != nil {
			t.Fatal(err)
		}
		acked = append(acked, d.Ops())
		if i%20 == 19 {
			if err := db.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return acked
}

func pebbleOptions(d vfs.FS) *pebble.Options {
	return &pebble.Options{FS: pebblefs.New(d), Logger: quiet{}}
}

type quiet struct{}

func (quiet) Infof(string, ...any)      {}
func (quiet) Errorf(string, ...any)     {}
func (quiet) Fatalf(f string, a ...any) { panic(fmt.Sprintf(f, a...)) }

func pebbleCheck(c vfstest.Crash, acked []int) (err error) {
	db, err := pebble.Open("db", pebbleOptions(c.Disk))
	if err != nil {
		return err
	}
	defer db.Close()
	for i, at := range acked {
		if at > c.Ops {
			break
		}
		v, closer, err := db.Get(fmt.Appendf(nil, "k%03d", i))
		if err != nil {
			return fmt.Errorf("key %d, acknowledged after %d operations: %w", i, at, err)
		}
		if !bytes.Equal(v, bytes.Repeat([]byte{byte(i)}, 700)) {
			return fmt.Errorf("key %d: wrong value", i)
		}
		closer.Close()
	}
	return nil
}

// Pebble, written with Sync, loses nothing at any write boundary; without
// syncs it does.
func TestPebbleCrash(t *testing.T) {
	cfg := vfstest.CrashConfig{Seed: 1, Variants: 4}
	if testing.Short() {
		cfg.Stride = 7
	}
	d := vfstest.NewDisk(vfstest.DiskConfig{Record: true})
	acked := pebbleScript(t, d, 60)
	n, err := d.EachCrash(cfg, func(c vfstest.Crash) error { return pebbleCheck(c, acked) })
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d crash states of %d operations", n, d.Ops())

	d = vfstest.NewDisk(vfstest.DiskConfig{Record: true, NoSync: true})
	acked = pebbleScript(t, d, 60)
	if _, err := d.EachCrash(cfg, func(c vfstest.Crash) error { return pebbleCheck(c, acked) }); err == nil {
		t.Fatal("negative control: without syncs, nothing was lost")
	}
}

func BenchmarkEachCrash(b *testing.B) {
	d := vfstest.NewDisk(vfstest.DiskConfig{Record: true})
	for i := range 10 {
		write(b, d, fmt.Sprint("f", i), make([]byte, 20000), i%3 == 0)
	}
	ops := d.Ops()
	b.ReportAllocs()
	for n := 0; n < b.N; {
		m, _ := d.EachCrash(vfstest.CrashConfig{Seed: 1, Variants: 8, From: ops}, func(c vfstest.Crash) error { return nil })
		n += m
	}
}
