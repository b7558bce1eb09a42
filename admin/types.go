package admin

import (
	"encoding/json"
	"time"
)

// Status is what `hallig status` shows. Sizes are bytes, times UTC.
type Status struct {
	Version  string    `json:"version"`
	State    string    `json:"state"` // starting, ready, locked (blind: no root key in memory), degraded, draining
	Mesh     string    `json:"mesh"`
	Node     string    `json:"node"`
	Provider string    `json:"provider"`
	Site     string    `json:"site"`
	Data     string    `json:"data"`
	S3       string    `json:"s3"`    // address served
	Admin    string    `json:"admin"` // address served
	Started  time.Time `json:"started"`
	Refusing string    `json:"refusing,omitempty"` // why writes are refused; one sentence
	Promise  Promise   `json:"promise"`
	Drives   []Drive   `json:"drives"`
	Mirrors  []Mirror  `json:"mirrors"` // of the catalog and the key file
	Keyring  Keyring   `json:"keyring"`
	Tasks    []Task    `json:"tasks"`            // background work
	Export   *Export   `json:"export,omitempty"` // the newest since the start
	Events   []Event   `json:"events"`           // the newest things that happened, newest first
	Totals   Totals    `json:"totals"`
}

// Promise is what the node's default bucket survives, and whether it does now.
type Promise struct {
	Survive string `json:"survive"`
	Holds   bool   `json:"holds"`
	Says    string `json:"says"` // one sentence
}

// Drive is one drive.
type Drive struct {
	ID          string    `json:"id"`
	Path        string    `json:"path"`
	State       string    `json:"state"` // shard.State, or draining, lost
	Reason      string    `json:"reason,omitempty"`
	Since       time.Time `json:"since"` // of the state
	Shards      int64     `json:"shards"`
	Live        int64     `json:"live"`
	Dead        int64     `json:"dead"`
	Free        int64     `json:"free"`
	Total       int64     `json:"total"`
	Quarantined int64     `json:"quarantined"`
	Catalog     bool      `json:"catalog"` // holds a mirror of the catalog and the key file
}

// Mirror is one copy of the catalog's log and state, with its key file.
type Mirror struct {
	Drive   string `json:"drive"`
	Path    string `json:"path"`
	State   string `json:"state"` // current, stale, rebuilding, missing, failed
	KeyFile bool   `json:"key_file"`
	Reason  string `json:"reason,omitempty"`
}

// Task is a piece of background work.
type Task struct {
	Name   string    `json:"name"`  // scrub, repair, sweep, lifecycle, drain …
	State  string    `json:"state"` // running, waiting, paused, done, failed
	Done   int64     `json:"done"`
	Total  int64     `json:"total"` // 0: not known
	Unit   string    `json:"unit"`
	Detail string    `json:"detail,omitempty"`
	Found  int64     `json:"found"`  // damaged or missing
	Fixed  int64     `json:"fixed"`  // healed or removed
	Failed int64     `json:"failed"` // could not be
	Last   time.Time `json:"last"`   // end of the last full pass; zero: none yet
	Next   time.Time `json:"next"`
}

// Event is something that an operator may want to know.
type Event struct {
	At    time.Time `json:"at"`
	Level string    `json:"level"` // info, warning, error
	Text  string    `json:"text"`
}

// Totals are counters over all buckets.
type Totals struct {
	Buckets  int64 `json:"buckets"`
	Objects  int64 `json:"objects"`
	Versions int64 `json:"versions"`
	Bytes    int64 `json:"bytes"` // plaintext
}

// User is somebody with access keys and policies.
type User struct {
	Name     string    `json:"name"`
	ID       string    `json:"id"` // canonical user id, 64 hexadecimal digits
	Root     bool      `json:"root,omitempty"`
	Disabled bool      `json:"disabled,omitempty"`
	Created  time.Time `json:"created"`
	Policies []string  `json:"policies"`
	Keys     []string  `json:"keys"`
}

// NewUser asks for a user.
type NewUser struct {
	Name string `json:"name"`
	// Policy is the JSON of a first policy; empty: may do nothing yet.
	Policy json.RawMessage `json:"policy,omitempty"`
}

// Policy is a named policy of a user.
type Policy struct {
	Name     string          `json:"name"`
	Document json.RawMessage `json:"document"`
}

// Key is an S3 access key. Secret is set only in the answer to its creation.
type Key struct {
	AccessKey string    `json:"access_key"`
	Secret    string    `json:"secret_key,omitempty"`
	User      string    `json:"user"`
	Disabled  bool      `json:"disabled,omitempty"`
	Created   time.Time `json:"created"`
	Expires   time.Time `json:"expires,omitzero"` // zero: never
	Comment   string    `json:"comment,omitempty"`
	// Policy narrows the key to less than its user may; empty: it does not.
	Policy json.RawMessage `json:"policy,omitempty"`
}

