// Package upkeep keeps what is stored as it was promised, in the background:
// it scrubs drives, repairs missing and bad shards, re-encodes stripes whose
// pool no longer fits the topology, evens out how full drives are, sweeps what nothing refers to, and carries
// out lifecycle rules. It is throttled below client traffic, goes on after a
// restart where it was, and says what it does.
//
// Nothing here decides what exists: that is the catalog's. Shards are deleted
// only after the catalog says, behind a fence, that nothing refers to them, and
// are written only with bytes that their stripe's vouch covers.
//
// See docs/decisions/0008-upkeep.md.
package upkeep

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/objects"
	"github.com/hallig-cloud/hallig/seal"
)

// Buckets lists buckets by ascending name; *objects.Store does.
type Buckets interface {
	Buckets(ctx context.Context, after string, limit int) ([]objects.Bucket, error)
}

// Config is what an Upkeep is made of. Catalog, Drives, Buckets, Keys, Mesh and
// Session must be set; the rest has defaults.
type Config struct {
	Catalog catalog.Catalog
	Drives  objects.Drives
	Buckets Buckets
	Keys    *seal.Keyring
	Mesh    hallig.MeshID
	Session hallig.SessionID // of this life of the process
	// Living reports whether a session may still be writing; what a living one
	// wrote is never taken for an orphan. nil: only Session lives, which is right
	// for a node that is alone.
	Living  func(hallig.SessionID) bool
	Survive hallig.Survive // promise of buckets that state none; "": placement.Default
	Logger  *slog.Logger   // nil: discard
	Events  func(objects.Event)

	// ScrubEvery is the time in which every drive means to be read once; 0 is
	// 14 days. ScrubRate bounds what is read of one drive, in bytes a second; 0
	// is 32 MiB/s.
	ScrubEvery time.Duration
	ScrubRate  int64
	// RepairRate bounds the bytes a second that repair and re-encoding read and
	// write together; 0 is 64 MiB/s. Workers repair side by side; 0 is 2.
	RepairRate int64
	Workers    int
	// RebalanceAbove is how far some drive must be off the mean fill, as a share of
	// it, for shards to be moved to even that out; 0 is 0.1. RebalanceUntil is where
	// that ends; 0 is half of RebalanceAbove. RebalanceRate bounds the bytes a second
	// that are moved; 0 is 32 MiB/s, and RepairRate bounds it too.
	RebalanceAbove, RebalanceUntil float64
	RebalanceRate                  int64
	// CompareEvery is how often the drives' inventories are held against the
	// catalog, besides after changes of the topology; 0 is 24 h.
	CompareEvery time.Duration
	// CompareBatch bounds the extents held in memory while comparing (about 64
	// bytes each); more take several walks. 0 is 500,000.
	CompareBatch int
	// Grace is how long replaced data stays for those who are reading it; 0 is
	// 10 minutes. GarbageEvery is how often it is looked for; 0 is 1 minute.
	Grace        time.Duration
	GarbageEvery time.Duration
	// Reading reports whether somebody is reading the data: it stays until they
	// are done, whatever the grace. If it is set, and a drive has little space left
	// (see scarce), the grace is ScarceGrace instead, 15 seconds if it is 0, which
	// need only cover the time between looking a version up and beginning to read
	// it. nil: only the grace protects readers.
	Reading     func(hallig.DataID) bool
	ScarceGrace time.Duration
	// LifecycleEvery is how often lifecycle rules are gone through; 0 is 1 h.
	// LifecycleRate bounds removals a second; 0 is 200.
	LifecycleEvery time.Duration
	LifecycleRate  int
	// Export writes a sealed export of the catalog; nil: none. ExportEvery is
	// how often; 0 is 24 h.
	Export      func(context.Context) error
	ExportEvery time.Duration
	// RetryAfter is the first pause before a repair that failed is tried again;
	// it doubles up to 64 times. 0 is 10 s.
	RetryAfter time.Duration
	// Yield is called before each unit of work and may block while clients need
	// the drives; nil: never.
	Yield func(context.Context) error
	// Now is the clock; nil is time.Now.
	Now func() time.Time

	// Hooks that switch protections off, for negative controls in tests.
	noVerify, noFence, hasty, credulous, eager bool
}

// Defaults.
const (
	DefaultScrubEvery   = 14 * 24 * time.Hour
	DefaultScrubRate    = 32 << 20
	DefaultRepairRate   = 64 << 20
	DefaultRebalance    = 0.1
	defaultPace         = 32 << 20
	DefaultCompareBatch = 500_000
	DefaultGrace        = 10 * time.Minute
)

func (c *Config) fill() error {
	switch {
	case c.Catalog == nil, c.Drives == nil, c.Buckets == nil, c.Keys == nil:
		return fmt.Errorf("upkeep: a catalog, drives, buckets and keys are needed: %w", hallig.ErrInvalid)
	case c.Mesh.IsZero(), c.Session.IsZero():
		return fmt.Errorf("upkeep: the mesh and the session must be named: %w", hallig.ErrInvalid)
	}
	if c.Living == nil {
		own := c.Session
		c.Living = func(s hallig.SessionID) bool { return s == own }
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Events == nil {
		c.Events = func(objects.Event) {}
	}
	if c.Yield == nil {
		c.Yield = func(context.Context) error { return nil }
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&c.ScrubEvery, DefaultScrubEvery}, {&c.CompareEvery, 24 * time.Hour}, {&c.Grace, DefaultGrace},
		{&c.ScarceGrace, 15 * time.Second}, {&c.GarbageEvery, time.Minute}, {&c.LifecycleEvery, time.Hour}, {&c.ExportEvery, 24 * time.Hour}, {&c.RetryAfter, 10 * time.Second},
	} {
		if *d.field <= 0 {
			*d.field = d.value
		}
	}
	if c.ScrubRate <= 0 {
		c.ScrubRate = DefaultScrubRate
	}
	if c.RepairRate <= 0 {
		c.RepairRate = DefaultRepairRate
	}
	if c.RebalanceAbove <= 0 {
		c.RebalanceAbove = DefaultRebalance
	}
	if c.RebalanceUntil <= 0 {
		c.RebalanceUntil = c.RebalanceAbove / 2
	}
	if c.RebalanceRate <= 0 {
		c.RebalanceRate = defaultPace
	}
	if c.Workers <= 0 {
		c.Workers = 2
	}
	if c.CompareBatch <= 0 {
		c.CompareBatch = DefaultCompareBatch
	}
	if c.LifecycleRate <= 0 {
		c.LifecycleRate = 200
	}
	return nil
}
