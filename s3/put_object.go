package s3

import (
	"context"

	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/objects"
)

// putObject is PutObject.
func (s *Server) putObject(ctx context.Context, q *request) error {
	b, err := q.Bucket(ctx)
	if err != nil {
		return err
	}
	if headerPresent(q.r.Header, "X-Amz-Write-Offset-Bytes") {
		return notImplemented("x-amz-write-offset-bytes", "")
	}
	w, err := q.parseWrite(ctx, q.r.Header, b)
	if err != nil {
		return err
	}
	size, err := q.uploadLength(maxPut)
	if err != nil {
		return err
	}
	claimed, err := parseClaim(q.r.Header)
	if err != nil {
		return err
	}
	if w.lock.given && claimed.md5 == nil && claimed.algorithm == nil {
		return invalidRequest("Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters")
	}
	cond, err := writePrecondition(q.r.Header)
	if err != nil {
		return err
	}
	w.attributes.Checksum = claimed.objectChecksum()
	v, err := s.cfg.Store.Put(ctx, objects.PutRequest{
		Bucket: q.bucketName, Key: q.key, Body: q.body, Size: size,
		Attributes: w.attributes, CustomerKey: w.customer.key, If: cond,
		Verify: claimed.verify(q.trailer, nil),
	})
	if err != nil {
		return q.writeError(err, cond)
	}
	q.objectSize = v.Size
	q.emit(ctx, "ObjectCreated:Put", v)
	q.describeWritten(b, &v)
	q.set("X-Amz-Object-Size", itoa(v.Size))
	return q.OK()
}

// objectChecksum is what to compute for an object that is uploaded whole.
func (c claim) objectChecksum() catalog.Checksum {
	name := defaultChecksum
	if c.algorithm != nil {
		name = c.algorithm.name
	}
	return catalog.Checksum{Algorithm: name, Type: fullObject}
}

// describeWritten sets the headers by which a write tells what it made.
func (q *request) describeWritten(b *objects.Bucket, v *catalog.Version) {
	q.set("Etag", quote(v.ETag))
	q.setWritten(b, v)
	q.setChecksum(v.Checksum)
	q.setEncryption(v.Encryption)
}

func quote(etag string) string { return `"` + etag + `"` }
