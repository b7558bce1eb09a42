package mesh

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/placement"
)

// An Invitation is the mesh's record of a token: what the node that uses it
// will be, and who used it. It holds the hash of the secret, not the secret.
type Invitation struct {
	Token    TokenID         `cbor:"1,keyasint" json:"token"`
	Secret   [32]byte        `cbor:"2,keyasint" json:"-"` // SHA-256
	Provider string          `cbor:"3,keyasint" json:"provider"`
	Site     string          `cbor:"4,keyasint" json:"site"`
	Roles    placement.Roles `cbor:"5,keyasint" json:"roles"`
	Expires  int64           `cbor:"6,keyasint" json:"expires"` // Unix seconds; good until then, exclusive
	// Node and UsedBy are zero until the token is used: then they are the node
	// that it made and that node's key.
	Node   hallig.NodeID `cbor:"7,keyasint" json:"node"`
	UsedBy Pin           `cbor:"8,keyasint" json:"-"`
}

// Bytes returns the invitation in CBOR.
func (i Invitation) Bytes() ([]byte, error) { return marshal(i) }

// ParseInvitation reads what Bytes returned, with hallig.ErrCorrupt.
func ParseInvitation(b []byte) (Invitation, error) {
	var i Invitation
	err := unmarshal(b, &i, hallig.ErrCorrupt)
	return i, err
}

// Used reports whether the token has made a node.
func (i Invitation) Used() bool { return !i.Node.IsZero() }

// Use decides a request to join that carries this invitation's token. It is
// pure: the caller looks the invitation up, and before it makes or hands out
// anything stores what Use returns, by a compare-and-swap against what it
// read; having lost that race it reads and calls Use again. So a token makes
// one node, however often and by whomever it is sent:
//   - unused and in time, it is used up for the request's key and the node
//     given (a fresh ID);
//   - used by the same key, the invitation is returned as it is, with again
//     true, expired or not: the answer was lost on the way and is given again;
//   - otherwise the error wraps hallig.ErrDenied.
//
// now is the deciding node's clock.
func (i Invitation) Use(r JoinRequest, node hallig.NodeID, now time.Time) (used Invitation, again bool, err error) {
	sum := sha256.Sum256(r.Secret[:])
	if r.Token != i.Token || subtle.ConstantTimeCompare(sum[:], i.Secret[:]) != 1 {
		return i, false, ErrNoSuchToken()
	}
	if i.Used() {
		if i.UsedBy != r.Pin {
			return i, false, fmt.Errorf("join: token %s has been used by another node: make a new one with `hallig token create`: %w", i.Token, hallig.ErrDenied)
		}
		return i, true, nil
	}
	if now.Unix() >= i.Expires {
		return i, false, fmt.Errorf("join: token %s has expired: make a new one with `hallig token create`: %w", i.Token, hallig.ErrDenied)
	}
	if node.IsZero() || r.Pin == (Pin{}) {
		return i, false, fmt.Errorf("join: no node id or no key: %w", hallig.ErrInvalid)
	}
	i.Node, i.UsedBy = node, r.Pin
	return i, false, nil
}

// ErrNoSuchToken is the answer to a token that the mesh does not know; it is
// the same as to a wrong secret, so that token IDs cannot be probed. It wraps
// hallig.ErrDenied.
func ErrNoSuchToken() error {
	return fmt.Errorf("join: the token is not valid here: make a new one with `hallig token create`: %w", hallig.ErrDenied)
}
