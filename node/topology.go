package node

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/fxamacker/cbor/v2"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/placement"
	"github.com/hallig-cloud/hallig/shard"
)

// topologyName is the record of KindTopology that holds the whole mesh's
// topology, as CBOR.
const topologyName = "mesh"

// loadTopology reads the topology; an empty one if there is none yet.
func loadTopology(ctx context.Context, records catalog.Records) (*placement.Topology, hallig.Revision, error) {
	rec, err := records.Get(ctx, catalog.KindTopology, topologyName)
	if errors.Is(err, hallig.ErrNotFound) {
		return &placement.Topology{}, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read the topology: %w", err)
	}
	t := &placement.Topology{}
	if err := cbor.Unmarshal(rec.Value, t); err != nil {
		return nil, 0, fmt.Errorf("topology record: %w: %w", hallig.ErrCorrupt, err)
	}
	return t, rec.Revision, nil
}

// changeTopology applies change to the current topology and stores it with the
// next revision; change returns false when nothing is to be done. It is tried
// again after a lost race.
func changeTopology(ctx context.Context, records catalog.Records, change func(*placement.Topology) (bool, error)) (*placement.Topology, error) {
	for {
		t, rev, err := loadTopology(ctx, records)
		if err != nil {
			return nil, err
		}
		t.Drives = slices.Clone(t.Drives)
		if changed, err := change(t); err != nil || !changed {
			return t, err
		}
		t.Revision++
		value, err := cbor.Marshal(t)
		if err != nil {
			return nil, fmt.Errorf("encode the topology: %w", err)
		}
		err = records.Update(ctx, catalog.Change{Kind: catalog.KindTopology, Name: topologyName, Value: value, Expect: rev})
		if errors.Is(err, hallig.ErrConflict) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("store the topology: %w", err)
		}
		return t, nil
	}
}

// weight is a drive's share of the data: its size, in whole GiB so that it
// stays the same while files come and go beside it.
func weight(st shard.Status) int64 { return max(st.Total>>30, 1) << 30 }

// join adds the drives that the topology does not know, and brings labels up
// to date.
func (n *Node) join(t *placement.Topology, id Identity) bool {
	changed := false
	for _, d := range n.fleet.snapshot() {
		i := slices.IndexFunc(t.Drives, func(x placement.Drive) bool { return x.ID == d.id })
		if i < 0 {
			if d.store == nil {
				continue
			}
			t.Drives = append(t.Drives, placement.Drive{
				ID: d.id, Node: id.Node, Provider: id.Provider, Site: id.Site,
				Weight: weight(d.store.Status()), State: placement.DriveActive,
			})
			changed = true
			continue
		}
		if x := &t.Drives[i]; x.State == placement.DriveLost && d.store != nil {
			x.State, changed = placement.DriveActive, true // back after all
		}
		if x := &t.Drives[i]; x.Provider != id.Provider || x.Site != id.Site {
			x.Provider, x.Site, changed = id.Provider, id.Site, true
		}
	}
	return changed
}
