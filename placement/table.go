package placement

import (
	"cmp"
	"math"
	"slices"

	"github.com/hallig-cloud/hallig"
)

// Bounds of a pool's table.
const (
	perDrive   = 64    // places that a drive has on average: balance to about 1/64
	maxEntries = 16384 // drives named in one table, so that a pool stays a small record
	maxGroups  = 1024
	minGroups  = 16
)

// groupCount is the number of groups of a fresh table.
func groupCount(drives, width int) int {
	n := (perDrive*drives + width - 1) / width
	return max(minGroups, min(n, maxGroups, maxEntries/width))
}

// A filler fills one table. Drives are numbered in the order of their IDs;
// failure domains are numbered across the levels.
type filler struct {
	pool   *Pool
	width  int
	drives []Drive
	index  map[hallig.DriveID]int
	domain [][3]int // of each drive: provider, site, node
	caps   []int    // of each domain; a great number is no bound
	left   []int    // places that the drive should still get; negative: it has too many
	rows   [][]int  // drive numbers; -1 is a hole
	sums   [][]int  // of each row, by domain
}

// fill returns a table for the active drives, starting from an old one of the
// same width if there is one: its members stay where they are unless they are
// gone, break the caps, or have more than their share.
func fill(p *Pool, active []Drive, table [][]hallig.DriveID) [][]hallig.DriveID {
	f := &filler{pool: p, width: p.Scheme.Width(), drives: active, index: map[hallig.DriveID]int{}}
	groups := len(table)
	if groups == 0 {
		groups = groupCount(len(active), f.width)
	}
	f.number()
	f.left = quotas(active, p.Caps, f.width, groups)
	for g := range groups {
		row := make([]int, f.width)
		for i := range row {
			row[i] = -1
		}
		f.rows = append(f.rows, row)
		f.sums = append(f.sums, make([]int, len(f.caps)))
		if table != nil {
			f.keep(g, table[g])
		}
	}
	for g := range groups {
		f.fillRow(g)
	}
	f.balance()
	return f.result(table == nil)
}

// number gives every failure domain a number and a bound.
func (f *filler) number() {
	known := map[any]int{}
	number := func(key any, limit int) int {
		n, ok := known[key]
		if !ok {
			n = len(f.caps)
			known[key] = n
			if limit <= 0 {
				limit = math.MaxInt
			}
			f.caps = append(f.caps, limit)
		}
		return n
	}
	for i, d := range f.drives {
		f.index[d.ID] = i
		at := domainsOf(d)
		f.domain = append(f.domain, [3]int{
			number(at.provider, f.pool.Caps.Provider), number(at.site, f.pool.Caps.Site), number(at.node, f.pool.Caps.Node),
		})
	}
}

// keep takes over the members of an old row that may stay.
func (f *filler) keep(g int, old []hallig.DriveID) {
	for i, id := range old {
		if d, ok := f.index[id]; ok && f.admits(g, i, d) {
			f.place(g, i, d)
		}
	}
}

func (f *filler) place(g, i, d int) {
	if was := f.rows[g][i]; was >= 0 {
		f.left[was]++
		f.count(g, was, -1)
	}
	f.rows[g][i] = d
	f.left[d]--
	f.count(g, d, 1)
}

func (f *filler) count(g, d, n int) {
	for _, x := range f.domain[d] {
		f.sums[g][x] += n
	}
}

// admits reports whether drive d may take place i of row g.
func (f *filler) admits(g, i, d int) bool {
	if slices.Contains(f.rows[g], d) {
		return false
	}
	was := f.rows[g][i]
	for level, x := range f.domain[d] {
		n := f.sums[g][x]
		if was >= 0 && f.domain[was][level] == x {
			n--
		}
		if n >= f.caps[x] {
			return false
		}
	}
	return true
}

// fillRow fills the holes of a row with the drives that lack most. It never
// gets stuck: sets of drives within nested caps are the independent sets of a
// laminar matroid, so whatever is in the row can be completed.
func (f *filler) fillRow(g int) {
	for i, d := range f.rows[g] {
		if d >= 0 {
			continue
		}
		best, score := -1, 0.0
		for d := range f.drives {
			if best >= 0 && f.left[d] < f.left[best] || !f.admits(g, i, d) {
				continue
			}
			s := rendezvous(f.pool.ID, g, i, f.drives[d])
			if best < 0 || f.left[d] > f.left[best] || s > score {
				best, score = d, s
			}
		}
		if best >= 0 {
			f.place(g, i, best)
		}
	}
}

// balance moves places from drives that have too many to drives that lack some,
// each time along the shortest chain of admissible moves.
func (f *filler) balance() {
	failed := 0
	for range f.width * len(f.rows) {
		found, done := f.shift()
		if !found {
			return
		}
		if !done {
			if failed++; failed > maxBrokenChains {
				return
			}
		}
	}
}

// maxBrokenChains bounds how often balance tries again after a chain of moves
// could not be made to its end.
const maxBrokenChains = 64

// A step is one admissible move: drive from gives place i of row g.
type step struct{ from, g, i int }

