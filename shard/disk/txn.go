package disk

import (
	"slices"
	"sync"

	"github.com/hallig-cloud/hallig/shard"
)

// txn gathers changes of the index. Only the leader of the queue (or Open)
// has one, so there is never more than one.
type txn struct {
	d       *Drive
	changes []change
	entries map[shard.ID]int // in changes
	rows    map[uint64]*rowDelta
	batch   kvBatch
	bad     int64
	forget  []uint64 // rows to delete
	probe   kvProbe  // of the index as it was before; nil until it is needed
	key     []byte   // of probe
}

type change struct {
	id          shard.ID
	before, now entry
}

// rowDelta is what a txn changes about a segment.
type rowDelta struct {
	live, shards, deletes int64
	mark                  uint32 // 0: unchanged
	sealed, doomed        bool
}

func (d *Drive) begin() *txn {
	t := txns.Get().(*txn)
	t.d = d
	return t
}

var txns = sync.Pool{New: func() any {
	return &txn{entries: map[shard.ID]int{}, rows: map[uint64]*rowDelta{}}
}}

// maxPooledTxn is how many changes a txn may have room for to be used again: a
// large map is dear to clear.
const maxPooledTxn = 256

// done gives a txn back. It must not be used any more.
func (t *txn) done() {
	t.close()
	if cap(t.changes) > maxPooledTxn {
		return
	}
	clear(t.entries)
	clear(t.rows)
	t.batch.reset()
	*t = txn{changes: t.changes[:0], entries: t.entries, rows: t.rows, batch: t.batch, key: t.key}
	txns.Put(t)
}

// get returns what is known of an id, this txn's changes included.
func (t *txn) get(id shard.ID) (entry, error) {
	if i, ok := t.entries[id]; ok {
		return t.changes[i].now, nil
	}
	e, err := t.lookup(id)
	if err != nil {
		return entry{}, err
	}
	t.entries[id] = len(t.changes)
	t.changes = append(t.changes, change{id: id, before: e, now: e})
	return e, nil
}

func (t *txn) lookup(id shard.ID) (entry, error) {
	if t.probe == nil {
		p, err := t.d.index.probe()
		if err != nil {
			return entry{}, err
		}
		t.probe = p
	}
	t.key, _ = id.AppendBinary(append(t.key[:0], keyShard))
	v, ok, err := t.probe.get(t.key)
	if err != nil || !ok {
		return entry{}, err
	}
	return decodeEntry(v)
}

// close gives back what a txn holds of the index. Commit does it too.
func (t *txn) close() {
	if t.probe != nil {
		_ = t.probe.close() // what it read was checked
		t.probe = nil
	}
}

// set changes what is known of an id that get was called for.
func (t *txn) set(id shard.ID, e entry) {
	c := &t.changes[t.entries[id]]
	t.account(&c.now, -1)
	c.now = e
	t.account(&c.now, +1)
}

func (t *txn) row(num uint64) *rowDelta {
	r := t.rows[num]
	if r == nil {
		r = &rowDelta{}
		t.rows[num] = r
	}
	return r
}

func (t *txn) account(e *entry, sign int64) {
	switch e.state {
	case entryLive:
		r := t.row(e.segment)
		r.live += sign * e.size()
		r.shards += sign
	case entryBad:
		t.bad += sign
	case entryDeleted:
		t.row(e.segment).deletes += sign
	}
}

// absorb takes in a record found while replaying a segment, in any order: of
// several good copies of a shard the one written last counts.
func (t *txn) absorb(id shard.ID, found entry) error {
	have, err := t.get(id)
	if err != nil {
		return err
	}
	later := found.segment > have.segment || found.segment == have.segment && found.off >= have.off
	switch {
	case have.state == entryNone:
		t.set(id, found)
	case found.state == entryDeleted:
		if have.state == entryDeleted && have.segment > found.segment {
			break
		}
		if have.state == entryDeleted {
			found.horizon = max(found.horizon, have.horizon)
		}
		t.set(id, found)
	case have.state == entryDeleted:
	case found.state == entryLive && (have.state == entryBad || later):
		if !(have.state == entryBad && have.at(found.segment, found.off)) {
			t.set(id, found)
		}
	case found.state == entryBad && have.state == entryBad && later, found.state == entryBad && have.at(found.segment, found.off):
		t.set(id, found)
	}
	return nil
}

// commit writes the changes to the index and then to the drive's accounts.
func (t *txn) commit(sync bool) error {
	d := t.d
	t.close()
	b := &t.batch
	for i := range t.changes {
		c := &t.changes[i]
		if c.now == c.before {
			continue
		}
		key := b.entryKey(keyShard, c.id)
		if c.now.state == entryNone {
			b.del(key)
		} else {
			b.set(key, b.hold(c.now.append))
		}
		if now, was := c.now.state == entryBad, c.before.state == entryBad; now && !was {
			b.set(b.entryKey(keyBad, c.id), []byte{})
		} else if was && !now {
			b.del(b.entryKey(keyBad, c.id))
		}
	}
	d.mu.Lock()
	rows := map[*segment]row{}
	for num, delta := range t.rows {
		s := d.segments[num]
		if s == nil || slices.Contains(t.forget, num) {
			continue // a deletion or bad copy in a segment that is gone
		}
		r := s.row
		r.live += delta.live
		r.shards += delta.shards
		r.deletes += delta.deletes
		r.mark = max(r.mark, delta.mark)
		r.sealed = r.sealed || delta.sealed
		r.doomed = r.doomed || delta.doomed
		rows[s] = r
		b.set(segmentKey(num), r.encode())
	}
	d.mu.Unlock()
	for _, num := range t.forget {
		b.del(segmentKey(num))
	}
	if len(b.ops) > 0 || sync {
		if err := d.index.apply(b, sync); err != nil {
			return err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for s, r := range rows {
		s.row = r
	}
	d.bad += t.bad
	return nil
}

// lookup reads the index.
func (d *Drive) lookup(id shard.ID) (entry, error) {
	v, ok, err := d.index.get(entryKey(keyShard, id))
	if err != nil || !ok {
		return entry{}, err
	}
	return decodeEntry(v)
}
