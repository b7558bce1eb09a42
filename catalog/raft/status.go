package raft

import (
	"maps"
	"slices"
	"strings"
)

// A Status describes the catalog now.
type Status struct {
	Set        MirrorSet
	Mirrors    []MirrorStatus
	Partitions []PartitionStatus
	Blind      bool  // no keys: nothing is served
	Full       bool  // writes that add something are refused
	Filled     int64 // rows that rebuilds of opened indexes have written since the start
	Skipped    int64 // rows that cannot be opened: damaged, and not listed
}

// A MirrorStatus describes one directory.
type MirrorStatus struct {
	Dir     string
	Current bool   // holds everything that was acknowledged
	Step    string // of its rebuild, while it is rebuilt
	Reason  string // why it is not current
	Bytes   int64  // on the drive, of a current one
}

// A PartitionStatus describes one partition's replica.
type PartitionStatus struct {
	ID       uint16
	State    string // Leader, Follower, Candidate, Shutdown
	Serving  bool
	Applied  uint64 // log entry
	Last     uint64 // log entry
	Counter  uint64 // operations applied since the partition was made
	Opened   uint64 // operations that a current mirror's opened index shows
	Snapshot uint64 // log entry up to which the log may be truncated
	Reason   string // why it has stopped
}

// Status returns the catalog's status without waiting for anything.
func (n *Catalog) Status() Status {
	s := Status{Full: n.full.Load(), Filled: n.opener.filled.Load(), Skipped: n.opener.skipped.Load()}
	_, err := n.opener.keys()
	s.Blind = err != nil
	members := n.set.list()
	n.set.mu.Lock()
	s.Set.Epoch = n.set.epoch
	lost := maps.Clone(n.set.lost)
	n.set.mu.Unlock()
	n.statMu.Lock()
	joining := maps.Clone(n.joining)
	n.statMu.Unlock()
	for _, m := range members {
		s.Set.Members, s.Set.Dirs = append(s.Set.Members, m.id), append(s.Set.Dirs, m.dir)
		delete(lost, m.dir)
		delete(joining, m.dir)
		if !m.ok() {
			s.Mirrors = append(s.Mirrors, MirrorStatus{Dir: m.dir, Reason: m.cause.Error()})
			continue
		}
		ms := MirrorStatus{Dir: m.dir, Current: true}
		m.use.RLock()
		if m.ok() {
			ms.Bytes = int64(m.log.Metrics().DiskSpaceUsage() + m.state.Metrics().DiskSpaceUsage() + m.opened.Metrics().DiskSpaceUsage())
		}
		m.use.RUnlock()
		s.Mirrors = append(s.Mirrors, ms)
	}
	for dir, step := range joining {
		ms := MirrorStatus{Dir: dir, Step: step}
		if err := lost[dir]; err != nil {
			ms.Reason = err.Error()
			delete(lost, dir)
		}
		s.Mirrors = append(s.Mirrors, ms)
	}
	for dir, err := range lost {
		s.Mirrors = append(s.Mirrors, MirrorStatus{Dir: dir, Reason: err.Error()})
	}
	slices.SortFunc(s.Mirrors, func(a, b MirrorStatus) int { return strings.Compare(a.Dir, b.Dir) })
	for _, p := range n.partitions {
		s.Partitions = append(s.Partitions, p.status(members))
	}
	return s
}

func (p *partition) status(members []*mirror) PartitionStatus {
	ps := PartitionStatus{ID: p.id, Serving: p.serving.Load(), Applied: p.applied.Load(), Counter: p.counter.Load()}
	if p.raft != nil {
		ps.State, ps.Last = p.raft.State().String(), p.raft.LastIndex()
	}
	for _, m := range members {
		if seq, ok := p.node.opener.at(m, p); ok {
			ps.Opened = max(ps.Opened, seq)
		}
	}
	if r, err := (&snapshots{p}).row(); err == nil && r != nil {
		ps.Snapshot = r.Index
	}
	if err := p.broken(); err != nil {
		ps.Reason = err.Error()
	}
	return ps
}
