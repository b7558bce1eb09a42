package s3

import (
	"crypto/md5" //nolint:gosec // S3's Content-MD5 is MD5 by definition
	"encoding/base64"
	"encoding/hex"
	"hash"
	"io"
	"net/http"
	"strings"

	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/objects"
)

// The types of a checksum over parts.
const (
	fullObject = objects.FullObject
	composite  = objects.Composite
)

// defaultChecksum is what S3 computes when the client names no algorithm.
const defaultChecksum = objects.CRC64NVME

// A checksumAlgorithm is one of S3's.
type checksumAlgorithm struct {
	field     string // the request and response header, in net/http's canonical form
	name      string
	size      int  // bytes of a value
	full      bool // may be FULL_OBJECT over parts
	composite bool // may be COMPOSITE over parts
}

// header is the header as clients are told of it, element the XML element.
func (a *checksumAlgorithm) header() string  { return strings.ToLower(a.field) }
func (a *checksumAlgorithm) element() string { return "Checksum" + a.name }

// valid reports whether value is a base64 checksum of the algorithm's size.
func (a *checksumAlgorithm) valid(value string) bool {
	raw, err := base64.StdEncoding.DecodeString(value)
	return err == nil && len(raw) == a.size && !strings.ContainsAny(value, "\r\n")
}

// sum returns the base64 checksum of a document.
func (a *checksumAlgorithm) sum(doc []byte) string {
	h, err := objects.NewChecksum(a.name)
	if err != nil {
		return ""
	}
	h.Write(doc)
	return base64.StdEncoding.EncodeToString(h.Sum(nil))
}

// checksumAlgorithms are all that S3 knows, as listed in its messages. Read
// only. Source: S3 User Guide, "Checking object integrity in Amazon S3".
var checksumAlgorithms = [...]checksumAlgorithm{
	{"X-Amz-Checksum-Crc32", objects.CRC32, 4, true, true},
	{"X-Amz-Checksum-Crc32c", objects.CRC32C, 4, true, true},
	{"X-Amz-Checksum-Crc64nvme", objects.CRC64NVME, 8, true, false},
	{"X-Amz-Checksum-Md5", objects.MD5, 16, false, true},
	{"X-Amz-Checksum-Sha1", objects.SHA1, 20, false, true},
	{"X-Amz-Checksum-Sha256", objects.SHA256, 32, false, true},
	{"X-Amz-Checksum-Sha512", objects.SHA512, 64, false, true},
	{"X-Amz-Checksum-Xxhash128", objects.XXHash128, 16, false, true},
	{"X-Amz-Checksum-Xxhash3", objects.XXHash3, 8, false, true},
	{"X-Amz-Checksum-Xxhash64", objects.XXHash64, 8, false, true},
}

// findChecksum returns an algorithm by name, in any case; nil if S3 knows none.
func findChecksum(name string) *checksumAlgorithm {
	for i := range checksumAlgorithms {
		if strings.EqualFold(checksumAlgorithms[i].name, name) {
			return &checksumAlgorithms[i]
		}
	}
	return nil
}

const unknownChecksum = "Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, MD5, SHA1, SHA256, SHA512, XXHASH128, XXHASH3, XXHASH64]"

func invalidHeader(name string) *Error {
	return invalidRequest("Value for " + name + " header is invalid.")
}

// A claim is what a request says about its body's checksums.
type claim struct {
	md5       []byte             // Content-MD5, nil if absent
	algorithm *checksumAlgorithm // nil: none named
	value     string             // base64, from a header; "" if it comes as a trailer
	trailer   bool               // the value comes as a trailer
	sdk       string             // x-amz-sdk-checksum-algorithm, canonical
}

