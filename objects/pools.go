package objects

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"github.com/fxamacker/cbor/v2"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/placement"
)

// A PoolRecord is how a pool lies in the catalog: under KindPool, named by
// PoolName, as CBOR. It is written once and never changed.
type PoolRecord struct {
	Pool placement.Pool `cbor:"1,keyasint"`
	// Over is the drives that took writes when the pool was made, in order. A
	// narrower pool, made while drives were down, lists fewer than the topology.
	Over []hallig.DriveID `cbor:"2,keyasint"`
}

// PoolName is the record name of a pool; names sort as ids do.
func PoolName(id hallig.PoolID) string { return fmt.Sprintf("%08x", uint32(id)) }

// DecodePool reads a record of KindPool, or says ErrCorrupt.
func DecodePool(rec catalog.Record) (*PoolRecord, error) {
	p := &PoolRecord{}
	if err := cbor.Unmarshal(rec.Value, p); err != nil {
		return nil, fmt.Errorf("pool record %q: %w: %w", rec.Name, hallig.ErrCorrupt, err)
	}
	if err := p.Pool.Check(); err != nil || PoolName(p.Pool.ID) != rec.Name {
		return nil, fmt.Errorf("pool record %q: %w: %w", rec.Name, hallig.ErrCorrupt, err)
	}
	return p, nil
}

// Pools returns every pool, by ascending id.
func Pools(ctx context.Context, records catalog.Records) ([]*PoolRecord, error) {
	var pools []*PoolRecord
	for after := ""; ; {
		recs, err := records.Scan(ctx, catalog.KindPool, after, 1000)
		if err != nil {
			return nil, fmt.Errorf("read pools: %w", err)
		}
		if len(recs) == 0 {
			return pools, nil
		}
		for _, rec := range recs {
			p, err := DecodePool(rec)
			if err != nil {
				return nil, err
			}
			pools = append(pools, p)
		}
		after = recs[len(recs)-1].Name
	}
}

// EnsurePool returns the pool that writes under the promise and of the class
// go to, over the active drives of t; it makes and records one if the topology
// asks for a new one. Calls with equal arguments agree, on whichever node they
// are made. If the promise cannot be kept it returns a *placement.Refusal.
func EnsurePool(ctx context.Context, records catalog.Records, t *placement.Topology, survive hallig.Survive, class placement.Class) (*placement.Pool, error) {
	over := activeIDs(t)
	scheme, err := placement.Derive(t, survive, class)
	if err != nil {
		return nil, err
	}
	for range races {
		pools, err := Pools(ctx, records)
		if err != nil {
			return nil, err
		}
		var last hallig.PoolID
		var prev *placement.Pool
		shared := -1
		for _, p := range pools {
			last = max(last, p.Pool.ID)
			if p.Pool.Survive != survive || p.Pool.Class != class || p.Pool.Scheme != scheme {
				continue
			}
			if slices.Equal(p.Over, over) && p.Pool.Fits(t) {
				return &p.Pool, nil
			}
			// The table changes least from the pool that has most drives in common.
			n := 0
			for _, id := range p.Over {
				if slices.Contains(over, id) {
					n++
				}
			}
			if n >= shared {
				shared, prev = n, &p.Pool
			}
		}
		made, err := placement.NewPool(last+1, t, survive, class, prev)
		if err != nil {
			return nil, err
		}
		value, err := cbor.Marshal(PoolRecord{Pool: *made, Over: over})
		if err != nil {
			return nil, fmt.Errorf("encode pool %d: %w", made.ID, err)
		}
		err = records.Update(ctx, catalog.Change{Kind: catalog.KindPool, Name: PoolName(made.ID), Value: value})
		if err == nil {
			return made, nil
		}
		if !errors.Is(err, hallig.ErrConflict) {
			return nil, fmt.Errorf("record pool %d: %w", made.ID, err)
		}
	}
	return nil, fmt.Errorf("record a pool: too many at once: %w", hallig.ErrConflict)
}

func activeIDs(t *placement.Topology) []hallig.DriveID {
	var ids []hallig.DriveID
	for _, d := range t.Active() {
		ids = append(ids, d.ID)
	}
	return ids
}

