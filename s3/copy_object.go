package s3

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/objects"
)

// A copyResult is the document of CopyObject and UploadPartCopy.
type copyResult struct {
	XMLName      xml.Name
	Xmlns        string `xml:"xmlns,attr"`
	LastModified string
	ETag         string
	ChecksumType string `xml:",omitempty"`
	Checksum     *checksumElement
}

// A checksumElement is the one element "ChecksumCRC32" or its like.
type checksumElement struct {
	XMLName xml.Name
	Value   string `xml:",chardata"`
}

// newChecksumElement returns nil if there is no checksum.
func newChecksumElement(algorithm, value string) *checksumElement {
	a := findChecksum(algorithm)
	if a == nil || value == "" {
		return nil
	}
	return &checksumElement{XMLName: xml.Name{Local: a.element()}, Value: value}
}

// A source is the authorized source of a copy.
type source struct {
	bucket   *objects.Bucket
	version  catalog.Version
	customer customerKey
	named    copySource
}

// findSource reads x-amz-copy-source, authorizes the caller for it, finds the
// version and decides the copy's conditions of exactly that version.
func (q *request) findSource(ctx context.Context) (source, error) {
	var src source
	var err error
	if src.named, err = parseCopySource(q.header("X-Amz-Copy-Source")); err != nil {
		return src, err
	}
	if src.customer, err = parseCustomerKey(q.r.Header, sourcePrefix, q.secure()); err != nil {
		return src, err
	}
	b, err := q.s.loadBucket(ctx, src.named.bucket)
	if err != nil {
		return src, err
	}
	src.bucket = &b
	if err := q.expectOwner(ctx, &b, "x-amz-source-expected-bucket-owner"); err != nil {
		return src, err
	}
	if err := q.permitSource(ctx, src.named, &b); err != nil {
		return src, err
	}
	v, err := q.s.cfg.Store.Head(ctx, src.named.bucket, src.named.key, src.named.version)
	switch {
	case v.DeleteMarker && src.named.version != "":
		return src, invalidRequest("The source of a copy request may not specifically refer to a delete marker by version id.")
	case errors.Is(err, hallig.ErrNotFound), err == nil && v.DeleteMarker:
		if q.mayList(ctx, &b) != nil {
			return src, fail("AccessDenied")
		}
		if src.named.version != "" {
			return src, fail("NoSuchVersion").With("Key", src.named.key).With("VersionId", string(src.named.version))
		}
		return src, fail("NoSuchKey").With("Key", src.named.key)
	case err != nil:
		return src, fmt.Errorf("look up the source: %w", err)
	}
	src.version = v
	if err := checkCustomerKey(&v.Encryption, src.customer); err != nil {
		return src, err
	}
	return src, parseReadConditions(q.r.Header, "X-Amz-Copy-Source-").checkSource(v.ETag, v.Modified)
}

// permitSource asks for the permission to read the source.
func (q *request) permitSource(ctx context.Context, c copySource, b *objects.Bucket) error {
	action := "s3:GetObject"
	if c.version != "" {
		action = "s3:GetObjectVersion"
	}
	return q.permitOn(ctx, action, b, c.key, c.version)
}

func tooLargeToCopy() error {
	return invalidRequest("The specified copy source is larger than the maximum allowable size for a copy source: " + itoa(int64(maxPut)))
}

// copyObject is CopyObject.
func (s *Server) copyObject(ctx context.Context, q *request) error {
	metadata, err := directive(q.r.Header, "x-amz-metadata-directive", "Unknown metadata directive.")
	if err != nil {
		return err
	}
	tagged, err := directive(q.r.Header, "x-amz-tagging-directive", "Unknown tagging directive.")
	if err != nil {
		return err
	}
	b, err := q.Bucket(ctx)
	if err != nil {
		return err
	}
	w, err := q.parseWrite(ctx, q.r.Header, b)
	if err != nil {
		return err
	}
	cond, err := writePrecondition(destinationOnly(q.r.Header))
	if err != nil {
		return err
	}
	asked, err := askedChecksum(q.r.Header)
	if err != nil {
		return err
	}
	src, err := q.findSource(ctx)
	if err != nil {
		return err
	}
	if src.version.Size > maxPut {
		return tooLargeToCopy()
	}
	if q.pointless(&src, metadata, asked) {
		return invalidRequest("This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.")
	}
	if tagged == directiveCopy && len(src.version.Tags) > 0 {
		if err := q.permitOn(ctx, "s3:GetObjectTagging", src.bucket, src.named.key, src.named.version); err != nil {
			return err
		}
	}
	v, err := s.cfg.Store.Copy(ctx, objects.CopyRequest{
		Source: src.version, SourceCustomerKey: src.customer.key, Bucket: q.bucketName, Key: q.key,
		Attributes:  copyAttributes(&src.version, w, metadata, tagged, asked),
		CustomerKey: w.customer.key, If: cond,
	})
	if err != nil {
		return q.writeError(err, cond)
	}
	q.objectSize = v.Size
	q.emit(ctx, "ObjectCreated:Copy", v)
	q.setWritten(b, &v)
	if src.bucket.Versioning != catalog.Unversioned {
		q.set("X-Amz-Copy-Source-Version-Id", string(src.version.ID()))
	}
	q.setEncryption(v.Encryption)
	return q.XML(&copyResult{
		XMLName: xml.Name{Local: "CopyObjectResult"}, Xmlns: Namespace,
		LastModified: isoTime(v.Modified), ETag: quote(v.ETag),
		ChecksumType: v.Checksum.Type, Checksum: newChecksumElement(v.Checksum.Algorithm, v.Checksum.Value),
	})
}

// askedChecksum reads x-amz-checksum-algorithm; "" if absent.
func askedChecksum(h interface{ Get(string) string }) (string, error) {
	v := h.Get("X-Amz-Checksum-Algorithm")
	if v == "" {
		return "", nil
	}
	a := findChecksum(v)
	if a == nil {
		return "", invalidRequest(unknownChecksum)
	}
	return a.name, nil
}

// pointless reports whether the copy would put an object onto itself and
// change nothing that S3 counts as a change.
func (q *request) pointless(src *source, metadata, checksum string) bool {
	h := q.r.Header
	return src.named.bucket == q.bucketName && src.named.key == q.key && src.named.version == "" &&
		metadata == directiveCopy && checksum == "" &&
		h.Get("X-Amz-Storage-Class") == "" && h.Get("X-Amz-Website-Redirect-Location") == "" &&
		h.Get(headerSSE) == "" && h.Get(customerPrefix+"algorithm") == "" && h.Get(sourcePrefix+"algorithm") == ""
}

// copyAttributes joins what is kept of the source with what the request sets.
// Storage class, encryption, lock, ACL and redirect are never copied.
func copyAttributes(v *catalog.Version, w write, metadata, tagged, checksum string) catalog.Attributes {
	a := w.attributes
	if metadata == directiveCopy {
		a.ContentType, a.CacheControl, a.ContentDisposition = v.ContentType, v.CacheControl, v.ContentDisposition
		a.ContentEncoding, a.ContentLanguage, a.Expires = v.ContentEncoding, v.ContentLanguage, v.Expires
		a.Metadata = v.Metadata
	}
	if tagged == directiveCopy {
		a.Tags = v.Tags
	}
	a.Checksum = catalog.Checksum{Algorithm: checksum, Type: fullObject}
	if checksum == "" {
		a.Checksum.Algorithm = v.Checksum.Algorithm
	}
	if a.Checksum.Algorithm == "" {
		a.Checksum.Algorithm = defaultChecksum
	}
	return a
}
