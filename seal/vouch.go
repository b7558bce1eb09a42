package seal

import (
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

const (
	vouchVersion = 1
	vouchLabel   = "hallig vouch v1"
	vouchPrefix  = 1 + 32 + 32 // version, commitment, MAC; then the hashes
)

// MaxWidth is the greatest K+M of a stripe whose vouch fits shard.MaxVouch.
const MaxWidth = (shard.MaxVouch - vouchPrefix) / len(Hash{})

// Vouch returns what every shard of the stripe carries in its header: the key
// commitment and the shards' hashes by index (one for copies), under
// HMAC-SHA256 with a key that follows from the data key. A holder of the data
// key thereby recognises a node that returns something else than was written,
// an old generation, or another stripe's shard.
func (b *Body) Vouch(s Stripe, hashes []Hash) ([]byte, error) {
	if s.Data != b.data || len(hashes) != s.Hashes() || len(hashes) > MaxWidth {
		return nil, fmt.Errorf("vouch for stripe %d of data %s: %d hashes for %d+%d shards: %w", s.Number, s.Data, len(hashes), s.K, s.M, hallig.ErrInvalid)
	}
	out := make([]byte, vouchPrefix, vouchPrefix+len(hashes)*len(Hash{}))
	out[0] = vouchVersion
	copy(out[1:], b.commitment[:])
	for _, h := range hashes {
		out = append(out, h[:]...)
	}
	mac := b.vouchMAC(s, out[vouchPrefix:])
	copy(out[33:], mac[:])
	return out, nil
}

// CheckVouch returns the hashes of a vouch that was made for exactly this
// stripe under this data key. It is hallig.ErrKeyUnknown if the commitment is
// another key's, and hallig.ErrCorrupt if anything else is wrong.
func (b *Body) CheckVouch(s Stripe, vouch []byte) ([]Hash, error) {
	hashes, err := VouchHashes(s, vouch)
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare(vouch[1:33], b.commitment[:]) != 1 {
		return nil, fmt.Errorf("stripe %d of data %s was sealed under another data key: %w", s.Number, s.Data, hallig.ErrKeyUnknown)
	}
	mac := b.vouchMAC(s, vouch[vouchPrefix:])
	if s.Data != b.data || !hmac.Equal(mac[:], vouch[33:vouchPrefix]) {
		return nil, fmt.Errorf("vouch for stripe %d of data %s: wrong MAC: %w", s.Number, s.Data, hallig.ErrCorrupt)
	}
	return hashes, nil
}

// VouchHashes reads the hashes of a vouch without checking its MAC: enough to
// see that shards belong together, for those who hold no key.
func VouchHashes(s Stripe, vouch []byte) ([]Hash, error) {
	if len(vouch) < vouchPrefix || vouch[0] != vouchVersion || len(vouch) != vouchPrefix+s.Hashes()*len(Hash{}) {
		return nil, fmt.Errorf("vouch of %d bytes for stripe %d of data %s (%d+%d): %w", len(vouch), s.Number, s.Data, s.K, s.M, hallig.ErrCorrupt)
	}
	out := make([]Hash, s.Hashes())
	for i := range out {
		copy(out[i][:], vouch[vouchPrefix+i*len(Hash{}):])
	}
	return out, nil
}

func (b *Body) vouchMAC(s Stripe, hashes []byte) [32]byte {
	m := hmac.New(sha256.New, b.vouchKey[:])
	head := append([]byte(vouchLabel), s.Data[:]...)
	head = binary.BigEndian.AppendUint32(head, s.Number)
	head = binary.BigEndian.AppendUint16(head, s.Generation)
	head = binary.BigEndian.AppendUint16(head, s.K)
	head = binary.BigEndian.AppendUint16(head, s.M)
	head = binary.BigEndian.AppendUint32(head, s.Sealed)
	m.Write(head)
	m.Write(b.commitment[:])
	m.Write(hashes)
	return [32]byte(m.Sum(nil))
}
