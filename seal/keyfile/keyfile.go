// Package keyfile keeps the mesh's root key on disk: one small file, mode 0600,
// versioned and checksummed, mirrored on as many drives as the promise needs.
// In it the root key lies in the clear (as made at the first start, said
// loudly) or under a passphrase, and sealed to the recovery shares if there are
// any. All file access goes through vfs.FS.
//
// Losing every mirror without recovery is losing everything that was stored;
// so a missing key file beside existing data must never be answered by making a
// new one. That check is the caller's.
package keyfile

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/seal"
)

// Name is the key file's customary name in a directory.
const Name = "keyring.hallig"

// MaxSize bounds a key file, in bytes.
const MaxSize = 1 << 20

// Version is the format that this package writes.
const Version = 1

// A File is the contents of a key file. It prints without its secrets.
type File struct {
	Mesh     hallig.MeshID
	Revision uint64 // raised by every Save; the greatest of several mirrors counts
	Written  int64  // unix milliseconds, by the caller's clock

	clear     []byte // the encoded secrets; nil when protected
	protected *seal.Protected
	recovery  *seal.Recovery
}

// New returns a file that holds the secrets in the clear.
func New(s *seal.Secrets) (*File, error) {
	f := &File{Mesh: s.Mesh}
	return f, f.Set(s, nil)
}

// Format hides the secrets.
func (f *File) Format(w fmt.State, _ rune) {
	fmt.Fprintf(w, "key file of mesh %s, revision %d", f.Mesh, f.Revision)
}

// Protected reports whether a passphrase is needed.
func (f *File) Protected() bool { return f.protected != nil }

// Recovery returns what is known of the recovery shares; ok is false if there
// are none.
func (f *File) Recovery() (r seal.Recovery, ok bool) {
	if f.recovery == nil {
		return seal.Recovery{}, false
	}
	return *f.recovery, true
}

// Secrets opens the file. passphrase is ignored when it is not protected. With
// a protected file a nil passphrase is hallig.ErrKeyLocked, a wrong one
// hallig.ErrDenied.
func (f *File) Secrets(passphrase []byte) (*seal.Secrets, error) {
	if f.protected == nil {
		return seal.DecodeSecrets(f.clear)
	}
	if passphrase == nil {
		return nil, fmt.Errorf("the key file is under a passphrase: %w", hallig.ErrKeyLocked)
	}
	return f.protected.Unlock(f.Mesh, passphrase)
}

// Set replaces the secrets (after a rotation), seals them to the recovery
// shares anew, and leaves the protection as it is: a protected file needs its
// passphrase again, and a wrong one is hallig.ErrDenied and changes nothing.
func (f *File) Set(s *seal.Secrets, passphrase []byte) error {
	if s.Mesh != f.Mesh {
		return fmt.Errorf("keys of mesh %s for the key file of mesh %s: %w", s.Mesh, f.Mesh, hallig.ErrForeign)
	}
	var protected *seal.Protected
	var plain []byte
	if f.protected != nil {
		if _, err := f.Secrets(passphrase); err != nil {
			return err
		}
		p, err := s.Protect(passphrase, f.protected.Argon2)
		if err != nil {
			return err
		}
		protected = &p
	} else {
		var err error
		if plain, err = s.Encode(); err != nil {
			return err
		}
	}
	if f.recovery != nil {
		r, err := f.recovery.Reseal(s)
		if err != nil {
			return err
		}
		f.recovery = &r
	}
	f.clear, f.protected = plain, protected
	return nil
}

// Protect puts the file under a (new) passphrase; old is the present one, nil
// if there is none. An empty new passphrase takes the protection away.
func (f *File) Protect(old, passphrase []byte, a seal.Argon2) error {
	s, err := f.Secrets(old)
	if err != nil {
		return err
	}
	if len(passphrase) == 0 {
		plain, err := s.Encode()
		if err == nil {
			f.clear, f.protected = plain, nil
		}
		return err
	}
	p, err := s.Protect(passphrase, a)
	if err == nil {
		f.clear, f.protected = nil, &p
	}
	return err
}