// parseClaim reads Content-MD5, x-amz-checksum-*, x-amz-trailer and
// x-amz-sdk-checksum-algorithm.
func parseClaim(h http.Header) (claim, error) {
	var c claim
	var err error
	if c.md5, err = parseContentMD5(h); err != nil {
		return c, err
	}
	if c.algorithm, c.value, err = checksumHeader(h, false); err != nil {
		return c, err
	}
	if t := strings.TrimSpace(h.Get("X-Amz-Trailer")); t != "" {
		name, isChecksum := strings.CutPrefix(strings.ToLower(t), "x-amz-checksum-")
		a := findChecksum(name)
		if !isChecksum || a == nil {
			return c, invalidRequest("The value specified in the x-amz-trailer header is not supported")
		}
		if c.algorithm != nil {
			return c, invalidRequest("Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
		}
		c.algorithm, c.trailer = a, true
	}
	return c, c.parseSDK(h.Get("X-Amz-Sdk-Checksum-Algorithm"))
}

func (c *claim) parseSDK(sdk string) error {
	if sdk == "" {
		return nil
	}
	a := findChecksum(sdk)
	switch {
	case a == nil:
		return invalidRequest(unknownChecksum)
	case c.algorithm == nil:
		return invalidRequest("x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found.")
	case a.name != c.algorithm.name:
		return invalidHeader("x-amz-sdk-checksum-algorithm")
	}
	c.sdk = a.name
	return nil
}

// parseContentMD5 returns the digest of a Content-MD5 header; nil if absent.
func parseContentMD5(h http.Header) ([]byte, error) {
	if !headerPresent(h, "Content-Md5") {
		return nil, nil
	}
	v := h.Get("Content-Md5")
	sum, err := base64.StdEncoding.DecodeString(v)
	if err != nil || len(sum) != md5.Size {
		return nil, fail("InvalidDigest").With("Content-MD5", v)
	}
	return sum, nil
}

// checksumHeader returns the one x-amz-checksum-* header; ofParts allows the
// "-N" of a composite.
func checksumHeader(h http.Header, ofParts bool) (found *checksumAlgorithm, value string, err error) {
	n := 0
	for name, values := range h {
		suffix, ok := cutPrefixFold(name, "x-amz-checksum-")
		if !ok || strings.EqualFold(suffix, "mode") || strings.EqualFold(suffix, "algorithm") || strings.EqualFold(suffix, "type") {
			continue
		}
		n++
		a := findChecksum(suffix)
		if a == nil {
			err = invalidRequest("The algorithm type you specified in x-amz-checksum- header is invalid.")
			continue
		}
		found, value = a, values[0]
		n += len(values) - 1
	}
	if n > 1 {
		return nil, "", invalidRequest("Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
	}
	if err != nil || found == nil {
		return nil, "", err
	}
	bare := value
	if ofParts {
		bare, _, _ = strings.Cut(value, "-")
	}
	if !found.valid(bare) {
		return nil, "", invalidHeader(found.header())
	}
	return found, value, nil
}

// A hashed is a body that is hashed as it passes.
type hashed struct {
	io.Reader
	hash hash.Hash
}

// sum returns the base64 checksum of what has passed.
func (h *hashed) sum() string { return base64.StdEncoding.EncodeToString(h.hash.Sum(nil)) }

// beside puts a reader around body that computes the claimed checksum when the
// store computes another one; nil if it needs none.
func (c claim) beside(body io.Reader, computed string) *hashed {
	if c.algorithm == nil || c.algorithm.name == computed {
		return nil
	}
	h, err := objects.NewChecksum(c.algorithm.name)
	if err != nil {
		return nil
	}
	return &hashed{io.TeeReader(body, h), h}
}

// verify returns the check that objects.Put calls once the body is read:
// Content-MD5, and the checksum from the header or the verified trailer.
// beside, unless nil, has computed it; else Sums.Checksum is of the claimed
// algorithm.
func (c claim) verify(trailer func() http.Header, beside *hashed) func(objects.Sums) error {
	return func(s objects.Sums) error {
		if c.md5 != nil && string(c.md5) != string(s.MD5[:]) {
			return badMD5(s.MD5[:], c.md5)
		}
		if c.algorithm == nil {
			return nil
		}
		got := s.Checksum
		if beside != nil {
			got = beside.sum()
		}
		want := c.value
		if c.trailer {
			want = ""
			if trailer != nil {
				want = trailer().Get(c.algorithm.field)
			}
			if !c.algorithm.valid(want) {
				return invalidRequest("Value for " + c.algorithm.header() + " trailing header is invalid.")
			}
		}
		if want != got {
			return badChecksum(c.algorithm.name)
		}
		return nil
	}
}

func badMD5(got, want []byte) error {
	return fail("BadDigest").With("CalculatedDigest", base64.StdEncoding.EncodeToString(got)).With("ExpectedDigest", hex.EncodeToString(want))
}

func badChecksum(algorithm string) error {
	return failMessage("BadDigest", "The "+algorithm+" you specified did not match the calculated checksum.")
}

// verifyDocument checks a whole small body against the request's digests.
func (q *request) verifyDocument(doc []byte) error {
	c, err := parseClaim(q.r.Header)
	if err != nil {
		return err
	}
	var s objects.Sums
	s.Size, s.MD5 = int64(len(doc)), md5.Sum(doc) //nolint:gosec // Content-MD5
	if c.algorithm != nil {
		s.Checksum = c.algorithm.sum(doc)
	}
	return c.verify(q.trailer, nil)(s)
}

// digestGiven reports whether the request carries a digest of its body, which
// some operations demand.
func (q *request) digestGiven() error {
	c, err := parseClaim(q.r.Header)
	if err != nil {
		return err
	}
	if c.md5 == nil && c.algorithm == nil {
		return invalidRequest("Missing required header for this request: Content-MD5 OR x-amz-checksum-*")
	}
	return nil
}

// setChecksum sets the response headers that tell an object's checksum.
func (q *request) setChecksum(c catalog.Checksum) {
	a := findChecksum(c.Algorithm)
	if a == nil || c.Value == "" {
		return
	}
	q.set(a.field, c.Value)
	q.set("X-Amz-Checksum-Type", c.Type)
}
