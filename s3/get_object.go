package s3

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/objects"
)

// getObject is GetObject and, without the body, HeadObject.
func (s *Server) getObject(ctx context.Context, q *request) error {
	p, err := q.prepareRead(ctx)
	if err != nil {
		return err
	}
	if q.r.Method == http.MethodHead {
		q.w.WriteHeader(p.status)
		return nil
	}
	body, err := s.cfg.Store.Get(ctx, objects.GetRequest{
		Version: *p.version, Offset: p.part.first, Length: p.part.length, CustomerKey: p.customer.key,
	})
	if err != nil {
		return err
	}
	defer body.Close() //nolint:errcheck // read only
	q.w.WriteHeader(p.status)
	n, err := io.Copy(q.w, body) // no wrapper: the stream writes its segments from where they were opened
	if err != nil {
		return fmt.Errorf("send the object: %w", err)
	}
	if n != p.part.length {
		return fmt.Errorf("sent %d of %d bytes: %w", n, p.part.length, hallig.ErrCorrupt)
	}
	return nil
}

// A reading is a GET or HEAD that was decided: its headers are set.
type reading struct {
	version  *catalog.Version
	customer customerKey
	part     span
	status   int // 200 or 206
}

// prepareRead finds the version, decides the conditions and the range, and
// sets the response's headers.
func (q *request) prepareRead(ctx context.Context) (reading, error) {
	var p reading
	overrides := responseOverrides(q.query)
	if overrides != nil && q.auth.anonymous {
		return p, invalidRequest("Request specific response headers cannot be used for anonymous GET requests.")
	}
	number, err := q.partNumber()
	if err != nil {
		return p, err
	}
	if number > 0 && q.header("Range") != "" {
		return p, invalidRequest("Cannot specify both Range header and partNumber query parameter")
	}
	if p.customer, err = parseCustomerKey(q.r.Header, customerPrefix, q.secure()); err != nil {
		return p, err
	}
	b, err := q.Bucket(ctx)
	if err != nil {
		return p, err
	}
	v, err := q.find(ctx, b)
	if err != nil {
		return p, err
	}
	p.version = v
	if err := checkCustomerKey(&v.Encryption, p.customer); err != nil {
		return p, err
	}
	q.objectSize = v.Size
	if err := parseReadConditions(q.r.Header, "").check(v.ETag, v.Modified); err != nil {
		q.set("Etag", quote(v.ETag))
		q.set("Last-Modified", httpTime(v.Modified))
		q.setVersion(b, v)
		return p, err
	}
	checksum, err := p.choose(q.wantedRange(v), number)
	if err != nil {
		return p, err
	}
	q.describe(ctx, b, v)
	if p.status == http.StatusPartialContent {
		q.set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", p.part.first, p.part.last(), v.Size))
	}
	if number > 0 && len(v.Parts) > 0 {
		q.set("X-Amz-Mp-Parts-Count", itoa(len(v.Parts)))
	}
	if q.header("X-Amz-Checksum-Mode") == "ENABLED" {
		q.setChecksum(checksum)
	}
	for name, value := range overrides {
		q.w.Header().Set(name, value)
	}
	q.w.Header().Set("Content-Length", itoa(p.part.length))
	return p, nil
}

// wantedRange returns the Range header, "" if an If-Range says that the client
// has bytes of another version and so wants the whole.
func (q *request) wantedRange(v *catalog.Version) string {
	if has := q.header("If-Range"); has != "" {
		t, err := http.ParseTime(has)
		dated := err == nil && t.Equal(v.Modified.Truncate(time.Second))
		if !dated && strings.Trim(has, `"`) != v.ETag {
			return ""
		}
	}
	return q.header("Range")
}

// choose settles which bytes are read and which checksum speaks of them: the
// object's for the whole, a part's for a part, none for a range.
func (p *reading) choose(header string, number int) (catalog.Checksum, error) {
	v := p.version
	p.part, p.status = span{0, v.Size}, http.StatusOK
	if number > 0 {
		return p.choosePart(number)
	}
	r, ok, err := parseRange(header, v.Size)
	if err != nil || !ok {
		return v.Checksum, err
	}
	p.part, p.status = r, http.StatusPartialContent
	if r.length == v.Size {
		return v.Checksum, nil
	}
	return catalog.Checksum{}, nil
}

