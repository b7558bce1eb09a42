package s3

import (
	"context"

	"github.com/hallig-cloud/hallig/s3/subresource"
)

// getBucketRequestPayment answers that the owner pays, which is all there is.
func (s *Server) getBucketRequestPayment(ctx context.Context, q *request) error {
	if _, err := q.Bucket(ctx); err != nil {
		return err
	}
	return q.sendXML("RequestPaymentConfiguration", subresource.Payment{Payer: "BucketOwner"})
}

// putBucketRequestPayment takes what holds anyway and refuses the rest.
func (s *Server) putBucketRequestPayment(ctx context.Context, q *request) error {
	data, err := s.readDocument(ctx, q, maxXML)
	if err != nil {
		return err
	}
	p, err := subresource.ParsePayment(data)
	if err != nil {
		return err
	}
	if p.Payer == "Requester" {
		return fail("NotImplemented").With("Header", "Payer")
	}
	return q.OK()
}
