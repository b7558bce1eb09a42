package catalog

import (
	"time"

	"github.com/hallig-cloud/hallig"
)

// Versioning is a bucket's versioning state as an operation sees it.
type Versioning uint8

// The versioning states.
const (
	Unversioned Versioning = iota // one null version per key
	Enabled                       // every write makes a version
	Suspended                     // writes replace the null version, others stay
)

// An Op is one operation of a Request: one of the types below.
type Op interface{ op() }

// A Put makes a version current. Unless Versioning is Enabled it becomes the
// null version and replaces the former null version, whose data becomes
// garbage; an object lock that holds the former at Version.Modified refuses the
// Put with ErrLockHeld.
type Put struct {
	Version    Version // Revision, Edit, Null and Latest are set by the catalog
	Versioning Versioning
	If         Precondition // against the current version
	// Upload, when set, completes a multipart upload: it must be open (else
	// ErrNotFound); it is closed, and parts of it that Version.Extents does not
	// use become garbage. Extents that are not those of its parts as they are now
	// (one was replaced meanwhile) are ErrConflict. A repeat after success is answered by Request.ID only.
	Upload hallig.UploadID
	// Moved says that Version.Extents may name data ids of the version being
	// replaced (a copy onto itself); those do not become garbage. IfEdit must
	// then be set, so that the source is known not to have changed.
	Moved  bool
	IfEdit hallig.Revision // the replaced (null or current) version must have this Edit; 0: no check
}

// A Delete is a DELETE without version id: Unversioned removes the null
// version, Enabled adds a delete marker, Suspended removes the null version
// and adds a null delete marker. Deleting what is not there succeeds (and with
// Enabled or Suspended still adds the marker). An object lock that holds the
// null version at At, and would have to give way, refuses it with ErrLockHeld.
type Delete struct {
	Key        string
	Versioning Versioning
	If         Precondition
	At         time.Time // the marker's Modified
	Owner      string    // the marker's owner
}

// A DeleteVersion removes one version for good. An object lock that holds at At
// refuses it with ErrLockHeld. Removing an absent version succeeds with a zero
// Result.Version.
type DeleteVersion struct {
	Key     string
	Version VersionID // never CurrentVersion
	If      Precondition
	At      time.Time
	Bypass  bool            // waive GOVERNANCE; the caller has checked the permission
	IfEdit  hallig.Revision // 0: no check; else ErrConflict unless the version's Edit is this (lifecycle, races)
}

// An Update replaces a version's attributes, or its extents (re-encoding, with
// the same plaintext). The version is found by Key and its Revision; its Edit
// must equal Version.Edit, else ErrConflict: read again and retry. Size, ETag
// and Modified must be unchanged.
type Update struct {
	Version Version
}

// A CreateUpload opens a multipart upload.
type CreateUpload struct{ Upload Upload }

// A PutPart records a part, replacing one of the same number.
type PutPart struct {
	Key    string
	Upload hallig.UploadID
	Part   Part
	// Was, when not empty, is the extents of the part that this one replaces
	// (re-encoding, with the same plaintext): a part of that number must be there
	// with exactly these, and of the same size, else ErrConflict. Parts need no
	// revision for that: a data id is random and a generation of it is used once,
	// so equal extents are the same part.
	Was []Extent
}

// An AbortUpload closes an upload; its parts' data becomes garbage. An unknown
// upload is ErrNotFound.
type AbortUpload struct {
	Key    string
	Upload hallig.UploadID
}

// SetBucket opens a bucket in its partition, raises its epoch, or closes it.
// Its request's Epoch must be the current one (0 for a bucket never opened).
type SetBucket struct {
	Epoch uint64 // the new epoch, greater than the current one
	// Close refuses all further writes. It fails with ErrNotEmpty while the
	// bucket holds versions; open uploads are aborted with it.
	Close bool
}

func (Put) op()           {}
func (Delete) op()        {}
func (DeleteVersion) op() {}
func (Update) op()        {}
func (CreateUpload) op()  {}
func (PutPart) op()       {}
func (AbortUpload) op()   {}
func (SetBucket) op()     {}
