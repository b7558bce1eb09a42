package upkeep

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/erasure"
	"github.com/hallig-cloud/hallig/placement"
	"github.com/hallig-cloud/hallig/seal"
	"github.com/hallig-cloud/hallig/shard"
)

// repairs takes stripes from the queue until ctx is done.
func (u *Upkeep) repairs(ctx context.Context) error {
	work := u.work(taskRepair, "stripes", hallig.DriveID{})
	for {
		it := u.queue.next(ctx)
		if it == nil {
			return nil
		}
		work.edit(func(t *Task) {
			if t.State != TaskRunning {
				t.Done, t.State = 0, TaskRunning
				work.started, work.base = u.config.Now(), 0
			}
		})
		u.repairOne(ctx, work, it)
		if u.queue.length() == 0 && (u.queue.overflowed() || u.Settled() < u.config.Drives.Topology().Revision) {
			u.kick(taskCompare)
		}
	}
}

// repairOne repairs a stripe that was taken from the queue, and returns it.
func (u *Upkeep) repairOne(ctx context.Context, work *work, it *item) {
	n, err := u.repair(ctx, it)
	as := item{stripeID: it.stripeID, pool: it.pool, tries: it.tries} // it may be another worker's once it is back
	u.queue.done(it, err == nil)
	u.repaired(ctx, work, &as, n, err)
}

func (u *Upkeep) repaired(ctx context.Context, work *work, it *item, n int, err error) {
	if ctx.Err() != nil {
		return
	}
	log := u.config.Logger.With("stripe", fmt.Sprintf("%s/%d.%d", it.Data, it.Number, it.Generation))
	switch {
	case errors.Is(err, hallig.ErrLost):
		log.Error("too few good shards are left to rebuild the stripe; it is tried again in case drives come back", "err", err)
	case errors.Is(err, hallig.ErrUnavailable):
		log.Debug("a repair waits for a drive", "err", err) // the drive's state says it loudly enough
	case err != nil:
		log.Warn("a repair is not complete; it will be tried again", "err", err)
	case n > 0:
		log.Info("shards were rebuilt", "shards", n, "pool", it.pool)
	}
	work.edit(func(t *Task) {
		t.Err = err
		t.Fixed += int64(n)
		if err != nil {
			if it.tries == 0 {
				t.Failed++
			}
		} else {
			t.Done++
		}
		if u.queue.length() == 0 {
			t.State, t.Last = TaskWaiting, u.config.Now()
		}
	})
}

// A piece is one shard that was read in full.
type piece struct {
	index  int
	header shard.Header
	body   []byte
}

// A mending is the repair of one stripe.
type mending struct {
	u      *Upkeep
	it     *item
	pool   *placement.Pool
	t      *placement.Topology
	group  int
	row    []hallig.DriveID // where the shards belong
	pieces map[int]piece    // good ones, which agree on the stripe's vouch
	others map[string]map[int]piece
	hashes []seal.Hash
	layout erasure.Layout
	bad    map[int]bool // suspects that turned out to be wrong where they are
	errs   []error
}

// repair puts every shard of the stripe where it belongs and returns how many
// it had to write. nil means that nothing more can be done here: the stripe is
// whole, or gone from the catalog, or lacks only shards for which no drive is
// left.
func (u *Upkeep) repair(ctx context.Context, it *item) (int, error) {
	if it.pool == 0 {
		pool, err := u.findPool(ctx, it.stripeID)
		if err != nil {
			return 0, err
		}
		if pool == 0 {
			return 0, u.gone(ctx, it, fmt.Errorf("no shard of it is left: %w", hallig.ErrLost))
		}
		it.pool = pool
	}
	it.pool = u.poolNow(it.Data, it.pool)
	pool, err := u.pool(ctx, it.pool)
	if err != nil {
		return 0, err
	}
	m := u.mendingOf(u.config.Drives.Topology(), it.stripeID, pool, nil)
	m.it = it
	want, waiting, err := m.missing(ctx)
	if err != nil {
		return 0, err
	}
	if len(want) == 0 {
		return 0, waiting
	}
	if err := m.gather(ctx, want); err != nil {
		return 0, u.gone(ctx, it, err)
	}
	n, err := m.write(ctx, want)
	if err != nil {
		return n, u.gone(ctx, it, err)
	}
	return n, waiting
}

