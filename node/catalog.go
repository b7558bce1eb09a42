package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/admin"
	"github.com/hallig-cloud/hallig/catalog/raft"
	"github.com/hallig-cloud/hallig/placement"
	"github.com/hallig-cloud/hallig/seal/keyfile"
	"github.com/hallig-cloud/hallig/shard"
)

// catalogDir is the directory of a drive that holds a mirror of the catalog.
const catalogDir = "catalog"

// catalogConfig says where the catalog's mirrors are: on the drives that the
// node remembers, as far as they are here; if none of them is, on any drive
// that holds one, so that the catalog can say whether it is stale.
func (n *Node) catalogConfig() (raft.Config, error) {
	id := n.identity.get()
	var dirs, others []string
	for _, d := range n.fleet.snapshot() {
		if d.store == nil {
			continue
		}
		dir := path.Join(d.path, catalogDir)
		if slices.Contains(id.Mirrors, d.id) {
			dirs = append(dirs, dir)
		} else if _, err := n.cfg.FS.Stat(dir); err == nil {
			others = append(others, dir)
		}
	}
	if len(dirs) == 0 {
		dirs = others
	}
	if len(dirs) == 0 {
		return raft.Config{}, n.noCatalog(id)
	}
	return raft.Config{
		Mesh: id.Mesh, Node: id.Node, Dirs: dirs, FS: n.cfg.FS, Sealer: n.keys.ring,
		KnownEpoch: id.CatalogEpoch, AcceptStale: n.cfg.AcceptStale, OnMirrors: n.noteMirrors,
		Now: n.cfg.Now, Log: n.cfg.Log,
	}, nil
}

func (n *Node) noCatalog(id Identity) error {
	var paths []string
	for _, m := range id.Mirrors {
		paths = append(paths, id.Drives[m])
	}
	return startf(hallig.ErrUnavailable, "none of the drives that hold the catalog (%v) can be used: bring one of them back, or restore an export (`hallig catalog restore`)", paths)
}

// openCatalog opens the catalog on its mirrors.
func (n *Node) openCatalog(ctx context.Context) (*raft.Catalog, error) {
	cfg, err := n.catalogConfig()
	if err != nil {
		return nil, err
	}
	c, err := raft.Open(ctx, cfg)
	switch {
	case err == nil:
		return c, nil
	case errors.Is(err, hallig.ErrStale):
		return nil, startf(err, "%v; if the newer copies are gone for good, `hallig catalog restore FILE` takes an export, and --accept-stale-catalog the outdated copy, and what was written since is lost", err)
	case errors.Is(err, hallig.ErrNotFound):
		return nil, startf(err, "the catalog of this node is on none of its drives (%s): bring a drive that holds it back, or restore an export (`hallig catalog restore FILE`; exports lie in %s of the drives)", strings.Join(slices.Sorted(maps.Values(n.fleet.paths())), ", "), exportDir)
	case errors.Is(err, context.Canceled):
		return nil, err
	}
	return nil, startIO("the catalog on", cfg.Dirs[0], err)
}

// noteMirrors records a changed set of mirrors beside the catalog itself, on
// every drive and in the data directory, so that a drive that was away is
// known to be stale. The catalog calls it; it must not call the catalog.
func (n *Node) noteMirrors(set raft.MirrorSet) error {
	var members []hallig.DriveID
	for _, d := range n.fleet.snapshot() {
		if slices.Contains(set.Dirs, path.Join(d.path, catalogDir)) {
			members = append(members, d.id)
		}
	}
	n.identity.change(func(id *Identity) { id.Mirrors, id.CatalogEpoch = members, set.Epoch })
	n.saveIdentity()
	n.cfg.Log.Info("the catalog's mirrors changed", "epoch", set.Epoch, "dirs", fmt.Sprint(set.Dirs))
	return nil
}

// mirrors describes the copies of the catalog and the key file.
func (n *Node) mirrors() []admin.Mirror {
	s := n.store.Load()
	if s == nil {
		return nil
	}
	out := []admin.Mirror{}
	drives := n.fleet.snapshot()
	for _, m := range s.catalog.Status().Mirrors {
		x := admin.Mirror{Path: m.Dir, State: "stale", Reason: m.Reason}
		switch {
		case m.Current:
			x.State = "current"
		case m.Step != "":
			x.State, x.Reason = "rebuilding", m.Step
		}
		for _, d := range drives {
			if path.Join(d.path, catalogDir) == m.Dir {
				x.Drive = d.id.String()
				if gone(d.status().State) {
					x.State = "missing"
					break
				}
				_, err := n.cfg.FS.Stat(path.Join(d.path, keyfile.Name))
				x.KeyFile = err == nil
			}
		}
		if x.Drive != "" { // one on a drive that is out is no mirror any more
			out = append(out, x)
		}
	}
	return out
}

