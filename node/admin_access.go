package node

import (
	"context"
	"errors"
	"fmt"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/access"
	"github.com/hallig-cloud/hallig/admin"
)

// firstPolicy is the name of the policy that `user add --policy` attaches.
const firstPolicy = "default"

// Users implements admin.Users.
func (n *Node) Users(ctx context.Context) ([]admin.User, error) {
	s, err := n.services()
	if err != nil {
		return nil, err
	}
	users, err := s.access.Users(ctx)
	if err != nil {
		return nil, err
	}
	keys, err := keysByUser(ctx, s)
	if err != nil {
		return nil, err
	}
	out := []admin.User{}
	for _, u := range users {
		out = append(out, describeUser(u, keys[u.Name]))
	}
	return out, nil
}

// keysByUser lists every user's access keys.
func keysByUser(ctx context.Context, s *services) (map[string][]string, error) {
	keys, err := s.access.Keys(ctx, "")
	if err != nil {
		return nil, err
	}
	out := map[string][]string{}
	for _, k := range keys {
		out[k.User] = append(out[k.User], k.AccessKey)
	}
	return out, nil
}

func describeUser(u access.User, keys []string) admin.User {
	return admin.User{
		Name: u.Name, ID: u.ID, Root: u.Root, Disabled: u.Disabled, Created: u.Created,
		Policies: append([]string{}, u.Policies...), Keys: append([]string{}, keys...),
	}
}

// User implements admin.Users.
func (n *Node) User(ctx context.Context, name string) (admin.User, error) {
	s, err := n.services()
	if err != nil {
		return admin.User{}, err
	}
	u, err := s.access.User(ctx, name)
	if err != nil {
		return admin.User{}, noUser(name, err)
	}
	keys, err := keysByUser(ctx, s)
	if err != nil {
		return admin.User{}, err
	}
	return describeUser(u, keys[name]), nil
}

// AddUser implements admin.Users.
func (n *Node) AddUser(ctx context.Context, in admin.NewUser) (admin.User, error) {
	s, err := n.services()
	if err != nil {
		return admin.User{}, err
	}
	if len(in.Policy) > 0 {
		if _, err := access.ParseUserPolicy(in.Policy); err != nil {
			return admin.User{}, fmt.Errorf("policy of user %s: %w: %w", in.Name, hallig.ErrInvalid, err)
		}
	}
	if _, err := s.access.CreateUser(ctx, in.Name, "", ""); err != nil {
		return admin.User{}, err
	}
	if len(in.Policy) > 0 {
		if err := s.access.SetPolicy(ctx, in.Name, firstPolicy, in.Policy); err != nil {
			return admin.User{}, err
		}
	}
	return n.User(ctx, in.Name)
}

// RemoveUser implements admin.Users.
func (n *Node) RemoveUser(ctx context.Context, name string) error {
	s, err := n.services()
	if err != nil {
		return err
	}
	return notDenied(noUser(name, s.access.DeleteUser(ctx, name)))
}

func noUser(name string, err error) error {
	return absent(err, "there is no user %q: `hallig user list` shows who there is", name)
}

func noKey(accessKey string, err error) error {
	return absent(err, "there is no access key %q: `hallig key list` shows them", accessKey)
}

// notDenied keeps a service's own refusal apart from a wrong admin token.
func notDenied(err error) error {
	if errors.Is(err, hallig.ErrDenied) {
		return fmt.Errorf("%w: %w", hallig.ErrInvalid, errors.New(err.Error()))
	}
	return err
}

// Policies implements admin.Users.
func (n *Node) Policies(ctx context.Context, user string) ([]admin.Policy, error) {
	s, err := n.services()
	if err != nil {
		return nil, err
	}
	u, err := s.access.User(ctx, user)
	if err != nil {
		return nil, noUser(user, err)
	}
	out := []admin.Policy{}
	for _, name := range u.Policies {
		doc, err := s.access.Policy(ctx, user, name)
		if errors.Is(err, hallig.ErrNotFound) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, err
		}
		out = append(out, admin.Policy{Name: name, Document: doc})
	}
	return out, nil
}

// SetPolicy implements admin.Users.
func (n *Node) SetPolicy(ctx context.Context, user string, p admin.Policy) error {
	s, err := n.services()
	if err != nil {
		return err
	}
	return notDenied(noUser(user, s.access.SetPolicy(ctx, user, p.Name, p.Document)))
}