// gone turns a failure into a success when the catalog no longer refers to the
// data: then there is nothing to repair.
func (u *Upkeep) gone(ctx context.Context, it *item, err error) error {
	refs, rerr := u.config.Catalog.Referenced(ctx, []hallig.DataID{it.Data})
	if rerr == nil && len(refs) == 1 && !refs[0] {
		return nil
	}
	return err
}

// missing lists the shards that are not, or not right, where they belong.
// waiting is not nil when some of them belong on a drive that cannot take them
// now.
func (m *mending) missing(ctx context.Context) (want []int, waiting, err error) {
	for i, id := range m.row {
		if id.IsZero() {
			continue // no drive is left for it: another pool's business
		}
		drive := m.u.readable(id)
		if drive == nil {
			waiting = fmt.Errorf("drive %s, where shard %d belongs, is away: %w", id, i, hallig.ErrUnavailable)
			continue
		}
		_, err := drive.Stat(ctx, m.shard(i))
		if err == nil && m.it.taken[i] {
			err = drive.Verify(ctx, m.shard(i))
			if err == nil && m.wrong(ctx, i, drive) {
				err = fmt.Errorf("shard %d on drive %s is not what was written, though its checksums are right: %w", i, id, hallig.ErrCorrupt)
				m.bad[i] = true
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, hallig.ErrNotFound), errors.Is(err, hallig.ErrCorrupt):
			if drive.Status().State != shard.StateOnline {
				waiting = fmt.Errorf("drive %s, where shard %d belongs, takes no writes (%s): %w", id, i, drive.Status().State, hallig.ErrUnavailable)
				continue
			}
			want = append(want, i)
		case ctx.Err() != nil:
			return nil, nil, ctx.Err()
		default:
			waiting = fmt.Errorf("stat shard %d on drive %s: %w", i, id, err)
		}
	}
	return want, waiting, nil
}

// wrong reports whether a shard differs from what its own header vouches for.
func (m *mending) wrong(ctx context.Context, i int, drive shard.Store) bool {
	_, err := m.read(ctx, i, drive)
	return errors.Is(err, hallig.ErrCorrupt)
}

func (m *mending) shard(i int) shard.ID {
	return shard.ID{Data: m.it.Data, Stripe: m.it.Number, Generation: m.it.Generation, Index: uint16(i)}
}

// holders are the drives where shard i may be found, likeliest first, and in
// the end all.
func (m *mending) holders(i int) []hallig.DriveID {
	ids := append([]hallig.DriveID{m.row[i]}, m.pool.Holders(m.t, m.group, i)...)
	ids = append(ids, m.pool.Groups[m.group][i])
	for _, d := range m.t.Drives {
		ids = append(ids, d.ID)
	}
	var out []hallig.DriveID
	for _, id := range ids {
		if !id.IsZero() && !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	return out
}

// gather reads shards until K of them agree, or every wanted one was found
// somewhere.
func (m *mending) gather(ctx context.Context, want []int) error {
	order := slices.Clone(want)
	for i := range m.row {
		if !slices.Contains(order, i) {
			order = append(order, i)
		}
	}
	for _, i := range order {
		for _, id := range m.holders(i) {
			drive := m.u.readable(id)
			if drive == nil || m.bad[i] && id == m.row[i] {
				continue
			}
			p, err := m.read(ctx, i, drive)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				if !errors.Is(err, hallig.ErrNotFound) {
					m.errs = append(m.errs, fmt.Errorf("read shard %d from drive %s: %w", i, id, err))
				}
				continue
			}
			if m.take(p) {
				return nil
			}
			break
		}
	}
	return fmt.Errorf("%d of %v shards of the stripe are left: %w: %w", m.most(), m.pool.Scheme, hallig.ErrLost, errors.Join(m.errs...))
}

func (m *mending) most() int {
	n := 0
	for _, g := range m.others {
		n = max(n, len(g))
	}
	return n
}

// read reads one shard in full and holds it against the vouch in its header.
func (m *mending) read(ctx context.Context, i int, drive shard.Store) (piece, error) {
	h, err := drive.Stat(ctx, m.shard(i))
	if err != nil {
		return piece{}, err
	}
	if err := m.u.take(ctx, m.u.bytes, int64(h.Length)); err != nil {
		return piece{}, err
	}
	h, body, err := drive.Get(ctx, m.shard(i), 0, -1, make([]byte, 0, h.Length))
	if err != nil {
		return piece{}, err
	}
	if m.u.config.noVerify {
		return piece{i, h, body}, nil
	}
	hashes, err := seal.VouchHashes(seal.StripeOf(h), h.Vouch)
	if err != nil {
		return piece{}, err
	}
	layout, err := erasure.NewLayout(int(h.K), int(h.M), int64(h.Stripe))
	if err != nil || h.ID != m.shard(i) || int(h.K) != m.pool.Scheme.K || int(h.M) != m.pool.Scheme.M || layout.ShardLength(i) != int64(len(body)) {
		return piece{}, fmt.Errorf("its header does not fit the stripe: %w", hallig.ErrCorrupt)
	}
	if seal.HashShard(body) != hashes[min(i, len(hashes)-1)] {
		return piece{}, fmt.Errorf("it is not what was written: %w", hallig.ErrCorrupt)
	}
	return piece{i, h, body}, nil
}

