package catalog

import (
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/hallig-cloud/hallig"
)

// A VersionID is what S3 clients call a version by: "null", or the version's
// revision in a fixed-width encoding. "" names the current version.
type VersionID string

// The version ids that are not a revision.
const (
	CurrentVersion VersionID = ""
	NullVersion    VersionID = "null"
)

var versionEncoding = base32.HexEncoding.WithPadding(base32.NoPadding)

// RevisionID returns the version id of a version made at r.
func RevisionID(r hallig.Revision) VersionID {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(r))
	return VersionID(versionEncoding.EncodeToString(b[:]))
}

// Revision returns the revision that the id names, or ErrInvalid.
func (v VersionID) Revision() (hallig.Revision, error) {
	b, err := versionEncoding.DecodeString(string(v))
	if err != nil || len(b) != 8 {
		return 0, fmt.Errorf("version id %q: %w", string(v), hallig.ErrInvalid)
	}
	return hallig.Revision(binary.BigEndian.Uint64(b)), nil
}

// A Version is one version of an object, or a delete marker. The catalog keeps
// Bucket, Key, Revision, Edit, Null, DeleteMarker and Extents apart from the
// rest, which replicas store sealed.
type Version struct {
	Bucket       hallig.BucketID
	Key          string
	Revision     hallig.Revision // the commit that made it; versions of a key order by it. 0 before
	Edit         hallig.Revision // the last commit that touched it (tags, retention, layout …)
	Null         bool            // has the version id "null"
	DeleteMarker bool
	Latest       bool // newest of its key; filled by reads, not stored

	Modified time.Time // UTC, millisecond precision; set by the caller of Commit
	Size     int64     // plaintext bytes
	ETag     string    // without quotes: hex MD5, or hex-N for multipart
	Parts    []PartSum // multipart objects: the parts in order; nil otherwise
	Extents  []Extent  // where the bytes are, in order
	Inline   []byte    // the sealed body of a very small object, instead of extents; usually nil
	DataKey  SealedKey // the version's data key, wrapped

	Attributes
}

// ID returns the version's S3 id.
func (v *Version) ID() VersionID {
	if v.Null {
		return NullVersion
	}
	return RevisionID(v.Revision)
}

// An Extent is a run of stripes of one data id in one pool. The plaintext of a
// version is its extents' in order. All stripes of a data id but its last hold
// the pool's full stripe of plaintext.
type Extent struct {
	Data       hallig.DataID
	First      uint32 // first stripe
	Count      uint32 // number of stripes
	Length     int64  // plaintext bytes in them
	Last       bool   // includes the data id's last stripe
	Pool       hallig.PoolID
	Generation uint16
}

// A PartSum is what a completed object remembers of each part.
type PartSum struct {
	Number   int // 1..10000
	Size     int64
	ETag     string // hex MD5
	Checksum string // base64, of Attributes.Checksum.Algorithm; "" if none
}

// SealedKey is a version's data key under another key.
type SealedKey struct {
	Under   string // name of the wrapping key: a bucket key's or a named mesh key's; "" with SSE-C
	Epoch   uint32 // of the wrapping key
	Wrapped []byte
}

// Attributes are what S3 clients set or read of a version beyond its bytes.
type Attributes struct {
	Owner              string // canonical user id
	ContentType        string
	CacheControl       string
	ContentDisposition string
	ContentEncoding    string
	ContentLanguage    string
	Expires            string
	WebsiteRedirect    string
	StorageClass       string // "" is STANDARD
	Metadata           map[string]string
	Tags               []Tag
	ACL                []byte // encoded by package access; nil is private
	Checksum           Checksum
	Encryption         Encryption
	Retention          Retention
	LegalHold          bool
	LegalHoldStated    bool // a legal hold was once put, ON or OFF; S3 tells OFF from never
}

// A Tag is one object tag, in the order given by the client.
type Tag struct{ Key, Value string }

// Checksum is an S3 checksum of the object.
type Checksum struct {
	Algorithm string // CRC32, CRC32C, CRC64NVME, SHA1, SHA256; "" is none
	Type      string // FULL_OBJECT or COMPOSITE
	Value     string // base64, with -N for a composite
}

// Encryption is what the client asked for and is told of.
type Encryption struct {
	Algorithm   string // AES256, aws:kms, aws:kms:dsse; "" with SSE-C
	KeyID       string // named mesh key for aws:kms
	Context     string // base64 JSON encryption context
	BucketKey   bool
	CustomerMD5 string // SSE-C: base64 MD5 of the customer's key
	// CustomerCheck is a salted commitment by which a wrong customer key is
	// recognised before anything is opened.
	CustomerCheck []byte
}

// Retention is an object-lock retention.
type Retention struct {
	Mode  string // GOVERNANCE or COMPLIANCE; "" is none
	Until time.Time
}

// Holds reports whether the retention forbids deletion at now; bypass waives
// GOVERNANCE.
func (r Retention) Holds(now time.Time, bypass bool) bool {
	if r.Mode == "" || !now.Before(r.Until) {
		return false
	}
	return r.Mode != "GOVERNANCE" || !bypass
}

// Locked reports whether an object lock forbids at the time to remove or replace
// the version; bypass waives GOVERNANCE.
func (v *Version) Locked(at time.Time, bypass bool) bool {
	return v.LegalHold || v.Retention.Holds(at, bypass)
}

// An Upload is an open multipart upload.
type Upload struct {
	ID        hallig.UploadID
	Bucket    hallig.BucketID
	Key       string
	Initiated time.Time
	Initiator string // who opened it: the canonical id of the root user, any other user's ARN
	DataKey   SealedKey
	Attributes
}

// A Part is an uploaded part of an open upload.
type Part struct {
	Number   int
	Size     int64
	ETag     string
	Checksum string // base64, of the upload's algorithm
	Modified time.Time
	Extents  []Extent
}
