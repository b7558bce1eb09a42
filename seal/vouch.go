package seal

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"fmt"

	"github.com/zeebo/blake3"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/shard"
)

// A Hash names a shard's body within its stripe: the first 16 bytes of its
// BLAKE3 hash. It is compared only where a MAC or a checksum stands beside it.
type Hash [16]byte

// HashShard returns the hash of a shard's body.
func HashShard(body []byte) Hash {
	sum := blake3.Sum256(body)
	return Hash(sum[:16])
}

// A Stripe says which stripe a vouch is for. All of it is under the MAC.
type Stripe struct {
	Data       hallig.DataID
	Number     uint32
	Generation uint16
	K, M       uint16
	Sealed     uint32 // sealed bytes of the whole stripe
}

// StripeOf returns the stripe that a shard's header claims to belong to.
func StripeOf(h shard.Header) Stripe {
	return Stripe{Data: h.ID.Data, Number: h.ID.Stripe, Generation: h.ID.Generation, K: h.K, M: h.M, Sealed: h.Stripe}
}

// Hashes is the number of hashes in the stripe's vouch: one for each shard, or
// one for all copies.
func (s Stripe) Hashes() int {
	if s.K == 1 {
		return 1
	}
	return int(s.K) + int(s.M)
}

// The versions of a vouch say whose key is under its MAC. Their form is the same.
const (
	vouchByData   = 1 // the data id's: who can open the data
	vouchByBucket = 2 // the bucket's: who can write to the bucket, a customer's key or not
)

const (
	vouchLabel       = "hallig vouch v1"
	vouchBucketLabel = "hallig vouch v2"
	voucherLabel     = "hallig bucket vouch key v1"
	vouchPrefix      = 1 + 32 + 32 // version, commitment, MAC; then the hashes
)

// MaxWidth is the greatest K+M of a stripe whose vouch fits shard.MaxVouch.
const MaxWidth = (shard.MaxVouch - vouchPrefix) / len(Hash{})

// Vouch returns what every shard of the stripe carries in its header: the key
// commitment and the shards' hashes by index (one for copies), under
// HMAC-SHA256 with a key that follows from the data key. A holder of the data
// key thereby recognises a node that returns something else than was written,
// an old generation, or another stripe's shard.
func (b *Body) Vouch(s Stripe, hashes []Hash) ([]byte, error) {
	if s.Data != b.data {
		return nil, fmt.Errorf("vouch for stripe %d of data %s under the key of data %s: %w", s.Number, s.Data, b.data, hallig.ErrInvalid)
	}
	return vouch(vouchByData, vouchLabel, &b.vouchKey, s, b.commitment, hashes)
}

// Trusting returns the body with CheckVouch accepting vouches by the bucket's
// key too: what is written under a customer's key has those.
func (b *Body) Trusting(v Voucher) *Body {
	c := *b
	c.voucher = &v
	return &c
}

// CheckVouch returns the hashes of a vouch that was made for exactly this
// stripe under this data key, or for this data key by a bucket that the body
// trusts. It is hallig.ErrKeyUnknown if the commitment is another key's, and
// hallig.ErrCorrupt if anything else is wrong.
func (b *Body) CheckVouch(s Stripe, vouch []byte) ([]Hash, error) {
	hashes, err := VouchHashes(s, vouch)
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare(vouch[1:33], b.commitment[:]) != 1 {
		return nil, fmt.Errorf("stripe %d of data %s was sealed under another data key: %w", s.Number, s.Data, hallig.ErrKeyUnknown)
	}
	switch {
	case s.Data != b.data:
		err = fmt.Errorf("vouch for stripe %d of data %s, want data %s: %w", s.Number, s.Data, b.data, hallig.ErrCorrupt)
	case vouch[0] == vouchByData:
		err = checkVouch(vouchLabel, &b.vouchKey, s, vouch)
	case b.voucher != nil:
		err = checkVouch(vouchBucketLabel, &b.voucher.key, s, vouch)
	default:
		err = fmt.Errorf("vouch for stripe %d of data %s: by a bucket that is not trusted: %w", s.Number, s.Data, hallig.ErrCorrupt)
	}
	if err != nil {
		return nil, err
	}
	return hashes, nil
}

// A Voucher vouches with a bucket's key for stripes whose data key it does not
// have: those under a customer's key. It says what a gateway wrote, and nothing
// of what it means. It prints as "[redacted]".
type Voucher struct{ key [32]byte }

// Format hides the key whatever the verb.
func (Voucher) Format(f fmt.State, _ rune) { f.Write([]byte(redacted)) } //nolint:errcheck // fmt's own buffer

// Voucher returns the bucket's voucher.
func (b *Bucket) Voucher() Voucher { return b.voucher }

