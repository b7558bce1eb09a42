package s3

import (
	"context"
	"crypto/md5" //nolint:gosec // S3's ETag
	"encoding/hex"
	"encoding/xml"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/objects"
)

type completeDocument struct {
	XMLName xml.Name       `xml:"CompleteMultipartUpload"`
	Parts   []completePart `xml:"Part"`
}

// A completePart is one part as the client names it; its checksums are the
// elements that are not known by name.
type completePart struct {
	Number *int    `xml:"PartNumber"`
	ETag   *string `xml:"ETag"`
	Rest   []struct {
		XMLName xml.Name
		Value   string `xml:",chardata"`
	} `xml:",any"`
}

type completeResult struct {
	XMLName      xml.Name `xml:"CompleteMultipartUploadResult"`
	Xmlns        string   `xml:"xmlns,attr"`
	Location     string
	Bucket       string
	Key          string
	ETag         string
	ChecksumType string `xml:",omitempty"`
	Checksum     *checksumElement
}

// completeMultipartUpload is CompleteMultipartUpload.
func (s *Server) completeMultipartUpload(ctx context.Context, q *request) error {
	b, err := q.Bucket(ctx)
	if err != nil {
		return err
	}
	c, err := q.parseComplete()
	if err != nil {
		return err
	}
	v, err := q.complete(ctx, c)
	var refused *Error
	if errors.As(err, &refused) && (refused.Code == "NoSuchUpload" || refused.Code == "InvalidPart") {
		// A repeat of an earlier completion, or a twin of this one was faster and
		// closed the upload, parts and all, while this one looked at it.
		if v := q.completed(ctx, c); v != nil {
			return q.answerComplete(b, v)
		}
	}
	if err != nil {
		return err
	}
	q.objectSize = v.Size
	q.emit(ctx, "ObjectCreated:CompleteMultipartUpload", v)
	return q.answerComplete(b, &v)
}

// complete checks the completion against the upload and makes the version. The
// upload may be closed by another completion at any moment: NoSuchUpload.
func (q *request) complete(ctx context.Context, c completion) (catalog.Version, error) {
	u, err := q.upload(ctx)
	if err != nil {
		return catalog.Version{}, err
	}
	customer, err := parseCustomerKey(q.r.Header, customerPrefix, q.secure())
	if err != nil {
		return catalog.Version{}, err
	}
	if c.Type != "" && !unasked(u.Checksum) && c.Type != u.Checksum.Type {
		return catalog.Version{}, invalidRequest("The upload was created using the " + u.Checksum.Type + " checksum mode. The complete request must use the same checksum mode.")
	}
	if err := q.checkFinal(&c, &u); err != nil {
		return catalog.Version{}, err
	}
	if err := q.checkParts(ctx, &u, &c); err != nil {
		return catalog.Version{}, err
	}
	c.Upload, c.CustomerKey = u.ID, customer.key
	if unasked(u.Checksum) {
		c.Type = ""
		c.Parts = slices.Clone(c.Parts)
		for i := range c.Parts {
			c.Parts[i].Checksum = "" // of whatever algorithm; none was kept
		}
	}
	v, err := q.s.cfg.Store.Complete(ctx, c.CompleteRequest)
	if err != nil {
		return catalog.Version{}, q.completeError(err, c.If)
	}
	return v, nil
}

// A completion is a CompleteMultipartUpload as the client sent it.
type completion struct {
	objects.CompleteRequest
	algorithms []string // of the parts' checksums, "" where there is none
}

// parseComplete reads the document and the headers.
func (q *request) parseComplete() (completion, error) {
	c := completion{CompleteRequest: objects.CompleteRequest{Bucket: q.bucketName, Key: q.key, Size: -1}}
	var err error
	if c.If, err = writePrecondition(q.r.Header); err != nil {
		return c, err
	}
	if c.Type, err = parseChecksumType(q.r.Header); err != nil {
		return c, err
	}
	if c.Size, err = parseObjectSize(q.r.Header); err != nil {
		return c, err
	}
	if _, _, err := checksumHeader(q.r.Header, true); err != nil {
		return c, err
	}
	body, err := q.readComplete()
	if err != nil {
		return c, err
	}
	var doc completeDocument
	if err := parseXML(body, "CompleteMultipartUpload", &doc); err != nil {
		return c, err
	}
	if len(doc.Parts) == 0 || len(doc.Parts) > catalog.MaxParts {
		return c, fail("MalformedXML")
	}
	for i := range doc.Parts {
		p, algorithm, err := doc.Parts[i].part()
		if err != nil {
			return c, err
		}
		if n := len(c.Parts); n > 0 && p.Number <= c.Parts[n-1].Number {
			return c, fail("InvalidPartOrder").With("UploadId", q.query.Get("uploadId"))
		}
		c.Parts, c.algorithms = append(c.Parts, p), append(c.algorithms, algorithm)
	}
	return c, nil
}

