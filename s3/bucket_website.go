package s3

import (
	"context"
	"fmt"

	"github.com/hallig-cloud/hallig/objects"
	"github.com/hallig-cloud/hallig/s3/website"
)

// getBucketWebsite answers with the website configuration.
func (s *Server) getBucketWebsite(ctx context.Context, q *request) error {
	return s.sendDocument(ctx, q, objects.DocWebsite, "NoSuchWebsiteConfiguration")
}

// putBucketWebsite replaces the website configuration.
func (s *Server) putBucketWebsite(ctx context.Context, q *request) error {
	data, err := s.readDocument(ctx, q, website.MaxBytes)
	if err != nil {
		return err
	}
	c, err := website.Parse(data)
	if err != nil {
		return err
	}
	doc, err := c.Encode()
	if err != nil {
		return fmt.Errorf("put bucket website: %w", err)
	}
	if err := s.putDocument(ctx, q, objects.DocWebsite, doc); err != nil {
		return err
	}
	return q.OK()
}

// deleteBucketWebsite removes the website configuration.
func (s *Server) deleteBucketWebsite(ctx context.Context, q *request) error {
	return s.deleteDocument(ctx, q, objects.DocWebsite)
}
