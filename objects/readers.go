package objects

import (
	"sync"

	"github.com/hallig-cloud/hallig"
)

// readers counts who is reading what, so that data which was replaced or
// removed meanwhile stays until they are done.
type readers struct {
	mu sync.Mutex
	at map[hallig.DataID]int
}

func (r *readers) begin(p *plan) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.at == nil {
		r.at = map[hallig.DataID]int{}
	}
	for i := range p.extents {
		r.at[p.extents[i].Data]++
	}
}

func (r *readers) end(p *plan) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range p.extents {
		d := p.extents[i].Data
		if r.at[d]--; r.at[d] <= 0 {
			delete(r.at, d)
		}
	}
}

// Reading reports whether a stream of this store, opened and not yet closed, or
// waiting for memory, reads the data.
func (s *Store) Reading(d hallig.DataID) bool {
	s.readers.mu.Lock()
	defer s.readers.mu.Unlock()
	return s.readers.at[d] > 0
}
