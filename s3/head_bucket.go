package s3

import "context"

// headBucket says that the bucket exists and where.
func (s *Server) headBucket(ctx context.Context, q *request) error {
	b, err := q.Bucket(ctx)
	if err != nil {
		return err
	}
	q.set("x-amz-bucket-region", s.regionOf(b.Region))
	q.set("x-amz-bucket-arn", "arn:aws:s3:::"+b.Name)
	q.set("x-amz-access-point-alias", "false")
	q.set("Content-Type", "application/xml")
	return q.OK()
}

// regionOf returns the region that clients are told of.
func (s *Server) regionOf(region string) string {
	if region == "" {
		return s.cfg.Region
	}
	return region
}
