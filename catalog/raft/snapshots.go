package raft

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"

	"github.com/cockroachdb/pebble/v2"
	"github.com/fxamacker/cbor/v2"
	hraft "github.com/hashicorp/raft"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/vfs"
)

// snapshotRow describes the latest snapshot of a partition. Its contents are
// the state itself, which is at Index or behind it: what the log repeats from
// there on, the state skips by its own applied index.
type snapshotRow struct {
	ID     string `cbor:"1,keyasint"`
	Index  uint64 `cbor:"2,keyasint"`
	Term   uint64 `cbor:"3,keyasint"`
	Config []byte `cbor:"4,keyasint"` // hraft.EncodeConfiguration
	At     uint64 `cbor:"5,keyasint"` // the configuration's index
	// Install is set while a snapshot received from a leader is not yet in the
	// state: its bytes are in the install file of Dir.
	Install bool   `cbor:"6,keyasint,omitempty"`
	Dir     string `cbor:"7,keyasint,omitempty"`
}

// localSnapshot is what a snapshot of the node's own state writes: nothing.
var localSnapshot = []byte{'L'}

// snapshots is one partition's hraft.SnapshotStore.
type snapshots struct {
	p *partition
}

func (s *snapshots) row() (*snapshotRow, error) {
	var r *snapshotRow
	err := s.p.log.set.read(func(m *mirror) error {
		v, err := m.get(logTable(s.p.id, tableSnapshot))
		if err != nil || v == nil {
			return err
		}
		r = &snapshotRow{}
		if err := cbor.Unmarshal(v, r); err != nil {
			return fmt.Errorf("catalog snapshot row: %w: %w", err, hallig.ErrCorrupt)
		}
		return nil
	})
	return r, err
}

func (s *snapshots) set(r *snapshotRow) error {
	v, err := cbor.Marshal(r)
	if err != nil {
		return err
	}
	return s.p.log.write(true, func(b *pebble.Batch) error {
		return b.Set(logTable(s.p.id, tableSnapshot), v, nil)
	}, nil)
}

func (r *snapshotRow) meta() *hraft.SnapshotMeta {
	return &hraft.SnapshotMeta{Version: hraft.SnapshotVersionMax, ID: r.ID, Index: r.Index, Term: r.Term,
		Configuration: hraft.DecodeConfiguration(r.Config), ConfigurationIndex: r.At}
}

// List implements hraft.SnapshotStore: the latest is the only one.
func (s *snapshots) List() ([]*hraft.SnapshotMeta, error) {
	r, err := s.row()
	if err != nil || r == nil {
		return nil, err
	}
	return []*hraft.SnapshotMeta{r.meta()}, nil
}

// Create implements hraft.SnapshotStore.
func (s *snapshots) Create(_ hraft.SnapshotVersion, index, term uint64, c hraft.Configuration, at uint64, _ hraft.Transport) (hraft.SnapshotSink, error) {
	return &sink{s: s, row: snapshotRow{ID: fmt.Sprintf("%d-%d", term, index), Index: index, Term: term,
		Config: hraft.EncodeConfiguration(c), At: at}}, nil
}

// Open implements hraft.SnapshotStore: it streams the state as it is now, or
// the file that was received.
func (s *snapshots) Open(id string) (*hraft.SnapshotMeta, io.ReadCloser, error) {
	r, err := s.row()
	if err != nil {
		return nil, nil, err
	}
	if r == nil || r.ID != id {
		return nil, nil, fmt.Errorf("catalog snapshot %s: %w", id, hallig.ErrNotFound)
	}
	if r.Install {
		f, err := s.p.log.set.cfg.FS.Open(s.p.installFile(r.Dir))
		return r.meta(), f, err
	}
	pr, pw := io.Pipe()
	go func() { pw.CloseWithError(s.p.node.export(pw, []uint16{s.p.id})) }()
	return r.meta(), pr, nil
}

// installFile is where a received snapshot is kept until the state has it.
func (p *partition) installFile(dir string) string {
	return path.Join(dir, fmt.Sprintf("install-%d", p.id))
}

// sink receives a snapshot: the node's own, of which nothing is kept but the
// row, or a leader's, kept in a file until Restore.
type sink struct {
	s    *snapshots
	row  snapshotRow
	head []byte
	file vfs.File
}

// ID implements hraft.SnapshotSink.
func (k *sink) ID() string { return k.row.ID }

// Write implements hraft.SnapshotSink.
func (k *sink) Write(b []byte) (int, error) {
	if k.file == nil {
		if len(k.head) == 0 && bytes.Equal(b, localSnapshot) {
			k.head = append(k.head, b...)
			return len(b), nil
		}
		m, err := k.s.p.log.set.first()
		if err != nil {
			return 0, err
		}
		k.row.Install, k.row.Dir = true, m.dir
		if k.file, err = m.cfg.FS.Create(k.s.p.installFile(m.dir)); err != nil {
			return 0, err
		}
	}
	return k.file.Write(b)
}

// Close implements hraft.SnapshotSink: the snapshot is durable.
func (k *sink) Close() error {
	if k.file != nil {
		if err := errors.Join(k.file.Sync(), k.file.Close()); err != nil {
			return err
		}
		if err := k.s.p.log.set.cfg.FS.SyncDir(k.row.Dir); err != nil {
			return err
		}
	}
	return k.s.set(&k.row)
}

// Cancel implements hraft.SnapshotSink.
func (k *sink) Cancel() error {
	if k.file == nil {
		return nil
	}
	return errors.Join(k.file.Close(), k.s.p.log.set.cfg.FS.Remove(k.s.p.installFile(k.row.Dir)))
}
