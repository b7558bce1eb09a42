package placement

import (
	"fmt"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/seal"
)

// Class is the size class of what a pool holds.
type Class uint8

// The size classes.
const (
	Small Class = iota // copies, so that a GET needs one local read
	Large              // coded where the topology allows it, else copies
)

// String names the class.
func (c Class) String() string {
	if c == Small {
		return "small"
	}
	return "large"
}

// A Scheme is a code: K data and M parity shards. K = 1 is M+1 copies.
type Scheme struct {
	K int `cbor:"1,keyasint" json:"k"`
	M int `cbor:"2,keyasint" json:"m"`
}

// Width is the number of shards of a stripe.
func (s Scheme) Width() int { return s.K + s.M }

// Overhead is the bytes stored for each byte of data.
func (s Scheme) Overhead() float64 { return float64(s.K+s.M) / float64(s.K) }

// String writes "4+2", or "3 copies".
func (s Scheme) String() string {
	switch {
	case s.K == 1 && s.M == 0:
		return "1 copy"
	case s.K == 1:
		return fmt.Sprintf("%d copies", s.M+1)
	}
	return fmt.Sprintf("%d+%d", s.K, s.M)
}

// Bounds of what Derive chooses.
const (
	maxData        = 10 // data shards: beyond 10+2 a wider stripe saves little and costs every read more drives
	codedFrom      = 4  // drives: with fewer, everything is copies
	perDomain      = 2  // shards of a coded stripe in one provider (site, node) under a promise about those, with 3 or more of them
	perDomainOfTwo = 3  // the same, with two of them
)

// Default is the promise that a mesh makes when nobody chose: one drive keeps
// nothing, two or three keep any one drive, more keep any two; from three
// providers on, any one provider and one more drive.
func Default(t *Topology) hallig.Survive {
	active := t.Active()
	root := newTree(active)
	switch {
	case root.count(1) >= 3:
		return hallig.SurviveProviderDrive
	case len(active) <= 1:
		return hallig.SurviveNothing
	case len(active) < codedFrom:
		return hallig.SurviveDrive
	}
	return hallig.SurviveTwoDrives
}

// Derive returns the cheapest scheme that keeps the promise on the active
// drives of t, or a *Refusal.
//
// Cheapest means the least overhead; of equals the widest, which lives through
// more single failures. Under "provider+…" promises with four or more providers
// the parity covers any two providers: it stays within 2×, and the loss of two
// providers dominates what can be lost at all (docs/decisions/0005).
func Derive(t *Topology, s hallig.Survive, c Class) (Scheme, error) {
	scheme, _, err := derive(t, s, c)
	return scheme, err
}

func derive(t *Topology, s hallig.Survive, c Class) (Scheme, Caps, error) {
	if !s.Valid() {
		return Scheme{}, Caps{}, fmt.Errorf("survive %q: %w", string(s), hallig.ErrInvalid)
	}
	drives := t.Active()
	root := newTree(drives)
	best, caps, found := Scheme{}, Caps{}, false
	for width := 1; width <= min(len(drives), seal.MaxWidth); width++ {
		limit, m := parity(root, s, width)
		k := width - m
		if k < 1 || k > maxData || k > 1 && !mayCode(root, s, c, limit) {
			continue
		}
		if c == Small || len(drives) < codedFrom || s == hallig.SurviveNothing {
			if k != 1 {
				continue
			}
			if found {
				break // the fewest copies that keep the promise
			}
		}
		x := Scheme{K: k, M: m}
		if !found || x.K*best.Width() >= best.K*x.Width() {
			best, caps, found = x, limit, true
		}
	}
	if !found {
		return Scheme{}, Caps{}, refuse(root, s, c)
	}
	return best, caps, nil
}

// mayCode bounds how many shards a domain may hold of a coded stripe.
func mayCode(root *tree, s hallig.Survive, c Class, limit Caps) bool {
	if c == Small {
		return false
	}
	per := func(level, n int) bool {
		if root.count(level) >= 3 {
			return n <= perDomain
		}
		return n <= perDomainOfTwo
	}
	switch s {
	case hallig.SurviveNode:
		return per(3, limit.Node)
	case hallig.SurviveSite:
		return per(2, limit.Site)
	case hallig.SurviveProvider, hallig.SurviveProviderDrive, hallig.SurviveProviderNode, hallig.SurviveTwoProviders:
		return per(1, limit.Provider)
	}
	return true
}

