package s3

import (
	"context"
	"io"
	"net/http"

	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/objects"
)

// credentials say who asks and how that was proved.
type credentials struct {
	user      string // canonical user id; "" if anonymous
	accessKey string
	anonymous bool
	root      bool
	presigned bool
}

// authenticate finds out who asks, and puts the verifying reader in place of
// the body. It reads nothing of the body.
func (s *Server) authenticate(_ context.Context, q *request) error {
	if q.body == nil {
		q.body = io.MultiReader()
	}
	return fail("AccessDenied")
}

// authorize decides whether the request's operation is allowed.
func (s *Server) authorize(_ context.Context, q *request) error {
	return fail("AccessDenied")
}

// permit decides whether the caller may do a further action on the request's
// object or bucket.
func (q *request) permit(ctx context.Context, action string) error {
	b, err := q.Bucket(ctx)
	if err != nil {
		return err
	}
	return q.permitOn(ctx, action, b, q.key, q.version)
}

// permitOn is permit for any object.
func (q *request) permitOn(_ context.Context, _ string, _ *objects.Bucket, _ string, _ catalog.VersionID) error {
	return fail("AccessDenied")
}

// aclHeaders reports whether a write brings an access control list.
func aclHeaders(h http.Header) bool {
	for _, name := range []string{"x-amz-acl", "x-amz-grant-read", "x-amz-grant-read-acp", "x-amz-grant-write", "x-amz-grant-write-acp", "x-amz-grant-full-control"} {
		if headerPresent(h, name) {
			return true
		}
	}
	return false
}

// parseObjectACL reads the ACL headers of a write, and says who will own it.
func (q *request) parseObjectACL(_ http.Header, b *objects.Bucket) (acl []byte, owner string, err error) {
	return nil, b.Owner, nil
}

// expectOwner compares a bucket's owner with the account that a header names.
func (q *request) expectOwner(b *objects.Bucket, name string) error {
	want := q.header(name)
	if want == "" || want == b.Owner {
		return nil
	}
	return fail("AccessDenied")
}
