package s3

import (
	"context"
	"fmt"

	"github.com/hallig-cloud/hallig/access"
	"github.com/hallig-cloud/hallig/objects"
)

// ownersAlone refuses callers outside of the account, whom the policy itself
// may have let in: as on S3, policies are not theirs to see or change.
func (q *request) ownersAlone() error {
	if q.auth.anonymous {
		return fail("MethodNotAllowed").With("Method", q.r.Method).With("ResourceType", "BUCKETPOLICY")
	}
	return nil
}

// getBucketPolicy answers with the policy as it was put.
func (s *Server) getBucketPolicy(ctx context.Context, q *request) error {
	if err := q.ownersAlone(); err != nil {
		return err
	}
	b, err := q.Bucket(ctx)
	if err != nil {
		return err
	}
	doc := b.Documents[objects.DocPolicy]
	if doc == nil {
		return fail("NoSuchBucketPolicy").With("BucketName", q.bucketName)
	}
	return q.Raw("application/json", doc)
}

// putBucketPolicy replaces the bucket's policy.
func (s *Server) putBucketPolicy(ctx context.Context, q *request) error {
	if err := q.ownersAlone(); err != nil {
		return err
	}
	data, err := s.readDocument(ctx, q, maxXML)
	if err != nil {
		return err
	}
	policy, err := s.cfg.Access.ParseBucketPolicy(ctx, data, q.bucketName)
	if err != nil {
		return fmt.Errorf("put bucket policy: %w", err)
	}
	err = s.updateBucket(ctx, q, func(b *objects.Bucket) error {
		if publicAccessBlock(b).BlockPublicPolicy && policy.IsPublic() {
			return fail("AccessDenied")
		}
		setDocument(b, objects.DocPolicy, data)
		return nil
	})
	if err != nil {
		return err
	}
	return q.NoContent()
}

// deleteBucketPolicy removes the bucket's policy.
func (s *Server) deleteBucketPolicy(ctx context.Context, q *request) error {
	if err := q.ownersAlone(); err != nil {
		return err
	}
	return s.deleteDocument(ctx, q, objects.DocPolicy)
}

type policyStatusXML struct {
	IsPublic bool `xml:"IsPublic"`
}

// getBucketPolicyStatus says whether the policy lets in everybody.
func (s *Server) getBucketPolicyStatus(ctx context.Context, q *request) error {
	b, err := q.Bucket(ctx)
	if err != nil {
		return err
	}
	doc := b.Documents[objects.DocPolicy]
	if doc == nil {
		return fail("NoSuchBucketPolicy").With("BucketName", q.bucketName)
	}
	policy, err := access.ParsePolicy(doc, q.bucketName, s.cfg.Access.Account(), nil)
	if err != nil {
		return fmt.Errorf("stored policy of %s: %w", q.bucketName, err)
	}
	return q.sendXML("PolicyStatus", policyStatusXML{policy.IsPublic()})
}
