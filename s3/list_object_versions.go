package s3

import (
	"context"
	"encoding/xml"
	"strings"
	"time"

	"github.com/hallig-cloud/hallig/catalog"
)

// listVersionsResult keeps versions and delete markers in one sequence, in the
// order of the list, as S3 does.
type listVersionsResult struct {
	XMLName             xml.Name `xml:"ListVersionsResult"`
	Xmlns               string   `xml:"xmlns,attr"`
	Name                string
	Prefix              string
	KeyMarker           string
	VersionIDMarker     string `xml:"VersionIdMarker"`
	NextKeyMarker       string `xml:",omitempty"`
	NextVersionIDMarker string `xml:"NextVersionIdMarker,omitempty"`
	MaxKeys             int
	Delimiter           string `xml:",omitempty"`
	EncodingType        string `xml:",omitempty"`
	IsTruncated         bool
	Entries             []versionEntry
	CommonPrefixes      []commonPrefix
}

// A versionEntry is a Version or a DeleteMarker element.
type versionEntry struct {
	marker bool
	object listedObject
}

// MarshalXML names the element after what it is.
func (v versionEntry) MarshalXML(e *xml.Encoder, start xml.StartElement) error {
	start.Name.Local = "Version"
	if v.marker {
		start.Name.Local = "DeleteMarker"
	}
	return e.EncodeElement(v.object, start)
}

// listObjectVersions is ListObjectVersions.
func (s *Server) listObjectVersions(ctx context.Context, q *request) error {
	if v := q.query.Get("max-keys"); strings.HasPrefix(v, "-") {
		return invalidArgument("maxKeys", v, "max-keys cannot be negative")
	}
	p, err := parseListParams(q.query, "max-keys")
	if err != nil {
		return err
	}
	after, err := q.versionMarker()
	if err != nil {
		return err
	}
	if _, err := q.Bucket(ctx); err != nil {
		return err
	}
	r := listVersionsResult{
		Xmlns: Namespace, Name: q.bucketName, Prefix: p.text(p.prefix), KeyMarker: p.text(after.Key),
		VersionIDMarker: string(after.Version), MaxKeys: p.limit, Delimiter: p.text(p.delimiter), EncodingType: p.encoding,
	}
	page, err := s.list(ctx, q, p.query(catalog.ListVersions, after))
	if err != nil {
		return err
	}
	if r.IsTruncated = page.Truncated; page.Truncated {
		r.NextKeyMarker, r.NextVersionIDMarker = p.text(page.Next.Key), string(page.Next.Version)
	}
	for i := range page.Items {
		if it := &page.Items[i]; it.Prefix != "" {
			r.CommonPrefixes = append(r.CommonPrefixes, commonPrefix{p.text(it.Prefix)})
		} else {
			r.Entries = append(r.Entries, p.listVersion(&it.Version))
		}
	}
	return q.XML(&r)
}

// versionMarker reads key-marker and version-id-marker.
func (q *request) versionMarker() (catalog.Marker, error) {
	m := catalog.Marker{Key: q.query.Get("key-marker")}
	if !q.query.Has("version-id-marker") {
		return m, nil
	}
	v := q.query.Get("version-id-marker")
	switch {
	case m.Key == "" && v != "":
		return m, invalidArgument("version-id-marker", v, "A version-id marker cannot be specified without a key marker.")
	case v == "" && m.Key == "":
		return m, nil
	case v == "":
		return m, invalidArgument("version-id-marker", v, "A version-id marker cannot be empty.")
	}
	id, err := checkVersionID(v)
	if err != nil {
		return m, invalidArgument("version-id-marker", v, "Invalid version id specified")
	}
	m.Version = id
	return m, nil
}

// listVersion renders a version or a delete marker.
func (p listParams) listVersion(v *catalog.Summary) versionEntry {
	if v.DeleteMarker {
		return versionEntry{true, listedObject{
			Key: p.text(v.Key), VersionID: string(v.ID), IsLatest: &v.Latest,
			LastModified: isoTime(time.UnixMilli(v.Modified)), Owner: &owner{ID: v.Owner},
		}}
	}
	o := p.listObject(v, true)
	o.VersionID, o.IsLatest = string(v.ID), &v.Latest
	return versionEntry{false, o}
}
