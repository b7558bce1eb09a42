package seal

import (
	"crypto/hpke"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/cloudflare/circl/group"
	"github.com/cloudflare/circl/secretsharing"

	"github.com/hallig-cloud/hallig"
)

// A Recovery is the root key sealed to a recovery key that exists only as
// printed shares. It holds no secret; it is kept in the key file. A rotation
// seals the new root to the same recovery key (Reseal) with the public half
// alone, so the printed shares stay good.
//
// The sealing is HPKE (RFC 9180) with X25519 and ML-KEM-768, HKDF-SHA256 and
// AES-256-GCM; the recovery key's 32-byte seed is shared by Shamir's scheme over
// the scalars of P-384.
type Recovery struct {
	Set    uint32 `cbor:"1,keyasint" json:"set"`  // names the set of shares
	Need   int    `cbor:"2,keyasint" json:"need"` // shares that recover
	Of     int    `cbor:"3,keyasint" json:"of"`   // shares that were printed
	Public []byte `cbor:"4,keyasint" json:"public"`
	Sealed []byte `cbor:"5,keyasint" json:"sealed"`
}

// MaxShares bounds a set of recovery shares.
const MaxShares = 16

const (
	recoveryLabel = "hallig recovery v1"
	shareVersion  = 1
	scalarSize    = 48
	shareSize     = 1 + 4 + 1 + 1 + scalarSize // version, set, need, index, value; then the checksum
	shareSum      = 4
)

// shareAlphabet is Crockford's base32: no letter looks like another or a digit.
const shareAlphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

func shareEncoding() *base32.Encoding {
	return base32.NewEncoding(shareAlphabet).WithPadding(base32.NoPadding)
}

// A Share is one printed recovery share: groups of five letters and digits. It
// is a secret; Text is for printing it once.
type Share struct{ text string }

// Text returns the share as it is to be printed.
func (s Share) Text() string { return s.text }

// String hides the share.
func (Share) String() string { return redacted }

// Format hides the share.
func (Share) Format(f fmt.State, _ rune) { f.Write([]byte(redacted)) } //nolint:errcheck // fmt's own buffer

// NewRecovery makes a recovery key, seals the secrets to it and returns it in
// shares of which need recover, 1 ≤ need ≤ of ≤ MaxShares.
func (s *Secrets) NewRecovery(need, of int) (Recovery, []Share, error) {
	if need < 1 || need > of || of > MaxShares {
		return Recovery{}, nil, fmt.Errorf("recovery shares, %d of %d: want 1 ≤ need ≤ of ≤ %d: %w", need, of, MaxShares, hallig.ErrInvalid)
	}
	key, err := hpke.MLKEM768X25519().GenerateKey()
	if err != nil {
		return Recovery{}, nil, fmt.Errorf("make a recovery key: %w", err)
	}
	seed, err := key.Bytes()
	if err != nil {
		return Recovery{}, nil, fmt.Errorf("make a recovery key: %w", err)
	}
	defer clear(seed)
	var set [4]byte
	rand.Read(set[:]) //nolint:errcheck // crypto/rand.Read never returns an error
	r := Recovery{Set: binary.BigEndian.Uint32(set[:]), Need: need, Of: of, Public: key.PublicKey().Bytes()}
	if r, err = r.Reseal(s); err != nil {
		return Recovery{}, nil, err
	}
	secret := group.P384.NewScalar()
	if err := secret.UnmarshalBinary(append(make([]byte, scalarSize-len(seed)), seed...)); err != nil {
		return Recovery{}, nil, fmt.Errorf("share the recovery key: %w", err)
	}
	var out []Share
	for i, share := range secretsharing.New(rand.Reader, uint(need-1), secret).Share(uint(of)) {
		value, err := share.Value.MarshalBinary()
		if err != nil {
			return Recovery{}, nil, fmt.Errorf("share the recovery key: %w", err)
		}
		out = append(out, r.share(i+1, value))
	}
	return r, out, nil
}

func (r Recovery) share(index int, value []byte) Share {
	b := binary.BigEndian.AppendUint32([]byte{shareVersion}, r.Set)
	b = append(b, byte(r.Need), byte(index))
	b = append(b, value...)
	sum := sha256.Sum256(b)
	text := shareEncoding().EncodeToString(append(b, sum[:shareSum]...))
	var groups []string
	for len(text) > 0 {
		n := min(5, len(text))
		groups = append(groups, text[:n])
		text = text[n:]
	}
	return Share{strings.Join(groups, "-")}
}

