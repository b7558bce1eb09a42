package objects

import (
	"context"
	"errors"
	"fmt"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
)

// Limits of multipart uploads. Source: S3 User Guide, "Multipart upload
// limits".
const (
	MinPart   = 5 << 20 // bytes of every part but the last
	MaxObject = 5 << 40 // bytes
)

// PartProblem says what is wrong with a part named in a completion.
type PartProblem uint8

// The problems, with the S3 codes that tell of them.
const (
	PartOrder    PartProblem = iota + 1 // not in ascending order: InvalidPartOrder
	PartMissing                         // no such part, or another ETag or checksum: InvalidPart
	PartTooSmall                        // under MinPart and not the last: EntityTooSmall
)

// A PartError is why an upload cannot be completed as asked. It wraps
// hallig.ErrInvalid.
type PartError struct {
	Problem PartProblem
	Number  int
	ETag    string // as the client named it
	Size    int64  // of the part, with PartTooSmall
}

// Error implements error.
func (e *PartError) Error() string {
	switch e.Problem {
	case PartOrder:
		return fmt.Sprintf("part %d is not in ascending order", e.Number)
	case PartTooSmall:
		return fmt.Sprintf("part %d has %d bytes, every part but the last needs %d", e.Number, e.Size, MinPart)
	}
	return fmt.Sprintf("part %d with etag %q was not uploaded", e.Number, e.ETag)
}

// Unwrap returns hallig.ErrInvalid.
func (e *PartError) Unwrap() error { return hallig.ErrInvalid }

// A ChecksumError is a checksum of the whole that differs from the expected
// one (S3: BadDigest). It wraps hallig.ErrInvalid.
type ChecksumError struct{ Algorithm, Want, Got string }

// Error implements error.
func (e *ChecksumError) Error() string {
	return fmt.Sprintf("the %s of the object is %s, not %s", e.Algorithm, e.Got, e.Want)
}

// Unwrap returns hallig.ErrInvalid.
func (e *ChecksumError) Unwrap() error { return hallig.ErrInvalid }

// Complete completes an upload; see API. Errors beside the usual: *PartError,
// *ChecksumError; ErrNotFound when the upload is not open.
func (s *Store) Complete(ctx context.Context, r CompleteRequest) (catalog.Version, error) {
	var v catalog.Version
	var err error
	for range races {
		// A part that was put again meanwhile: look at the parts anew.
		if v, err = s.complete(ctx, r); !errors.Is(err, hallig.ErrConflict) {
			break
		}
	}
	if err != nil {
		return catalog.Version{}, fmt.Errorf("complete %s/%s: %w", r.Bucket, r.Key, err)
	}
	return v, nil
}

func (s *Store) complete(ctx context.Context, r CompleteRequest) (catalog.Version, error) {
	b, err := s.bucket(ctx, r.Bucket)
	if err != nil {
		return catalog.Version{}, err
	}
	u, err := s.catalog.Upload(ctx, b.ID, r.Key, r.Upload)
	if err != nil {
		return catalog.Version{}, err
	}
	if len(r.CustomerKey) > 0 {
		if _, err := s.openKey(b, u.DataKey, &u.Encryption, r.CustomerKey); err != nil {
			return catalog.Version{}, err
		}
	}
	parts, err := s.chosenParts(ctx, b.ID, &r)
	if err != nil {
		return catalog.Version{}, err
	}
	v := catalog.Version{Key: r.Key, DataKey: u.DataKey, Attributes: u.Attributes}
	if v.ETag, err = multipartETag(parts); err != nil {
		return catalog.Version{}, err
	}
	for _, p := range parts {
		v.Size += p.Size
		v.Extents = append(v.Extents, p.Extents...)
		v.Parts = append(v.Parts, catalog.PartSum{Number: p.Number, Size: p.Size, ETag: p.ETag, Checksum: p.Checksum})
	}
	if v.Checksum.Type == Unasked {
		v.Checksum.Type = FullObject
		for i := range v.Parts {
			v.Parts[i].Checksum = ""
		}
	}
	if v.Size > MaxObject {
		return catalog.Version{}, fmt.Errorf("%d bytes in all, at most %d: %w", v.Size, int64(MaxObject), hallig.ErrTooLarge)
	}
	if r.Size >= 0 && v.Size != r.Size {
		return catalog.Version{}, fmt.Errorf("%d bytes in all, %d were expected: %w", v.Size, r.Size, hallig.ErrInvalid)
	}
	if err := checkWhole(&v, parts, &r); err != nil {
		return catalog.Version{}, err
	}
	return s.commitVersion(ctx, r.Bucket, b.ID, v, catalog.Put{If: r.If, Upload: r.Upload}, nil)
}

// checkWhole fills in the object's checksum and compares it with what the
// client expects.
func checkWhole(v *catalog.Version, parts []catalog.Part, r *CompleteRequest) error {
	if r.Type != "" && r.Type != v.Checksum.Type {
		return fmt.Errorf("checksum type %q for an upload with %q: %w", r.Type, v.Checksum.Type, hallig.ErrInvalid)
	}
	var err error
	if v.Checksum.Value, err = joinChecksums(v.Checksum.Algorithm, v.Checksum.Type, parts); err != nil {
		return err
	}
	if r.Checksum != "" && r.Checksum != v.Checksum.Value {
		return &ChecksumError{Algorithm: v.Checksum.Algorithm, Want: r.Checksum, Got: v.Checksum.Value}
	}
	return nil
}

// chosenParts returns the parts that the client named, after holding its list
// against what was uploaded.
func (s *Store) chosenParts(ctx context.Context, id hallig.BucketID, r *CompleteRequest) ([]catalog.Part, error) {
	if len(r.Parts) == 0 || len(r.Parts) > catalog.MaxParts {
		return nil, fmt.Errorf("%d parts, 1 to %d are allowed: %w", len(r.Parts), catalog.MaxParts, hallig.ErrInvalid)
	}
	for i, p := range r.Parts {
		if i > 0 && p.Number <= r.Parts[i-1].Number {
			return nil, &PartError{Problem: PartOrder, Number: p.Number, ETag: p.ETag}
		}
	}
	uploaded := make(map[int]catalog.Part, len(r.Parts))
	for after, more := r.Parts[0].Number-1, true; more; {
		var parts []catalog.Part
		var err error
		if parts, more, err = s.catalog.Parts(ctx, id, r.Key, r.Upload, after, 1000); err != nil {
			return nil, err
		}
		for _, p := range parts {
			uploaded[p.Number] = p
			after = p.Number
		}
		more = more && len(parts) > 0 && after < r.Parts[len(r.Parts)-1].Number
	}
	chosen := make([]catalog.Part, len(r.Parts))
	for i, named := range r.Parts {
		p, ok := uploaded[named.Number]
		if !ok || p.ETag != plainETag(named.ETag) || named.Checksum != "" && named.Checksum != p.Checksum {
			return nil, &PartError{Problem: PartMissing, Number: named.Number, ETag: named.ETag}
		}
		chosen[i] = p
	}
	for i, p := range chosen[:len(chosen)-1] {
		if p.Size < MinPart {
			return nil, &PartError{Problem: PartTooSmall, Number: p.Number, ETag: r.Parts[i].ETag, Size: p.Size}
		}
	}
	return chosen, nil
}
