package objects

import (
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/placement"
	"github.com/hallig-cloud/hallig/seal"
	"github.com/hallig-cloud/hallig/shard"
)

// Drives is the mesh's drives as the object path sees them. Its methods are
// called often and must not block.
type Drives interface {
	// Topology returns the current snapshot; never nil.
	Topology() *placement.Topology
	// Drive returns a drive's shards, or nil when the drive is not known or its
	// node cannot be reached.
	Drive(id hallig.DriveID) shard.Store
	// Watch calls changed, coalesced, after the topology changed, until stop is
	// called.
	Watch(changed func()) (stop func())
}

// Damage is a shard that is not where it belongs, or not what it should be.
type Damage struct {
	Shard shard.ID
	Pool  hallig.PoolID
	Drive hallig.DriveID // where it was looked for, or should have been put; zero: no drive is left for it
	Err   error          // wraps ErrNotFound, ErrCorrupt, ErrUnavailable, ErrFull …
}

// Config is what a Store is made of. Catalog, Drives, Keys, Mesh and Session
// must be set; the rest has defaults.
type Config struct {
	Catalog catalog.Catalog
	Drives  Drives
	Keys    *seal.Keyring
	Mesh    hallig.MeshID
	Node    hallig.NodeID    // this node: its drives are read first; zero: none is nearer
	Session hallig.SessionID // of this life of the process; goes into every shard and commit
	Logger  *slog.Logger     // nil: discard

	// Damage is told of every shard found missing or bad, and of every shard that
	// a write had to leave out. It is called from the request and must not block.
	Damage func(Damage)

	// Survive is the promise of buckets that state none; "" is
	// placement.Default of the topology at the time of the write.
	Survive hallig.Survive
	// SmallLimit is the size in bytes up to which an object is stored as copies
	// (placement.Small); 0 is DefaultSmallLimit, negative means none are.
	SmallLimit int64
	// Memory bounds the bytes of stripe buffers of all requests together;
	// 0 is DefaultMemory.
	Memory int64
	// MemoryWait is how long a request waits for its share of Memory before it
	// is refused with ErrUnavailable; 0 is 30 s.
	MemoryWait time.Duration
	// HedgeAfter is how long a read waits for a shard before it asks for
	// another as well; 0 is 200 ms, negative is never.
	HedgeAfter time.Duration
	// ShardTimeout is how long one shard may take to be written or read before
	// its drive counts as failed for this request; 0 is 20 s.
	ShardTimeout time.Duration
	// StragglerAfter is how long a write that may be acknowledged still waits
	// for its last shards; they go on in the background. 0 is 1 s.
	StragglerAfter time.Duration
	// Avoid is for how long writes keep away from a drive that failed one; it
	// doubles with every failure in a row, up to 32 times. 0 is 2 s.
	Avoid time.Duration
	// CommitTimeout is how long a commit is asked for when its answer was lost;
	// 0 is 30 s.
	CommitTimeout time.Duration

	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// Timer returns a channel that receives after d, and a function that
	// releases it; nil is time.NewTimer.
	Timer func(d time.Duration) (expired <-chan time.Time, stop func())
}

// Defaults; measured in docs/decisions/0006-object-path.md.
const (
	DefaultSmallLimit = 128 << 10
	DefaultMemory     = 512 << 20
)

func (c *Config) fill() error {
	switch {
	case c.Catalog == nil, c.Drives == nil, c.Keys == nil:
		return fmt.Errorf("objects: a catalog, drives and keys are needed: %w", hallig.ErrInvalid)
	case c.Mesh.IsZero(), c.Session.IsZero():
		return fmt.Errorf("objects: the mesh and the session must be named: %w", hallig.ErrInvalid)
	case c.Survive != "" && !c.Survive.Valid():
		return fmt.Errorf("objects: no such survive policy %q: %w", c.Survive, hallig.ErrInvalid)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.SmallLimit == 0 {
		c.SmallLimit = DefaultSmallLimit
	}
	if c.Memory <= 0 {
		c.Memory = DefaultMemory
		// A process with a limit of its own keeps a quarter of it for stripes.
		if limit := debug.SetMemoryLimit(-1); limit/4 < c.Memory {
			c.Memory = max(limit/4, 16<<20)
		}
	}
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&c.MemoryWait, 30 * time.Second},
		{&c.HedgeAfter, 200 * time.Millisecond},
		{&c.ShardTimeout, 20 * time.Second},
		{&c.StragglerAfter, time.Second},
		{&c.Avoid, 2 * time.Second},
		{&c.CommitTimeout, 30 * time.Second},
	} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Timer == nil {
		c.Timer = func(d time.Duration) (<-chan time.Time, func()) {
			t := time.NewTimer(d)
			return t.C, func() { t.Stop() }
		}
	}
	return nil
}
