package s3

import (
	"context"
	"encoding/xml"
)

// The configurations that Hallig has no use for are answered as S3 answers
// when they are not used: reading one is the error that it is not there,
// listing gives an empty list, writing is NotImplemented.

// noConfiguration answers a GET or DELETE of one configuration by its id.
func (s *Server) noConfiguration(ctx context.Context, q *request) error {
	if _, err := q.Bucket(ctx); err != nil {
		return err
	}
	if q.query.Get("id") == "" {
		return invalidRequest("Missing required parameter: id")
	}
	return fail("NoSuchConfiguration").With("BucketName", q.bucketName)
}

// noReplication answers a GET of the replication configuration.
func (s *Server) noReplication(ctx context.Context, q *request) error {
	if _, err := q.Bucket(ctx); err != nil {
		return err
	}
	return fail("ReplicationConfigurationNotFoundError").With("BucketName", q.bucketName)
}

// deleteNothing answers a DELETE of what is never there.
func (s *Server) deleteNothing(ctx context.Context, q *request) error {
	if _, err := q.Bucket(ctx); err != nil {
		return err
	}
	return q.NoContent()
}

// notImplemented refuses a PUT.
func (s *Server) notImplemented(ctx context.Context, q *request) error {
	if _, err := q.Bucket(ctx); err != nil {
		return err
	}
	return fail("NotImplemented")
}

// emptyList returns a handler that answers with an empty list of
// configurations.
func emptyList(root string) func(*Server, context.Context, *request) error {
	return func(_ *Server, ctx context.Context, q *request) error {
		if _, err := q.Bucket(ctx); err != nil {
			return err
		}
		return q.sendXML(root, struct {
			XMLName   xml.Name
			Truncated bool `xml:"IsTruncated"`
		}{XMLName: xml.Name{Local: root}})
	}
}
