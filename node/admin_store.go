package node

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/admin"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/objects"
	"github.com/hallig-cloud/hallig/placement"
	"github.com/hallig-cloud/hallig/s3/subresource"
	"github.com/hallig-cloud/hallig/shard/disk"
)

// services returns what runs, or why nothing does.
func (n *Node) services() (*services, error) {
	if s := n.store.Load(); s != nil {
		return s, nil
	}
	if err := n.ready(); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("starting: %w", hallig.ErrUnavailable)
}

// maxListed bounds what the admin address lists at once.
const maxListed = 100_000

// Buckets implements admin.Buckets.
func (n *Node) Buckets(ctx context.Context) ([]admin.Bucket, error) {
	s, err := n.services()
	if err != nil {
		return nil, err
	}
	out := []admin.Bucket{}
	for after := ""; len(out) < maxListed; {
		page, err := s.objects.Buckets(ctx, after, 1000)
		if err != nil {
			return nil, err
		}
		for _, b := range page {
			x, err := n.describeBucket(ctx, s, b)
			if errors.Is(err, hallig.ErrNotFound) {
				continue // deleted meanwhile
			}
			if err != nil {
				return nil, err
			}
			out = append(out, x)
			after = b.Name
		}
		if len(page) < 1000 {
			break
		}
	}
	return out, nil
}

// Bucket implements admin.Buckets.
func (n *Node) Bucket(ctx context.Context, name string) (admin.Bucket, error) {
	s, err := n.services()
	if err != nil {
		return admin.Bucket{}, err
	}
	b, err := s.objects.Bucket(ctx, name)
	if err != nil {
		return admin.Bucket{}, noBucket(name, err)
	}
	return n.describeBucket(ctx, s, b)
}

func noBucket(name string, err error) error {
	return absent(err, "there is no bucket %q: `hallig bucket list` shows them", name)
}

func (n *Node) describeBucket(ctx context.Context, s *services, b objects.Bucket) (admin.Bucket, error) {
	u, err := s.catalog.Usage(ctx, b.ID)
	if err != nil {
		return admin.Bucket{}, err
	}
	x := admin.Bucket{
		Name: b.Name, ID: b.ID.String(), Owner: n.userName(ctx, s, b.Owner), Created: b.Created.UTC(),
		Versioning: "off", ObjectLock: b.Lock.Enabled, Survive: string(b.Survive),
		Objects: u.Current, Versions: u.Versions, Bytes: u.Bytes, Uploads: u.Uploads,
	}
	switch b.Versioning {
	case catalog.Enabled:
		x.Versioning = "enabled"
	case catalog.Suspended:
		x.Versioning = "suspended"
	}
	if x.Survive == "" {
		x.Survive, x.Default = string(placement.Default(n.fleet.Topology())), true
	}
	return x, nil
}

// checkSurvive refuses a policy that the drives cannot keep.
func (n *Node) checkSurvive(survive hallig.Survive) error {
	if survive == "" {
		return nil
	}
	if !survive.Valid() {
		return fmt.Errorf("no such policy %q: nothing, drive or \"2 drives\" on one node: %w", survive, hallig.ErrInvalid)
	}
	for _, c := range []placement.Class{placement.Small, placement.Large} {
		if _, err := placement.Derive(n.fleet.Topology(), survive, c); err != nil {
			return refused(err)
		}
	}
	return nil
}

// refused marks an error of arithmetic.
func refused(err error) error {
	if r, ok := errors.AsType[*placement.Refusal](err); ok {
		return fmt.Errorf("%w: %w", admin.ErrRefused, r)
	}
	return err
}

