package vfstest

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
)

// CrashConfig says which crash states EachCrash makes.
type CrashConfig struct {
	Seed     uint64
	Variants int // states at each boundary; at least 1. The first two are "nothing" and "everything" unsynced kept
	// Recycled lets sectors that were allocated but never written hold bytes of
	// other files instead of zeros, as on a file system without ordered data.
	Recycled bool
	// UnorderedDirs lets any subset of the directory changes arrive. Otherwise
	// they arrive in the order in which they were made, as on every journaling
	// file system; Pebble relies on that while it makes a database.
	UnorderedDirs bool
	From, To      int // boundaries: only states after From..To operations; To 0: to the end
	Stride        int // only every Stride-th boundary from From; 0 or 1: every one
}

// A Crash is one state of a disk after a power cut.
type Crash struct {
	Ops     int    // the power went after this many operations
	Variant int    // which of CrashConfig.Variants
	Seed    uint64 // CrashConfig.Seed
	Disk    *Disk  // what the disk holds; syncs work unless the recorded disk's do not
}

// String names the state, for replay.
func (c Crash) String() string {
	return fmt.Sprintf("crash after %d operations, variant %d, seed %d", c.Ops, c.Variant, c.Seed)
}

// Stop, returned by the function given to EachCrash, ends it without an error.
var Stop = errors.New("stop")

// EachCrash calls fn with crash states at every boundary between two
// operations of a recorded disk (DiskConfig.Record), in order, and returns how
// many it made. It stops at the first error, which it wraps with the state's name.
func (d *Disk) EachCrash(cfg CrashConfig, fn func(Crash) error) (int, error) {
	d.mu.Lock()
	journal := d.journal
	nosync := d.cfg.NoSync
	record := d.cfg.Record
	d.mu.Unlock()
	if !record {
		return 0, errors.New("vfstest: EachCrash needs DiskConfig.Record")
	}
	to := cfg.To
	if to == 0 || to > len(journal) {
		to = len(journal)
	}
	st := newState(false)
	made := 0
	for n := 0; n <= to; n++ {
		if n > 0 {
			o := journal[n-1]
			st.next = max(st.next, o.arg)
			st.apply(o)
		}
		if n < cfg.From || (n-cfg.From)%max(1, cfg.Stride) != 0 {
			continue
		}
		for v := range max(1, cfg.Variants) {
			made++
			c := Crash{Ops: n, Variant: v, Seed: cfg.Seed}
			c.Disk = newDiskOf(st.crash(newChoice(cfg, n, v)), DiskConfig{NoSync: nosync})
			if err := fn(c); err == Stop {
				return made, nil
			} else if err != nil {
				return made, fmt.Errorf("%s: %w", c, err)
			}
		}
	}
	return made, nil
}

// Crash returns a state that the disk might be in if power were cut now. The
// seed chooses it: 0 keeps nothing that is not durable, 1 keeps everything.
// The new disk records if d does.
func (d *Disk) Crash(seed uint64) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	variant := 2
	if seed < 2 {
		variant = int(seed)
	}
	st := d.st.crash(newChoice(CrashConfig{Seed: seed}, d.ops, variant))
	return newDiskOf(st, DiskConfig{NoSync: d.cfg.NoSync, Capacity: d.cfg.Capacity})
}

// Clone returns a copy of the disk as readers see it, all of it durable.
func (d *Disk) Clone() *Disk { return d.Crash(1) }

// Digest returns a hash of everything that the disk would hold after a cut that
// keeps what has arrived: names, links and contents. Disks of equal digests hold
// the same, so that a recovery needs to be tried on one of them only.
func (d *Disk) Digest() [sha256.Size]byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	h := sha256.New()
	seen := map[*inode]uint64{}
	number := func(n uint64) {
		var b [8]byte
		binary.BigEndian.PutUint64(b[:], n)
		h.Write(b[:])
	}
	var walk func(dir *inode)
	walk = func(dir *inode) {
		names := slices.Sorted(maps.Keys(dir.entries))
		number(uint64(len(names)))
		for _, name := range names {
			ino := dir.entries[name]
			number(uint64(len(name)))
			h.Write([]byte(name))
			at := seen[ino]
			switch number(at); {
			case at > 0: // a hard link
				continue
			case ino.dir:
				seen[ino] = uint64(len(seen)) + 1
				number(1)
				walk(ino)
			default:
				seen[ino] = uint64(len(seen)) + 1
				number(0)
				number(uint64(len(ino.cur)))
				h.Write(ino.cur)
			}
		}
	}
	walk(d.st.root)
	return [sha256.Size]byte(h.Sum(nil))
}

func newDiskOf(st *state, cfg DiskConfig) *Disk {
	d := &Disk{cfg: cfg, st: st, locks: map[*inode]bool{}}
	for _, ino := range st.inodes {
		d.used += int64(len(ino.cur))
	}
	return d
}

// choice decides what of the unsynced changes has arrived.
type choice struct {
	rng      *rand.Rand
	mode     int // 0 nothing, 1 everything, 2 a prefix in time, 3 any subset
	cut      uint64
	recycled bool
	anyDirs  bool
}

const (
	keepNothing = iota
	keepAll
	keepPrefix
	keepSubset
)

func newChoice(cfg CrashConfig, ops, variant int) *choice {
	c := &choice{mode: variant, recycled: cfg.Recycled, anyDirs: cfg.UnorderedDirs}
	if variant >= 2 {
		c.rng = rand.New(rand.NewPCG(cfg.Seed, uint64(ops)<<20|uint64(variant)))
		c.mode = keepSubset
		if c.rng.IntN(4) == 0 {
			c.mode = keepPrefix
		}
	}
	return c
}

