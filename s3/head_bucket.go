package s3

import "context"

// headBucket says that the bucket exists and where.
func (s *Server) headBucket(ctx context.Context, q *request) error {
	b, err := q.Bucket(ctx)
	if err != nil {
		return err
	}
	q.set("X-Amz-Bucket-Region", s.regionOf(b.Region))
	q.set("X-Amz-Bucket-Arn", "arn:aws:s3:::"+b.Name)
	q.set("X-Amz-Access-Point-Alias", "false")
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
