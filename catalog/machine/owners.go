package machine

import (
	"cmp"
	"slices"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
)

// owners gathers which rows of an operation came to own extents and which
// ceased to, and settles what becomes garbage: an extent that was dropped and
// that nothing owns any more. Ownership is counted per data id and generation,
// since a re-encoding gives stripes of the same data id a new generation.
type owners struct {
	adds, drops [][]catalog.Extent
}

type refID struct {
	data       hallig.DataID
	generation uint16
}

func (o *owners) add(e []catalog.Extent) {
	if len(e) > 0 {
		o.adds = append(o.adds, e)
	}
}

func (o *owners) drop(e []catalog.Extent) {
	if len(e) > 0 {
		o.drops = append(o.drops, e)
	}
}

// ids lists what one owner refers to, each once, in order.
func ids(extents []catalog.Extent) []refID {
	out := make([]refID, 0, len(extents))
	for i := range extents {
		out = append(out, refID{extents[i].Data, extents[i].Generation})
	}
	slices.SortFunc(out, func(a, b refID) int {
		return cmp.Or(slices.Compare(a.data[:], b.data[:]), cmp.Compare(a.generation, b.generation))
	})
	return slices.Compact(out)
}

// settle updates the reference rows and returns the garbage.
func (o *owners) settle(rows Rows) ([]catalog.Extent, error) {
	if len(o.adds) == 0 && len(o.drops) == 0 {
		return nil, nil
	}
	if len(o.drops) == 0 && len(o.adds) == 1 && len(o.adds[0]) == 1 {
		e := &o.adds[0][0]
		return nil, bump(rows, refID{e.Data, e.Generation}, 1, 0)
	}
	added, dropped := map[refID]int{}, map[refID]int{}
	for _, e := range o.adds {
		for _, id := range ids(e) {
			added[id]++
		}
	}
	for _, e := range o.drops {
		for _, id := range ids(e) {
			dropped[id]++
		}
	}
	others, err := o.others(rows, added, dropped)
	if err != nil {
		return nil, err
	}
	var garbage []catalog.Extent
	for _, extents := range o.drops {
		for _, e := range extents {
			if others[refID{e.Data, e.Generation}] > 0 {
				continue
			}
			garbage = append(garbage, o.unused(e)...)
		}
	}
	for _, id := range ids(garbage) {
		if err := bump(rows, id, 0, 1); err != nil {
			return nil, err
		}
	}
	return garbage, nil
}

// others applies the counts and returns for each dropped id how many owners it
// has besides those that the operation added.
func (o *owners) others(rows Rows, added, dropped map[refID]int) (map[refID]int, error) {
	others := make(map[refID]int, len(dropped))
	for id, n := range dropped {
		row, err := getRef(rows, id)
		if err != nil {
			return nil, err
		}
		others[id] = int(row.Live) - n
		if err := bump(rows, id, added[id]-n, 0); err != nil {
			return nil, err
		}
	}
	for id, n := range added {
		if _, ok := dropped[id]; !ok {
			if err := bump(rows, id, n, 0); err != nil {
				return nil, err
			}
		}
	}
	return others, nil
}

// unused returns what of a dropped extent no added extent covers. Of an extent
// that is covered in part, the lengths of the rest are not known and are 0.
func (o *owners) unused(e catalog.Extent) []catalog.Extent {
	type span struct{ lo, hi uint64 }
	left := []span{{uint64(e.First), uint64(e.First) + uint64(e.Count)}}
	for _, extents := range o.adds {
		for i := range extents {
			a := &extents[i]
			if a.Data != e.Data || a.Generation != e.Generation {
				continue
			}
			lo, hi := uint64(a.First), uint64(a.First)+uint64(a.Count)
			var next []span
			for _, s := range left {
				if hi <= s.lo || lo >= s.hi {
					next = append(next, s)
					continue
				}
				if s.lo < lo {
					next = append(next, span{s.lo, lo})
				}
				if hi < s.hi {
					next = append(next, span{hi, s.hi})
				}
			}
			left = next
		}
	}
	var out []catalog.Extent
	for _, s := range left {
		g := e
		if s.hi-s.lo != uint64(e.Count) {
			g.First, g.Count, g.Length = uint32(s.lo), uint32(s.hi-s.lo), 0
			g.Last = e.Last && s.hi == uint64(e.First)+uint64(e.Count)
		}
		out = append(out, g)
	}
	return out
}

func getRef(rows Reader, id refID) (refRow, error) {
	v, err := rows.Get(refKey(id.data, id.generation))
	if err != nil || v == nil {
		return refRow{}, err
	}
	return decodeRef(v)
}

// bump changes an id's counts and removes its row when both are 0.
func bump(rows Rows, id refID, live, waiting int) error {
	row, err := getRef(rows, id)
	if err != nil {
		return err
	}
	row.Live = uint32(max(0, int(row.Live)+live))
	row.Waiting = uint32(max(0, int(row.Waiting)+waiting))
	k := refKey(id.data, id.generation)
	if row == (refRow{}) {
		return rows.Delete(k)
	}
	return rows.Set(k, row.append(nil))
}

// forget takes collected garbage's references back.
func forget(rows Rows, extents []catalog.Extent) error {
	for _, id := range ids(extents) {
		if err := bump(rows, id, 0, -1); err != nil {
			return err
		}
	}
	return nil
}