// odds returns a probability in quarters for one file or directory.
func (c *choice) odds() int { return c.rng.IntN(5) }

// keep decides about a change that arrives whole or not at all.
func (c *choice) keep(seq uint64, odds int) bool {
	switch c.mode {
	case keepAll:
		return true
	case keepPrefix:
		return seq < c.cut
	case keepSubset:
		return c.rng.IntN(4) < odds
	}
	return false
}

// dirs decides which directory changes have arrived.
func (c *choice) dirs(ops []*dirOp) []bool {
	arrived := make([]bool, len(ops))
	odds, first := 0, len(ops)
	if c.mode == keepSubset {
		odds = c.odds()
		if !c.anyDirs {
			odds, first = 4, c.rng.IntN(len(ops)+1)
		}
	}
	for i, d := range ops {
		arrived[i] = i < first && c.keep(d.seq, odds)
	}
	return arrived
}

// crash returns a new live state: what has arrived of s. Contents that did not
// change are shared; s may go on to be changed.
func (s *state) crash(c *choice) *state {
	if c.mode == keepPrefix {
		c.cut = s.oldest()
		c.cut += c.rng.Uint64N(s.seq - c.cut + 2)
	}
	n := newState(true)
	n.next, n.seq = s.next, s.seq
	kept := map[*inode]map[string]*inode{}
	view := func(dir *inode) map[string]*inode {
		if kept[dir] == nil {
			kept[dir] = maps.Clone(dir.durEntries)
		}
		return kept[dir]
	}
	for i, arrived := range c.dirs(s.dirs) {
		if arrived {
			s.dirs[i].onto(view)
		}
	}
	b := builder{from: s, to: n, choice: c, made: map[*inode]*inode{s.root: n.root}, kept: kept}
	b.dir(s.root, n.root)
	return n
}

// oldest returns the sequence number of the oldest change that is not durable.
func (s *state) oldest() uint64 {
	old := s.seq
	for _, d := range s.dirs {
		old = min(old, d.seq)
	}
	for _, ino := range s.inodes {
		if len(ino.pending) > 0 {
			old = min(old, ino.pending[0].seq)
		}
	}
	return old
}

type builder struct {
	from, to *state
	choice   *choice
	made     map[*inode]*inode
	kept     map[*inode]map[string]*inode
}

func (b *builder) dir(from, to *inode) {
	entries := b.kept[from]
	if entries == nil {
		entries = from.durEntries
	}
	names := make([]string, 0, len(entries))
	for name := range entries {
		names = append(names, name)
	}
	slices.Sort(names) // the same seed must make the same state
	for _, name := range names {
		old := entries[name]
		ino := b.made[old]
		if ino == nil {
			ino = &inode{id: old.id, dir: old.dir}
			b.made[old] = ino
			b.to.inodes[ino.id] = ino
			if old.dir {
				ino.entries, ino.durEntries = map[string]*inode{}, map[string]*inode{}
				b.dir(old, ino)
			} else {
				ino.cur = b.contents(old)
				ino.durable = ino.cur
			}
		}
		ino.links++
		to.entries[name], to.durEntries[name] = ino, ino
	}
}

// contents decides what a file holds.
func (b *builder) contents(f *inode) []byte {
	c := b.choice
	f.durOwned = false // shared from now on
	if len(f.pending) == 0 || c.mode == keepNothing {
		return f.durable
	}
	out := slices.Clone(f.durable)
	odds := 0
	if c.mode == keepSubset {
		odds = c.odds()
	}
	size := int64(len(out))
	for _, p := range f.pending {
		switch {
		case p.data == nil:
			if c.keep(p.seq, odds) {
				out = p.onto(out)
				size = int64(len(out))
			}
		case c.mode == keepAll || c.mode == keepPrefix && p.seq < c.cut:
			out = p.onto(out)
		case c.mode == keepPrefix && p.seq > c.cut:
		default: // torn: some of its sectors
			out = b.torn(out, p, odds)
		}
		if p.data != nil {
			size = max(size, p.off+int64(len(p.data)))
		}
	}
	if c.mode == keepSubset && c.rng.IntN(3) == 0 && size > int64(len(out)) {
		out = resize(out, size) // the size arrived, the bytes did not
	}
	return out
}

// torn applies some sectors of a write.
func (b *builder) torn(out []byte, p change, odds int) []byte {
	c := b.choice
	if c.mode == keepPrefix {
		odds = c.odds()
	}
	end := p.off + int64(len(p.data))
	for at := p.off; at < end; {
		next := min(end, at/SectorSize*SectorSize+SectorSize)
		if c.rng.IntN(4) < odds {
			old := int64(len(out))
			out = change{off: at, data: p.data[at-p.off : next-p.off]}.onto(out)
			if c.recycled && at > old {
				b.recycle(out[old:at])
			}
		}
		at = next
	}
	return out
}

// recycle fills bytes with some that another file holds or held.
func (b *builder) recycle(hole []byte) {
	if b.choice.rng.IntN(2) == 0 {
		return
	}
	var best *inode
	for id := range b.from.next {
		if ino := b.from.inodes[id]; ino != nil && !ino.dir && len(ino.durable) > 0 && (best == nil || b.choice.rng.IntN(3) == 0) {
			best = ino
		}
	}
	if best != nil {
		copy(hole, best.durable)
	}
}