// How often the mirrors are looked at, how long a failed rebuild waits, and
// how often the copies of the key file are compared, in looks.
const (
	mirrorLook  = 2 * time.Second
	mirrorPause = 30 * time.Second
	keyLooks    = 15
)

// keepMirrors wakes tendMirrors: drives or mirrors have changed.
func (n *Node) keepMirrors() {
	select {
	case n.tend <- struct{}{}:
	default:
	}
}

// tendMirrors makes sure, until ctx ends, that enough drives hold the catalog
// and the key file. One mirror is rebuilt at a time.
func (n *Node) tendMirrors(ctx context.Context) {
	tick := time.NewTicker(mirrorLook)
	defer tick.Stop()
	var notBefore time.Time
	for look := 0; ; look++ {
		changed := false
		select {
		case <-ctx.Done():
			return
		case <-n.tend:
			changed = true
		case <-tick.C:
		}
		s := n.store.Load()
		if s == nil || time.Now().Before(notBefore) {
			continue
		}
		for {
			mended, err := n.mendMirror(ctx, s)
			changed = changed || mended
			if err != nil {
				notBefore = time.Now().Add(mirrorPause)
			}
			if err != nil || !mended {
				break
			}
		}
		if changed || look%keyLooks == 0 {
			n.mendKeys()
		}
	}
}

// mendMirror does one step towards the mirrors that there should be and reports
// whether it did.
func (n *Node) mendMirror(ctx context.Context, s *services) (bool, error) {
	st := s.catalog.Status()
	t := n.fleet.Topology()
	current, busy := map[string]bool{}, false
	for _, m := range st.Mirrors {
		if m.Current {
			current[m.Dir] = true
		}
		busy = busy || m.Step != ""
	}
	if busy || ctx.Err() != nil {
		return false, nil
	}
	var draining string // a mirror on a drive that is to be emptied
	var free []string   // directories that could hold one
	for _, d := range n.fleet.snapshot() {
		x, ok := t.Drive(d.id)
		dir := path.Join(d.path, catalogDir)
		switch {
		case !ok || d.store == nil:
		case current[dir] && x.State != placement.DriveActive:
			draining = dir
		case !current[dir] && x.State == placement.DriveActive && d.status().State == shard.StateOnline && n.fleet.present(d.id, d.path):
			free = append(free, dir)
		}
	}
	var err error
	switch want := mirrorCount(len(t.Active())); {
	case draining != "" && len(free) > 0:
		err = s.catalog.ReplaceMirror(ctx, draining, free[0])
	case len(current) < want && len(free) > 0:
		err = s.catalog.AddMirror(ctx, free[0])
	default:
		return false, nil
	}
	if err != nil {
		if ctx.Err() == nil {
			n.cfg.Log.Error("a mirror of the catalog could not be rebuilt; it is tried again", "dir", free[0], "err", err)
			n.events.add("error", "mirror of the catalog at "+free[0]+": "+err.Error())
		}
		return false, err
	}
	n.events.add("info", "the catalog is mirrored at "+free[0])
	return true, nil
}

// mendKeys brings the copies of the key file up to date with the mirrors.
func (n *Node) mendKeys() {
	n.keys.mu.Lock()
	defer n.keys.mu.Unlock()
	paths := n.usableKeyPaths()
	if len(paths) == 0 {
		return
	}
	_, found, err := keyfile.Load(n.cfg.FS, paths...)
	if err != nil && !errors.Is(err, hallig.ErrNotFound) {
		n.cfg.Log.Error("copies of the key file cannot be read", "err", err)
	}
	n.mendKeyFiles(found)
}

// isMirror reports whether a drive holds a mirror that is current.
func (n *Node) isMirror(s *services, drive string) bool {
	for _, m := range s.catalog.Status().Mirrors {
		if m.Dir == path.Join(drive, catalogDir) && m.Current {
			return true
		}
	}
	return false
}

// dropMirror gives up the mirror on a drive that goes: its directory gets
// another name, which the catalog notices within seconds.
func (n *Node) dropMirror(drive string) error {
	dir := path.Join(drive, catalogDir)
	if err := n.cfg.FS.Rename(dir, dir+".removed"); err != nil {
		return fmt.Errorf("give up the mirror of the catalog: %w", err)
	}
	return n.cfg.FS.SyncDir(drive)
}

// forgetKeys removes the key file from a drive that goes.
func (n *Node) forgetKeys(drive string) {
	err := n.cfg.FS.Remove(path.Join(drive, keyfile.Name))
	if err == nil {
		err = n.cfg.FS.SyncDir(drive)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		n.cfg.Log.Error("the key file could not be removed from a drive that goes: do not give the disk away", "path", drive, "err", err)
	}
}
