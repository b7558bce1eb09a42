package s3

import (
	"context"
	"fmt"
	"net/http"

	"github.com/hallig-cloud/hallig/access"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/objects"
)

// parseObjectACL reads the ACL headers of a write, and says who will own the
// object: the bucket's owner where ACLs are disabled, or prefers to and is
// given full control; else the writer.
func (q *request) parseObjectACL(ctx context.Context, h http.Header, b *objects.Bucket) (stored []byte, owner string, err error) {
	st := q.s.settings.of(b)
	ownership := st.ownership
	owner = q.auth.user
	if owner == "" || ownership.ACLsDisabled() ||
		ownership == access.BucketOwnerPreferred && h.Get("X-Amz-Acl") == "bucket-owner-full-control" {
		owner = b.Owner
	}
	acl, err := access.ACLFromHeaders(h, owner, b.Owner)
	if err != nil || acl == nil {
		return nil, owner, err
	}
	if err := q.s.cfg.Access.ResolveACL(ctx, acl); err != nil {
		return nil, "", fmt.Errorf("read the ACL headers: %w", err)
	}
	if err := access.CheckACL(acl, b.Owner, true, ownership, st.block); err != nil {
		return nil, "", err
	}
	if ownership.ACLsDisabled() {
		return nil, owner, nil
	}
	return acl.Encode(), owner, nil
}

// objectACL returns a version's ACL; the private one if none is stored.
func objectACL(b *objects.Bucket, v *catalog.Version) (*access.ACL, error) {
	owner := v.Owner
	if owner == "" || access.Ownership(ownershipOf(b)).ACLsDisabled() {
		return access.PrivateACL(b.Owner), nil
	}
	acl, err := access.DecodeACL(v.ACL)
	if err != nil {
		return nil, fmt.Errorf("object %s/%s: %w", b.Name, v.Key, err)
	}
	if acl == nil {
		acl = access.PrivateACL(owner)
	}
	return acl, nil
}

// getObjectAcl is GetObjectAcl.
func (s *Server) getObjectAcl(ctx context.Context, q *request) error {
	b, err := q.Bucket(ctx)
	if err != nil {
		return err
	}
	v, err := q.find(ctx, b)
	if err != nil {
		return err
	}
	acl, err := objectACL(b, v)
	if err != nil {
		return err
	}
	q.setVersion(b, v)
	return q.Raw("application/xml", acl.XML(func(id string) string { return s.displayName(ctx, id) }))
}

// putObjectAcl is PutObjectAcl.
func (s *Server) putObjectAcl(ctx context.Context, q *request) error {
	b, err := q.Bucket(ctx)
	if err != nil {
		return err
	}
	ownership := access.Ownership(ownershipOf(b))
	v, err := q.find(ctx, b)
	if err != nil {
		return err
	}
	owner := v.Owner
	if owner == "" || ownership.ACLsDisabled() {
		owner = b.Owner
	}
	acl, err := q.requestedACL(owner, b.Owner)
	if err != nil {
		if ownership.ACLsDisabled() {
			return fail("AccessControlListNotSupported").Because(err)
		}
		return err
	}
	if err := s.cfg.Access.ResolveACL(ctx, acl); err != nil {
		return fmt.Errorf("put object acl: %w", err)
	}
	if err := access.CheckACL(acl, b.Owner, true, ownership, access.PublicAccessBlock(publicAccessBlock(b))); err != nil {
		return err
	}
	if ownership.ACLsDisabled() { // bucket-owner-full-control, which is so already
		return q.OK()
	}
	if err := q.change(ctx, "ObjectAcl:Put", func(v *catalog.Version) error {
		v.ACL = acl.Encode()
		return nil
	}); err != nil {
		return err
	}
	return q.OK()
}
