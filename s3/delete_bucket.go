package s3

import (
	"context"
	"errors"
	"fmt"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
)

// deleteBucket removes an empty bucket.
func (s *Server) deleteBucket(ctx context.Context, q *request) error {
	b, err := q.Bucket(ctx)
	if err != nil {
		return err
	}
	err = s.cfg.Store.DeleteBucket(ctx, q.bucketName)
	switch {
	case errors.Is(err, hallig.ErrNotEmpty):
		e := fail("BucketNotEmpty")
		if b.Versioning != catalog.Unversioned {
			e = failMessage("BucketNotEmpty", "The bucket you tried to delete is not empty. You must delete all versions in the bucket.")
		}
		return e.With("BucketName", q.bucketName)
	case errors.Is(err, hallig.ErrNotFound):
		return fail("NoSuchBucket").With("BucketName", q.bucketName)
	case err != nil:
		return fmt.Errorf("delete bucket %s: %w", q.bucketName, err)
	}
	return q.NoContent()
}
