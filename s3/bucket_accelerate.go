package s3

import (
	"context"

	"github.com/hallig-cloud/hallig/s3/subresource"
)

// getBucketAccelerateConfiguration answers that acceleration was never set.
func (s *Server) getBucketAccelerateConfiguration(ctx context.Context, q *request) error {
	if _, err := q.Bucket(ctx); err != nil {
		return err
	}
	return q.sendXML("AccelerateConfiguration", subresource.Accelerate{})
}

// putBucketAccelerateConfiguration takes Suspended, which holds anyway.
func (s *Server) putBucketAccelerateConfiguration(ctx context.Context, q *request) error {
	data, err := s.readDocument(ctx, q, maxXML)
	if err != nil {
		return err
	}
	a, err := subresource.ParseAccelerate(data)
	if err != nil {
		return err
	}
	if a.Status == "Enabled" {
		return fail("NotImplemented").With("Header", "AccelerateConfiguration")
	}
	return q.OK()
}
