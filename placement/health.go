package placement

import (
	"slices"

	"github.com/hallig-cloud/hallig"
)

// Health counts a pool's groups by what is left of them. A shard counts as
// present where the table put it and the drive can be read.
type Health struct {
	Groups   int `json:"groups"`
	Whole    int `json:"whole"`    // every drive of the table is there
	Degraded int `json:"degraded"` // some are gone, more than K are left
	Bare     int `json:"bare"`     // exactly K are left: the next loss loses data
	Lost     int `json:"lost"`     // fewer than K are left: unreadable unless they come back
	Spare    int `json:"spare"`    // the fewest shards beyond K that any group has left; negative when Lost
}

// Health describes the table as it is before any repair: gone reports drives
// that cannot be read now, beyond those that t calls lost or does not know; it
// may be nil.
func (p *Pool) Health(t *Topology, gone func(hallig.DriveID) bool) Health {
	h := Health{Groups: len(p.Groups), Spare: p.Scheme.M}
	for _, row := range p.Groups {
		left := 0
		for _, id := range row {
			if d, ok := t.Drive(id); ok && d.State != DriveLost && (gone == nil || !gone(id)) {
				left++
			}
		}
		h.Spare = min(h.Spare, left-p.Scheme.K)
		switch {
		case left == len(row):
			h.Whole++
		case left > p.Scheme.K:
			h.Degraded++
		case left == p.Scheme.K:
			h.Bare++
		default:
			h.Lost++
		}
	}
	return h
}

// Survives reports whether every group, with its shards where Drives puts them
// under t, would still have K shards after the worst loss of the kind s. It is
// exact: it looks at the rows, not at the caps.
func (p *Pool) Survives(t *Topology, s hallig.Survive) bool {
	for g := range p.Groups {
		var row []domains
		for _, id := range p.Drives(t, g) {
			if d, ok := t.Drive(id); ok {
				row = append(row, domainsOf(d))
			}
		}
		if len(row)-worst(row, s) < p.Scheme.K {
			return false
		}
	}
	return true
}

// worst is the most shards that a loss of the kind takes from shards in the
// given domains, each on a drive of its own.
func worst(row []domains, s hallig.Survive) int {
	providers := count(row, func(d domains) string { return d.provider })
	switch s {
	case hallig.SurviveDrive:
		return min(1, len(row))
	case hallig.SurviveTwoDrives:
		return min(2, len(row))
	case hallig.SurviveNode:
		return largest(count(row, func(d domains) hallig.NodeID { return d.node }), 1)
	case hallig.SurviveSite:
		return largest(count(row, func(d domains) [2]string { return d.site }), 1)
	case hallig.SurviveProvider:
		return largest(providers, 1)
	case hallig.SurviveTwoProviders:
		return largest(providers, 2)
	case hallig.SurviveProviderDrive:
		return min(len(row), largest(providers, 1)+1)
	case hallig.SurviveProviderNode:
		most := 0
		for p, n := range providers {
			rest := slices.DeleteFunc(slices.Clone(row), func(d domains) bool { return d.provider == p })
			most = max(most, n+largest(count(rest, func(d domains) hallig.NodeID { return d.node }), 1))
		}
		return most
	}
	return 0
}

func count[K comparable](row []domains, key func(domains) K) map[K]int {
	out := map[K]int{}
	for _, d := range row {
		out[key(d)]++
	}
	return out
}

// largest adds up the n largest counts.
func largest[K comparable](counts map[K]int, n int) int {
	var all []int
	for _, c := range counts {
		all = append(all, c)
	}
	slices.Sort(all)
	sum := 0
	for i := len(all) - 1; i >= 0 && i >= len(all)-n; i-- {
		sum += all[i]
	}
	return sum
}
