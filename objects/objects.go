// Package objects is the path of an object: from a reader to sealed, coded
// and durable shards and a catalog commit, and back. Memory per request is a
// few stripes, whatever the object's size, and of all requests together what
// Config.Memory says.
//
// A write is acknowledged when every stripe has as many shards on stable
// storage as its pool's Ack asks for and the catalog has committed the version.
// When drives are missing it goes to a narrower pool over those that are left,
// under the strongest promise that they can keep; extents name their pool, so
// upkeep finds what to re-encode. A read verifies every byte before it hands it
// on: block sums in the store, the stripe's vouch, each segment's
// authentication.
package objects

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/erasure"
	"github.com/hallig-cloud/hallig/placement"
	"github.com/hallig-cloud/hallig/seal"
)

// Store implements API. It is safe for concurrent use.
type Store struct {
	config  Config
	catalog catalog.Catalog
	keys    *seal.Keyring
	log     *slog.Logger
	memory  *memory
	fleet   *fleet
	pools   *poolBook
	buckets *bucketCache
	codes   erasure.Codes
	readers readers

	inspecting chan struct{}  // one for each shard that is read again
	background sync.WaitGroup // shards still on their way, deletions, inspections
	life       context.Context
	end        context.CancelFunc
	stops      []func()
	closing    sync.Once

	ackRule   func(*placement.Pool) int // tests: another rule than Pool.Ack
	credulous bool                      // tests: shards are not inspected
	spending  bool                      // tests: spare shards are read without memory for them
}

var _ API = (*Store)(nil)

// New returns a Store. Close it before what it was made of.
func New(c Config) (*Store, error) {
	if err := c.fill(); err != nil {
		return nil, err
	}
	s := &Store{
		config:  c,
		catalog: c.Catalog,
		keys:    c.Keys,
		log:     c.Logger,
		memory:  newMemory(c.Memory, c.MemoryWait),
		fleet:   newFleet(&c),
		pools:   newPoolBook(c.Catalog, c.Logger),
		buckets: newBucketCache(),

		inspecting: make(chan struct{}, inspections),
	}
	s.life, s.end = context.WithCancel(context.Background())
	s.stops = []func(){
		c.Catalog.Watch(catalog.KindBucket, s.buckets.flush),
		c.Catalog.Watch(catalog.KindPool, s.pools.flush),
		c.Drives.Watch(s.pools.flush),
	}
	return s, nil
}

// Close ends what goes on in the background: shards on their way to slow
// drives are waited for, at most Config.ShardTimeout; deletions of what failed
// writes left are cut short. Requests must have ended before. ErrUnavailable
// says that a drive still holds a call and must be given up by its owner.
func (s *Store) Close() error {
	var err error
	s.closing.Do(func() {
		for _, stop := range s.stops {
			stop()
		}
		s.end()
		idle := make(chan struct{})
		go func() {
			s.background.Wait()
			close(idle)
		}()
		late, stop := s.config.Timer(s.config.ShardTimeout)
		defer stop()
		select {
		case <-idle:
		case <-late:
			err = fmt.Errorf("close: a drive has not answered within %s: %w", s.config.ShardTimeout, hallig.ErrUnavailable)
		}
	})
	return err
}

// MemoryInUse returns the bytes of stripe buffers granted to requests now.
func (s *Store) MemoryInUse() int64 { used, _, _, _ := s.memory.state(); return used }

// now is the time as records keep it: UTC, in milliseconds.
func (s *Store) now() time.Time { return s.config.Now().UTC().Truncate(time.Millisecond) }

func (s *Store) damage(d Damage) {
	s.log.Debug("damaged shard", "shard", d.Shard.String(), "drive", d.Drive, "err", d.Err)
	if s.config.Damage != nil {
		s.config.Damage(d)
	}
}

// ack is how many shards must be durable before a stripe counts.
func (s *Store) ack(p *placement.Pool) int {
	if s.ackRule != nil {
		return s.ackRule(p)
	}
	return p.Ack()
}

// poolFor returns the pool that a write to the bucket goes to now. While drives
// are away it may keep a weaker promise than the bucket's; not so while some are
// full, as they do not come back by themselves.
func (s *Store) poolFor(ctx context.Context, b *Bucket, class placement.Class) (*placement.Pool, error) {
	return s.poolWithout(ctx, b, class, nil)
}

// poolWithout is poolFor over the drives that are not excluded.
func (s *Store) poolWithout(ctx context.Context, b *Bucket, class placement.Class, exclude map[hallig.DriveID]bool) (*placement.Pool, error) {
	t := s.config.Drives.Topology()
	survive := b.Survive
	if survive == "" {
		survive = s.config.Survive
	}
	if survive == "" {
		survive = s.pools.standard(t)
	}
	left := s.fleet.usable(t, exclude)
	full := s.fleet.full(t)
	p, err := s.pools.forWrite(ctx, left, left != t, survive, class, full == 0)
	if err != nil {
		if full > 0 {
			err = fmt.Errorf("%d drives are full, and without them what is promised cannot be kept: delete something or add drives: %w: %w", full, hallig.ErrFull, err)
		}
		return nil, fmt.Errorf("choose a pool for bucket %s: %w", b.Name, err)
	}
	return p, nil
}
