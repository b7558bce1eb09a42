package s3

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/objects"
	"github.com/hallig-cloud/hallig/s3/subresource"
)

// defaultRegion is the region whose buckets have no location constraint.
const defaultRegion = "us-east-1"

// createBucket makes a bucket. A location constraint must be the server's
// region (and never us-east-1, as on S3); without one the bucket is in the
// server's region, whichever that is.
func (s *Server) createBucket(ctx context.Context, q *request) error {
	if !subresource.ValidBucketName(q.bucketName) {
		return fail("InvalidBucketName").With("BucketName", q.bucketName)
	}
	data, err := q.ReadBody(maxXML)
	if err != nil {
		return err
	}
	location, tags, err := subresource.ParseCreateBucket(data)
	if err != nil {
		return err
	}
	if l := location; l != nil && *l != "" && (*l != s.cfg.Region || *l == defaultRegion) {
		return fail("InvalidLocationConstraint").With("LocationConstraint", *l)
	}
	b := objects.Bucket{
		Name: q.bucketName, Owner: q.auth.user, Region: s.cfg.Region,
		Documents: make(map[objects.Document][]byte),
	}
	if len(tags) > 0 {
		if b.Documents[objects.DocTagging], err = subresource.EncodeTagging(tags); err != nil {
			return fmt.Errorf("create bucket %s: %w", q.bucketName, err)
		}
	}
	if err := q.newBucketHeaders(ctx, &b); err != nil {
		return err
	}
	if _, err := s.cfg.Store.CreateBucket(ctx, b); err != nil {
		if errors.Is(err, hallig.ErrExists) {
			return s.bucketTaken(ctx, q)
		}
		return fmt.Errorf("create bucket %s: %w", q.bucketName, err)
	}
	q.set("Location", "/"+q.bucketName)
	q.set("X-Amz-Bucket-Arn", "arn:aws:s3:::"+q.bucketName)
	return q.OK()
}

// bucketTaken says whose the existing bucket is.
func (s *Server) bucketTaken(ctx context.Context, q *request) error {
	b, err := s.cfg.Store.Bucket(ctx, q.bucketName)
	if err == nil && b.Owner == q.auth.user && !b.Closing {
		return fail("BucketAlreadyOwnedByYou").With("BucketName", q.bucketName)
	}
	return fail("BucketAlreadyExists").With("BucketName", q.bucketName)
}

// newBucketHeaders takes object lock, object ownership and the ACL from the
// request's headers.
func (q *request) newBucketHeaders(ctx context.Context, b *objects.Bucket) error {
	switch v := q.header("X-Amz-Bucket-Object-Lock-Enabled"); strings.ToLower(v) {
	case "", "false":
	case "true":
		b.Lock.Enabled = true
		b.Versioning = catalog.Enabled
	default:
		return invalidArgument("x-amz-bucket-object-lock-enabled", v, "Value for x-amz-bucket-object-lock-enabled is not a boolean")
	}
	ownership := q.header("X-Amz-Object-Ownership")
	if ownership == "" {
		ownership = subresource.BucketOwnerEnforced
	} else if !subresource.ValidOwnership(ownership) {
		return failMessage("InvalidArgument", "Invalid x-amz-object-ownership header: "+ownership).With("ArgumentName", "x-amz-object-ownership")
	}
	doc, err := subresource.EncodeOwnership(ownership)
	if err != nil {
		return fmt.Errorf("create bucket %s: %w", q.bucketName, err)
	}
	b.Documents[objects.DocOwnership] = doc
	return q.newBucketACL(ctx, b, ownership)
}
