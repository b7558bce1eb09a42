package s3

import (
	"context"
	"fmt"

	"github.com/hallig-cloud/hallig/access"
	"github.com/hallig-cloud/hallig/objects"
)

// getBucketAcl answers with the bucket's ACL.
func (s *Server) getBucketAcl(ctx context.Context, q *request) error {
	b, err := q.Bucket(ctx)
	if err != nil {
		return err
	}
	acl, err := bucketACL(b)
	if err != nil {
		return err
	}
	return q.Raw("application/xml", acl.XML(func(id string) string { return s.displayName(ctx, id) }))
}

// putBucketAcl replaces the bucket's ACL by that of the headers or the body.
func (s *Server) putBucketAcl(ctx context.Context, q *request) error {
	b, err := q.Bucket(ctx)
	if err != nil {
		return err
	}
	if access.Ownership(ownershipOf(b)).ACLsDisabled() {
		return fail("AccessControlListNotSupported")
	}
	acl, err := q.requestedACL(b.Owner, b.Owner)
	if err != nil {
		return err
	}
	if err := s.cfg.Access.ResolveACL(ctx, acl); err != nil {
		return fmt.Errorf("put bucket acl: %w", err)
	}
	err = s.updateBucket(ctx, q, func(b *objects.Bucket) error {
		if access.Ownership(ownershipOf(b)).ACLsDisabled() {
			return fail("AccessControlListNotSupported")
		}
		if publicAccessBlock(b).BlockPublicAcls && acl.Public() {
			return fail("AccessDenied")
		}
		setDocument(b, objects.DocACL, acl.Encode())
		return nil
	})
	if err != nil {
		return err
	}
	return q.OK()
}

// requestedACL reads the ACL that a PUT ?acl asks for: a canned one, grants in
// headers, or a document, and only one of them.
func (q *request) requestedACL(owner, bucketOwner string) (*access.ACL, error) {
	body, err := q.ReadBody(access.MaxACLBody)
	if err != nil {
		return nil, err
	}
	if access.HasACLHeaders(q.r.Header) {
		if len(body) > 0 {
			return nil, fail("UnexpectedContent")
		}
		return access.ACLFromHeaders(q.r.Header, owner, bucketOwner)
	}
	if len(body) == 0 {
		return nil, fail("MissingSecurityHeader").With("MissingHeaderName", "x-amz-acl")
	}
	acl, err := access.ParseACL(body)
	if err != nil {
		return nil, err
	}
	if acl.Owner != owner {
		return nil, invalidArgument("CanonicalUser/ID", acl.Owner, "Invalid id")
	}
	return acl, nil
}
