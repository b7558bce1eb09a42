package s3

import (
	"context"
	"fmt"

	"github.com/hallig-cloud/hallig/objects"
	"github.com/hallig-cloud/hallig/s3/subresource"
)

// getBucketOwnershipControls answers with the object ownership setting.
func (s *Server) getBucketOwnershipControls(ctx context.Context, q *request) error {
	b, err := q.Bucket(ctx)
	if err != nil {
		return err
	}
	doc, set := b.Documents[objects.DocOwnership]
	if set && len(doc) == 0 {
		return fail("OwnershipControlsNotFoundError").With("BucketName", q.bucketName)
	}
	return q.sendXML("OwnershipControls", subresource.Ownership{
		Rules: []subresource.OwnershipRule{{ObjectOwnership: ownershipOf(b)}},
	})
}

// putBucketOwnershipControls sets object ownership. Disabling ACLs needs a
// bucket ACL that grants nothing to others.
func (s *Server) putBucketOwnershipControls(ctx context.Context, q *request) error {
	data, err := s.readDocument(ctx, q, maxXML)
	if err != nil {
		return err
	}
	setting, err := subresource.ParseOwnership(data)
	if err != nil {
		return err
	}
	doc, err := subresource.EncodeOwnership(setting)
	if err != nil {
		return fmt.Errorf("put bucket ownership controls: %w", err)
	}
	err = s.updateBucket(ctx, q, func(b *objects.Bucket) error {
		if setting == subresource.BucketOwnerEnforced && aclGrantsOthers(b) {
			return fail("InvalidBucketAclWithObjectOwnership").With("BucketName", q.bucketName)
		}
		setDocument(b, objects.DocOwnership, doc)
		return nil
	})
	if err != nil {
		return err
	}
	return q.OK()
}

// deleteBucketOwnershipControls removes the setting. Then ACLs count, and an
// object belongs to who wrote it, as in Amazon's buckets without the setting.
func (s *Server) deleteBucketOwnershipControls(ctx context.Context, q *request) error {
	if err := s.putDocument(ctx, q, objects.DocOwnership, []byte{}); err != nil {
		return err
	}
	return q.NoContent()
}

// ownershipOf returns a bucket's object ownership. It was never set:
// BucketOwnerEnforced. It was removed (an empty document): ObjectWriter. It
// cannot be read: BucketOwnerEnforced.
func ownershipOf(b *objects.Bucket) string {
	doc, set := b.Documents[objects.DocOwnership]
	if set && len(doc) == 0 {
		return subresource.ObjectWriter
	}
	setting, err := subresource.ParseOwnership(doc)
	if err != nil {
		return subresource.BucketOwnerEnforced
	}
	return setting
}