// parity returns the tightest caps that a stripe of the width can keep, widest
// domain first, and the parity that the promise then needs.
func parity(root *tree, s hallig.Survive, width int) (Caps, int) {
	caps := tightest(root, width)
	m := caps.loss(s)
	if root.count(1) >= 4 && (s == hallig.SurviveProviderDrive || s == hallig.SurviveProviderNode) {
		m = max(m, 2*caps.Provider)
	}
	return caps, m
}

// tightest returns the least caps, decided for the widest domain first, under
// which width shards still fit. 0 stands where even no cap makes them fit.
func tightest(root *tree, width int) Caps {
	var c Caps
	for _, field := range []*int{&c.Provider, &c.Site, &c.Node} {
		for *field = 1; *field < width && root.capacity(c) < width; *field++ {
		}
	}
	return c
}

// loss is the most shards of one stripe that the promised loss takes under the
// caps.
func (c Caps) loss(s hallig.Survive) int {
	switch s {
	case hallig.SurviveDrive:
		return 1
	case hallig.SurviveTwoDrives:
		return 2
	case hallig.SurviveNode:
		return c.Node
	case hallig.SurviveSite:
		return c.Site
	case hallig.SurviveProvider:
		return c.Provider
	case hallig.SurviveProviderDrive:
		return c.Provider + 1
	case hallig.SurviveProviderNode:
		return c.Provider + c.Node
	case hallig.SurviveTwoProviders:
		return 2 * c.Provider
	}
	return 0
}

// A Refusal says that a topology cannot keep a promise, and why. It wraps
// hallig.ErrInvalid.
type Refusal struct {
	Survive   hallig.Survive
	Class     Class
	Providers int // with an active drive
	Sites     int
	Nodes     int
	Drives    int
	Reason    string // the arithmetic, one sentence, with what to do
}

// Error writes the arithmetic.
func (r *Refusal) Error() string {
	return fmt.Sprintf("cannot promise to survive %q with %s, %s, %s and %s: %s", string(r.Survive),
		plural(r.Providers, "provider"), plural(r.Sites, "site"), plural(r.Nodes, "node"), plural(r.Drives, "active drive"), r.Reason)
}

// Unwrap returns hallig.ErrInvalid.
func (r *Refusal) Unwrap() error { return hallig.ErrInvalid }

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func refuse(root *tree, s hallig.Survive, c Class) error {
	r := &Refusal{Survive: s, Class: c, Providers: root.count(1), Sites: root.count(2), Nodes: root.count(3), Drives: len(root.drives)}
	if r.Drives == 0 {
		r.Reason = "there is no drive to write to"
		return r
	}
	width := min(r.Drives, seal.MaxWidth)
	caps, _ := parity(root, s, width)
	lost := min(width, caps.loss(s))
	r.Reason = fmt.Sprintf("of %s spread as widely as they can be, the promised loss can take %d and leaves %d, and at least 1 must be left; %s",
		plural(width, "copy"), lost, width-lost, remedy(s))
	return r
}

func remedy(s hallig.Survive) string {
	switch s {
	case hallig.SurviveDrive:
		return "it takes 2 drives"
	case hallig.SurviveTwoDrives:
		return "it takes 3 drives"
	case hallig.SurviveNode:
		return "it takes 2 nodes with a drive each"
	case hallig.SurviveSite:
		return "it takes 2 sites with a drive each"
	case hallig.SurviveProvider:
		return "it takes 2 providers with a drive each"
	case hallig.SurviveProviderDrive:
		return "it takes 3 providers with a drive each, or 2 with two drives each"
	case hallig.SurviveProviderNode:
		return "it takes 3 providers with a node each, or 2 with two nodes each"
	case hallig.SurviveTwoProviders:
		return "it takes 3 providers with a drive each"
	}
	return "add drives"
}
