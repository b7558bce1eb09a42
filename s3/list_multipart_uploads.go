package s3

import (
	"context"
	"encoding/xml"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
)

type listUploadsResult struct {
	XMLName            xml.Name `xml:"ListMultipartUploadsResult"`
	Xmlns              string   `xml:"xmlns,attr"`
	Bucket             string
	KeyMarker          string
	UploadIDMarker     string `xml:"UploadIdMarker"`
	NextKeyMarker      string `xml:",omitempty"`
	NextUploadIDMarker string `xml:"NextUploadIdMarker,omitempty"`
	Delimiter          string `xml:",omitempty"`
	Prefix             string
	EncodingType       string `xml:",omitempty"`
	MaxUploads         int
	IsTruncated        bool
	Uploads            []listedUpload `xml:"Upload"`
	CommonPrefixes     []commonPrefix
}

type listedUpload struct {
	Key               string
	UploadID          string `xml:"UploadId"`
	Initiator         owner
	Owner             owner
	StorageClass      string
	Initiated         string
	ChecksumAlgorithm string `xml:",omitempty"`
	ChecksumType      string `xml:",omitempty"`
}

// listMultipartUploads is ListMultipartUploads.
func (s *Server) listMultipartUploads(ctx context.Context, q *request) error {
	p, err := parseListParams(q.query, "max-uploads")
	if err != nil {
		return err
	}
	if _, err := q.Bucket(ctx); err != nil {
		return err
	}
	after, err := q.uploadMarker()
	if err != nil {
		return err
	}
	r := listUploadsResult{
		Xmlns: Namespace, Bucket: q.bucketName, KeyMarker: p.text(after.Key), UploadIDMarker: q.query.Get("upload-id-marker"),
		Delimiter: p.text(p.delimiter), Prefix: p.text(p.prefix), EncodingType: p.encoding, MaxUploads: p.limit,
	}
	if after.Key == "" {
		r.UploadIDMarker = ""
	}
	page, err := s.list(ctx, q, p.query(catalog.ListUploads, after))
	if err != nil {
		return err
	}
	if r.IsTruncated = page.Truncated; page.Truncated {
		r.NextKeyMarker = p.text(page.Next.Key)
		if !page.Next.Upload.IsZero() {
			r.NextUploadIDMarker = page.Next.Upload.String()
		}
	}
	for i := range page.Items {
		it := &page.Items[i]
		if it.Upload == nil {
			r.CommonPrefixes = append(r.CommonPrefixes, commonPrefix{p.text(it.Prefix)})
			continue
		}
		u := it.Upload
		r.Uploads = append(r.Uploads, listedUpload{
			Key: p.text(u.Key), UploadID: u.ID.String(), Initiator: owner{ID: u.Initiator}, Owner: owner{ID: u.Owner},
			StorageClass: storageClass(u.StorageClass), Initiated: isoTime(u.Initiated),
			ChecksumAlgorithm: shown(u.Checksum).Algorithm, ChecksumType: shown(u.Checksum).Type,
		})
	}
	return q.XML(&r)
}

// uploadMarker reads key-marker and upload-id-marker. The latter counts only
// with the former. It need not be open any more: a client that aborts what it
// lists must be able to go on.
func (q *request) uploadMarker() (catalog.Marker, error) {
	m := catalog.Marker{Key: q.query.Get("key-marker")}
	v := q.query.Get("upload-id-marker")
	if v == "" || m.Key == "" {
		return m, nil
	}
	id, err := hallig.ParseID(v)
	if err != nil {
		return m, invalidArgument("upload-id-marker", v, "Invalid uploadId marker")
	}
	m.Upload = id
	return m, nil
}