// RemovePolicy implements admin.Users.
func (n *Node) RemovePolicy(ctx context.Context, user, policy string) error {
	s, err := n.services()
	if err != nil {
		return err
	}
	return notDenied(absent(s.access.DeletePolicy(ctx, user, policy), "there is no user %q with a policy %q: `hallig user policy list` shows them", user, policy))
}

func describeKey(k access.Key) admin.Key {
	return admin.Key{AccessKey: k.AccessKey, User: k.User, Disabled: k.Disabled, Created: k.Created, Expires: k.Expires, Policy: k.Policy, Comment: k.Comment}
}

// Keys implements admin.Keys.
func (n *Node) Keys(ctx context.Context, user string) ([]admin.Key, error) {
	s, err := n.services()
	if err != nil {
		return nil, err
	}
	if user != "" {
		if _, err := s.access.User(ctx, user); err != nil {
			return nil, noUser(user, err)
		}
	}
	keys, err := s.access.Keys(ctx, user)
	if err != nil {
		return nil, err
	}
	out := []admin.Key{}
	for _, k := range keys {
		out = append(out, describeKey(k))
	}
	return out, nil
}

// CreateKey implements admin.Keys.
func (n *Node) CreateKey(ctx context.Context, in admin.NewKey) (admin.Key, error) {
	s, err := n.services()
	if err != nil {
		return admin.Key{}, err
	}
	if !in.Expires.IsZero() && !in.Expires.After(n.cfg.Now()) {
		return admin.Key{}, fmt.Errorf("the key would have expired at %s, in the past: %w", stamp(in.Expires), hallig.ErrInvalid)
	}
	k, secret, err := s.access.CreateKey(ctx, access.NewKey{
		User: in.User, AccessKey: in.AccessKey, Secret: in.Secret, Comment: in.Comment, Expires: in.Expires, Policy: in.Policy,
	})
	if err != nil {
		return admin.Key{}, notDenied(noUser(in.User, err))
	}
	out := describeKey(k)
	out.Secret = secret
	return out, nil
}

// EnableKey implements admin.Keys.
func (n *Node) EnableKey(ctx context.Context, accessKey string, enabled bool) error {
	s, err := n.services()
	if err != nil {
		return err
	}
	return notDenied(noKey(accessKey, s.access.EnableKey(ctx, accessKey, enabled)))
}

// DeleteKey implements admin.Keys.
func (n *Node) DeleteKey(ctx context.Context, accessKey string) error {
	s, err := n.services()
	if err != nil {
		return err
	}
	return notDenied(noKey(accessKey, s.access.DeleteKey(ctx, accessKey)))
}

// NarrowKey implements admin.Keys.
func (n *Node) NarrowKey(ctx context.Context, accessKey string, in admin.Narrowing) error {
	s, err := n.services()
	if err != nil {
		return err
	}
	return notDenied(noKey(accessKey, s.access.SetKeyPolicy(ctx, accessKey, in.Policy)))
}

// RotateKey implements admin.Keys.
func (n *Node) RotateKey(ctx context.Context, accessKey string, in admin.Succession) (admin.Key, error) {
	s, err := n.services()
	if err != nil {
		return admin.Key{}, err
	}
	if in.Grace < 0 {
		return admin.Key{}, fmt.Errorf("a grace of %s is in the past: %w", in.Grace, hallig.ErrInvalid)
	}
	k, secret, err := s.access.RotateKey(ctx, accessKey, in.Grace)
	if err != nil {
		return admin.Key{}, notDenied(noKey(accessKey, err))
	}
	out := describeKey(k)
	out.Secret = secret
	return out, nil
}

// userName names a canonical id's user; the id itself when nobody has it.
func (n *Node) userName(ctx context.Context, s *services, id string) string {
	if u, err := s.access.UserByID(ctx, id); err == nil {
		return u.Name
	}
	return id
}

// ownerID finds the canonical id of a user; "" is the root user.
func (n *Node) ownerID(ctx context.Context, s *services, name string) (string, error) {
	if name == "" {
		name = access.RootUser
	}
	u, err := s.access.User(ctx, name)
	return u.ID, noUser(name, err)
}
