package keyfile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/seal"
	"github.com/hallig-cloud/hallig/vfs"
	"github.com/hallig-cloud/hallig/vfs/vfstest"
)

var (
	mesh  = hallig.MeshID{1}
	cheap = seal.Argon2{Time: 1, Memory: 64, Threads: 1}
	paths = []string{"a/" + Name, "b/" + Name, "c/" + Name}
)

func fresh(t testing.TB) (*File, *seal.Secrets) {
	t.Helper()
	s, err := seal.NewSecrets(mesh)
	if err != nil {
		t.Fatal(err)
	}
	f, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	return f, s
}

func save(t testing.TB, fsys vfs.FS, f *File, paths ...string) {
	t.Helper()
	if n, err := f.Save(fsys, 1000+int64(f.Revision), paths...); n != len(paths) || err != nil {
		t.Fatal(n, err)
	}
}

func load(t testing.TB, fsys vfs.FS, want ...State) *File {
	t.Helper()
	f, mirrors, err := Load(fsys, paths...)
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range mirrors {
		if m.State != want[i] {
			t.Fatalf("%s is %s (%v), want %s", m.Path, m.State, m.Err, want[i])
		}
	}
	return f
}

func equal(t testing.TB, a, b *seal.Secrets) {
	t.Helper()
	x, _ := a.Encode()
	y, _ := b.Encode()
	if !bytes.Equal(x, y) {
		t.Fatal("other secrets")
	}
}

func TestMirrors(t *testing.T) {
	d := withDrives(t, vfstest.DiskConfig{})
	if _, _, err := Load(d, paths...); !errors.Is(err, hallig.ErrNotFound) {
		t.Fatalf("no file: %v", err)
	}
	f, s := fresh(t)
	save(t, d, f, paths...)
	got, err := load(t, d, Good, Good, Good).Secrets(nil)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, got, s)

	// One is lost, one is away during a change and comes back stale.
	if err := d.Remove(paths[0]); err != nil {
		t.Fatal(err)
	}
	if err := f.Protect(nil, []byte("a passphrase"), cheap); err != nil {
		t.Fatal(err)
	}
	save(t, d, f, paths[1])
	g := load(t, d, Missing, Good, Stale)
	if !g.Protected() || g.Revision != 2 {
		t.Fatal("the newest counts")
	}
	if _, err := g.Write(d, paths[0], paths[2]); err != nil {
		t.Fatal(err)
	}
	load(t, d, Good, Good, Good)

	// Damage: any byte.
	b, _ := g.encode()
	for i := range b {
		if err := d.Corrupt(paths[1], int64(i), 0x20); err != nil {
			t.Fatal(err)
		}
		if f, mirrors, err := Load(d, paths[1]); err == nil {
			t.Fatalf("byte %d changed: %v %v", i, f, mirrors)
		}
		d.Corrupt(paths[1], int64(i), 0x20) //nolint:errcheck // back again
	}
	if err := d.Corrupt(paths[1], 300, 1); err != nil {
		t.Fatal(err)
	}
	load(t, d, Good, Damaged, Good)

	// Another mesh's file is never chosen between.
	o, _ := seal.NewSecrets(hallig.ID{2})
	other, _ := New(o)
	save(t, d, other, paths[1])
	if _, m, err := Load(d, paths...); !errors.Is(err, hallig.ErrForeign) || m[1].State != Foreign {
		t.Fatalf("another mesh's: %v", err)
	}
}

func TestProtect(t *testing.T) {
	f, s := fresh(t)
	d := withDrives(t, vfstest.DiskConfig{})
	if err := f.Protect(nil, []byte("first passphrase"), cheap); err != nil {
		t.Fatal(err)
	}
	shares, err := f.MakeRecovery([]byte("first passphrase"), 2, 3)
	if err != nil {
		t.Fatal(err)
	}
	save(t, d, f, paths...)
	f = load(t, d, Good, Good, Good)
	if _, err := f.Secrets(nil); !errors.Is(err, hallig.ErrKeyLocked) {
		t.Fatal(err)
	}
	if _, err := f.Secrets([]byte("wrong")); !errors.Is(err, hallig.ErrDenied) {
		t.Fatal(err)
	}
	if err := f.Protect([]byte("wrong"), []byte("another one"), cheap); !errors.Is(err, hallig.ErrDenied) {
		t.Fatal(err)
	}
	got, err := f.Secrets([]byte("first passphrase"))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, got, s)

	// A rotation keeps the protection and the shares.
	k := seal.NewKeyring(mesh)
	if err := k.Unlock(got); err != nil {
		t.Fatal(err)
	}
	var rotated *seal.Secrets
	err = k.Rotate(func(s *seal.Secrets) error { rotated = s; return nil })
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Set(rotated, []byte("wrong")); !errors.Is(err, hallig.ErrDenied) {
		t.Fatal(err)
	}
	if err := f.Set(rotated, []byte("first passphrase")); err != nil {
		t.Fatal(err)
	}
	save(t, d, f, paths...)
	f = load(t, d, Good, Good, Good)
	if got, err = f.Secrets([]byte("first passphrase")); err != nil {
		t.Fatal(err)
	}
	equal(t, got, rotated)
	if got, err = f.Recover([]string{shares[2].Text(), shares[0].Text()}, []byte("second passphrase"), cheap); err != nil {
		t.Fatal(err)
	}
	equal(t, got, rotated)
	if _, err = f.Secrets([]byte("second passphrase")); err != nil {
		t.Fatal(err)
	}
	if err := f.Protect([]byte("second passphrase"), nil, cheap); err != nil || f.Protected() {
		t.Fatal("taking the protection away")
	}
	bare, _ := fresh(t)
	if _, err := bare.Recover([]string{"x"}, nil, cheap); !errors.Is(err, hallig.ErrNotFound) {
		t.Fatal(err)
	}
}

