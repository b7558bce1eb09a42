package seal

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
)

// Values of catalog.SealedKey.Under.
const (
	UnderBucket = "bucket" // the bucket's key
	underNamed  = "named/" // and the named mesh key's name
)

// A Bucket holds a bucket's opened key. It is safe for concurrent use and stays
// usable while the keyring that it came from is unlocked.
type Bucket struct {
	ring    *Keyring
	id      hallig.BucketID
	key     [32]byte
	voucher Voucher
}

// Format hides the key.
func (b *Bucket) Format(f fmt.State, _ rune) { f.Write([]byte(redacted)) } //nolint:errcheck // fmt's own buffer

// NewBucketKey makes a bucket's key and returns it under the root key, for the
// bucket's record.
func (k *Keyring) NewBucketKey(bucket hallig.BucketID) ([]byte, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if k.secrets == nil {
		return nil, fmt.Errorf("make a key for bucket %s: %w", bucket, hallig.ErrKeyLocked)
	}
	key := randomKey()
	defer clear(key)
	return k.secrets.wrap(PurposeBucket, rootContext(PurposeBucket, k.mesh, bucket.String()), key)
}

// Bucket opens a bucket's key. A wrapped key of another bucket or mesh is
// hallig.ErrKeyUnknown.
func (k *Keyring) Bucket(bucket hallig.BucketID, wrapped []byte) (*Bucket, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if k.secrets == nil {
		return nil, fmt.Errorf("open the key of bucket %s: %w", bucket, hallig.ErrKeyLocked)
	}
	key, err := k.secrets.open(PurposeBucket, rootContext(PurposeBucket, k.mesh, bucket.String()), wrapped)
	if err != nil {
		return nil, fmt.Errorf("open the key of bucket %s: %w", bucket, err)
	}
	defer clear(key)
	if len(key) != 32 {
		return nil, fmt.Errorf("open the key of bucket %s: %d bytes: %w", bucket, len(key), hallig.ErrCorrupt)
	}
	b := &Bucket{ring: k, id: bucket, key: [32]byte(key)}
	if b.voucher, err = newVoucher(key, k.mesh, bucket); err != nil {
		return nil, fmt.Errorf("open the key of bucket %s: %w", bucket, err)
	}
	return b, nil
}

// RewrapBucket is Rewrap for a bucket's key.
func (k *Keyring) RewrapBucket(bucket hallig.BucketID, wrapped []byte) ([]byte, bool, error) {
	return k.Rewrap(PurposeBucket, bucket.String(), wrapped)
}

// A Wrapping says under what a version's data key lies. The zero value is the
// bucket's key.
type Wrapping struct {
	Named    string // SSE-KMS: name of a mesh key; with it
	Context  string // the encryption context, canonically encoded by the caller
	Customer []byte // SSE-C: the customer's 32-byte key; not retained
}

// WrapData wraps a data key of this bucket. It is bound to the bucket, never to
// the object's name, so that an object can be copied onto another without its
// bytes. Errors: hallig.ErrKeyUnknown (no such named key), hallig.ErrKeyLocked,
// hallig.ErrInvalid (a customer key that is not 32 bytes).
func (b *Bucket) WrapData(key DataKey, w Wrapping) (catalog.SealedKey, error) {
	wrapping, purpose, out, err := b.wrappingKey(w, 0)
	if err != nil {
		return catalog.SealedKey{}, fmt.Errorf("wrap a data key: %w", err)
	}
	defer clear(wrapping)
	out.Wrapped, err = enclose(wrapping, out.Epoch, purpose, b.context(w), nil, key[:])
	return out, err
}

