package objects

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/seal"
	"github.com/hallig-cloud/hallig/shard"
)

// A slot is one shard of a stripe while it is gathered.
type slot struct {
	lo, hi  int    // blocks wanted for themselves; none when equal
	part    []byte // those
	column  []byte // the gathering's columns of the shard, for decoding
	asked   bool   // part is under way or was
	coding  bool   // column is under way or was
	pending int    // fetches under way
	slow    bool   // was under way when a hedge went out
	failed  bool
}

// A gathering collects the shards that the wanted segments of one stripe need:
// the data shards themselves, or, when one of them is missing or late, any k.
type gathering struct {
	store      *Store
	stripe     *stripe
	everywhere bool
	hold       *grant
	slots      []slot
	order      []int // shard indexes, nearest first
	lo, hi     int   // columns: the blocks that decoding needs of every shard it uses
	arrivals   chan arrival
	pending    int
	errs       []error
}

type arrival struct {
	index  int
	column bool
	fetched
	err error
}

// gather returns the sealed bytes of segments [st.from, st.to), one slice each.
func (s *Store) gather(ctx context.Context, st *stripe, hold *grant) ([][]byte, [][]byte, error) {
	for _, everywhere := range []bool{false, true} {
		g := s.newGathering(st, hold, everywhere)
		err := g.run(ctx)
		if err == nil {
			return g.segments(), g.buffers(), nil
		}
		if everywhere || !errors.Is(err, hallig.ErrLost) || ctx.Err() != nil {
			return nil, nil, err
		}
	}
	panic("unreachable")
}

func (s *Store) newGathering(st *stripe, hold *grant, everywhere bool) *gathering {
	t := s.config.Drives.Topology()
	st.row = st.pool.Drives(t, st.group)
	g := &gathering{store: s, stripe: st, everywhere: everywhere, hold: hold,
		slots: make([]slot, len(st.row)), order: s.fleet.order(t, st.row)}
	g.arrivals = make(chan arrival, 2*len(st.row)) // nobody who is late has to wait
	k := st.pool.Scheme.K
	g.lo, g.hi = st.from, st.to
	if k > 1 {
		g.lo, g.hi = st.run, 0
		for i := range k {
			lo, hi := max(st.from, i*st.run)-i*st.run, min(st.to, (i+1)*st.run)-i*st.run
			if lo >= hi {
				continue
			}
			g.slots[i].lo, g.slots[i].hi = lo, hi
			g.lo, g.hi = min(g.lo, lo), max(g.hi, hi)
		}
		for i := range g.slots {
			if _, n := st.span(i, g.lo, g.hi); n == 0 {
				g.slots[i].column, g.slots[i].coding = []byte{}, true // short: as good as zeros
			}
		}
	}
	return g
}

func (g *gathering) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	config := &g.store.config
	g.start(ctx)
	for {
		if g.direct() {
			return nil
		}
		if done, err := g.decode(); done || err != nil {
			return err
		}
		if g.pending == 0 {
			return fmt.Errorf("stripe %d of data %s in pool %d: %w: %w", g.stripe.number, g.stripe.data, g.stripe.pool.ID, hallig.ErrLost, errors.Join(g.errs...))
		}
		late, stop := g.timer(config)
		select {
		case a := <-g.arrivals:
			stop()
			g.arrived(a)
			if a.err != nil {
				g.spare(ctx)
			}
		case <-late:
			for i := range g.slots {
				if g.slots[i].slow = g.slots[i].pending > 0; g.slots[i].slow {
					g.store.fleet.lagging.blame(g.stripe.row[i])
				}
			}
			g.spare(ctx)
		case <-ctx.Done():
			stop()
			return context.Cause(ctx)
		}
	}
}

// timer says when to hedge: not at all when nothing more can be asked.
func (g *gathering) timer(c *Config) (<-chan time.Time, func()) {
	if c.HedgeAfter < 0 {
		return nil, func() {}
	}
	return c.Timer(c.HedgeAfter)
}

// start asks for what is wanted: of copies the nearest one, else the data
// shards.
func (g *gathering) start(ctx context.Context) {
	if g.stripe.pool.Scheme.K == 1 {
		g.ask(ctx, g.order[0], true)
		return
	}
	gone := false
	for i := range g.slots {
		x := &g.slots[i]
		if x.lo == x.hi {
			continue
		}
		// A shard on a drive that is known to be away, or slow, is not waited for.
		fleet := g.store.fleet
		if id := g.stripe.row[i]; g.everywhere || id.IsZero() || fleet.readable(id) && !fleet.lagging.holds(id) {
			g.ask(ctx, i, false)
		} else {
			gone = true
		}
	}
	if gone {
		g.spare(ctx)
	}
}

