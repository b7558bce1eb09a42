package s3

import (
	"context"
	"encoding/xml"
)

type listPartsResult struct {
	XMLName              xml.Name `xml:"ListPartsResult"`
	Xmlns                string   `xml:"xmlns,attr"`
	Bucket               string
	Key                  string
	UploadID             string `xml:"UploadId"`
	Initiator            owner
	Owner                owner
	StorageClass         string
	PartNumberMarker     int
	NextPartNumberMarker int
	MaxParts             int
	EncodingType         string `xml:",omitempty"`
	IsTruncated          bool
	ChecksumAlgorithm    string       `xml:",omitempty"`
	ChecksumType         string       `xml:",omitempty"`
	Parts                []listedPart `xml:"Part"`
}

type listedPart struct {
	PartNumber   int
	LastModified string
	ETag         string
	Size         int64
	Checksum     *checksumElement
}

// listParts is ListParts.
func (s *Server) listParts(ctx context.Context, q *request) error {
	p, err := parseListParams(q.query, "max-parts")
	if err != nil {
		return err
	}
	after, err := parseCount(q.query, "part-number-marker")
	if err != nil {
		return err
	}
	if _, err := q.Bucket(ctx); err != nil {
		return err
	}
	u, err := q.upload(ctx)
	if err != nil {
		return err
	}
	r := listPartsResult{
		Xmlns: Namespace, Bucket: q.bucketName, Key: p.text(q.key), UploadID: u.ID.String(),
		Initiator: owner{ID: u.Initiator}, Owner: owner{ID: u.Owner}, StorageClass: storageClass(u.StorageClass),
		PartNumberMarker: after, MaxParts: p.limit, EncodingType: p.encoding,
		ChecksumAlgorithm: "null", ChecksumType: "null",
	}
	c := shown(u.Checksum)
	if c.Algorithm != "" {
		r.ChecksumAlgorithm, r.ChecksumType = c.Algorithm, c.Type
	}
	if p.limit > 0 {
		parts, more, err := s.cfg.Store.Parts(ctx, q.bucketName, q.key, u.ID, after, p.limit)
		if err != nil {
			return q.uploadError(err)
		}
		r.IsTruncated = more
		for i := range parts {
			r.Parts = append(r.Parts, listedPart{
				PartNumber: parts[i].Number, LastModified: isoTime(parts[i].Modified), ETag: quote(parts[i].ETag),
				Size: parts[i].Size, Checksum: newChecksumElement(c.Algorithm, parts[i].Checksum),
			})
			r.NextPartNumberMarker = parts[i].Number
		}
	}
	return q.XML(&r)
}
