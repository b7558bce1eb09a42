package catalog

import (
	"fmt"
	"slices"
	"time"

	"github.com/hallig-cloud/hallig"
)

// A Precondition is what must hold of a key's current version, or of the
// version that an operation names, for a write to happen. ETags are without
// quotes; "*" stands for any existing object. A current delete marker counts
// as absent. Source: S3 User Guide, "Conditional requests".
type Precondition struct {
	IfMatch     []string   // nil: none. Absent object: ErrNotFound; no match: ErrPrecondition
	IfNoneMatch []string   // nil: none. A match, or "*" on an existing object: ErrPrecondition
	IfSize      *int64     // deletes: x-amz-if-match-size
	IfModified  *time.Time // deletes: x-amz-if-match-last-modified-time, compared in whole seconds
}

// IsZero reports whether nothing is demanded.
func (p Precondition) IsZero() bool {
	return p.IfMatch == nil && p.IfNoneMatch == nil && p.IfSize == nil && p.IfModified == nil
}

// Check decides the precondition against v, nil when there is no such version.
func (p Precondition) Check(v *Version) error {
	if v != nil && v.DeleteMarker {
		v = nil
	}
	if p.IfMatch != nil {
		if v == nil {
			return fmt.Errorf("if-match on an absent object: %w", hallig.ErrNotFound)
		}
		if !matches(p.IfMatch, v.ETag) {
			return fmt.Errorf("if-match: current etag is %q: %w", v.ETag, hallig.ErrPrecondition)
		}
	}
	if p.IfNoneMatch != nil && v != nil && matches(p.IfNoneMatch, v.ETag) {
		return fmt.Errorf("if-none-match: the object exists with etag %q: %w", v.ETag, hallig.ErrPrecondition)
	}
	if p.IfSize != nil && (v == nil || v.Size != *p.IfSize) {
		return fmt.Errorf("if-match-size: %w", hallig.ErrPrecondition)
	}
	if p.IfModified != nil && (v == nil || v.Modified.Unix() != p.IfModified.Unix()) {
		return fmt.Errorf("if-match-last-modified-time: %w", hallig.ErrPrecondition)
	}
	return nil
}

func matches(etags []string, etag string) bool {
	return slices.Contains(etags, "*") || slices.Contains(etags, etag)
}
