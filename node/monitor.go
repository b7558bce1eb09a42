package node

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/placement"
	"github.com/hallig-cloud/hallig/shard"
	"github.com/hallig-cloud/hallig/shard/disk"
)

// status describes the drive now, open or not.
func (d *drive) status() shard.Status {
	if d.store != nil {
		return d.store.Status()
	}
	return shard.Status{Drive: d.id, State: d.state, Reason: d.reason}
}

// gone reports whether a drive in that state serves nothing.
func gone(s shard.State) bool {
	return s == shard.StateMissing || s == shard.StateFailed || s == shard.StateForeign
}

// isGone reports whether a drive of this mesh serves nothing now.
func (f *fleet) isGone(id hallig.DriveID) bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	d := f.drives[id]
	return d == nil || gone(d.status().State)
}

// present reports whether a drive serves and its directory is there at this
// moment: nothing may be made where a disk is not mounted.
func (f *fleet) present(id hallig.DriveID, path string) bool {
	if f.isGone(id) {
		return false
	}
	_, err := f.fs.Stat(filepath.Join(path, disk.IdentityFile))
	return err == nil
}

// watchDrives looks at every drive again and again until ctx ends.
func (n *Node) watchDrives(ctx context.Context) {
	tick := time.NewTicker(n.cfg.WatchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			n.lookAtDrives(ctx)
		}
	}
}

// lookAtDrives notices what changed, opens again what came back, and declares
// lost what was gone for too long.
func (n *Node) lookAtDrives(ctx context.Context) {
	changed := false
	for _, d := range n.fleet.snapshot() {
		now := d.status()
		if now.State != d.state {
			n.noteState(d, now)
			changed = true
		}
		if !gone(now.State) {
			continue
		}
		if n.comeBack(ctx, d) {
			changed = true
			continue
		}
		if since := n.cfg.Now().Sub(d.since); now.State == d.state && since >= n.cfg.LostAfter {
			n.declareLost(ctx, d, since)
		}
	}
	n.finishDrains(ctx)
	if changed {
		n.fleet.watch.tell()
		n.keepMirrors()
	}
}

// noteState remembers a drive's new state and says so.
func (n *Node) noteState(d drive, now shard.Status) {
	n.fleet.mu.Lock()
	if x := n.fleet.drives[d.id]; x != nil {
		x.state, x.reason, x.since = now.State, now.Reason, n.cfg.Now()
	}
	n.fleet.mu.Unlock()
	text := fmt.Sprintf("drive %s at %s: %s (was %s)", d.id.String()[:8], d.path, now.State, d.state)
	if now.Reason != "" {
		text += ": " + now.Reason
	}
	if now.State == shard.StateOnline {
		n.events.add("info", text)
		n.cfg.Log.Info("drive is online", "drive", d.id.String(), "path", d.path)
		return
	}
	n.events.add("error", text)
	n.cfg.Log.Error("drive changed its state", "drive", d.id.String(), "path", d.path, "state", string(now.State), "err", now.Reason)
}

// comeBack opens a drive again whose directory holds the right identity. A
// store that is open looks for itself; one that failed, or whose directory was
// replaced, needs to be opened anew.
func (n *Node) comeBack(ctx context.Context, d drive) bool {
	if d.store != nil && d.status().State == shard.StateMissing {
		return false
	}
	id, err := disk.ReadIdentity(n.cfg.FS, d.path)
	if err != nil || id.Drive != d.id || id.Mesh != n.fleet.mesh || id.Node != n.fleet.node {
		return false
	}
	if d.store != nil && n.cfg.Now().Sub(d.since) < 10*n.cfg.WatchEvery {
		return false // a failing drive is not opened again in a tight loop
	}
	if err := n.fleet.reopen(ctx, d); err != nil {
		n.cfg.Log.Debug("drive cannot be opened again", "drive", d.id.String(), "err", err)
		return false
	}
	if s := n.store.Load(); s != nil { // one that was declared lost is active again
		id := n.identity.get()
		t, err := changeTopology(ctx, s.catalog, func(t *placement.Topology) (bool, error) { return n.join(t, id), nil })
		if err != nil {
			n.cfg.Log.Error("the drive is back, and the topology could not be changed", "drive", d.id.String(), "err", err)
			return false
		}
		n.fleet.setTopology(t)
	}
	n.events.add("info", fmt.Sprintf("drive %s at %s is back", d.id.String()[:8], d.path))
	n.cfg.Log.Info("drive is back", "drive", d.id.String(), "path", d.path)
	return true
}

