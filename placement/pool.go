package placement

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/seal"
	"github.com/hallig-cloud/hallig/shard"
)

// StripeTarget is the plaintext that a full stripe of a derived pool holds at
// most, in bytes: what a request keeps in memory is a few of them.
const StripeTarget = 4 << 20

// A Pool is an immutable layout: a code, a stripe size, and a table of groups.
// A topology that needs another width gets a new pool; extents name theirs.
type Pool struct {
	ID       hallig.PoolID  `cbor:"1,keyasint" json:"id"`
	Class    Class          `cbor:"2,keyasint" json:"class"`
	Survive  hallig.Survive `cbor:"3,keyasint" json:"survive"` // the promise it was made for; "" for an explicit scheme
	Scheme   Scheme         `cbor:"4,keyasint" json:"scheme"`
	Segments int            `cbor:"5,keyasint" json:"segments"` // sealed segments per data shard of a full stripe
	Caps     Caps           `cbor:"6,keyasint" json:"caps"`
	// Groups is the table: each row names the drives of shards 0..K+M-1.
	Groups   [][]hallig.DriveID `cbor:"7,keyasint" json:"groups"`
	Topology uint64             `cbor:"8,keyasint" json:"topology"` // revision that the table was filled from
}

// NewPool derives the scheme for the promise and fills the table from the
// active drives of t. If prev has the same scheme and caps its table is changed
// in as few places as balance allows; otherwise it is ignored (it may be nil).
// It returns a *Refusal if the promise cannot be kept.
func NewPool(id hallig.PoolID, t *Topology, s hallig.Survive, c Class, prev *Pool) (*Pool, error) {
	scheme, caps, err := derive(t, s, c)
	if err != nil {
		return nil, fmt.Errorf("pool %d: %w", id, err)
	}
	p := &Pool{ID: id, Class: c, Survive: s, Scheme: scheme, Caps: caps}
	return p.build(t, prev)
}

// NewPoolScheme fills a pool with a scheme that the caller chose, up to
// seal.MaxWidth shards, spread over the domains as widely as they allow.
func NewPoolScheme(id hallig.PoolID, t *Topology, scheme Scheme, c Class, prev *Pool) (*Pool, error) {
	if scheme.K < 1 || scheme.M < 0 || scheme.Width() > seal.MaxWidth {
		return nil, fmt.Errorf("pool %d: scheme %d+%d: want 1 ≤ k, 0 ≤ m, k+m ≤ %d: %w", id, scheme.K, scheme.M, seal.MaxWidth, hallig.ErrInvalid)
	}
	active := t.Active()
	if scheme.Width() > len(active) {
		return nil, fmt.Errorf("pool %d: %d shards of %v need as many drives, there are %d: %w", id, scheme.Width(), scheme, len(active), hallig.ErrInvalid)
	}
	p := &Pool{ID: id, Class: c, Scheme: scheme, Caps: tightest(newTree(active), scheme.Width())}
	return p.build(t, prev)
}

func (p *Pool) build(t *Topology, prev *Pool) (*Pool, error) {
	p.Segments = min(shard.MaxLength/shard.BlockSize, max(1, StripeTarget/seal.SegmentSize/p.Scheme.K))
	p.Topology = t.Revision
	var table [][]hallig.DriveID
	if prev != nil && prev.Scheme == p.Scheme {
		table = prev.Groups
	}
	p.Groups = fill(p, t.Active(), table)
	return p, nil
}

// Fits reports whether the pool is still what NewPool would make of t: the same
// scheme and caps, so that its table needs at most substitutes.
func (p *Pool) Fits(t *Topology) bool {
	if p.Survive == "" {
		return p.Scheme.Width() <= len(t.Active())
	}
	scheme, caps, err := derive(t, p.Survive, p.Class)
	return err == nil && scheme == p.Scheme && caps == p.Caps
}

// Check reports whether the pool is well formed, with hallig.ErrInvalid if not:
// what was read from a record must pass it before it is used.
func (p *Pool) Check() error {
	width := p.Scheme.Width()
	if p.Scheme.K < 1 || p.Scheme.M < 0 || width > seal.MaxWidth || p.Segments < 1 ||
		p.Segments > shard.MaxLength/shard.BlockSize || len(p.Groups) == 0 {
		return fmt.Errorf("pool %d: scheme %d+%d, %d segments, %d groups: %w", p.ID, p.Scheme.K, p.Scheme.M, p.Segments, len(p.Groups), hallig.ErrInvalid)
	}
	for i, row := range p.Groups {
		if len(row) != width {
			return fmt.Errorf("pool %d: group %d has %d drives, want %d: %w", p.ID, i, len(row), width, hallig.ErrInvalid)
		}
	}
	return nil
}

