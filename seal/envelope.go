package seal

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/hallig-cloud/hallig"
)

// A Purpose says what an envelope holds; one made for one purpose opens for no
// other.
type Purpose uint8

// The purposes.
const (
	PurposeBucket   Purpose = 1 // a bucket's key, under the root key
	PurposeNamed    Purpose = 2 // a named mesh key's epochs, under the root key
	PurposeCatalog  Purpose = 3 // the mesh's catalog key, under the root key
	PurposeData     Purpose = 4 // a data key, under a bucket's or a named key
	PurposeCustomer Purpose = 5 // a data key, under a customer's key and the bucket's
	PurposeRecord   Purpose = 6 // a catalog record
	PurposeSecrets  Purpose = 7 // the key file's secrets, under a passphrase
)

// An envelope is version (1) ‖ purpose (1) ‖ epoch of the wrapping key (4) ‖
// salt (16) ‖ commitment (16) ‖ AES-256-GCM ciphertext and tag. HKDF-SHA256 of
// the wrapping key, the salt and (purpose, context) gives the cipher key, used
// once, and the commitment, which is compared before decryption. The first six
// bytes and the caller's associated data are authenticated.
const (
	envelopeVersion = 1
	envelopeHead    = 6
	envelopePrefix  = envelopeHead + 16 + 16
	envelopeLabel   = "hallig envelope v1"
	// EnvelopeOverhead is what an envelope adds to its contents, in bytes.
	EnvelopeOverhead = envelopePrefix + TagSize
)

// errWrongKey says that an envelope was made under another key (or context).
var errWrongKey = errors.New("made under another key")

// envelopeKeys derives the cipher key and the commitment.
func envelopeKeys(key []byte, p Purpose, context string, salt []byte) ([]byte, error) {
	return hkdf.Key(sha256.New, key, salt, envelopeLabel+string(rune(p))+context, 48)
}

// enclose seals plain under key.
func enclose(key []byte, epoch uint32, p Purpose, context string, aad, plain []byte) ([]byte, error) {
	out := make([]byte, envelopePrefix, len(plain)+EnvelopeOverhead)
	out[0], out[1] = envelopeVersion, byte(p)
	binary.BigEndian.PutUint32(out[2:], epoch)
	salt := out[envelopeHead : envelopeHead+16]
	rand.Read(salt) //nolint:errcheck // crypto/rand.Read never returns an error
	keys, err := envelopeKeys(key, p, context, salt)
	if err != nil {
		return nil, err
	}
	defer clear(keys)
	copy(out[envelopeHead+16:], keys[32:])
	aead, err := newGCM(keys[:32])
	if err != nil {
		return nil, err
	}
	return aead.Seal(out, make([]byte, aead.NonceSize()), plain, append(out[:envelopeHead:envelopeHead], aad...)), nil
}

// disclose opens an envelope: errWrongKey if key or context are others,
// hallig.ErrCorrupt if it was changed, hallig.ErrUnsupported if it is newer.
func disclose(key []byte, p Purpose, context string, aad, sealed []byte) ([]byte, error) {
	if _, err := envelopeEpoch(p, sealed); err != nil {
		return nil, err
	}
	keys, err := envelopeKeys(key, p, context, sealed[envelopeHead:envelopeHead+16])
	if err != nil {
		return nil, err
	}
	defer clear(keys)
	if subtle.ConstantTimeCompare(keys[32:], sealed[envelopeHead+16:envelopePrefix]) != 1 {
		return nil, errWrongKey
	}
	aead, err := newGCM(keys[:32])
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, make([]byte, aead.NonceSize()), sealed[envelopePrefix:], append(sealed[:envelopeHead:envelopeHead], aad...))
	if err != nil {
		return nil, fmt.Errorf("authentication failed: %w", hallig.ErrCorrupt)
	}
	return plain, nil
}

// envelopeEpoch checks the frame and returns the wrapping key's epoch.
func envelopeEpoch(p Purpose, sealed []byte) (uint32, error) {
	switch {
	case len(sealed) < EnvelopeOverhead:
		return 0, fmt.Errorf("sealed value of %d bytes: %w", len(sealed), hallig.ErrCorrupt)
	case sealed[0] != envelopeVersion:
		return 0, fmt.Errorf("sealed value of version %d: %w", sealed[0], hallig.ErrUnsupported)
	case Purpose(sealed[1]) != p:
		return 0, fmt.Errorf("sealed value of purpose %d, want %d: %w", sealed[1], p, hallig.ErrCorrupt)
	}
	return binary.BigEndian.Uint32(sealed[2:]), nil
}