// declareLost takes a drive that was gone for too long out of the topology, if
// the others can hold what it held; upkeep then rebuilds its contents.
func (n *Node) declareLost(ctx context.Context, d drive, after time.Duration) {
	s := n.store.Load()
	if s == nil {
		return
	}
	if x, ok := n.fleet.Topology().Drive(d.id); !ok || x.State == placement.DriveLost {
		return
	}
	lost := false
	t, err := changeTopology(ctx, s.catalog, func(t *placement.Topology) (bool, error) {
		if len(t.Active()) <= 1 {
			return false, nil // nothing is left to rebuild on
		}
		for i := range t.Drives {
			if t.Drives[i].ID == d.id && t.Drives[i].State != placement.DriveLost {
				t.Drives[i].State, lost = placement.DriveLost, true
			}
		}
		return lost, nil
	})
	if err != nil {
		n.cfg.Log.Error("cannot declare the drive lost", "drive", d.id.String(), "err", err)
		return
	}
	if lost {
		n.events.add("error", fmt.Sprintf("drive %s at %s was gone for %s: declared lost; its contents are being rebuilt on the other drives", d.id.String()[:8], d.path, after.Round(time.Second)))
		n.cfg.Log.Error("drive declared lost; rebuilding its contents on the others", "drive", d.id.String(), "path", d.path)
		n.fleet.setTopology(t)
	}
}

// finishDrains takes drives out for good that were drained or declared lost,
// once a comparison of every drive has found that nothing needs them any more.
func (n *Node) finishDrains(ctx context.Context) {
	s := n.store.Load()
	if s == nil {
		return
	}
	u, t := s.upkeep.Load(), n.fleet.Topology()
	if u == nil || u.Settled() < t.Revision {
		return
	}
	for _, x := range t.Drives {
		if x.State == placement.DriveActive || x.Node != n.fleet.node {
			continue
		}
		if err := n.takeOut(ctx, s, x); err != nil && ctx.Err() == nil {
			n.cfg.Log.Error("a drive could not be taken out; it is tried again", "drive", x.ID.String(), "err", err)
		}
	}
}

// takeOut removes a drive from the topology and from the node's memory. A
// mirror of the catalog on it is given up first.
func (n *Node) takeOut(ctx context.Context, s *services, x placement.Drive) error {
	path, known := n.fleet.paths()[x.ID]
	if known && !n.fleet.isGone(x.ID) {
		if n.isMirror(s, path) {
			return n.dropMirror(path)
		}
		n.forgetKeys(path)
	}
	t, err := changeTopology(ctx, s.catalog, func(t *placement.Topology) (bool, error) {
		before := len(t.Drives)
		t.Drives = slices.DeleteFunc(t.Drives, func(d placement.Drive) bool { return d.ID == x.ID })
		return len(t.Drives) < before, nil
	})
	if err != nil {
		return err
	}
	n.fleet.setTopology(t)
	n.fleet.forget(x.ID)
	n.identity.change(func(id *Identity) { delete(id.Drives, x.ID) })
	n.saveIdentity()
	n.events.add("info", fmt.Sprintf("drive %s at %s is out: nothing that is stored needs it", x.ID.String()[:8], path))
	n.cfg.Log.Info("drive is out", "drive", x.ID.String(), "path", path)
	return nil
}
