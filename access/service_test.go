package access

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/catalog/mem"
)

func newService(t testing.TB) *Service {
	t.Helper()
	s := New(mem.New(mem.Config{}), Config{})
	t.Cleanup(s.Close)
	return s
}

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func newKey(t testing.TB, s *Service, user string) (Key, string) {
	t.Helper()
	k, secret, err := s.CreateKey(context.Background(), NewKey{User: user})
	if err != nil {
		t.Fatal(err)
	}
	return k, secret
}

func TestUsersAndKeys(t *testing.T) {
	ctx := context.Background()
	s := newService(t)
	alice := must[User](t)(s.CreateUser(ctx, "alice", "Alice", "alice@example.com"))
	if !isCanonicalID(alice.ID) {
		t.Errorf("id %q", alice.ID)
	}
	for name, call := range map[string]func() error{
		"name taken":  func() error { _, err := s.CreateUser(ctx, "alice", "", ""); return err },
		"email taken": func() error { _, err := s.CreateUser(ctx, "bob", "", "alice@example.com"); return err },
		"root's name": func() error { _, err := s.CreateUser(ctx, RootUser, "", ""); return err },
		"key taken": func() error {
			k, _ := newKey(t, s, "alice")
			_, _, err := s.CreateKey(ctx, NewKey{User: "alice", AccessKey: k.AccessKey, Secret: "12345678"})
			return err
		},
	} {
		if err := call(); !errors.Is(err, hallig.ErrExists) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, call := range map[string]func() error{
		"no name":    func() error { _, err := s.CreateUser(ctx, "", "", ""); return err },
		"bad name":   func() error { _, err := s.CreateUser(ctx, "a/b", "", ""); return err },
		"wildcard":   func() error { _, err := s.CreateUser(ctx, "*", "", ""); return err },
		"long name":  func() error { _, err := s.CreateUser(ctx, strings.Repeat("a", 65), "", ""); return err },
		"bad email":  func() error { _, err := s.CreateUser(ctx, "carol", "", "not an address"); return err },
		"half a key": func() error { _, _, err := s.CreateKey(ctx, NewKey{User: "alice", AccessKey: "KEY"}); return err },
		"slash in key": func() error {
			_, _, err := s.CreateKey(ctx, NewKey{User: "alice", AccessKey: "a/b/c", Secret: "12345678"})
			return err
		},
		"weak secret": func() error {
			_, _, err := s.CreateKey(ctx, NewKey{User: "alice", AccessKey: "KEY", Secret: "1234567"})
			return err
		},
		"bad policy":     func() error { return s.SetPolicy(ctx, "alice", "p", []byte("{}")) },
		"bad key policy": func() error { _, _, err := s.CreateKey(ctx, NewKey{User: "alice", Policy: []byte("x")}); return err },
	} {
		if err := call(); !errors.Is(err, hallig.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := s.CreateKey(ctx, NewKey{User: "nobody"}); !errors.Is(err, hallig.ErrNotFound) {
		t.Error(err)
	}
	if list := must[[]User](t)(s.Users(ctx)); len(list) != 1 || list[0].Name != "alice" {
		t.Errorf("%v", list)
	}
	if u := must[User](t)(s.UserByID(ctx, alice.ID)); u.DisplayName != "Alice" {
		t.Errorf("%v", u)
	}
}

// TestRevocationIsImmediate: a look-up after a change sees it, cached or not.
func TestRevocationIsImmediate(t *testing.T) {
	ctx := context.Background()
	s := newService(t)
	must[User](t)(s.CreateUser(ctx, "alice", "", ""))
	k, secret := newKey(t, s, "alice")
	expect := func(what string, works bool) {
		t.Helper()
		c, err := s.Lookup(ctx, k.AccessKey)
		if works && (err != nil || c.Secret != secret) || !works && !errors.Is(err, hallig.ErrNotFound) {
			t.Errorf("%s: %v", what, err)
		}
	}
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	expect("new", true)
	do(s.EnableKey(ctx, k.AccessKey, false))
	expect("disabled", false)
	do(s.EnableKey(ctx, k.AccessKey, true))
	expect("enabled", true)
	do(s.EnableUser(ctx, "alice", false))
	expect("user disabled", false)
	do(s.EnableUser(ctx, "alice", true))
	expect("user enabled", true)
	do(s.SetPolicy(ctx, "alice", "p", []byte(userPolicy(allowAll))))
	if c, err := s.Lookup(ctx, k.AccessKey); err != nil || len(c.Identity.Policies) != 1 {
		t.Errorf("%v, %v", c.Identity.Policies, err)
	}
	do(s.DeletePolicy(ctx, "alice", "p"))
	if c, err := s.Lookup(ctx, k.AccessKey); err != nil || len(c.Identity.Policies) != 0 {
		t.Errorf("%v, %v", c.Identity.Policies, err)
	}
	do(s.DeleteKey(ctx, k.AccessKey))
	expect("deleted", false)
	k, secret = newKey(t, s, "alice")
	expect("another", true)
	do(s.DeleteUser(ctx, "alice"))
	expect("user deleted", false)
	must[User](t)(s.CreateUser(ctx, "alice", "", ""))
	expect("a namesake", false)
	if keys := must[[]Key](t)(s.Keys(ctx, "")); len(keys) != 0 {
		t.Errorf("keys %v outlive their user", keys)
	}
}

// TestRevocationElsewhere: another node's change arrives with the notice.
func TestRevocationElsewhere(t *testing.T) {
	ctx := context.Background()
	c := mem.New(mem.Config{})
	here, there := New(c, Config{}), New(c, Config{})
	defer here.Close()
	defer there.Close()
	must[User](t)(here.CreateUser(ctx, "alice", "", ""))
	k, _ := newKey(t, here, "alice")
	if _, err := there.Lookup(ctx, k.AccessKey); err != nil {
		t.Fatal(err)
	}
	told := make(chan struct{}, 10)
	stop := c.Watch(catalog.KindKey, func() { told <- struct{}{} })
	defer stop()
	if err := here.DeleteKey(ctx, k.AccessKey); err != nil {
		t.Fatal(err)
	}
	<-told
	for deadline := time.Now().Add(10 * time.Second); ; {
		if _, err := there.Lookup(ctx, k.AccessKey); errors.Is(err, hallig.ErrNotFound) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("a deleted key still works elsewhere")
		}
	}
}

func TestRotation(t *testing.T) {
	ctx := context.Background()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	s := New(mem.New(mem.Config{}), Config{Now: func() time.Time { return now }})
	defer s.Close()
	must[User](t)(s.CreateUser(ctx, "alice", "", ""))
	policy := []byte(userPolicy(allowAll))
	old, _, err := s.CreateKey(ctx, NewKey{User: "alice", Policy: policy})
	if err != nil {
		t.Fatal(err)
	}
	fresh, secret, err := s.RotateKey(ctx, old.AccessKey, time.Hour)
	if err != nil || fresh.AccessKey == old.AccessKey || string(fresh.Policy) != string(policy) {
		t.Fatalf("%v, %v", fresh, err)
	}
	if _, err := s.Lookup(ctx, old.AccessKey); err != nil {
		t.Errorf("the old key, within its grace: %v", err)
	}
	now = now.Add(time.Hour)
	if _, err := s.Lookup(ctx, old.AccessKey); !errors.Is(err, hallig.ErrNotFound) {
		t.Errorf("the old key, after its grace: %v", err)
	}
	if c, err := s.Lookup(ctx, fresh.AccessKey); err != nil || c.Secret != secret || c.Identity.KeyPolicy == nil {
		t.Errorf("the new key: %v", err)
	}
}

func TestRoot(t *testing.T) {
	ctx := context.Background()
	s := newService(t)
	k, secret, created, err := s.EnsureRoot(ctx, "", "")
	if err != nil || !created || secret == "" {
		t.Fatal(k, created, err)
	}
	if c, err := s.Lookup(ctx, k.AccessKey); err != nil || !c.Identity.Root || c.Secret != secret {
		t.Fatal(c.Identity, err)
	}
	again, secret2, created, err := s.EnsureRoot(ctx, "", "")
	if err != nil || created || secret2 != "" || again.AccessKey != k.AccessKey {
		t.Errorf("again: %v, %v, %v", again, created, err)
	}
	for _, preset := range []string{"first-secret", "second-secret"} {
		if _, _, created, err := s.EnsureRoot(ctx, "preset", preset); err != nil || !created {
			t.Errorf("%v, %v", created, err)
		}
		if c, err := s.Lookup(ctx, "preset"); err != nil || c.Secret != preset || !c.Identity.Root {
			t.Errorf("%v", err)
		}
	}
	if _, _, created, err := s.EnsureRoot(ctx, "preset", "second-secret"); err != nil || created {
		t.Errorf("unchanged: %v, %v", created, err)
	}
	if _, _, _, err := s.EnsureRoot(ctx, "preset", "short"); !errors.Is(err, hallig.ErrInvalid) {
		t.Error(err)
	}
	if err := s.DeleteUser(ctx, RootUser); !errors.Is(err, hallig.ErrDenied) {
		t.Error(err)
	}
	if err := s.EnableUser(ctx, RootUser, false); !errors.Is(err, hallig.ErrDenied) {
		t.Error(err)
	}
	if err := s.DeleteKey(ctx, k.AccessKey); err != nil {
		t.Error(err)
	}
	if err := s.DeleteKey(ctx, "preset"); !errors.Is(err, hallig.ErrDenied) {
		t.Errorf("the last root key: %v", err)
	}
	must[User](t)(s.CreateUser(ctx, "alice", "", ""))
	theirs, _ := newKey(t, s, "alice")
	if _, _, _, err := s.EnsureRoot(ctx, theirs.AccessKey, "12345678"); !errors.Is(err, hallig.ErrExists) {
		t.Errorf("a preset that is a user's key: %v", err)
	}
}

// TestStoredPolicy: what cannot be read refuses, rather than being no policy.
func TestStoredPolicy(t *testing.T) {
	s := newService(t)
	if p, err := s.StoredPolicy(nil, "bkt"); p != nil || err != nil {
		t.Error(p, err)
	}
	document := []byte(statement("Allow", `"*"`, `"s3:*"`, `"*"`, ""))
	p1, err := s.StoredPolicy(document, "bkt")
	p2, _ := s.StoredPolicy(document, "bkt")
	if err != nil || p1 != p2 {
		t.Error("not remembered", err)
	}
	if p3, err := s.StoredPolicy([]byte(statement("Deny", `"*"`, `"s3:*"`, `"*"`, "")), "bkt"); err != nil || p3 == p1 {
		t.Error("an old policy is remembered", err)
	}
	if _, err := s.StoredPolicy([]byte("{"), "bkt"); err == nil {
		t.Error("a broken policy reads as none")
	}
}

func TestParseBucketPolicyPrincipals(t *testing.T) {
	ctx := context.Background()
	s := newService(t)
	alice := must[User](t)(s.CreateUser(ctx, "alice", "", ""))
	k, _ := newKey(t, s, "alice")
	for principal, want := range map[string]string{`"alice"`: "OK", `"` + k.AccessKey + `"`: "OK", `{"AWS":"arn:aws:iam::000000000000:user/alice"}`: "OK", `{"CanonicalUser":"` + alice.ID + `"}`: "OK",
		`"*"`: "OK", `{"AWS":"000000000000"}`: "OK", `"bob"`: "MalformedPolicy", `{"AWS":"arn:aws:iam::000000000000:user/` + k.AccessKey + `"}`: "MalformedPolicy",
		`{"CanonicalUser":"` + id("9") + `"}`: "MalformedPolicy"} {
		if _, err := s.ParseBucketPolicy(ctx, []byte(statement("Allow", principal, `"s3:*"`, `"arn:aws:s3:::bkt"`, "")), "bkt"); code(err) != want {
			t.Errorf("%s: %v, want %s", principal, err, want)
		}
	}
}

// TestBruteForceIsBounded: guessed access keys do not grow the caches.
func TestBruteForceIsBounded(t *testing.T) {
	s := newService(t)
	for range 3 * maxCached {
		if _, err := s.Lookup(context.Background(), newAccessKey()); !errors.Is(err, hallig.ErrNotFound) {
			t.Fatal(err)
		}
	}
	if n := len(s.unknown); n > maxCached {
		t.Errorf("%d unknown keys are remembered", n)
	}
	for _, bad := range []string{"", "a", "a/b", strings.Repeat("a", 1000), "a\x00b", "ключ"} {
		if _, err := s.Lookup(context.Background(), bad); !errors.Is(err, hallig.ErrNotFound) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// TestConcurrent runs changes beside look-ups, for the race detector.
func TestConcurrent(t *testing.T) {
	ctx := context.Background()
	s := newService(t)
	must[User](t)(s.CreateUser(ctx, "alice", "", ""))
	k, _ := newKey(t, s, "alice")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				_, _ = s.Lookup(ctx, k.AccessKey)
				_, _ = s.UserByID(ctx, "x")
			}
		})
		wg.Go(func() {
			for i := range 20 {
				_ = s.EnableKey(ctx, k.AccessKey, i%2 == 0)
				_ = s.SetPolicy(ctx, "alice", "p", []byte(userPolicy(allowAll)))
			}
		})
	}
	wg.Wait()
	if err := s.EnableKey(ctx, k.AccessKey, false); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Lookup(ctx, k.AccessKey); !errors.Is(err, hallig.ErrNotFound) {
		t.Error("a stale credential is cached")
	}
}

// TestNoSecretInErrors looks for a secret in what failing calls say.
func TestNoSecretInErrors(t *testing.T) {
	ctx := context.Background()
	s := newService(t)
	const canary = "canary-secret with space"
	_, _, err := s.CreateKey(ctx, NewKey{User: "alice", AccessKey: "KEY", Secret: canary})
	if err == nil || strings.Contains(err.Error(), "canary") {
		t.Error(err)
	}
}
