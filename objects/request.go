package objects

import (
	"context"
	"io"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
)

// Sums are the digests of a body, computed in the pass that stored it.
type Sums struct {
	Size     int64
	MD5      [16]byte
	Checksum string // base64, of the algorithm asked for; "" if none
}

// A PutRequest stores one object.
type PutRequest struct {
	Bucket string
	Key    string
	Body   io.Reader
	Size   int64 // bytes to come, or -1 when not known; a body of another length is ErrInvalid
	// Attributes are stored as they are. Attributes.Checksum.Algorithm says which
	// checksum to compute; Value is filled in. A zero Encryption takes the
	// bucket's default, a zero Retention the bucket's default retention.
	Attributes  catalog.Attributes
	CustomerKey []byte // SSE-C: 32 bytes; not retained
	If          catalog.Precondition
	// Verify, when set, is called once after the whole body was read, before
	// anything becomes visible; its error ends the Put and is returned.
	Verify func(Sums) error
}

// A CreateUploadRequest opens a multipart upload.
type CreateUploadRequest struct {
	Bucket, Key string
	Attributes  catalog.Attributes // of the object to be
	Initiator   string             // shown to clients: who asks; see catalog.Upload
	CustomerKey []byte             // SSE-C: 32 bytes; not retained
}

// A PutPartRequest stores one part of an upload.
type PutPartRequest struct {
	Bucket      string
	Key         string
	Upload      hallig.UploadID
	Number      int // 1..catalog.MaxParts
	Body        io.Reader
	Size        int64  // or -1
	Algorithm   string // checksum to compute; "" takes the upload's
	CustomerKey []byte
	Verify      func(Sums) error
}

// A GetRequest reads a version's plaintext, [Offset, Offset+Length).
type GetRequest struct {
	Version     catalog.Version // as returned by Head
	Offset      int64
	Length      int64 // -1: to the end
	CustomerKey []byte
}

// A CopyRequest copies a version. The caller has authorized both sides and
// read Source by Head, so the copy's conditions hold of exactly that version.
type CopyRequest struct {
	Source            catalog.Version
	SourceCustomerKey []byte
	Bucket, Key       string
	Attributes        catalog.Attributes // of the copy, complete
	CustomerKey       []byte
	If                catalog.Precondition // on the destination
}

// A CopyPartRequest makes a part of an upload from a range of a version.
type CopyPartRequest struct {
	Source            catalog.Version
	SourceCustomerKey []byte
	Offset, Length    int64 // Length -1: to the end
	Bucket, Key       string
	Upload            hallig.UploadID
	Number            int
	CustomerKey       []byte
}

// A CompleteRequest completes a multipart upload.
type CompleteRequest struct {
	Bucket, Key string
	Upload      hallig.UploadID
	Parts       []CompletePart // in ascending order of Number
	Checksum    string         // expected object checksum, base64 (with -N for a composite); "" if not given
	Type        string         // expected checksum type; "" if not given
	Size        int64          // expected object size; -1 if not given
	If          catalog.Precondition
	CustomerKey []byte
}

// A CompletePart is a part as the client names it.
type CompletePart struct {
	Number   int
	ETag     string // without quotes
	Checksum string // base64; "" if not given
}

// A DeleteRequest deletes one key or version.
type DeleteRequest struct {
	Key     string
	Version catalog.VersionID // CurrentVersion: by the bucket's versioning state
	If      catalog.Precondition
	Bypass  bool // waive GOVERNANCE; the caller has checked the permission
	Owner   string
}

// API is what the doors use of a Store; it exists to document the surface in
// one place and to keep Store to it.
type API interface {
	CreateBucket(ctx context.Context, b Bucket) (Bucket, error) // ErrExists; ID, Created, Epoch, Key are filled
	Bucket(ctx context.Context, name string) (Bucket, error)    // ErrNotFound; follows changes
	Buckets(ctx context.Context, after string, limit int) ([]Bucket, error)
	// UpdateBucket applies change to the current configuration and stores it
	// atomically; change may be called again after a lost race. If it returns an
	// error nothing is stored. When it returns, every later write obeys.
	UpdateBucket(ctx context.Context, name string, change func(*Bucket) error) (Bucket, error)
	DeleteBucket(ctx context.Context, name string) error // ErrNotEmpty

	Put(ctx context.Context, r PutRequest) (catalog.Version, error)
	// Head returns a version; a delete marker is returned with ErrNotFound and
	// its Version (so that doors can set x-amz-delete-marker).
	Head(ctx context.Context, bucket, key string, v catalog.VersionID) (catalog.Version, error)
	// Get opens a verified stream. Reading ends with an error rather than with a
	// wrong byte. Close releases it. A wrong customer key is ErrDenied.
	Get(ctx context.Context, r GetRequest) (io.ReadCloser, error)
	Copy(ctx context.Context, r CopyRequest) (catalog.Version, error)
	// Delete deletes up to catalog.MaxOps keys or versions in one commit. The
	// results are in the order of the requests.
	Delete(ctx context.Context, bucket string, r ...DeleteRequest) ([]catalog.Result, error)
	// Change edits a version's attributes: tags, ACL, retention, legal hold.
	// change may be called again after a lost race.
	Change(ctx context.Context, bucket, key string, v catalog.VersionID, change func(*catalog.Version) error) (catalog.Version, error)
	List(ctx context.Context, bucket string, q catalog.Query) (catalog.Page, error) // q.Bucket is filled

	CreateUpload(ctx context.Context, r CreateUploadRequest) (catalog.Upload, error)
	PutPart(ctx context.Context, r PutPartRequest) (catalog.Part, error)
	CopyPart(ctx context.Context, r CopyPartRequest) (catalog.Part, error)
	Complete(ctx context.Context, r CompleteRequest) (catalog.Version, error)
	Abort(ctx context.Context, bucket, key string, id hallig.UploadID) error
	Upload(ctx context.Context, bucket, key string, id hallig.UploadID) (catalog.Upload, error)
	Parts(ctx context.Context, bucket, key string, id hallig.UploadID, after, limit int) ([]catalog.Part, bool, error)
}

// An Event says that an object changed. Whoever asked for the change tells of it,
// after the commit: the doors, which know for whom, and lifecycle. A Store tells
// nobody, so that nothing is told of twice.
type Event struct {
	Name    string // S3's, without "s3:": ObjectCreated:Put, ObjectRemoved:Delete …
	Bucket  string
	Version catalog.Version
	At      time.Time
}
