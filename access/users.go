package access

import (
	"context"
	"errors"
	"fmt"
	"net/mail"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
)

// A User is somebody with access keys and policies.
type User struct {
	ID          string // canonical id, 64 hex digits; never reused
	Name        string // 1..64 letters, digits and "+=,.@_-"
	DisplayName string // shown to clients; Name when empty
	Email       string // for grants by e-mail; "" is none
	Created     time.Time
	Disabled    bool
	Root        bool
	Policies    []string // names, in order
}

func (u userRecord) user() User {
	v := User{ID: u.ID, Name: u.Name, DisplayName: u.DisplayName, Email: u.Email, Created: u.Created,
		Disabled: u.Disabled, Root: u.Root, Policies: sortedKeys(u.Policies)}
	if v.DisplayName == "" {
		v.DisplayName = v.Name
	}
	return v
}

// Limits of a user.
const (
	MaxPolicies = 20       // policies of one user
	MaxPolicy   = 20 << 10 // bytes of one policy document
	MaxKeys     = 100      // access keys of one user
)

// CreateUser makes a user without keys or policies: it may do nothing yet.
// ErrExists if the name or the e-mail address is taken, ErrInvalid if malformed.
func (s *Service) CreateUser(ctx context.Context, name, displayName, email string) (User, error) {
	if name == RootUser {
		return User{}, fmt.Errorf("create user: the name %q is the account's own: %w", name, hallig.ErrExists)
	}
	return s.createUser(ctx, userRecord{Name: name, DisplayName: displayName, Email: email})
}

func (s *Service) createUser(ctx context.Context, u userRecord) (User, error) {
	if !validName(u.Name) {
		return User{}, fmt.Errorf("create user: name %q: 1 to 64 letters, digits and +=,.@_-: %w", u.Name, hallig.ErrInvalid)
	}
	if len(u.DisplayName) > 128 {
		return User{}, fmt.Errorf("create user %s: the display name is longer than 128 bytes: %w", u.Name, hallig.ErrInvalid)
	}
	if u.Email != "" {
		if a, err := mail.ParseAddress(u.Email); err != nil || a.Address != u.Email {
			return User{}, fmt.Errorf("create user %s: e-mail address %q: %w", u.Name, u.Email, hallig.ErrInvalid)
		}
		if _, err := s.UserByEmail(ctx, u.Email); err == nil {
			return User{}, fmt.Errorf("create user %s: e-mail address %s is another user's: %w", u.Name, u.Email, hallig.ErrExists)
		} else if !isNotFound(err) {
			return User{}, err
		}
	}
	u.ID, u.Created = newCanonicalID(), s.c.Now().UTC().Truncate(time.Second)
	c, err := change(catalog.KindUser, u.Name, u, 0)
	if err != nil {
		return User{}, err
	}
	if err := s.update(ctx, c); err != nil {
		if errors.Is(err, hallig.ErrConflict) {
			err = hallig.ErrExists
		}
		return User{}, fmt.Errorf("create user %s: %w", u.Name, err)
	}
	return u.user(), nil
}

// DeleteUser removes a user and all its keys in one step. Buckets and objects
// keep its canonical id, which never comes back. The root user stays.
func (s *Service) DeleteUser(ctx context.Context, name string) error {
	var u userRecord
	revision, err := s.read(ctx, catalog.KindUser, name, &u)
	if err != nil {
		return err
	}
	if u.Root {
		return fmt.Errorf("delete user %s: the root user cannot be deleted: %w", name, hallig.ErrDenied)
	}
	changes := []catalog.Change{{Kind: catalog.KindUser, Name: name, Delete: true, Expect: revision}}
	keys, err := s.Keys(ctx, name)
	if err != nil {
		return err
	}
	for _, k := range keys {
		changes = append(changes, catalog.Change{Kind: catalog.KindKey, Name: k.AccessKey, Delete: true, Expect: catalog.AnyRevision})
	}
	if err := s.update(ctx, changes...); err != nil {
		return fmt.Errorf("delete user %s: %w", name, err)
	}
	return nil
}

// User returns a user by name, or ErrNotFound.
func (s *Service) User(ctx context.Context, name string) (User, error) {
	var u userRecord
	if _, err := s.read(ctx, catalog.KindUser, name, &u); err != nil {
		return User{}, err
	}
	return u.user(), nil
}

// Users returns all users in order of their names.
func (s *Service) Users(ctx context.Context) ([]User, error) {
	var list []User
	err := s.eachUser(ctx, func(u userRecord) bool { list = append(list, u.user()); return true })
	return list, err
}

