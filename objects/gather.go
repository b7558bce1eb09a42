package objects

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hallig-cloud/hallig"
)

// A slot is one shard of a stripe while it is gathered.
type slot struct {
	lo, hi  int     // blocks wanted for themselves; none when equal
	part    fetched // those
	column  fetched // the gathering's columns of the shard, for decoding
	made    fetched // columns that were decoded
	empty   bool    // has no bytes in the columns: as good as zeros
	used    bool    // column was decoded from
	coding  bool    // column is under way or was
	pending int     // fetches under way
	slow    bool    // was under way when a hedge went out
	failed  bool
}

// wanted reports whether any of the shard's bytes are.
func (x *slot) wanted() bool { return x.lo < x.hi }

// here reports whether what is wanted of the shard has come.
func (x *slot) here() bool { return x.part.bytes != nil || x.column.bytes != nil }

// A gathering collects the shards that the wanted segments of one stripe need:
// the data shards themselves, or, when one of them is missing or late, any k.
type gathering struct {
	store      *Store
	stripe     *stripe
	everywhere bool
	hold       *grant // memory for what is asked for first
	extra      *grant // and for what is asked for beyond; nil until then
	slots      []slot
	order      []int // shard indexes, nearest first
	lo, hi     int   // columns: the blocks that decoding needs of every shard it uses
	arrivals   chan arrival
	pending    int
	errs       []error

	mu       sync.Mutex
	over     bool       // what comes now comes too late
	requests []*request // every one made
}

// A request is one fetch.
type request struct {
	index, lo, hi int
	room          int // bytes of its buffer
	column        bool
	arrived       bool
	late          *grant // memory of one that comes too late
}

type arrival struct {
	*request
	fetched
	err error
}

// gather returns the sealed bytes of segments [st.from, st.to), one slice each,
// and the buffers that they lie in, to be recycled, for which hold must have
// memory.
func (s *Store) gather(ctx context.Context, st *stripe, hold *grant) (segments, buffers [][]byte, err error) {
	for _, everywhere := range []bool{false, true} {
		g := s.newGathering(st, hold, everywhere)
		err = g.run(ctx)
		segments, buffers = g.finish(err == nil)
		if err == nil || !errors.Is(err, hallig.ErrLost) || ctx.Err() != nil {
			break
		}
	}
	return segments, buffers, err
}

func (s *Store) newGathering(st *stripe, hold *grant, everywhere bool) *gathering {
	t := s.config.Drives.Topology()
	st.row = st.pool.Drives(t, st.group)
	g := &gathering{store: s, stripe: st, everywhere: everywhere, hold: hold,
		slots: make([]slot, len(st.row)), order: s.fleet.order(t, st.row)}
	g.arrivals = make(chan arrival, 2*len(st.row)) // nobody has to wait
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
				g.slots[i].empty, g.slots[i].coding = true, true
			}
		}
	}
	return g
}

// columns is the length of the longest shard's columns in bytes.
func (g *gathering) columns() int {
	_, n := g.stripe.span(0, g.lo, g.hi)
	return n
}

func (g *gathering) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := g.start(ctx); err != nil {
		return err
	}
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
		late, stop := g.timer(&g.store.config)
		select {
		case a := <-g.arrivals:
			stop()
			g.arrived(a)
			if a.err != nil {
				if err := g.spare(ctx, true); err != nil {
					return err
				}
			}
		case <-late:
			for i := range g.slots {
				if g.slots[i].slow = g.slots[i].pending > 0; g.slots[i].slow {
					g.store.fleet.lagging.blame(g.stripe.row[i])
				}
			}
			g.spare(ctx, false) //nolint:errcheck // without memory the late ones are waited for
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
func (g *gathering) start(ctx context.Context) error {
	if g.stripe.pool.Scheme.K == 1 {
		g.ask(ctx, g.order[0], true)
		return nil
	}
	gone := false
	for i := range g.slots {
		if !g.slots[i].wanted() {
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
		return g.spare(ctx, true)
	}
	return nil
}

// ask starts one fetch.
func (g *gathering) ask(ctx context.Context, index int, column bool) {
	x := &g.slots[index]
	r := &request{index: index, lo: x.lo, hi: x.hi}
	if column {
		r.lo, r.hi = g.lo, g.hi
	}
	if r.column = r.lo == g.lo && r.hi == g.hi; r.column { // the whole column serves both
		x.coding = true
		r.room = g.columns() // decoding pads it
	} else {
		_, r.room = g.stripe.span(index, r.lo, r.hi)
	}
	x.pending++
	g.pending++
	g.requests = append(g.requests, r)
	g.hold.hold()
	g.store.background.Add(1)
	go func() {
		defer g.store.background.Done()
		defer g.hold.release()
		got, err := g.store.fetch(ctx, g.stripe, index, r.lo, r.hi, r.room, g.everywhere)
		if !g.deliver(arrival{r, got, err}) {
			g.tooLate(arrival{r, got, err})
		}
	}()
}

// deliver hands an arrival over, unless the gathering is over.
func (g *gathering) deliver(a arrival) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.over {
		return false
	}
	a.request.arrived = true
	g.arrivals <- a
	return true
}

// tooLate ends a fetch that nobody waits for any more.
func (g *gathering) tooLate(a arrival) {
	if a.err == nil {
		off, _ := g.stripe.span(a.index, a.lo, a.hi)
		g.store.inspect(g.stripe, a.index, off, &a.fetched)
		g.store.memory.recycle(a.buffer)
	}
	if a.late != nil {
		a.late.release()
	}
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
		x.column = a.fetched
	default:
		x.part = a.fetched
	}
	if a.err == nil && !x.slow {
		g.store.fleet.lagging.absolve(a.drive)
	}
}

