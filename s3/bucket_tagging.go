package s3

import (
	"context"
	"fmt"

	"github.com/hallig-cloud/hallig/objects"
	"github.com/hallig-cloud/hallig/s3/subresource"
)

// getBucketTagging answers with the bucket's tags.
func (s *Server) getBucketTagging(ctx context.Context, q *request) error {
	return s.sendDocument(ctx, q, objects.DocTagging, "NoSuchTagSet")
}

// putBucketTagging replaces the bucket's tags.
func (s *Server) putBucketTagging(ctx context.Context, q *request) error {
	data, err := s.readDocument(ctx, q, maxXML)
	if err != nil {
		return err
	}
	tags, err := subresource.ParseBucketTagging(data)
	if err != nil {
		return err
	}
	doc, err := subresource.EncodeTagging(tags)
	if err != nil {
		return fmt.Errorf("put bucket tagging: %w", err)
	}
	if err := s.putDocument(ctx, q, objects.DocTagging, doc); err != nil {
		return err
	}
	return q.NoContent()
}

// deleteBucketTagging removes the bucket's tags.
func (s *Server) deleteBucketTagging(ctx context.Context, q *request) error {
	return s.deleteDocument(ctx, q, objects.DocTagging)
}
