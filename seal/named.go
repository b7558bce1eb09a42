package seal

import (
	"fmt"
	"slices"
	"strings"

	"github.com/fxamacker/cbor/v2"

	"github.com/hallig-cloud/hallig"
)

// MaxNamedKey bounds the name of a named mesh key, in bytes.
const MaxNamedKey = 256

// A namedKey is a named mesh key with every epoch that data may lie under.
type namedKey struct {
	Epochs []Root `cbor:"1,keyasint"`
}

// A NamedKey describes a named mesh key, without its secret.
type NamedKey struct {
	Name   string
	Epoch  uint32 // the current one
	Epochs int    // how many are kept
}

// NewNamedKey makes a named mesh key (SSE-KMS), loads it and returns its
// wrapped form, which the caller stores under the name. hallig.ErrExists if a
// key of that name is loaded.
func (k *Keyring) NewNamedKey(name string) ([]byte, error) {
	if name == "" || len(name) > MaxNamedKey || strings.ContainsRune(name, 0) {
		return nil, fmt.Errorf("name of %d bytes for a mesh key, want 1 to %d without NUL: %w", len(name), MaxNamedKey, hallig.ErrInvalid)
	}
	return k.changeNamed(name, func(old namedKey, exists bool) (namedKey, error) {
		if exists {
			return old, fmt.Errorf("mesh key %q: %w", name, hallig.ErrExists)
		}
		return namedKey{Epochs: []Root{{Epoch: 1, Key: randomKey()}}}, nil
	})
}

// RotateNamedKey adds an epoch to a loaded named key, under which data keys are
// wrapped from now on, and returns the wrapped form to be stored in place of
// the old one. Earlier epochs stay, for what lies under them.
func (k *Keyring) RotateNamedKey(name string) ([]byte, error) {
	return k.changeNamed(name, func(old namedKey, exists bool) (namedKey, error) {
		if !exists {
			return old, fmt.Errorf("mesh key %q: %w", name, hallig.ErrKeyUnknown)
		}
		next := old.Epochs[len(old.Epochs)-1].Epoch + 1
		return namedKey{Epochs: append(slices.Clone(old.Epochs), Root{Epoch: next, Key: randomKey()})}, nil
	})
}

func (k *Keyring) changeNamed(name string, f func(namedKey, bool) (namedKey, error)) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.secrets == nil {
		return nil, fmt.Errorf("mesh key %q: %w", name, hallig.ErrKeyLocked)
	}
	old, exists := k.named[name]
	key, err := f(old, exists)
	if err != nil {
		return nil, err
	}
	plain, err := cbor.Marshal(key)
	if err != nil {
		return nil, fmt.Errorf("encode mesh key %q: %w", name, err)
	}
	defer clear(plain)
	wrapped, err := k.secrets.wrap(PurposeNamed, rootContext(PurposeNamed, k.mesh, name), plain)
	if err == nil {
		k.named[name] = key
	}
	return wrapped, err
}

// LoadNamedKey opens a stored named key, replacing one of that name.
func (k *Keyring) LoadNamedKey(name string, wrapped []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.secrets == nil {
		return fmt.Errorf("load mesh key %q: %w", name, hallig.ErrKeyLocked)
	}
	plain, err := k.secrets.open(PurposeNamed, rootContext(PurposeNamed, k.mesh, name), wrapped)
	if err != nil {
		return fmt.Errorf("load mesh key %q: %w", name, err)
	}
	defer clear(plain)
	var key namedKey
	if err := cbor.Unmarshal(plain, &key); err != nil || len(key.Epochs) == 0 {
		return fmt.Errorf("load mesh key %q: malformed: %w", name, hallig.ErrCorrupt)
	}
	k.named[name] = key
	return nil
}

// ForgetNamedKey drops a named key from memory: what lies under it can no
// longer be read.
func (k *Keyring) ForgetNamedKey(name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.named, name)
}

// NamedKeys lists the loaded named keys, by name.
func (k *Keyring) NamedKeys() []NamedKey {
	k.mu.RLock()
	defer k.mu.RUnlock()
	var out []NamedKey
	for name, key := range k.named {
		out = append(out, NamedKey{Name: name, Epoch: key.Epochs[len(key.Epochs)-1].Epoch, Epochs: len(key.Epochs)})
	}
	slices.SortFunc(out, func(a, b NamedKey) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// namedEpoch returns a copy of one epoch of a named key; 0 is the current one.
func (k *Keyring) namedEpoch(name string, epoch uint32) ([]byte, uint32, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	key, ok := k.named[name]
	if !ok {
		return nil, 0, fmt.Errorf("mesh key %q: %w", name, hallig.ErrKeyUnknown)
	}
	for _, r := range slices.Backward(key.Epochs) {
		if epoch == 0 || r.Epoch == epoch {
			return slices.Clone(r.Key), r.Epoch, nil
		}
	}
	return nil, 0, fmt.Errorf("mesh key %q, epoch %d: %w", name, epoch, hallig.ErrKeyUnknown)
}
