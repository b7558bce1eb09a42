package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/placement"
	"github.com/hallig-cloud/hallig/shard"
	"github.com/hallig-cloud/hallig/shard/disk"
	"github.com/hallig-cloud/hallig/vfs"
)

// drive is one drive of this node, there or not.
type drive struct {
	id   hallig.DriveID
	path string

	store *disk.Drive // nil while it could not be opened
	stop  func()      // ends the store's background work and closes it

	state  shard.State // as last seen by the monitor
	reason string
	since  time.Time
}

// fleet is the node's drives and the topology. It implements objects.Drives.
type fleet struct {
	fs    vfs.FS
	log   *slog.Logger
	now   func() time.Time
	mesh  hallig.MeshID
	node  hallig.NodeID
	watch watchers

	topology atomic.Pointer[placement.Topology]

	mu     sync.RWMutex
	drives map[hallig.DriveID]*drive
}

func newFleet(fsys vfs.FS, log *slog.Logger, now func() time.Time, id Identity) *fleet {
	f := &fleet{fs: fsys, log: log, now: now, mesh: id.Mesh, node: id.Node, drives: map[hallig.DriveID]*drive{}}
	f.topology.Store(&placement.Topology{})
	return f
}

// Topology implements objects.Drives.
func (f *fleet) Topology() *placement.Topology { return f.topology.Load() }

// Drive implements objects.Drives.
func (f *fleet) Drive(id hallig.DriveID) shard.Store {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if d := f.drives[id]; d != nil && d.store != nil {
		return d.store
	}
	return nil
}

// Watch implements objects.Drives.
func (f *fleet) Watch(changed func()) (stop func()) { return f.watch.add(changed) }

// setTopology makes t the current snapshot and tells the watchers.
func (f *fleet) setTopology(t *placement.Topology) {
	f.topology.Store(t)
	f.watch.tell()
}

// snapshot returns copies of the drives, by path.
func (f *fleet) snapshot() []drive {
	f.mu.RLock()
	defer f.mu.RUnlock()
	var out []drive
	for _, d := range f.drives {
		out = append(out, *d)
	}
	slices.SortFunc(out, func(a, b drive) int { return strings.Compare(a.path, b.path) })
	return out
}

// paths returns where the drives are.
func (f *fleet) paths() map[hallig.DriveID]string {
	out := map[hallig.DriveID]string{}
	for _, d := range f.snapshot() {
		out[d.id] = d.path
	}
	return out
}

// found is a directory and the identity in it.
type found struct {
	path     string
	identity disk.Identity
	err      error // wraps ErrNotFound when the directory is no drive
}

// scan reads the identity of every directory.
func scan(fsys vfs.FS, paths []string) []found {
	var out []found
	for _, p := range paths {
		id, err := disk.ReadIdentity(fsys, p)
		out = append(out, found{p, id, err})
	}
	return out
}

// gather opens the drives at the given paths and those that the node
// remembers. A path that was never a drive becomes one if it is among given;
// one that is only remembered is then missing. The returned error is a start
// error.
func (f *fleet) gather(ctx context.Context, given []string, remembered map[hallig.DriveID]string) error {
	paths := slices.Clone(given)
	for _, p := range slices.Sorted(maps.Values(remembered)) {
		if !slices.Contains(paths, p) {
			paths = append(paths, p)
		}
	}
	known := map[string]hallig.DriveID{}
	for id, p := range remembered {
		known[p] = id
	}
	own := map[hallig.DriveID]string{}
	for _, x := range scan(f.fs, paths) {
		id, was := known[x.path]
		switch {
		case x.err == nil && x.identity.Mesh == f.mesh && x.identity.Node == f.node:
			if prev, twice := own[x.identity.Drive]; twice {
				return startf(hallig.ErrForeign, "%s and %s are the same drive %s: one is a copy; take it away", prev, x.path, x.identity.Drive)
			}
			own[x.identity.Drive] = x.path
		case was: // remembered: missing, foreign or damaged, but not fatal by itself
			if f.drives[id] == nil {
				f.missing(id, x.path, x.err)
			}
		case errors.Is(x.err, hallig.ErrNotFound):
			if err := f.create(ctx, x.path); err != nil {
				return err
			}
		case x.err != nil:
			return startIO("the drive", x.path, x.err)
		default:
			return startf(hallig.ErrForeign, "the drive %s belongs to node %s of mesh %s, not to this node: name another directory, or start with the data directory that it belongs to", x.path, x.identity.Node, x.identity.Mesh)
		}
	}
	if err := f.openAll(ctx, own); err != nil {
		return err
	}
	for id, p := range remembered { // a swapped drive may have taken the path
		if f.drives[id] == nil {
			f.missing(id, p, fmt.Errorf("another drive is mounted at %s: %w", p, hallig.ErrForeign))
		}
	}
	return nil
}

// openAll opens drives side by side: after a crash each reads what it wrote
// last.
func (f *fleet) openAll(ctx context.Context, paths map[hallig.DriveID]string) error {
	var group errgroup.Group
	for id, p := range paths {
		group.Go(func() error { return f.open(ctx, id, p) })
	}
	return group.Wait()
}

