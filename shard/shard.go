// Package shard defines what one drive stores and the interface to it. It is
// pure: the drives are shard/disk (local), shard/remote (another node's) and
// shard/mem (the in-memory twin); all pass shard/shardtest.
package shard

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"

	"github.com/hallig-cloud/hallig"
)

// BlockSize is the unit of checksumming within a shard, in bytes: one sealed
// segment (64 KiB of plaintext and its 16-byte tag). A shard is a run of
// blocks of which only the last may be shorter. Blocks and sealed segments
// coincide, so that a range read verifies exactly what it opens.
const BlockSize = 64<<10 + 16

// MaxLength bounds the body of one shard, in bytes.
const MaxLength = 256 * BlockSize

// MaxVouch bounds Header.Vouch, in bytes (100 hashes of 16 bytes, a MAC and framing).
const MaxVouch = 2048

// An ID names one shard in the whole mesh. IDs order by Data, Stripe,
// Generation, Index; AppendBinary writes that order.
type ID struct {
	Data       hallig.DataID
	Stripe     uint32 // number of the stripe within the data id, from 0
	Generation uint16 // 0 as first written; every re-encoding of the stripe takes the next
	Index      uint16 // 0..k-1 data, k..k+m-1 parity; for copies (k=1) every index holds the same bytes
}

// IDSize is the length of an ID in its binary form.
const IDSize = 24

// AppendBinary appends the 24-byte big-endian form, which sorts as Compare does.
func (id ID) AppendBinary(b []byte) ([]byte, error) {
	b = append(b, id.Data[:]...)
	b = binary.BigEndian.AppendUint32(b, id.Stripe)
	b = binary.BigEndian.AppendUint16(b, id.Generation)
	return binary.BigEndian.AppendUint16(b, id.Index), nil
}

// ParseID reads the binary form.
func ParseID(b []byte) (ID, error) {
	if len(b) != IDSize {
		return ID{}, fmt.Errorf("shard id of %d bytes: %w", len(b), hallig.ErrInvalid)
	}
	var id ID
	copy(id.Data[:], b)
	id.Stripe = binary.BigEndian.Uint32(b[16:])
	id.Generation = binary.BigEndian.Uint16(b[20:])
	id.Index = binary.BigEndian.Uint16(b[22:])
	return id, nil
}

// Compare orders IDs by Data, Stripe, Generation, Index.
func (id ID) Compare(o ID) int {
	for i := range id.Data {
		if c := cmp.Compare(id.Data[i], o.Data[i]); c != 0 {
			return c
		}
	}
	return cmp.Or(cmp.Compare(id.Stripe, o.Stripe), cmp.Compare(id.Generation, o.Generation), cmp.Compare(id.Index, o.Index))
}

// String writes data/stripe.generation.index.
func (id ID) String() string {
	return fmt.Sprintf("%s/%d.%d.%d", id.Data, id.Stripe, id.Generation, id.Index)
}

// A Header travels and is stored with a shard. It holds nothing secret.
type Header struct {
	ID      ID
	Session hallig.SessionID // the writer; the sweep fences it before it deletes
	Pool    hallig.PoolID    // the layout that the stripe was written in
	K, M    uint16           // the stripe's code, so that a stripe can be rebuilt from headers alone
	Length  uint32           // bytes in the body; 0..MaxLength
	Stripe  uint32           // sealed bytes in the whole stripe: the data shards' lengths added up
	Vouch   []byte           // the stripe's shards' hashes under a MAC (package seal); opaque here
}

// Info is what an inventory says of a shard.
type Info struct {
	ID      ID
	Session hallig.SessionID
	Length  uint32
	Sum     uint32 // CRC32C over the block checksums: equal sums mean equal bytes, short of malice
}

// A Store is one drive's shards. All methods may be called concurrently.
// Errors wrap hallig.ErrNotFound, ErrCorrupt (quarantined; repair it),
// ErrFull, ErrReadOnly, ErrUnavailable (the drive is gone or failed),
// ErrInvalid, or the context's error.
type Store interface {
	// Put stores a shard. It is on stable storage when Put returns nil. Storing
	// the same ID with the same bytes again is a success (a retry, or a repair:
	// a quarantined copy is replaced); with other bytes it is ErrExists. body is
	// not retained.
	Put(ctx context.Context, h Header, body []byte) error
	// Get appends to dst the bytes [off, off+n) of the shard's body, verified
	// block by block; n < 0 means to the end. A range past the end is cut short.
	// Nothing unverified is ever returned.
	Get(ctx context.Context, id ID, off, n int64, dst []byte) (Header, []byte, error)
	// Stat returns the header without reading the body.
	Stat(ctx context.Context, id ID) (Header, error)
	// Delete removes shards for good and durably: an ID deleted is not brought
	// back by a later rebuild of the index, and the deletion of an absent ID is
	// recorded too, so that a copy that comes back late is refused (ErrExists is
	// not returned for it; Put of a deleted ID returns ErrStale).
	Delete(ctx context.Context, ids ...ID) error
	// Walk calls fn for every shard with an ID > after (the zero ID: from the
	// start), in ID order, until fn returns an error, which Walk returns.
	// Quarantined shards are not included.
	Walk(ctx context.Context, after ID, fn func(Info) error) error
	// Verify reads one shard in full and checks every block. A bad one is
	// quarantined and reported as ErrCorrupt.
	Verify(ctx context.Context, id ID) error
	// Status describes the drive now. It does not block on I/O.
	Status() Status
}

// State is what a drive can do.
type State string

// The states of a drive.
const (
	StateOnline   State = "online"    // reads and writes
	StateFull     State = "full"      // reads; writes are refused until space is free
	StateReadOnly State = "read-only" // reads; a write failed in a way that may come back
	StateFailed   State = "failed"    // neither; the drive answers with errors
	StateMissing  State = "missing"   // its directory or its identity file is gone
	StateForeign  State = "foreign"   // another mesh's, node's or drive's identity was found
	// StateUnreachable: the drive is another node's, and that node does not
	// answer. What the drive can do is not known; nothing on it is lost by that.
	StateUnreachable State = "unreachable"
)

// Status describes a drive.
type Status struct {
	Drive       hallig.DriveID
	State       State
	Reason      string // why it is not online, and what to do; empty when it is
	Shards      int64  // live shards
	Live        int64  // bytes of live records
	Dead        int64  // bytes that compaction will free
	Free, Total int64  // bytes of the file system
	Quarantined int64  // shards found bad and not yet repaired
}
