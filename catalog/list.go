package catalog

import (
	"time"

	"github.com/hallig-cloud/hallig"
)

// What is what a Query lists.
type What uint8

// The lists.
const (
	ListCurrent  What = iota // newest versions that are not delete markers
	ListVersions             // every version and delete marker; a key's newest first
	ListUploads              // open multipart uploads; by key, then by initiation, then by id
)

// A Query asks for one page of a bucket's contents in ascending UTF-8 byte
// order of the keys. Memory and time are bounded by the page, not the bucket:
// what a common prefix rolls up is skipped by seeking.
type Query struct {
	Bucket    hallig.BucketID
	What      What
	Prefix    string
	Delimiter string // "" rolls nothing up; may be longer than one byte
	// After is where to go on: entries greater than it. A common prefix is
	// returned if it is greater than After.Key (so one that was returned as
	// Next is not returned again, nor is one that a client's marker lies in).
	After Marker
	Limit int // entries and prefixes together; ≥ 1
}

// A Marker is a position in a list. With Version or Upload unset it stands
// behind everything of its Key.
type Marker struct {
	Key     string
	Version VersionID       // ListVersions: behind this version of Key ("null" too); an unknown one stands where it would be, or behind Key
	Upload  hallig.UploadID // ListUploads: behind this upload of Key; a closed one stands where NewUploadID's id says
}

// A Page is one page of a list, in order.
type Page struct {
	Items     []Item
	Truncated bool   // more follow
	Next      Marker // position of the last item; set when Truncated
}

// An Item is a common prefix, a version, or an upload.
type Item struct {
	Prefix  string  // a common prefix when not ""
	Version Summary // ListCurrent, ListVersions
	Upload  *Upload // ListUploads; Attributes: Owner, StorageClass, Checksum only
}

// A Summary is what lists show of a version: what the opened index holds.
type Summary struct {
	Key               string
	ID                VersionID
	Revision          hallig.Revision
	Latest            bool
	DeleteMarker      bool
	Modified          int64 // unix milliseconds
	Size              int64
	ETag              string
	StorageClass      string
	Owner             string
	ChecksumAlgorithm string
	ChecksumType      string
	Encryption        string // Encryption.Algorithm, or "SSE-C"
}

// NewUploadID returns a random id of an upload that is begun at the time: 48
// bits of unix milliseconds before 80 random ones. Ids of a key's uploads thus
// order as ListUploads does, so that the id alone says where an upload stood
// that is closed by now.
func NewUploadID(at time.Time) hallig.UploadID {
	id := hallig.NewID()
	ms := uint64(at.UnixMilli())
	for i := range 6 {
		id[i] = byte(ms >> (40 - 8*i))
	}
	return id
}

// UploadBegun returns the time that NewUploadID wrote into the id.
func UploadBegun(id hallig.UploadID) time.Time {
	var ms int64
	for _, b := range id[:6] {
		ms = ms<<8 | int64(b)
	}
	return time.UnixMilli(ms).UTC()
}
