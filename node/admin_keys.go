package node

import (
	"context"
	"errors"
	"fmt"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/admin"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/objects"
	"github.com/hallig-cloud/hallig/seal"
)

// Keyring implements admin.Sealing.
func (n *Node) Keyring(context.Context) (admin.Keyring, error) {
	n.keys.mu.Lock()
	k := admin.Keyring{Locked: n.keys.ring.Locked(), Protected: n.keys.file.Protected(), Copies: n.keyPaths(), Keys: []admin.EncryptorKey{}}
	if r, ok := n.keys.file.Recovery(); ok {
		k.Shares = fmt.Sprintf("any %d of %d", r.Need, r.Of)
	}
	n.keys.mu.Unlock()
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

// passphrase is nil for "", which keyfile takes for "none".
func passphrase(s string) []byte {
	if s == "" {
		return nil
	}
	return []byte(s)
}

// wrongPassphrase keeps a wrong passphrase apart from a wrong admin token.
func wrongPassphrase(err error) error {
	switch {
	case errors.Is(err, hallig.ErrDenied):
		return fmt.Errorf("the passphrase is wrong: %w", hallig.ErrInvalid)
	case errors.Is(err, hallig.ErrKeyLocked):
		return fmt.Errorf("the key file is protected: its passphrase is needed: %w", hallig.ErrInvalid)
	}
	return err
}

// Protect implements admin.Sealing.
func (n *Node) Protect(_ context.Context, p admin.Passphrase) error {
	if len(p.Passphrase) > 0 && len(p.Passphrase) < 8 {
		return fmt.Errorf("a passphrase of fewer than 8 bytes protects nothing: %w", hallig.ErrInvalid)
	}
	n.keys.mu.Lock()
	defer n.keys.mu.Unlock()
	if err := n.keys.file.Protect(passphrase(p.Old), passphrase(p.Passphrase), seal.DefaultArgon2()); err != nil {
		return wrongPassphrase(err)
	}
	return n.saveKeyFile()
}

// Unlock implements admin.Sealing.
func (n *Node) Unlock(_ context.Context, p admin.Passphrase) error {
	n.keys.mu.Lock()
	secrets, err := n.keys.file.Secrets(passphrase(p.Passphrase))
	n.keys.mu.Unlock()
	if err != nil {
		return wrongPassphrase(err)
	}
	return n.opened(secrets)
}

// opened unlocks the keyring and lets a blind node go on starting.
func (n *Node) opened(secrets *seal.Secrets) error {
	if n.keys.ring.Locked() {
		if err := n.keys.ring.Unlock(secrets); err != nil {
			return fmt.Errorf("unlock the keyring: %w", err)
		}
		n.events.add("info", "the keyring was unlocked")
		n.cfg.Log.Info("the keyring is unlocked")
	}
	n.unlock.Do(func() { close(n.unlocked) })
	return nil
}

// Rotate implements admin.Sealing. The root keys of former epochs stay in the
// key file: an export, or a copy of the catalog, from before the rotation needs
// them, and so does a bucket that was being made while it ran. Whoever has a
// former key file opens with it what was wrapped then, whether we forget the
// root or not.
func (n *Node) Rotate(ctx context.Context, r admin.Rotation) error {
	s, err := n.services()
	if err != nil {
		return err
	}
	if r.Name != "" {
		return n.rotateNamed(ctx, s, r.Name)
	}
	n.keys.mu.Lock()
	defer n.keys.mu.Unlock()
	if _, err := n.keys.file.Secrets(passphrase(r.Passphrase)); err != nil {
		return wrongPassphrase(err) // before anything is made that could not be saved
	}
	need, err := n.newRootMirrors()
	if err != nil {
		return fmt.Errorf("rotate the root key: %w", err)
	}
	// If fewer copies are written in the end, the former root stays current: the
	// copies with the new one hold both, so they open everything too.
	if err := n.keys.ring.Rotate(func(s *seal.Secrets) error { return n.keepSecrets(s, r.Passphrase, need) }); err != nil {
		return err
	}
	if err := n.rewrapAll(ctx, s); err != nil {
		return fmt.Errorf("re-wrap under the new root key (both are kept; rotate again to go on): %w", err)
	}
	n.events.add("info", "the root key was rotated")
	return nil
}

// keepSecrets saves changed secrets on at least need drives. The caller holds
// keys.mu.
func (n *Node) keepSecrets(secrets *seal.Secrets, pass string, need int) error {
	if err := n.keys.file.Set(secrets, passphrase(pass)); err != nil {
		return wrongPassphrase(err)
	}
	return n.saveKeyFileTo(need)
}

// rewrapAll puts every bucket's key and every named key under the new root.
func (n *Node) rewrapAll(ctx context.Context, s *services) error {
	for after := ""; ; {
		page, err := s.objects.Buckets(ctx, after, 1000)
		if err != nil {
			return err
		}
		for _, b := range page {
			after = b.Name
			_, err := s.objects.UpdateBucket(ctx, b.Name, func(b *objects.Bucket) error {
				wrapped, _, err := n.keys.ring.RewrapBucket(b.ID, b.Key)
				b.Key = wrapped
				return err
			})
			if err != nil && !errors.Is(err, hallig.ErrNotFound) {
				return fmt.Errorf("bucket %s: %w", b.Name, err)
			}
		}
		if len(page) < 1000 {
			break
		}
	}
	return n.rewrapNamed(ctx, s)
}

// rewrapNamed puts every named key under the new root.
func (n *Node) rewrapNamed(ctx context.Context, s *services) error {
	for _, key := range n.keys.ring.NamedKeys() {
		rec, err := s.catalog.Get(ctx, catalog.KindSealing, namedPrefix+key.Name)
		if err != nil {
			return fmt.Errorf("named key %s: %w", key.Name, err)
		}
		wrapped, changed, err := n.keys.ring.Rewrap(seal.PurposeNamed, key.Name, rec.Value)
		if err != nil {
			return fmt.Errorf("named key %s: %w", key.Name, err)
		}
		if changed {
			if err := storeNamed(ctx, s, key.Name, wrapped, rec.Revision); err != nil {
				return err
			}
		}
	}
	return nil
}

func storeNamed(ctx context.Context, s *services, name string, wrapped []byte, expect hallig.Revision) error {
	err := s.catalog.Update(ctx, catalog.Change{Kind: catalog.KindSealing, Name: namedPrefix + name, Value: wrapped, Expect: expect})
	if err != nil {
		return fmt.Errorf("store named key %s: %w", name, err)
	}
	return nil
}

func (n *Node) rotateNamed(ctx context.Context, s *services, name string) error {
	rec, err := s.catalog.Get(ctx, catalog.KindSealing, namedPrefix+name)
	if err != nil {
		return fmt.Errorf("named key %s: %w", name, err)
	}
	wrapped, err := n.keys.ring.RotateNamedKey(name)
	if err != nil {
		return fmt.Errorf("rotate named key %s: %w", name, err)
	}
	return storeNamed(ctx, s, name, wrapped, rec.Revision)
}

// Shares implements admin.Sealing.
func (n *Node) Shares(_ context.Context, w admin.SharesWanted) (admin.Shares, error) {
	n.keys.mu.Lock()
	defer n.keys.mu.Unlock()
	shares, err := n.keys.file.MakeRecovery(passphrase(w.Passphrase), w.Threshold, w.Count)
	if err != nil {
		return admin.Shares{}, wrongPassphrase(err)
	}
	if err := n.saveKeyFile(); err != nil {
		return admin.Shares{}, err
	}
	out := admin.Shares{}
	for _, s := range shares {
		out.Shares = append(out.Shares, s.Text())
	}
	n.events.add("info", fmt.Sprintf("recovery shares were made: any %d of %d", w.Threshold, w.Count))
	return out, nil
}

// Recover implements admin.Sealing.
func (n *Node) Recover(_ context.Context, in admin.Shares) error {
	n.keys.mu.Lock()
	secrets, err := n.keys.file.Recover(in.Shares, passphrase(in.Passphrase), seal.DefaultArgon2())
	if err == nil {
		err = n.saveKeyFile()
	}
	n.keys.mu.Unlock()
	if err != nil {
		return notDenied(err)
	}
	return n.opened(secrets)
}

// CreateEncryptorKey implements admin.Sealing.
func (n *Node) CreateEncryptorKey(ctx context.Context, name string) (admin.EncryptorKey, error) {
	s, err := n.services()
	if err != nil {
		return admin.EncryptorKey{}, err
	}
	wrapped, err := n.keys.ring.NewNamedKey(name)
	if err != nil {
		return admin.EncryptorKey{}, fmt.Errorf("make named key %s: %w", name, err)
	}
	if err := storeNamed(ctx, s, name, wrapped, 0); err != nil {
		n.keys.ring.ForgetNamedKey(name)
		return admin.EncryptorKey{}, err
	}
	return admin.EncryptorKey{Name: name, Epoch: 1}, nil
}
