package disk

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/shard"
	"github.com/hallig-cloud/hallig/shard/shardtest"
	"github.com/hallig-cloud/hallig/vfs"
)

var testIdentity = Identity{Mesh: hallig.MeshID{1}, Node: hallig.NodeID{2}, Drive: hallig.DriveID{3}}

// testDrive can be damaged.
type testDrive struct{ *Drive }

func (d testDrive) CorruptShard(id shard.ID, off int64) error {
	e, err := d.lookup(id)
	if err != nil {
		return err
	}
	if e.state != entryLive {
		return hallig.ErrNotFound
	}
	return flip(d.fs, d.segmentPath(e.segment), int64(e.off)+int64(e.hlen)+off)
}

func flip(fsys vfs.FS, name string, off int64) error {
	f, err := fsys.OpenReadWrite(name)
	if err != nil {
		return err
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], off); err != nil {
		return fmt.Errorf("flip byte %d of %s: %w", off, name, err)
	}
	b[0] ^= 4
	_, err = f.WriteAt(b[:], off)
	return err
}

func create(t testing.TB, cfg Config) Config {
	t.Helper()
	if cfg.FS == nil {
		cfg.FS = vfs.OS()
	}
	if cfg.Dir == "" {
		cfg.Dir = filepath.ToSlash(t.TempDir())
	}
	if err := Create(cfg.FS, cfg.Dir, testIdentity); err != nil {
		t.Fatal(err)
	}
	return cfg
}

func open(t testing.TB, cfg Config) *Drive {
	t.Helper()
	d, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func TestConformance(t *testing.T) {
	for _, size := range []int64{0, 20000} { // one segment; many
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			shardtest.Run(t, func(t *testing.T) shard.Store {
				return testDrive{open(t, create(t, Config{SegmentSize: size}))}
			})
		})
	}
}

func pebbleOf(d *Drive) *pebble.DB { return d.index.(pebbleKV).db }