// shift makes one shortest chain of moves from the drives that have too many to
// one that lacks some. It reports whether there is one, and whether it could be
// made to its end.
func (f *filler) shift() (found, done bool) {
	via := make([]step, len(f.drives)) // how a drive was reached
	seen := make([]bool, len(f.drives))
	var queue []int
	for d := range f.drives {
		if f.left[d] < 0 {
			seen[d] = true
			via[d] = step{from: -1}
			queue = append(queue, d)
		}
	}
	slices.SortStableFunc(queue, func(a, b int) int { return cmp.Compare(f.left[a], f.left[b]) })
	for len(queue) > 0 {
		a := queue[0]
		queue = queue[1:]
		start := int(mix(uint64(a)) % uint64(len(f.rows)))
		for n := range f.rows {
			g := (start + n) % len(f.rows)
			i := slices.Index(f.rows[g], a)
			if i < 0 {
				continue
			}
			for b := range f.drives {
				if seen[b] || !f.admits(g, i, b) {
					continue
				}
				seen[b], via[b] = true, step{from: a, g: g, i: i}
				if f.left[b] > 0 {
					return true, f.walk(via, b)
				}
				queue = append(queue, b)
			}
		}
	}
	return false, false
}

// walk makes the moves that lead to drive b, the last one first: each leaves
// the drive before it one short until the next move makes up for it. A move
// that an earlier one of the chain made inadmissible ends it, with the
// imbalance moved on, not grown.
func (f *filler) walk(via []step, b int) bool {
	for s := via[b]; s.from >= 0; s = via[b] {
		if f.rows[s.g][s.i] != s.from || !f.admits(s.g, s.i, b) {
			return false
		}
		f.place(s.g, s.i, b)
		b = s.from
	}
	return true
}

// result names the drives. The places within a fresh row are shuffled, so that
// data and parity fall on all drives alike.
func (f *filler) result(shuffle bool) [][]hallig.DriveID {
	out := make([][]hallig.DriveID, len(f.rows))
	for g, row := range f.rows {
		if shuffle {
			slices.SortFunc(row, func(a, b int) int { return cmp.Compare(f.order(g, a), f.order(g, b)) })
		}
		out[g] = make([]hallig.DriveID, len(row))
		for i, d := range row {
			if d >= 0 {
				out[g][i] = f.drives[d].ID
			}
		}
	}
	return out
}

func (f *filler) order(g, d int) uint64 {
	if d < 0 {
		return math.MaxUint64
	}
	h := mix(uint64(f.pool.ID)<<32 ^ uint64(uint32(g)))
	for _, b := range f.drives[d].ID {
		h = mix(h ^ uint64(b))
	}
	return h
}

// quotas returns how many of groups*width places each drive should get: in
// proportion to its weight, within what the caps leave to it and its domains.
func quotas(active []Drive, c Caps, width, groups int) []int {
	out := make([]int, len(active))
	at := map[hallig.DriveID]int{}
	for i, d := range active {
		at[d.ID] = i
	}
	var deal func(t *tree, n int)
	deal = func(t *tree, n int) {
		if t.level == 4 {
			out[at[t.drives[0].ID]] = n
			return
		}
		limits := make([]int, len(t.children))
		weights := make([]float64, len(t.children))
		for i, child := range t.children {
			limits[i] = child.capacity(c) * groups
			weights[i] = child.weight
		}
		for i, share := range waterfill(n, weights, limits) {
			deal(t.children[i], share)
		}
	}
	deal(newTree(active), width*groups)
	return out
}

// waterfill deals n out in proportion to the weights, none above its limit,
// rounding so that the shares add up to n (or to all limits, if less).
func waterfill(n int, weights []float64, limits []int) []int {
	share := make([]float64, len(weights))
	open := make([]bool, len(weights))
	for i := range open {
		open[i] = true
	}
	rest := float64(n)
	for again := true; again; {
		again = false
		total := 0.0
		for i, w := range weights {
			if open[i] {
				total += w
			}
		}
		for i, w := range weights {
			if open[i] && rest*w/total >= float64(limits[i]) {
				share[i], open[i], again = float64(limits[i]), false, true
			}
		}
		rest = float64(n)
		for i := range share {
			if !open[i] {
				rest -= share[i]
			}
		}
		rest = max(0, rest)
		if !again {
			for i, w := range weights {
				if open[i] {
					share[i] = rest * w / total
				}
			}
		}
	}
	return roundShares(n, share, limits)
}

// roundShares rounds by largest remainder.
func roundShares(n int, share []float64, limits []int) []int {
	out := make([]int, len(share))
	order := make([]int, len(share))
	for i, s := range share {
		out[i], order[i] = min(int(s), limits[i]), i
		n -= out[i]
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Compare(share[b]-math.Floor(share[b]), share[a]-math.Floor(share[a]))
	})
	for changed := true; n > 0 && changed; {
		changed = false
		for _, i := range order {
			if n > 0 && out[i] < limits[i] {
				out[i]++
				n--
				changed = true
			}
		}
	}
	return out
}