// Reseal returns the recovery with these secrets in place of the former.
func (r Recovery) Reseal(s *Secrets) (Recovery, error) {
	pub, err := hpke.MLKEM768X25519().NewPublicKey(r.Public)
	if err != nil {
		return r, fmt.Errorf("recovery key: %w: %w", err, hallig.ErrCorrupt)
	}
	plain, err := s.Encode()
	if err != nil {
		return r, err
	}
	defer clear(plain)
	r.Sealed, err = hpke.Seal(pub, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte(recoveryLabel), plain)
	if err != nil {
		return r, fmt.Errorf("seal to the recovery key: %w", err)
	}
	return r, nil
}

// Recover opens the secrets with shares as a person typed them: case, spaces
// and dashes do not matter, O counts as 0, I and L as 1. Shares beyond need are
// checked but not used. A mistyped, foreign or repeated share, or too few, is
// hallig.ErrInvalid and says which (by its place, from 1); shares that do not
// belong to what is sealed are hallig.ErrDenied.
func (r Recovery) Recover(shares []string) (*Secrets, error) {
	var parsed []secretsharing.Share
	seen := map[byte]bool{}
	for i, text := range shares {
		index, share, err := r.parse(text)
		if err != nil {
			return nil, fmt.Errorf("recovery share %d of those given: %w", i+1, err)
		}
		if seen[index] {
			return nil, fmt.Errorf("recovery share %d of those given is a repetition: %w", i+1, hallig.ErrInvalid)
		}
		seen[index] = true
		parsed = append(parsed, share)
	}
	if len(parsed) < r.Need {
		return nil, fmt.Errorf("%d recovery shares given, %d of %d are needed: %w", len(parsed), r.Need, r.Of, hallig.ErrInvalid)
	}
	scalar, err := secretsharing.Recover(uint(r.Need-1), parsed)
	if err != nil {
		return nil, fmt.Errorf("join the recovery shares: %w: %w", err, hallig.ErrInvalid)
	}
	raw, err := scalar.MarshalBinary()
	if err != nil || len(raw) != scalarSize {
		return nil, fmt.Errorf("join the recovery shares: %w", hallig.ErrDenied)
	}
	defer clear(raw)
	key, err := hpke.MLKEM768X25519().NewPrivateKey(raw[scalarSize-32:])
	if err != nil {
		return nil, fmt.Errorf("join the recovery shares: %w", hallig.ErrDenied)
	}
	plain, err := hpke.Open(key, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte(recoveryLabel), r.Sealed)
	if err != nil {
		return nil, fmt.Errorf("the recovery shares do not open this key file: %w", hallig.ErrDenied)
	}
	defer clear(plain)
	return DecodeSecrets(plain)
}

// parse reads one share. Errors never repeat it.
func (r Recovery) parse(text string) (byte, secretsharing.Share, error) {
	text = strings.NewReplacer("-", "", " ", "", "\t", "", "\n", "", "\r", "", "O", "0", "I", "1", "L", "1").Replace(strings.ToUpper(text))
	b, err := shareEncoding().DecodeString(text)
	if err != nil || len(b) != shareSize+shareSum || shareEncoding().EncodeToString(b) != text {
		return 0, secretsharing.Share{}, fmt.Errorf("mistyped: want %d letters and digits: %w", shareEncoding().EncodedLen(shareSize+shareSum), hallig.ErrInvalid)
	}
	if sum := sha256.Sum256(b[:shareSize]); string(sum[:shareSum]) != string(b[shareSize:]) {
		return 0, secretsharing.Share{}, fmt.Errorf("mistyped: its checksum is wrong: %w", hallig.ErrInvalid)
	}
	if b[0] != shareVersion {
		return 0, secretsharing.Share{}, fmt.Errorf("version %d: %w", b[0], hallig.ErrUnsupported)
	}
	if binary.BigEndian.Uint32(b[1:]) != r.Set || int(b[5]) != r.Need || b[6] < 1 || int(b[6]) > r.Of {
		return 0, secretsharing.Share{}, fmt.Errorf("it belongs to another set of shares: %w", hallig.ErrInvalid)
	}
	value := group.P384.NewScalar()
	if err := value.UnmarshalBinary(b[7:shareSize]); err != nil {
		return 0, secretsharing.Share{}, fmt.Errorf("no scalar: %w", hallig.ErrInvalid)
	}
	return b[6], secretsharing.Share{ID: group.P384.NewScalar().SetUint64(uint64(b[6])), Value: value}, nil
}
