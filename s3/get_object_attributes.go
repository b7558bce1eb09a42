package s3

import (
	"context"
	"encoding/xml"
	"strings"

	"github.com/hallig-cloud/hallig/catalog"
)

type attributesResult struct {
	XMLName      xml.Name `xml:"GetObjectAttributesResponse"`
	Xmlns        string   `xml:"xmlns,attr"`
	ETag         string   `xml:",omitempty"`
	Checksum     *attributeChecksum
	Parts        *attributeParts `xml:"ObjectParts"`
	StorageClass string          `xml:",omitempty"`
	Size         *int64          `xml:"ObjectSize"`
}

type attributeChecksum struct {
	Value *checksumElement
	Type  string `xml:"ChecksumType,omitempty"`
}

type attributeParts struct {
	Total       int             `xml:"PartsCount"`
	Marker      int             `xml:"PartNumberMarker"`
	Next        int             `xml:"NextPartNumberMarker"`
	Max         int             `xml:"MaxParts"`
	IsTruncated bool            `xml:"IsTruncated"`
	Parts       []attributePart `xml:"Part"`
}

type attributePart struct {
	PartNumber int
	Size       int64
	Checksum   *checksumElement
}

// getObjectAttributes is GetObjectAttributes.
func (s *Server) getObjectAttributes(ctx context.Context, q *request) error {
	asked, err := parseObjectAttributes(q.r.Header.Values("X-Amz-Object-Attributes"))
	if err != nil {
		return err
	}
	limit, marker, err := q.partsPage()
	if err != nil {
		return err
	}
	customer, err := parseCustomerKey(q.r.Header, customerPrefix, q.secure())
	if err != nil {
		return err
	}
	read := "s3:GetObject" // attributes are read with both permissions
	if q.versioned {
		read = "s3:GetObjectVersion"
	}
	if err := q.permit(ctx, read); err != nil {
		return err
	}
	b, err := q.Bucket(ctx)
	if err != nil {
		return err
	}
	v, err := q.find(ctx, b)
	if e, ok := err.(*Error); ok && e.Code == "MethodNotAllowed" { //nolint:errorlint // find returns it bare
		return fail("NoSuchKey").With("Key", q.key) // a delete marker has no attributes, named or not
	}
	if err != nil {
		return err
	}
	if err := checkCustomerKey(&v.Encryption, customer); err != nil {
		return err
	}
	if err := parseReadConditions(q.r.Header, "").check(v.ETag, v.Modified); err != nil {
		return err
	}
	q.set("Last-Modified", httpTime(v.Modified))
	q.setVersion(b, v)
	r := attributesResult{Xmlns: Namespace}
	if asked["ETag"] {
		r.ETag = v.ETag
	}
	if e := newChecksumElement(v.Checksum.Algorithm, v.Checksum.Value); asked["Checksum"] && e != nil {
		r.Checksum = &attributeChecksum{Value: e, Type: v.Checksum.Type}
	}
	if asked["ObjectParts"] && len(v.Parts) > 0 {
		r.Parts = listAttributeParts(v, marker, limit)
	}
	if asked["StorageClass"] {
		r.StorageClass = storageClass(v.StorageClass)
	}
	if asked["ObjectSize"] {
		r.Size = &v.Size
	}
	return q.XML(&r)
}

// listAttributeParts renders a page of an object's parts. As on S3 the parts
// themselves are shown only if they have checksums.
func listAttributeParts(v *catalog.Version, marker, limit int) *attributeParts {
	p := &attributeParts{Total: len(v.Parts), Marker: marker, Max: limit}
	for _, part := range v.Parts {
		if part.Number <= marker {
			continue
		}
		if len(p.Parts) == limit {
			p.IsTruncated = true
			break
		}
		p.Parts = append(p.Parts, attributePart{part.Number, part.Size, newChecksumElement(v.Checksum.Algorithm, part.Checksum)})
		p.Next = part.Number
	}
	return p
}

// parseObjectAttributes reads x-amz-object-attributes.
func parseObjectAttributes(values []string) (map[string]bool, error) {
	asked := make(map[string]bool)
	for _, v := range values {
		for name := range strings.SplitSeq(v, ",") {
			switch name = strings.TrimSpace(name); name {
			case "":
			case "ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize":
				asked[name] = true
			default:
				return nil, invalidArgument("x-amz-object-attributes", name, "Invalid attribute name specified.")
			}
		}
	}
	if len(asked) == 0 {
		return nil, invalidRequest("The x-amz-object-attributes header specifying the attributes to be retrieved is either missing or empty")
	}
	return asked, nil
}

// partsPage reads x-amz-max-parts and x-amz-part-number-marker.
func (q *request) partsPage() (limit, marker int, err error) {
	limit, marker = maxListed, 0
	if v := q.header("X-Amz-Max-Parts"); v != "" {
		n, err := parseCount(map[string][]string{"x-amz-max-parts": {v}}, "x-amz-max-parts")
		if err != nil {
			return 0, 0, err
		}
		limit = min(n, maxListed)
	}
	if v := q.header("X-Amz-Part-Number-Marker"); v != "" {
		marker, err = parseCount(map[string][]string{"x-amz-part-number-marker": {v}}, "x-amz-part-number-marker")
	}
	return limit, marker, err
}
