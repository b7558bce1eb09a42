package objects

import (
	"crypto/md5"  //nolint:gosec // S3's ETag is MD5 by definition
	"crypto/sha1" //nolint:gosec // one of S3's checksums
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"hash/crc32"
	"strconv"
	"strings"

	"github.com/minio/crc64nvme"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
)

// The names of S3's checksum algorithms and types.
const (
	CRC32      = "CRC32"
	CRC32C     = "CRC32C"
	CRC64NVME  = "CRC64NVME"
	SHA1       = "SHA1"
	SHA256     = "SHA256"
	FullObject = "FULL_OBJECT"
	Composite  = "COMPOSITE"
)

// newChecksum returns the algorithm's hash, or nil for "".
func newChecksum(algorithm string) (hash.Hash, error) {
	switch algorithm {
	case "":
		return nil, nil
	case CRC32:
		return crc32.NewIEEE(), nil
	case CRC32C:
		return crc32.New(crc32.MakeTable(crc32.Castagnoli)), nil
	case CRC64NVME:
		return crc64nvme.New(), nil
	case SHA1:
		return sha1.New(), nil //nolint:gosec // asked for by the client
	case SHA256:
		return sha256.New(), nil
	}
	if h := laterChecksum(algorithm); h != nil {
		return h, nil
	}
	return nil, fmt.Errorf("checksum algorithm %q: %w", algorithm, hallig.ErrInvalid)
}

// crcOf returns the arithmetic of a CRC that can be combined over parts.
func crcOf(algorithm string) (crcKind, bool) {
	switch algorithm {
	case CRC32:
		return crcKind{32, polyCRC32}, true
	case CRC32C:
		return crcKind{32, polyCRC32C}, true
	case CRC64NVME:
		return crcKind{64, polyCRC64NVME}, true
	}
	return crcKind{}, false
}

// checksumType settles the type of an upload's checksum: what S3 takes when
// the client names none, and ErrInvalid for pairs that S3 does not know.
// Source: S3 User Guide, "Checking object integrity", the table of supported
// types.
func checksumType(algorithm, kind string) (string, error) {
	if algorithm == "" {
		if kind != "" {
			return "", fmt.Errorf("checksum type %q without an algorithm: %w", kind, hallig.ErrInvalid)
		}
		return "", nil
	}
	if _, err := newChecksum(algorithm); err != nil {
		return "", err
	}
	_, combines := crcOf(algorithm)
	switch {
	case kind == "" && algorithm == CRC64NVME:
		return FullObject, nil
	case kind == "":
		return Composite, nil
	case kind == FullObject && combines, kind == Composite && algorithm != CRC64NVME:
		return kind, nil
	}
	return "", fmt.Errorf("checksum type %q with %s: %w", kind, algorithm, hallig.ErrInvalid)
}

// A digest computes the sums of a body as it passes: the MD5 where it is read,
// the checksum where it is written, so that the two run side by side.
type digest struct {
	size     int64
	md5      hash.Hash
	checksum hash.Hash // nil: none asked for
}

func newDigest(algorithm string) (*digest, error) {
	c, err := newChecksum(algorithm)
	if err != nil {
		return nil, err
	}
	return &digest{md5: md5.New(), checksum: c}, nil //nolint:gosec // S3's ETag
}

func (d *digest) write(p []byte) {
	d.size += int64(len(p))
	d.md5.Write(p)
}

// check adds a cut, not yet sealed, to the checksum.
func (d *digest) check(k *cut) {
	if d.checksum == nil {
		return
	}
	for i := range k.segments() {
		d.checksum.Write(k.segment(i))
	}
}

func (d *digest) sums() Sums {
	s := Sums{Size: d.size}
	d.md5.Sum(s.MD5[:0])
	if d.checksum != nil {
		s.Checksum = base64.StdEncoding.EncodeToString(d.checksum.Sum(nil))
	}
	return s
}

func (s Sums) etag() string { return hex.EncodeToString(s.MD5[:]) }

// multipartETag returns the MD5 of the parts' MD5s, and their number.
func multipartETag(parts []catalog.Part) (string, error) {
	h := md5.New() //nolint:gosec // S3's ETag
	for _, p := range parts {
		sum, err := hex.DecodeString(p.ETag)
		if err != nil {
			return "", fmt.Errorf("part %d has etag %q: %w", p.Number, p.ETag, hallig.ErrCorrupt)
		}
		h.Write(sum)
	}
	return hex.EncodeToString(h.Sum(nil)) + "-" + strconv.Itoa(len(parts)), nil
}

// joinChecksums returns the object's checksum from its parts': their checksum
// with -N for a composite, the combined CRC for a full-object one. It is ""
// when the upload has no algorithm.
func joinChecksums(algorithm, kind string, parts []catalog.Part) (string, error) {
	if algorithm == "" || len(parts) == 0 {
		return "", nil
	}
	if kind == Composite {
		h, err := newChecksum(algorithm)
		if err != nil {
			return "", err
		}
		for _, p := range parts {
			raw, err := rawChecksum(algorithm, p.Checksum)
			if err != nil {
				return "", fmt.Errorf("part %d: %w", p.Number, err)
			}
			h.Write(raw)
		}
		return base64.StdEncoding.EncodeToString(h.Sum(nil)) + "-" + strconv.Itoa(len(parts)), nil
	}
	crc, ok := crcOf(algorithm)
	if !ok {
		return "", fmt.Errorf("a full-object %s over parts: %w", algorithm, hallig.ErrInvalid)
	}
	var total uint64
	for i, p := range parts {
		raw, err := rawChecksum(algorithm, p.Checksum)
		if err != nil {
			return "", fmt.Errorf("part %d: %w", p.Number, err)
		}
		var wide [8]byte
		copy(wide[8-len(raw):], raw)
		c := binary.BigEndian.Uint64(wide[:])
		if i == 0 {
			total = c
		} else {
			total = crc.combine(total, c, p.Size)
		}
	}
	var out [8]byte
	binary.BigEndian.PutUint64(out[:], total)
	return base64.StdEncoding.EncodeToString(out[8-crc.width/8:]), nil
}

// rawChecksum decodes a base64 checksum of the algorithm's length.
func rawChecksum(algorithm, value string) ([]byte, error) {
	h, err := newChecksum(algorithm)
	if err != nil {
		return nil, err
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(value)
	if err != nil || h == nil || len(raw) != h.Size() || strings.ContainsAny(value, "\r\n") {
		return nil, fmt.Errorf("%s checksum %q: %w", algorithm, value, hallig.ErrInvalid)
	}
	return raw, nil
}

// plainETag takes the quotes off an ETag that still has them.
func plainETag(s string) string { return strings.Trim(s, `"`) }
