package seal

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/fxamacker/cbor/v2"

	"github.com/hallig-cloud/hallig"
)

// A Keyring holds the mesh's keys in memory while it is unlocked. It is safe
// for concurrent use. Every method that needs a key returns hallig.ErrKeyLocked
// while there is none.
//
//	root key (epochs) ─┬─ bucket key ─── data key of a version
//	                   ├─ named mesh key (epochs) ─── data key (SSE-KMS)
//	                   └─ catalog key ─── names and records, by bucket
//
// Each arrow is an envelope that carries its purpose and the wrapping key's
// epoch. Rotating the root key makes a new epoch; what lies under the old one
// is re-wrapped (Rewrap), never what lies deeper, and never data. Bucket keys
// and the catalog key do not rotate.
type Keyring struct {
	mesh hallig.MeshID

	mu      sync.RWMutex
	secrets *Secrets // nil: locked
	catalog []byte   // the catalog key, opened
	named   map[string]namedKey
	sealers map[hallig.BucketID]*sealer
}

// NewKeyring returns a locked keyring of the mesh.
func NewKeyring(mesh hallig.MeshID) *Keyring { return &Keyring{mesh: mesh} }

// Mesh returns whose keyring it is.
func (k *Keyring) Mesh() hallig.MeshID { return k.mesh }

// String says whether the keyring is locked, nothing else.
func (k *Keyring) String() string {
	if k.Locked() {
		return "keyring (locked)"
	}
	return "keyring (unlocked)"
}

// Format writes String whatever the verb, so that no key is printed.
func (k *Keyring) Format(f fmt.State, _ rune) { f.Write([]byte(k.String())) } //nolint:errcheck // fmt's own buffer

// Locked reports whether the root key is missing.
func (k *Keyring) Locked() bool {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.secrets == nil
}

