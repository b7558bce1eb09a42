package s3

import (
	"context"
	"encoding/xml"

	"github.com/hallig-cloud/hallig/catalog"
)

type listResult struct {
	XMLName        xml.Name `xml:"ListBucketResult"`
	Xmlns          string   `xml:"xmlns,attr"`
	Name           string
	Prefix         string
	Marker         string
	NextMarker     string `xml:",omitempty"`
	MaxKeys        int
	Delimiter      string `xml:",omitempty"`
	EncodingType   string `xml:",omitempty"`
	IsTruncated    bool
	Contents       []listedObject
	CommonPrefixes []commonPrefix
}

// listObjects is ListObjects (version 1).
func (s *Server) listObjects(ctx context.Context, q *request) error {
	p, err := parseListParams(q.query, "max-keys")
	if err != nil {
		return err
	}
	if _, err := q.Bucket(ctx); err != nil {
		return err
	}
	marker := q.query.Get("marker")
	r := listResult{
		Xmlns: Namespace, Name: q.bucketName, Prefix: p.text(p.prefix), Marker: p.text(marker), MaxKeys: p.limit,
		Delimiter: p.text(p.delimiter), EncodingType: p.encoding,
	}
	page, err := s.list(ctx, q, p.query(catalog.ListCurrent, catalog.Marker{Key: marker}))
	if err != nil {
		return err
	}
	r.IsTruncated = page.Truncated
	if page.Truncated { // S3 tells it with a delimiter only
		r.NextMarker = p.text(page.Next.Key)
	}
	for i := range page.Items {
		if it := &page.Items[i]; it.Prefix != "" {
			r.CommonPrefixes = append(r.CommonPrefixes, commonPrefix{p.text(it.Prefix)})
		} else {
			r.Contents = append(r.Contents, p.listObject(&it.Version, true))
		}
	}
	return q.XML(&r)
}

// list asks the store for a page; a limit of 0 is answered without asking.
func (s *Server) list(ctx context.Context, q *request, cq catalog.Query) (catalog.Page, error) {
	if cq.Limit == 0 {
		return catalog.Page{}, nil
	}
	page, err := s.cfg.Store.List(ctx, q.bucketName, cq)
	if err != nil {
		return page, q.writeError(err, catalog.Precondition{})
	}
	return page, nil
}
