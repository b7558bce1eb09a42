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

// A filler fills one table.
type filler struct {
	pool   *Pool
	width  int
	drives []Drive
	index  map[hallig.DriveID]int
	domain []domains
	left   []int // places that the drive should still get; negative: it has too many
	rows   [][]int
	sums   []*tally
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
	for i, d := range active {
		f.index[d.ID] = i
		f.domain = append(f.domain, domainsOf(d))
	}
	f.left = quotas(active, p.Caps, f.width, groups)
	for g := range groups {
		row := make([]int, f.width)
		for i := range row {
			row[i] = -1
		}
		f.rows = append(f.rows, row)
		f.sums = append(f.sums, newTally(p.Caps))
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

// keep takes over the members of an old row that may stay.
func (f *filler) keep(g int, old []hallig.DriveID) {
	for i, id := range old {
		d, ok := f.index[id]
		if ok && !slices.Contains(f.rows[g], d) && f.sums[g].fits(f.domain[d]) {
			f.place(g, i, d)
		}
	}
}

func (f *filler) place(g, i, d int) {
	if was := f.rows[g][i]; was >= 0 {
		f.left[was]++
		f.sums[g].add(f.domain[was], -1)
	}
	f.rows[g][i] = d
	f.left[d]--
	f.sums[g].add(f.domain[d], 1)
}

// fillRow fills the holes of a row with the drives that lack most. Domains are
// taken care of by a look ahead: a drive is passed over only if the row can
// still be filled without it.
func (f *filler) fillRow(g int) {
	row := f.rows[g]
	for i := range row {
		if row[i] >= 0 {
			continue
		}
		best := -1
		for d := range f.drives {
			if !f.admits(g, i, d) {
				continue
			}
			if best < 0 || f.left[d] > f.left[best] || f.left[d] == f.left[best] && f.score(g, i, d) > f.score(g, i, best) {
				best = d
			}
		}
		if best >= 0 {
			f.place(g, i, best)
			continue
		}
		f.displace(g, i)
	}
}

// admits reports whether drive d may take place i of row g.
func (f *filler) admits(g, i, d int) bool {
	if slices.Contains(f.rows[g], d) {
		return false
	}
	was := f.rows[g][i]
	if was >= 0 {
		f.sums[g].add(f.domain[was], -1)
		defer f.sums[g].add(f.domain[was], 1)
	}
	return f.sums[g].fits(f.domain[d])
}

// displace handles a hole that no drive fits, because what fills the row took
// the wrong domains: the row is laid out anew, the least possible of it.
func (f *filler) displace(g, i int) {
	for j, was := range f.rows[g] {
		if j == i || was < 0 {
			continue
		}
		for a := range f.drives {
			if !f.admits(g, j, a) {
				continue
			}
			f.place(g, j, a)
			for b := range f.drives {
				if f.admits(g, i, b) {
					f.place(g, i, b)
					return
				}
			}
			f.place(g, j, was)
		}
	}
}

func (f *filler) score(g, i, d int) float64 { return rendezvous(f.pool.ID, g, i, f.drives[d]) }

// balance moves places from drives that have too many to drives that lack some,
// one place a move where that is possible, through a third drive where not.
func (f *filler) balance() {
	for range f.width * len(f.rows) {
		over := f.order(func(a, b int) int { return cmp.Compare(f.left[a], f.left[b]) })
		if f.left[over[0]] >= 0 || !f.shift(over) && !f.shiftThrough(over) {
			return
		}
	}
}

// order returns the drives sorted by c, then by index.
func (f *filler) order(c func(a, b int) int) []int {
	out := make([]int, len(f.drives))
	for i := range out {
		out[i] = i
	}
	slices.SortStableFunc(out, c)
	return out
}

// shift makes one direct move. order holds the drives, most overfull first.
func (f *filler) shift(order []int) bool {
	for _, a := range order {
		if f.left[a] >= 0 {
			return false
		}
		for x := len(order) - 1; x >= 0 && f.left[order[x]] > 0; x-- {
			if f.move(a, order[x]) {
				return true
			}
		}
	}
	return false
}

func (f *filler) shiftThrough(order []int) bool {
	for _, a := range order {
		if f.left[a] >= 0 {
			return false
		}
		for x := len(order) - 1; x >= 0 && f.left[order[x]] > 0; x-- {
			for _, via := range order {
				if via == a || via == order[x] || !f.move(a, via) {
					continue
				}
				if f.move(via, order[x]) {
					return true
				}
				f.move(via, a)
			}
		}
	}
	return false
}

// move gives one of a's places to b.
func (f *filler) move(a, b int) bool {
	start := int(mix(uint64(a)<<32^uint64(b)) % uint64(len(f.rows)))
	for n := range f.rows {
		g := (start + n) % len(f.rows)
		if i := slices.Index(f.rows[g], a); i >= 0 && f.admits(g, i, b) {
			f.place(g, i, b)
			return true
		}
	}
	return false
}

// result names the drives. The places within a fresh row are shuffled, so that
// data and parity fall on all drives alike.
func (f *filler) result(shuffle bool) [][]hallig.DriveID {
	out := make([][]hallig.DriveID, len(f.rows))
	for g, row := range f.rows {
		if shuffle {
			slices.SortFunc(row, func(a, b int) int { return cmp.Compare(f.place0(g, a), f.place0(g, b)) })
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

func (f *filler) place0(g, d int) uint64 {
	if d < 0 {
		return math.MaxUint64
	}
	id := f.drives[d].ID
	h := mix(uint64(f.pool.ID)<<32 ^ uint64(uint32(g)))
	for _, b := range id {
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
