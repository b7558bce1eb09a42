// Package raft is the durable catalog: partitions replicated by
// hashicorp/raft, with log and state in Pebble, mirrored over the node's
// drives. For now every partition has one voter, this node.
//
// A mirror is one directory with three databases: the Raft log of all
// partitions (written synchronously to every mirror before anything is
// acknowledged), their state (sealed, identical everywhere, written without
// sync since the log can repeat it), and the opened index (plaintext names for
// lists, local). A mirror that errs is dropped: the others first record
// durably that it is no longer one of them, then service goes on.
//
// The formats are in docs/decisions/0003-catalog-format.md.
package raft

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog/machine"
	"github.com/hallig-cloud/hallig/vfs"
)

// A Sealer seals names and records; see machine.Sealer. seal.Keyring is one.
type Sealer = machine.Sealer

// Config configures a Catalog.
type Config struct {
	Mesh hallig.MeshID // whose catalog this is; a directory of another is ErrForeign
	Node hallig.NodeID // this voter's identity; never changes
	// Dirs are the mirrors' directories, made if need be, one on each drive. The
	// directory that one is in, which is the drive, is never made.
	Dirs []string
	FS   vfs.FS // nil: vfs.OS
	// Partitions is the number of data partitions, besides partition 0 of the
	// mesh's records. It may grow between starts. 0: 1. At most 15.
	Partitions int
	// Sealer is nil on a blind node: it votes and stores, and answers
	// hallig.ErrKeyLocked until Unlock.
	Sealer Sealer
	// KnownEpoch is the highest MirrorSet.Epoch that the node remembers elsewhere
	// (what OnMirrors was given); mirrors below it are stale. 0: not known.
	KnownEpoch uint64
	// AcceptStale starts from the newest mirrors there are, though newer ones are
	// known to have existed: acknowledged writes are lost. An operator's decision.
	AcceptStale bool
	// OnMirrors is called after a changed set was recorded on all of its mirrors
	// and before anything else is acknowledged: the node records it on its other
	// drives too. An error is logged; the set stands. It must not call the Catalog.
	OnMirrors func(MirrorSet) error
	// Reserve is the free space in bytes below which writes that add something are
	// refused with hallig.ErrFull; at half of it a mirror is dropped if others
	// have more. 0: 64 MiB, or a sixteenth of the file system if that is less, which is
	// below what a drive keeps free of shards; negative: none.
	Reserve int64
	// SnapshotInterval is how often (once to twice as long) the log is looked at
	// for truncation. 0: 30 s.
	SnapshotInterval time.Duration
	// SnapshotEntries is how many log entries there must be for it. 0: 8192.
	SnapshotEntries uint64
	// SnapshotBytes is how much the log grows before it is truncated anyway, so
	// that a start has little to repeat. 0: 64 MiB.
	SnapshotBytes int64
	// Probe is how often mirrors are probed (is the directory there, free space).
	// 0: 1 s.
	Probe  time.Duration
	Cache  int64            // bytes of block cache, shared by all databases. 0: 64 MiB
	Memory uint64           // bytes of a memtable of each database. 0: 8 MiB
	Now    func() time.Time // the proposer's clock; nil: time.Now
	Log    *slog.Logger     // nil: discarded

	scaled   bool   // Reserve is the default: less on a small file system
	trailing uint64 // log entries kept behind a snapshot; 0: 256. Tests keep fewer

	noSync    bool // negative control: acknowledge what is not durable
	noSettle  bool // negative control: truncate the log before the state is durable
	noCompare bool // negative control: apply without comparing revisions
	noBreak   bool // negative control: believe a mirror whose disk has failed
}

// reserve returns Reserve on a file system of total bytes.
func (c *Config) reserve(total int64) int64 {
	if c.scaled && total > 0 {
		return min(c.Reserve, total/16)
	}
	return c.Reserve
}

func (c *Config) fill() error {
	if c.FS == nil {
		c.FS = vfs.OS()
	}
	if c.Partitions == 0 {
		c.Partitions = 1
	}
	c.scaled = c.Reserve == 0
	set(&c.Reserve, 64<<20)
	set(&c.SnapshotInterval, 30*time.Second)
	set(&c.SnapshotEntries, 8192)
	set(&c.SnapshotBytes, 64<<20)
	set(&c.Probe, time.Second)
	set(&c.Cache, 64<<20)
	set(&c.Memory, 8<<20)
	set(&c.trailing, 256)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	switch {
	case len(c.Dirs) == 0:
		return fmt.Errorf("catalog without a directory: %w", hallig.ErrInvalid)
	case c.Partitions < 1 || c.Partitions > 15:
		return fmt.Errorf("catalog with %d data partitions, want 1 to 15: %w", c.Partitions, hallig.ErrInvalid)
	case c.Node.IsZero() || c.Mesh.IsZero():
		return fmt.Errorf("catalog without a node or mesh id: %w", hallig.ErrInvalid)
	}
	return nil
}

func set[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}
