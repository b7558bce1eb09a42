package s3

import (
	"context"

	"github.com/hallig-cloud/hallig/catalog"
)

// listObjectsV2 is ListObjectsV2.
func (s *Server) listObjectsV2(ctx context.Context, q *request) error {
	l := listV2{
		bucket: q.bucketName, startAfter: q.query.Get("start-after"), token: q.query.Get("continuation-token"),
		owners: q.query.Get("fetch-owner") == "true",
	}
	after := l.startAfter
	if q.query.Has("continuation-token") {
		behind, err := decodeToken(l.token)
		if err != nil {
			return err
		}
		after = max(after, behind)
	}
	return s.listCurrent(ctx, q, catalog.Marker{Key: after}, l)
}

// A listV2 is what a ListObjectsV2 asks for beyond what all lists share.
type listV2 struct {
	bucket, startAfter, token string
	owners                    bool
}

// document makes the answer.
func (l listV2) document(d *listDocument, p listParams, page *catalog.Page) {
	d.open("ListBucketResult")
	d.text("Name", l.bucket)
	d.encoded("Prefix", p.prefix)
	d.textUnlessEmpty("ContinuationToken", l.token)
	if page.Truncated {
		d.text("NextContinuationToken", encodeToken(page.Next.Key))
	}
	d.encodedUnlessEmpty("StartAfter", l.startAfter)
	d.number("KeyCount", int64(len(page.Items)))
	d.number("MaxKeys", int64(p.limit))
	d.encodedUnlessEmpty("Delimiter", p.delimiter)
	d.textUnlessEmpty("EncodingType", p.encoding)
	d.boolean("IsTruncated", page.Truncated)
	d.contents(page.Items, l.owners)
	d.commonPrefixes(page.Items)
	d.close("ListBucketResult")
}
