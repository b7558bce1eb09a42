package node

import (
	"context"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/admin"
)

// Users implements admin.Users.
func (n *Node) Users(ctx context.Context) ([]admin.User, error) { return nil, hallig.ErrUnsupported }

// User implements admin.Users.
func (n *Node) User(ctx context.Context, name string) (admin.User, error) {
	return admin.User{}, hallig.ErrUnsupported
}

// AddUser implements admin.Users.
func (n *Node) AddUser(ctx context.Context, in admin.NewUser) (admin.User, error) {
	return admin.User{}, hallig.ErrUnsupported
}

// RemoveUser implements admin.Users.
func (n *Node) RemoveUser(ctx context.Context, name string) error { return hallig.ErrUnsupported }

// Policies implements admin.Users.
func (n *Node) Policies(ctx context.Context, user string) ([]admin.Policy, error) {
	return nil, hallig.ErrUnsupported
}

// SetPolicy implements admin.Users.
func (n *Node) SetPolicy(ctx context.Context, user string, p admin.Policy) error {
	return hallig.ErrUnsupported
}

// RemovePolicy implements admin.Users.
func (n *Node) RemovePolicy(ctx context.Context, user, policy string) error {
	return hallig.ErrUnsupported
}

// Keys implements admin.Keys.
func (n *Node) Keys(ctx context.Context, user string) ([]admin.Key, error) {
	return nil, hallig.ErrUnsupported
}

// CreateKey implements admin.Keys.
func (n *Node) CreateKey(ctx context.Context, in admin.NewKey) (admin.Key, error) {
	return admin.Key{}, hallig.ErrUnsupported
}

// EnableKey implements admin.Keys.
func (n *Node) EnableKey(ctx context.Context, accessKey string, enabled bool) error {
	return hallig.ErrUnsupported
}

// DeleteKey implements admin.Keys.
func (n *Node) DeleteKey(ctx context.Context, accessKey string) error { return hallig.ErrUnsupported }

func (n *Node) userName(ctx context.Context, s *services, id string) string { return id }

func (n *Node) ownerID(ctx context.Context, s *services, name string) (string, error) {
	return name, nil
}
