package seal

import (
	"crypto/rand"
	"errors"
	"fmt"

	"golang.org/x/crypto/argon2"

	"github.com/hallig-cloud/hallig"
)

// Argon2 are the parameters of Argon2id (RFC 9106).
type Argon2 struct {
	Time    uint32 `cbor:"1,keyasint" json:"time"`       // passes
	Memory  uint32 `cbor:"2,keyasint" json:"memory_kib"` // KiB
	Threads uint8  `cbor:"3,keyasint" json:"threads"`
}

// DefaultArgon2 is RFC 9106's second recommended option, for machines where
// memory counts: 3 passes over 64 MiB, 4 lanes.
func DefaultArgon2() Argon2 { return Argon2{Time: 3, Memory: 64 << 10, Threads: 4} }

// check bounds what a key file can make its reader spend.
func (a Argon2) check() error {
	if a.Time < 1 || a.Time > 1000 || a.Threads < 1 || a.Memory < 8*uint32(a.Threads) || a.Memory > 4<<20 {
		return fmt.Errorf("argon2id with %d passes, %d KiB, %d lanes: want 1..1000 passes, 8 KiB a lane to 4 GiB: %w", a.Time, a.Memory, a.Threads, hallig.ErrInvalid)
	}
	return nil
}

func (a Argon2) key(passphrase, salt []byte) []byte {
	return argon2.IDKey(passphrase, salt, a.Time, a.Memory, a.Threads, 32)
}

// Protected are secrets under a passphrase.
type Protected struct {
	Argon2 Argon2 `cbor:"1,keyasint" json:"argon2id"`
	Salt   []byte `cbor:"2,keyasint" json:"salt"`
	Sealed []byte `cbor:"3,keyasint" json:"sealed"` // an envelope
}

// MinPassphrase is the least length of a new passphrase, in bytes.
const MinPassphrase = 8

// Protect puts the secrets under a passphrase of at least MinPassphrase bytes.
func (s *Secrets) Protect(passphrase []byte, a Argon2) (Protected, error) {
	if len(passphrase) < MinPassphrase {
		return Protected{}, fmt.Errorf("passphrase is shorter than %d bytes: %w", MinPassphrase, hallig.ErrInvalid)
	}
	if err := a.check(); err != nil {
		return Protected{}, fmt.Errorf("protect the root key: %w", err)
	}
	p := Protected{Argon2: a, Salt: make([]byte, 16)}
	rand.Read(p.Salt) //nolint:errcheck // crypto/rand.Read never returns an error
	plain, err := s.Encode()
	if err != nil {
		return Protected{}, err
	}
	defer clear(plain)
	key := a.key(passphrase, p.Salt)
	defer clear(key)
	p.Sealed, err = enclose(key, s.Current, PurposeSecrets, string(s.Mesh[:]), nil, plain)
	return p, err
}

// Unlock opens the secrets of the mesh. A wrong passphrase is hallig.ErrDenied,
// damage hallig.ErrCorrupt.
func (p Protected) Unlock(mesh hallig.MeshID, passphrase []byte) (*Secrets, error) {
	if err := p.Argon2.check(); err != nil {
		return nil, fmt.Errorf("unlock the root key: %w: %w", err, hallig.ErrCorrupt)
	}
	key := p.Argon2.key(passphrase, p.Salt)
	defer clear(key)
	plain, err := disclose(key, PurposeSecrets, string(mesh[:]), nil, p.Sealed)
	if errors.Is(err, errWrongKey) {
		return nil, fmt.Errorf("unlock the root key: wrong passphrase: %w", hallig.ErrDenied)
	}
	if err != nil {
		return nil, fmt.Errorf("unlock the root key: %w", err)
	}
	defer clear(plain)
	return DecodeSecrets(plain)
}
