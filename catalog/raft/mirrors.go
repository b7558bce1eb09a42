package raft

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"

	"github.com/cockroachdb/pebble/v2"

	"github.com/hallig-cloud/hallig"
)

// mirrors is the current set.
type mirrors struct {
	cfg   *Config
	cache *pebble.Cache

	// gate is held for reading while something is written to the mirrors, and for
	// writing while one joins.
	gate sync.RWMutex

	mu      sync.Mutex
	epoch   uint64
	members []*mirror // replaced, never changed in place
	lost    map[string]error
}

// list returns the members.
func (s *mirrors) list() []*mirror {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.members
}

// first returns the mirror that is read from.
func (s *mirrors) first() (*mirror, error) {
	for _, m := range s.list() {
		if m.ok() {
			return m, nil
		}
	}
	if err := s.drop(); err != nil {
		return nil, err
	}
	return s.list()[0], nil
}

// each runs fn on every mirror at once. Mirrors that fail are dropped; it is a
// success if one is left that has done it.
func (s *mirrors) each(fn func(*mirror) error) error {
	s.gate.RLock()
	defer s.gate.RUnlock()
	return s.eachLocked(fn)
}

func (s *mirrors) eachLocked(fn func(*mirror) error) error {
	members := s.list()
	if len(members) == 1 {
		if err := fn(members[0]); err != nil {
			return errors.Join(err, s.drop())
		}
		return nil
	}
	errs := make([]error, len(members))
	var wg sync.WaitGroup
	for i, m := range members[1:] {
		wg.Add(1)
		go func() {
			defer wg.Done()
			errs[i+1] = fn(m)
		}()
	}
	errs[0] = fn(members[0])
	wg.Wait()
	done := 0
	for i, err := range errs {
		if err == nil {
			done++
			continue
		}
		if errors.Is(err, errClosed) { // the catalog is, its mirrors are well
			return err
		}
		members[i].fail(err)
	}
	if done == len(members) {
		return nil
	}
	if err := s.drop(); err != nil {
		return err
	}
	if done == 0 {
		return unavailable(errors.Join(errs...))
	}
	return nil
}

// drop removes the failed mirrors from the set, recording it on the others
// first. The error says that none is left.
func (s *mirrors) drop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		left := slices.DeleteFunc(slices.Clone(s.members), func(m *mirror) bool { return !m.ok() })
		if len(left) == len(s.members) {
			return nil
		}
		var causes []error
		for _, m := range s.members {
			if !m.ok() {
				causes = append(causes, m.cause)
			}
		}
		if len(left) == 0 {
			return unavailable(fmt.Errorf("the catalog's last mirror failed; restart the node once its drive is well: %w", errors.Join(causes...)))
		}
		if !s.recordLocked(left) {
			continue // another one failed while it was recorded
		}
		for _, m := range s.members {
			if !m.ok() {
				s.lost[m.dir] = m.cause
				s.cfg.Log.Error("catalog mirror dropped", "dir", m.dir, "err", m.cause, "left", len(left))
				go m.close()
			}
		}
		s.members = left
	}
}

// recordLocked records a new set on all of its members, and calls the node.
func (s *mirrors) recordLocked(members []*mirror) bool {
	set := MirrorSet{Epoch: s.epoch + 1}
	for _, m := range members {
		set.Members = append(set.Members, m.id)
		set.Dirs = append(set.Dirs, m.dir)
	}
	for _, m := range members {
		if m.record(set) != nil {
			s.epoch = set.Epoch // a mirror may have it: the next set must be newer
			return false
		}
	}
	s.epoch = set.Epoch
	if s.cfg.OnMirrors != nil {
		if err := s.cfg.OnMirrors(set); err != nil {
			s.cfg.Log.Warn("the catalog's mirrors were not recorded on the other drives", "err", err)
		}
	}
	return true
}

// read runs fn on a mirror, and on another when that one fails.
func (s *mirrors) read(fn func(*mirror) error) error {
	for {
		m, err := s.first()
		if err != nil {
			return err
		}
		m.use.RLock()
		switch {
		case m.ok() && m.shut: // Raft's own goroutines may outlive the catalog
			err = closed()
		case m.ok(): // else it may be closed by now
			err = fn(m)
		}
		m.use.RUnlock()
		if m.ok() {
			return err
		}
		if err := s.drop(); err != nil {
			return err
		}
	}
}

// unavailable wraps a storage failure by what callers can act upon.
func unavailable(err error) error {
	if errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("catalog: %w: %w", err, hallig.ErrFull)
	}
	return fmt.Errorf("catalog: %w: %w", err, hallig.ErrUnavailable)
}
