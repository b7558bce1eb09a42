// Package placement decides which drives hold which shards: pure functions
// over an immutable snapshot of the topology. From a survive policy it derives
// the cheapest code that keeps the promise, or refuses with the arithmetic; it
// fills a pool's table of groups, balanced by the drives' weights and with as
// few moves as possible when the topology changes; and it says how many shards
// must be on stable storage before a write may be acknowledged.
//
// See docs/decisions/0005-placement.md.
package placement

import (
	"cmp"
	"slices"

	"github.com/hallig-cloud/hallig"
)

// DriveState is what the mesh has decided about a drive. (What a drive can do
// just now is shard.State.)
type DriveState string

// The states of a drive in the topology.
const (
	DriveActive   DriveState = "active"
	DriveDraining DriveState = "draining" // is read, takes no writes, is to be emptied
	DriveLost     DriveState = "lost"     // declared gone for good; its shards are rebuilt elsewhere
)

// A Drive is one directory on its own disk, as the topology knows it.
type Drive struct {
	ID       hallig.DriveID `cbor:"1,keyasint" json:"id"`
	Node     hallig.NodeID  `cbor:"2,keyasint" json:"node"`
	Provider string         `cbor:"3,keyasint" json:"provider"`
	Site     string         `cbor:"4,keyasint" json:"site"`   // names are the provider's own
	Weight   int64          `cbor:"5,keyasint" json:"weight"` // share of the data: its capacity in bytes; ≤ 0 counts as 1
	State    DriveState     `cbor:"6,keyasint" json:"state"`
}

// A Topology is one snapshot of the mesh's drives and nodes. It is never changed
// once it is shared; a change makes a new one with a greater Revision.
//
// Nodes is empty in the topology of a single node that has never met another:
// whatever is derived from the drives needs no nodes.
type Topology struct {
	Revision uint64  `cbor:"1,keyasint" json:"revision"`
	Drives   []Drive `cbor:"2,keyasint" json:"drives"`
	Nodes    []Node  `cbor:"3,keyasint,omitempty" json:"nodes,omitempty"`
}

// Drive returns the drive with the given ID.
func (t *Topology) Drive(id hallig.DriveID) (Drive, bool) {
	for _, d := range t.Drives {
		if d.ID == id {
			return d, true
		}
	}
	return Drive{}, false
}

// Active returns the drives that take writes, ordered by ID.
func (t *Topology) Active() []Drive {
	var out []Drive
	for _, d := range t.Drives {
		if d.State == DriveActive {
			out = append(out, d)
		}
	}
	slices.SortFunc(out, func(a, b Drive) int { return compareID(a.ID, b.ID) })
	return out
}

func compareID(a, b hallig.ID) int {
	for i := range a {
		if c := cmp.Compare(a[i], b[i]); c != 0 {
			return c
		}
	}
	return 0
}

func weight(d Drive) float64 { return float64(max(1, d.Weight)) }

// domains are the names of the failure domains that a drive is in, widest
// first. A site is named within its provider; nodes have identities of their own.
type domains struct {
	provider string
	site     [2]string
	node     hallig.NodeID
}

func domainsOf(d Drive) domains {
	return domains{provider: d.Provider, site: [2]string{d.Provider, d.Site}, node: d.Node}
}

// Caps bound how many shards of one stripe a failure domain may hold. 0 is no
// bound. (One drive never holds two.)
type Caps struct {
	Provider int `cbor:"1,keyasint" json:"provider"`
	Site     int `cbor:"2,keyasint" json:"site"`
	Node     int `cbor:"3,keyasint" json:"node"`
}

// tally counts a stripe's shards by failure domain.
type tally struct {
	caps     Caps
	provider map[string]int
	site     map[[2]string]int
	node     map[hallig.NodeID]int
}

func newTally(c Caps) *tally {
	return &tally{caps: c, provider: map[string]int{}, site: map[[2]string]int{}, node: map[hallig.NodeID]int{}}
}

func (t *tally) add(d domains, n int) {
	t.provider[d.provider] += n
	t.site[d.site] += n
	t.node[d.node] += n
}

// fits reports whether one shard more in d keeps the caps.
func (t *tally) fits(d domains) bool {
	return under(t.provider[d.provider], t.caps.Provider) &&
		under(t.site[d.site], t.caps.Site) &&
		under(t.node[d.node], t.caps.Node)
}

func under(n, limit int) bool { return limit <= 0 || n < limit }

// A tree groups drives by provider, site and node, for the arithmetic of caps.
type tree struct {
	name     string // for refusals
	drives   []Drive
	children []*tree // nil for a drive
	weight   float64
	level    int // 0 mesh, 1 provider, 2 site, 3 node, 4 drive
}

func newTree(drives []Drive) *tree { return grow(drives, 0, "") }

func grow(drives []Drive, level int, name string) *tree {
	t := &tree{name: name, drives: drives, level: level}
	for _, d := range drives {
		t.weight += weight(d)
	}
	if level == 4 {
		return t
	}
	var order []string
	by := map[string][]Drive{}
	for _, d := range drives {
		key := d.Provider
		switch level {
		case 1:
			key = d.Site
		case 2:
			key = d.Node.String()
		case 3:
			key = d.ID.String()
		}
		if _, ok := by[key]; !ok {
			order = append(order, key)
		}
		by[key] = append(by[key], d)
	}
	slices.Sort(order)
	for _, key := range order {
		t.children = append(t.children, grow(by[key], level+1, key))
	}
	return t
}

// capacity is the most shards of one stripe that the subtree may hold.
func (t *tree) capacity(c Caps) int {
	if t.level == 4 {
		return 1
	}
	n := 0
	for _, child := range t.children {
		n += child.capacity(c)
	}
	for level, limit := range map[int]int{1: c.Provider, 2: c.Site, 3: c.Node} {
		if t.level == level && limit > 0 {
			n = min(n, limit)
		}
	}
	return n
}

// count is the number of domains at a level.
func (t *tree) count(level int) int {
	if t.level == level {
		return 1
	}
	n := 0
	for _, child := range t.children {
		n += child.count(level)
	}
	return n
}
