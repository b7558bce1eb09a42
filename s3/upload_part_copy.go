package s3

import (
	"context"
	"encoding/xml"

	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/objects"
)

// uploadPartCopy is UploadPartCopy.
func (s *Server) uploadPartCopy(ctx context.Context, q *request) error {
	number, customer, err := q.parsePart()
	if err != nil {
		return err
	}
	if _, err := parseCopySource(q.header("X-Amz-Copy-Source")); err != nil {
		return err
	}
	u, err := q.uploadOfPart(ctx, customer)
	if err != nil {
		return err
	}
	src, err := q.findSource(ctx)
	if err != nil {
		return err
	}
	part := span{0, src.version.Size}
	if h := q.header("X-Amz-Copy-Source-Range"); h != "" {
		if part, err = parseCopyRange(h, src.version.Size); err != nil {
			return err
		}
	}
	if part.length > maxPut {
		return tooLargeToCopy()
	}
	p, err := s.cfg.Store.CopyPart(ctx, objects.CopyPartRequest{
		Source: src.version, SourceCustomerKey: src.customer.key, Offset: part.first, Length: part.length,
		Bucket: q.bucketName, Key: q.key, Upload: u.ID, Number: number, CustomerKey: customer.key,
	})
	if err != nil {
		return q.uploadError(err)
	}
	q.objectSize = p.Size
	if src.bucket.Versioning != catalog.Unversioned {
		q.set("X-Amz-Copy-Source-Version-Id", string(src.version.ID()))
	}
	q.setEncryption(u.Encryption)
	return q.XML(&copyResult{
		XMLName: xml.Name{Local: "CopyPartResult"}, Xmlns: Namespace,
		LastModified: isoTime(p.Modified), ETag: quote(p.ETag),
		Checksum: newChecksumElement(shown(u.Checksum).Algorithm, p.Checksum),
	})
}
