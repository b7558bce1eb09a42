package shard

import "context"

// A Scrubber reads what a drive stores and finds what has decayed. Every local
// Store is one.
type Scrubber interface {
	// Scrub reads and verifies about limit bytes of stored shards, in the
	// drive's own order, and quarantines what is bad. It starts where cursor
	// says (nil: at the start) and returns where to go on; next is nil when the
	// pass is complete. A cursor that no longer fits goes on at the next
	// place that does: cursors may be kept across restarts.
	// Each call does at least one unit of work, whatever limit is.
	Scrub(ctx context.Context, cursor []byte, limit int64) (f Findings, next []byte, err error)
	// Quarantined lists the shards found bad and not yet repaired or deleted,
	// in ID order. Put of the right bytes heals one, Delete forgets it.
	Quarantined(ctx context.Context) ([]ID, error)
}

// Findings says what one call of Scrub saw.
type Findings struct {
	Shards int64 // shards verified, good and bad
	Bytes  int64 // bytes read
	Bad    []ID  // shards found bad, and quarantined, by this call
	// Unnamed counts stretches of the drive that hold no readable record and
	// so belong to no known ID, where one is expected.
	Unnamed int64
}
