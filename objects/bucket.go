package objects

import (
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
)

// A Bucket is a bucket's identity and configuration. What decides writes is
// typed; the rest are documents that the doors and upkeep own and parse.
type Bucket struct {
	ID         hallig.BucketID    `cbor:"1,keyasint"`
	Name       string             `cbor:"2,keyasint"`
	Owner      string             `cbor:"3,keyasint"` // canonical user id
	Created    time.Time          `cbor:"4,keyasint"`
	Region     string             `cbor:"5,keyasint"` // location constraint given at creation
	Epoch      uint64             `cbor:"6,keyasint"` // of the settings that decide writes; raised by every change to them
	Versioning catalog.Versioning `cbor:"7,keyasint"`
	Lock       Lock               `cbor:"8,keyasint"`
	Survive    hallig.Survive     `cbor:"9,keyasint"`  // "" is the mesh's default
	Encryption DefaultEncryption  `cbor:"10,keyasint"` // zero is AES256
	Spread     uint16             `cbor:"11,keyasint"` // slots; 0 and 1 are one
	// Documents hold the remaining configuration by subresource.
	Documents map[Document][]byte `cbor:"12,keyasint"`
	// Closing marks a bucket that is to be taken as deleted. DeleteBucket decides
	// in the bucket's own partition and does not set it.
	Closing bool `cbor:"13,keyasint"`
	// Key is the bucket's sealing key, wrapped; see package seal.
	Key []byte `cbor:"14,keyasint"`
	// Edit is the record's catalog revision; not stored.
	Edit hallig.Revision `cbor:"-"`
}

// A Document names a stored subresource of a bucket's configuration.
type Document string

// The documents, in the form in which they are stored.
const (
	DocACL               Document = "acl"                 // as package access encodes it
	DocPolicy            Document = "policy"              // JSON as given
	DocPublicAccessBlock Document = "public-access-block" // XML
	DocOwnership         Document = "ownership"           // XML
	DocTagging           Document = "tagging"             // XML
	DocCORS              Document = "cors"                // XML
	DocLifecycle         Document = "lifecycle"           // XML
	DocWebsite           Document = "website"             // XML
	DocNotification      Document = "notification"        // XML
	DocLogging           Document = "logging"             // XML
)

// Lock is a bucket's object-lock configuration.
type Lock struct {
	Enabled bool   `cbor:"1,keyasint"`
	Mode    string `cbor:"2,keyasint"` // default retention: GOVERNANCE, COMPLIANCE or "" for none
	Days    int    `cbor:"3,keyasint"` // exactly one of Days and Years is set with a Mode
	Years   int    `cbor:"4,keyasint"`
}

// DefaultEncryption is what a write without encryption headers gets.
type DefaultEncryption struct {
	Algorithm string `cbor:"1,keyasint"` // AES256, aws:kms, aws:kms:dsse
	KeyID     string `cbor:"2,keyasint"`
	BucketKey bool   `cbor:"3,keyasint"`
}
