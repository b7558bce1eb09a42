package s3

import (
	"context"
	"strings"

	"github.com/hallig-cloud/hallig/catalog"
)

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
	page, err := s.list(ctx, q, p.query(catalog.ListVersions, after))
	if err != nil {
		return err
	}
	return q.sendList(p, &page, listVersions{q.bucketName, after})
}

// A listVersions is what a ListObjectVersions asks for beyond what all lists
// share.
type listVersions struct {
	bucket string
	after  catalog.Marker
}

// document makes the answer. Versions and delete markers come in one sequence,
// in the order of the list, as S3 has it.
func (l listVersions) document(d *listDocument, p listParams, page *catalog.Page) {
	d.open("ListVersionsResult")
	d.text("Name", l.bucket)
	d.encoded("Prefix", p.prefix)
	d.encoded("KeyMarker", l.after.Key)
	d.text("VersionIdMarker", string(l.after.Version))
	if page.Truncated {
		d.encodedUnlessEmpty("NextKeyMarker", page.Next.Key)
		d.textUnlessEmpty("NextVersionIdMarker", string(page.Next.Version))
	}
	d.number("MaxKeys", int64(p.limit))
	d.encodedUnlessEmpty("Delimiter", p.delimiter)
	d.textUnlessEmpty("EncodingType", p.encoding)
	d.boolean("IsTruncated", page.Truncated)
	for i := range page.Items {
		if it := &page.Items[i]; it.Prefix == "" {
			d.version(&it.Version)
		}
	}
	d.commonPrefixes(page.Items)
	d.close("ListVersionsResult")
}

// version writes a version or a delete marker.
func (d *listDocument) version(v *catalog.Summary) {
	name := "Version"
	if v.DeleteMarker {
		name = "DeleteMarker"
	}
	d.begin(name)
	d.encoded("Key", v.Key)
	d.textUnlessEmpty("VersionId", string(v.ID))
	d.boolean("IsLatest", v.Latest)
	if v.DeleteMarker {
		d.time("LastModified", v.Modified)
	} else {
		d.object(v)
	}
	d.owner(v.Owner)
	d.close(name)
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