// UnwrapData opens a data key of this bucket. What it lies under is taken from
// the sealed key; w supplies the customer's key and the encryption context.
// Errors: hallig.ErrDenied (a missing or wrong customer key, another context),
// hallig.ErrKeyUnknown (no such named key or epoch, or another bucket's),
// hallig.ErrKeyLocked, hallig.ErrCorrupt.
func (b *Bucket) UnwrapData(s catalog.SealedKey, w Wrapping) (DataKey, error) {
	if (s.Under == "") != (w.Customer != nil) {
		return DataKey{}, fmt.Errorf("unwrap a data key: a customer key is needed for an SSE-C object and for no other: %w", hallig.ErrDenied)
	}
	w.Named = strings.TrimPrefix(s.Under, underNamed)
	if s.Under == UnderBucket || s.Under == "" {
		w.Named = ""
	} else if !strings.HasPrefix(s.Under, underNamed) {
		return DataKey{}, fmt.Errorf("unwrap a data key under %q: %w", s.Under, hallig.ErrKeyUnknown)
	}
	wrapping, purpose, _, err := b.wrappingKey(w, s.Epoch)
	if err != nil {
		return DataKey{}, fmt.Errorf("unwrap a data key: %w", err)
	}
	defer clear(wrapping)
	plain, err := disclose(wrapping, purpose, b.context(w), nil, s.Wrapped)
	switch {
	case errors.Is(err, errWrongKey) && (w.Customer != nil || w.Named != ""):
		return DataKey{}, fmt.Errorf("unwrap a data key: wrong customer key or encryption context: %w", hallig.ErrDenied)
	case errors.Is(err, errWrongKey):
		return DataKey{}, fmt.Errorf("unwrap a data key: not under this bucket's key: %w", hallig.ErrKeyUnknown)
	case err != nil:
		return DataKey{}, fmt.Errorf("unwrap a data key: %w", err)
	case len(plain) != len(DataKey{}):
		return DataKey{}, fmt.Errorf("unwrap a data key: %d bytes: %w", len(plain), hallig.ErrCorrupt)
	}
	defer clear(plain)
	return DataKey(plain), nil
}

// wrappingKey returns the key that w names; epoch 0 is the current one.
func (b *Bucket) wrappingKey(w Wrapping, epoch uint32) ([]byte, Purpose, catalog.SealedKey, error) {
	if b.ring.Locked() {
		return nil, 0, catalog.SealedKey{}, hallig.ErrKeyLocked
	}
	switch {
	case w.Customer != nil && w.Named != "":
		return nil, 0, catalog.SealedKey{}, fmt.Errorf("both a customer key and a named key: %w", hallig.ErrInvalid)
	case w.Customer != nil:
		if len(w.Customer) != 32 {
			return nil, 0, catalog.SealedKey{}, fmt.Errorf("customer key of %d bytes, want 32: %w", len(w.Customer), hallig.ErrInvalid)
		}
		return append(append(make([]byte, 0, 64), w.Customer...), b.key[:]...), PurposeCustomer, catalog.SealedKey{Epoch: 1}, nil
	case w.Named != "":
		key, at, err := b.ring.namedEpoch(w.Named, epoch)
		return key, PurposeData, catalog.SealedKey{Under: underNamed + w.Named, Epoch: at}, err
	}
	return append([]byte(nil), b.key[:]...), PurposeData, catalog.SealedKey{Under: UnderBucket, Epoch: 1}, nil
}

// context binds a wrapped data key to mesh, bucket and encryption context.
func (b *Bucket) context(w Wrapping) string {
	c := string(b.ring.mesh[:]) + string(b.id[:])
	if w.Named != "" {
		c += w.Context
	}
	return c
}

const customerLabel = "hallig customer check v1"

// CustomerCheck returns a salted commitment to a customer's key, for
// catalog.Encryption.CustomerCheck. It depends on the bucket's key, too.
func (b *Bucket) CustomerCheck(customer []byte) ([]byte, error) {
	salt := make([]byte, 16)
	rand.Read(salt) //nolint:errcheck // crypto/rand.Read never returns an error
	return b.customerCheck(customer, salt)
}

func (b *Bucket) customerCheck(customer, salt []byte) ([]byte, error) {
	if len(customer) != 32 {
		return nil, fmt.Errorf("customer key of %d bytes, want 32: %w", len(customer), hallig.ErrInvalid)
	}
	secret := append(append(make([]byte, 0, 64), customer...), b.key[:]...)
	defer clear(secret)
	sum, err := hkdf.Key(sha256.New, secret, salt, customerLabel, 32)
	return append(salt[:len(salt):len(salt)], sum...), err
}

// CheckCustomer compares a customer's key with what CustomerCheck returned:
// hallig.ErrDenied if it is another one.
func (b *Bucket) CheckCustomer(check, customer []byte) error {
	if len(check) != 48 {
		return fmt.Errorf("customer key check of %d bytes: %w", len(check), hallig.ErrCorrupt)
	}
	want, err := b.customerCheck(customer, check[:16])
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(want, check) != 1 {
		return fmt.Errorf("wrong customer key: %w", hallig.ErrDenied)
	}
	return nil
}
