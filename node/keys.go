package node

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/admin"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/seal"
	"github.com/hallig-cloud/hallig/seal/keyfile"
)

// namedPrefix precedes a named mesh key's name in its record of KindSealing.
const namedPrefix = "named/"

// keyring is the sealing keys with the key file that holds their root.
type keyring struct {
	ring *seal.Keyring

	mu   sync.Mutex // guards file; held while it is changed and saved
	file *keyfile.File
}

// keyPaths lists where copies of the key file belong: on every drive that
// holds a mirror of the catalog.
func (n *Node) keyPaths() []string {
	var out []string
	id := n.identity.get()
	for _, m := range id.Mirrors {
		if p, ok := id.Drives[m]; ok {
			out = append(out, path.Join(p, keyfile.Name))
		}
	}
	slices.Sort(out)
	return out
}

// usableKeyPaths leaves out drives that are gone: a directory must not be made
// where a disk is not mounted.
func (n *Node) usableKeyPaths() []string {
	var out []string
	id := n.identity.get()
	for _, m := range id.Mirrors {
		if p, ok := id.Drives[m]; ok && n.fleet.present(m, p) {
			out = append(out, path.Join(p, keyfile.Name))
		}
	}
	slices.Sort(out)
	return out
}

// openKeyring reads the key file, or makes the first one, and unlocks the
// keyring if it is not protected or a passphrase is at hand.
func (n *Node) openKeyring(context.Context) error {
	n.keys = &keyring{ring: seal.NewKeyring(n.fleet.mesh)}
	id := n.identity.get()
	first := !id.Keyed
	if len(id.Mirrors) == 0 {
		n.chooseMirrors()
	}
	var paths []string // every drive's: the set of mirrors may have changed
	for _, d := range n.fleet.snapshot() {
		if d.store != nil {
			paths = append(paths, path.Join(d.path, keyfile.Name))
		}
	}
	if len(paths) == 0 {
		return n.checkMissing()
	}
	file, mirrors, err := keyfile.Load(n.cfg.FS, paths...)
	switch {
	case errors.Is(err, hallig.ErrNotFound) && first:
		return n.firstKeyFile()
	case errors.Is(err, hallig.ErrNotFound):
		return startf(err, "the key file %s is on none of the drives, and without it nothing can be read: put a copy of it into %s, or mount the drive that has it", keyfile.Name, path.Dir(paths[0]))
	case err != nil:
		return startf(err, "the key file cannot be read (%v): put a good copy of it into %s", err, path.Dir(paths[0]))
	}
	if file.Mesh != n.fleet.mesh {
		return startf(hallig.ErrForeign, "the key file on the drives is of mesh %s, this node is of %s: put the right key file back", file.Mesh, n.fleet.mesh)
	}
	n.keys.file = file
	n.identity.change(func(id *Identity) { id.Keyed = true })
	n.mendKeyFiles(mirrors)
	return n.unlockAtStart()
}

// firstKeyFile makes the mesh's first root key.
func (n *Node) firstKeyFile() error {
	secrets, err := seal.NewSecrets(n.fleet.mesh)
	if err != nil {
		return fmt.Errorf("make the root key: %w", err)
	}
	file, err := keyfile.New(secrets)
	if err != nil {
		return fmt.Errorf("make the key file: %w", err)
	}
	paths := n.keyPaths()
	saved, err := file.Save(n.cfg.FS, n.cfg.Now().UnixMilli(), paths...)
	if saved < len(paths) {
		return startIO("the key file", paths[0], err)
	}
	n.keys.file = file
	n.identity.change(func(id *Identity) { id.Keyed = true })
	if err := writeIdentity(n.cfg.FS, n.data.file(IdentityFile), n.identity.get()); err != nil {
		return startIO("the data directory", n.cfg.Data, err)
	}
	n.saveIdentity()
	return n.keys.ring.Unlock(secrets)
}

