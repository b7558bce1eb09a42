package upkeep

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/erasure"
	"github.com/hallig-cloud/hallig/placement"
	"github.com/hallig-cloud/hallig/seal"
	"github.com/hallig-cloud/hallig/shard"
)

// A recoder reads the sealed segments of one extent in order and writes them as
// stripes of another pool. It holds one stripe of each.
type recoder struct {
	u       *Upkeep
	from    *placement.Pool
	old     *catalog.Extent
	body    *seal.Body
	to      *placement.Pool
	next    *catalog.Extent
	buffer  []byte // sealed bytes not yet written
	plain   []byte // scratch
	segment uint64 // of the next sealed segment to be checked
	total   uint64 // segments of the extent
	stripe  uint32 // next one to be written
}

// recode copies an extent into another pool.
func (u *Upkeep) recode(ctx context.Context, old, next *catalog.Extent, to *placement.Pool, bucket hallig.BucketID, key seal.DataKey) error {
	from, err := u.pool(ctx, old.Pool)
	if err != nil {
		return err
	}
	body, err := seal.NewBody(key, u.config.Mesh, bucket, old.Data)
	if err != nil {
		return err
	}
	r := &recoder{u: u, from: from, old: old, body: body, to: to, next: next,
		total: uint64((old.Length + seal.SegmentSize - 1) / seal.SegmentSize)}
	full := int(to.StripeSize() / seal.SegmentSize * seal.SealedSegment)
	for n := range old.Count {
		sealed, err := r.read(ctx, n)
		if err != nil {
			return fmt.Errorf("read stripe %d of data %s: %w", old.First+n, old.Data, err)
		}
		r.buffer = append(r.buffer, sealed...)
		for len(r.buffer) >= full {
			if err := r.write(ctx, r.buffer[:full]); err != nil {
				return err
			}
			r.buffer = append(r.buffer[:0], r.buffer[full:]...)
		}
	}
	if len(r.buffer) > 0 {
		if err := r.write(ctx, r.buffer); err != nil {
			return err
		}
	}
	if r.stripe != next.Count || r.segment != r.total {
		return fmt.Errorf("data %s has %d segments in %d stripes, want %d in %d: %w", old.Data, r.segment, r.stripe, r.total, next.Count, hallig.ErrCorrupt)
	}
	return nil
}

// read returns the sealed bytes of one stripe, each segment of which opens.
func (r *recoder) read(ctx context.Context, n uint32) ([]byte, error) {
	id := stripeID{r.old.Data, r.old.First + n, r.old.Generation}
	t := r.u.config.Drives.Topology()
	group := r.from.Group(id.Data, id.Number)
	m := &mending{u: r.u, it: &item{stripeID: id, pool: r.from.ID}, pool: r.from, t: t, group: group, row: r.from.Drives(t, group),
		pieces: map[int]piece{}, others: map[string]map[int]piece{}, bad: map[int]bool{}}
	if err := m.gather(ctx, nil); err != nil {
		return nil, err
	}
	lengths := m.layout.Lengths()
	shards := make([][]byte, m.layout.Width())
	var header shard.Header
	for i, p := range m.pieces {
		shards[i], header = p.body, p.header
	}
	if _, err := r.body.CheckVouch(seal.StripeOf(header), header.Vouch); err != nil {
		return nil, err
	}
	code, err := r.u.codes.Get(m.layout.K, m.layout.M)
	if err != nil {
		return nil, err
	}
	data := make([]int, m.layout.K)
	for i := range data {
		data[i] = i
	}
	if err := code.Reconstruct(shards, lengths, data); err != nil {
		return nil, err
	}
	var out []byte
	for i := range data {
		out = append(out, shards[i]...)
	}
	return out, r.check(out)
}

// check opens every segment: what does not open is never written anew.
func (r *recoder) check(sealed []byte) error {
	for len(sealed) > 0 {
		n := min(len(sealed), seal.SealedSegment)
		plain, err := r.body.Open(r.plain[:0], sealed[:n], r.segment, r.old.Last && r.segment == r.total-1)
		if err != nil {
			return err
		}
		r.plain, sealed = plain, sealed[n:]
		r.segment++
	}
	return nil
}

// write codes and stores one stripe; enough of its shards are on stable storage
// when it returns, the rest are queued.
func (r *recoder) write(ctx context.Context, sealed []byte) error {
	k, m := r.to.Scheme.K, r.to.Scheme.M
	layout, err := erasure.NewLayout(k, m, int64(len(sealed)))
	if err != nil {
		return err
	}
	data, err := layout.Split(sealed)
	if err != nil {
		return err
	}
	parity := make([][]byte, m)
	for i := range parity {
		parity[i] = make([]byte, layout.ShardLength(k+i))
	}
	code, err := r.u.codes.Get(k, m)
	if err != nil {
		return err
	}
	if err := code.Encode(data, parity); err != nil {
		return err
	}
	shards := append(data, parity...)
	h := shard.Header{ID: shard.ID{Data: r.next.Data, Stripe: r.next.First + r.stripe, Generation: r.next.Generation},
		Session: r.u.config.Session, Pool: r.to.ID, K: uint16(k), M: uint16(m), Stripe: uint32(len(sealed))}
	hashes := make([]seal.Hash, seal.StripeOf(h).Hashes())
	for i := range hashes {
		hashes[i] = seal.HashShard(shards[i])
	}
	if h.Vouch, err = r.body.Vouch(seal.StripeOf(h), hashes); err != nil {
		return err
	}
	r.stripe++
	return r.spread(ctx, h, shards)
}

func (r *recoder) spread(ctx context.Context, h shard.Header, shards [][]byte) error {
	row := r.to.Drives(r.u.config.Drives.Topology(), r.to.Group(h.ID.Data, h.ID.Stripe))
	errs := make([]error, len(row))
	var g sync.WaitGroup
	for i, id := range row {
		if len(shards[i]) == 0 {
			continue
		}
		g.Go(func() {
			x := h
			x.ID.Index, x.Length = uint16(i), uint32(len(shards[i]))
			errs[i] = r.put(ctx, id, x, shards[i])
		})
	}
	g.Wait()
	good := 0
	for i := range row {
		if errs[i] == nil {
			good++
		}
	}
	if good < r.to.Ack() {
		err := errors.Join(errs...)
		if errors.Is(err, hallig.ErrUnavailable) {
			// Not to be taken for a commit in doubt.
			return fmt.Errorf("%d of %d shards are stored: %w: %s", good, r.to.Ack(), errAway, err.Error())
		}
		return fmt.Errorf("%d of %d shards are stored: %w", good, r.to.Ack(), err)
	}
	return ctx.Err()
}

func (r *recoder) put(ctx context.Context, id hallig.DriveID, h shard.Header, body []byte) error {
	if err := r.u.take(ctx, r.u.bytes, int64(len(body))); err != nil {
		return err
	}
	drive := r.u.readable(id)
	if drive == nil {
		return fmt.Errorf("drive %s is away: %w", id, hallig.ErrUnavailable)
	}
	if err := drive.Put(ctx, h, body); err != nil {
		return fmt.Errorf("put shard %s on drive %s: %w", h.ID, id, err)
	}
	return nil
}
