package s3

import "context"

// getBucketLocation answers with the bucket's region; nothing stands for
// us-east-1.
func (s *Server) getBucketLocation(ctx context.Context, q *request) error {
	b, err := q.Bucket(ctx)
	if err != nil {
		return err
	}
	region := s.regionOf(b.Region)
	if region == defaultRegion {
		region = ""
	}
	return q.sendXML("LocationConstraint", region)
}
