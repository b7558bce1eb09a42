package s3

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/hallig-cloud/hallig/access"
	"github.com/hallig-cloud/hallig/objects"
)

// ownerXML is an owner or initiator in a response.
type ownerXML struct {
	ID          string `xml:"ID"`
	DisplayName string `xml:"DisplayName,omitempty"`
}

// fromAccess turns a refusal of package access into the error that is sent.
func fromAccess(err error) (*Error, bool) {
	var bad *access.Error
	if !errors.As(err, &bad) {
		return nil, false
	}
	e := &Error{Code: bad.Code, Message: worded(bad.Code, bad.Message), Status: bad.Status, cause: err}
	for _, f := range bad.Fields {
		e = e.With(f.Name, f.Value)
	}
	return e, true
}

// worded returns the table's wording of a message that differs from it by no
// more than the period at the end: other packages know no table.
func worded(code, message string) string {
	if row, ok := errorTable[code]; ok && strings.TrimSuffix(row.message, ".") == strings.TrimSuffix(message, ".") {
		return row.message
	}
	return message
}

// displayName returns the name that a canonical id is shown with; "" if it is
// nobody's any more.
func (s *Server) displayName(ctx context.Context, id string) string {
	u, err := s.cfg.Access.UserByID(ctx, id)
	if err != nil {
		return ""
	}
	if u.DisplayName != "" {
		return u.DisplayName
	}
	return u.Name
}

// bucketACL returns a bucket's ACL; the private one if none is stored.
func bucketACL(b *objects.Bucket) (*access.ACL, error) {
	acl, err := access.DecodeACL(b.Documents[objects.DocACL])
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w", b.Name, err)
	}
	if acl == nil {
		acl = access.PrivateACL(b.Owner)
	}
	return acl, nil
}

// aclGrantsOthers reports whether a bucket's ACL gives anything to anybody but
// its owner. One that cannot be read does.
func aclGrantsOthers(b *objects.Bucket) bool {
	acl, err := bucketACL(b)
	if err != nil {
		return true
	}
	for _, g := range acl.Grants {
		if g.Grantee.ID != b.Owner {
			return true
		}
	}
	return false
}

// newBucketACL takes a new bucket's ACL from the request's headers. With ACLs
// disabled only the private one may be given.
func (q *request) newBucketACL(ctx context.Context, b *objects.Bucket, ownership string) error {
	acl, err := access.ACLFromHeaders(q.r.Header, b.Owner, b.Owner)
	if err != nil || acl == nil {
		return err
	}
	if err := q.s.cfg.Access.ResolveACL(ctx, acl); err != nil {
		return fmt.Errorf("create bucket %s: %w", q.bucketName, err)
	}
	b.Documents[objects.DocACL] = acl.Encode()
	if access.Ownership(ownership).ACLsDisabled() {
		if aclGrantsOthers(b) {
			return fail("InvalidBucketAclWithObjectOwnership").With("BucketName", q.bucketName)
		}
		delete(b.Documents, objects.DocACL)
	}
	return nil
}
