package s3

import (
	"context"
	"net/http"
)

// restoreObject is RestoreObject. No class that Hallig stores needs restoring,
// so that S3's answer is always this.
func (s *Server) restoreObject(ctx context.Context, q *request) error {
	b, err := q.Bucket(ctx)
	if err != nil {
		return err
	}
	if _, err := q.find(ctx, b); err != nil {
		return err
	}
	return failMessage("InvalidObjectState", "Restore is not allowed for the object's current storage class")
}

// selectObjectContent is SelectObjectContent, which Amazon offers to its former
// users only: everyone else is answered so.
func (s *Server) selectObjectContent(_ context.Context, _ *request) error {
	return &Error{Code: "MethodNotAllowed", Status: http.StatusMethodNotAllowed, Message: "The specified method is not allowed against this resource."}
}

// getObjectTorrent is GetObjectTorrent, which Amazon has ended.
func (s *Server) getObjectTorrent(_ context.Context, _ *request) error {
	return fail("MethodNotAllowed").With("Method", http.MethodGet).With("ResourceType", "TORRENT")
}

// notOffered answers operations of Amazon's directory buckets and tables.
func (s *Server) notOffered(_ context.Context, _ *request) error {
	return fail("NotImplemented")
}