// newVoucher derives the voucher's key from the bucket's by HKDF-SHA256 with
// mesh and bucket.
func newVoucher(bucketKey []byte, mesh hallig.MeshID, bucket hallig.BucketID) (Voucher, error) {
	info := append(append([]byte(voucherLabel), mesh[:]...), bucket[:]...)
	key, err := hkdf.Key(sha256.New, bucketKey, nil, string(info), 32)
	if err != nil {
		return Voucher{}, fmt.Errorf("derive the vouch key: %w", err)
	}
	defer clear(key)
	return Voucher{[32]byte(key)}, nil
}

// Vouch is Body.Vouch with the bucket's key. commitment is the body's, which
// readers hold against the data key that they have.
func (v Voucher) Vouch(s Stripe, commitment [32]byte, hashes []Hash) ([]byte, error) {
	return vouch(vouchByBucket, vouchBucketLabel, &v.key, s, commitment, hashes)
}

// CheckVouch returns the hashes of a vouch that this bucket made for exactly
// this stripe, and the commitment in it. It is hallig.ErrKeyUnknown if the vouch
// was made with a data key, and hallig.ErrCorrupt if anything is wrong.
func (v Voucher) CheckVouch(s Stripe, vouch []byte) ([]Hash, [32]byte, error) {
	hashes, err := VouchHashes(s, vouch)
	if err != nil {
		return nil, [32]byte{}, err
	}
	if vouch[0] != vouchByBucket {
		return nil, [32]byte{}, fmt.Errorf("vouch for stripe %d of data %s: made with its data key: %w", s.Number, s.Data, hallig.ErrKeyUnknown)
	}
	if err := checkVouch(vouchBucketLabel, &v.key, s, vouch); err != nil {
		return nil, [32]byte{}, err
	}
	return hashes, [32]byte(vouch[1:33]), nil
}

// VouchCommitment reads the commitment of a vouch without checking its MAC.
func VouchCommitment(s Stripe, vouch []byte) ([32]byte, error) {
	if _, err := VouchHashes(s, vouch); err != nil {
		return [32]byte{}, err
	}
	return [32]byte(vouch[1:33]), nil
}

// VouchHashes reads the hashes of a vouch without checking its MAC: enough to
// see that shards belong together, for those who hold no key.
func VouchHashes(s Stripe, vouch []byte) ([]Hash, error) {
	if len(vouch) < vouchPrefix || vouch[0] != vouchByData && vouch[0] != vouchByBucket || len(vouch) != vouchPrefix+s.Hashes()*len(Hash{}) {
		return nil, fmt.Errorf("vouch of %d bytes for stripe %d of data %s (%d+%d): %w", len(vouch), s.Number, s.Data, s.K, s.M, hallig.ErrCorrupt)
	}
	out := make([]Hash, s.Hashes())
	for i := range out {
		copy(out[i][:], vouch[vouchPrefix+i*len(Hash{}):])
	}
	return out, nil
}

func vouch(version byte, label string, key *[32]byte, s Stripe, commitment [32]byte, hashes []Hash) ([]byte, error) {
	if len(hashes) != s.Hashes() || len(hashes) > MaxWidth {
		return nil, fmt.Errorf("vouch for stripe %d of data %s: %d hashes for %d+%d shards: %w", s.Number, s.Data, len(hashes), s.K, s.M, hallig.ErrInvalid)
	}
	out := make([]byte, vouchPrefix, vouchPrefix+len(hashes)*len(Hash{}))
	out[0] = version
	copy(out[1:], commitment[:])
	for _, h := range hashes {
		out = append(out, h[:]...)
	}
	mac := vouchMAC(label, key, s, out)
	copy(out[33:], mac[:])
	return out, nil
}

func checkVouch(label string, key *[32]byte, s Stripe, vouch []byte) error {
	mac := vouchMAC(label, key, s, vouch)
	if !hmac.Equal(mac[:], vouch[33:vouchPrefix]) {
		return fmt.Errorf("vouch for stripe %d of data %s: wrong MAC: %w", s.Number, s.Data, hallig.ErrCorrupt)
	}
	return nil
}

// vouchMAC is the MAC over a vouch's commitment and hashes, and its stripe.
func vouchMAC(label string, key *[32]byte, s Stripe, vouch []byte) [32]byte {
	m := hmac.New(sha256.New, key[:])
	head := append([]byte(label), s.Data[:]...)
	head = binary.BigEndian.AppendUint32(head, s.Number)
	head = binary.BigEndian.AppendUint16(head, s.Generation)
	head = binary.BigEndian.AppendUint16(head, s.K)
	head = binary.BigEndian.AppendUint16(head, s.M)
	head = binary.BigEndian.AppendUint32(head, s.Sealed)
	m.Write(head)
	m.Write(vouch[1:33])
	m.Write(vouch[vouchPrefix:])
	return [32]byte(m.Sum(nil))
}