// missing notes a drive that could not be opened.
func (f *fleet) missing(id hallig.DriveID, path string, err error) {
	d := &drive{id: id, path: path, state: shard.StateMissing, since: f.now(),
		reason: fmt.Sprintf("%s is not there: mount the disk again, or replace the drive", path)}
	switch {
	case err == nil, errors.Is(err, hallig.ErrForeign):
		d.state, d.reason = shard.StateForeign, fmt.Sprintf("%s holds another drive: mount the right disk there", path)
	case !errors.Is(err, hallig.ErrNotFound) && !errors.Is(err, fs.ErrNotExist):
		d.state, d.reason = shard.StateFailed, err.Error()
	}
	f.mu.Lock()
	f.drives[id] = d
	f.mu.Unlock()
	f.log.Error("drive cannot be used", "drive", id.String(), "path", path, "state", string(d.state), "err", d.reason)
}

// open opens a drive whose identity is right. Only a lock held by another
// process is fatal; a drive that fails is a state.
func (f *fleet) open(ctx context.Context, id hallig.DriveID, path string) error {
	var store *disk.Drive
	err := whileLocked(func() (err error) {
		store, err = disk.Open(ctx, disk.Config{
			Dir: path, Identity: disk.Identity{Mesh: f.mesh, Node: f.node, Drive: id}, FS: f.fs, Log: f.log,
		})
		return err
	})
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return startf(err, "another process uses the drive %s: stop it first", path)
	}
	if errors.Is(err, fs.ErrPermission) {
		return startIO("the drive", path, err)
	}
	if err != nil {
		f.missing(id, path, err)
		return nil
	}
	runCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := store.Run(runCtx); err != nil && runCtx.Err() == nil {
			f.log.Error("background work of the drive ended", "drive", id.String(), "err", err)
		}
	})
	d := &drive{id: id, path: path, store: store, state: shard.StateOnline, since: f.now()}
	d.stop = func() {
		cancel()
		wg.Wait()
		if err := store.Close(); err != nil {
			f.log.Error("closing the drive failed", "drive", id.String(), "err", err)
		}
	}
	f.mu.Lock()
	old := f.drives[id]
	f.drives[id] = d
	f.mu.Unlock()
	if old != nil && old.stop != nil {
		old.stop()
	}
	return nil
}

// reopen closes what is open of a drive and opens it again.
func (f *fleet) reopen(ctx context.Context, d drive) error {
	if d.stop != nil {
		d.stop() // its lock must be free; calls in flight end with ErrUnavailable
	}
	f.mu.Lock()
	if x := f.drives[d.id]; x != nil {
		x.store, x.stop = nil, nil
	}
	f.mu.Unlock()
	if err := f.open(ctx, d.id, d.path); err != nil {
		return err
	}
	if f.Drive(d.id) == nil {
		return fmt.Errorf("drive %s: %w", d.path, hallig.ErrUnavailable)
	}
	return nil
}

// create makes a directory a drive of this node and opens it.
func (f *fleet) create(ctx context.Context, path string) error {
	id := hallig.NewID()
	err := disk.Create(f.fs, path, disk.Identity{Mesh: f.mesh, Node: f.node, Drive: id})
	if errors.Is(err, hallig.ErrNotEmpty) {
		return startf(err, "the directory %s is no drive and holds other files: name an empty one", path)
	}
	if err != nil {
		return startIO("the drive", path, err)
	}
	f.log.Info("new drive", "drive", id.String(), "path", path)
	return f.open(ctx, id, path)
}

// forget drops a drive that is out of the topology.
func (f *fleet) forget(id hallig.DriveID) {
	f.mu.Lock()
	d := f.drives[id]
	delete(f.drives, id)
	f.mu.Unlock()
	if d != nil && d.stop != nil {
		d.stop()
	}
}

// close closes every drive.
func (f *fleet) close() {
	f.mu.Lock()
	drives := f.drives
	f.drives = map[hallig.DriveID]*drive{}
	f.mu.Unlock()
	var wg sync.WaitGroup
	for _, d := range drives {
		if d.stop != nil {
			wg.Go(d.stop)
		}
	}
	wg.Wait()
}

// resolve finds a drive by id, unique prefix of the id, or path.
func (f *fleet) resolve(name string) (drive, error) {
	abs, err := filepath.Abs(name)
	if err != nil {
		abs = name
	}
	var hits []drive
	for _, d := range f.snapshot() {
		switch {
		case d.path == abs, d.id.String() == name:
			return d, nil
		case len(name) >= 4 && strings.HasPrefix(d.id.String(), name):
			hits = append(hits, d)
		}
	}
	switch len(hits) {
	case 0:
		return drive{}, fmt.Errorf("no drive %q: `hallig drive list` shows them: %w", name, hallig.ErrNotFound)
	case 1:
		return hits[0], nil
	}
	return drive{}, fmt.Errorf("%q names %d drives: give more digits: %w", name, len(hits), hallig.ErrInvalid)
}

// watchers is a set of functions to call after a change. Calls come from the
// goroutine that changed something, one at a time.
type watchers struct {
	mu   sync.Mutex
	next int
	fns  map[int]func()
}

func (w *watchers) add(fn func()) (stop func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fns == nil {
		w.fns = map[int]func(){}
	}
	n := w.next
	w.next++
	w.fns[n] = fn
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.fns, n)
	}
}

func (w *watchers) tell() {
	w.mu.Lock()
	fns := slices.Collect(maps.Values(w.fns))
	w.mu.Unlock()
	for _, fn := range fns {
		fn()
	}
}
