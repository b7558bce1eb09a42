package upkeep

import (
	"bytes"
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

// A custody is what is known of the keys of what is re-encoded.
type custody struct {
	bucket  hallig.BucketID
	voucher seal.Voucher
	key     seal.DataKey
	blind   bool // key is not known: it is under a customer's
}

// custodyOf opens a holder's data key, unless it is under a customer's.
func (u *Upkeep) custodyOf(p *planner, h *holder) (custody, error) {
	b := p.buckets[h.bucket()]
	keys, err := u.config.Keys.Bucket(b.ID, b.Key)
	if err != nil {
		return custody{}, err
	}
	c := custody{bucket: b.ID, voucher: keys.Voucher()}
	sealed, context := h.key()
	if c.blind = sealed.Under == ""; !c.blind {
		c.key, err = keys.UnwrapData(sealed, seal.Wrapping{Context: context})
	}
	return c, err
}

// A recoder reads the sealed segments of one extent in order and writes them as
// stripes of another pool. It holds one stripe of each. The segments themselves
// never change: a segment is sealed for its number within the data id, whatever
// stripe it lies in.
type recoder struct {
	u    *Upkeep
	from *placement.Pool
	old  *catalog.Extent
	custody
	body       *seal.Body // nil: blind
	commitment *[32]byte  // of the stripes read so far, when blind
	to         *placement.Pool
	next       *catalog.Extent
	buffer     []byte // sealed bytes not yet written
	plain      []byte // scratch
	segment    uint64 // of the next sealed segment to be checked
	total      uint64 // segments of the extent
	stripe     uint32 // next one to be written
}

// recode copies an extent into another pool.
func (u *Upkeep) recode(ctx context.Context, old, next *catalog.Extent, to *placement.Pool, c custody) error {
	from, err := u.pool(ctx, old.Pool)
	if err != nil {
		return err
	}
	var body *seal.Body
	if !c.blind {
		if body, err = seal.NewBody(c.key, u.config.Mesh, c.bucket, old.Data); err != nil {
			return err
		}
		body = body.Trusting(c.voucher)
	}
	r := &recoder{u: u, from: from, old: old, custody: c, body: body, to: to, next: next,
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

// read returns the sealed bytes of one stripe: segments that open, or, when
// blind, that are what was written.
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
	if err := r.vouched(ctx, m, header); err != nil {
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
	if want := seal.SealedLength(min(r.from.StripeSize(), r.old.Length-int64(n)*r.from.StripeSize())); int64(len(out)) != want {
		return nil, fmt.Errorf("the stripe has %d sealed bytes, want %d: %w", len(out), want, hallig.ErrCorrupt)
	}
	if r.body == nil {
		r.segment += uint64((len(out) + seal.SealedSegment - 1) / seal.SealedSegment)
		return out, nil
	}
	return out, r.check(out)
}

// vouched checks that the shards that were read are the stripe as a gateway
// wrote it.
func (r *recoder) vouched(ctx context.Context, m *mending, h shard.Header) error {
	s := seal.StripeOf(h)
	if r.body != nil {
		_, err := r.body.CheckVouch(s, h.Vouch)
		return err
	}
	_, commitment, err := r.voucher.CheckVouch(s, h.Vouch)
	if errors.Is(err, hallig.ErrKeyUnknown) {
		// Written before buckets vouched. Nothing that is left says otherwise, or
		// it is not touched: what was wrong then is all that there was.
		if err = m.undisputed(ctx, h); err == nil {
			commitment, err = seal.VouchCommitment(s, h.Vouch)
		}
	}
	if err != nil {
		return err
	}
	if r.commitment == nil {
		r.commitment = &commitment
	}
	if *r.commitment != commitment {
		return fmt.Errorf("stripes of data %s are under different keys: %w", s.Data, hallig.ErrCorrupt)
	}
	return nil
}

// undisputed asks every drive for every shard of the stripe: all that there are
// must carry the same vouch. A drive that is away, and not declared lost, may
// hold one, and is waited for.
func (m *mending) undisputed(ctx context.Context, h shard.Header) error {
	if m.u.config.credulous {
		return nil
	}
	for _, d := range m.t.Drives {
		drive := m.u.readable(d.ID)
		if drive == nil {
			if d.State == placement.DriveLost {
				continue
			}
			return fmt.Errorf("drive %s may hold a shard of a stripe under a customer's key: %w", d.ID, errAway)
		}
		for i := range m.row {
			x, err := drive.Stat(ctx, m.shard(i))
			switch {
			case errors.Is(err, hallig.ErrNotFound), errors.Is(err, hallig.ErrCorrupt):
			case ctx.Err() != nil:
				return ctx.Err()
			case err != nil:
				return fmt.Errorf("ask drive %s for shard %d: %w: %s", d.ID, i, errAway, err.Error())
			case !bytes.Equal(x.Vouch, h.Vouch) || seal.StripeOf(x) != seal.StripeOf(h):
				return fmt.Errorf("shard %s on drive %s: %w", m.shard(i), d.ID, errDisputed)
			}
		}
	}
	return nil
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
	if r.body != nil {
		h.Vouch, err = r.body.Vouch(seal.StripeOf(h), hashes)
	} else {
		h.Vouch, err = r.voucher.Vouch(seal.StripeOf(h), *r.commitment, hashes)
	}
	if err != nil {
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
