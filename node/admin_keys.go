package node

import (
	"context"
	"errors"
	"fmt"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/admin"
)

// Keyring implements admin.Sealing.
func (n *Node) Keyring(context.Context) (admin.Keyring, error) {
	k := admin.Keyring{Locked: n.keys.ring.Locked(), Copies: n.keyPaths(), Keys: []admin.EncryptorKey{}}
	epoch, err := n.keys.ring.Epoch()
	if err != nil && !errors.Is(err, hallig.ErrKeyLocked) {
		return k, fmt.Errorf("keyring: %w", err)
	}
	k.Epoch = epoch
	for _, x := range n.keys.ring.NamedKeys() {
		k.Keys = append(k.Keys, admin.EncryptorKey{Name: x.Name, Epoch: x.Epoch})
	}
	return k, nil
}

// Protect implements admin.Sealing.
func (n *Node) Protect(ctx context.Context, passphrase string) error { return hallig.ErrUnsupported }

// Unlock implements admin.Sealing.
func (n *Node) Unlock(ctx context.Context, passphrase string) error { return hallig.ErrUnsupported }

// Rotate implements admin.Sealing.
func (n *Node) Rotate(ctx context.Context, name string) error { return hallig.ErrUnsupported }

// Shares implements admin.Sealing.
func (n *Node) Shares(ctx context.Context, w admin.SharesWanted) (admin.Shares, error) {
	return admin.Shares{}, hallig.ErrUnsupported
}

// Recover implements admin.Sealing.
func (n *Node) Recover(ctx context.Context, s admin.Shares) error { return hallig.ErrUnsupported }

// CreateEncryptorKey implements admin.Sealing.
func (n *Node) CreateEncryptorKey(ctx context.Context, name string) (admin.EncryptorKey, error) {
	return admin.EncryptorKey{}, hallig.ErrUnsupported
}
