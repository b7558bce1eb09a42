package objects

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/seal"
)

// races bounds how often a lost race is run again before it is given up.
const races = 32

// A bucketCache holds the buckets that requests asked for. What comes from the
// catalog is dropped when the records change; a bucket read before a change and
// arriving after it is not kept.
type bucketCache struct {
	mu     sync.RWMutex
	change uint64 // counts changes; see put
	byName map[string]*Bucket
	byID   map[hallig.BucketID]*Bucket
	opened map[hallig.BucketID]*seal.Bucket
}

func newBucketCache() *bucketCache {
	return &bucketCache{byName: map[string]*Bucket{}, byID: map[hallig.BucketID]*Bucket{}, opened: map[hallig.BucketID]*seal.Bucket{}}
}

// flush forgets everything: records changed.
func (c *bucketCache) flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.change++
	clear(c.byName)
	clear(c.byID)
	clear(c.opened)
}

func (c *bucketCache) sealer(id hallig.BucketID) *seal.Bucket {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.opened[id]
}

func (c *bucketCache) putSealer(id hallig.BucketID, b *seal.Bucket) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.opened[id] = b
}

func (c *bucketCache) name(name string) (*Bucket, uint64) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.byName[name], c.change
}

func (c *bucketCache) id(id hallig.BucketID) (*Bucket, uint64) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.byID[id], c.change
}

// put keeps b, read when the count of changes was change.
func (c *bucketCache) put(b *Bucket, change uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.change == change {
		c.byName[b.Name] = b
		c.byID[b.ID] = b
	}
}

// CreateBucket makes a bucket; see API. The record is written first, then the
// bucket is opened in its partition; a crash between the two leaves a bucket
// that its first writer opens.
func (s *Store) CreateBucket(ctx context.Context, b Bucket) (Bucket, error) {
	if b.Name == "" || len(b.Name) > 255 {
		return Bucket{}, fmt.Errorf("create bucket: a name has 1 to 255 bytes: %w", hallig.ErrInvalid)
	}
	if b.Survive != "" && !b.Survive.Valid() {
		return Bucket{}, fmt.Errorf("create bucket %s: no such survive policy %q: %w", b.Name, b.Survive, hallig.ErrInvalid)
	}
	b.ID, b.Created, b.Epoch = hallig.NewID(), s.now(), 1
	var err error
	if b.Key, err = s.keys.NewBucketKey(b.ID); err != nil {
		return Bucket{}, fmt.Errorf("create bucket %s: %w", b.Name, err)
	}
	value, err := encodeBucket(&b)
	if err != nil {
		return Bucket{}, fmt.Errorf("create bucket %s: %w", b.Name, err)
	}
	for range races {
		err = s.catalog.Update(ctx, catalog.Change{Kind: catalog.KindBucket, Name: b.Name, Value: value})
		if err == nil {
			s.buckets.flush()
			if err := s.open(ctx, &b); err != nil {
				return Bucket{}, fmt.Errorf("create bucket %s: %w", b.Name, err)
			}
			return s.Bucket(ctx, b.Name)
		}
		if !errors.Is(err, hallig.ErrConflict) {
			return Bucket{}, fmt.Errorf("create bucket %s: %w", b.Name, err)
		}
		// It is there; unless it was closed and only its record was left behind.
		old, _, err := s.readBucket(ctx, b.Name)
		if errors.Is(err, hallig.ErrNotFound) {
			continue
		}
		if err != nil {
			return Bucket{}, fmt.Errorf("create bucket %s: %w", b.Name, err)
		}
		if err := s.open(ctx, old); !errors.Is(err, hallig.ErrNotFound) {
			if err != nil {
				return Bucket{}, fmt.Errorf("create bucket %s: %w", b.Name, err)
			}
			return *old, fmt.Errorf("create bucket %s: %w", b.Name, hallig.ErrExists)
		}
	}
	return Bucket{}, fmt.Errorf("create bucket %s: too many at once: %w", b.Name, hallig.ErrConflict)
}

// open brings the bucket's partition to the record's epoch. If the bucket was
// closed there, its record is removed (the rest of a deletion that was cut
// short) and the answer is ErrNotFound.
func (s *Store) open(ctx context.Context, b *Bucket) error {
	for range races {
		u, err := s.catalog.Usage(ctx, b.ID)
		if err != nil {
			return err
		}
		if u.Closed {
			if err := s.forget(ctx, b); err != nil {
				return err
			}
			return fmt.Errorf("bucket %s is deleted: %w", b.Name, hallig.ErrNotFound)
		}
		if u.Epoch >= b.Epoch {
			return nil
		}
		err = s.setBucket(ctx, b.ID, u.Epoch, catalog.SetBucket{Epoch: b.Epoch})
		if err == nil {
			return nil
		}
		if !errors.Is(err, hallig.ErrStale) && !errors.Is(err, hallig.ErrNotFound) {
			return err
		}
	}
	return fmt.Errorf("open bucket %s: too many changes at once: %w", b.Name, hallig.ErrConflict)
}

