package access

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
)

// A Key is an S3 access key. Its secret is never given out again.
type Key struct {
	AccessKey string
	User      string // name
	Created   time.Time
	Disabled  bool
	Expires   time.Time // zero: never
	Policy    []byte    // JSON that narrows the key; nil: all that the user may
	Comment   string
}

// A NewKey asks for a key. AccessKey and Secret are made up when both are
// empty, which is best: given ones are somebody's choice.
type NewKey struct {
	User      string
	AccessKey string
	Secret    string
	Expires   time.Time
	Policy    []byte
	Comment   string
}

// CreateKey makes a key and returns it with its secret, this once.
func (s *Service) CreateKey(ctx context.Context, n NewKey) (Key, string, error) {
	if (n.AccessKey == "") != (n.Secret == "") {
		return Key{}, "", fmt.Errorf("create key: give both an access key and a secret, or neither: %w", hallig.ErrInvalid)
	}
	if n.AccessKey == "" {
		n.AccessKey, n.Secret = newAccessKey(), newSecret()
	}
	switch {
	case !validAccessKey(n.AccessKey):
		return Key{}, "", fmt.Errorf("create key: access key: 3 to 128 letters, digits and _-.+=@: %w", hallig.ErrInvalid)
	case !validSecret(n.Secret):
		return Key{}, "", fmt.Errorf("create key %s: secret: 8 to 128 printable characters without spaces: %w", n.AccessKey, hallig.ErrInvalid)
	case len(n.Comment) > 256:
		return Key{}, "", fmt.Errorf("create key %s: the comment is longer than 256 bytes: %w", n.AccessKey, hallig.ErrInvalid)
	}
	if n.Policy != nil {
		if _, err := ParseUserPolicy(n.Policy); err != nil {
			return Key{}, "", fmt.Errorf("create key %s: %w", n.AccessKey, err)
		}
	}
	var u userRecord
	revision, err := s.read(ctx, catalog.KindUser, n.User, &u)
	if err != nil {
		return Key{}, "", err
	}
	if keys, err := s.Keys(ctx, n.User); err != nil {
		return Key{}, "", err
	} else if len(keys) >= MaxKeys {
		return Key{}, "", fmt.Errorf("user %s has %d keys already: delete one: %w", n.User, len(keys), hallig.ErrTooLarge)
	}
	k := keyRecord{User: u.Name, UserID: u.ID, Secret: n.Secret, Created: s.c.Now().UTC().Truncate(time.Second),
		Policy: n.Policy, Comment: n.Comment, Expires: n.Expires.UTC()}
	if n.Expires.IsZero() {
		k.Expires = time.Time{}
	}
	if err := s.storeNewKey(ctx, n.AccessKey, k, u, revision); err != nil {
		return Key{}, "", fmt.Errorf("create key %s: %w", n.AccessKey, err)
	}
	return k.key(n.AccessKey), n.Secret, nil
}

// storeNewKey writes the key, and the user's record unchanged, so that a key
// never outlives a user who is being deleted.
func (s *Service) storeNewKey(ctx context.Context, accessKey string, k keyRecord, u userRecord, revision hallig.Revision) error {
	add, err := change(catalog.KindKey, accessKey, k, 0)
	if err != nil {
		return err
	}
	same, err := change(catalog.KindUser, u.Name, u, revision)
	if err != nil {
		return err
	}
	err = s.update(ctx, add, same)
	if errors.Is(err, hallig.ErrConflict) {
		if _, e := s.records.Get(ctx, catalog.KindKey, accessKey); e == nil {
			return hallig.ErrExists
		}
	}
	return err
}

func (k keyRecord) key(accessKey string) Key {
	return Key{AccessKey: accessKey, User: k.User, Created: k.Created, Disabled: k.Disabled, Expires: k.Expires, Policy: k.Policy, Comment: k.Comment}
}

// Keys returns a user's keys, or with "" everybody's, in order of the access keys.
func (s *Service) Keys(ctx context.Context, user string) ([]Key, error) {
	var list []Key
	err := s.scan(ctx, catalog.KindKey, func(r catalog.Record) error {
		var k keyRecord
		if err := cbor.Unmarshal(r.Value, &k); err != nil {
			return fmt.Errorf("read key %q: %w: %w", r.Name, err, hallig.ErrCorrupt)
		}
		if user == "" || k.User == user {
			list = append(list, k.key(r.Name))
		}
		return nil
	})
	return list, err
}

// EnableKey enables or disables a key.
func (s *Service) EnableKey(ctx context.Context, accessKey string, enabled bool) error {
	return s.editKey(ctx, accessKey, func(k *keyRecord) { k.Disabled = !enabled })
}

