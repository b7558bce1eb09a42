package raft

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog/machine"
)

// openedKey is the row of the opened index that says up to which counter it
// has followed the partition's feed. Without it the index is made in full.
var openedKey = []byte{'o'}

const (
	openedStep = 2000 // feed rows of one batch
	fillStep   = 5000 // rows of one batch of a full rebuild
)

// An opener keeps the opened index of every mirror in step with the state, one
// batch behind it; lists wait for it. On a blind node it rests.
type opener struct {
	node *Catalog
	kick chan struct{}

	mu      sync.Mutex
	vault   *machine.Vault
	seq     map[openedID]uint64
	err     error         // why it does not get on
	changed chan struct{} // closed and replaced when seq or err change

	filled  atomic.Int64 // rows written by rebuilds
	skipped atomic.Int64 // rows that could not be opened
}

type openedID struct {
	mirror    hallig.ID
	partition uint16
}

func newOpener(n *Catalog) *opener {
	return &opener{node: n, kick: make(chan struct{}, 1), seq: map[openedID]uint64{}, changed: make(chan struct{})}
}

func (o *opener) wake() {
	select {
	case o.kick <- struct{}{}:
	default:
	}
}

// unlock gives the opener its keys.
func (o *opener) unlock(s Sealer) {
	o.mu.Lock()
	o.vault = &machine.Vault{Sealer: s}
	o.mu.Unlock()
	o.wake()
}

// keys returns the vault, or hallig.ErrKeyLocked on a blind node.
func (o *opener) keys() (machine.Vault, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.vault == nil {
		return machine.Vault{}, fmt.Errorf("this node's catalog is blind until its keyring is unlocked: %w", hallig.ErrKeyLocked)
	}
	return *o.vault, nil
}

func (o *opener) set(m *mirror, p *partition, seq uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.seq[openedID{m.id, p.id}] = seq
	o.signal(nil)
}

// signal tells the waiting lists; mu is held.
func (o *opener) signal(err error) {
	o.err = err
	close(o.changed)
	o.changed = make(chan struct{})
}

func (o *opener) at(m *mirror, p *partition) (uint64, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	seq, ok := o.seq[openedID{m.id, p.id}]
	return seq, ok
}

// consumed returns up to which counter no mirror's opened index needs the feed.
func (o *opener) consumed(p *partition) uint64 {
	upto := p.counter.Load()
	if _, err := o.keys(); err != nil {
		return upto
	}
	for _, m := range o.node.set.list() {
		seq, _ := o.at(m, p)
		upto = min(upto, seq)
	}
	return upto
}

// wait returns a mirror whose opened index has followed the partition up to
// what is in the state now.
func (o *opener) wait(ctx context.Context, p *partition) (*mirror, error) {
	want := p.counter.Load()
	for {
		o.mu.Lock()
		err, changed := o.err, o.changed
		for _, m := range o.node.set.list() {
			if seq, ok := o.seq[openedID{m.id, p.id}]; ok && seq >= want && m.ok() {
				o.mu.Unlock()
				return m, nil
			}
		}
		o.mu.Unlock()
		if err != nil {
			return nil, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("catalog: the opened index is being built: %w: %w", ctx.Err(), hallig.ErrUnavailable)
		case <-o.node.closed:
			return nil, closed()
		}
	}
}

// run follows the partitions until ctx ends.
func (o *opener) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-o.kick:
		}
		v, err := o.keys()
		if err != nil {
			continue
		}
		for _, p := range o.node.partitions {
			if err := o.follow(ctx, v, p); err != nil && ctx.Err() == nil {
				o.node.cfg.Log.Error("catalog's opened index stands still", "partition", p.id, "err", err)
				o.mu.Lock()
				o.signal(err)
				o.mu.Unlock()
			}
		}
	}
}

// follow brings every mirror's opened index up to the state.
func (o *opener) follow(ctx context.Context, v machine.Vault, p *partition) error {
	for ctx.Err() == nil {
		want := p.counter.Load()
		behind := map[uint64][]*mirror{}
		for _, m := range o.node.set.list() {
			seq, err := o.load(ctx, v, m, p)
			if err != nil && m.ok() {
				return err
			}
			if m.ok() && seq < want {
				behind[seq] = append(behind[seq], m)
			}
		}
		if err := o.node.set.drop(); err != nil {
			return err
		}
		if len(behind) == 0 {
			return nil
		}
		for from, ms := range behind {
			if err := o.step(v, p, ms, from, min(want, from+openedStep)); err != nil && ms[0].ok() {
				return err
			}
		}
	}
	return ctx.Err()
}

