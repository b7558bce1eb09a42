package upkeep

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/erasure"
	"github.com/hallig-cloud/hallig/placement"
	"github.com/hallig-cloud/hallig/seal"
	"github.com/hallig-cloud/hallig/shard"
)

// A relocation is an extent that was given another pool with the same stripes,
// and whose old copies are to go.
type relocation struct {
	extent    catalog.Extent // as it was
	from, to  *placement.Pool
	transfers []transfer
	due       time.Time
}

// maxRelocations bounds what is remembered of moves, in transfers. What does not
// fit is found by the comparison.
const maxRelocations = 200_000

// relocated remembers what was moved.
func (u *Upkeep) relocated(gone []relocation) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.moved++
	if u.doubtful {
		return
	}
	for _, x := range gone {
		if _, known := u.lives[x.extent.Data]; known {
			u.lives[x.extent.Data] = x.to.ID
		}
		if u.pending+len(x.transfers) > maxRelocations {
			continue
		}
		x.due = u.config.Now().Add(u.config.Grace)
		u.pending += len(x.transfers)
		u.relocations = append(u.relocations, x)
		u.lives[x.extent.Data] = x.to.ID
	}
}

// holdPlaces keeps others from moving shards and from deleting old copies, until
// releasePlaces. It is held for as long as one version is copied.
func (u *Upkeep) holdPlaces(ctx context.Context) error {
	select {
	case u.places <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (u *Upkeep) releasePlaces() { <-u.places }

// doubt notes that a move may have been committed or not. Nothing is trimmed any
// more in this life of the process: the next one knows.
func (u *Upkeep) doubt() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.doubtful = true
	u.relocations, u.pending = nil, 0
	clear(u.lives)
}

// moves counts the moves of this life.
func (u *Upkeep) moves() int64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.moved
}

// poolNow returns the pool in which a data id is, if it was moved lately: what
// a reader reports that began before may name the old one.
func (u *Upkeep) poolNow(data hallig.DataID, pool hallig.PoolID) hallig.PoolID {
	u.mu.Lock()
	defer u.mu.Unlock()
	if now, ok := u.lives[data]; ok {
		return now
	}
	return pool
}

