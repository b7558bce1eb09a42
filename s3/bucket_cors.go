package s3

import (
	"context"
	"fmt"

	"github.com/hallig-cloud/hallig/objects"
	"github.com/hallig-cloud/hallig/s3/cors"
)

// getBucketCors answers with the CORS configuration.
func (s *Server) getBucketCors(ctx context.Context, q *request) error {
	return s.sendDocument(ctx, q, objects.DocCORS, "NoSuchCORSConfiguration")
}

// putBucketCors replaces the CORS configuration.
func (s *Server) putBucketCors(ctx context.Context, q *request) error {
	data, err := s.readDocument(ctx, q, cors.MaxBytes)
	if err != nil {
		return err
	}
	c, err := cors.Parse(data)
	if err != nil {
		return err
	}
	doc, err := c.Encode()
	if err != nil {
		return fmt.Errorf("put bucket cors: %w", err)
	}
	if err := s.putDocument(ctx, q, objects.DocCORS, doc); err != nil {
		return err
	}
	return q.OK()
}

// deleteBucketCors removes the CORS configuration.
func (s *Server) deleteBucketCors(ctx context.Context, q *request) error {
	return s.deleteDocument(ctx, q, objects.DocCORS)
}