// CreateBucket implements admin.Buckets.
func (n *Node) CreateBucket(ctx context.Context, in admin.NewBucket) (admin.Bucket, error) {
	s, err := n.services()
	if err != nil {
		return admin.Bucket{}, err
	}
	if !subresource.ValidBucketName(in.Name) {
		return admin.Bucket{}, fmt.Errorf("bucket name %q: S3 takes 3 to 63 lower-case letters, digits, dots and hyphens: %w", in.Name, hallig.ErrInvalid)
	}
	if err := n.checkSurvive(hallig.Survive(in.Survive)); err != nil {
		return admin.Bucket{}, err
	}
	owner, err := n.ownerID(ctx, s, in.Owner)
	if err != nil {
		return admin.Bucket{}, err
	}
	b := objects.Bucket{Name: in.Name, Owner: owner, Survive: hallig.Survive(in.Survive), Region: n.cfg.Region}
	if in.Versioning || in.ObjectLock {
		b.Versioning = catalog.Enabled
	}
	b.Lock.Enabled = in.ObjectLock
	b, err = s.objects.CreateBucket(ctx, b)
	if err != nil {
		return admin.Bucket{}, err
	}
	return n.describeBucket(ctx, s, b)
}

// RemoveBucket implements admin.Buckets.
func (n *Node) RemoveBucket(ctx context.Context, name string) error {
	s, err := n.services()
	if err != nil {
		return err
	}
	err = noBucket(name, s.objects.DeleteBucket(ctx, name))
	if errors.Is(err, hallig.ErrNotEmpty) {
		what := "objects, versions or open uploads"
		if b, berr := n.Bucket(ctx, name); berr == nil {
			what = fmt.Sprintf("%d versions (delete markers among them) and %d open uploads", b.Versions, b.Uploads)
		}
		return &said{fmt.Sprintf("bucket %s is not empty: it holds %s; delete those first", name, what), err}
	}
	return err
}

// SetSurvive implements admin.Buckets.
func (n *Node) SetSurvive(ctx context.Context, name, survive string) (admin.Bucket, error) {
	s, err := n.services()
	if err != nil {
		return admin.Bucket{}, err
	}
	if err := n.checkSurvive(hallig.Survive(survive)); err != nil {
		return admin.Bucket{}, err
	}
	b, err := s.objects.UpdateBucket(ctx, name, func(b *objects.Bucket) error {
		b.Survive = hallig.Survive(survive)
		return nil
	})
	if err != nil {
		return admin.Bucket{}, noBucket(name, err)
	}
	return n.describeBucket(ctx, s, b)
}

// Drives implements admin.Drives.
func (n *Node) Drives(context.Context) ([]admin.Drive, error) { return n.driveList(), nil }

// AddDrive implements admin.Drives.
func (n *Node) AddDrive(ctx context.Context, path string) (admin.Drive, error) {
	s, err := n.services()
	if err != nil {
		return admin.Drive{}, err
	}
	if path == "" || !filepath.IsAbs(path) {
		return admin.Drive{}, fmt.Errorf("drive path %q: give an absolute path on the node: %w", path, hallig.ErrInvalid)
	}
	path = filepath.Clean(path)
	if slices.ContainsFunc(n.fleet.snapshot(), func(d drive) bool { return d.path == path }) {
		return admin.Drive{}, fmt.Errorf("%s is a drive of this node already: %w", path, hallig.ErrExists)
	}
	err = n.adopt(ctx, path)
	if e, ok := errors.AsType[*startError](err); ok {
		err = &said{e.says, e.cause} // nobody starts here
	}
	if err != nil {
		return admin.Drive{}, err
	}
	id := n.identity.change(func(id *Identity) { id.Drives = n.fleet.paths() })
	n.saveIdentity()
	t, err := changeTopology(ctx, s.catalog, func(t *placement.Topology) (bool, error) { return n.join(t, id), nil })
	if err != nil {
		return admin.Drive{}, err
	}
	n.fleet.setTopology(t)
	if u := s.upkeep.Load(); u != nil {
		if err := u.RecallKept(ctx); err != nil {
			n.cfg.Log.Warn("the drive was added; what is promised is known after the next pass", "err", err)
		}
	}
	n.keepMirrors()
	d, err := n.fleet.resolve(path)
	if err != nil {
		return admin.Drive{}, err
	}
	n.events.add("info", fmt.Sprintf("drive %s at %s was added", d.id.String()[:8], d.path))
	return describeDrive(d, t, false), nil
}