// ask starts one fetch.
func (g *gathering) ask(ctx context.Context, index int, column bool) {
	x := &g.slots[index]
	lo, hi := x.lo, x.hi
	if column {
		lo, hi, x.coding = g.lo, g.hi, true
	} else {
		x.asked = true
		// The whole column serves both.
		x.coding = lo == g.lo && hi == g.hi
		column = x.coding
	}
	x.pending++
	g.pending++
	g.hold.hold()
	g.store.background.Add(1)
	go func() {
		defer g.store.background.Done()
		defer g.hold.release()
		got, err := g.store.fetch(ctx, g.stripe, index, lo, hi, g.everywhere)
		g.arrivals <- arrival{index, column, got, err}
	}()
}

func (g *gathering) arrived(a arrival) {
	x := &g.slots[a.index]
	x.pending--
	g.pending--
	switch {
	case a.err != nil:
		x.failed = true
		g.errs = append(g.errs, a.err)
	case a.column:
		x.column = a.bytes
	default:
		x.part = a.bytes
	}
	if a.err == nil && !x.slow {
		g.store.fleet.lagging.absolve(a.drive)
	}
}

// spare asks for further shards until k are there or on their way without
// delay.
func (g *gathering) spare(ctx context.Context) {
	likely := 0
	for i := range g.slots {
		x := &g.slots[i]
		if x.column != nil || x.coding && x.pending > 0 && !x.slow {
			likely++
		}
	}
	for _, i := range g.order {
		if likely >= g.stripe.pool.Scheme.K {
			return
		}
		if x := &g.slots[i]; !x.coding && !x.failed && !x.slow {
			g.ask(ctx, i, true)
			likely++
		}
	}
}

// direct reports whether all that is wanted has come.
func (g *gathering) direct() bool {
	if g.stripe.pool.Scheme.K == 1 {
		return false
	}
	for i := range g.slots {
		if x := &g.slots[i]; x.lo < x.hi && x.part == nil && x.column == nil {
			return false
		}
	}
	return true
}

// decode makes the wanted shards of any k, if that many have come.
func (g *gathering) decode() (bool, error) {
	scheme := g.stripe.pool.Scheme
	have := 0
	shards, lengths := make([][]byte, len(g.slots)), make([]int, len(g.slots))
	for i := range g.slots {
		_, lengths[i] = g.stripe.span(i, g.lo, g.hi)
		if shards[i] = g.slots[i].column; shards[i] != nil {
			have++
		}
	}
	if have < scheme.K {
		return false, nil
	}
	if scheme.K == 1 {
		return true, nil
	}
	var want []int
	for i := range g.slots {
		if x := &g.slots[i]; x.lo < x.hi && x.part == nil && x.column == nil {
			want = append(want, i)
		}
	}
	code, err := g.store.codes.Get(scheme.K, scheme.M)
	if err != nil {
		return false, err
	}
	if err := code.Reconstruct(shards, lengths, want); err != nil {
		return false, fmt.Errorf("decode stripe %d of data %s: %w", g.stripe.number, g.stripe.data, err)
	}
	for _, i := range want {
		g.slots[i].column = shards[i]
	}
	return true, nil
}

// segments returns the wanted segments' sealed bytes. Each has its own memory
// and may be opened in place.
func (g *gathering) segments() [][]byte {
	st := g.stripe
	out := make([][]byte, 0, st.to-st.from)
	for n := st.from; n < st.to; n++ {
		index, block := 0, n
		if st.pool.Scheme.K > 1 {
			index, block = n/st.run, n%st.run
		} else {
			for index = range g.slots {
				if g.slots[index].column != nil {
					break
				}
			}
		}
		bytes, first := g.slots[index].column, g.lo
		if bytes == nil {
			bytes, first = g.slots[index].part, g.slots[index].lo
		}
		at := (block - first) * shard.BlockSize
		out = append(out, bytes[at:min(at+seal.SealedSegment, len(bytes))])
	}
	return out
}

// buffers returns what the segments lie in, to be recycled.
func (g *gathering) buffers() [][]byte {
	var out [][]byte
	for i := range g.slots {
		out = append(out, g.slots[i].part, g.slots[i].column)
	}
	return out
}
