package upkeep

import (
	"context"
	"fmt"
	"math"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/erasure"
	"github.com/hallig-cloud/hallig/placement"
)

// fills are how many bytes of shards belong on each active drive, worked out
// from the catalog and not asked of the drives: garbage, and what compaction has
// not freed yet, would make what was moved away look as if it were still there.
type fills struct {
	bytes  map[hallig.DriveID]float64
	weight map[hallig.DriveID]float64
}

func newFills(t *placement.Topology) *fills {
	f := &fills{bytes: map[hallig.DriveID]float64{}, weight: map[hallig.DriveID]float64{}}
	for _, d := range t.Active() {
		f.weight[d.ID] = float64(max(1, d.Weight))
	}
	return f
}

// of is a drive's fill: bytes for each byte of its capacity.
func (f *fills) of(id hallig.DriveID) float64 {
	if f.weight[id] == 0 {
		return 0
	}
	return f.bytes[id] / f.weight[id]
}

// spread is how far the drive that is farthest from it is off the mean fill, as
// a share of the mean.
func (f *fills) spread() float64 {
	bytes, weight := 0.0, 0.0
	for id, w := range f.weight {
		bytes, weight = bytes+f.bytes[id], weight+w
	}
	if bytes == 0 {
		return 0
	}
	mean, most := bytes/weight, 0.0
	for id := range f.weight {
		most = max(most, math.Abs(f.of(id)-mean))
	}
	return most / mean
}

// A transfer is a shard that changes its place.
type transfer struct {
	stripe   stripeID
	index    int
	from, to hallig.DriveID
	length   int64
}

// places calls f for each shard of an extent that has bytes: its index, its
// length and the drive where it belongs in the pool given.
func (r *rows) places(e *catalog.Extent, pool *placement.Pool, f func(stripe uint32, index int, length int64, drive hallig.DriveID)) error {
	s := span{e.Data, e.First, e.Count, e.Length, e.Pool, e.Generation}
	var full, last []int
	var sealedFull int64
	for n, sealed := range stripesOf(s, pool) {
		lengths := full
		if full == nil || sealed != sealedFull {
			layout, err := erasure.NewLayout(pool.Scheme.K, pool.Scheme.M, sealed)
			if err != nil {
				return fmt.Errorf("stripe %d of data %s: %w", n, e.Data, err)
			}
			last = layout.Lengths()
			lengths = last
			if full == nil {
				full, sealedFull = last, sealed
			}
		}
		for i, id := range r.row(pool, pool.Group(e.Data, n)) {
			if lengths[i] > 0 {
				f(n, i, int64(lengths[i]), id)
			}
		}
	}
	return nil
}

// add counts an extent as it is placed in a pool.
func (f *fills) add(r *rows, e *catalog.Extent, pool *placement.Pool) error {
	return r.places(e, pool, func(_ uint32, _ int, length int64, drive hallig.DriveID) {
		f.bytes[drive] += float64(length)
	})
}

// transfers lists what moving an extent from one pool to another moves. The
// pools have the same scheme and stripe size.
func (r *rows) transfers(e *catalog.Extent, from, to *placement.Pool) ([]transfer, error) {
	var out []transfer
	err := r.places(e, from, func(n uint32, i int, length int64, drive hallig.DriveID) {
		if there := r.row(to, to.Group(e.Data, n))[i]; there != drive {
			out = append(out, transfer{stripeID{e.Data, n, e.Generation}, i, drive, there, length})
		}
	})
	return out, err
}

// gain is how much more even the drives are for the transfers: bytes, weighted
// with how much fuller the drive is that they leave.
func (f *fills) gain(ts []transfer) float64 {
	g := 0.0
	for _, x := range ts {
		g += float64(x.length) * (f.of(x.from) - f.of(x.to))
	}
	return g
}

func (f *fills) move(ts []transfer) {
	for _, x := range ts {
		f.bytes[x.from] -= float64(x.length)
		f.bytes[x.to] += float64(x.length)
	}
}

// level returns for each extent of the holder the pool that has the same stripes
// on more evenly filled drives: the one that new data goes to. nil where there
// is none; nil if there is none at all, or if the holder is to be re-encoded.
func (p *planner) level(ctx context.Context, h *holder) ([]*placement.Pool, error) {
	b, ok := p.buckets[h.bucket()]
	if !ok {
		return nil, nil
	}
	survive, explicit := p.promise(&b)
	extents := h.extents()
	var out []*placement.Pool
	for i := range extents {
		better, err := p.better(ctx, &extents[i], survive, explicit)
		if err != nil || better != nil {
			return nil, err
		}
		to, err := p.even(ctx, &extents[i], survive, explicit)
		if err != nil {
			return nil, err
		}
		if to != nil {
			if out == nil {
				out = make([]*placement.Pool, len(extents))
			}
			out[i] = to
		}
	}
	return out, nil
}

// even returns the pool that an extent may move to shard by shard, or nil.
func (p *planner) even(ctx context.Context, e *catalog.Extent, survive hallig.Survive, explicit bool) (*placement.Pool, error) {
	key := fitting{e.Pool, survive, explicit}
	if to, known := p.evens[key]; known {
		return to, nil
	}
	from, err := p.u.pool(ctx, e.Pool)
	if err != nil {
		return nil, err
	}
	to, err := p.u.poolFor(ctx, p.t, survive, from.Class)
	if err != nil {
		return nil, err
	}
	if to != nil && (to.ID == from.ID || to.Scheme != from.Scheme || to.Segments != from.Segments || p.holes(to) ||
		from.Survives(p.t, from.Survive) && !to.Survives(p.t, from.Survive)) {
		to = nil
	}
	p.evens[key] = to
	return to, nil
}
