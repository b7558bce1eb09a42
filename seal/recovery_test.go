package seal

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/hallig-cloud/hallig"
)

// cheap keeps the tests fast.
var cheap = Argon2{Time: 1, Memory: 64, Threads: 1}

func secrets(t testing.TB) *Secrets {
	t.Helper()
	s, err := NewSecrets(testMesh)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func same(a, b *Secrets) bool {
	x, _ := a.Encode()
	y, _ := b.Encode()
	return bytes.Equal(x, y)
}

func TestProtect(t *testing.T) {
	s := secrets(t)
	p, err := s.Protect([]byte("correct horse"), cheap)
	if err != nil {
		t.Fatal(err)
	}
	got, err := p.Unlock(testMesh, []byte("correct horse"))
	if err != nil || !same(got, s) {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		f    func() (*Secrets, error)
		want error
	}{
		"wrong passphrase": {func() (*Secrets, error) { return p.Unlock(testMesh, []byte("correct horsf")) }, hallig.ErrDenied},
		"no passphrase":    {func() (*Secrets, error) { return p.Unlock(testMesh, nil) }, hallig.ErrDenied},
		"other mesh":       {func() (*Secrets, error) { return p.Unlock(hallig.ID{5}, []byte("correct horse")) }, hallig.ErrDenied},
		"other salt": {func() (*Secrets, error) {
			q := p
			q.Salt = []byte("x")
			return q.Unlock(testMesh, []byte("correct horse"))
		}, hallig.ErrDenied},
		"damage": {func() (*Secrets, error) {
			q := p
			q.Sealed = bytes.Clone(p.Sealed)
			q.Sealed[len(q.Sealed)-1] ^= 1
			return q.Unlock(testMesh, []byte("correct horse"))
		}, hallig.ErrCorrupt},
		"greedy parameters": {func() (*Secrets, error) { q := p; q.Argon2.Memory = 1 << 30; return q.Unlock(testMesh, nil) }, hallig.ErrCorrupt},
		"no lanes":          {func() (*Secrets, error) { q := p; q.Argon2.Threads = 0; return q.Unlock(testMesh, nil) }, hallig.ErrCorrupt},
	} {
		if _, err := c.f(); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if _, err := s.Protect([]byte("short"), cheap); !errors.Is(err, hallig.ErrInvalid) {
		t.Errorf("a short passphrase: %v", err)
	}
	if err := DefaultArgon2().check(); err != nil {
		t.Error(err)
	}
}

func TestRecovery(t *testing.T) {
	s := secrets(t)
	r, shares, err := s.NewRecovery(3, 5)
	if err != nil || len(shares) != 5 {
		t.Fatal(err)
	}
	text := func(n ...int) []string {
		var out []string
		for _, i := range n {
			out = append(out, shares[i].Text())
		}
		return out
	}
	// Any three, whichever were lost.
	for a := range 5 {
		for b := range a {
			for c := range b {
				got, err := r.Recover(text(a, b, c))
				if err != nil || !same(got, s) {
					t.Fatalf("shares %d %d %d: %v", a, b, c, err)
				}
			}
		}
	}
	if got, err := r.Recover(text(0, 1, 2, 3, 4)); err != nil || !same(got, s) {
		t.Fatalf("all five: %v", err)
	}
	sloppy := text(0, 2, 4)
	sloppy[0] = " " + strings.ToLower(strings.ReplaceAll(sloppy[0], "-", " ")) + "\n"
	sloppy[1] = strings.NewReplacer("0", "O", "1", "l").Replace(sloppy[1])
	if got, err := r.Recover(sloppy); err != nil || !same(got, s) {
		t.Fatalf("sloppily typed: %v", err)
	}
	_, others, err := secrets(t).NewRecovery(3, 5)
	if err != nil {
		t.Fatal(err)
	}
	for name, given := range map[string][]string{
		"none": nil, "two": text(0, 1), "one twice": text(0, 1, 1),
		"another set's": append(text(0, 1), others[2].Text()), "garbage": append(text(0, 1), "hello"),
		"cut": append(text(0, 1), shares[2].Text()[:40]),
	} {
		if _, err := r.Recover(given); !errors.Is(err, hallig.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	typo := []byte(shares[2].Text())
	for i := range typo {
		if typo[i] == '-' {
			continue
		}
		bad := bytes.Clone(typo)
		bad[i] = shareAlphabet[(strings.IndexByte(shareAlphabet, bad[i])+7)%32]
		if _, err := r.Recover(append(text(0, 1), string(bad))); err == nil {
			t.Fatalf("a typing error in place %d went unseen", i)
		} else if strings.Contains(err.Error(), string(bad[:11])) {
			t.Fatal("the error repeats the share")
		}
	}
	forged := r.share(3, make([]byte, scalarSize))
	if _, err := r.Recover(append(text(0, 1), forged.Text())); !errors.Is(err, hallig.ErrDenied) {
		t.Errorf("a forged share: %v", err)
	}
	for _, n := range [][2]int{{0, 1}, {2, 1}, {1, 17}, {-1, 3}} {
		if _, _, err := s.NewRecovery(n[0], n[1]); !errors.Is(err, hallig.ErrInvalid) {
			t.Errorf("%v: %v", n, err)
		}
	}
	if got := fmt.Sprintf("%v %+v %s %#v", shares[0], shares, shares[0], shares); strings.Contains(got, shares[0].Text()[:11]) {
		t.Error("a share is printed")
	}
}

// TestRecoveryOutlivesRotation: the printed shares open what was sealed anew
// with the public half alone.
func TestRecoveryOutlivesRotation(t *testing.T) {
	k := ring(t)
	s, _ := k.Secrets()
	r, shares, err := s.NewRecovery(1, 2)
	if err != nil {
		t.Fatal(err)
	}
	var rotated *Secrets
	err = k.Rotate(func(s *Secrets) error { rotated = s; return nil })
	if err != nil {
		t.Fatal(err)
	}
	r2, err := r.Reseal(rotated)
	if err != nil {
		t.Fatal(err)
	}
	got, err := r2.Recover([]string{shares[1].Text()})
	if err != nil || !same(got, rotated) || got.Current != 2 {
		t.Fatal(err)
	}
}

func FuzzShare(f *testing.F) {
	r, shares, err := secrets(f).NewRecovery(2, 3)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(shares[0].Text())
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := r.Recover([]string{shares[1].Text(), text}); err == nil {
			if _, _, err := r.parse(text); err != nil {
				t.Fatal("recovered with a share that does not parse")
			}
		}
	})
}
