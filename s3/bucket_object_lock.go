package s3

import (
	"context"

	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/objects"
	"github.com/hallig-cloud/hallig/s3/subresource"
)

// getObjectLockConfiguration answers with the bucket's object lock and default
// retention.
func (s *Server) getObjectLockConfiguration(ctx context.Context, q *request) error {
	b, err := q.Bucket(ctx)
	if err != nil {
		return err
	}
	if !b.Lock.Enabled {
		return fail("ObjectLockConfigurationNotFoundError").With("BucketName", q.bucketName)
	}
	doc := subresource.ObjectLock{Enabled: "Enabled"}
	if b.Lock.Mode != "" {
		d := &subresource.DefaultRetention{Mode: b.Lock.Mode}
		if b.Lock.Days > 0 {
			d.Days = &b.Lock.Days
		} else {
			d.Years = &b.Lock.Years
		}
		doc.Rule = &subresource.LockRule{Default: d}
	}
	return q.sendXML("ObjectLockConfiguration", doc)
}

// putObjectLockConfiguration enables object lock, for good, and sets or (with
// no rule) removes the default retention. Versioning must be enabled.
func (s *Server) putObjectLockConfiguration(ctx context.Context, q *request) error {
	data, err := s.readDocument(ctx, q, maxXML)
	if err != nil {
		return err
	}
	doc, err := subresource.ParseObjectLock(data)
	if err != nil {
		return err
	}
	err = s.updateBucket(ctx, q, func(b *objects.Bucket) error {
		if b.Versioning != catalog.Enabled {
			return failMessage("InvalidBucketState", "Versioning must be 'Enabled' on the bucket to apply a Object Lock configuration")
		}
		b.Lock = objects.Lock{Enabled: true}
		if doc.Rule == nil {
			return nil
		}
		d := doc.Rule.Default
		b.Lock.Mode = d.Mode
		if d.Days != nil {
			b.Lock.Days = *d.Days
		} else {
			b.Lock.Years = *d.Years
		}
		return nil
	})
	if err != nil {
		return err
	}
	return q.OK()
}