// choosePart finds a part by number. An object that was uploaded whole is its
// own part 1.
func (p *reading) choosePart(number int) (catalog.Checksum, error) {
	v := p.version
	if len(v.Parts) == 0 {
		if number != 1 {
			return catalog.Checksum{}, noSuchPart(1, number)
		}
		if v.Size > 0 {
			p.status = http.StatusPartialContent
		}
		return v.Checksum, nil
	}
	p.status = http.StatusPartialContent
	var at int64
	for _, part := range v.Parts {
		if part.Number == number {
			p.part = span{at, part.Size}
			return catalog.Checksum{Algorithm: v.Checksum.Algorithm, Type: v.Checksum.Type, Value: part.Checksum}, nil
		}
		at += part.Size
	}
	return catalog.Checksum{}, noSuchPart(len(v.Parts), number)
}

func noSuchPart(have, asked int) error {
	return fail("InvalidPartNumber").With("ActualPartCount", itoa(have)).With("PartNumberRequested", itoa(asked))
}

// partNumber reads the partNumber parameter; 0 if absent.
func (q *request) partNumber() (int, error) {
	if !q.query.Has("partNumber") {
		return 0, nil
	}
	return parsePartNumber(q.query.Get("partNumber"))
}

func parsePartNumber(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > catalog.MaxParts {
		return 0, invalidArgument("partNumber", s, "Part number must be an integer between 1 and 10000, inclusive.")
	}
	return n, nil
}

// find returns the version that the request names, or the error (and the
// headers) that S3 answers a missing one or a delete marker with.
func (q *request) find(ctx context.Context, b *objects.Bucket) (*catalog.Version, error) {
	if q.found != nil {
		return q.found, nil
	}
	v, err := q.s.cfg.Store.Head(ctx, q.bucketName, q.key, q.version)
	if err == nil && !v.DeleteMarker {
		q.found = &v
		return &v, nil
	}
	if err != nil && !errors.Is(err, hallig.ErrNotFound) {
		return nil, fmt.Errorf("look up the object: %w", err)
	}
	if v.DeleteMarker {
		q.set("X-Amz-Delete-Marker", "true")
		q.setVersion(b, &v)
		if q.versioned {
			q.set("Last-Modified", httpTime(v.Modified))
			q.set("Allow", http.MethodDelete)
			return nil, fail("MethodNotAllowed").With("Method", q.r.Method).With("ResourceType", "DeleteMarker")
		}
		return nil, fail("NoSuchKey").With("Key", q.key)
	}
	if q.mayList(ctx, b) != nil { // who may not list may not learn what is not there
		return nil, fail("AccessDenied")
	}
	if q.versioned {
		return nil, fail("NoSuchVersion").With("Key", q.key).With("VersionId", q.query.Get("versionId"))
	}
	return nil, fail("NoSuchKey").With("Key", q.key)
}

// describe sets the headers that tell of a version. Tags and locks have
// permissions of their own.
func (q *request) describe(ctx context.Context, b *objects.Bucket, v *catalog.Version) {
	q.set("Accept-Ranges", "bytes")
	q.set("Last-Modified", httpTime(v.Modified))
	q.set("Etag", quote(v.ETag))
	q.setVersion(b, v)
	q.set("Content-Type", cmp.Or(v.ContentType, defaultContentType))
	q.set("Cache-Control", v.CacheControl)
	q.set("Content-Disposition", v.ContentDisposition)
	q.set("Content-Encoding", v.ContentEncoding)
	q.set("Content-Language", v.ContentLanguage)
	q.set("Expires", v.Expires)
	q.set("X-Amz-Website-Redirect-Location", v.WebsiteRedirect)
	q.set("X-Amz-Storage-Class", storageClass(v.StorageClass)) // S3 itself omits STANDARD
	for name, value := range v.Metadata {
		q.w.Header()[metaPrefix+name] = []string{encodeMetadata(value)} // as stored: S3 answers in lower case
	}
	if n := len(v.Tags); n > 0 && q.permit(ctx, "s3:GetObjectTagging") == nil {
		q.set("X-Amz-Tagging-Count", itoa(n))
	}
	if v.Retention.Mode != "" && q.permit(ctx, "s3:GetObjectRetention") == nil {
		q.set("X-Amz-Object-Lock-Mode", v.Retention.Mode)
		q.set("X-Amz-Object-Lock-Retain-Until-Date", isoTime(v.Retention.Until))
	}
	if v.LegalHold && q.permit(ctx, "s3:GetObjectLegalHold") == nil {
		q.set("X-Amz-Object-Lock-Legal-Hold", "ON")
	}
	q.setEncryption(v.Encryption)
}
