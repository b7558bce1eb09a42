package node

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"path"
	"slices"
	"sync"
	"time"

	"github.com/hallig-cloud/hallig"
)

// seenEvery is how often the node notes that it runs.
const seenEvery = time.Minute

// identityKeeper holds the identity and where its copies lie.
type identityKeeper struct {
	mu sync.Mutex
	id Identity
}

func (k *identityKeeper) get() Identity {
	k.mu.Lock()
	defer k.mu.Unlock()
	id := k.id
	id.Drives = maps.Clone(id.Drives)
	id.Mirrors = slices.Clone(id.Mirrors)
	return id
}

// change edits the identity and returns it.
func (k *identityKeeper) change(f func(*Identity)) Identity {
	k.mu.Lock()
	f(&k.id)
	k.id.Edition++
	k.mu.Unlock()
	return k.get()
}

func (k *identityKeeper) touch(now time.Time) {
	k.change(func(id *Identity) { id.Seen = now.UTC().Truncate(time.Second) })
}

// findIdentity returns the newest copy of the node's identity among the data
// directory and the given drives; ok is false when there is none at all: a
// first start.
func (n *Node) findIdentity() (id Identity, ok bool, err error) {
	names := []string{n.data.file(IdentityFile)}
	drives := n.cfg.Drives
	if len(drives) == 0 {
		drives = []string{n.data.file(firstDrive)}
	}
	for _, d := range drives {
		names = append(names, path.Join(d, IdentityFile))
	}
	var bad error
	for i, name := range names {
		x, err := readIdentity(n.cfg.FS, name)
		switch {
		case errors.Is(err, fs.ErrNotExist), i > 0 && errors.Is(err, fs.ErrPermission):
		case err != nil:
			bad = errors.Join(bad, err)
		case ok && (x.Node != id.Node || x.Mesh != id.Mesh):
			return id, true, startf(hallig.ErrForeign, "%s belongs to another node (%s) than %s (%s): give each node its own drives and data directory", name, x.Node, names[0], id.Node)
		case !ok || x.Edition > id.Edition:
			id, ok = x, true
		}
	}
	switch {
	case ok && bad != nil:
		n.cfg.Log.Warn("a copy of the node's identity is unreadable; another is used and it will be replaced", "err", bad)
	case !ok && bad != nil:
		return id, false, startf(bad, "%v: restore %s from one of the drives or from a backup, or name another data directory with --data", bad, IdentityFile)
	}
	return id, ok, nil
}

// saveIdentity writes every copy: the data directory's, and one on each drive
// that is there. A copy that cannot be written is logged, not fatal: the
// newest readable one counts.
func (n *Node) saveIdentity() {
	n.saving.Lock() // the newest is written last
	defer n.saving.Unlock()
	id := n.identity.get()
	names := []string{n.data.file(IdentityFile)}
	for _, d := range n.fleet.snapshot() {
		if n.fleet.present(d.id, d.path) {
			names = append(names, path.Join(d.path, IdentityFile))
		}
	}
	for _, name := range names {
		if _, err := n.cfg.FS.Stat(path.Dir(name)); err != nil {
			continue // the drive is gone; the monitor knows
		}
		if err := writeIdentity(n.cfg.FS, name, id); err != nil {
			n.cfg.Log.Warn("cannot write the node's identity", "path", name, "err", err)
		}
	}
}

// keepIdentity notes every minute that the node runs, so that a clock that
// jumps back is noticed at the next start.
func (n *Node) keepIdentity(ctx context.Context) {
	tick := time.NewTicker(seenEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			n.identity.touch(n.cfg.Now())
			n.saveIdentity()
		}
	}
}
