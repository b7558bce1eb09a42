package s3

import (
	"context"
	"time"
)

// abortMultipartUpload is AbortMultipartUpload.
func (s *Server) abortMultipartUpload(ctx context.Context, q *request) error {
	if _, err := q.Bucket(ctx); err != nil {
		return err
	}
	u, err := q.upload(ctx)
	if err != nil {
		return err
	}
	if v := q.header("X-Amz-If-Match-Initiated-Time"); v != "" {
		t, err := parseAnyTime(v)
		if err != nil {
			return invalidArgument("x-amz-if-match-initiated-time", v, "The value of the header x-amz-if-match-initiated-time is invalid")
		}
		if t.Before(s.cfg.Clock()) && !t.Truncate(time.Second).Equal(u.Initiated.Truncate(time.Second)) {
			return preconditionFailed("If-Match-Initiated-Time")
		}
	}
	if err := s.cfg.Store.Abort(ctx, q.bucketName, q.key, u.ID); err != nil {
		return q.uploadError(err)
	}
	return q.NoContent()
}
