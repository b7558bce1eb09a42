package objects

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/seal"
	"github.com/hallig-cloud/hallig/shard"
)

// A fetched piece is the blocks [lo, hi) of one shard, as stored.
type fetched struct {
	bytes  []byte // nil: nothing was fetched
	buffer []byte // to be recycled with them; they need not lie in it
	drive  hallig.DriveID
	hashes []seal.Hash // what the stripe's shards hash to, as vouched for
}

// vouched is what the whole shard hashes to.
func (f *fetched) vouched(index int) seal.Hash { return f.hashes[min(index, len(f.hashes)-1)] }

func (st *stripe) shard(index int) shard.ID {
	return shard.ID{Data: st.data, Stripe: st.number, Generation: st.generation, Index: uint16(index)}
}

// span is the bytes of blocks [lo, hi) of a shard.
func (st *stripe) span(index, lo, hi int) (off, n int) {
	end := min(hi*shard.BlockSize, st.lengths[index])
	off = min(lo*shard.BlockSize, end)
	return off, end - off
}

// holders are the drives that may hold a shard, likeliest first: where it
// belongs now, where the pool's table put it, and, when everything else failed,
// any other drive.
func (s *Store) holders(st *stripe, index int, everywhere bool) []hallig.DriveID {
	ids := make([]hallig.DriveID, 0, 2)
	add := func(id hallig.DriveID) {
		if !id.IsZero() && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	add(st.row[index])
	add(st.pool.Groups[st.group][index])
	if everywhere {
		for _, d := range s.config.Drives.Topology().Drives {
			add(d.ID)
		}
	}
	return ids
}

// fetch reads blocks [lo, hi) of one shard, to a buffer of room bytes if they
// are fewer, from the first drive that has them right. What it finds missing or
// bad it reports.
func (s *Store) fetch(ctx context.Context, st *stripe, index, lo, hi, room int, everywhere bool) (fetched, error) {
	var errs []error
	var missing []Damage
	for _, id := range s.holders(st, index, everywhere) {
		got, err := s.fetchFrom(ctx, st, index, lo, hi, room, id)
		if err == nil {
			return got, nil
		}
		if ctx.Err() != nil {
			return fetched{}, err
		}
		errs = append(errs, err)
		d := Damage{Shard: st.shard(index), Pool: st.pool.ID, Drive: id, Err: err}
		switch {
		case errors.Is(err, hallig.ErrCorrupt):
			s.damage(d)
		case errors.Is(err, hallig.ErrNotFound):
			missing = append(missing, d)
		}
	}
	// Not being in one of several places is no damage; being in none is.
	for _, d := range missing[:min(1, len(missing))] {
		s.damage(d)
	}
	return fetched{}, errors.Join(errs...)
}

// fetchFrom reads from one drive, and checks that what it gives belongs to the
// stripe and was vouched for under the version's key.
func (s *Store) fetchFrom(ctx context.Context, st *stripe, index, lo, hi, room int, id hallig.DriveID) (fetched, error) {
	want := st.shard(index)
	drive := s.config.Drives.Drive(id)
	if drive == nil {
		return fetched{}, fmt.Errorf("get shard %s from drive %s: %w", want, id, hallig.ErrUnavailable)
	}
	ctx, cancel := context.WithTimeout(ctx, s.config.ShardTimeout)
	defer cancel()
	off, n := st.span(index, lo, hi)
	buffer := s.memory.buffer(max(n, room))
	h, got, err := drive.Get(ctx, want, int64(off), int64(n), buffer[:0])
	var hashes []seal.Hash
	switch {
	case err != nil:
	case h.ID != want || int(h.K) != st.pool.Scheme.K || int(h.M) != st.pool.Scheme.M ||
		int64(h.Stripe) != st.sealed || int(h.Length) != st.lengths[index] || len(got) != n:
		err = fmt.Errorf("its header does not fit the stripe: %w", hallig.ErrCorrupt)
	default:
		if hashes, err = st.body.CheckVouch(seal.StripeOf(h), h.Vouch); err != nil {
			err = fmt.Errorf("%w: %w", hallig.ErrCorrupt, err)
		}
	}
	if err != nil {
		s.memory.recycle(buffer)
		return fetched{}, fmt.Errorf("get shard %s from drive %s: %w", want, id, err)
	}
	return fetched{bytes: got, buffer: buffer, drive: id, hashes: hashes}, nil
}
