package upkeep

import (
	"context"
	"errors"
	"fmt"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/erasure"
	"github.com/hallig-cloud/hallig/placement"
	"github.com/hallig-cloud/hallig/shard"
)

// findPool learns a stripe's pool from the shards of it that are left. Shards
// that were moved to another pool of the same stripes name that one, and others
// still the one before: it is the pool in which the stripe is whole, or lacks
// least. It is 0 if no shard is left.
func (u *Upkeep) findPool(ctx context.Context, id stripeID) (hallig.PoolID, error) {
	pools, away, err := u.poolsOf(ctx, id)
	if err != nil {
		return 0, err
	}
	if len(pools) == 0 && away {
		return 0, fmt.Errorf("find the pool of a stripe: drives are away: %w", hallig.ErrUnavailable)
	}
	best, least := hallig.PoolID(0), 0
	for pool := range pools {
		n, err := u.lacks(ctx, id, pool)
		if err != nil {
			return 0, err
		}
		if best == 0 || n < least || n == least && pool > best {
			best, least = pool, n
		}
	}
	return best, ctx.Err()
}

// poolsOf returns the pools that a stripe's shards name. away says that some
// drive could not be asked.
func (u *Upkeep) poolsOf(ctx context.Context, id stripeID) (pools map[hallig.PoolID]bool, away bool, err error) {
	first := shard.ID{Data: id.Data, Stripe: id.Number, Generation: id.Generation}
	stop := errors.New("stop")
	pools = map[hallig.PoolID]bool{}
	for _, d := range u.config.Drives.Topology().Drives {
		store := u.readable(d.ID)
		if store == nil {
			away = away || d.State != placement.DriveLost
			continue
		}
		look := func(x shard.ID) {
			if h, err := store.Stat(ctx, x); err == nil {
				pools[h.Pool] = true
			}
		}
		look(first)
		var found []shard.ID
		err := store.Walk(ctx, first, func(i shard.Info) error {
			if stripeOf(i.ID) != id {
				return stop
			}
			found = append(found, i.ID)
			return nil
		})
		if err != nil && !errors.Is(err, stop) {
			away = true
		}
		for _, x := range found {
			look(x)
		}
	}
	return pools, away, ctx.Err()
}

// lacks counts the shards of a stripe that are not where they belong in a pool.
func (u *Upkeep) lacks(ctx context.Context, id stripeID, pool hallig.PoolID) (int, error) {
	p, err := u.pool(ctx, pool)
	if err != nil {
		return 0, err
	}
	m := u.mendingOf(u.config.Drives.Topology(), id, p, nil)
	var layout *erasure.Layout
	n := 0
	for i := range m.row {
		drive := u.readable(m.row[i])
		if drive == nil {
			n++
			continue
		}
		h, err := drive.Stat(ctx, m.shard(i))
		if err != nil {
			n++
			continue
		}
		if l, err := erasure.NewLayout(int(h.K), int(h.M), int64(h.Stripe)); err == nil && layout == nil {
			layout = &l
		}
	}
	for i := range m.row {
		if layout != nil && i < layout.Width() && layout.ShardLength(i) == 0 {
			n--
		}
	}
	return n, ctx.Err()
}

// elsewhere reports whether a stripe is whole in another pool than the one given,
// which some shard of it names.
func (u *Upkeep) elsewhere(ctx context.Context, id stripeID, pool hallig.PoolID) bool {
	pools, _, err := u.poolsOf(ctx, id)
	if err != nil {
		return false
	}
	for other := range pools {
		if other == pool {
			continue
		}
		if n, err := u.lacks(ctx, id, other); err == nil && n == 0 {
			return true
		}
	}
	return false
}
