package node

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/admin"
	"github.com/hallig-cloud/hallig/catalog/raft"
	"github.com/hallig-cloud/hallig/vfs"
)

const (
	exportDir    = "exports"  // of a drive
	exportSuffix = ".catalog" // of an export
	autoPrefix   = "auto-"    // of scheduled exports
	keptExports  = 4          // scheduled exports on one drive
	exportCopies = 2          // drives that an export is written to
)

// exportDrives picks the drives to write an export to: those that hold no
// mirror of the catalog first.
func (n *Node) exportDrives() []drive {
	id := n.identity.get()
	var plain, mirrors []drive
	for _, d := range n.fleet.snapshot() {
		if !n.fleet.present(d.id, d.path) {
			continue
		}
		if slices.Contains(id.Mirrors, d.id) {
			mirrors = append(mirrors, d)
		} else {
			plain = append(plain, d)
		}
	}
	all := append(plain, mirrors...)
	return all[:min(len(all), exportCopies)]
}

// export writes a sealed export of the catalog to up to two drives; "" names it
// by the time and removes the oldest of that kind.
func (n *Node) export(ctx context.Context, s *services, name string) (admin.Export, error) {
	now := n.cfg.Now().UTC()
	auto := name == ""
	if auto {
		name = autoPrefix + now.Format("20060102T150405Z")
	}
	if strings.ContainsAny(name, "/\x00") || name[0] == '.' || len(name) > 100 {
		return admin.Export{}, fmt.Errorf("export name %q: a plain file name is needed: %w", name, hallig.ErrInvalid)
	}
	var files []vfs.File
	var writers []io.Writer
	var names []string
	defer func() {
		for _, f := range files {
			f.Close() //nolint:errcheck // synced before, or given up
		}
	}()
	for _, d := range n.exportDrives() {
		dir := path.Join(d.path, exportDir)
		if err := vfs.MkdirBelowSync(n.cfg.FS, d.path, dir); err != nil {
			return admin.Export{}, fmt.Errorf("export the catalog: %w", err)
		}
		file := path.Join(dir, name+exportSuffix)
		f, err := n.cfg.FS.Create(file + ".new")
		if err != nil {
			return admin.Export{}, fmt.Errorf("export the catalog: %w", err)
		}
		files, writers, names = append(files, f), append(writers, f), append(names, file)
	}
	if len(files) == 0 {
		return admin.Export{}, fmt.Errorf("export the catalog: no drive can be used: %w", hallig.ErrUnavailable)
	}
	buffered := bufio.NewWriterSize(io.MultiWriter(writers...), 1<<20)
	counted := &counter{w: buffered}
	err := s.catalog.Export(ctx, counted)
	if err == nil {
		err = buffered.Flush()
	}
	for i, f := range files {
		if err == nil {
			err = f.Sync()
		}
		if err == nil {
			err = n.cfg.FS.Rename(names[i]+".new", names[i])
		}
		if err == nil {
			err = n.cfg.FS.SyncDir(path.Dir(names[i]))
		}
	}
	if err != nil {
		for _, name := range names {
			_ = n.cfg.FS.Remove(name + ".new") // what is left is replaced by the next export
		}
		return admin.Export{}, fmt.Errorf("export the catalog: %w", err)
	}
	if auto {
		n.pruneExports(names)
	}
	n.lastExport.Store(&admin.Export{Path: names[0], At: now, Size: counted.n})
	return *n.lastExport.Load(), nil
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// pruneExports removes the oldest scheduled exports beside the given ones.
func (n *Node) pruneExports(names []string) {
	for _, name := range names {
		dir := path.Dir(name)
		list, err := n.cfg.FS.List(dir)
		if err != nil {
			continue
		}
		var auto []string
		for _, x := range list {
			if strings.HasPrefix(x, autoPrefix) && strings.HasSuffix(x, exportSuffix) {
				auto = append(auto, x)
			}
		}
		slices.Sort(auto) // by time
		for _, x := range auto[:max(0, len(auto)-keptExports)] {
			if err := n.cfg.FS.Remove(path.Join(dir, x)); err != nil {
				n.cfg.Log.Warn("an old export could not be removed", "path", path.Join(dir, x), "err", err)
			}
		}
	}
}

// Export implements admin.Work.
func (n *Node) Export(ctx context.Context, name string) (admin.Export, error) {
	s, err := n.services()
	if err != nil {
		return admin.Export{}, err
	}
	if name == "" {
		name = n.cfg.Now().UTC().Format("20060102T150405Z")
	}
	return n.export(ctx, s, name)
}

// RestoreCatalog rebuilds the catalog of a node that is not running from an
// export. What was written after the export is lost. A catalog that is there
// is ErrExists unless force is set; it is then moved aside, not removed.
func RestoreCatalog(ctx context.Context, cfg Config, file string, force bool) (admin.Export, error) {
	n, err := New(cfg)
	if err != nil {
		return admin.Export{}, err
	}
	n.events.now = n.cfg.Now
	if n.data, err = openDataDir(n.cfg.FS, n.cfg.Data, n.cfg.Drives); err != nil {
		return admin.Export{}, err
	}
	defer n.data.close()
	if err := n.openDrives(ctx); err != nil {
		return admin.Export{}, err
	}
	defer n.fleet.close()
	if err := n.openKeyring(ctx); err != nil {
		return admin.Export{}, err
	}
	if n.keys.ring.Locked() {
		return admin.Export{}, fmt.Errorf("restore the catalog: the key file is protected: give --passphrase-file: %w", hallig.ErrKeyLocked)
	}
	in, err := os.Open(file)
	if err != nil {
		return admin.Export{}, fmt.Errorf("restore the catalog: %w", err)
	}
	defer in.Close()
	return n.restore(ctx, in, force)
}

// checkExport reads the export to its end before anything is touched.
func (n *Node) checkExport(in *os.File) (time.Time, error) {
	made, err := raft.CheckExport(raft.Config{Mesh: n.identity.get().Mesh, Sealer: n.keys.ring}, in)
	if err != nil {
		return made, fmt.Errorf("%s cannot be restored, and nothing was changed: %w", in.Name(), err)
	}
	_, err = in.Seek(0, io.SeekStart)
	return made, err
}

func (n *Node) restore(ctx context.Context, in *os.File, force bool) (admin.Export, error) {
	made, err := n.checkExport(in)
	if err != nil {
		return admin.Export{}, err
	}
	stamp := n.cfg.Now().UTC().Format("20060102T150405Z")
	var dirs []string
	all := n.fleet.snapshot()
	for _, d := range all {
		dir := path.Join(d.path, catalogDir)
		if _, err := n.cfg.FS.Stat(dir); err == nil {
			if !force {
				return admin.Export{}, fmt.Errorf("restore the catalog: %s is there; --force moves it aside: %w", dir, hallig.ErrExists)
			}
			if err := n.cfg.FS.Rename(dir, dir+".before-"+stamp); err != nil {
				return admin.Export{}, fmt.Errorf("restore the catalog: move the present one aside: %w", err)
			}
		}
		if d.store != nil && len(dirs) < mirrorCount(len(all)) {
			dirs = append(dirs, dir)
		}
	}
	if len(dirs) == 0 {
		return admin.Export{}, fmt.Errorf("restore the catalog: no drive can be used: %w", hallig.ErrUnavailable)
	}
	id := n.identity.get()
	err = raft.Restore(ctx, raft.Config{
		Mesh: id.Mesh, Node: id.Node, Dirs: dirs, FS: n.cfg.FS, Sealer: n.keys.ring, KnownEpoch: id.CatalogEpoch, Now: n.cfg.Now, Log: n.cfg.Log,
		OnMirrors: n.noteMirrors,
	}, bufio.NewReaderSize(in, 1<<20))
	if err != nil {
		return admin.Export{}, err
	}
	n.mendKeys()
	x := admin.Export{Path: in.Name(), At: made}
	if st, err := in.Stat(); err == nil {
		x.Size = st.Size()
	}
	return x, nil
}