// take sorts a shard to those that carry the same vouch, and reports whether
// there are K of them now, counting those that are empty.
func (m *mending) take(p piece) bool {
	key := string(p.header.Vouch)
	if m.u.config.noVerify {
		key = ""
	}
	if m.others[key] == nil {
		m.others[key] = map[int]piece{}
	}
	m.others[key][p.index] = p
	layout, err := erasure.NewLayout(int(p.header.K), int(p.header.M), int64(p.header.Stripe))
	if err != nil {
		return false
	}
	have := len(m.others[key])
	for i := range layout.K {
		if layout.ShardLength(i) == 0 {
			have++
		}
	}
	if have < layout.K {
		return false
	}
	m.pieces, m.layout = m.others[key], layout
	m.hashes, err = seal.VouchHashes(seal.StripeOf(p.header), p.header.Vouch)
	return err == nil || m.u.config.noVerify
}

// write rebuilds the wanted shards and puts them where they belong.
func (m *mending) write(ctx context.Context, want []int) (int, error) {
	lengths := m.layout.Lengths()
	shards := make([][]byte, m.layout.Width())
	var header shard.Header
	for i, p := range m.pieces {
		shards[i], header = p.body, p.header
	}
	want = slices.DeleteFunc(slices.Clone(want), func(i int) bool { return lengths[i] == 0 })
	code, err := m.u.codes.Get(m.layout.K, m.layout.M)
	if err != nil {
		return 0, err
	}
	if err := code.Reconstruct(shards, lengths, want); err != nil {
		return 0, err
	}
	n := 0
	var errs []error
	for _, i := range want {
		if !m.u.config.noVerify && seal.HashShard(shards[i]) != m.hashes[min(i, len(m.hashes)-1)] {
			errs = append(errs, fmt.Errorf("rebuilt shard %d is not what was written: %w", i, hallig.ErrCorrupt))
			continue
		}
		if err := m.put(ctx, header, i, shards[i]); err != nil {
			errs = append(errs, err)
			continue
		}
		n++
	}
	return n, errors.Join(errs...)
}

func (m *mending) put(ctx context.Context, h shard.Header, i int, body []byte) error {
	h.ID, h.Pool, h.Length = m.shard(i), m.pool.ID, uint32(len(body))
	drive := m.u.readable(m.row[i])
	if drive == nil {
		return fmt.Errorf("put shard %d: drive %s: %w", i, m.row[i], hallig.ErrUnavailable)
	}
	if err := m.u.take(ctx, m.u.bytes, int64(len(body))); err != nil {
		return err
	}
	err := drive.Put(ctx, h, body)
	if errors.Is(err, hallig.ErrExists) || errors.Is(err, hallig.ErrStale) {
		if m.u.elsewhere(ctx, m.it.stripeID, m.pool.ID) {
			return nil // moved meanwhile: whoever reported it had read the catalog before
		}
		// The place is taken by wrong bytes with right checksums, or was deleted
		// once: this id can never be right there. A new generation can.
		m.u.force(m.it.Data)
	}
	if err != nil {
		return fmt.Errorf("put shard %d on drive %s: %w", i, m.row[i], err)
	}
	return nil
}

// RepairWaiting works off what is queued now and returns when nothing is left
// but what failed and waits to be tried again. Run does this by itself; it is
// for callers that do not Run.
func (u *Upkeep) RepairWaiting(ctx context.Context) error {
	work := u.work(taskRepair, "stripes", hallig.DriveID{})
	for {
		u.queue.mu.Lock()
		due := len(u.queue.heap) > 0 && !u.queue.heap[0].due.After(u.config.Now())
		u.queue.mu.Unlock()
		if !due {
			return u.queue.idle(ctx)
		}
		it := u.queue.next(ctx)
		if it == nil {
			return ctx.Err()
		}
		u.repairOne(ctx, work, it)
	}
}