// NewKey asks for a key; AccessKey and Secret are generated when empty.
type NewKey struct {
	User      string `json:"user"`
	AccessKey string `json:"access_key,omitempty"`
	Secret    string `json:"secret_key,omitempty"`
	Comment   string `json:"comment,omitempty"`

	Expires time.Time       `json:"expires,omitzero"` // zero: never
	Policy  json.RawMessage `json:"policy,omitempty"` // narrows the key; empty: all that the user may
}

// Narrowing changes what a key is narrowed to; an empty policy lifts that.
type Narrowing struct {
	Policy json.RawMessage `json:"policy,omitempty"`
}

// Succession asks for a key in place of another, which works for Grace more.
type Succession struct {
	Grace time.Duration `json:"grace_ns"`
}

// Bucket describes a bucket.
type Bucket struct {
	Name       string    `json:"name"`
	ID         string    `json:"id"`
	Owner      string    `json:"owner"`
	Created    time.Time `json:"created"`
	Versioning string    `json:"versioning"` // off, enabled, suspended
	ObjectLock bool      `json:"object_lock"`
	Survive    string    `json:"survive"` // the policy in force
	Default    bool      `json:"default"` // Survive is the mesh's default
	Objects    int64     `json:"objects"`
	Versions   int64     `json:"versions"`
	Bytes      int64     `json:"bytes"`
	Uploads    int64     `json:"uploads"`
}

// NewBucket asks for a bucket. Owner is a user's name; empty is the root user.
type NewBucket struct {
	Name       string `json:"name"`
	Owner      string `json:"owner,omitempty"`
	Survive    string `json:"survive,omitempty"`
	Versioning bool   `json:"versioning,omitempty"`
	ObjectLock bool   `json:"object_lock,omitempty"`
}

// NewDrive names a directory to become a drive.
type NewDrive struct {
	Path string `json:"path"`
}

// Keyring says what keys the node holds. No key is ever in it.
type Keyring struct {
	Locked    bool           `json:"locked"`
	Protected bool           `json:"protected"` // the key file is under a passphrase
	Shares    string         `json:"shares,omitempty"`
	Epoch     uint32         `json:"epoch"` // of the root key
	Copies    []string       `json:"copies"`
	Keys      []EncryptorKey `json:"keys"` // named mesh keys (SSE-KMS)
}

// EncryptorKey is a named mesh key for SSE-KMS.
type EncryptorKey struct {
	Name  string `json:"name"`
	Epoch uint32 `json:"epoch"`
}

// Passphrase carries one to protect or unlock the keyring. An empty one, when
// protecting, takes the protection away.
type Passphrase struct {
	Passphrase string `json:"passphrase"`
	Old        string `json:"old,omitempty"` // the present one, when protecting anew
}

// Rotation asks for a new epoch of the root key (Name "") or a named key.
type Rotation struct {
	Name       string `json:"name,omitempty"`
	Passphrase string `json:"passphrase,omitempty"` // of a protected key file, for the root key
}

// SharesWanted asks for recovery shares: Threshold of Count open the key file.
type SharesWanted struct {
	Threshold int `json:"threshold"`
	Count     int `json:"count"`
	// Passphrase of a protected key file.
	Passphrase string `json:"passphrase,omitempty"`
}

// Shares are recovery shares, as printed on paper.
type Shares struct {
	Shares []string `json:"shares"`
	// Passphrase, when recovering, is put on the key file anew; "" leaves it
	// without one.
	Passphrase string `json:"passphrase,omitempty"`
}

// Named asks for a named thing.
type Named struct {
	Name string `json:"name,omitempty"`
}

// Survives asks for a bucket's policy.
type Survives struct {
	Survive string `json:"survive"`
}

// Enabled switches a key.
type Enabled struct {
	Enabled bool `json:"enabled"`
}

// Webhook is where a node may deliver bucket events to. Buckets name it in
// their notification configuration by ARN.
type Webhook struct {
	Name   string `json:"name"`
	URL    string `json:"url"`
	ARN    string `json:"arn,omitempty"`
	Token  string `json:"token,omitempty"`  // sent as bearer token; never shown again
	Secret string `json:"secret,omitempty"` // signs each message; never shown again
}

// Export describes a sealed export of the catalog.
type Export struct {
	Path string    `json:"path"`
	At   time.Time `json:"at"`
	Size int64     `json:"size"`
}
