package s3

import (
	"context"
	"fmt"

	"github.com/hallig-cloud/hallig/objects"
	"github.com/hallig-cloud/hallig/s3/subresource"
)

// getPublicAccessBlock answers with the public access block.
func (s *Server) getPublicAccessBlock(ctx context.Context, q *request) error {
	return s.sendDocument(ctx, q, objects.DocPublicAccessBlock, "NoSuchPublicAccessBlockConfiguration")
}

// putPublicAccessBlock replaces the public access block.
func (s *Server) putPublicAccessBlock(ctx context.Context, q *request) error {
	data, err := s.readDocument(ctx, q, maxXML)
	if err != nil {
		return err
	}
	p, err := subresource.ParsePublicAccessBlock(data)
	if err != nil {
		return err
	}
	doc, err := subresource.EncodePublicAccessBlock(p)
	if err != nil {
		return fmt.Errorf("put public access block: %w", err)
	}
	if err := s.putDocument(ctx, q, objects.DocPublicAccessBlock, doc); err != nil {
		return err
	}
	return q.OK()
}

// deletePublicAccessBlock removes the public access block.
func (s *Server) deletePublicAccessBlock(ctx context.Context, q *request) error {
	return s.deleteDocument(ctx, q, objects.DocPublicAccessBlock)
}

// publicAccessBlock returns a bucket's stored block; a document that cannot be
// read blocks everything.
func publicAccessBlock(b *objects.Bucket) subresource.PublicAccessBlock {
	data := b.Documents[objects.DocPublicAccessBlock]
	if data == nil {
		return subresource.PublicAccessBlock{}
	}
	p, err := subresource.ParsePublicAccessBlock(data)
	if err != nil {
		return subresource.PublicAccessBlock{BlockPublicAcls: true, IgnorePublicAcls: true, BlockPublicPolicy: true, RestrictPublicBuckets: true}
	}
	return p
}
