package s3

import (
	"context"
	"encoding/xml"

	"github.com/hallig-cloud/hallig/catalog"
)

type listV2Result struct {
	XMLName               xml.Name `xml:"ListBucketResult"`
	Xmlns                 string   `xml:"xmlns,attr"`
	Name                  string
	Prefix                string
	ContinuationToken     string `xml:",omitempty"`
	NextContinuationToken string `xml:",omitempty"`
	StartAfter            string `xml:",omitempty"`
	KeyCount              int
	MaxKeys               int
	Delimiter             string `xml:",omitempty"`
	EncodingType          string `xml:",omitempty"`
	IsTruncated           bool
	Contents              []listedObject
	CommonPrefixes        []commonPrefix
}

// listObjectsV2 is ListObjectsV2.
func (s *Server) listObjectsV2(ctx context.Context, q *request) error {
	p, err := parseListParams(q.query, "max-keys")
	if err != nil {
		return err
	}
	after := q.query.Get("start-after")
	token := q.query.Get("continuation-token")
	r := listV2Result{
		Xmlns: Namespace, Name: q.bucketName, Prefix: p.text(p.prefix), StartAfter: p.text(after),
		ContinuationToken: token, MaxKeys: p.limit, Delimiter: p.text(p.delimiter), EncodingType: p.encoding,
	}
	if q.query.Has("continuation-token") {
		behind, err := decodeToken(token)
		if err != nil {
			return err
		}
		after = max(after, behind)
	}
	if _, err := q.Bucket(ctx); err != nil {
		return err
	}
	page, err := s.list(ctx, q, p.query(catalog.ListCurrent, catalog.Marker{Key: after}))
	if err != nil {
		return err
	}
	r.IsTruncated, r.KeyCount = page.Truncated, len(page.Items)
	if page.Truncated {
		r.NextContinuationToken = encodeToken(page.Next.Key)
	}
	withOwner := q.query.Get("fetch-owner") == "true"
	for i := range page.Items {
		if it := &page.Items[i]; it.Prefix != "" {
			r.CommonPrefixes = append(r.CommonPrefixes, commonPrefix{p.text(it.Prefix)})
		} else {
			r.Contents = append(r.Contents, p.listObject(&it.Version, withOwner))
		}
	}
	return q.XML(&r)
}
