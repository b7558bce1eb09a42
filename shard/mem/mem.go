// Package mem is the in-memory twin of shard/disk: a shard.Store for tests of
// everything above, with the same behaviour and no durability at all.
package mem

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/shard"
)

// Config configures a Store.
type Config struct {
	Drive    hallig.DriveID
	Capacity int64 // bytes of bodies; beyond it Put fails with ErrFull; 0: no limit
}

// A Store is a shard.Store and a shard.Scrubber in memory.
type Store struct {
	cfg Config

	mu      sync.RWMutex
	shards  map[shard.ID]*stored
	sorted  []shard.ID // keys of shards, in order; nil when out of date
	deleted map[shard.ID]bool
	live    int64
	bad     int64
	state   shard.State // "" or one that a test has set
	reason  string
}

var (
	_ shard.Store    = (*Store)(nil)
	_ shard.Scrubber = (*Store)(nil)
)

type stored struct {
	header shard.Header
	body   []byte
	sums   []byte
	bad    bool
}

// New returns an empty store.
func New(cfg Config) *Store {
	return &Store{cfg: cfg, shards: map[shard.ID]*stored{}, deleted: map[shard.ID]bool{}}
}

// SetState makes the store answer as a drive in that state does, until it is
// set to StateOnline again: a hook for tests.
func (s *Store) SetState(state shard.State, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state, s.reason = state, reason
	if state == shard.StateOnline {
		s.state, s.reason = "", ""
	}
}

// CorruptShard flips a bit of a stored body, unnoticed: a hook for tests.
func (s *Store) CorruptShard(id shard.ID, off int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.shards[id]
	if e == nil || off < 0 || off >= int64(len(e.body)) {
		return fmt.Errorf("corrupt shard %s at %d: %w", id, off, hallig.ErrNotFound)
	}
	e.body = slices.Clone(e.body)
	e.body[off] ^= 1
	return nil
}

// usable returns the error of the state that was set. s.mu is held.
func (s *Store) usable(write bool) error {
	switch s.state {
	case shard.StateFull:
		if write {
			return fmt.Errorf("%s: %w", s.reason, hallig.ErrFull)
		}
	case shard.StateReadOnly:
		if write {
			return fmt.Errorf("%s: %w", s.reason, hallig.ErrReadOnly)
		}
	case shard.StateFailed, shard.StateMissing, shard.StateForeign:
		return fmt.Errorf("%s: %w", s.reason, hallig.ErrUnavailable)
	}
	return nil
}

// Put implements shard.Store.
func (s *Store) Put(ctx context.Context, h shard.Header, body []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := h.Check(body); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(true); err != nil {
		return fmt.Errorf("put shard %s: %w", h.ID, err)
	}
	if s.deleted[h.ID] {
		return fmt.Errorf("put shard %s: it was deleted: %w", h.ID, hallig.ErrStale)
	}
	sums := shard.AppendSums(nil, body)
	old := s.shards[h.ID]
	if old != nil {
		if old.verify() != nil {
			s.quarantine(old)
		}
		if int(old.header.Length) != len(body) || !slices.Equal(old.sums, sums) {
			return fmt.Errorf("put shard %s: other bytes are stored: %w", h.ID, hallig.ErrExists)
		}
		if !old.bad {
			return nil
		}
	}
	if s.cfg.Capacity > 0 && s.live+int64(len(body)) > s.cfg.Capacity {
		return fmt.Errorf("put shard %s: %d of %d bytes are used: %w", h.ID, s.live, s.cfg.Capacity, hallig.ErrFull)
	}
	s.drop(h.ID)
	h.Vouch = slices.Clone(h.Vouch)
	s.shards[h.ID] = &stored{header: h, body: slices.Clone(body), sums: sums}
	s.live += int64(len(body))
	s.sorted = nil
	return nil
}

// drop forgets a shard. s.mu is held.
func (s *Store) drop(id shard.ID) {
	e := s.shards[id]
	if e == nil {
		return
	}
	if e.bad {
		s.bad--
	} else {
		s.live -= int64(len(e.body))
	}
	delete(s.shards, id)
	s.sorted = nil
}

func (s *Store) quarantine(e *stored) {
	if !e.bad {
		e.bad = true
		s.bad++
		s.live -= int64(len(e.body))
	}
}

// verify checks every block.
func (e *stored) verify() error {
	if !slices.Equal(shard.AppendSums(nil, e.body), e.sums) {
		return fmt.Errorf("shard %s: a block's checksum is wrong: %w", e.header.ID, hallig.ErrCorrupt)
	}
	return nil
}

// find returns a shard that is stored and not quarantined. s.mu is held.
func (s *Store) find(ctx context.Context, what string, id shard.ID) (*stored, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := s.usable(false); err != nil {
		return nil, fmt.Errorf("%s shard %s: %w", what, id, err)
	}
	e := s.shards[id]
	if e == nil {
		return nil, fmt.Errorf("%s shard %s: %w", what, id, hallig.ErrNotFound)
	}
	if e.bad {
		return nil, fmt.Errorf("%s shard %s: it is quarantined: %w", what, id, hallig.ErrCorrupt)
	}
	return e, nil
}

