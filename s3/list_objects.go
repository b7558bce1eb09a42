package s3

import (
	"context"

	"github.com/hallig-cloud/hallig/catalog"
)

// listObjects is ListObjects (version 1).
func (s *Server) listObjects(ctx context.Context, q *request) error {
	l := listV1{bucket: q.bucketName, marker: q.query.Get("marker")}
	return s.listCurrent(ctx, q, catalog.Marker{Key: l.marker}, l)
}

// A listV1 is what a ListObjects asks for beyond what all lists share.
type listV1 struct{ bucket, marker string }

// document makes the answer. S3 gives NextMarker with a delimiter only.
func (l listV1) document(d *listDocument, p listParams, page *catalog.Page) {
	d.open("ListBucketResult")
	d.text("Name", l.bucket)
	d.encoded("Prefix", p.prefix)
	d.encoded("Marker", l.marker)
	if page.Truncated {
		d.encodedUnlessEmpty("NextMarker", page.Next.Key)
	}
	d.number("MaxKeys", int64(p.limit))
	d.encodedUnlessEmpty("Delimiter", p.delimiter)
	d.textUnlessEmpty("EncodingType", p.encoding)
	d.boolean("IsTruncated", page.Truncated)
	d.contents(page.Items, true)
	d.commonPrefixes(page.Items)
	d.close("ListBucketResult")
}