// UserByID returns the user with a canonical id, or ErrNotFound. It is cached:
// lists show an owner's display name for every entry.
func (s *Service) UserByID(ctx context.Context, id string) (User, error) {
	s.mu.RLock()
	u, ok := s.names[id]
	generation := s.generation
	s.mu.RUnlock()
	if ok {
		return u, nil
	}
	found, err := s.findUser(ctx, func(u userRecord) bool { return u.ID == id })
	if err != nil {
		return User{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if generation == s.generation && len(s.names) < maxCached {
		s.names[id] = found.user()
	}
	return found.user(), nil
}

// UserByEmail returns the user with an e-mail address, or ErrNotFound.
func (s *Service) UserByEmail(ctx context.Context, email string) (User, error) {
	u, err := s.findUser(ctx, func(u userRecord) bool { return u.Email != "" && u.Email == email })
	if err != nil {
		return User{}, err
	}
	return u.user(), nil
}

func (s *Service) findUser(ctx context.Context, is func(userRecord) bool) (userRecord, error) {
	var found userRecord
	ok := false
	err := s.eachUser(ctx, func(u userRecord) bool {
		if ok = is(u); ok {
			found = u
		}
		return !ok
	})
	if err == nil && !ok {
		err = fmt.Errorf("user: %w", hallig.ErrNotFound)
	}
	return found, err
}

var errEnough = errors.New("enough") // ends a scan early

func (s *Service) eachUser(ctx context.Context, each func(userRecord) bool) error {
	err := s.scan(ctx, catalog.KindUser, func(r catalog.Record) error {
		var u userRecord
		if err := cbor.Unmarshal(r.Value, &u); err != nil {
			return fmt.Errorf("read user %q: %w: %w", r.Name, err, hallig.ErrCorrupt)
		}
		if !each(u) {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// edit changes a user's record; it starts again after a lost race.
func (s *Service) edit(ctx context.Context, name string, f func(*userRecord) error) error {
	for {
		var u userRecord
		revision, err := s.read(ctx, catalog.KindUser, name, &u)
		if err != nil {
			return err
		}
		if err := f(&u); err != nil {
			return err
		}
		c, err := change(catalog.KindUser, name, u, revision)
		if err != nil {
			return err
		}
		if err := s.update(ctx, c); !errors.Is(err, hallig.ErrConflict) {
			return err
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("change user %s: %w", name, err)
		}
	}
}

// EnableUser enables or disables a user; a disabled user's keys do not work.
func (s *Service) EnableUser(ctx context.Context, name string, enabled bool) error {
	return s.edit(ctx, name, func(u *userRecord) error {
		if u.Root && !enabled {
			return fmt.Errorf("disable user %s: the root user cannot be disabled: %w", name, hallig.ErrDenied)
		}
		u.Disabled = !enabled
		return nil
	})
}

// SetPolicy attaches a policy document (JSON, at most MaxPolicy bytes) to a
// user under a name, replacing the one of that name. A malformed one is an
// *Error that says what is wrong.
func (s *Service) SetPolicy(ctx context.Context, user, policy string, document []byte) error {
	if len(policy) > 128 || policy == "" || !allIn(policy, "+=,.@_-") {
		return fmt.Errorf("policy name %q: 1 to 128 letters, digits and +=,.@_-: %w", policy, hallig.ErrInvalid)
	}
	if _, err := ParseUserPolicy(document); err != nil {
		return fmt.Errorf("policy %s of user %s: %w", policy, user, err)
	}
	return s.edit(ctx, user, func(u *userRecord) error {
		if u.Policies == nil {
			u.Policies = make(map[string][]byte)
		}
		u.Policies[policy] = document
		if len(u.Policies) > MaxPolicies {
			return fmt.Errorf("user %s has %d policies already: %w", user, MaxPolicies, hallig.ErrTooLarge)
		}
		return nil
	})
}

// Policy returns a user's policy document, or ErrNotFound.
func (s *Service) Policy(ctx context.Context, user, policy string) ([]byte, error) {
	var u userRecord
	if _, err := s.read(ctx, catalog.KindUser, user, &u); err != nil {
		return nil, err
	}
	document, ok := u.Policies[policy]
	if !ok {
		return nil, fmt.Errorf("policy %s of user %s: %w", policy, user, hallig.ErrNotFound)
	}
	return document, nil
}

// DeletePolicy detaches a policy, or ErrNotFound.
func (s *Service) DeletePolicy(ctx context.Context, user, policy string) error {
	return s.edit(ctx, user, func(u *userRecord) error {
		if _, ok := u.Policies[policy]; !ok {
			return fmt.Errorf("policy %s of user %s: %w", policy, user, hallig.ErrNotFound)
		}
		delete(u.Policies, policy)
		return nil
	})
}
