package objects

import (
	"context"
	"errors"
	"fmt"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/seal"
)

// careful gathers a stripe of which some drive gave wrong bytes with right
// checksums: whole shards, each held against its vouched-for hash, and decoded
// from k that are what was written. Liars are reported.
func (s *Store) careful(ctx context.Context, st *stripe) ([][]byte, error) {
	k, width := st.pool.Scheme.K, st.pool.Scheme.Width()
	shards := make([][]byte, width)
	have := 0
	for i := range shards {
		if st.lengths[i] == 0 {
			shards[i] = []byte{}
			have++
		}
	}
	var errs []error
	for _, i := range s.fleet.order(s.config.Drives.Topology(), st.row) {
		// Every drive is asked, even when k shards are good: one of them has lied,
		// and only who is asked is found out.
		if shards[i] != nil {
			continue
		}
		var err error
		if shards[i], err = s.vouchedFor(ctx, st, i); err != nil {
			errs = append(errs, err)
			continue
		}
		have++
	}
	if have < k {
		return nil, fmt.Errorf("stripe %d of data %s in pool %d: %w: %w", st.number, st.data, st.pool.ID, hallig.ErrLost, errors.Join(errs...))
	}
	code, err := s.codes.Get(k, st.pool.Scheme.M)
	if err != nil {
		return nil, err
	}
	data := make([]int, k)
	for i := range data {
		data[i] = i
	}
	if err := code.Reconstruct(shards, st.lengths, data); err != nil {
		return nil, fmt.Errorf("decode stripe %d of data %s: %w", st.number, st.data, err)
	}
	out := make([][]byte, 0, st.to-st.from)
	for n := st.from; n < st.to; n++ {
		at := n % st.run * seal.SealedSegment
		from := shards[n/st.run]
		out = append(out, from[at:min(at+seal.SealedSegment, len(from))])
	}
	return out, nil
}

// vouchedFor reads one whole shard from a drive that has what was written.
func (s *Store) vouchedFor(ctx context.Context, st *stripe, index int) ([]byte, error) {
	var errs []error
	for _, id := range s.holders(st, index, true) {
		got, err := s.fetchFrom(ctx, st, index, 0, st.run, id)
		if err == nil {
			vouched := got.hashes[min(index, len(got.hashes)-1)]
			if seal.HashShard(got.bytes) == vouched {
				return got.bytes, nil
			}
			err = fmt.Errorf("shard %s on drive %s is not what was written, though its checksums are right: %w", st.shard(index), id, hallig.ErrCorrupt)
		}
		if ctx.Err() != nil {
			return nil, err
		}
		if errors.Is(err, hallig.ErrCorrupt) {
			s.damage(Damage{Shard: st.shard(index), Pool: st.pool.ID, Drive: id, Err: err})
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}
