package s3

import (
	"context"

	"github.com/hallig-cloud/hallig/objects"
	"github.com/hallig-cloud/hallig/s3/subresource"
)

// getBucketEncryption answers with the default encryption, which every bucket
// has: AES256 until another is set.
func (s *Server) getBucketEncryption(ctx context.Context, q *request) error {
	b, err := q.Bucket(ctx)
	if err != nil {
		return err
	}
	d := subresource.EncryptionDefault{Algorithm: b.Encryption.Algorithm, KeyID: b.Encryption.KeyID}
	if d.Algorithm == "" {
		d.Algorithm = "AES256"
	}
	key := b.Encryption.BucketKey
	return q.sendXML("ServerSideEncryptionConfiguration", subresource.Encryption{
		Rules: []subresource.EncryptionRule{{Default: &d, BucketKey: &key}},
	})
}

// putBucketEncryption sets the default encryption of later writes.
func (s *Server) putBucketEncryption(ctx context.Context, q *request) error {
	data, err := s.readDocument(ctx, q, maxXML)
	if err != nil {
		return err
	}
	rule, err := subresource.ParseEncryption(data)
	if err != nil {
		return err
	}
	e := objects.DefaultEncryption{Algorithm: rule.Default.Algorithm, KeyID: rule.Default.KeyID}
	e.BucketKey = rule.BucketKey != nil && *rule.BucketKey
	if err := s.setEncryption(ctx, q, e); err != nil {
		return err
	}
	return q.OK()
}

// deleteBucketEncryption sets the default encryption back to AES256.
func (s *Server) deleteBucketEncryption(ctx context.Context, q *request) error {
	if err := s.setEncryption(ctx, q, objects.DefaultEncryption{}); err != nil {
		return err
	}
	return q.NoContent()
}

func (s *Server) setEncryption(ctx context.Context, q *request, e objects.DefaultEncryption) error {
	return s.updateBucket(ctx, q, func(b *objects.Bucket) error {
		b.Encryption = e
		return nil
	})
}