// readComplete reads the body; its x-amz-checksum-* header speaks of the
// object, not of the document, and so only Content-MD5 is checked.
func (q *request) readComplete() ([]byte, error) {
	body, err := q.readRaw(maxXMLParts)
	if err != nil {
		return nil, err
	}
	want, err := parseContentMD5(q.r.Header)
	if err != nil {
		return nil, err
	}
	if got := md5.Sum(body); want != nil && string(want) != string(got[:]) { //nolint:gosec // Content-MD5
		return nil, badMD5(got[:], want)
	}
	return body, nil
}

// parseObjectSize reads x-amz-mp-object-size; -1 if absent.
func parseObjectSize(h http.Header) (int64, error) {
	v := h.Get("X-Amz-Mp-Object-Size")
	if v == "" {
		return -1, nil
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		return 0, invalidRequest("Value for x-amz-mp-object-size header is invalid: '" + v + "'")
	}
	if n < 0 {
		return 0, invalidRequest("Value for x-amz-mp-object-size header is less than zero: '" + v + "'")
	}
	return n, nil
}

// part checks one part of the document, and names its checksum's algorithm.
func (p *completePart) part() (out objects.CompletePart, algorithm string, err error) {
	if p.Number == nil || p.ETag == nil {
		return out, "", fail("MalformedXML")
	}
	if *p.Number < 1 {
		return out, "", invalidArgument("PartNumber", itoa(*p.Number), "PartNumber must be >= 1")
	}
	out.Number, out.ETag = *p.Number, strings.Trim(strings.TrimSpace(*p.ETag), `"`)
	n, all, bad := 0, "", false
	for _, x := range p.Rest {
		name, ok := strings.CutPrefix(x.XMLName.Local, "Checksum")
		a := findChecksum(name)
		if !ok || a == nil {
			continue
		}
		n++
		bad = bad || !a.valid(x.Value)
		all += a.name + ":" + x.Value + ";"
		out.Checksum, algorithm = x.Value, a.name
	}
	switch {
	case n > 1:
		return out, "", invalidArgument("Checksum", all, "Invalid Base64 or multiple checksums present in request")
	case bad:
		return out, "", invalidArgument("Checksum", out.Checksum, "Invalid Base64 or multiple checksums present in request")
	}
	return out, algorithm, nil
}

// checkFinal reads the x-amz-checksum-* header, the checksum of the object. One
// of another algorithm than the upload's is ignored, as S3 does.
func (q *request) checkFinal(c *completion, u *catalog.Upload) error {
	a, value, err := checksumHeader(q.r.Header, true)
	if err != nil || a == nil || unasked(u.Checksum) {
		return err
	}
	bare, count, isComposite := strings.Cut(value, "-")
	if isComposite {
		n, err := strconv.Atoi(count)
		if err != nil || n != len(c.Parts) || u.Checksum.Type == fullObject {
			return invalidHeader(a.header())
		}
		value = bare
	}
	if u.Checksum.Algorithm != a.name {
		return nil
	}
	if u.Checksum.Type == composite {
		value += "-" + itoa(len(c.Parts))
	}
	c.Checksum = value
	return nil
}

// checkParts compares what the client names with what was uploaded, so that
// each mismatch gets the code that S3 gives it. The store decides once more.
func (q *request) checkParts(ctx context.Context, u *catalog.Upload, c *completion) error {
	have, err := q.allParts(ctx, u.ID)
	if err != nil {
		return err
	}
	var total int64
	for i, p := range c.Parts {
		invalid := fail("InvalidPart").With("UploadId", u.ID.String()).With("PartNumber", itoa(p.Number)).With("ETag", p.ETag)
		if a := c.algorithms[i]; a != "" && !unasked(u.Checksum) && a != u.Checksum.Algorithm {
			return failMessage("BadDigest", "The "+strings.ToLower(a)+" you specified for part "+itoa(p.Number)+" did not match what we received.")
		}
		stored, ok := have[p.Number]
		if !ok || stored.ETag != p.ETag || p.Checksum != "" && p.Checksum != stored.Checksum && !unasked(u.Checksum) {
			return invalid
		}
		if u.Checksum.Type == composite && p.Checksum == "" {
			return invalidRequest("The upload was created using a " + strings.ToLower(u.Checksum.Algorithm) +
				" checksum. The complete request must include the checksum for each part. It was missing for part " + itoa(p.Number) + " in the request.")
		}
		if i < len(c.Parts)-1 && stored.Size < minPart {
			return fail("EntityTooSmall").With("ProposedSize", itoa(stored.Size)).With("MinSizeAllowed", itoa(int64(minPart))).
				With("PartNumber", itoa(p.Number)).With("ETag", p.ETag)
		}
		total += stored.Size
	}
	if total > maxObject {
		return fail("EntityTooLarge").With("ProposedSize", itoa(total)).With("MaxSizeAllowed", itoa(int64(maxObject)))
	}
	if c.Size >= 0 && c.Size != total {
		return invalidRequest("The provided 'x-amz-mp-object-size' header value " + itoa(c.Size) + " does not match what was computed: " + itoa(total))
	}
	return nil
}

