package raft

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path"

	"github.com/cockroachdb/pebble/v2"
	hraft "github.com/hashicorp/raft"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog/machine"
	"github.com/hallig-cloud/hallig/vfs"
)

// maxPartitions bounds the partitions of a node: 0 and 15 of data.
const maxPartitions = 16

// reconcile makes mirrors of one set agree after a crash: a log write, or an
// applied batch, may have reached some of them only. What was acknowledged is
// on all of them, so that any one may lead; the one that saw more writes does.
func (s *mirrors) reconcile() error {
	if len(s.members) == 1 {
		return nil
	}
	for p := range uint16(maxPartitions) {
		if err := s.reconcileLog(p); err != nil {
			return err
		}
		if err := s.reconcileState(p); err != nil {
			return err
		}
	}
	return s.drop()
}

func (s *mirrors) reconcileLog(p uint16) error {
	var best *mirror
	var most uint64
	writes := map[*mirror]uint64{}
	for _, m := range s.list() {
		n, err := logWrites(m, p)
		if err != nil {
			return err
		}
		if writes[m] = n; best == nil || n > most {
			best, most = m, n
		}
	}
	for m, n := range writes {
		if n == most {
			continue
		}
		if err := copyLog(best, m, p); err != nil {
			return fmt.Errorf("reconcile the catalog's log: %w", err)
		}
	}
	return nil
}

// copyLog makes a mirror's log rows of a partition another's.
func copyLog(from, to *mirror, p uint16) error {
	lo, hi := binary.BigEndian.AppendUint16(nil, p), binary.BigEndian.AppendUint32(nil, uint32(p)<<16+1<<16)
	return copyRange(from, from.log, to, to.log, lo, hi)
}

// copyRange makes a range of one database another's, durably.
func copyRange(from *mirror, src pebble.Reader, to *mirror, dst *pebble.DB, lo, hi []byte) error {
	b := new(pebble.Batch)
	if err := b.DeleteRange(lo, hi, nil); err != nil {
		return err
	}
	it, err := src.NewIter(&pebble.IterOptions{LowerBound: lo, UpperBound: hi})
	if err != nil {
		from.fail(err)
		return from.cause
	}
	defer it.Close() //nolint:errcheck // its errors were asked for
	for ok := it.First(); ok; ok = it.Next() {
		if err := b.Set(it.Key(), it.Value(), nil); err != nil {
			return err
		}
		if b.Len() > 4<<20 {
			if err := to.write(dst, b.Repr(), pebble.NoSync); err != nil {
				return err
			}
			b = new(pebble.Batch)
		}
	}
	if err := it.Error(); err != nil {
		from.fail(err)
		return from.cause
	}
	return to.write(dst, b.Repr(), pebble.Sync)
}

// reconcileState applies on each mirror what others have applied already.
func (s *mirrors) reconcileState(p uint16) error {
	at := map[*mirror]uint64{}
	var most uint64
	for _, m := range s.list() {
		index, _, err := appliedOf(newReader(m, m.state, p))
		if err != nil {
			return err
		}
		at[m] = index
		most = max(most, index)
	}
	for m, index := range at {
		if index < most {
			if err := catchUp(context.Background(), m, m, p, most); err != nil {
				return fmt.Errorf("reconcile the catalog's state: %w", err)
			}
		}
	}
	return nil
}