// weaker lists the promises that a write falls back to, strongest first, when
// the drives that are left cannot keep the one that was made.
func weaker(s hallig.Survive) []hallig.Survive {
	switch s {
	case hallig.SurviveTwoProviders, hallig.SurviveProviderNode, hallig.SurviveProviderDrive:
		order := []hallig.Survive{hallig.SurviveTwoProviders, hallig.SurviveProviderNode, hallig.SurviveProviderDrive,
			hallig.SurviveProvider, hallig.SurviveTwoDrives, hallig.SurviveNode, hallig.SurviveDrive, hallig.SurviveNothing}
		return order[slices.Index(order, s)+1:]
	case hallig.SurviveProvider:
		return []hallig.Survive{hallig.SurviveSite, hallig.SurviveNode, hallig.SurviveDrive, hallig.SurviveNothing}
	case hallig.SurviveSite:
		return []hallig.Survive{hallig.SurviveNode, hallig.SurviveDrive, hallig.SurviveNothing}
	case hallig.SurviveNode, hallig.SurviveTwoDrives:
		return []hallig.Survive{hallig.SurviveDrive, hallig.SurviveNothing}
	case hallig.SurviveDrive:
		return []hallig.Survive{hallig.SurviveNothing}
	}
	return nil
}

// A poolBook caches pools: by id for reads, by what they are for for writes.
type poolBook struct {
	records catalog.Records
	log     *slog.Logger

	mu       sync.Mutex
	byID     map[hallig.PoolID]*placement.Pool
	chosen   map[poolUse]*placement.Pool
	topology *placement.Topology // that usual was computed of
	usual    hallig.Survive
}

type poolUse struct {
	survive  hallig.Survive
	class    placement.Class
	revision uint64
	snapshot *placement.Topology // a whole topology
	drives   string              // or the ids of the drives of a reduced one
	strict   bool                // no weaker promise will do
}

// maxChosen bounds the choices that are remembered.
const maxChosen = 256

func newPoolBook(records catalog.Records, log *slog.Logger) *poolBook {
	return &poolBook{records: records, log: log, byID: map[hallig.PoolID]*placement.Pool{}, chosen: map[poolUse]*placement.Pool{}}
}

// pool returns a pool by id.
func (b *poolBook) pool(ctx context.Context, id hallig.PoolID) (*placement.Pool, error) {
	b.mu.Lock()
	p := b.byID[id]
	b.mu.Unlock()
	if p != nil {
		return p, nil
	}
	rec, err := b.records.Get(ctx, catalog.KindPool, PoolName(id))
	if err != nil {
		return nil, fmt.Errorf("pool %d: %w", id, err)
	}
	decoded, err := DecodePool(rec)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.byID[id] = &decoded.Pool
	return &decoded.Pool, nil
}

// forWrite returns the pool over t that keeps the promise, or, if it may be
// weakened, the strongest weaker one that t can keep. reduced says that t is not the topology's own
// snapshot but made of the drives that can be written to.
func (b *poolBook) forWrite(ctx context.Context, t *placement.Topology, reduced bool, survive hallig.Survive, class placement.Class, weaken bool) (*placement.Pool, error) {
	use := poolUse{survive: survive, class: class, revision: t.Revision, strict: !weaken}
	if reduced {
		for _, d := range t.Active() {
			use.drives += string(d.ID[:])
		}
	} else {
		use.snapshot = t
	}
	b.mu.Lock()
	p := b.chosen[use]
	b.mu.Unlock()
	if p != nil {
		return p, nil
	}
	var refusal error
	promises := []hallig.Survive{survive}
	if weaken {
		promises = append(promises, weaker(survive)...)
	}
	for _, s := range promises {
		p, err := EnsurePool(ctx, b.records, t, s, class)
		if err == nil {
			if s != survive {
				b.log.Error("too few drives take writes to keep the promise: new data is held under a weaker one until drives are back",
					"survive", survive, "kept", s, "pool", p.ID)
			}
			b.mu.Lock()
			defer b.mu.Unlock()
			if len(b.chosen) >= maxChosen {
				clear(b.chosen)
			}
			b.chosen[use], b.byID[p.ID] = p, p
			return p, nil
		}
		var refused *placement.Refusal
		if !errors.As(err, &refused) {
			return nil, err
		}
		if refusal == nil {
			refusal = err
		}
	}
	return nil, fmt.Errorf("no drive can be written to: %w: %w", hallig.ErrUnavailable, refusal)
}

// standard is the promise of buckets that state none.
func (b *poolBook) standard(t *placement.Topology) hallig.Survive {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.topology != t {
		b.topology, b.usual = t, placement.Default(t)
	}
	return b.usual
}

// flush forgets what writes go to; pools themselves never change.
func (b *poolBook) flush() {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.chosen)
}
