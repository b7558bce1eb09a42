package raft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2"
	hraft "github.com/hashicorp/raft"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/catalog/machine"
)

// appliedKey is the row that says up to which log entry the state is applied:
// index (8), term (8). It is written with what the entry changes.
var appliedKey = []byte{'i'}

// trimmedKey is the local row that says up to which counter feed rows are gone.
var trimmedKey = []byte{'F'}

func appliedOf(r machine.Reader) (index, term uint64, err error) {
	v, err := r.Get(appliedKey)
	if err != nil || v == nil {
		return 0, 0, err
	}
	if len(v) != 16 {
		return 0, 0, fmt.Errorf("catalog applied row: %w", hallig.ErrCorrupt)
	}
	return binary.BigEndian.Uint64(v), binary.BigEndian.Uint64(v[8:]), nil
}

func appliedValue(index, term uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, index), term)
}

// fsm is one partition's hraft.FSM. Its methods run in one goroutine, except
// for a snapshot's Persist.
type fsm struct{ p *partition }

// Apply implements hraft.FSM.
func (f fsm) Apply(l *hraft.Log) any { return f.ApplyBatch([]*hraft.Log{l})[0] }

// An applied is what an entry's proposers get.
type applied struct {
	answers []machine.Answer
	err     error
}

// ApplyBatch implements hraft.BatchingFSM: the entries' changes reach every
// mirror's state in one batch.
func (f fsm) ApplyBatch(logs []*hraft.Log) []any {
	p := f.p
	p.applyMu.Lock()
	defer p.applyMu.Unlock()
	out := make([]any, len(logs))
	answers, err := p.applyAll(logs)
	for i := range out {
		out[i] = applied{err: err}
		if err == nil {
			out[i] = applied{answers: answers[i]}
		}
	}
	return out
}

// applyAll applies entries to all mirrors. An error stops the partition.
func (p *partition) applyAll(logs []*hraft.Log) (answers [][]machine.Answer, err error) {
	if err := p.broken(); err != nil {
		return nil, err
	}
	for {
		answers, err = p.tryApply(logs)
		if err == nil {
			break
		}
		p.machine = nil
		if !errors.Is(err, errMirror) {
			return nil, p.stop(err)
		}
		if err := p.node.set.drop(); err != nil {
			return nil, p.stop(err)
		}
	}
	p.notify(logs)
	return answers, nil
}

// errMirror marks errors of the mirror that was read, not of the entries.
var errMirror = errors.New("mirror failed")

func (p *partition) tryApply(logs []*hraft.Log) ([][]machine.Answer, error) {
	m, err := p.node.set.first()
	if err != nil {
		return nil, err
	}
	m.use.RLock()
	w, answers, err := p.compute(m, &p.machine, logs)
	m.use.RUnlock()
	if w != nil {
		defer w.close()
	}
	if err != nil {
		if !m.ok() {
			err = fmt.Errorf("%w: %w", errMirror, err)
		}
		return nil, err
	}
	repr := w.b.Repr()
	if err := p.node.set.each(func(m *mirror) error { return m.write(m.state, repr, pebble.NoSync) }); err != nil {
		return nil, err
	}
	p.applied.Store(logs[len(logs)-1].Index)
	p.counter.Store(uint64(p.machine.Revision()) & (1<<48 - 1))
	return answers, nil
}

