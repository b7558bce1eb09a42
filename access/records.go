package access

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
)

// userRecord is a user as the catalog keeps it, under its name.
type userRecord struct {
	ID          string            `cbor:"1,keyasint"`
	Name        string            `cbor:"2,keyasint"`
	DisplayName string            `cbor:"3,keyasint,omitempty"`
	Email       string            `cbor:"4,keyasint,omitempty"`
	Created     time.Time         `cbor:"5,keyasint"`
	Policies    map[string][]byte `cbor:"6,keyasint,omitempty"` // JSON by name
	Disabled    bool              `cbor:"7,keyasint,omitempty"`
	Root        bool              `cbor:"8,keyasint,omitempty"`
}

// keyRecord is an access key as the catalog keeps it, under the access key.
type keyRecord struct {
	User     string    `cbor:"1,keyasint"`
	UserID   string    `cbor:"2,keyasint"` // a user made anew under an old name does not get its keys
	Secret   string    `cbor:"3,keyasint"`
	Created  time.Time `cbor:"4,keyasint"`
	Disabled bool      `cbor:"5,keyasint,omitempty"`
	Policy   []byte    `cbor:"6,keyasint,omitempty"` // JSON
	Comment  string    `cbor:"7,keyasint,omitempty"`
	Expires  time.Time `cbor:"8,keyasint,omitempty"`
}

func (s *Service) read(ctx context.Context, kind catalog.Kind, name string, into any) (hallig.Revision, error) {
	r, err := s.records.Get(ctx, kind, name)
	if err != nil {
		return 0, fmt.Errorf("read %s %q: %w", kind, name, err)
	}
	if err := cbor.Unmarshal(r.Value, into); err != nil {
		return 0, fmt.Errorf("read %s %q: %w: %w", kind, name, err, hallig.ErrCorrupt)
	}
	return r.Revision, nil
}

func change(kind catalog.Kind, name string, value any, expect hallig.Revision) (catalog.Change, error) {
	b, err := cbor.Marshal(value)
	if err != nil {
		return catalog.Change{}, fmt.Errorf("encode %s %q: %w", kind, name, err)
	}
	if len(b) > catalog.MaxRecord {
		return catalog.Change{}, fmt.Errorf("%s %q is %d bytes, at most %d: %w", kind, name, len(b), catalog.MaxRecord, hallig.ErrTooLarge)
	}
	return catalog.Change{Kind: kind, Name: name, Value: b, Expect: expect}, nil
}

// update stores changes and forgets what was cached.
func (s *Service) update(ctx context.Context, changes ...catalog.Change) error {
	defer s.forget()
	return s.records.Update(ctx, changes...) //nolint:wrapcheck // callers say what they did
}

// scan calls each for every record of a kind, in order of names.
func (s *Service) scan(ctx context.Context, kind catalog.Kind, each func(catalog.Record) error) error {
	for after := ""; ; {
		list, err := s.records.Scan(ctx, kind, after, 1000)
		if err != nil {
			return fmt.Errorf("list %ss: %w", kind, err)
		}
		for _, r := range list {
			if err := each(r); err != nil {
				return err
			}
			after = r.Name
		}
		if len(list) == 0 {
			return nil
		}
	}
}

func newCanonicalID() string {
	var b [32]byte
	rand.Read(b[:]) //nolint:errcheck // never returns an error
	return hex.EncodeToString(b[:])
}

// newAccessKey returns 20 characters with 90 random bits.
func newAccessKey() string {
	var b [12]byte
	rand.Read(b[:]) //nolint:errcheck // never returns an error
	return "HL" + base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b[:])[:18]
}

// newSecret returns 40 characters with 240 random bits.
func newSecret() string {
	var b [30]byte
	rand.Read(b[:]) //nolint:errcheck // never returns an error
	return base64.StdEncoding.EncodeToString(b[:])
}

// isCanonicalID reports whether s is 64 lowercase hexadecimal digits.
func isCanonicalID(s string) bool {
	if len(s) != 64 {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return (r < '0' || r > '9') && (r < 'a' || r > 'f') })
}

func allIn(s, more string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && !strings.ContainsRune(more, r)
	})
}

// validAccessKey: 3 to 128 letters, digits and "_-.+=@"; no slash, which
// separates the parts of a credential.
func validAccessKey(s string) bool { return len(s) >= 3 && len(s) <= 128 && allIn(s, "_-.+=@") }

// validSecret: 8 to 128 printable ASCII characters.
func validSecret(s string) bool {
	return len(s) >= 8 && len(s) <= 128 && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// validName: 1 to 64 letters, digits and "+=,.@_-", as IAM user names.
func validName(s string) bool { return len(s) >= 1 && len(s) <= 64 && allIn(s, "+=,.@_-") }

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