// catchUp applies log entries (read from src) to one mirror's state alone, up
// to the entry upto.
func catchUp(ctx context.Context, src, m *mirror, id uint16, upto uint64) error {
	index, _, err := appliedOf(newReader(m, m.state, id))
	if err != nil {
		return err
	}
	p := &partition{id: id}
	for index < upto {
		if err := ctx.Err(); err != nil {
			return err
		}
		var logs []*hraft.Log
		size := 0
		for ; index < upto && len(logs) < 256 && size < 1<<20; index++ {
			l := &hraft.Log{}
			if err := src.entry(id, index+1, l); err != nil {
				return fmt.Errorf("log entry %d: %w", index+1, err)
			}
			logs, size = append(logs, l), size+len(l.Data)
		}
		w, _, err := p.compute(m, &p.machine, logs)
		if err == nil {
			err = m.write(m.state, w.b.Repr(), pebble.NoSync)
		}
		if w != nil {
			w.close()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// AddMirror makes dir a mirror while serving: its directory is made if need
// be, and what an earlier mirror left in it is removed. It returns once the
// mirror is in the set. One joins at a time.
func (n *Catalog) AddMirror(ctx context.Context, dir string) (err error) {
	n.joinMu.Lock()
	defer n.joinMu.Unlock()
	for _, m := range n.set.list() {
		if m.dir == dir && m.ok() {
			return fmt.Errorf("catalog mirror %s is one already: %w", dir, hallig.ErrExists)
		}
	}
	n.rebuilding.Add(1) // no log truncation meanwhile
	defer n.rebuilding.Add(-1)
	step := func(s string) {
		n.statMu.Lock()
		defer n.statMu.Unlock()
		if n.joining[dir] = s; s == "" {
			delete(n.joining, dir)
		}
	}
	defer step("")
	step("copying")
	if err := vfs.MkdirBelowSync(n.cfg.FS, path.Dir(dir), dir); err != nil {
		return fmt.Errorf("catalog mirror %s: %w", dir, err)
	}
	if _, err := readRecord(&n.cfg, dir); err == nil {
		remains(&n.cfg, dir, hallig.ID{})
	} else if errors.Is(err, hallig.ErrForeign) || errors.Is(err, hallig.ErrUnsupported) {
		return err
	}
	id := hallig.NewID()
	err = n.set.read(func(src *mirror) error { return n.copyFrom(ctx, src, dir, id) })
	var m *mirror
	if err == nil {
		m, err = newMirror(&n.cfg, n.set.cache, dir, id)
	}
	if err == nil {
		step("catching up")
		if err = n.join(ctx, m); err != nil {
			m.fail(err)
			m.close()
		}
	}
	if err != nil {
		return fmt.Errorf("rebuild catalog mirror %s: %w", dir, err)
	}
	n.cfg.Log.Info("catalog mirror rebuilt", "dir", dir)
	n.opener.wake()
	return nil
}

// ReplaceMirror removes a mirror from the set, if it is in it, and rebuilds it,
// in the same directory or another.
func (n *Catalog) ReplaceMirror(ctx context.Context, old, dir string) error {
	members := n.set.list()
	for _, m := range members {
		if m.dir == old {
			if len(members) == 1 {
				return fmt.Errorf("catalog mirror %s is the only one; add another first: %w", old, hallig.ErrConflict)
			}
			m.fail(fmt.Errorf("replaced by %s", dir))
		}
	}
	if err := n.set.drop(); err != nil {
		return err
	}
	return n.AddMirror(ctx, dir)
}

// copyFrom copies a checkpoint of the state and the opened index.
func (n *Catalog) copyFrom(ctx context.Context, src *mirror, dir string, id hallig.ID) error {
	for i, db := range []*pebble.DB{src.state, src.opened} {
		name := dbNames[i+1]
		tmp := path.Join(src.dir, id.String(), name)
		if err := vfs.MkdirBelowSync(n.cfg.FS, path.Dir(src.dir), path.Dir(tmp)); err != nil {
			return err
		}
		if err := src.do(func() error { return db.Checkpoint(tmp, pebble.WithFlushedWAL()) }); err != nil {
			return err
		}
		to := path.Join(dir, id.String(), name)
		if to == tmp {
			continue
		}
		err := copyDir(ctx, n.cfg.FS, tmp, path.Dir(dir), to)
		if rerr := removeAll(n.cfg.FS, tmp); err == nil {
			err = rerr
		}
		if err != nil {
			return err
		}
	}
	if src.dir != dir {
		return removeAll(n.cfg.FS, path.Join(src.dir, id.String()))
	}
	return nil
}

// copyDir copies the files of a directory, durably, to one below root.
func copyDir(ctx context.Context, f vfs.FS, from, root, to string) error {
	if err := vfs.MkdirBelowSync(f, root, to); err != nil {
		return err
	}
	names, err := f.List(from)
	if err != nil {
		return err
	}
	buf := make([]byte, 256<<10)
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := copyFile(f, path.Join(from, name), path.Join(to, name), buf); err != nil {
			return err
		}
	}
	return f.SyncDir(to)
}

func copyFile(f vfs.FS, from, to string, buf []byte) error {
	in, err := f.Open(from)
	if err != nil {
		return err
	}
	defer in.Close() //nolint:errcheck // only read
	out, err := f.Create(to)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{out}, struct{ io.Reader }{in}, buf)
	if err == nil {
		err = out.Sync()
	}
	return errors.Join(err, out.Close())
}

// join brings a copied mirror up to date and into the set. Writers wait only
// for its last step.
func (n *Catalog) join(ctx context.Context, m *mirror) error {
	err := n.set.read(func(src *mirror) error {
		for _, p := range n.partitions {
			if err := catchUp(ctx, src, m, p.id, p.applied.Load()); err != nil {
				return err
			}
		}
		return copyLogs(src, m)
	})
	if err != nil {
		return err
	}
	for _, p := range n.partitions {
		p.applyMu.Lock()
		defer p.applyMu.Unlock()
	}
	n.set.gate.Lock()
	defer n.set.gate.Unlock()
	err = n.set.read(func(src *mirror) error {
		for _, p := range n.partitions {
			if err := catchUp(ctx, src, m, p.id, p.applied.Load()); err != nil {
				return err
			}
		}
		if err := copyLogTails(src, m); err != nil {
			return err
		}
		return m.sync(m.state)
	})
	if err != nil {
		return err
	}
	if err := n.set.drop(); err != nil {
		return err
	}
	n.set.mu.Lock()
	defer n.set.mu.Unlock()
	members := append(n.set.members[:len(n.set.members):len(n.set.members)], m)
	if !n.set.recordLocked(members) {
		return fmt.Errorf("record the new set: %w", hallig.ErrUnavailable)
	}
	n.set.members = members
	delete(n.set.lost, m.dir)
	return nil
}

// copyLogs copies all log rows.
func copyLogs(src, m *mirror) error {
	for p := range uint16(maxPartitions) {
		if err := copyLog(src, m, p); err != nil {
			return err
		}
	}
	return nil
}

// copyLogTails copies what came since copyLogs: nothing writes meanwhile.
func copyLogTails(src, m *mirror) error {
	for p := range uint16(maxPartitions) {
		want, err := logWrites(src, p)
		if err != nil {
			return err
		}
		have, err := logWrites(m, p)
		if err != nil {
			return err
		}
		if want == have {
			continue
		}
		if err := copyTail(src, m, p); err != nil {
			return err
		}
	}
	return nil
}

// copyTail copies the entries behind the last one that both have, or the
// whole log when they differ before.
func copyTail(src, m *mirror, p uint16) error {
	_, last, err := logRange(m, p)
	if err != nil {
		return err
	}
	first, end, err := logRange(src, p)
	if err != nil {
		return err
	}
	if last == 0 || last < first || last > end {
		return copyLog(src, m, p)
	}
	a, err := src.get(logKey(p, last))
	if err != nil {
		return err
	}
	b, err := m.get(logKey(p, last))
	if err != nil {
		return err
	}
	if !bytes.Equal(a, b) {
		return copyLog(src, m, p)
	}
	if err := copyRange(src, src.log, m, m.log, logKey(p, last+1), logTable(p, tableLog+1)); err != nil {
		return err
	}
	// The rows around the entries are few.
	if err := copyRange(src, src.log, m, m.log, binary.BigEndian.AppendUint16(nil, p), logTable(p, tableLog)); err != nil {
		return err
	}
	return copyRange(src, src.log, m, m.log, logTable(p, tableLog+1), binary.BigEndian.AppendUint32(nil, uint32(p)<<16+1<<16))
}

// install replaces the partition's state on every mirror by an export.
func (p *partition) install(r io.Reader) error {
	p.machine = nil
	err := p.node.set.each(func(m *mirror) error {
		all := newReader(m, nil, p.id).bounds(nil, nil)
		return m.do(func() error { return m.state.DeleteRange(all.LowerBound, all.UpperBound, pebble.NoSync) })
	})
	if err != nil {
		return err
	}
	err = readExport(bufio.NewReaderSize(r, exportFrame), func(_ *exportHead, batch *pebble.Batch) error {
		repr := batch.Repr()
		return p.node.set.each(func(m *mirror) error { return m.write(m.state, repr, pebble.NoSync) })
	})
	if err != nil {
		return err
	}
	for _, m := range p.node.set.list() {
		if err := m.do(func() error { return m.opened.Delete(newReader(m, nil, p.id).key(openedKey), pebble.Sync) }); err != nil {
			continue
		}
		p.node.opener.forget(m, p)
	}
	if err := p.node.set.each(func(m *mirror) error { return m.sync(m.state) }); err != nil {
		return err
	}
	return p.node.set.read(func(m *mirror) error {
		rd := newReader(m, m.state, p.id)
		index, _, err := appliedOf(rd)
		if err != nil {
			return err
		}
		c, err := machine.Counter(rd)
		p.applied.Store(index)
		p.counter.Store(c)
		return err
	})
}

// finishInstall repeats the installation that a crash has interrupted.
func (p *partition) finishInstall() error {
	s := &snapshots{p}
	r, err := s.row()
	if err != nil || r == nil || !r.Install {
		return err
	}
	_, rc, err := s.Open(r.ID)
	if err != nil {
		return fmt.Errorf("catalog partition %d: the snapshot being installed: %w", p.id, err)
	}
	return fsm{p}.Restore(rc)
}