// forget removes the record of a closed bucket, whatever its revision now.
func (s *Store) forget(ctx context.Context, b *Bucket) error {
	defer s.buckets.flush()
	for range races {
		rec, err := s.catalog.Get(ctx, catalog.KindBucket, b.Name)
		if errors.Is(err, hallig.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		now, err := decodeBucket(rec)
		if err != nil {
			return err
		}
		if now.ID != b.ID {
			return nil // the name is another bucket's by now
		}
		err = s.catalog.Update(ctx, catalog.Change{Kind: catalog.KindBucket, Name: b.Name, Delete: true, Expect: rec.Revision})
		if err == nil || !errors.Is(err, hallig.ErrConflict) {
			return err
		}
	}
	return fmt.Errorf("remove bucket %s: too many changes at once: %w", b.Name, hallig.ErrConflict)
}

func (s *Store) setBucket(ctx context.Context, id hallig.BucketID, epoch uint64, op catalog.SetBucket) error {
	results, err := s.propose(ctx, catalog.Request{Bucket: id, Epoch: epoch, Ops: []catalog.Op{op}})
	if err != nil {
		return err
	}
	return results[0].Err
}

// Bucket returns a bucket; see API. The caller must not change its Documents.
func (s *Store) Bucket(ctx context.Context, name string) (Bucket, error) {
	b, err := s.bucket(ctx, name)
	if err != nil {
		return Bucket{}, err
	}
	return *b, nil
}

func (s *Store) bucket(ctx context.Context, name string) (*Bucket, error) {
	b, _ := s.buckets.name(name)
	if b != nil {
		return b, nil
	}
	b, _, err := s.readBucket(ctx, name)
	return b, err
}

// readBucket reads a bucket past the cache, and caches it.
func (s *Store) readBucket(ctx context.Context, name string) (*Bucket, hallig.Revision, error) {
	_, change := s.buckets.name(name)
	rec, err := s.catalog.Get(ctx, catalog.KindBucket, name)
	if err != nil {
		return nil, 0, fmt.Errorf("bucket %s: %w", name, err)
	}
	b, err := decodeBucket(rec)
	if err != nil {
		return nil, 0, err
	}
	s.buckets.put(b, change)
	return b, rec.Revision, nil
}

// bucketByID finds the bucket that a version lies in.
func (s *Store) bucketByID(ctx context.Context, id hallig.BucketID) (*Bucket, error) {
	b, change := s.buckets.id(id)
	if b != nil {
		return b, nil
	}
	for after := ""; ; {
		recs, err := s.catalog.Scan(ctx, catalog.KindBucket, after, 1000)
		if err != nil {
			return nil, fmt.Errorf("bucket %s: %w", id, err)
		}
		if len(recs) == 0 {
			return nil, fmt.Errorf("bucket %s: %w", id, hallig.ErrNotFound)
		}
		for _, rec := range recs {
			b, err := decodeBucket(rec)
			if err != nil {
				return nil, err
			}
			if b.ID == id {
				s.buckets.put(b, change)
				return b, nil
			}
			after = rec.Name
		}
	}
}

// Buckets lists buckets; see API. limit ≤ 0 is 1000.
func (s *Store) Buckets(ctx context.Context, after string, limit int) ([]Bucket, error) {
	recs, err := s.catalog.Scan(ctx, catalog.KindBucket, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list buckets: %w", err)
	}
	list := make([]Bucket, 0, len(recs))
	for _, rec := range recs {
		b, err := decodeBucket(rec)
		if err != nil {
			return nil, err
		}
		list = append(list, *b)
	}
	return list, nil
}

// UpdateBucket changes a bucket; see API. ID, Name, Created and Epoch stay what
// they are. Key may be replaced by the same key wrapped anew (a rotation of the
// root key); one that does not open is an error, and nothing is changed.
func (s *Store) UpdateBucket(ctx context.Context, name string, change func(*Bucket) error) (Bucket, error) {
	for range races {
		rec, err := s.catalog.Get(ctx, catalog.KindBucket, name)
		if err != nil {
			return Bucket{}, fmt.Errorf("update bucket %s: %w", name, err)
		}
		old, err := decodeBucket(rec)
		if err != nil {
			return Bucket{}, err
		}
		b, err := decodeBucket(rec)
		if err != nil {
			return Bucket{}, err
		}
		if err := change(b); err != nil {
			return Bucket{}, err
		}
		b.ID, b.Name, b.Created, b.Epoch = old.ID, old.Name, old.Created, old.Epoch
		if !bytes.Equal(b.Key, old.Key) {
			if _, err := s.keys.Bucket(b.ID, b.Key); err != nil {
				return Bucket{}, fmt.Errorf("update bucket %s: its key wrapped anew: %w", name, err)
			}
		}
		if b.Survive != "" && !b.Survive.Valid() {
			return Bucket{}, fmt.Errorf("update bucket %s: no such survive policy %q: %w", name, b.Survive, hallig.ErrInvalid)
		}
		if decidesWrites(old, b) {
			b.Epoch++
		}
		value, err := encodeBucket(b)
		if err != nil {
			return Bucket{}, fmt.Errorf("update bucket %s: %w", name, err)
		}
		err = s.catalog.Update(ctx, catalog.Change{Kind: catalog.KindBucket, Name: name, Value: value, Expect: rec.Revision})
		if errors.Is(err, hallig.ErrConflict) {
			continue
		}
		s.buckets.flush()
		if err != nil {
			return Bucket{}, fmt.Errorf("update bucket %s: %w", name, err)
		}
		if err := s.open(ctx, b); err != nil {
			return Bucket{}, fmt.Errorf("update bucket %s: %w", name, err)
		}
		return s.Bucket(ctx, name)
	}
	return Bucket{}, fmt.Errorf("update bucket %s: too many changes at once: %w", name, hallig.ErrConflict)
}

// decidesWrites reports whether a and b differ in what a write depends on.
func decidesWrites(a, b *Bucket) bool {
	return a.Versioning != b.Versioning || a.Lock != b.Lock || a.Encryption != b.Encryption ||
		a.Survive != b.Survive || a.Spread != b.Spread
}

// DeleteBucket removes an empty bucket; see API. It is closed in its partition
// first, which is where "empty" is decided, and its record removed then; a
// crash between the two leaves a closed bucket whose record the next write,
// creation or deletion of the name removes.
func (s *Store) DeleteBucket(ctx context.Context, name string) error {
	for range races {
		b, _, err := s.readBucket(ctx, name)
		if err != nil {
			return fmt.Errorf("delete: %w", err)
		}
		u, err := s.catalog.Usage(ctx, b.ID)
		if err != nil {
			return fmt.Errorf("delete bucket %s: %w", name, err)
		}
		if !u.Closed {
			err = s.setBucket(ctx, b.ID, u.Epoch, catalog.SetBucket{Epoch: max(u.Epoch, b.Epoch) + 1, Close: true})
			if errors.Is(err, hallig.ErrStale) {
				continue
			}
			if err != nil {
				return fmt.Errorf("delete bucket %s: %w", name, err)
			}
		}
		if err := s.forget(ctx, b); err != nil {
			return fmt.Errorf("delete bucket %s: %w", name, err)
		}
		return nil
	}
	return fmt.Errorf("delete bucket %s: too many changes at once: %w", name, hallig.ErrConflict)
}

// Usage returns a bucket's counters: how many objects, versions, bytes and
// open uploads it holds now.
func (s *Store) Usage(ctx context.Context, name string) (catalog.Usage, error) {
	b, err := s.bucket(ctx, name)
	if err != nil {
		return catalog.Usage{}, err
	}
	return s.catalog.Usage(ctx, b.ID)
}

// maxBucketRecord leaves room for the catalog's own framing.
const maxBucketRecord = catalog.MaxRecord - 1024

func encodeBucket(b *Bucket) ([]byte, error) {
	mode, err := cbor.EncOptions{Sort: cbor.SortCanonical, Time: cbor.TimeRFC3339Nano}.EncMode()
	if err != nil {
		return nil, err
	}
	value, err := mode.Marshal(b)
	if err == nil && len(value) > maxBucketRecord {
		err = fmt.Errorf("the bucket's configuration has %d bytes, more than %d: %w", len(value), maxBucketRecord, hallig.ErrTooLarge)
	}
	return value, err
}

func decodeBucket(rec catalog.Record) (*Bucket, error) {
	b := &Bucket{}
	if err := cbor.Unmarshal(bytes.Clone(rec.Value), b); err != nil {
		return nil, fmt.Errorf("bucket record %q: %w: %w", rec.Name, hallig.ErrCorrupt, err)
	}
	b.Created = b.Created.UTC()
	b.Edit = rec.Revision
	return b, nil
}

// retention returns the bucket's default retention of what is written at now.
func (l Lock) retention(now time.Time) catalog.Retention {
	if !l.Enabled || l.Mode == "" {
		return catalog.Retention{}
	}
	return catalog.Retention{Mode: l.Mode, Until: now.AddDate(l.Years, 0, l.Days)}
}
