// Package catalog defines the strongly consistent record of what exists:
// versions of objects, multipart uploads, and the mesh's own records. It is
// pure: types, interfaces and the arithmetic of preconditions. The stores are
// catalog/raft and catalog/mem; both pass catalog/catalogtest.
//
// A version exists from the moment that the Commit which carries it returns
// (or is found committed later); everything it refers to must be on stable
// storage before. Reads are linearizable.
package catalog

import (
	"context"

	"github.com/hallig-cloud/hallig"
)

// Objects is the part of the catalog that holds buckets' contents.
type Objects interface {
	// Commit decides and applies every operation of the request, each by itself,
	// in order, and answers with one Result for each. It is durable when it
	// returns. The returned error is about the request as a whole (then nothing
	// of it was applied, or, with ErrUnavailable, it is not known and the same
	// request, with its ID, may be sent again to learn it); an operation's own
	// failure is in its Result. A repeat is answered with the first answer, unless
	// every operation was refused: such a request leaves no trace and is decided
	// anew. SetBucket stands alone in its request. A bucket that is closed or was
	// never opened is ErrNotFound.
	Commit(ctx context.Context, r Request) ([]Result, error)
	// Head returns one version: the named one, or with CurrentVersion the newest,
	// which may be a delete marker (the caller decides what that means). A
	// missing key or version is ErrNotFound.
	Head(ctx context.Context, bucket hallig.BucketID, key string, v VersionID) (Version, error)
	// List returns a page of current objects, versions or uploads; see Query.
	List(ctx context.Context, q Query) (Page, error)
	// Upload returns an open multipart upload, or ErrNotFound.
	Upload(ctx context.Context, bucket hallig.BucketID, key string, id hallig.UploadID) (Upload, error)
	// Parts returns an upload's parts numbered above after, in ascending order,
	// at most limit; more says that others follow.
	Parts(ctx context.Context, bucket hallig.BucketID, key string, id hallig.UploadID, after, limit int) (parts []Part, more bool, err error)
	// Usage returns a bucket's counters as of now, and its epoch.
	Usage(ctx context.Context, bucket hallig.BucketID) (Usage, error)
}

// Records is the part of the catalog that holds the mesh itself (partition 0):
// small records by kind and name: topology, pools, buckets, users, keys.
// Values are at most MaxRecord bytes; they are sealed at rest unless the kind
// is KindTopology.
type Records interface {
	// Get returns one record or ErrNotFound.
	Get(ctx context.Context, kind Kind, name string) (Record, error)
	// Scan returns the records of a kind with names > after, in order, at most
	// limit (≤ 0: 1000).
	Scan(ctx context.Context, kind Kind, after string, limit int) ([]Record, error)
	// Update applies all changes or none. A change whose Expect does not hold
	// fails the whole with ErrConflict. It is durable when it returns.
	Update(ctx context.Context, changes ...Change) error
	// Watch calls changed (without payload, coalesced, from one goroutine) after
	// records of the kind may have changed, until the returned function is called.
	Watch(kind Kind, changed func()) (stop func())
}

// Upkeep is what the background work needs of the catalog.
type Upkeep interface {
	// Garbage returns data that no version and no upload refers to any more, in
	// the order it became so, from after (zero: the oldest), at most limit.
	Garbage(ctx context.Context, after hallig.Revision, limit int) ([]Garbage, error)
	// Collected forgets garbage whose shards are deleted.
	Collected(ctx context.Context, revisions ...hallig.Revision) error
	// Referenced says for each data id whether a version, an upload or waiting
	// garbage refers to it.
	Referenced(ctx context.Context, ids []hallig.DataID) ([]bool, error)
	// Fence makes every later Commit of the session fail with ErrFenced, in
	// every partition. What the session has in flight can then not become
	// visible. It is durable when it returns.
	Fence(ctx context.Context, session hallig.SessionID) error
	// Walk goes over every version and every upload's parts of the whole catalog in
	// no promised but a stable order, from cursor (nil: the start). next is nil at the end. It
	// is not one snapshot: what exists throughout is seen.
	Walk(ctx context.Context, cursor []byte, limit int) (found []Stored, next []byte, err error)
}

// Catalog is the whole.
type Catalog interface {
	Objects
	Records
	Upkeep
}

// A Request is one proposal.
type Request struct {
	ID      hallig.ProposalID // random, never zero; a repeat is answered with the first answer
	Session hallig.SessionID  // the writer; a fenced one is refused with ErrFenced
	Bucket  hallig.BucketID   // every operation is in this bucket
	Epoch   uint64            // the bucket configuration that the caller acted on; another is ErrStale
	Ops     []Op              // 1..MaxOps
}

// Limits.
const (
	MaxOps    = 1000      // operations of one request
	MaxRecord = 512 << 10 // bytes of one mesh record
	MaxParts  = 10_000    // parts of one upload
	MaxKey    = 1024      // bytes of an object's key, UTF-8
)

// A Result is the answer to one Op.
type Result struct {
	// Err wraps ErrPrecondition, ErrNotFound, ErrLockHeld, ErrConflict,
	// ErrExists, ErrNotEmpty or ErrInvalid; nil is success.
	Err error
	// Version is what the operation made or removed: the committed version with
	// its Revision, the new delete marker, or the version that was deleted.
	// Zero when a deletion found nothing.
	Version Version
}

// A Kind groups mesh records.
type Kind string

// The kinds of mesh records.
const (
	KindTopology Kind = "topology" // in the clear
	KindPool     Kind = "pool"     // in the clear
	KindBucket   Kind = "bucket"
	KindUser     Kind = "user"
	KindKey      Kind = "key"     // S3 access keys
	KindSealing  Kind = "sealing" // wrapped bucket keys and named mesh keys
	KindTask     Kind = "task"    // cursors and progress of background work
	KindSetting  Kind = "setting"
)

// A Record is one mesh record.
type Record struct {
	Kind     Kind
	Name     string
	Value    []byte
	Revision hallig.Revision
}

// A Change writes or deletes one record.
type Change struct {
	Kind   Kind
	Name   string // 1..512 bytes, no NUL
	Value  []byte // ignored when Delete
	Delete bool
	// Expect is the revision that the record must have now: AnyRevision to skip
	// the check, 0 for "must not exist".
	Expect hallig.Revision
}

// AnyRevision as Change.Expect skips the comparison.
const AnyRevision = ^hallig.Revision(0)

// Usage is a bucket's counters.
type Usage struct {
	Epoch    uint64 // current configuration epoch; 0: the bucket was never opened
	Closed   bool   // deleted, or being deleted: writes are refused
	Current  int64  // keys whose newest version is not a delete marker
	Versions int64  // versions including delete markers
	Bytes    int64  // plaintext bytes of all versions
	Uploads  int64  // open multipart uploads
}

// Garbage is data to be deleted once no reader can still be at it.
type Garbage struct {
	Revision hallig.Revision // the commit that made it garbage
	When     int64           // unix milliseconds by the proposer's clock
	Bucket   hallig.BucketID
	Extents  []Extent
}

// Stored is one thing that Walk found: exactly one of Version and Part is set.
type Stored struct {
	Version *Version
	Upload  *Upload
	Part    *Part // with Upload set
}
