package objects

import (
	"cmp"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/placement"
	"github.com/hallig-cloud/hallig/shard"
)

// A fleet is the drives with what was learned of them: which ones failed a
// write lately, which ones kept a read waiting. Both are kept away from for a
// while.
type fleet struct {
	drives  Drives
	node    hallig.NodeID
	failing suspects
	lagging suspects
}

func newFleet(c *Config) *fleet {
	f := &fleet{drives: c.Drives, node: c.Node}
	f.failing.init(c)
	f.lagging.init(c)
	return f
}

// suspects are drives that are kept away from until a time; the span doubles
// with every fault in a row.
type suspects struct {
	span time.Duration
	now  func() time.Time
	any  atomic.Bool // false: none, without a look at the map

	mu sync.Mutex
	of map[hallig.DriveID]*suspect
}

type suspect struct {
	until time.Time
	span  time.Duration
}

// maxAvoid bounds the span as a multiple of the first one.
const maxAvoid = 32

func (s *suspects) init(c *Config) {
	s.span, s.now, s.of = c.Avoid, c.Now, map[hallig.DriveID]*suspect{}
}

// blame notes a fault.
func (s *suspects) blame(id hallig.DriveID) {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.of[id]
	if x == nil {
		x = &suspect{}
		s.of[id] = x
		s.any.Store(true)
	}
	if now.Before(x.until) {
		return // one outage, noticed by many
	}
	x.span = min(max(2*x.span, s.span), maxAvoid*s.span)
	x.until = now.Add(x.span)
}

// absolve notes that the drive did well after its time was over.
func (s *suspects) absolve(id hallig.DriveID) {
	if !s.any.Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if x := s.of[id]; x != nil && !s.now().Before(x.until) {
		delete(s.of, id)
		s.any.Store(len(s.of) > 0)
	}
}

func (s *suspects) holds(id hallig.DriveID) bool {
	if !s.any.Load() {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.of[id]
	return x != nil && s.now().Before(x.until)
}

// writable reports whether a write to the drive is worth a try.
func (f *fleet) writable(id hallig.DriveID) bool {
	d := f.drives.Drive(id)
	return d != nil && d.Status().State == shard.StateOnline && !f.failing.holds(id)
}

// full counts the active drives that are full.
func (f *fleet) full(t *placement.Topology) int {
	n := 0
	for _, x := range t.Drives {
		if d := f.drives.Drive(x.ID); d != nil && x.State == placement.DriveActive && d.Status().State == shard.StateFull {
			n++
		}
	}
	return n
}

// readable reports whether reads of the drive are likely to succeed.
func (f *fleet) readable(id hallig.DriveID) bool {
	d := f.drives.Drive(id)
	if d == nil {
		return false
	}
	switch d.Status().State {
	case shard.StateOnline, shard.StateFull, shard.StateReadOnly:
		return true
	}
	return false
}

// usable returns the topology reduced to the active drives that take writes
// now and are not excluded; t itself when that is all of them.
func (f *fleet) usable(t *placement.Topology, exclude map[hallig.DriveID]bool) *placement.Topology {
	whole := true
	for _, d := range t.Drives {
		if d.State == placement.DriveActive && (exclude[d.ID] || !f.writable(d.ID)) {
			whole = false
		}
	}
	if whole {
		return t
	}
	out := &placement.Topology{Revision: t.Revision}
	for _, d := range t.Drives {
		if d.State != placement.DriveActive || !exclude[d.ID] && f.writable(d.ID) {
			out.Drives = append(out.Drives, d)
		}
	}
	return out
}

// distance says how far a drive is: 0 same node, 1 same site, 2 same provider,
// 3 elsewhere; 4 and more when a read is unlikely to succeed.
func (f *fleet) distance(t *placement.Topology, id hallig.DriveID) int {
	n := 3
	d, ok := t.Drive(id)
	if ok && !f.node.IsZero() {
		for _, own := range t.Drives {
			if own.Node != f.node {
				continue
			}
			switch {
			case d.Node == own.Node:
				n = 0
			case d.Provider == own.Provider && d.Site == own.Site:
				n = min(n, 1)
			case d.Provider == own.Provider:
				n = min(n, 2)
			}
		}
	}
	if !f.readable(id) {
		n += 8
	} else if f.lagging.holds(id) {
		n += 4
	}
	return n
}

// order sorts shard indexes by how near the drives are that should hold them;
// equals keep their order.
func (f *fleet) order(t *placement.Topology, row []hallig.DriveID) []int {
	out := make([]int, len(row))
	far := make([]int, len(row))
	for i, id := range row {
		out[i], far[i] = i, f.distance(t, id)
	}
	slices.SortStableFunc(out, func(a, b int) int { return cmp.Compare(far[a], far[b]) })
	return out
}

// ownFault reports whether err says something of the drive rather than of the
// shard or the request.
func ownFault(err error) bool {
	return errors.Is(err, hallig.ErrUnavailable) || errors.Is(err, hallig.ErrFull) ||
		errors.Is(err, hallig.ErrReadOnly) || errors.Is(err, hallig.ErrForeign)
}