// allParts returns an upload's parts by number.
func (q *request) allParts(ctx context.Context, id hallig.UploadID) (map[int]catalog.Part, error) {
	parts := make(map[int]catalog.Part)
	for after := 0; ; {
		page, more, err := q.s.cfg.Store.Parts(ctx, q.bucketName, q.key, id, after, maxListed)
		if err != nil {
			return nil, q.uploadError(err)
		}
		for _, p := range page {
			p.Extents = nil
			parts[p.Number], after = p, p.Number
		}
		if !more || len(page) == 0 {
			return parts, nil
		}
	}
}

// completeError names what can go wrong with a completion.
func (q *request) completeError(err error, cond catalog.Precondition) error {
	var checksum *objects.ChecksumError
	var part *objects.PartError
	switch {
	case errors.As(err, &checksum):
		return badChecksum(checksum.Algorithm)
	case errors.As(err, &part) && part.Problem == objects.PartTooSmall:
		return fail("EntityTooSmall").With("PartNumber", itoa(part.Number)).Because(err)
	case errors.Is(err, hallig.ErrNotFound) && cond.IfMatch == nil:
		return q.noSuchUpload().Because(err)
	case errors.Is(err, hallig.ErrInvalid):
		return fail("InvalidPart").With("UploadId", q.query.Get("uploadId")).Because(err)
	}
	return q.writeError(err, cond)
}

// completed finds what an earlier, identical completion made, so that the
// repeat after a lost answer succeeds as it does on S3: the current version
// must consist of exactly the parts that the request names. A conditional
// request is never answered so.
func (q *request) completed(ctx context.Context, c completion) *catalog.Version {
	if _, err := q.uploadID(); err != nil || !c.If.IsZero() {
		return nil
	}
	v, err := q.s.cfg.Store.Head(ctx, q.bucketName, q.key, catalog.CurrentVersion)
	if err != nil || v.DeleteMarker || len(v.Parts) != len(c.Parts) || v.ETag != partsETag(c.Parts) {
		return nil
	}
	for i, p := range c.Parts {
		if v.Parts[i].Number != p.Number || v.Parts[i].ETag != p.ETag {
			return nil
		}
	}
	return &v
}

// partsETag is the ETag of an object made of parts; "" if a part's is not an
// MD5.
func partsETag(parts []objects.CompletePart) string {
	h := md5.New() //nolint:gosec // S3's ETag
	for _, p := range parts {
		sum, err := hex.DecodeString(p.ETag)
		if err != nil {
			return ""
		}
		h.Write(sum)
	}
	return hex.EncodeToString(h.Sum(nil)) + "-" + itoa(len(parts))
}

func (q *request) answerComplete(b *objects.Bucket, v *catalog.Version) error {
	q.setWritten(b, v)
	q.setEncryption(v.Encryption)
	return q.XML(&completeResult{
		Xmlns: Namespace, Location: q.location(), Bucket: q.bucketName, Key: q.key, ETag: quote(v.ETag),
		ChecksumType: v.Checksum.Type, Checksum: newChecksumElement(v.Checksum.Algorithm, v.Checksum.Value),
	})
}

// location is the URL of the object in the style of the request.
func (q *request) location() string { return q.locationOf(q.key) }

func (q *request) locationOf(key string) string {
	u := url.URL{Scheme: "http", Host: q.r.Host, Path: "/" + key}
	if q.r.TLS != nil {
		u.Scheme = "https"
	}
	if !q.virtualHost {
		u.Path = "/" + q.bucketName + "/" + key
	}
	return u.String()
}
