package objects

import (
	"context"
	"fmt"
	"iter"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/erasure"
	"github.com/hallig-cloud/hallig/placement"
	"github.com/hallig-cloud/hallig/seal"
)

// A stripe is one stripe to be read: where it is and what its bytes are.
type stripe struct {
	data       hallig.DataID
	number     uint32
	generation uint16
	pool       *placement.Pool
	body       *seal.Body
	plain      int    // plaintext bytes in it
	base       uint64 // number of its first segment within the data id
	last       bool   // its last segment is the data id's last
	sealed     int64
	run        int              // segments of a full data shard
	lengths    []int            // of the shards, in bytes
	group      int              // of the pool's table
	row        []hallig.DriveID // where its shards belong now; set when it is gathered
	// What is wanted: segments [from, to), less skip bytes of the first one, take
	// bytes in all.
	from, to   int
	skip, take int
}

func (st *stripe) segments() int { return segmentsOf(int64(st.plain)) }

// A plan is the stripes that a range of a version touches, in order.
type plan struct {
	extents []extent
	offset  int64
	length  int64
}

type extent struct {
	catalog.Extent
	pool *placement.Pool
	body *seal.Body
}

// An opening is what it takes to open a version's stripes and to know them for
// its own.
type opening struct {
	data    seal.DataKey
	bucket  hallig.BucketID
	voucher seal.Voucher
}

// planRead finds the pools and derives the keys of what [offset, offset+length)
// of the extents touches.
func (s *Store) planRead(ctx context.Context, extents []catalog.Extent, key opening, offset, length int64) (*plan, error) {
	p := &plan{length: length}
	at := int64(0)
	for _, e := range extents {
		start := at
		at += e.Length
		if at <= offset || start >= offset+length {
			continue
		}
		if len(p.extents) == 0 {
			p.offset = offset - start
		}
		pool, err := s.pools.pool(ctx, e.Pool)
		if err != nil {
			return nil, err
		}
		if left := e.Length - int64(max(e.Count, 1)-1)*pool.StripeSize(); e.Count == 0 || left <= 0 || left > pool.StripeSize() {
			return nil, fmt.Errorf("extent of %d bytes in %d stripes of %d: %w", e.Length, e.Count, pool.StripeSize(), hallig.ErrCorrupt)
		}
		body, err := seal.NewBody(key.data, s.config.Mesh, key.bucket, e.Data)
		if err != nil {
			return nil, err
		}
		p.extents = append(p.extents, extent{e, pool, body.Trusting(key.voucher)})
	}
	return p, nil
}

// memory is the stripe memory that reading the plan takes while every shard is
// as it should be. What damage costs is the rescue share's.
func (p *plan) memory() int64 {
	cuts, most := int64(1), int64(1)
	if len(p.extents) > 1 {
		cuts = ahead
	}
	for i := range p.extents {
		pool := p.extents[i].pool
		size := pool.StripeSize()
		if p.offset%size+p.length > size && p.length > 0 {
			cuts = ahead
		}
		touched := min(int64(segmentsOf(min(size, p.length)))+1, int64(segmentsOf(size)))
		n := rounded(touched * seal.SealedSegment)
		if k := int64(pool.Scheme.K); k > 1 {
			n = min(k, touched) * rounded(min(int64(pool.Segments), touched)*seal.SealedSegment)
		}
		most = max(most, n)
	}
	return cuts * most
}

// stripes yields the stripes in order.
func (p *plan) stripes() iter.Seq2[*stripe, error] {
	return func(yield func(*stripe, error) bool) {
		left, offset := p.length, p.offset
		for i := range p.extents {
			e := &p.extents[i]
			size := e.pool.StripeSize()
			for left > 0 && offset < e.Length {
				n := offset / size
				within := offset - n*size
				st := &stripe{
					data: e.Data, number: e.First + uint32(n), generation: e.Generation, pool: e.pool, body: e.body,
					plain: int(min(size, e.Length-n*size)),
					last:  e.Last && n == int64(e.Count)-1,
				}
				st.base = uint64(st.number) * uint64(e.pool.Scheme.K) * uint64(e.pool.Segments)
				st.take = int(min(left, int64(st.plain)-within))
				st.from = int(within / seal.SegmentSize)
				st.skip = int(within % seal.SegmentSize)
				st.to = segmentsOf(within + int64(st.take))
				st.sealed = seal.SealedLength(int64(st.plain))
				if err := st.layout(); err != nil {
					yield(nil, err)
					return
				}
				if !yield(st, nil) {
					return
				}
				left -= int64(st.take)
				offset += int64(st.take)
			}
			offset = max(0, offset-e.Length)
		}
	}
}

func (st *stripe) layout() error {
	k := st.pool.Scheme.K
	layout, err := erasure.NewLayout(k, st.pool.Scheme.M, st.sealed)
	if err != nil {
		return fmt.Errorf("stripe %d of data %s: %w: %w", st.number, st.data, hallig.ErrCorrupt, err)
	}
	st.lengths = layout.Lengths()
	st.run = (st.segments() + k - 1) / k
	st.group = st.pool.Group(st.data, st.number)
	return nil
}
