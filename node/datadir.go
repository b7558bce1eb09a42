package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/vfs"
)

// The files of a data directory; all have mode 0600.
const (
	IdentityFile    = "node.json"      // who this node is and where its drives are; mirrored on the catalog's drives
	TokenFile       = "admin.token"    // bearer token of the admin address
	CredentialsFile = "credentials"    // the root user's first access key
	EndpointsFile   = "endpoints.json" // addresses of the running node
	lockFile        = "lock"           // held while a node runs; holds its process id
	firstDrive      = "drive1"         // the drive of a node that was given none
)

const identityFormat = 1

// Identity says who a node is. It holds no secret.
type Identity struct {
	Format   int           `json:"format"`
	Mesh     hallig.MeshID `json:"mesh"`
	Node     hallig.NodeID `json:"node"`
	Provider string        `json:"provider"`
	Site     string        `json:"site"`
	// Drives are the directories where this node's drives were last seen.
	Drives map[hallig.DriveID]string `json:"drives"`
	// Mirrors are the drives that hold the current copies of the catalog and of
	// the key file. A drive that left the set while it was away is stale.
	Mirrors []hallig.DriveID `json:"mirrors"`
	// CatalogEpoch is that of the newest set of mirrors that the catalog had.
	CatalogEpoch uint64 `json:"catalog_epoch"`
	// Keyed says that a key file was made: from then on none is ever made anew.
	Keyed bool `json:"keyed"`
	// Seen is when the node last ran, by its own clock; refreshed every minute.
	Seen time.Time `json:"seen"`
	// Edition counts the changes, so that the newest of several copies is known.
	Edition uint64 `json:"edition"`
}

// Endpoints are the addresses that a running node serves.
type Endpoints struct {
	S3    string `json:"s3"`
	Admin string `json:"admin"`
}

// ReadEndpoints returns what the running node wrote into its data directory.
func ReadEndpoints(data string) (Endpoints, error) {
	var e Endpoints
	b, err := os.ReadFile(filepath.Join(data, EndpointsFile))
	if err == nil {
		err = json.Unmarshal(b, &e)
	}
	return e, err
}

// dataDir is an opened, locked data directory.
type dataDir struct {
	fs    vfs.FS
	path  string
	lock  io.Closer
	fresh bool // it was empty
}

// openDataDir makes or opens the directory and takes its lock.
func openDataDir(fsys vfs.FS, dir string, ownDrives []string) (*dataDir, error) {
	names, err := fsys.List(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := vfs.MkdirAllSync(fsys, dir); err != nil {
			return nil, startIO("the data directory", dir, err)
		}
	case err != nil:
		return nil, startIO("the data directory", dir, err)
	}
	d := &dataDir{fs: fsys, path: dir, fresh: !contains(names, IdentityFile)}
	if d.fresh {
		if stranger := foreignFile(names, dir, ownDrives); stranger != "" {
			return nil, startf(hallig.ErrForeign, "%s holds other files (%s) and is no Hallig data directory: name an empty or a new directory with --data", dir, stranger)
		}
	}
	if err := d.takeLock(); err != nil {
		return nil, err
	}
	return d, nil
}

func contains(names []string, name string) bool {
	for _, n := range names {
		if n == name {
			return true
		}
	}
	return false
}

// foreignFile returns a file that a first start would not have left behind.
func foreignFile(names []string, dir string, ownDrives []string) string {
	own := map[string]bool{lockFile: true, TokenFile: true, EndpointsFile: true, CredentialsFile: true, firstDrive: true, "lost+found": true}
	for _, drive := range ownDrives {
		if filepath.Dir(drive) == dir {
			own[filepath.Base(drive)] = true
		}
	}
	for _, n := range names {
		if !own[strings.TrimSuffix(n, ".new")] {
			return n
		}
	}
	return ""
}

func (d *dataDir) file(name string) string { return path.Join(d.path, name) }

// lockWithin is how long a lock is tried for: the kernel takes a moment to give
// back what a killed process held, and its successor is often there at once.
const lockWithin = 2 * time.Second

// whileLocked calls try again, for lockWithin, as long as another process holds
// the lock that it needs.
func whileLocked(try func() error) error {
	for deadline := time.Now().Add(lockWithin); ; time.Sleep(20 * time.Millisecond) {
		if err := try(); !errors.Is(err, syscall.EWOULDBLOCK) || time.Now().After(deadline) {
			return err
		}
	}
}

func (d *dataDir) takeLock() error {
	name := d.file(lockFile)
	var lock io.Closer
	err := whileLocked(func() (err error) {
		lock, err = d.fs.Lock(name)
		return err
	})
	if errors.Is(err, syscall.EWOULDBLOCK) {
		who := "another process"
		if b, err := vfs.ReadFile(d.fs, name, 64); err == nil && len(b) > 0 {
			who = "process " + strings.TrimSpace(string(b))
		}
		return startf(err, "%s already serves %s: stop it first, or name another directory with --data", who, d.path)
	}
	if err != nil {
		return startIO("the data directory", d.path, err)
	}
	d.lock = lock
	f, err := d.fs.OpenReadWrite(name)
	if err == nil {
		err = f.Truncate(0)
		if err == nil {
			_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
		}
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}
	if err != nil {
		lock.Close()
		return startIO("the data directory", d.path, err)
	}
	return nil
}

func (d *dataDir) close() { d.lock.Close() }

// readIdentity reads one copy of the identity.
func readIdentity(fsys vfs.FS, name string) (Identity, error) {
	var id Identity
	b, err := vfs.ReadFile(fsys, name, 1<<20)
	if err != nil {
		return id, err
	}
	if err := json.Unmarshal(b, &id); err != nil {
		return id, fmt.Errorf("%s is damaged: %w: %w", name, hallig.ErrCorrupt, err)
	}
	switch {
	case id.Format > identityFormat:
		return id, fmt.Errorf("%s was written by a newer Hallig (format %d): %w", name, id.Format, hallig.ErrUnsupported)
	case id.Format < 1, id.Mesh.IsZero(), id.Node.IsZero():
		return id, fmt.Errorf("%s is damaged: it names no mesh or node: %w", name, hallig.ErrCorrupt)
	}
	if id.Drives == nil {
		id.Drives = map[hallig.DriveID]string{}
	}
	return id, nil
}

// writeIdentity replaces one copy durably.
func writeIdentity(fsys vfs.FS, name string, id Identity) error {
	b, err := json.MarshalIndent(id, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the node's identity: %w", err)
	}
	return vfs.WriteFileSync(fsys, name, append(b, '\n'))
}

// writeJSON replaces a small file of the data directory.
func (d *dataDir) writeJSON(name string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return vfs.WriteFileSync(d.fs, d.file(name), append(b, '\n'))
}

// token returns the admin token, made at the first call.
func (d *dataDir) token() (string, error) {
	name := d.file(TokenFile)
	b, err := vfs.ReadFile(d.fs, name, 1<<10)
	if err == nil && len(strings.TrimSpace(string(b))) >= 32 {
		return strings.TrimSpace(string(b)), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", startIO("the admin token", name, err)
	}
	token := randomText(43)
	if err := vfs.WriteFileSync(d.fs, name, []byte(token+"\n")); err != nil {
		return "", startIO("the admin token", name, err)
	}
	return token, nil
}
