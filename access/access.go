// Package access says who may do what: users and their S3 access keys, the
// policy language, access control lists, public access blocks, and the
// decision that joins them.
//
// Users and keys are sealed records of the catalog. Every user has a
// canonical id of 64 hexadecimal digits, under which it owns buckets and
// objects; the root user is the account's own. A key acts as its user and can
// be narrowed by a policy of its own, never widened.
//
// The parts that need no catalog (ParsePolicy, Decide, the ACL model) are pure
// functions and safe for concurrent use.
package access

import (
	"time"
)

// An Identity is who a request acts as.
type Identity struct {
	User      string // canonical id, 64 hex digits; "" when Anonymous
	Name      string // user name, as in arn:aws:iam::ACCOUNT:user/NAME
	Account   string // the account's 12 digits
	AccessKey string
	Root      bool
	Anonymous bool
	// Policies are those attached to the user. KeyPolicy, when not nil, narrows
	// what this key may do: both must allow.
	Policies  []*Policy
	KeyPolicy *Policy
	Tags      map[string]string // aws:PrincipalTag/…
}

// AnonymousIdentity is the identity of an unsigned request.
func AnonymousIdentity() Identity { return Identity{Anonymous: true} }

// ARN returns the identity's Amazon resource name; "*" when anonymous.
func (i Identity) ARN() string {
	switch {
	case i.Anonymous:
		return "*"
	case i.Root:
		return "arn:aws:iam::" + i.Account + ":root"
	}
	return "arn:aws:iam::" + i.Account + ":user/" + i.Name
}

// A Credential is what Lookup finds of an access key.
type Credential struct {
	Secret   string
	Identity Identity
}

// A Question asks whether Identity may do Action. Bucket is "" for what
// concerns the service as a whole; Key is "" for what concerns a bucket.
type Question struct {
	Identity Identity
	Action   string // "s3:GetObject"
	Bucket   string
	Key      string

	BucketOwner string // canonical id
	// ObjectOwner is the object's owner, "" when there is none yet (or no
	// object); with BucketOwnerEnforced it is the bucket's owner whatever it says.
	ObjectOwner string
	Policy      *Policy // the bucket's; nil is none
	BucketACL   *ACL    // nil is private to the owner
	ObjectACL   *ACL
	Block       PublicAccessBlock
	Ownership   Ownership

	// Conditions are the request's condition keys and values, keys in any case:
	// aws:SourceIp, aws:SecureTransport, s3:prefix, s3:ExistingObjectTag/NAME …
	// Decide itself fills the keys that follow from the question: aws:username,
	// aws:userid, aws:PrincipalArn, aws:PrincipalAccount, aws:PrincipalType,
	// aws:CurrentTime and aws:EpochTime (from Now), s3:ResourceAccount.
	Conditions map[string][]string
	// Ask, when Conditions is nil, is asked for them: at most once, and only if a
	// policy turns on them.
	Ask func() map[string][]string
	Now time.Time // zero: time.Now()
}

// Ownership is a bucket's object ownership setting; "" is BucketOwnerEnforced.
type Ownership string

// The object ownership settings.
const (
	BucketOwnerEnforced  Ownership = "BucketOwnerEnforced" // ACLs are disabled
	BucketOwnerPreferred Ownership = "BucketOwnerPreferred"
	ObjectWriter         Ownership = "ObjectWriter"
)

// ACLsDisabled reports whether ACLs have no effect and may not be set.
func (o Ownership) ACLsDisabled() bool { return o == "" || o == BucketOwnerEnforced }

// Valid reports whether o is one of the three settings.
func (o Ownership) Valid() bool {
	return o == BucketOwnerEnforced || o == BucketOwnerPreferred || o == ObjectWriter
}

// PublicAccessBlock is a bucket's public access block; zero blocks nothing.
type PublicAccessBlock struct {
	BlockPublicAcls       bool // refuse to store a public ACL
	IgnorePublicAcls      bool // a stored public grant has no effect
	BlockPublicPolicy     bool // refuse to store a public policy
	RestrictPublicBuckets bool // a public policy admits no anonymous caller
}
