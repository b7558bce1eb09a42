package vfstest

import (
	"slices"
	"strings"
	"syscall"
)

type opKind uint8

const (
	opNothing opKind = iota
	opWrite
	opTruncate // to off
	opSync
	opCreate // name in directory ino, as inode arg
	opMkdir
	opLink
	opRemove
	opRename // name in ino to name2 in ino2
	opSyncDir
	opLoseSync // a sync that failed: what was pending is never written
)

// op is one change or sync, in a form that can be replayed on a copy.
type op struct {
	kind        opKind
	ino, ino2   uint64
	name, name2 string
	off         int64
	data        []byte
	arg         uint64
}

// state is a tree of inodes: how it is, and how much of that is durable.
type state struct {
	live   bool // keep inode.cur
	root   *inode
	inodes map[uint64]*inode
	next   uint64   // the last inode id given out
	seq    uint64   // operations applied
	dirs   []*dirOp // directory changes not yet durable, in order
}

// inode is a file or a directory.
type inode struct {
	id    uint64
	dir   bool
	links int

	// A file: cur is what readers see, durable what a crash keeps at least,
	// pending the changes since. The slices are changed in place only if owned.
	cur, durable       []byte
	curOwned, durOwned bool
	pending            []change

	// A directory.
	entries, durEntries map[string]*inode
}

// change is a write of data at off, or a truncation to off (data nil).
type change struct {
	seq  uint64
	off  int64
	data []byte
}

type dirOp struct {
	seq         uint64
	kind        opKind
	dir, dir2   *inode
	name, name2 string
	ino         *inode
}

func newState(live bool) *state {
	root := &inode{id: 1, dir: true, links: 1, entries: map[string]*inode{}, durEntries: map[string]*inode{}}
	return &state{live: live, root: root, next: 1, inodes: map[uint64]*inode{1: root}}
}

func (s *state) lookup(name string) (*inode, error) {
	at := s.root
	for name != "" {
		var base string
		base, name, _ = strings.Cut(name, "/")
		switch base {
		case "", ".":
			continue
		case "..":
			return nil, syscall.EINVAL // tests name files plainly
		}
		if !at.dir {
			return nil, syscall.ENOTDIR
		}
		if at = at.entries[base]; at == nil {
			return nil, syscall.ENOENT
		}
	}
	return at, nil
}

func (s *state) apply(o op) {
	s.seq++
	ino := s.inodes[o.ino]
	switch o.kind {
	case opWrite, opTruncate:
		c := change{seq: s.seq, off: o.off, data: o.data}
		ino.pending = append(ino.pending, c)
		if s.live {
			ino.own()
			ino.cur = c.onto(ino.cur)
		}
	case opSync:
		if !ino.durOwned && len(ino.pending) > 0 {
			ino.durable, ino.durOwned = slices.Clone(ino.durable), true
		}
		for _, c := range ino.pending {
			ino.durable = c.onto(ino.durable)
		}
		ino.pending = nil
	case opLoseSync:
		ino.pending = nil
	case opCreate, opMkdir, opLink, opRemove, opRename:
		s.applyDir(o, ino)
	case opSyncDir:
		s.syncDir(ino)
	}
}

func (s *state) applyDir(o op, dir *inode) {
	d := &dirOp{seq: s.seq, kind: o.kind, dir: dir, name: o.name, name2: o.name2, dir2: s.inodes[o.ino2]}
	switch o.kind {
	case opCreate, opMkdir:
		d.ino = &inode{id: o.arg, dir: o.kind == opMkdir, curOwned: true, durOwned: true}
		if d.ino.dir {
			d.ino.entries, d.ino.durEntries = map[string]*inode{}, map[string]*inode{}
		}
		s.inodes[o.arg] = d.ino
	case opLink:
		d.ino = s.inodes[o.arg]
	case opRemove, opRename:
		d.ino = dir.entries[o.name]
	}
	d.count()
	d.onto(func(dir *inode) map[string]*inode { return dir.entries })
	s.dirs = append(s.dirs, d)
}

// count keeps the number of current names of each inode.
func (d *dirOp) count() {
	switch d.kind {
	case opRemove:
		d.ino.links--
	case opRename:
		if old := d.dir2.entries[d.name2]; old != nil {
			old.links--
		}
	default:
		d.ino.links++
	}
}

// onto makes the change in one view of the directories.
func (d *dirOp) onto(entries func(*inode) map[string]*inode) {
	e := entries(d.dir)
	switch d.kind {
	case opRemove:
		if e[d.name] == d.ino {
			delete(e, d.name)
		}
	case opRename:
		if e[d.name] == d.ino {
			delete(e, d.name)
		}
		entries(d.dir2)[d.name2] = d.ino
	default:
		e[d.name] = d.ino
	}
}

// syncDir makes all changes that touch a directory durable. A rename between
// two directories becomes durable as a whole.
func (s *state) syncDir(dir *inode) {
	rest := s.dirs[:0]
	for _, d := range s.dirs {
		if d.dir != dir && d.dir2 != dir {
			rest = append(rest, d)
			continue
		}
		d.onto(func(dir *inode) map[string]*inode { return dir.durEntries })
	}
	clear(s.dirs[len(rest):])
	s.dirs = rest
}

// own makes cur safe to change in place.
func (ino *inode) own() {
	if !ino.curOwned {
		ino.cur, ino.curOwned = slices.Clone(ino.cur), true
	}
}

// onto applies a change to contents that may be changed in place.
func (c change) onto(b []byte) []byte {
	if c.data == nil {
		return resize(b, c.off)
	}
	if end := c.off + int64(len(c.data)); end > int64(len(b)) {
		b = resize(b, end)
	}
	copy(b[c.off:], c.data)
	return b
}

// resize cuts or zero-extends b.
func resize(b []byte, size int64) []byte {
	old := int64(len(b))
	if size <= old {
		return b[:size]
	}
	b = slices.Grow(b, int(size-old))[:size]
	clear(b[old:])
	return b
}
