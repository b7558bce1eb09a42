package seal

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
)

func ring(t testing.TB) *Keyring {
	t.Helper()
	s, err := NewSecrets(testMesh)
	if err != nil {
		t.Fatal(err)
	}
	k := NewKeyring(testMesh)
	if err := k.Unlock(s); err != nil {
		t.Fatal(err)
	}
	return k
}

func bucket(t testing.TB, k *Keyring, id hallig.BucketID) (*Bucket, []byte) {
	t.Helper()
	wrapped, err := k.NewBucketKey(id)
	if err != nil {
		t.Fatal(err)
	}
	b, err := k.Bucket(id, wrapped)
	if err != nil {
		t.Fatal(err)
	}
	return b, wrapped
}

func TestWrapData(t *testing.T) {
	k := ring(t)
	b, _ := bucket(t, k, testBucket)
	if _, err := k.NewNamedKey("payroll"); err != nil {
		t.Fatal(err)
	}
	customer := bytes.Repeat([]byte{5}, 32)
	key := NewDataKey()
	for name, w := range map[string]Wrapping{
		"bucket": {}, "named": {Named: "payroll"}, "context": {Named: "payroll", Context: "a=b"}, "customer": {Customer: customer},
	} {
		s, err := b.WrapData(key, w)
		if err != nil {
			t.Fatal(err)
		}
		got, err := b.UnwrapData(s, Wrapping{Context: w.Context, Customer: w.Customer})
		if err != nil || got != key {
			t.Fatalf("%s: %v", name, err)
		}
		for i := range s.Wrapped {
			bad := s
			bad.Wrapped = bytes.Clone(s.Wrapped)
			bad.Wrapped[i] ^= 0x40
			if _, err := b.UnwrapData(bad, w); err == nil {
				t.Fatalf("%s: byte %d changed and it opens", name, i)
			}
		}
		other, _ := bucket(t, k, hallig.ID{0x77})
		if _, err := other.UnwrapData(s, w); err == nil {
			t.Fatalf("%s: another bucket opens it", name)
		}
	}
}