// Unlock takes the secrets of the key file. Secrets of another mesh are
// hallig.ErrForeign. Named keys must be loaded anew.
func (k *Keyring) Unlock(s *Secrets) error {
	if s.Mesh != k.mesh {
		return fmt.Errorf("unlock the keyring of mesh %s with the key file of mesh %s: %w", k.mesh, s.Mesh, hallig.ErrForeign)
	}
	s = s.clone()
	catalog, err := s.open(PurposeCatalog, catalogContext(k.mesh), s.Catalog)
	if err != nil {
		return fmt.Errorf("unlock the keyring: catalog key: %w", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.wipe()
	k.secrets, k.catalog = s, catalog
	k.named, k.sealers = map[string]namedKey{}, map[hallig.BucketID]*sealer{}
	return nil
}

// Lock forgets every key.
func (k *Keyring) Lock() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.wipe()
}

func (k *Keyring) wipe() {
	if k.secrets != nil {
		k.secrets.wipe()
	}
	clear(k.catalog)
	k.secrets, k.catalog, k.named, k.sealers = nil, nil, nil, nil
}

// Secrets returns a copy of what the key file must hold.
func (k *Keyring) Secrets() (*Secrets, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if k.secrets == nil {
		return nil, fmt.Errorf("read the root key: %w", hallig.ErrKeyLocked)
	}
	return k.secrets.clone(), nil
}

// Epoch returns the current root key's epoch.
func (k *Keyring) Epoch() (uint32, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if k.secrets == nil {
		return 0, fmt.Errorf("read the root key's epoch: %w", hallig.ErrKeyLocked)
	}
	return k.secrets.Current, nil
}

// Rotate makes a new root key, has save store the secrets durably, and only
// then makes it current: nothing is ever wrapped under a root that is nowhere
// but in memory. On save's error the keyring is as it was. The old root stays
// until Retire, for what is not yet re-wrapped. One rotation at a time: another
// one meanwhile is hallig.ErrConflict.
func (k *Keyring) Rotate(save func(*Secrets) error) error {
	before, err := k.Secrets()
	if err != nil {
		return fmt.Errorf("rotate the root key: %w", err)
	}
	s := before.clone()
	catalog, err := s.open(PurposeCatalog, catalogContext(s.Mesh), s.Catalog)
	if err != nil {
		return fmt.Errorf("rotate the root key: %w", err)
	}
	defer clear(catalog)
	s.addRoot()
	if s.Catalog, err = s.wrap(PurposeCatalog, catalogContext(s.Mesh), catalog); err != nil {
		return fmt.Errorf("rotate the root key: %w", err)
	}
	if err := save(s.clone()); err != nil {
		return fmt.Errorf("rotate the root key: %w", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.secrets == nil:
		return fmt.Errorf("rotate the root key: %w", hallig.ErrKeyLocked)
	case k.secrets.Current != before.Current:
		return fmt.Errorf("rotate the root key: it was rotated meanwhile: %w", hallig.ErrConflict)
	}
	k.secrets = s
	return nil
}

// Retire forgets the root keys before the current one and returns the secrets
// to save. The caller has seen to it that Rewrap has been applied to every
// bucket key and named key, that this is durable, and that no copy or export of
// the catalog from before will be needed again. `hallig keyring rotate` does not
// retire.
func (k *Keyring) Retire() (*Secrets, error) {
	return k.change(func(s *Secrets) error {
		s.Roots = slices.DeleteFunc(s.Roots, func(r Root) bool { return r.Epoch != s.Current })
		return nil
	})
}

func (k *Keyring) change(f func(*Secrets) error) (*Secrets, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.secrets == nil {
		return nil, fmt.Errorf("change the root key: %w", hallig.ErrKeyLocked)
	}
	s := k.secrets.clone()
	if err := f(s); err != nil {
		return nil, fmt.Errorf("change the root key: %w", err)
	}
	k.secrets = s
	return s.clone(), nil
}

// Rewrap returns a wrapped bucket key or named key under the current root, and
// whether that differs from what was given. The wrapped key itself stays.
func (k *Keyring) Rewrap(p Purpose, name string, wrapped []byte) ([]byte, bool, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if k.secrets == nil {
		return nil, false, fmt.Errorf("rewrap %q: %w", name, hallig.ErrKeyLocked)
	}
	epoch, err := envelopeEpoch(p, wrapped)
	if err != nil {
		return nil, false, fmt.Errorf("rewrap %q: %w", name, err)
	}
	if epoch == k.secrets.Current {
		return wrapped, false, nil
	}
	context := rootContext(p, k.mesh, name)
	plain, err := k.secrets.open(p, context, wrapped)
	if err != nil {
		return nil, false, fmt.Errorf("rewrap %q: %w", name, err)
	}
	defer clear(plain)
	out, err := k.secrets.wrap(p, context, plain)
	return out, err == nil, err
}

// rootContext binds what lies under the root key to its mesh and name (a
// bucket's id, a named key's name).
func rootContext(p Purpose, mesh hallig.MeshID, name string) string {
	if p == PurposeCatalog {
		return catalogContext(mesh)
	}
	return string(mesh[:]) + name
}

func catalogContext(mesh hallig.MeshID) string { return string(mesh[:]) }

// Derive returns a key for some other use within the mesh (signing tokens,
// say), the same for ever; purposes are plain words and separate the keys.
func (k *Keyring) Derive(purpose string) ([32]byte, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if k.secrets == nil {
		return [32]byte{}, fmt.Errorf("derive a key for %s: %w", purpose, hallig.ErrKeyLocked)
	}
	key, err := hkdf.Key(sha256.New, k.catalog, k.mesh[:], "hallig derive v1 "+purpose, 32)
	if err != nil {
		return [32]byte{}, err
	}
	return [32]byte(key), nil
}

// A Root is one epoch of the root key.
type Root struct {
	Epoch uint32 `cbor:"1,keyasint"`
	Key   []byte `cbor:"2,keyasint"` // 32 bytes
}

// MarshalJSON hides the key.
func (Root) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// Format hides the key.
func (r Root) Format(f fmt.State, _ rune) { f.Write([]byte(redacted)) } //nolint:errcheck // fmt's own buffer

// Secrets are what the key file protects: the root keys by epoch, and the
// catalog key under the current one.
type Secrets struct {
	Mesh    hallig.MeshID `cbor:"1,keyasint"`
	Current uint32        `cbor:"2,keyasint"` // epoch of the root that wraps; ≥ 1
	Roots   []Root        `cbor:"3,keyasint"`
	Catalog []byte        `cbor:"4,keyasint"` // an envelope
}

// NewSecrets makes a mesh's first root key and its catalog key.
func NewSecrets(mesh hallig.MeshID) (*Secrets, error) {
	s := &Secrets{Mesh: mesh}
	s.addRoot()
	catalog := randomKey()
	defer clear(catalog)
	var err error
	s.Catalog, err = s.wrap(PurposeCatalog, catalogContext(mesh), catalog)
	return s, err
}

// MarshalJSON hides the keys; Encode writes them.
func (Secrets) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// Format hides the keys.
func (s Secrets) Format(f fmt.State, _ rune) { f.Write([]byte(redacted)) } //nolint:errcheck // fmt's own buffer

// Encode returns the secrets in the clear, as CBOR, for the key file.
func (s *Secrets) Encode() ([]byte, error) { return cbor.Marshal(s) }

// DecodeSecrets reads what Encode wrote and checks it; hallig.ErrCorrupt.
func DecodeSecrets(b []byte) (*Secrets, error) {
	s := &Secrets{}
	if err := cbor.Unmarshal(b, s); err != nil {
		return nil, fmt.Errorf("decode the root keys: malformed: %w", hallig.ErrCorrupt)
	}
	if err := s.Check(); err != nil {
		return nil, fmt.Errorf("decode the root keys: %w", err)
	}
	return s, nil
}

// Check reports whether the secrets are whole, with hallig.ErrCorrupt if not.
func (s *Secrets) Check() error {
	for _, r := range s.Roots {
		if len(r.Key) != 32 {
			return fmt.Errorf("root key of epoch %d has %d bytes: %w", r.Epoch, len(r.Key), hallig.ErrCorrupt)
		}
	}
	if _, err := s.root(s.Current); err != nil {
		return fmt.Errorf("current root key: %w", hallig.ErrCorrupt)
	}
	_, err := s.open(PurposeCatalog, catalogContext(s.Mesh), s.Catalog)
	return err
}

func (s *Secrets) addRoot() {
	s.Current++
	s.Roots = append(s.Roots, Root{Epoch: s.Current, Key: randomKey()})
}

func (s *Secrets) root(epoch uint32) ([]byte, error) {
	for _, r := range s.Roots {
		if r.Epoch == epoch {
			return r.Key, nil
		}
	}
	return nil, fmt.Errorf("root key of epoch %d: %w", epoch, hallig.ErrKeyUnknown)
}

func (s *Secrets) wrap(p Purpose, context string, plain []byte) ([]byte, error) {
	key, err := s.root(s.Current)
	if err != nil {
		return nil, err
	}
	return enclose(key, s.Current, p, context, nil, plain)
}

func (s *Secrets) open(p Purpose, context string, sealed []byte) ([]byte, error) {
	epoch, err := envelopeEpoch(p, sealed)
	if err != nil {
		return nil, err
	}
	key, err := s.root(epoch)
	if err != nil {
		return nil, err
	}
	plain, err := disclose(key, p, context, nil, sealed)
	if errors.Is(err, errWrongKey) {
		err = fmt.Errorf("root key of epoch %d is not the one it was wrapped under: %w", epoch, hallig.ErrKeyUnknown)
	}
	return plain, err
}

func (s *Secrets) clone() *Secrets {
	c := *s
	c.Roots = make([]Root, len(s.Roots))
	for i, r := range s.Roots {
		c.Roots[i] = Root{Epoch: r.Epoch, Key: slices.Clone(r.Key)}
	}
	c.Catalog = slices.Clone(s.Catalog)
	return &c
}

func (s *Secrets) wipe() {
	for _, r := range s.Roots {
		clear(r.Key)
	}
}

func randomKey() []byte {
	key := make([]byte, 32)
	rand.Read(key) //nolint:errcheck // crypto/rand.Read never returns an error
	return key
}
