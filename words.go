package hallig

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
)

// An ID is a random 128-bit identity. Its zero value means "none".
type ID [16]byte

// NewID returns a fresh random ID from the system's cryptographic source.
func NewID() ID {
	var id ID
	rand.Read(id[:]) //nolint:errcheck // crypto/rand.Read never returns an error
	return id
}

// ParseID reads the 32 hexadecimal digits that String writes.
func ParseID(s string) (ID, error) {
	var id ID
	if len(s) != 2*len(id) {
		return ID{}, fmt.Errorf("id %q: want %d hexadecimal digits: %w", s, 2*len(id), ErrInvalid)
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		return ID{}, fmt.Errorf("id %q: %w", s, ErrInvalid)
	}
	return id, nil
}

// String returns the ID as 32 lowercase hexadecimal digits.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// IsZero reports whether the ID is the zero value, "none".
func (id ID) IsZero() bool { return id == ID{} }

// MarshalText implements encoding.TextMarshaler.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (id *ID) UnmarshalText(b []byte) error {
	v, err := ParseID(string(b))
	if err == nil {
		*id = v
	}
	return err
}

// The identities of the mesh. They are aliases of ID, so that generic code
// can treat them alike; names in signatures say which one is meant.
type (
	MeshID     = ID // one mesh
	NodeID     = ID // one running hallig
	DriveID    = ID // one directory on its own disk
	BucketID   = ID // one bucket; survives no deletion: a bucket made anew has a new id
	DataID     = ID // one upload attempt of a body or a part; never reused
	SessionID  = ID // one life of a writing process; see catalog.Request
	ProposalID = ID // one catalog proposal; a repeat of it gets the first answer
	UploadID   = ID // one multipart upload
)

// A Revision orders the commits of one catalog partition. The top 16 bits are
// the partition's epoch, the low 48 bits a counter that the partition's state
// machine increments for every operation it applies. A revision is never
// reused; zero means "none". Revisions of different partitions do not compare.
type Revision uint64

// Epoch returns the partition epoch that the revision was made in.
func (r Revision) Epoch() uint16 { return uint16(r >> 48) }

// MakeRevision joins an epoch and a counter (at most 2^48-1).
func MakeRevision(epoch uint16, counter uint64) Revision {
	return Revision(epoch)<<48 | Revision(counter&(1<<48-1))
}

// A PoolID names an immutable pool (a layout) within the mesh. Zero is "none".
type PoolID uint32

// Survive says what a bucket must live through without loss. Users state this,
// never data and parity counts.
type Survive string

// The survive policies, weakest first.
const (
	SurviveNothing       Survive = "nothing" // one drive alone; said loudly wherever it applies
	SurviveDrive         Survive = "drive"
	SurviveTwoDrives     Survive = "2 drives"
	SurviveNode          Survive = "node"
	SurviveSite          Survive = "site"
	SurviveProvider      Survive = "provider"
	SurviveProviderDrive Survive = "provider+drive"
	SurviveProviderNode  Survive = "provider+node"
	SurviveTwoProviders  Survive = "2 providers"
)

// Valid reports whether s is one of the policies above.
func (s Survive) Valid() bool {
	switch s {
	case SurviveNothing, SurviveDrive, SurviveTwoDrives, SurviveNode, SurviveSite,
		SurviveProvider, SurviveProviderDrive, SurviveProviderNode, SurviveTwoProviders:
		return true
	}
	return false
}