// compute applies entries to a batch on one mirror's state.
func (p *partition) compute(m *mirror, mp **machine.Machine, logs []*hraft.Log) (*writer, [][]machine.Answer, error) {
	if !m.ok() {
		return nil, nil, m.cause
	}
	w := newWriter(m, m.state, p.id)
	if *mp == nil {
		loaded, err := machine.Load(w, p.id+1)
		if err != nil {
			return w, nil, err
		}
		loaded.NoCompare = m.cfg.noCompare
		*mp = loaded
	}
	have, _, err := appliedOf(w)
	if err != nil {
		return w, nil, err
	}
	answers := make([][]machine.Answer, len(logs))
	for i, l := range logs {
		if l.Index <= have || l.Type != hraft.LogCommand {
			continue
		}
		commands, err := machine.DecodeEntry(l.Data)
		if errors.Is(err, hallig.ErrUnsupported) {
			return w, nil, err
		}
		if err != nil {
			// The same everywhere: an entry that means nothing changes nothing.
			m.cfg.Log.Error("catalog log entry is malformed", "index", l.Index, "err", err)
		}
		answers[i] = make([]machine.Answer, len(commands))
		for j := range commands {
			if answers[i][j], err = (*mp).Apply(w, &commands[j]); err != nil {
				return w, nil, err
			}
		}
	}
	if last := logs[len(logs)-1]; last.Index > have {
		if err := (*mp).Flush(w); err != nil {
			return w, nil, err
		}
		return w, answers, w.Set(appliedKey, appliedValue(last.Index, last.Term))
	}
	return w, answers, nil
}

// notify wakes those who follow what was applied.
func (p *partition) notify(logs []*hraft.Log) {
	p.node.opener.wake()
	if p.id != 0 {
		return
	}
	kinds := map[string]bool{}
	for _, l := range logs {
		if l.Type != hraft.LogCommand {
			continue
		}
		commands, err := machine.DecodeEntry(l.Data)
		if err != nil {
			continue
		}
		for i := range commands {
			for _, r := range commands[i].Records {
				kinds[r.Kind] = true
			}
		}
	}
	for k := range kinds {
		p.node.watchers.Notify(catalog.Kind(k))
	}
}

// Snapshot implements hraft.FSM. The state is persistent: it only has to be
// made durable, which Persist does.
func (f fsm) Snapshot() (hraft.FSMSnapshot, error) {
	if f.p.node.rebuilding.Load() > 0 {
		return nil, fmt.Errorf("a catalog mirror is being rebuilt from the log: %w", hallig.ErrUnavailable)
	}
	return persist{f.p}, nil
}

type persist struct{ p *partition }

// Persist implements hraft.FSMSnapshot: when it returns, nothing in the log up
// to the snapshot is needed by the state or the opened index of any mirror.
func (s persist) Persist(sink hraft.SnapshotSink) error {
	err := s.p.makeDurable()
	if err == nil {
		_, err = sink.Write(localSnapshot)
	}
	if err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}

// Release implements hraft.FSMSnapshot.
func (persist) Release() {}

// makeDurable syncs the opened indexes, drops the feed that they have
// consumed, and syncs the states.
func (p *partition) makeDurable() error {
	upto := p.node.opener.consumed(p)
	lax := p.node.cfg.noSync || p.node.cfg.noSettle
	if !lax {
		if err := p.node.set.each(func(m *mirror) error { return m.sync(m.opened) }); err != nil {
			return err
		}
	}
	b := new(pebble.Batch)
	r := newReader(nil, nil, p.id)
	if err := b.DeleteRange(r.key(machine.FeedKey(0)), r.key(machine.FeedKey(upto+1)), nil); err != nil {
		return err
	}
	if err := b.Set(r.key(trimmedKey), binary.BigEndian.AppendUint64(nil, upto), nil); err != nil {
		return err
	}
	repr := b.Repr()
	if err := p.node.set.each(func(m *mirror) error { return m.write(m.state, repr, pebble.NoSync) }); err != nil {
		return err
	}
	if lax {
		return nil
	}
	return p.node.set.each(func(m *mirror) error { return m.sync(m.state) })
}

// Restore implements hraft.FSM: it replaces the partition's state by a
// snapshot received from a leader.
func (f fsm) Restore(rc io.ReadCloser) error {
	defer rc.Close() //nolint:errcheck // only read
	p := f.p
	p.applyMu.Lock()
	defer p.applyMu.Unlock()
	if err := p.install(rc); err != nil {
		return err
	}
	s := &snapshots{p}
	r, err := s.row()
	if err != nil || r == nil || !r.Install {
		return err
	}
	dir := r.Dir
	r.Install, r.Dir = false, ""
	if err := s.set(r); err != nil {
		return err
	}
	return p.node.cfg.FS.Remove(p.installFile(dir))
}