// TestNoSecretInClear: a protected file shows no root key, and no way of
// printing a file shows one.
func TestNoSecretInClear(t *testing.T) {
	f, s := fresh(t)
	plain, _ := f.encode()
	root := s.Roots[0].Key
	if bare, _ := s.Encode(); !bytes.Contains(bare, root) {
		t.Fatal("the test looks for the wrong thing")
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%x", "%s", "%d"} {
		if out := fmt.Sprintf(verb, f); strings.Contains(out, fmt.Sprintf("%x", root)) || strings.Contains(out, strings.Trim(fmt.Sprintf("%d", root), "[]")) {
			t.Errorf("%s prints the key", verb)
		}
	}
	if err := f.Protect(nil, []byte("passphrase"), cheap); err != nil {
		t.Fatal(err)
	}
	sealed, _ := f.encode()
	if bytes.Contains(sealed, []byte(`"secrets"`)) || !bytes.Contains(plain, []byte(`"secrets"`)) || !bytes.Contains(plain, []byte("warning")) {
		t.Error("the secrets must go when the file is protected")
	}
}

// TestCrash: whatever a power cut leaves of a Save, one mirror is enough to
// read the old or the new file, and after it returned the new one.
func TestCrash(t *testing.T) {
	for _, nosync := range []bool{false, true} {
		d := withDrives(t, vfstest.DiskConfig{Record: true, NoSync: nosync})
		f, _ := fresh(t)
		save(t, d, f, paths[:2]...)
		first := d.Ops()
		save(t, d, f, paths[:2]...)
		second := d.Ops()
		n, err := d.EachCrash(vfstest.CrashConfig{Seed: 1, Variants: 8, From: first}, func(c vfstest.Crash) error {
			g, mirrors, err := Load(c.Disk, paths[:2]...)
			if err != nil {
				return fmt.Errorf("%w %v", err, mirrors)
			}
			for _, m := range mirrors {
				if m.State != Good && m.State != Stale {
					return fmt.Errorf("%s is %s", m.Path, m.State)
				}
			}
			if c.Ops == second && g.Revision != 2 {
				return fmt.Errorf("a saved file is back at revision %d", g.Revision)
			}
			return nil
		})
		if (err != nil) != nosync || n == 0 {
			t.Errorf("syncs off %v: %d crashes, %v", nosync, n, err)
		}
	}
}

// TestMode: the file is the owner's alone, and one that is not is pointed out.
// Its directory, a drive's, is never made.
func TestMode(t *testing.T) {
	dir := t.TempDir()
	name := filepath.ToSlash(filepath.Join(dir, "sub", Name))
	f, _ := fresh(t)
	if n, err := f.Save(vfs.OS(), 1, name); n != 0 || !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("saved where there is no drive: %d, %v", n, err)
	}
	if err := os.Mkdir(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	save(t, vfs.OS(), f, name)
	info, err := os.Stat(name)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v %v", info.Mode(), err)
	}
	if _, m, err := Load(vfs.OS(), name); err != nil || m[0].Exposed {
		t.Fatal(err)
	}
	if err := os.Chmod(name, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, m, err := Load(vfs.OS(), name); err != nil || !m[0].Exposed {
		t.Fatal("an exposed file must be pointed out")
	}
}

func FuzzDecode(f *testing.F) {
	k, _ := fresh(f)
	b, _ := k.encode()
	f.Add(b)
	f.Add([]byte("hallig key file 1 00\n{}"))
	f.Add([]byte("hallig key file 2 00\n{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := Decode(b)
		if err != nil {
			return
		}
		if again, err := k.encode(); err != nil || len(again) == 0 {
			t.Fatal(err)
		}
	})
}

// withDrives is a disk with the directories of paths.
func withDrives(t *testing.T, c vfstest.DiskConfig) *vfstest.Disk {
	t.Helper()
	d := vfstest.NewDisk(c)
	for _, p := range paths {
		if err := vfs.MkdirAllSync(d, path.Dir(p)); err != nil {
			t.Fatal(err)
		}
	}
	return d
}
