package s3

import (
	"context"
	"errors"
	"fmt"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/objects"
	"github.com/hallig-cloud/hallig/s3/subresource"
)

// getBucketLogging answers with the logging configuration; an empty one when
// logging is off.
func (s *Server) getBucketLogging(ctx context.Context, q *request) error {
	b, err := q.Bucket(ctx)
	if err != nil {
		return err
	}
	if doc := b.Documents[objects.DocLogging]; doc != nil {
		return q.Raw("application/xml", doc)
	}
	return q.sendXML("BucketLoggingStatus", subresource.Logging{})
}

// putBucketLogging switches access logging on or off. The target bucket must
// exist, have the same owner, and be in no retention by default (a log object
// that cannot be deleted would outlive its use).
func (s *Server) putBucketLogging(ctx context.Context, q *request) error {
	data, err := s.readDocument(ctx, q, maxXML)
	if err != nil {
		return err
	}
	l, err := subresource.ParseLogging(data)
	if err != nil {
		return err
	}
	var doc []byte
	if l.Enabled != nil {
		if err := s.checkLogTarget(ctx, q, l.Enabled); err != nil {
			return err
		}
		if doc, err = subresource.Marshal("BucketLoggingStatus", l); err != nil {
			return fmt.Errorf("put bucket logging: %w", err)
		}
	}
	if err := s.putDocument(ctx, q, objects.DocLogging, doc); err != nil {
		return err
	}
	return q.OK()
}

func (s *Server) checkLogTarget(ctx context.Context, q *request, l *subresource.LoggingEnabled) error {
	source, err := q.Bucket(ctx)
	if err != nil {
		return err
	}
	target, err := s.cfg.Store.Bucket(ctx, l.TargetBucket)
	invalid := func(message string) error {
		return failMessage("InvalidTargetBucketForLogging", message).With("TargetBucket", l.TargetBucket)
	}
	switch {
	case errors.Is(err, hallig.ErrNotFound) || err == nil && target.Closing:
		return invalid("The target bucket for logging does not exist")
	case err != nil:
		return fmt.Errorf("load bucket %s: %w", l.TargetBucket, err)
	case target.Owner != source.Owner:
		return invalid("The owner for the bucket to be logged and the target bucket must be the same.")
	case target.Lock.Mode != "":
		return invalid("The target bucket for logging cannot have a default retention period configured.")
	case l.TargetGrants != nil && len(l.TargetGrants.Grants) > 0:
		// the log belongs to the target bucket's owner; a bucket policy shares it
		return fail("NotImplemented").With("Header", "TargetGrants")
	}
	return nil
}