// spare asks for further shards until k are there or on their way without
// delay. It needs memory, for which it waits when wait says so.
func (g *gathering) spare(ctx context.Context, wait bool) error {
	likely := 0
	for i := range g.slots {
		x := &g.slots[i]
		if x.empty || x.column.bytes != nil || x.coding && x.pending > 0 && !x.slow {
			likely++
		}
	}
	for _, i := range g.order {
		if likely >= g.stripe.pool.Scheme.K {
			break
		}
		if x := &g.slots[i]; !x.coding && !x.failed && !x.slow {
			if err := g.moreMemory(ctx, wait); err != nil {
				return err
			}
			g.ask(ctx, i, true)
			likely++
		}
	}
	return nil
}

var errNoMemory = errors.New("no memory for a hedge")

// moreMemory acquires, once and in one go, what all further columns, the
// decoded ones and one of zeros will take.
func (g *gathering) moreMemory(ctx context.Context, wait bool) error {
	if g.extra != nil || g.store.spending {
		return nil
	}
	n := min(g.stripe.pool.Scheme.K, g.stripe.pool.Scheme.M) + 1
	for i := range g.slots {
		if !g.slots[i].coding {
			n++
		}
	}
	m := g.store.memory
	bytes := int64(n) * rounded(int64(g.columns()))
	if g.extra = m.tryAcquire(&m.rescue, bytes); g.extra != nil {
		return nil
	}
	if !wait {
		return errNoMemory
	}
	var err error
	g.extra, err = m.acquireOf(ctx, &m.rescue, bytes)
	return err
}

// direct reports whether all that is wanted has come.
func (g *gathering) direct() bool {
	if g.stripe.pool.Scheme.K == 1 {
		return false
	}
	for i := range g.slots {
		if x := &g.slots[i]; x.wanted() && !x.here() {
			return false
		}
	}
	return true
}

// decode makes the wanted shards of any k, if that many have come.
func (g *gathering) decode() (bool, error) {
	scheme := g.stripe.pool.Scheme
	have := 0
	for i := range g.slots {
		if g.slots[i].empty || g.slots[i].column.bytes != nil {
			have++
		}
	}
	if have < scheme.K {
		return false, nil
	}
	if scheme.K == 1 {
		return true, nil
	}
	shards, lengths, want, zeros := g.decoding()
	defer g.store.memory.recycle(zeros)
	code, err := g.store.codes.Get(scheme.K, scheme.M)
	if err == nil {
		err = code.Reconstruct(shards, lengths, want)
	}
	if err != nil {
		return false, fmt.Errorf("decode stripe %d of data %s: %w", g.stripe.number, g.stripe.data, err)
	}
	for _, i := range want {
		g.slots[i].made.bytes = shards[i]
	}
	return true, nil
}

// decoding lays out the first k columns and room for those that are to be
// decoded from them.
func (g *gathering) decoding() (shards [][]byte, lengths, want []int, zeros []byte) {
	shards, lengths = make([][]byte, len(g.slots)), make([]int, len(g.slots))
	have, memory, columns := 0, g.store.memory, g.columns()
	for i := range g.slots {
		x := &g.slots[i]
		_, lengths[i] = g.stripe.span(i, g.lo, g.hi)
		switch {
		case have < g.stripe.pool.Scheme.K && x.empty:
			if zeros == nil {
				zeros = memory.buffer(columns)
			}
			shards[i] = zeros[:0]
			have++
		case have < g.stripe.pool.Scheme.K && x.column.bytes != nil:
			shards[i], x.used = x.column.bytes, true
			have++
		case x.wanted() && !x.here():
			want = append(want, i)
			x.made.buffer = memory.buffer(columns)
			shards[i] = x.made.buffer[:0]
		}
	}
	return shards, lengths, want, zeros
}