// unlockAtStart opens the keyring with what is at hand. A wrong or missing
// passphrase leaves the node blind, not dead: an operator can unlock it.
func (n *Node) unlockAtStart() error {
	var pass []byte
	if n.keys.file.Protected() {
		text, err := n.cfg.Passphrase()
		if err != nil {
			n.cfg.Log.Error("the passphrase cannot be had; the keyring stays locked", "err", err)
			return nil
		}
		if text == "" {
			n.cfg.Log.Warn("the key file is protected and no passphrase was given; the keyring stays locked")
			return nil
		}
		pass = []byte(text)
	}
	secrets, err := n.keys.file.Secrets(pass)
	if errors.Is(err, hallig.ErrDenied) {
		n.cfg.Log.Error("the passphrase is wrong; the keyring stays locked", "err", err)
		return nil
	}
	if err != nil {
		return startf(err, "the key file cannot be opened: %v", err)
	}
	return n.keys.ring.Unlock(secrets)
}

// mendKeyFiles brings back copies that are missing, stale or damaged, and says
// which ones others can read.
func (n *Node) mendKeyFiles(found []keyfile.Mirror) {
	want := map[string]bool{}
	for _, p := range n.usableKeyPaths() {
		want[p] = true
	}
	var bad []string
	for _, m := range found {
		if m.Exposed {
			n.cfg.Log.Error("others than the owner can read the key file: chmod 600, and consider `hallig keyring rotate`", "path", m.Path)
		}
		if want[m.Path] && (m.State == keyfile.Missing || m.State == keyfile.Stale || m.State == keyfile.Damaged) {
			bad = append(bad, m.Path)
		}
	}
	if len(bad) == 0 {
		return
	}
	saved, err := n.keys.file.Write(n.cfg.FS, bad...)
	n.cfg.Log.Warn("copies of the key file were missing, stale or damaged; written anew", "paths", strings.Join(bad, " "), "written", saved, "err", err)
}

// newRootMirrors returns how many copies a new root key needs before anything
// is wrapped under it: as many as live through the promised loss. It is refused
// when fewer drives that belong to hold it are there.
func (n *Node) newRootMirrors() (int, error) {
	need := mirrorCount(len(n.fleet.Topology().Active()))
	if there := len(n.usableKeyPaths()); there < need {
		return need, fmt.Errorf("a new root key must be on %d drives before it is used, and %d of those that hold the key file can be written to: bring the drives back, or wait until the catalog was copied to others (`hallig status`): %w", need, there, admin.ErrRefused)
	}
	return need, nil
}

// saveKeyFile writes the changed key file to every usable mirror. One copy at
// least must be durable; the monitor mends the others. The caller holds
// keys.mu.
func (n *Node) saveKeyFile() error { return n.saveKeyFileTo(1) }

// saveKeyFileTo is saveKeyFile that fails if fewer than need copies are durable.
func (n *Node) saveKeyFileTo(need int) error {
	paths := n.usableKeyPaths()
	saved, err := n.keys.file.Save(n.cfg.FS, n.cfg.Now().UnixMilli(), paths...)
	if saved < need && saved > 0 {
		return fmt.Errorf("save the key file: %d copies are needed, %d were written: %w", need, saved, errors.Join(err, admin.ErrRefused))
	}
	if saved == 0 {
		return fmt.Errorf("save the key file: %w", errors.Join(err, hallig.ErrUnavailable))
	}
	if err != nil {
		n.cfg.Log.Error("not every copy of the key file was written", "written", saved, "err", err)
	}
	return nil
}

// chooseMirrors picks the first drives to hold the catalog and the key file.
func (n *Node) chooseMirrors() {
	all := n.fleet.snapshot()
	n.identity.change(func(id *Identity) {
		for _, d := range all {
			if d.store != nil && len(id.Mirrors) < mirrorCount(len(all)) {
				id.Mirrors = append(id.Mirrors, d.id)
			}
		}
	})
}

// loadNamedKeys opens the named mesh keys (SSE-KMS) that the catalog holds.
func (n *Node) loadNamedKeys(ctx context.Context, records catalog.Records) error {
	for after := ""; ; {
		page, err := records.Scan(ctx, catalog.KindSealing, after, 1000)
		if err != nil {
			return fmt.Errorf("read the named keys: %w", err)
		}
		for _, r := range page {
			after = r.Name
			name, ok := strings.CutPrefix(r.Name, namedPrefix)
			if !ok {
				continue
			}
			if err := n.keys.ring.LoadNamedKey(name, r.Value); err != nil {
				n.cfg.Log.Error("a named key cannot be opened; what lies under it cannot be read", "key", name, "err", err)
				n.events.add("error", "named key "+name+" cannot be opened: "+err.Error())
			}
		}
		if len(page) < 1000 {
			return nil
		}
	}
}
