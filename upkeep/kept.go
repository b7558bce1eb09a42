package upkeep

import (
	"context"
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/placement"
	"github.com/hallig-cloud/hallig/shard"
)

// Kept is what is known of how safe everything that is stored is: a promise
// that follows from the drives is true of old data only once it was
// re-encoded. The zero value knows nothing.
//
// A write that was under way when the topology changed follows with a later
// pass.
type Kept struct {
	// Revision of the topology under which a whole pass of re-encoding left no
	// version in a pool that does not keep its bucket's promise; 0 when drives
	// have been away since, so that new data may lie in narrower pools.
	Revision uint64 `cbor:"1,keyasint"`
	// Drives is how many drives there were then: active ones and lost ones
	// whose contents were still being rebuilt.
	Drives int `cbor:"2,keyasint"`
	// Least is the fewest active drives that could be written to since.
	Least int `cbor:"3,keyasint"`
}

const taskKept = taskPrefix + "kept"

// Kept returns what is known now.
func (u *Upkeep) Kept() Kept {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.kept
}

// RecallKept takes up what an earlier life of the process knew; with an empty
// store every promise is kept. Call it before Run, and after the topology has
// changed.
func (u *Upkeep) RecallKept(ctx context.Context) error {
	t := u.config.Drives.Topology()
	found, next, err := u.config.Catalog.Walk(ctx, nil, 1)
	if err != nil {
		return fmt.Errorf("walk the catalog: %w", err)
	}
	if len(found) == 0 && next == nil {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.kept = keptUnder(t)
		return nil
	}
	if u.Kept() != (Kept{}) {
		return nil
	}
	rec, err := u.config.Catalog.Get(ctx, catalog.KindTask, taskKept)
	if err != nil && !errors.Is(err, hallig.ErrNotFound) {
		return fmt.Errorf("read what is known of the promise: %w", err)
	}
	var k Kept
	if err != nil || cbor.Unmarshal(rec.Value, &k) != nil {
		return nil // nothing is known: the first pass finds out
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.kept = k
	return nil
}

func keptUnder(t *placement.Topology) Kept {
	k := Kept{Revision: t.Revision, Least: len(t.Active())}
	for _, d := range t.Drives {
		if d.State != placement.DriveDraining {
			k.Drives++
		}
	}
	return k
}

// noteDrives looks whether writes go to fewer drives than there should be. Full
// ones do not count: without them writes keep the whole promise or are refused.
func (u *Upkeep) noteDrives() {
	there, all := 0, u.config.Drives.Topology().Active()
	for _, d := range all {
		if s := u.config.Drives.Drive(d.ID); s != nil {
			if state := s.Status().State; state == shard.StateOnline || state == shard.StateFull {
				there++
			}
		}
	}
	if there == len(all) {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.narrowed++
	u.kept.Revision, u.kept.Least = 0, min(u.kept.Least, there)
}

// keep notes that a pass, begun under t when narrowings had been seen, left
// nothing short of its promise.
func (u *Upkeep) keep(ctx context.Context, t *placement.Topology, narrowed int) {
	u.noteDrives()
	u.mu.Lock()
	if u.config.Drives.Topology() != t || u.narrowed != narrowed {
		u.mu.Unlock()
		return
	}
	k := keptUnder(t)
	same := k == u.kept
	u.kept = k
	u.mu.Unlock()
	if same {
		return
	}
	value, err := cbor.Marshal(k)
	if err == nil {
		err = u.config.Catalog.Update(ctx, catalog.Change{Kind: catalog.KindTask, Name: taskKept, Value: value, Expect: catalog.AnyRevision})
	}
	if err != nil {
		u.config.Logger.Warn("what is known of the promise was not recorded", "err", err)
	}
}
