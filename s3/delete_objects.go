package s3

import (
	"context"
	"encoding/xml"
	"strconv"

	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/objects"
)

// maxDeletes is how many keys one DeleteObjects may name.
const maxDeletes = 1000

type deleteDocument struct {
	XMLName xml.Name       `xml:"Delete"`
	Quiet   bool           `xml:"Quiet"`
	Objects []deleteObject `xml:"Object"`
}

type deleteObject struct {
	Key       *string `xml:"Key"`
	VersionID *string `xml:"VersionId"`
	ETag      string  `xml:"ETag"`
	Modified  string  `xml:"LastModifiedTime"`
	Size      string  `xml:"Size"`
}

type deleteResult struct {
	XMLName xml.Name        `xml:"DeleteResult"`
	Xmlns   string          `xml:"xmlns,attr"`
	Deleted []deletedObject `xml:"Deleted"`
	Errors  []deleteFailure `xml:"Error"`
}

type deletedObject struct {
	Key             string
	VersionID       string `xml:"VersionId,omitempty"`
	DeleteMarker    *bool  `xml:",omitempty"`
	MarkerVersionID string `xml:"DeleteMarkerVersionId,omitempty"`
}

type deleteFailure struct {
	Key       string
	VersionID string `xml:"VersionId,omitempty"`
	Code      string
	Message   string
}

// deleteObjects is DeleteObjects. Every key is authorized, decided and
// answered by itself, in the order of the request.
func (s *Server) deleteObjects(ctx context.Context, q *request) error {
	b, err := q.Bucket(ctx)
	if err != nil {
		return err
	}
	if err := q.digestGiven(); err != nil {
		return err
	}
	var doc deleteDocument
	if err := q.ReadXML("Delete", &doc, maxXMLParts); err != nil {
		return err
	}
	if n := len(doc.Objects); n == 0 || n > maxDeletes {
		return fail("MalformedXML")
	}
	for i := range doc.Objects {
		if doc.Objects[i].Key == nil {
			return fail("MalformedXML")
		}
	}
	result := deleteResult{Xmlns: Namespace}
	outcomes := make([]any, len(doc.Objects)) // deletedObject or deleteFailure
	var requests []objects.DeleteRequest
	var places []int
	for i := range doc.Objects {
		d, err := q.prepareDelete(ctx, b, &doc.Objects[i])
		if err != nil {
			outcomes[i] = doc.Objects[i].failure(err)
			continue
		}
		requests, places = append(requests, d), append(places, i)
	}
	if len(requests) == 0 && q.auth.anonymous { // S3 tells strangers once, not key by key
		return fail("AccessDenied")
	}
	if len(requests) > 0 {
		results, err := s.cfg.Store.Delete(ctx, q.bucketName, requests...)
		if err != nil {
			return q.writeError(err, catalog.Precondition{})
		}
		var events []objects.Event
		for j, res := range results {
			i := places[j]
			if res.Err != nil {
				outcomes[i] = doc.Objects[i].failure(deleteError(res.Err, requests[j]))
				continue
			}
			events = append(events, q.deleted(requests[j], res.Version)...)
			outcomes[i] = doc.Objects[i].success(b, res.Version)
		}
		q.emitAll(ctx, events...)
	}
	for _, o := range outcomes {
		switch o := o.(type) {
		case deleteFailure:
			result.Errors = append(result.Errors, o)
		case deletedObject:
			if !doc.Quiet {
				result.Deleted = append(result.Deleted, o)
			}
		}
	}
	return q.XML(&result)
}

// prepareDelete checks one key of the document and who asks for its deletion.
func (q *request) prepareDelete(ctx context.Context, b *objects.Bucket, o *deleteObject) (objects.DeleteRequest, error) {
	d := objects.DeleteRequest{Key: *o.Key, Owner: q.auth.user}
	if d.Key == "" {
		return d, failMessage("UserKeyMustBeSpecified", "The key must be specified")
	}
	if err := checkKey(d.Key); err != nil {
		return d, err
	}
	action := "s3:DeleteObject"
	if o.VersionID != nil && *o.VersionID != "" {
		v, err := checkVersionID(*o.VersionID)
		if err != nil {
			return d, fail("NoSuchVersion")
		}
		d.Version, action = v, "s3:DeleteObjectVersion"
	}
	if err := o.parseConditions(&d.If); err != nil {
		return d, err
	}
	if err := q.permitOn(ctx, action, b, d.Key, d.Version); err != nil {
		return d, err
	}
	if bypassAsked(q.r.Header) {
		if err := q.permitOn(ctx, "s3:BypassGovernanceRetention", b, d.Key, d.Version); err != nil {
			return d, err
		}
		d.Bypass = true
	}
	return d, nil
}

func (o *deleteObject) parseConditions(p *catalog.Precondition) error {
	p.IfMatch = parseETags(o.ETag)
	if o.Size != "" {
		n, err := strconv.ParseInt(o.Size, 10, 64)
		if err != nil {
			return fail("MalformedXML")
		}
		p.IfSize = &n
	}
	if o.Modified != "" {
		t, err := parseAnyTime(o.Modified)
		if err != nil {
			return fail("MalformedXML")
		}
		p.IfModified = &t
	}
	return nil
}

func (o *deleteObject) failure(err error) deleteFailure {
	e := fromError(err)
	f := deleteFailure{Key: *o.Key, Code: e.sentCode(), Message: e.Message}
	if o.VersionID != nil {
		f.VersionID = *o.VersionID
	}
	return f
}

func (o *deleteObject) success(b *objects.Bucket, v catalog.Version) deletedObject {
	d := deletedObject{Key: *o.Key}
	if o.VersionID != nil {
		d.VersionID = *o.VersionID
	}
	if b.Versioning != catalog.Unversioned {
		d.DeleteMarker = &v.DeleteMarker
		if v.DeleteMarker {
			d.MarkerVersionID = string(v.ID())
		}
	}
	return d
}