// Group returns the group of a stripe: a hash, so that nobody has to be asked.
// It is the same for ever.
func (p *Pool) Group(data hallig.DataID, stripe uint32) int {
	h := mix(binary.BigEndian.Uint64(data[:8]))
	h = mix(h ^ binary.BigEndian.Uint64(data[8:]))
	h = mix(h ^ uint64(stripe))
	return int(h % uint64(len(p.Groups)))
}

// mix is the finalizer of splitmix64 (Steele, Lea, Flood: "Fast splittable
// pseudorandom number generators", 2014).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// Drives returns where the shards of a group belong under t, by index: the
// table's row, with substitutes for members that are lost, draining or no
// longer there. A substitute is chosen by rendezvous hashing, weighted, over
// the active drives outside the row that keep the caps; the zero ID stands
// where none is left.
func (p *Pool) Drives(t *Topology, group int) []hallig.DriveID {
	row := p.Groups[group]
	out := make([]hallig.DriveID, len(row))
	used := make(map[hallig.DriveID]bool, len(row))
	sum := newTally(p.Caps)
	gone := false
	for i, id := range row {
		used[id] = true
		if d, ok := t.Drive(id); ok && d.State == DriveActive {
			out[i] = id
			sum.add(domainsOf(d), 1)
			continue
		}
		gone = true
	}
	if !gone {
		return out
	}
	active := t.Active()
	for i := range out {
		if !out[i].IsZero() {
			continue
		}
		best, score := Drive{}, math.Inf(-1)
		for _, d := range active {
			if used[d.ID] || !sum.fits(domainsOf(d)) {
				continue
			}
			if s := rendezvous(p.ID, group, i, d); s > score {
				best, score = d, s
			}
		}
		if !best.ID.IsZero() {
			out[i] = best.ID
			used[best.ID] = true
			sum.add(domainsOf(best), 1)
		}
	}
	return out
}

// rendezvous scores a drive for a place in a group: the highest wins, and each
// drive wins in proportion to its weight (Schindelhauer and Schomaker,
// "Weighted distributed hash tables", 2005).
func rendezvous(pool hallig.PoolID, group, index int, d Drive) float64 {
	h := mix(uint64(pool)<<32 ^ uint64(uint32(group)))
	h = mix(h ^ uint64(index))
	h = mix(h ^ binary.BigEndian.Uint64(d.ID[:8]))
	h = mix(h ^ binary.BigEndian.Uint64(d.ID[8:]))
	u := (float64(h>>11) + 0.5) / (1 << 53) // in (0, 1)
	return -weight(d) / math.Log(u)
}

// Holders returns the drives on which shard index of a group may lie under t,
// likeliest first: where it belongs, and the table's own member if that is
// another one which can still be read (it is being drained).
func (p *Pool) Holders(t *Topology, group, index int) []hallig.DriveID {
	var out []hallig.DriveID
	if id := p.Drives(t, group)[index]; !id.IsZero() {
		out = append(out, id)
	}
	own := p.Groups[group][index]
	if d, ok := t.Drive(own); ok && d.State == DriveDraining {
		out = append(out, own)
	}
	return out
}

// StripeSize is the plaintext bytes of a full stripe.
func (p *Pool) StripeSize() int64 {
	return int64(p.Scheme.K) * int64(p.Segments) * seal.SegmentSize
}

// Loss is the most shards of one stripe that the promised loss can take. For an
// explicit scheme, whose promise is any M shards, it is M.
func (p *Pool) Loss() int {
	if p.Survive == "" {
		return p.Scheme.M
	}
	return p.Caps.loss(p.Survive)
}

// Ack is the fewest shards that must be on stable storage before a write is
// acknowledged: K + Loss, so that the promise holds from that moment.
func (p *Pool) Ack() int { return min(p.Scheme.Width(), p.Scheme.K+p.Loss()) }

// AckOf is Ack when only left drives of the group can be written to. A drive
// that is known to be down counts as lost already and the promise counts
// further losses; kept says whether those can still be lived through in full.
// If not, every drive that is left must have its shard; with fewer than K it is
// hallig.ErrUnavailable.
func (p *Pool) AckOf(left int) (need int, kept bool, err error) {
	if left < p.Scheme.K {
		return 0, false, fmt.Errorf("%d of %d drives of the group take writes, %v needs %d: %w", left, p.Scheme.Width(), p.Scheme, p.Scheme.K, hallig.ErrUnavailable)
	}
	return min(left, p.Ack()), left >= p.Ack(), nil
}
