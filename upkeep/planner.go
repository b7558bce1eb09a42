package upkeep

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/objects"
	"github.com/hallig-cloud/hallig/placement"
)

// A planner decides where versions and parts belong, under one topology at a time.
type planner struct {
	u       *Upkeep
	t       *placement.Topology
	buckets map[hallig.BucketID]objects.Bucket
	fits    map[fitting]*placement.Pool
	evens   map[fitting]*placement.Pool
	rows    *rows
}

// look takes up the topology as it is now; what was worked out under another
// one is forgotten.
func (p *planner) look() {
	if t := p.u.config.Drives.Topology(); t != p.t {
		p.t, p.fits, p.evens, p.rows = t, map[fitting]*placement.Pool{}, map[fitting]*placement.Pool{}, newRows(t)
	}
}

// takes reports whether the drives that the holder's new stripes need are
// there now: as many of each row as a write must reach. It is cheap, and spares
// a try that would write most shards and take them back.
func (p *planner) takes(h *holder, to []*placement.Pool) bool {
	for i, pool := range to {
		if pool == nil {
			continue
		}
		e := &h.extents()[i]
		for n := int64(0); n*pool.StripeSize() < e.Length; n++ {
			there := 0
			for _, id := range p.rows.row(pool, pool.Group(e.Data, e.First+uint32(n))) {
				if p.u.readable(id) != nil {
					there++
				}
			}
			if there < pool.Ack() {
				return false
			}
		}
	}
	return true
}

type fitting struct {
	pool     hallig.PoolID
	survive  hallig.Survive
	explicit bool // somebody stated the promise; else it follows from the drives
}

func (p *planner) readBuckets(ctx context.Context) error {
	p.buckets = map[hallig.BucketID]objects.Bucket{}
	return p.u.eachBucket(ctx, func(b objects.Bucket) error {
		p.buckets[b.ID] = b
		return nil
	})
}

// eachBucket calls f for every bucket.
func (u *Upkeep) eachBucket(ctx context.Context, f func(objects.Bucket) error) error {
	for after := ""; ; {
		page, err := u.config.Buckets.Buckets(ctx, after, 1000)
		if err != nil {
			return fmt.Errorf("list the buckets: %w", err)
		}
		if len(page) == 0 {
			return nil
		}
		for _, b := range page {
			if err := f(b); err != nil {
				return err
			}
		}
		after = page[len(page)-1].Name
	}
}

// promise returns what a bucket's data must survive, and whether somebody said
// so.
func (p *planner) promise(b *objects.Bucket) (survive hallig.Survive, explicit bool) {
	if survive = cmp.Or(b.Survive, p.u.config.Survive); survive != "" {
		return survive, true
	}
	return placement.Default(p.t), false
}

// plan returns for each extent of the holder the pool that it should move to,
// nil where it may stay; nil if all may.
func (p *planner) plan(ctx context.Context, h *holder) ([]*placement.Pool, error) {
	b, ok := p.buckets[h.bucket()]
	if !ok {
		return nil, nil
	}
	survive, explicit := p.promise(&b)
	extents := h.extents()
	var out []*placement.Pool
	for i := range extents {
		e := &extents[i]
		to, err := p.better(ctx, e, survive, explicit)
		if err != nil {
			return nil, err
		}
		if to != nil && e.First == 0 {
			if out == nil {
				out = make([]*placement.Pool, len(extents))
			}
			out[i] = to
		}
	}
	return out, nil
}

// better returns the pool that an extent should move to, or nil.
func (p *planner) better(ctx context.Context, e *catalog.Extent, survive hallig.Survive, explicit bool) (*placement.Pool, error) {
	p.u.mu.Lock()
	forced := p.u.forced[e.Data]
	p.u.mu.Unlock()
	key := fitting{e.Pool, survive, explicit}
	to, known := p.fits[key]
	if !known || forced {
		from, err := p.u.pool(ctx, e.Pool)
		if err != nil {
			return nil, err
		}
		to, err = objects.EnsurePool(ctx, p.u.config.Catalog, p.t, survive, from.Class)
		var refusal *placement.Refusal
		if errors.As(err, &refusal) {
			// The promise cannot be kept now: the strongest default can.
			to, err = objects.EnsurePool(ctx, p.u.config.Catalog, p.t, placement.Default(p.t), from.Class)
		}
		if errors.As(err, &refusal) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		if !forced {
			if !p.worthMoving(from, to, explicit) {
				to = nil
			}
			p.fits[key] = to
		}
	}
	return to, nil
}

// worthMoving reports whether data should move from one pool to another that
// the present promise asks for: because it must (the old pool does not keep the
// promise, or lacks drives for some shards), or because the new one stores less.
// What follows only from drives that were lost never makes data less safe than
// it is.
func (p *planner) worthMoving(from, to *placement.Pool, explicit bool) bool {
	if to.Scheme == from.Scheme && from.Survives(p.t, to.Survive) {
		return false
	}
	if !from.Survives(p.t, to.Survive) || p.holes(from) && !p.holes(to) {
		return true
	}
	return to.Scheme.Overhead() < from.Scheme.Overhead() && (explicit || to.Survives(p.t, from.Survive))
}

// holes reports whether some shard of the pool has no drive.
func (p *planner) holes(pool *placement.Pool) bool {
	for g := range pool.Groups {
		if slices.ContainsFunc(pool.Drives(p.t, g), hallig.DriveID.IsZero) {
			return true
		}
	}
	return false
}

// short reports whether some extent that should move lies in a pool that does
// not keep the promise of the one it should move to.
func (p *planner) short(ctx context.Context, h *holder, to []*placement.Pool) (bool, error) {
	for i, pool := range to {
		if pool == nil {
			continue
		}
		from, err := p.u.pool(ctx, h.extents()[i].Pool)
		if err != nil {
			return false, err
		}
		if !from.Survives(p.t, pool.Survive) {
			return true, nil
		}
	}
	return false, nil
}
