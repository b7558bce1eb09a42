package access

import (
	"fmt"
	"net/http"
	"slices"

	"github.com/fxamacker/cbor/v2"

	"github.com/hallig-cloud/hallig"
)

// A Permission is what a grant gives.
type Permission string

// The permissions. Source: S3 User Guide, "Access control list (ACL) overview".
const (
	FullControl Permission = "FULL_CONTROL"
	Read        Permission = "READ"
	Write       Permission = "WRITE"
	ReadACP     Permission = "READ_ACP"
	WriteACP    Permission = "WRITE_ACP"
)

// Valid reports whether p is one of the permissions.
func (p Permission) Valid() bool {
	switch p {
	case FullControl, Read, Write, ReadACP, WriteACP:
		return true
	}
	return false
}

// The groups that a grant can name.
const (
	AllUsers           = "http://acs.amazonaws.com/groups/global/AllUsers"
	AuthenticatedUsers = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers"
	LogDelivery        = "http://acs.amazonaws.com/groups/s3/LogDelivery"
)

func validGroup(uri string) bool {
	return uri == AllUsers || uri == AuthenticatedUsers || uri == LogDelivery
}

// A Grantee is whom a grant is for: exactly one of ID, Group and Email is set.
// ACLs are stored without e-mail addresses; see Service.ResolveACL.
type Grantee struct {
	ID    string `cbor:"1,keyasint,omitempty"` // canonical id
	Group string `cbor:"2,keyasint,omitempty"` // URI
	Email string `cbor:"3,keyasint,omitempty"`
}

// A Grant gives a grantee a permission.
type Grant struct {
	Grantee    Grantee    `cbor:"1,keyasint"`
	Permission Permission `cbor:"2,keyasint"`
}

// An ACL is a bucket's or an object's access control list.
type ACL struct {
	Owner  string  `cbor:"1,keyasint"` // canonical id
	Grants []Grant `cbor:"2,keyasint"`
}

// MaxGrants bounds the grants of one ACL, as S3 does.
const MaxGrants = 100

// Encode returns the stored form.
func (a *ACL) Encode() []byte {
	b, err := cbor.Marshal(a)
	if err != nil {
		panic(err) // strings alone always encode
	}
	return b
}

// DecodeACL reads what Encode wrote; nil reads as nil, the private ACL.
func DecodeACL(b []byte) (*ACL, error) {
	if len(b) == 0 {
		return nil, nil
	}
	var a ACL
	if err := cbor.Unmarshal(b, &a); err != nil {
		return nil, fmt.Errorf("decode ACL: %w: %w", err, hallig.ErrCorrupt)
	}
	return &a, nil
}

// PrivateACL gives the owner full control.
func PrivateACL(owner string) *ACL {
	return &ACL{Owner: owner, Grants: []Grant{{Grantee{ID: owner}, FullControl}}}
}

// CannedACL returns the ACL that x-amz-acl names. bucketOwner is used by the
// two bucket-owner ACLs, which on a bucket mean private. ok is false for an
// unknown name.
func CannedACL(name, owner, bucketOwner string) (acl *ACL, ok bool) {
	a := PrivateACL(owner)
	add := func(g Grantee, ps ...Permission) {
		for _, p := range ps {
			a.Grants = append(a.Grants, Grant{g, p})
		}
	}
	switch name {
	case "private":
	case "public-read":
		add(Grantee{Group: AllUsers}, Read)
	case "public-read-write":
		add(Grantee{Group: AllUsers}, Read, Write)
	case "authenticated-read":
		add(Grantee{Group: AuthenticatedUsers}, Read)
	case "aws-exec-read": // its grantee does not exist here
	case "log-delivery-write":
		add(Grantee{Group: LogDelivery}, Write, ReadACP)
	case "bucket-owner-read":
		if bucketOwner != "" && bucketOwner != owner {
			add(Grantee{ID: bucketOwner}, Read)
		}
	case "bucket-owner-full-control":
		if bucketOwner != "" && bucketOwner != owner {
			add(Grantee{ID: bucketOwner}, FullControl)
		}
	default:
		return nil, false
	}
	return a, true
}

// Public reports whether the ACL grants anything to everybody, or to
// everybody with an account.
func (a *ACL) Public() bool {
	return a != nil && slices.ContainsFunc(a.Grants, func(g Grant) bool {
		return g.Grantee.Group == AllUsers || g.Grantee.Group == AuthenticatedUsers
	})
}

// Allows reports whether the ACL gives an identity a permission. ignorePublic
// leaves out what is granted to everybody.
func (a *ACL) Allows(i Identity, p Permission, ignorePublic bool) bool {
	if a == nil {
		return false
	}
	for _, g := range a.Grants {
		if g.Permission != p && g.Permission != FullControl {
			continue
		}
		switch g.Grantee.Group {
		case "":
			if !i.Anonymous && g.Grantee.ID != "" && g.Grantee.ID == i.User {
				return true
			}
		case AllUsers:
			if !ignorePublic {
				return true
			}
		case AuthenticatedUsers:
			if !ignorePublic && !i.Anonymous {
				return true
			}
		}
	}
	return false
}

// GrantsLogDelivery reports whether the log delivery group may write, as
// server access logging with ACLs wants it.
func (a *ACL) GrantsLogDelivery() bool {
	return a != nil && slices.ContainsFunc(a.Grants, func(g Grant) bool {
		return g.Grantee.Group == LogDelivery && (g.Permission == Write || g.Permission == FullControl)
	})
}

// bucketOwnerControl reports whether the ACL is what bucket-owner-full-control
// means where the bucket's owner owns the object too.
func (a *ACL) bucketOwnerControl(bucketOwner string) bool {
	return len(a.Grants) > 0 && !slices.ContainsFunc(a.Grants, func(g Grant) bool {
		return g.Permission != FullControl || g.Grantee.ID != a.Owner && g.Grantee.ID != bucketOwner
	})
}

// CheckACL decides whether an ACL may be stored in a bucket with these
// settings: AccessControlListNotSupported where ACLs are disabled (only
// bucket-owner-full-control, which changes nothing, is let through for
// objects), AccessDenied for a public one under BlockPublicAcls. object says
// that it is an object's.
func CheckACL(acl *ACL, bucketOwner string, object bool, o Ownership, b PublicAccessBlock) error {
	if acl == nil {
		return nil
	}
	if o.ACLsDisabled() && (!object || !acl.bucketOwnerControl(bucketOwner)) {
		return errACLsDisabled()
	}
	if b.BlockPublicAcls && acl.Public() {
		return errBlocked()
	}
	return nil
}

func errACLsDisabled() *Error {
	return &Error{Code: "AccessControlListNotSupported", Message: "The bucket does not allow ACLs.", Status: http.StatusBadRequest}
}

func errBlocked() *Error {
	return &Error{Code: "AccessDenied", Message: "Access Denied.", Status: http.StatusForbidden}
}