func TestUnwrapRefusals(t *testing.T) {
	k := ring(t)
	b, _ := bucket(t, k, testBucket)
	if _, err := k.NewNamedKey("n"); err != nil {
		t.Fatal(err)
	}
	customer, wrong := bytes.Repeat([]byte{5}, 32), bytes.Repeat([]byte{6}, 32)
	plain, _ := b.WrapData(NewDataKey(), Wrapping{})
	named, _ := b.WrapData(NewDataKey(), Wrapping{Named: "n", Context: "a"})
	ssec, _ := b.WrapData(NewDataKey(), Wrapping{Customer: customer})
	for name, c := range map[string]struct {
		s    catalog.SealedKey
		w    Wrapping
		want error
	}{
		"wrong customer key":      {ssec, Wrapping{Customer: wrong}, hallig.ErrDenied},
		"no customer key":         {ssec, Wrapping{}, hallig.ErrDenied},
		"needless customer key":   {plain, Wrapping{Customer: customer}, hallig.ErrDenied},
		"short customer key":      {ssec, Wrapping{Customer: wrong[:31]}, hallig.ErrInvalid},
		"other context":           {named, Wrapping{Context: "b"}, hallig.ErrDenied},
		"unknown wrapping":        {catalog.SealedKey{Under: "what"}, Wrapping{}, hallig.ErrKeyUnknown},
		"unknown named key":       {catalog.SealedKey{Under: "named/x"}, Wrapping{}, hallig.ErrKeyUnknown},
		"unknown epoch":           {catalog.SealedKey{Under: "named/n", Epoch: 9, Wrapped: named.Wrapped}, Wrapping{Context: "a"}, hallig.ErrKeyUnknown},
		"purpose":                 {catalog.SealedKey{Under: UnderBucket, Wrapped: ssec.Wrapped}, Wrapping{}, hallig.ErrCorrupt},
		"nothing":                 {catalog.SealedKey{Under: UnderBucket}, Wrapping{}, hallig.ErrCorrupt},
		"under another named key": {catalog.SealedKey{Under: UnderBucket, Wrapped: named.Wrapped}, Wrapping{}, hallig.ErrKeyUnknown},
	} {
		if _, err := b.UnwrapData(c.s, c.w); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if _, err := b.WrapData(NewDataKey(), Wrapping{Named: "n", Customer: customer}); !errors.Is(err, hallig.ErrInvalid) {
		t.Errorf("two wrappings: %v", err)
	}
	if _, err := b.WrapData(NewDataKey(), Wrapping{Named: "absent"}); !errors.Is(err, hallig.ErrKeyUnknown) {
		t.Errorf("absent named key: %v", err)
	}
	check, err := b.CustomerCheck(customer)
	if err != nil || b.CheckCustomer(check, customer) != nil {
		t.Fatal("the right customer key")
	}
	if err := b.CheckCustomer(check, wrong); !errors.Is(err, hallig.ErrDenied) {
		t.Errorf("the wrong customer key: %v", err)
	}
	if err := b.CheckCustomer(check[:3], customer); !errors.Is(err, hallig.ErrCorrupt) {
		t.Errorf("a cut check: %v", err)
	}
}

// TestRotate: a new root re-wraps bucket and named keys; data keys, names and
// records stay as they are.
func TestRotate(t *testing.T) {
	k := ring(t)
	b, wrapped := bucket(t, k, testBucket)
	named, err := k.NewNamedKey("n")
	if err != nil {
		t.Fatal(err)
	}
	key := NewDataKey()
	sealed, _ := b.WrapData(key, Wrapping{})
	under, _ := b.WrapData(key, Wrapping{Named: "n"})
	name, _ := k.SealName(testBucket, []byte("object"))
	record, _ := k.SealRecord(testBucket, []byte("aad"), []byte("record"))

	full := errors.New("the disk is full")
	if err := k.Rotate(func(*Secrets) error { return full }); !errors.Is(err, full) {
		t.Fatalf("rotation that could not be saved: %v", err)
	}
	if e, err := k.Epoch(); err != nil || e != 1 {
		t.Fatalf("a root that was not saved is current: epoch %d, %v", e, err)
	}
	var secrets *Secrets
	err = k.Rotate(func(s *Secrets) error { secrets = s; return nil })
	if err != nil || secrets.Current != 2 || len(secrets.Roots) != 2 {
		t.Fatalf("%v", err)
	}
	if _, err := k.Bucket(testBucket, wrapped); err != nil {
		t.Fatalf("before the re-wrapping the old root still serves: %v", err)
	}
	wrapped2, changed, err := k.RewrapBucket(testBucket, wrapped)
	if err != nil || !changed || bytes.Equal(wrapped, wrapped2) {
		t.Fatal(err)
	}
	named2, changed, err := k.Rewrap(PurposeNamed, "n", named)
	if err != nil || !changed {
		t.Fatal(err)
	}
	if _, changed, err = k.RewrapBucket(testBucket, wrapped2); err != nil || changed {
		t.Fatal("nothing left to do")
	}
	if secrets, err = k.Retire(); err != nil || len(secrets.Roots) != 1 {
		t.Fatal(err)
	}

	after := NewKeyring(testMesh)
	if err := after.Unlock(secrets); err != nil {
		t.Fatal(err)
	}
	if err := after.LoadNamedKey("n", named2); err != nil {
		t.Fatal(err)
	}
	b2, err := after.Bucket(testBucket, wrapped2)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []catalog.SealedKey{sealed, under} {
		if got, err := b2.UnwrapData(s, Wrapping{}); err != nil || got != key {
			t.Fatalf("data key after the rotation: %v", err)
		}
	}
	if name2, _ := after.SealName(testBucket, []byte("object")); !bytes.Equal(name, name2) {
		t.Fatal("names must not change")
	}
	if got, err := after.OpenRecord(testBucket, []byte("aad"), record); err != nil || string(got) != "record" {
		t.Fatal(err)
	}
	// Negative control: what was not re-wrapped is lost with the old root.
	if _, err := after.Bucket(testBucket, wrapped); !errors.Is(err, hallig.ErrKeyUnknown) {
		t.Fatalf("under a retired root: %v", err)
	}
	if err := after.LoadNamedKey("n", named); !errors.Is(err, hallig.ErrKeyUnknown) {
		t.Fatalf("under a retired root: %v", err)
	}
}

func TestRotateNamedKey(t *testing.T) {
	k := ring(t)
	b, _ := bucket(t, k, testBucket)
	if _, err := k.NewNamedKey("n"); err != nil {
		t.Fatal(err)
	}
	old, _ := b.WrapData(testKey, Wrapping{Named: "n"})
	stored, err := k.RotateNamedKey("n")
	if err != nil {
		t.Fatal(err)
	}
	now, _ := b.WrapData(testKey, Wrapping{Named: "n"})
	if old.Epoch != 1 || now.Epoch != 2 {
		t.Fatalf("epochs %d, %d", old.Epoch, now.Epoch)
	}
	k.ForgetNamedKey("n")
	if _, err := b.UnwrapData(old, Wrapping{}); !errors.Is(err, hallig.ErrKeyUnknown) {
		t.Fatalf("forgotten: %v", err)
	}
	if err := k.LoadNamedKey("n", stored); err != nil {
		t.Fatal(err)
	}
	for _, s := range []catalog.SealedKey{old, now} {
		if got, err := b.UnwrapData(s, Wrapping{}); err != nil || got != testKey {
			t.Fatal(err)
		}
	}
	if l := k.NamedKeys(); len(l) != 1 || l[0] != (NamedKey{Name: "n", Epoch: 2, Epochs: 2}) {
		t.Fatalf("%+v", l)
	}
	if err := k.LoadNamedKey("m", stored); err == nil {
		t.Fatal("a key stored under one name loads under another")
	}
	for _, name := range []string{"", "n", "a\x00", strings.Repeat("x", MaxNamedKey+1)} {
		if _, err := k.NewNamedKey(name); err == nil {
			t.Errorf("NewNamedKey(%q)", name)
		}
	}
	if _, err := k.RotateNamedKey("absent"); !errors.Is(err, hallig.ErrKeyUnknown) {
		t.Error(err)
	}
}

func TestCatalogSealing(t *testing.T) {
	k, other := ring(t), ring(t)
	a, err := k.SealName(testBucket, []byte("photos/cat.jpg"))
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := k.SealName(testBucket, []byte("photos/cat.jpg")); !bytes.Equal(a, again) {
		t.Fatal("names must seal alike")
	}
	if b, _ := k.SealName(hallig.ID{9}, []byte("photos/cat.jpg")); bytes.Equal(a, b) {
		t.Fatal("equal names of two buckets must not show as equal")
	}
	if bytes.Contains(a, []byte("cat")) {
		t.Fatal("the name shows")
	}
	if got, err := k.OpenName(testBucket, a); err != nil || string(got) != "photos/cat.jpg" {
		t.Fatal(err)
	}
	r, err := k.SealRecord(testBucket, []byte("place"), []byte("record"))
	if err != nil || len(r) != 6+EnvelopeOverhead {
		t.Fatal(err)
	}
	for name, f := range map[string]func() error{
		"name elsewhere":    func() error { _, err := k.OpenName(hallig.ID{9}, a); return err },
		"name, other mesh":  func() error { _, err := other.OpenName(testBucket, a); return err },
		"name cut":          func() error { _, err := k.OpenName(testBucket, a[:10]); return err },
		"record elsewhere":  func() error { _, err := k.OpenRecord(hallig.ID{9}, []byte("place"), r); return err },
		"record moved":      func() error { _, err := k.OpenRecord(testBucket, []byte("other"), r); return err },
		"record, other key": func() error { _, err := other.OpenRecord(testBucket, []byte("place"), r); return err },
		"record cut":        func() error { _, err := k.OpenRecord(testBucket, []byte("place"), r[:20]); return err },
	} {
		if err := f(); !errors.Is(err, hallig.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for i := range r {
		bad := bytes.Clone(r)
		bad[i] ^= 1
		if _, err := k.OpenRecord(testBucket, []byte("place"), bad); err == nil {
			t.Fatalf("byte %d changed and it opens", i)
		}
	}
}

func TestLocked(t *testing.T) {
	k := ring(t)
	b, wrapped := bucket(t, k, testBucket)
	sealed, _ := b.WrapData(testKey, Wrapping{})
	d1, err := k.Derive("tokens")
	if err != nil {
		t.Fatal(err)
	}
	if d2, _ := k.Derive("cookies"); d1 == d2 {
		t.Fatal("purposes must separate keys")
	}
	k.Lock()
	for name, f := range map[string]func() error{
		"Secrets":       func() error { _, err := k.Secrets(); return err },
		"Epoch":         func() error { _, err := k.Epoch(); return err },
		"Rotate":        func() error { return k.Rotate(func(*Secrets) error { return nil }) },
		"Retire":        func() error { _, err := k.Retire(); return err },
		"NewBucketKey":  func() error { _, err := k.NewBucketKey(testBucket); return err },
		"Bucket":        func() error { _, err := k.Bucket(testBucket, wrapped); return err },
		"RewrapBucket":  func() error { _, _, err := k.RewrapBucket(testBucket, wrapped); return err },
		"WrapData":      func() error { _, err := b.WrapData(testKey, Wrapping{}); return err },
		"UnwrapData":    func() error { _, err := b.UnwrapData(sealed, Wrapping{}); return err },
		"NewNamedKey":   func() error { _, err := k.NewNamedKey("n"); return err },
		"LoadNamedKey":  func() error { return k.LoadNamedKey("n", nil) },
		"SealName":      func() error { _, err := k.SealName(testBucket, nil); return err },
		"OpenName":      func() error { _, err := k.OpenName(testBucket, nil); return err },
		"SealRecord":    func() error { _, err := k.SealRecord(testBucket, nil, nil); return err },
		"OpenRecord":    func() error { _, err := k.OpenRecord(testBucket, nil, nil); return err },
		"Derive":        func() error { _, err := k.Derive("x"); return err },
		"RotateNamed":   func() error { _, err := k.RotateNamedKey("n"); return err },
		"Unlock, other": func() error { return hallig.ErrKeyLocked },
	} {
		if err := f(); !errors.Is(err, hallig.ErrKeyLocked) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s, _ := NewSecrets(hallig.ID{1})
	if err := k.Unlock(s); !errors.Is(err, hallig.ErrForeign) {
		t.Errorf("another mesh's secrets: %v", err)
	}
	if !k.Locked() {
		t.Error("still locked")
	}
}

// knownEnvelope pins the format: "x" under the zero key of epoch 1.
const knownEnvelope = "0106000000013f34f7a429219fe98618ef217c239661cd28cf0244e49f033b35d3be799dd7a575cbe221a2c5567d8ed4005b5bf152b071"

func known(t testing.TB) []byte {
	t.Helper()
	b, err := hex.DecodeString(knownEnvelope)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestKnownEnvelope(t *testing.T) {
	out, err := disclose(make([]byte, 32), PurposeRecord, "context", []byte("aad"), known(t))
	if err != nil || string(out) != "x" {
		t.Fatalf("nothing that was ever stored can be read: %v", err)
	}
	for name, f := range map[string]func() error{
		"context": func() error {
			_, err := disclose(make([]byte, 32), PurposeRecord, "contexu", []byte("aad"), known(t))
			return err
		},
		"aad": func() error {
			_, err := disclose(make([]byte, 32), PurposeRecord, "context", []byte("aae"), known(t))
			return err
		},
		"purpose": func() error {
			_, err := disclose(make([]byte, 32), PurposeData, "context", []byte("aad"), known(t))
			return err
		},
	} {
		if f() == nil {
			t.Errorf("another %s opens it", name)
		}
	}
}

func FuzzEnvelope(f *testing.F) {
	good := known(f)
	f.Add(good)
	f.Add([]byte{1, 6})
	f.Fuzz(func(t *testing.T, sealed []byte) {
		if out, err := disclose(make([]byte, 32), PurposeRecord, "context", []byte("aad"), sealed); err == nil && !bytes.Equal(sealed, good) {
			t.Fatalf("forged %q", out)
		}
	})
}

func BenchmarkSealRecord(b *testing.B) {
	k := ring(b)
	plain := make([]byte, 400)
	for b.Loop() {
		if _, err := k.SealRecord(testBucket, nil, plain); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSealName(b *testing.B) {
	k := ring(b)
	plain := make([]byte, 40)
	for b.Loop() {
		if _, err := k.SealName(testBucket, plain); err != nil {
			b.Fatal(err)
		}
	}
}