// load returns how far a mirror's opened index is; one that is missing, or too
// old for the feed, is made in full first.
func (o *opener) load(ctx context.Context, v machine.Vault, m *mirror, p *partition) (uint64, error) {
	if seq, ok := o.at(m, p); ok {
		return seq, nil
	}
	m.use.RLock()
	defer m.use.RUnlock()
	if !m.ok() {
		return 0, m.cause
	}
	row, err := newReader(m, m.opened, p.id).Get(openedKey)
	if err != nil {
		return 0, err
	}
	trimmed, err := newReader(m, m.state, p.id).Get(trimmedKey)
	if err != nil {
		return 0, err
	}
	var seq, gone uint64
	if len(trimmed) == 8 {
		gone = binary.BigEndian.Uint64(trimmed)
	}
	if len(row) == 8 {
		seq = binary.BigEndian.Uint64(row)
	}
	if len(row) != 8 || seq < gone || seq > p.counter.Load() {
		if seq, err = o.fill(ctx, v, m, p); err != nil {
			return 0, err
		}
	}
	o.set(m, p, seq)
	return seq, nil
}

// step follows the feed over (from, to] for mirrors that are at from.
func (o *opener) step(v machine.Vault, p *partition, ms []*mirror, from, to uint64) error {
	m := ms[0]
	m.use.RLock()
	w, err := o.compute(v, p, m, from, to)
	m.use.RUnlock()
	if w != nil {
		defer w.close()
	}
	if err != nil {
		return err
	}
	repr := w.b.Repr()
	for _, m := range ms {
		if m.write(m.opened, repr, pebble.NoSync) == nil {
			o.set(m, p, to)
		}
	}
	return nil
}

func (o *opener) compute(v machine.Vault, p *partition, m *mirror, from, to uint64) (*writer, error) {
	if !m.ok() {
		return nil, m.cause
	}
	state := newReader(m, m.state, p.id)
	w := newWriter(m, m.opened, p.id)
	var inner error
	lo, hi := machine.FeedRange(from, to)
	err := state.Scan(lo, hi, func(_, feed []byte) bool {
		var keys [][]byte
		if keys, inner = machine.Changed(feed); inner != nil {
			return false
		}
		for _, k := range keys {
			if inner = o.tolerate(v.Refresh(state, w, k), m, k); inner != nil {
				return false
			}
		}
		return true
	})
	if err = errors.Join(err, inner); err != nil {
		return w, err
	}
	return w, w.Set(openedKey, binary.BigEndian.AppendUint64(nil, to))
}

// tolerate leaves a row that cannot be opened out of the index: it is lost to
// lists, but does not hide the others.
func (o *opener) tolerate(err error, m *mirror, key []byte) error {
	if err == nil || !m.ok() || !errors.Is(err, hallig.ErrCorrupt) {
		return err
	}
	o.skipped.Add(1)
	o.node.cfg.Log.Error("a catalog row cannot be opened and is not listed", "row", fmt.Sprintf("%x", key), "err", err)
	return nil
}

// fill makes a mirror's opened index of a partition anew from the state.
func (o *opener) fill(ctx context.Context, v machine.Vault, m *mirror, p *partition) (uint64, error) {
	r := newReader(m, m.opened, p.id)
	all := r.bounds(nil, nil)
	if err := m.do(func() error { return m.opened.DeleteRange(all.LowerBound, all.UpperBound, pebble.NoSync) }); err != nil {
		return 0, err
	}
	snap := m.state.NewSnapshot()
	defer snap.Close() //nolint:errcheck // frees memory only
	state := newReader(m, snap, p.id)
	seq, err := machine.Counter(state)
	if err != nil {
		return 0, err
	}
	w := newWriter(m, m.opened, p.id)
	defer func() { w.close() }()
	n := 0
	flush := func() error {
		repr := w.b.Repr()
		err := m.write(m.opened, repr, pebble.NoSync)
		w.close()
		w, n = newWriter(m, m.opened, p.id), 0
		return errors.Join(err, ctx.Err())
	}
	for _, span := range machine.Shown() {
		var inner error
		err := state.Scan(span[0], span[1], func(k, value []byte) bool {
			if inner = o.tolerate(v.Reflect(w, k, append([]byte{}, value...)), m, k); inner != nil {
				return false
			}
			o.filled.Add(1)
			if n++; n == fillStep {
				inner = flush()
			}
			return inner == nil
		})
		if err = errors.Join(err, inner); err != nil {
			return 0, err
		}
	}
	if err := w.Set(openedKey, binary.BigEndian.AppendUint64(nil, seq)); err != nil {
		return 0, err
	}
	return seq, flush()
}

// forget has a mirror's opened index of a partition looked at anew.
func (o *opener) forget(m *mirror, p *partition) {
	o.mu.Lock()
	delete(o.seq, openedID{m.id, p.id})
	o.mu.Unlock()
	o.wake()
}