// adopt opens a drive of this node that was taken out or lost and is back, or
// makes the directory a new one. Shards never change under their ids, so what
// an old drive still holds is right, and what is no longer needed is swept.
func (n *Node) adopt(ctx context.Context, path string) error {
	id, err := disk.ReadIdentity(n.cfg.FS, path)
	switch {
	case errors.Is(err, hallig.ErrNotFound):
		return n.fleet.create(ctx, path)
	case err != nil:
		return err
	case id.Mesh != n.fleet.mesh || id.Node != n.fleet.node:
		return fmt.Errorf("%s is a drive of node %s in mesh %s: %w", path, id.Node, id.Mesh, hallig.ErrForeign)
	case n.fleet.Drive(id.Drive) != nil:
		return fmt.Errorf("%s is a copy of a drive that this node uses: %w", path, hallig.ErrForeign)
	}
	return n.fleet.open(ctx, id.Drive, path)
}

// ReplaceDrive implements admin.Drives: the new drive joins first, then the old
// one is declared lost, so that its contents are rebuilt on the new one.
func (n *Node) ReplaceDrive(ctx context.Context, name, path string) (admin.Drive, error) {
	old, err := n.fleet.resolve(name)
	if err != nil {
		return admin.Drive{}, err
	}
	if st := old.status().State; !gone(st) {
		return admin.Drive{}, fmt.Errorf("drive %s is %s: a drive that works is emptied first (`hallig drive remove`): %w", old.path, st, admin.ErrRefused)
	}
	made, err := n.AddDrive(ctx, path)
	if err != nil {
		return admin.Drive{}, err
	}
	n.declareLost(ctx, old, n.cfg.Now().Sub(old.since))
	return made, nil
}

// RemoveDrive implements admin.Drives.
func (n *Node) RemoveDrive(ctx context.Context, name string) (admin.Drive, error) {
	s, err := n.services()
	if err != nil {
		return admin.Drive{}, err
	}
	d, err := n.fleet.resolve(name)
	if err != nil {
		return admin.Drive{}, err
	}
	if err := n.mayRemove(ctx, d); err != nil {
		return admin.Drive{}, err
	}
	state := placement.DriveDraining
	if gone(d.status().State) {
		state = placement.DriveLost
	}
	t, err := changeTopology(ctx, s.catalog, func(t *placement.Topology) (bool, error) {
		for i := range t.Drives {
			if t.Drives[i].ID == d.id && t.Drives[i].State != state {
				t.Drives[i].State = state
				return true, nil
			}
		}
		return false, nil
	})
	if err != nil {
		return admin.Drive{}, err
	}
	n.fleet.setTopology(t)
	n.keepMirrors()
	n.events.add("info", fmt.Sprintf("drive %s at %s is %s", d.id.String()[:8], d.path, state))
	return describeDrive(d, t, false), nil
}

// mayRemove computes whether every bucket's promise could be kept without the
// drive.
func (n *Node) mayRemove(ctx context.Context, d drive) error {
	t := n.fleet.Topology()
	rest := &placement.Topology{Revision: t.Revision}
	for _, x := range t.Drives {
		if x.ID != d.id {
			rest.Drives = append(rest.Drives, x)
		}
	}
	if len(rest.Active()) == 0 {
		return fmt.Errorf("%s is the last drive: everything would be lost: %w", d.path, admin.ErrRefused)
	}
	if before, after := losses(len(t.Active())), losses(len(rest.Active())); after < before && !gone(d.status().State) {
		n.events.add("warning", fmt.Sprintf("without %s the default promise shrinks from %d lost drives to %d", d.path, before, after))
	}
	buckets, err := n.Buckets(ctx)
	if err != nil {
		return err
	}
	for _, b := range buckets {
		if b.Default {
			continue
		}
		for _, c := range []placement.Class{placement.Small, placement.Large} {
			if _, err := placement.Derive(rest, hallig.Survive(b.Survive), c); err != nil {
				return fmt.Errorf("bucket %s: %w", b.Name, refused(err))
			}
		}
	}
	return nil
}
