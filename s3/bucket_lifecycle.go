package s3

import (
	"context"
	"errors"
	"fmt"

	"github.com/hallig-cloud/hallig/objects"
	"github.com/hallig-cloud/hallig/upkeep/lifecycle"
)

// minimumSizeHeader says from which size on objects would be moved to another
// storage class, if there were one. It is given because clients compare it.
const (
	minimumSizeHeader  = "x-amz-transition-default-minimum-object-size"
	minimumSizeDefault = "all_storage_classes_128K"
)

// getBucketLifecycle answers with the lifecycle configuration.
func (s *Server) getBucketLifecycle(ctx context.Context, q *request) error {
	q.set(minimumSizeHeader, minimumSizeDefault)
	return s.sendDocument(ctx, q, objects.DocLifecycle, "NoSuchLifecycleConfiguration")
}

// putBucketLifecycle replaces the lifecycle configuration.
func (s *Server) putBucketLifecycle(ctx context.Context, q *request) error {
	data, err := s.readDocument(ctx, q, lifecycle.MaxBytes)
	if err != nil {
		return err
	}
	if err := checkXML(data, "LifecycleConfiguration"); err != nil {
		return fail("MalformedXML").Because(err)
	}
	c, err := lifecycle.Parse(data)
	if err != nil {
		var bad *lifecycle.Error
		if errors.As(err, &bad) {
			return failMessage(bad.Code, worded(bad.Code, bad.Message)).Because(err)
		}
		return fmt.Errorf("put bucket lifecycle: %w", err)
	}
	doc, err := c.Encode()
	if err != nil {
		return fmt.Errorf("put bucket lifecycle: %w", err)
	}
	if err := s.putDocument(ctx, q, objects.DocLifecycle, doc); err != nil {
		return err
	}
	q.set(minimumSizeHeader, minimumSizeDefault)
	return q.OK()
}

// deleteBucketLifecycle removes the lifecycle configuration.
func (s *Server) deleteBucketLifecycle(ctx context.Context, q *request) error {
	return s.deleteDocument(ctx, q, objects.DocLifecycle)
}