// trim deletes the old copies of what was moved longer than a grace ago. While a
// version is being moved it does nothing: the rebalancing calls it in between.
func (u *Upkeep) trim(ctx context.Context) error {
	select {
	case u.places <- struct{}{}:
		defer u.releasePlaces()
	default:
		return nil
	}
	for {
		u.mu.Lock()
		if len(u.relocations) == 0 || u.relocations[0].due.After(u.config.Now()) {
			u.mu.Unlock()
			return nil
		}
		x := u.relocations[0]
		u.relocations = u.relocations[1:]
		u.pending -= len(x.transfers)
		u.mu.Unlock()
		err := u.trimOne(ctx, &x)
		u.mu.Lock()
		if u.lives[x.extent.Data] == x.to.ID {
			delete(u.lives, x.extent.Data)
		}
		u.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

// trimOne deletes the old copies of one extent, those that are redundant. The
// places are held.
func (u *Upkeep) trimOne(ctx context.Context, x *relocation) error {
	pool, err := u.pool(ctx, u.poolNow(x.extent.Data, x.to.ID)) // it may have been moved again
	if err != nil {
		return err
	}
	r := newRows(u.config.Drives.Topology())
	doomed := map[hallig.DriveID][]shard.ID{}
	for _, y := range x.transfers {
		id := shard.ID{Data: y.stripe.Data, Stripe: y.stripe.Number, Generation: y.stripe.Generation, Index: uint16(y.index)}
		ok, err := u.redundant(ctx, r, pool, id, y.from)
		if err != nil {
			return err
		}
		if ok {
			doomed[y.from] = append(doomed[y.from], id)
		}
	}
	for drive, ids := range doomed {
		if err := u.drop(ctx, drive, ids); err != nil {
			return err
		}
	}
	return nil
}

// drop deletes redundant copies from a drive. One that fails is left to the
// comparison.
func (u *Upkeep) drop(ctx context.Context, drive hallig.DriveID, ids []shard.ID) error {
	store := u.readable(drive)
	if store == nil || len(ids) == 0 {
		return nil
	}
	if err := u.config.Yield(ctx); err != nil {
		return err
	}
	if err := store.Delete(ctx, ids...); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		u.config.Logger.Warn("copies that were moved could not be deleted; it will be tried again", "drive", drive, "err", err)
	}
	return nil
}

// redundant reports whether a copy of a shard may go: it does not belong on the
// drive, it was written for another pool than the one that its stripe is in now,
// and every shard of the stripe is where it belongs, on a drive that is there,
// the one that takes its place read back just now. The places are held.
func (u *Upkeep) redundant(ctx context.Context, r *rows, pool *placement.Pool, id shard.ID, drive hallig.DriveID) (bool, error) {
	row := r.row(pool, pool.Group(id.Data, id.Stripe))
	store := u.readable(drive)
	if store == nil || int(id.Index) >= len(row) || row[id.Index] == drive {
		return false, nil
	}
	own, err := store.Stat(ctx, id)
	if err != nil || own.Pool == pool.ID {
		return false, ignore(err)
	}
	layout, err := erasure.NewLayout(pool.Scheme.K, pool.Scheme.M, int64(own.Stripe))
	if err != nil {
		return false, nil //nolint:nilerr // its header is not to be trusted: it stays
	}
	for i, on := range row {
		if layout.ShardLength(i) == 0 {
			continue
		}
		there := u.readable(on)
		if there == nil {
			return false, nil
		}
		x := id
		x.Index = uint16(i)
		h, err := there.Stat(ctx, x)
		if err != nil || !bytes.Equal(h.Vouch, own.Vouch) || seal.StripeOf(h) != seal.StripeOf(own) {
			return false, ignore(err)
		}
	}
	if err := u.take(ctx, u.bytes, int64(own.Length)); err != nil {
		return false, err
	}
	there := u.readable(row[id.Index])
	if there == nil {
		return false, nil
	}
	err = there.Verify(ctx, id)
	return err == nil, ignore(err)
}

// ignore drops a drive's error, which is a reason to leave things alone, but not
// the end of the context.
func ignore(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// discardOld is what must never be done: the negative control of the order.
func (u *Upkeep) discardOld(ctx context.Context, gone []relocation) {
	for _, x := range gone {
		for _, y := range x.transfers {
			if store := u.readable(y.from); store != nil {
				_ = store.Delete(ctx, shard.ID{Data: y.stripe.Data, Stripe: y.stripe.Number, Generation: y.stripe.Generation, Index: uint16(y.index)})
			}
		}
	}
}

// leftover notes a shard of live data on a drive where it does not belong. What
// a rebalancing left there that was cut short is trimmed; the rest stays.
func (o *orphans) leftover(i shard.Info, spans []span, at int) error {
	for ; at < len(spans) && spans[at].data == i.ID.Data; at++ {
		if s := spans[at]; s.generation == i.ID.Generation && i.ID.Stripe >= s.first && i.ID.Stripe-s.first < s.count {
			o.left = append(o.left, leftover{i.ID, s.pool})
			break
		}
	}
	if len(o.left) >= orphanBatch {
		return errPause
	}
	return nil
}

type leftover struct {
	id   shard.ID
	pool hallig.PoolID
}

// trim deletes leftovers, unless shards are being moved now: what the comparison
// has read of the catalog may be old then.
func (o *orphans) trim(ctx context.Context) error {
	left := o.left
	o.left = nil
	if len(left) == 0 {
		return nil
	}
	select {
	case o.u.places <- struct{}{}:
		defer o.u.releasePlaces()
	default:
		return nil
	}
	o.u.mu.Lock()
	stale := o.u.moved != o.moved || len(o.u.relocations) > 0 || o.u.doubtful
	o.u.mu.Unlock()
	if stale || o.u.config.Drives.Topology() != o.rows.t {
		return nil
	}
	var doomed []shard.ID
	for _, x := range left {
		pool, err := o.u.pool(ctx, x.pool)
		if err != nil {
			return err
		}
		ok, err := o.u.redundant(ctx, o.rows, pool, x.id, o.drive)
		if err != nil {
			return err
		}
		if ok {
			doomed = append(doomed, x.id)
		}
	}
	if len(doomed) == 0 {
		return nil
	}
	o.c.Trimmed += int64(len(doomed))
	o.u.config.Logger.Info("copies that an interrupted rebalancing left were deleted", "drive", o.drive, "shards", len(doomed))
	if err := o.u.drop(ctx, o.drive, doomed); err != nil {
		return fmt.Errorf("delete leftovers on drive %s: %w", o.drive, err)
	}
	return nil
}
