package s3

import (
	"context"

	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/objects"
	"github.com/hallig-cloud/hallig/s3/subresource"
)

// getBucketVersioning answers with the versioning state; nothing if it was
// never set.
func (s *Server) getBucketVersioning(ctx context.Context, q *request) error {
	b, err := q.Bucket(ctx)
	if err != nil {
		return err
	}
	var v subresource.Versioning
	switch b.Versioning {
	case catalog.Enabled:
		v.Status = "Enabled"
	case catalog.Suspended:
		v.Status = "Suspended"
	case catalog.Unversioned:
	}
	return q.sendXML("VersioningConfiguration", v)
}

// putBucketVersioning enables or suspends versioning. With object lock it
// stays enabled.
func (s *Server) putBucketVersioning(ctx context.Context, q *request) error {
	data, err := s.readDocument(ctx, q, maxXML)
	if err != nil {
		return err
	}
	v, err := subresource.ParseVersioning(data)
	if err != nil {
		return err
	}
	err = s.updateBucket(ctx, q, func(b *objects.Bucket) error {
		if v.Status == "Enabled" {
			b.Versioning = catalog.Enabled
			return nil
		}
		if b.Lock.Enabled {
			return failMessage("InvalidBucketState", "An Object Lock configuration is present on this bucket, so the versioning state cannot be changed.")
		}
		b.Versioning = catalog.Suspended
		return nil
	})
	if err != nil {
		return err
	}
	return q.OK()
}