// SetKeyPolicy narrows a key to what a policy allows; nil lifts that.
func (s *Service) SetKeyPolicy(ctx context.Context, accessKey string, document []byte) error {
	if document != nil {
		if _, err := ParseUserPolicy(document); err != nil {
			return fmt.Errorf("policy of key %s: %w", accessKey, err)
		}
	}
	return s.editKey(ctx, accessKey, func(k *keyRecord) { k.Policy = document })
}

// RotateKey makes a new key with the same user and policy and lets the old one
// work for grace more (0: no longer). It returns the new key and its secret.
func (s *Service) RotateKey(ctx context.Context, accessKey string, grace time.Duration) (Key, string, error) {
	var old keyRecord
	if _, err := s.read(ctx, catalog.KindKey, accessKey, &old); err != nil {
		return Key{}, "", err
	}
	k, secret, err := s.CreateKey(ctx, NewKey{User: old.User, Policy: old.Policy, Comment: old.Comment, Expires: old.Expires})
	if err != nil {
		return Key{}, "", err
	}
	until := s.c.Now().Add(grace).UTC()
	err = s.editKey(ctx, accessKey, func(k *keyRecord) {
		if k.Expires.IsZero() || until.Before(k.Expires) {
			k.Expires = until
		}
	})
	return k, secret, err
}

func (s *Service) editKey(ctx context.Context, accessKey string, f func(*keyRecord)) error {
	for {
		var k keyRecord
		revision, err := s.read(ctx, catalog.KindKey, accessKey, &k)
		if err != nil {
			return err
		}
		f(&k)
		c, err := change(catalog.KindKey, accessKey, k, revision)
		if err != nil {
			return err
		}
		if err := s.update(ctx, c); !errors.Is(err, hallig.ErrConflict) {
			return err
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("change key %s: %w", accessKey, err)
		}
	}
}

// DeleteKey removes a key, or ErrNotFound. The last working key of the root
// user stays: nobody could administer the account over S3 any more.
func (s *Service) DeleteKey(ctx context.Context, accessKey string) error {
	var k keyRecord
	revision, err := s.read(ctx, catalog.KindKey, accessKey, &k)
	if err != nil {
		return err
	}
	if k.User == RootUser {
		keys, err := s.Keys(ctx, RootUser)
		if err != nil {
			return err
		}
		working := 0
		for _, other := range keys {
			if other.AccessKey != accessKey && !other.Disabled && other.Expires.IsZero() {
				working++
			}
		}
		if working == 0 {
			return fmt.Errorf("delete key %s: it is the root user's last: create another first: %w", accessKey, hallig.ErrDenied)
		}
	}
	if err := s.update(ctx, catalog.Change{Kind: catalog.KindKey, Name: accessKey, Delete: true, Expect: revision}); err != nil {
		return fmt.Errorf("delete key %s: %w", accessKey, err)
	}
	return nil
}

// EnsureRoot makes sure that the root user exists and has a key. With both
// arguments empty a key is made up if the root user has none; otherwise the
// given pair is made the root user's key, with that secret. created says that
// the returned secret is new; the caller shows it once.
func (s *Service) EnsureRoot(ctx context.Context, accessKey, secret string) (key Key, newSecret string, created bool, err error) {
	if _, err := s.User(ctx, RootUser); isNotFound(err) {
		if _, err = s.createUser(ctx, userRecord{Name: RootUser, Root: true}); err != nil && !errors.Is(err, hallig.ErrExists) {
			return Key{}, "", false, err
		}
	} else if err != nil {
		return Key{}, "", false, err
	}
	keys, err := s.Keys(ctx, RootUser)
	if err != nil {
		return Key{}, "", false, err
	}
	if accessKey == "" && secret == "" && len(keys) > 0 {
		return keys[0], "", false, nil
	}
	for _, k := range keys {
		if k.AccessKey == accessKey {
			return s.presetRoot(ctx, k, secret)
		}
	}
	key, newSecret, err = s.CreateKey(ctx, NewKey{User: RootUser, AccessKey: accessKey, Secret: secret, Comment: "first credentials"})
	return key, newSecret, err == nil, err
}

// presetRoot gives an existing root key the secret that was preset.
func (s *Service) presetRoot(ctx context.Context, k Key, secret string) (Key, string, bool, error) {
	if !validSecret(secret) {
		return Key{}, "", false, fmt.Errorf("root key %s: secret: 8 to 128 printable characters without spaces: %w", k.AccessKey, hallig.ErrInvalid)
	}
	var record keyRecord
	if _, err := s.read(ctx, catalog.KindKey, k.AccessKey, &record); err != nil {
		return Key{}, "", false, err
	}
	if record.Secret == secret && !record.Disabled {
		return k, "", false, nil
	}
	err := s.editKey(ctx, k.AccessKey, func(r *keyRecord) { r.Secret, r.Disabled = secret, false })
	k.Disabled = false
	return k, secret, err == nil, err
}
