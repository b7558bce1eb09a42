package objects

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
)

// propose sends one request to the catalog. When the answer is lost it asks
// again with the same id, so that a success is never mistaken for a failure.
// It outlives the caller's context: a client that goes away must not leave a
// commit in doubt. An ErrUnavailable in the end says that the outcome is not
// known; every other error says that nothing was applied.
func (s *Store) propose(ctx context.Context, r catalog.Request) ([]catalog.Result, error) {
	r.ID, r.Session = hallig.NewID(), s.config.Session
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.config.CommitTimeout)
	defer cancel()
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		results, err := s.catalog.Commit(ctx, r)
		if err == nil {
			if len(results) != len(r.Ops) {
				return nil, fmt.Errorf("commit: %d results for %d operations: %w", len(results), len(r.Ops), hallig.ErrUnavailable)
			}
			return results, nil
		}
		if !errors.Is(err, hallig.ErrUnavailable) {
			if ctx.Err() != nil { // the time ran out inside the catalog
				return nil, fmt.Errorf("commit: %w: %w", hallig.ErrUnavailable, err)
			}
			return nil, fmt.Errorf("commit: %w", err)
		}
		expired, stop := s.config.Timer(wait)
		select {
		case <-expired:
		case <-ctx.Done():
			stop()
			return nil, fmt.Errorf("commit: %w", err)
		}
	}
}

// inDoubt reports whether a commit that failed with err may have happened.
func inDoubt(err error) bool { return errors.Is(err, hallig.ErrUnavailable) }

// commit proposes what build makes of the bucket's current configuration. If
// the configuration turns out to be outdated, it is read again and build
// called once more.
func (s *Store) commit(ctx context.Context, bucket string, build func(*Bucket) ([]catalog.Op, error)) (*Bucket, []catalog.Result, error) {
	b, err := s.bucket(ctx, bucket)
	if err != nil {
		return nil, nil, err
	}
	for range races {
		ops, err := build(b)
		if err != nil {
			return b, nil, err
		}
		results, err := s.propose(ctx, catalog.Request{Bucket: b.ID, Epoch: b.Epoch, Ops: ops})
		if !errors.Is(err, hallig.ErrStale) && !errors.Is(err, hallig.ErrNotFound) {
			return b, results, err
		}
		if b, _, err = s.readBucket(ctx, bucket); err != nil {
			return nil, nil, err
		}
		if err := s.open(ctx, b); err != nil {
			return nil, nil, err
		}
	}
	return nil, nil, fmt.Errorf("bucket %s: its configuration changes too fast: %w", bucket, hallig.ErrConflict)
}

// Head finds a version; see API.
func (s *Store) Head(ctx context.Context, bucket, key string, v catalog.VersionID) (catalog.Version, error) {
	b, err := s.bucket(ctx, bucket)
	if err != nil {
		return catalog.Version{}, err
	}
	version, err := s.catalog.Head(ctx, b.ID, key, v)
	if err != nil {
		return catalog.Version{}, fmt.Errorf("head %s/%s: %w", bucket, key, err)
	}
	if version.DeleteMarker {
		return version, fmt.Errorf("head %s/%s: a delete marker: %w", bucket, key, hallig.ErrNotFound)
	}
	return version, nil
}

// List lists a bucket; see API.
func (s *Store) List(ctx context.Context, bucket string, q catalog.Query) (catalog.Page, error) {
	b, err := s.bucket(ctx, bucket)
	if err != nil {
		return catalog.Page{}, err
	}
	q.Bucket = b.ID
	page, err := s.catalog.List(ctx, q)
	if err != nil {
		return catalog.Page{}, fmt.Errorf("list %s: %w", bucket, err)
	}
	return page, nil
}

// Delete deletes keys or versions; see API.
func (s *Store) Delete(ctx context.Context, bucket string, r ...DeleteRequest) ([]catalog.Result, error) {
	if len(r) == 0 {
		return nil, nil
	}
	if len(r) > catalog.MaxOps {
		return nil, fmt.Errorf("delete %d keys at once, at most %d: %w", len(r), catalog.MaxOps, hallig.ErrInvalid)
	}
	now := s.now()
	_, results, err := s.commit(ctx, bucket, func(b *Bucket) ([]catalog.Op, error) {
		ops := make([]catalog.Op, len(r))
		for i, d := range r {
			if d.Version == catalog.CurrentVersion {
				ops[i] = catalog.Delete{Key: d.Key, Versioning: b.Versioning, If: d.If, At: now, Owner: d.Owner}
			} else {
				ops[i] = catalog.DeleteVersion{Key: d.Key, Version: d.Version, If: d.If, At: now, Bypass: d.Bypass}
			}
		}
		return ops, nil
	})
	if err != nil {
		return nil, fmt.Errorf("delete in %s: %w", bucket, err)
	}
	return results, nil
}

// Change edits attributes; see API. A delete marker is ErrNotFound.
func (s *Store) Change(ctx context.Context, bucket, key string, v catalog.VersionID, change func(*catalog.Version) error) (catalog.Version, error) {
	for range races {
		old, err := s.Head(ctx, bucket, key, v)
		if err != nil {
			return old, err
		}
		edited := old
		edited.Metadata, edited.Tags = maps.Clone(old.Metadata), slices.Clone(old.Tags)
		if err := change(&edited); err != nil {
			return catalog.Version{}, err
		}
		// Only attributes change here; the rest is what the bytes are.
		attributes := edited.Attributes
		edited = old
		edited.Attributes = attributes
		edited.Checksum, edited.Encryption = old.Checksum, old.Encryption
		_, results, err := s.commit(ctx, bucket, func(b *Bucket) ([]catalog.Op, error) {
			if b.ID != old.Bucket {
				return nil, fmt.Errorf("bucket %s was made anew: %w", bucket, hallig.ErrNotFound)
			}
			return []catalog.Op{catalog.Update{Version: edited}}, nil
		})
		if err == nil {
			err = results[0].Err
		}
		if err == nil {
			return results[0].Version, nil
		}
		if !errors.Is(err, hallig.ErrConflict) {
			return catalog.Version{}, fmt.Errorf("change %s/%s: %w", bucket, key, err)
		}
	}
	return catalog.Version{}, fmt.Errorf("change %s/%s: too many changes at once: %w", bucket, key, hallig.ErrConflict)
}
