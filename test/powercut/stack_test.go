// Package powercut cuts the power of a whole store: objects over drives, the
// catalog's mirrors and the key file, all on one modelled disk.
package powercut

import (
	"context"
	"errors"
	"fmt"
	"path"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog/raft"
	"github.com/hallig-cloud/hallig/objects"
	"github.com/hallig-cloud/hallig/placement"
	"github.com/hallig-cloud/hallig/seal"
	"github.com/hallig-cloud/hallig/seal/keyfile"
	"github.com/hallig-cloud/hallig/shard"
	"github.com/hallig-cloud/hallig/shard/disk"
	"github.com/hallig-cloud/hallig/upkeep"
	"github.com/hallig-cloud/hallig/vfs"
)

// identity is what a node remembers of itself.
type identity struct {
	mesh, node hallig.ID
	drives     []hallig.DriveID
	topology   *placement.Topology
}

func driveDir(i int) string { return fmt.Sprintf("/drive%d", i) }

// mirrors is how many of the drives hold the catalog and the key file.
const mirrors = 2

func keyPaths() (paths []string) {
	for i := range mirrors {
		paths = append(paths, path.Join(driveDir(i), keyfile.Name))
	}
	return paths
}

// create makes a new store of some drives on a file system.
func create(fsys vfs.FS, drives int) (*identity, error) {
	id := &identity{mesh: hallig.NewID(), node: hallig.NewID(), topology: &placement.Topology{Revision: 1}}
	for i := range drives {
		d := hallig.NewID()
		if err := vfs.MkdirAllSync(fsys, driveDir(i)); err != nil {
			return nil, err
		}
		if err := disk.Create(fsys, driveDir(i), disk.Identity{Mesh: id.mesh, Node: id.node, Drive: d}); err != nil {
			return nil, err
		}
		id.drives = append(id.drives, d)
		id.topology.Drives = append(id.topology.Drives, placement.Drive{ID: d, Node: id.node, Provider: "p", Site: "s", Weight: 1 << 40, State: placement.DriveActive})
	}
	secrets, err := seal.NewSecrets(id.mesh)
	if err != nil {
		return nil, err
	}
	f, err := keyfile.New(secrets)
	if err != nil {
		return nil, err
	}
	if n, err := f.Save(fsys, 1, keyPaths()...); err != nil || n != mirrors {
		return nil, fmt.Errorf("key file on %d drives: %w", n, err)
	}
	return id, nil
}

// stack is a running store.
type stack struct {
	id      *identity
	drives  map[hallig.DriveID]*disk.Drive
	catalog *raft.Catalog
	store   *objects.Store
	upkeep  *upkeep.Upkeep
}

// Topology implements objects.Drives.
func (s *stack) Topology() *placement.Topology { return s.id.topology }

// Drive implements objects.Drives.
func (s *stack) Drive(id hallig.DriveID) shard.Store {
	if d := s.drives[id]; d != nil {
		return d
	}
	return nil
}

// Watch implements objects.Drives; the topology never changes.
func (s *stack) Watch(func()) (stop func()) { return func() {} }

// open starts a store. rebuild says which drives' indexes are thrown away.
func open(ctx context.Context, id *identity, fsys vfs.FS, rebuild func(i int) bool) (s *stack, err error) {
	s = &stack{id: id, drives: map[hallig.DriveID]*disk.Drive{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	f, _, err := keyfile.Load(fsys, keyPaths()...)
	if err != nil {
		return s, err
	}
	secrets, err := f.Secrets(nil)
	if err != nil {
		return s, err
	}
	keys := seal.NewKeyring(id.mesh)
	if err := keys.Unlock(secrets); err != nil {
		return s, err
	}
	for i, d := range id.drives {
		s.drives[d], err = disk.Open(ctx, disk.Config{
			Dir: driveDir(i), Identity: disk.Identity{Mesh: id.mesh, Node: id.node, Drive: d}, FS: fsys,
			SegmentSize: 1 << 20, MinFree: -1, CompactRatio: 0.1, KeepDeletes: -1, IndexCache: 1 << 20, Rebuild: rebuild(i),
		})
		if err != nil {
			delete(s.drives, d)
			return s, err
		}
	}
	var dirs []string
	for i := range mirrors {
		dirs = append(dirs, path.Join(driveDir(i), "catalog"))
	}
	s.catalog, err = raft.Open(ctx, raft.Config{
		Mesh: id.mesh, Node: id.node, Dirs: dirs, FS: fsys, Sealer: keys, Reserve: -1, Cache: 1 << 20, Memory: 256 << 10,
		Probe: 20 * time.Millisecond, SnapshotBytes: 16 << 10,
	})
	if err != nil {
		return s, err
	}
	session := hallig.NewID()
	s.store, err = objects.New(objects.Config{Catalog: s.catalog, Drives: s, Keys: keys, Mesh: id.mesh, Node: id.node, Session: session})
	if err != nil {
		return s, err
	}
	s.upkeep, err = upkeep.New(upkeep.Config{
		Catalog: s.catalog, Drives: s, Buckets: s.store, Keys: keys, Mesh: id.mesh, Session: session, Grace: time.Nanosecond,
	})
	return s, err
}

// tidy deletes what nothing refers to any more, orphans of earlier lives
// included, and compacts every drive.
func (s *stack) tidy(ctx context.Context) error {
	if _, err := s.upkeep.Sweep(ctx); err != nil {
		return err
	}
	if _, err := s.upkeep.Compare(ctx); err != nil {
		return err
	}
	for _, d := range s.drives {
		if err := d.Compact(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *stack) close() (err error) {
	if s.store != nil {
		err = s.store.Close()
	}
	if s.catalog != nil {
		err = errors.Join(err, s.catalog.Close())
	}
	for _, d := range s.drives {
		err = errors.Join(err, d.Close())
	}
	return err
}