// MakeRecovery makes a new set of recovery shares, to be printed; shares made
// before are good for older copies of the file only.
func (f *File) MakeRecovery(passphrase []byte, need, of int) ([]seal.Share, error) {
	s, err := f.Secrets(passphrase)
	if err != nil {
		return nil, err
	}
	r, shares, err := s.NewRecovery(need, of)
	if err == nil {
		f.recovery = &r
	}
	return shares, err
}

// Recover opens the file with recovery shares, and puts it under a new
// passphrase, or in the clear if that is empty. hallig.ErrNotFound if no shares
// were ever made; else the errors of seal.Recovery.Recover.
func (f *File) Recover(shares []string, passphrase []byte, a seal.Argon2) (*seal.Secrets, error) {
	if f.recovery == nil {
		return nil, fmt.Errorf("no recovery shares were made for this key file: %w", hallig.ErrNotFound)
	}
	s, err := f.recovery.Recover(shares)
	if err != nil {
		return nil, err
	}
	if s.Mesh != f.Mesh {
		return nil, fmt.Errorf("the shares are of mesh %s: %w", s.Mesh, hallig.ErrForeign)
	}
	plain, err := s.Encode()
	if err != nil {
		return nil, err
	}
	g := &File{Mesh: f.Mesh, clear: plain}
	if len(passphrase) > 0 {
		if err := g.Protect(nil, passphrase, a); err != nil {
			return nil, err
		}
	}
	f.clear, f.protected = g.clear, g.protected
	return s, nil
}

// stored is the JSON form. It follows a line of its own:
//
//	hallig key file <version> <SHA-256 of what follows, hexadecimal>
type stored struct {
	Mesh      hallig.MeshID   `json:"mesh"`
	Revision  uint64          `json:"revision"`
	Written   int64           `json:"written"`
	Warning   string          `json:"warning,omitempty"`
	Secrets   []byte          `json:"secrets,omitempty"`
	Protected *seal.Protected `json:"protected,omitempty"`
	Recovery  *seal.Recovery  `json:"recovery,omitempty"`
}

const (
	magic   = "hallig key file"
	warning = "Whoever reads this file can read everything that is stored. Put it under a passphrase: hallig keyring protect"
)

func (f *File) encode() ([]byte, error) {
	s := stored{Mesh: f.Mesh, Revision: f.Revision, Written: f.Written, Secrets: f.clear, Protected: f.protected, Recovery: f.recovery}
	if f.protected == nil {
		s.Warning = warning
	}
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode the key file: %w", err)
	}
	text = append(text, '\n')
	return append(fmt.Appendf(nil, "%s %d %x\n", magic, Version, sha256.Sum256(text)), text...), nil
}

// Decode reads the bytes of a key file: hallig.ErrCorrupt if they are damaged
// or no key file, hallig.ErrUnsupported if a newer version wrote them.
func Decode(b []byte) (*File, error) {
	head, text, _ := bytes.Cut(b, []byte("\n"))
	var version int
	var sum string
	if n, err := fmt.Sscanf(string(head), magic+" %d %s", &version, &sum); err != nil || n != 2 || version < 1 {
		return nil, fmt.Errorf("not a key file: %w", hallig.ErrCorrupt)
	}
	if version > Version {
		return nil, fmt.Errorf("key file of version %d, this hallig reads up to %d: %w", version, Version, hallig.ErrUnsupported)
	}
	if want := sha256.Sum256(text); hex.EncodeToString(want[:]) != sum {
		return nil, fmt.Errorf("key file: wrong checksum: %w", hallig.ErrCorrupt)
	}
	var s stored
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, fmt.Errorf("key file: malformed: %w", hallig.ErrCorrupt)
	}
	f := &File{Mesh: s.Mesh, Revision: s.Revision, Written: s.Written, clear: s.Secrets, protected: s.Protected, recovery: s.Recovery}
	if (f.clear == nil) == (f.protected == nil) {
		return nil, fmt.Errorf("key file: want a key or a protected key: %w", hallig.ErrCorrupt)
	}
	if f.clear != nil {
		k, err := seal.DecodeSecrets(f.clear)
		if err != nil {
			return nil, fmt.Errorf("key file: %w", err)
		}
		if k.Mesh != f.Mesh {
			return nil, fmt.Errorf("key file of mesh %s with keys of %s: %w", f.Mesh, k.Mesh, hallig.ErrCorrupt)
		}
	}
	return f, nil
}
