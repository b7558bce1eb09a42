package objects

import (
	"context"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/shard"
)

// discard deletes what the writer has written, as far as that is easy.
func (w *writer) discard() {
	for _, r := range w.runs {
		w.store.discard(r, 0)
	}
}

// discardTime bounds a try to delete what a failed write left.
const discardTime = 30 * time.Second

// discard deletes the shards of a run's stripes from the first one on, in the
// background and as far as drives answer; the sweep finds the rest.
func (s *Store) discard(r *run, first uint32) {
	if first >= r.stripes {
		return
	}
	s.background.Add(1)
	go func() {
		defer s.background.Done()
		ctx, cancel := context.WithTimeout(s.life, discardTime)
		defer cancel()
		t := s.config.Drives.Topology()
		for from := first; from < r.stripes; {
			doomed := map[hallig.DriveID][]shard.ID{}
			for n := 0; from < r.stripes && n < catalog.MaxOps; from++ {
				for i, id := range r.pool.Drives(t, r.pool.Group(r.data, from)) {
					doomed[id] = append(doomed[id], shard.ID{Data: r.data, Stripe: from, Index: uint16(i)})
					n++
				}
			}
			for id, ids := range doomed {
				drive := s.config.Drives.Drive(id)
				if drive == nil || !s.fleet.writable(id) {
					continue
				}
				if err := drive.Delete(ctx, ids...); err != nil {
					s.log.Debug("what a failed write left stays for the sweep", "drive", id, "err", err)
				}
			}
		}
	}()
}