// Get implements shard.Store.
func (s *Store) Get(ctx context.Context, id shard.ID, off, n int64, dst []byte) (shard.Header, []byte, error) {
	if off < 0 {
		return shard.Header{}, dst, fmt.Errorf("get shard %s from byte %d: %w", id, off, hallig.ErrInvalid)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e, err := s.find(ctx, "get", id)
	if err != nil {
		return shard.Header{}, dst, err
	}
	length := int64(len(e.body))
	if off > length {
		off = length
	}
	end := length
	if n >= 0 && n < length-off {
		end = off + n
	}
	for b := off / shard.BlockSize; b*shard.BlockSize < end; b++ {
		block := e.body[b*shard.BlockSize : min(length, (b+1)*shard.BlockSize)]
		if !slices.Equal(shard.AppendSums(nil, block), e.sums[4*b:4*b+4]) {
			s.quarantine(e)
			return shard.Header{}, dst, fmt.Errorf("get shard %s: block %d's checksum is wrong: %w", id, b, hallig.ErrCorrupt)
		}
	}
	return e.head(), append(dst, e.body[off:end]...), nil
}

// head copies the header, so that callers may keep it.
func (e *stored) head() shard.Header {
	h := e.header
	h.Vouch = slices.Clone(h.Vouch)
	return h
}

// Stat implements shard.Store.
func (s *Store) Stat(ctx context.Context, id shard.ID) (shard.Header, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	e, err := s.find(ctx, "stat", id)
	if err != nil {
		return shard.Header{}, err
	}
	return e.head(), nil
}

// Delete implements shard.Store.
func (s *Store) Delete(ctx context.Context, ids ...shard.ID) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(s.state != shard.StateFull); err != nil {
		return fmt.Errorf("delete %d shards: %w", len(ids), err)
	}
	for _, id := range ids {
		s.drop(id)
		s.deleted[id] = true
	}
	return nil
}

// Walk implements shard.Store.
func (s *Store) Walk(ctx context.Context, after shard.ID, fn func(shard.Info) error) error {
	s.mu.Lock()
	if err := s.usable(false); err != nil {
		s.mu.Unlock()
		return fmt.Errorf("walk shards: %w", err)
	}
	ids := s.order()
	s.mu.Unlock()
	i, found := slices.BinarySearchFunc(ids, after, shard.ID.Compare)
	if found {
		i++
	}
	for _, id := range ids[i:] {
		if err := ctx.Err(); err != nil {
			return err
		}
		s.mu.RLock()
		e := s.shards[id]
		var info shard.Info
		if e != nil && !e.bad {
			info = shard.Info{ID: id, Session: e.header.Session, Length: e.header.Length, Sum: shard.Sum(e.sums)}
		}
		s.mu.RUnlock()
		if info.ID != id {
			continue
		}
		if err := fn(info); err != nil {
			return err
		}
	}
	return nil
}

// order returns all ids, sorted; the slice is never changed. s.mu is held.
func (s *Store) order() []shard.ID {
	if s.sorted == nil {
		s.sorted = make([]shard.ID, 0, len(s.shards))
		for id := range s.shards {
			s.sorted = append(s.sorted, id)
		}
		slices.SortFunc(s.sorted, shard.ID.Compare)
	}
	return s.sorted
}

// Verify implements shard.Store.
func (s *Store) Verify(ctx context.Context, id shard.ID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, err := s.find(ctx, "verify", id)
	if err != nil {
		return err
	}
	if err := e.verify(); err != nil {
		s.quarantine(e)
		return err
	}
	return nil
}

// Status implements shard.Store.
func (s *Store) Status() shard.Status {
	s.mu.RLock()
	defer s.mu.RUnlock()
	st := shard.Status{
		Drive: s.cfg.Drive, State: cmp.Or(s.state, shard.StateOnline), Reason: s.reason,
		Shards: int64(len(s.shards)) - s.bad, Live: s.live, Quarantined: s.bad,
		Total: cmp.Or(s.cfg.Capacity, 1<<40),
	}
	st.Free = st.Total - st.Live
	return st
}

// Scrub implements shard.Scrubber. The cursor is the last ID verified.
func (s *Store) Scrub(ctx context.Context, cursor []byte, limit int64) (shard.Findings, []byte, error) {
	var f shard.Findings
	var after shard.ID
	if cursor != nil {
		var err error
		if after, err = shard.ParseID(cursor); err != nil {
			return f, nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(false); err != nil {
		return f, nil, fmt.Errorf("scrub: %w", err)
	}
	for _, id := range s.order() {
		if cursor != nil && id.Compare(after) <= 0 || s.shards[id].bad {
			continue
		}
		if err := ctx.Err(); err != nil {
			return f, nil, err
		}
		e := s.shards[id]
		f.Shards++
		f.Bytes += int64(len(e.body))
		if e.verify() != nil {
			s.quarantine(e)
			f.Bad = append(f.Bad, id)
		}
		if f.Bytes >= limit {
			next, err := id.AppendBinary(nil)
			return f, next, err
		}
	}
	return f, nil, nil
}

// Quarantined implements shard.Scrubber.
func (s *Store) Quarantined(ctx context.Context) ([]shard.ID, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []shard.ID
	for _, id := range s.order() {
		if s.shards[id].bad {
			ids = append(ids, id)
		}
	}
	return ids, nil
}
