package objects

import "github.com/hallig-cloud/hallig/shard"

// finish ends the gathering. If it was successful it returns the wanted
// segments and what they lie in; everything else is looked at once more and
// recycled, as is what comes later.
func (g *gathering) finish(ok bool) (segments, buffers [][]byte) {
	g.close()
	if ok {
		segments, buffers = g.segments()
		for i := range g.slots {
			g.doubt(i)
		}
	}
	memory := g.store.memory
	for i := range g.slots {
		x := &g.slots[i]
		for _, f := range []*fetched{&x.part, &x.column, &x.made} {
			memory.recycle(f.buffer) // nil where it was handed out
		}
	}
	if g.extra != nil {
		g.extra.release()
	}
	return segments, buffers
}

// close lets nothing in any more, takes what has come in the meantime, and
// gives every fetch under way memory of its own: that which it was asked under
// may be used for something else from now on.
func (g *gathering) close() {
	g.mu.Lock()
	g.over = true
	for _, r := range g.requests {
		if !r.arrived && g.extra != nil {
			r.late = g.extra.split(rounded(int64(r.room)))
		}
	}
	g.mu.Unlock()
	for {
		select {
		case a := <-g.arrivals:
			g.arrived(a)
		default:
			return
		}
	}
}

// source is where the wanted bytes of slot x lie and their first block.
func (g *gathering) source(x *slot) (*fetched, int) {
	switch {
	case x.part.bytes != nil:
		return &x.part, x.lo
	case x.column.bytes != nil:
		return &x.column, g.lo
	}
	return &x.made, g.lo
}

// segments returns the wanted segments' sealed bytes, and the buffers that they
// lie in, which are the caller's now. Each segment has its own memory and may
// be opened in place.
func (g *gathering) segments() (segments, buffers [][]byte) {
	st := g.stripe
	segments = make([][]byte, 0, st.to-st.from)
	if st.pool.Scheme.K == 1 {
		for i := range g.slots {
			if x := &g.slots[i]; x.column.bytes != nil {
				x.lo, x.hi = g.lo, g.hi
				buffers = append(buffers, x.column.buffer)
				x.column.buffer = nil
				return split(segments, x.column.bytes), buffers
			}
		}
	}
	unit := 0 // what the memory for one shard suffices for
	for i := range g.slots {
		_, n := st.span(i, g.slots[i].lo, g.slots[i].hi)
		unit = max(unit, n)
	}
	for i := range g.slots {
		x := &g.slots[i]
		if !x.wanted() {
			continue
		}
		from, first := g.source(x)
		off, n := st.span(i, x.lo, x.hi)
		start, _ := st.span(i, first, first)
		bytes, buffer := from.bytes[off-start:][:n:n], from.buffer
		if int64(cap(buffer)) > rounded(int64(unit)) {
			buffer = g.store.memory.buffer(n)
			bytes = buffer[:copy(buffer, bytes)]
		} else {
			from.buffer = nil
		}
		segments, buffers = split(segments, bytes), append(buffers, buffer)
	}
	return segments, buffers
}

// split appends the segments that sealed bytes consist of.
func split(segments [][]byte, sealed []byte) [][]byte {
	for len(sealed) > 0 {
		n := min(len(sealed), shard.BlockSize)
		segments, sealed = append(segments, sealed[:n:n]), sealed[n:]
	}
	return segments
}

// doubt inspects what was fetched of shard i and is not sure to be right once
// the wanted segments open: only those bytes are that are opened themselves, or
// on which one depends that was decoded.
func (g *gathering) doubt(i int) {
	x := &g.slots[i]
	from, _ := g.source(x)
	for _, f := range []*fetched{&x.part, &x.column} {
		if f.bytes == nil {
			continue
		}
		lo := g.lo
		if f == &x.part {
			lo = x.lo
		}
		off, _ := g.stripe.span(i, lo, lo)
		end := off + len(f.bytes)
		sure := f == from && g.opens(i, off, end)
		for d := range g.slots {
			if f == &x.column && x.used && g.slots[d].made.bytes != nil {
				sure = sure || g.opens(d, off, end)
			}
		}
		if !sure {
			g.store.inspect(g.stripe, i, off, f)
		}
	}
}

// opens reports whether all of the bytes [off, end) of shard i are wanted.
func (g *gathering) opens(i, off, end int) bool {
	x := &g.slots[i]
	from, n := g.stripe.span(i, x.lo, x.hi)
	return x.wanted() && from <= off && end <= from+n
}
