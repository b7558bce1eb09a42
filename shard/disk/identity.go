package disk

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/vfs"
)

// IdentityFile is the name of the file that says whose a drive is.
const IdentityFile = "hallig-drive.json"

// An Identity says which drive a directory is, and whose. It is written once,
// by Create, and never changed.
type Identity struct {
	Format  int            `json:"format"` // of the directory; 1
	Mesh    hallig.MeshID  `json:"mesh"`
	Node    hallig.NodeID  `json:"node"`
	Drive   hallig.DriveID `json:"drive"`
	Created time.Time      `json:"created"`
}

// Create makes dir a drive. A directory that is a drive already is
// ErrExists, one with other files in it ErrNotEmpty. Format and Created are
// filled in. Names that begin with a dot and lost+found do not count.
func Create(fsys vfs.FS, dir string, id Identity) error {
	if id.Mesh.IsZero() || id.Drive.IsZero() {
		return fmt.Errorf("create drive %s: its identity names no mesh or no drive: %w", dir, hallig.ErrInvalid)
	}
	if err := vfs.MkdirAllSync(fsys, dir); err != nil {
		return fmt.Errorf("create drive %s: %w", dir, err)
	}
	names, err := fsys.List(dir)
	if err != nil {
		return fmt.Errorf("create drive %s: %w", dir, err)
	}
	for _, n := range names {
		switch {
		case n == IdentityFile:
			return fmt.Errorf("create drive %s: it is a drive already: %w", dir, hallig.ErrExists)
		case n == segmentsDir || n == indexDir || n == lockFile || n == IdentityFile+".new":
			// Create was cut short here, or the identity was lost: see below.
		case n[0] != '.' && n != "lost+found":
			return fmt.Errorf("create drive %s: there are other files in it (%q): name an empty directory: %w", dir, n, hallig.ErrNotEmpty)
		}
	}
	segments := path.Join(dir, segmentsDir)
	if names, err := fsys.List(segments); err == nil && len(names) > 0 {
		return fmt.Errorf("create drive %s: it holds shards but no %s: put that file back, or empty the directory: %w", dir, IdentityFile, hallig.ErrNotEmpty)
	}
	if err := fsys.Mkdir(segments); err != nil {
		return fmt.Errorf("create drive %s: %w", dir, err)
	}
	if err := fsys.SyncDir(dir); err != nil {
		return fmt.Errorf("create drive %s: %w", dir, err)
	}
	id.Format = formatVersion
	if id.Created.IsZero() {
		id.Created = time.Now().UTC().Truncate(time.Second)
	}
	data, err := json.MarshalIndent(id, "", "  ")
	if err != nil {
		return err
	}
	if err := vfs.WriteFileSync(fsys, path.Join(dir, IdentityFile), append(data, '\n')); err != nil {
		return fmt.Errorf("create drive %s: %w", dir, err)
	}
	return nil
}

// ReadIdentity returns the identity of the drive at dir. It is ErrNotFound if
// there is none.
func ReadIdentity(fsys vfs.FS, dir string) (Identity, error) {
	var id Identity
	name := path.Join(dir, IdentityFile)
	data, err := vfs.ReadFile(fsys, name, 1<<16)
	if errors.Is(err, fs.ErrNotExist) {
		return id, fmt.Errorf("drive %s has no %s: is the disk mounted? %w", dir, IdentityFile, hallig.ErrNotFound)
	}
	if err != nil {
		return id, fmt.Errorf("identity of drive %s: %w: %w", dir, err, hallig.ErrUnavailable)
	}
	if err := json.Unmarshal(data, &id); err != nil || id.Mesh.IsZero() || id.Drive.IsZero() {
		return id, fmt.Errorf("%s is damaged (%v): restore it from a copy, or empty the drive and add it anew: %w", name, err, hallig.ErrCorrupt)
	}
	if id.Format != formatVersion {
		return id, fmt.Errorf("%s has format %d, this version of hallig reads format %d: %w", name, id.Format, formatVersion, hallig.ErrUnsupported)
	}
	return id, nil
}

// matches reports how a drive found at dir differs from the one wanted: as ErrForeign.
func (want Identity) matches(dir string, got Identity) error {
	for _, c := range []struct {
		what      string
		want, got hallig.ID
	}{{"mesh", want.Mesh, got.Mesh}, {"node", want.Node, got.Node}, {"drive", want.Drive, got.Drive}} {
		if !c.want.IsZero() && c.want != c.got {
			return fmt.Errorf("%s belongs to %s %s, not to %s: mount the right disk there: %w", dir, c.what, c.got, c.want, hallig.ErrForeign)
		}
	}
	return nil
}
