package upkeep

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
)

// A holder is what holds extents: a version, or a part of an open upload.
type holder struct {
	version *catalog.Version
	upload  *catalog.Upload // with part
	part    *catalog.Part
}

// holderOf returns what the catalog's walk found.
func holderOf(f catalog.Stored) *holder {
	if f.Version == nil && f.Part == nil {
		return nil
	}
	return &holder{f.Version, f.Upload, f.Part}
}

func (h *holder) bucket() hallig.BucketID {
	if h.version != nil {
		return h.version.Bucket
	}
	return h.upload.Bucket
}

func (h *holder) extents() []catalog.Extent {
	if h.version != nil {
		return h.version.Extents
	}
	return h.part.Extents
}

// size is the plaintext bytes.
func (h *holder) size() int64 {
	if h.version != nil {
		return h.version.Size
	}
	return h.part.Size
}

// key returns the data key as it is wrapped, and the encryption context.
func (h *holder) key() (catalog.SealedKey, string) {
	if h.version != nil {
		return h.version.DataKey, h.version.Encryption.Context
	}
	return h.upload.DataKey, h.upload.Encryption.Context
}

// String names it in logs, without the object's key.
func (h *holder) String() string {
	if h.version != nil {
		return fmt.Sprintf("version %s in bucket %s", h.version.ID(), h.version.Bucket)
	}
	return fmt.Sprintf("part %d of upload %s in bucket %s", h.part.Number, h.upload.ID, h.upload.Bucket)
}

// again returns the holder as the catalog has it now. One that went is
// hallig.ErrNotFound, one that is not the one that was read hallig.ErrConflict.
func (h *holder) again(ctx context.Context, c catalog.Catalog) (*holder, error) {
	if h.version != nil {
		now, err := c.Head(ctx, h.version.Bucket, h.version.Key, h.version.ID())
		if err != nil {
			return nil, err
		}
		if now.Edit != h.version.Edit {
			return nil, fmt.Errorf("the version changed: %w", hallig.ErrConflict)
		}
		return &holder{version: &now}, nil
	}
	parts, _, err := c.Parts(ctx, h.upload.Bucket, h.upload.Key, h.upload.ID, h.part.Number-1, 1)
	if err != nil {
		return nil, err
	}
	if len(parts) == 0 || parts[0].Number != h.part.Number || !slices.Equal(parts[0].Extents, h.part.Extents) {
		return nil, fmt.Errorf("the part was put again: %w", hallig.ErrConflict)
	}
	return &holder{upload: h.upload, part: &parts[0]}, nil
}

// moved is the operation that gives it other extents, if it is still what it
// was when it was read.
func (h *holder) moved(extents []catalog.Extent) catalog.Op {
	if h.version != nil {
		v := *h.version
		v.Extents = extents
		return catalog.Update{Version: v}
	}
	p := *h.part
	p.Extents = extents
	return catalog.PutPart{Key: h.upload.Key, Upload: h.upload.ID, Part: p, Was: h.part.Extents}
}

// move makes other extents of a holder count.
func (u *Upkeep) move(ctx context.Context, h *holder, extents []catalog.Extent) error {
	usage, err := u.config.Catalog.Usage(ctx, h.bucket())
	if err != nil {
		return err
	}
	results, err := u.config.Catalog.Commit(ctx, catalog.Request{
		ID: hallig.NewID(), Session: u.config.Session, Bucket: h.bucket(), Epoch: usage.Epoch,
		Ops: []catalog.Op{h.moved(extents)},
	})
	if err != nil {
		return fmt.Errorf("commit moved extents: %w", err)
	}
	if err := results[0].Err; err != nil {
		return fmt.Errorf("commit moved extents: %w", err)
	}
	return nil
}

// refers reports whether the catalog refers to one of the extents, in their
// generations: as the version or part that they were made for, or as what that
// has become.
func (u *Upkeep) refers(ctx context.Context, r *reencoding) (bool, error) {
	uses := func(extents []catalog.Extent) bool {
		return slices.ContainsFunc(extents, func(x catalog.Extent) bool {
			return slices.ContainsFunc(r.Extents, func(e catalog.Extent) bool { return x.Data == e.Data && x.Generation == e.Generation })
		})
	}
	if r.Upload.IsZero() {
		for _, id := range []catalog.VersionID{r.Version, catalog.CurrentVersion} {
			v, err := ignoreAbsent(u.config.Catalog.Head(ctx, r.Bucket, r.Key, id))
			if err != nil || uses(v.Extents) {
				return err == nil, err
			}
		}
		return false, nil
	}
	// The part first: if its upload is completed meanwhile, a version has it.
	parts, err := ignoreAbsent(u.parts(ctx, r))
	if err != nil {
		return false, err
	}
	for _, p := range parts {
		if uses(p.Extents) {
			return true, nil
		}
	}
	return u.versionUses(ctx, r, uses)
}

func (u *Upkeep) parts(ctx context.Context, r *reencoding) ([]catalog.Part, error) {
	parts, _, err := u.config.Catalog.Parts(ctx, r.Bucket, r.Key, r.Upload, r.Part-1, 1)
	return parts, err
}

// versionUses looks at every version of the key.
func (u *Upkeep) versionUses(ctx context.Context, r *reencoding, uses func([]catalog.Extent) bool) (bool, error) {
	q := catalog.Query{Bucket: r.Bucket, What: catalog.ListVersions, Prefix: r.Key, Limit: 1000}
	for {
		page, err := u.config.Catalog.List(ctx, q)
		if err != nil {
			return false, err
		}
		for i := range page.Items {
			s := &page.Items[i].Version
			if s.Key != r.Key {
				return false, nil // the key's own versions come first
			}
			v, err := ignoreAbsent(u.config.Catalog.Head(ctx, r.Bucket, r.Key, s.ID))
			if err != nil || uses(v.Extents) {
				return err == nil, err
			}
		}
		if !page.Truncated {
			return false, nil
		}
		q.After = page.Next
	}
}

// ignoreAbsent turns hallig.ErrNotFound into the zero value.
func ignoreAbsent[T any](v T, err error) (T, error) {
	if errors.Is(err, hallig.ErrNotFound) {
		var zero T
		return zero, nil
	}
	return v, err
}
