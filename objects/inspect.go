package objects

import (
	"fmt"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/seal"
)

// inspections is how many shards are read again at once to see whether a drive
// lies.
const inspections = 16

// inspect looks at bytes, from off on in their shard, that a drive gave with
// right checksums and that no segment's authentication speaks for: they came
// too late, or lie where the answer did not depend on them. A whole shard is
// held against its vouched-for hash; for less, the shard is read again in the
// background, as far as Config.Memory and the limit above allow: what was
// served does not depend on it.
func (s *Store) inspect(st *stripe, index, off int, got *fetched) {
	if s.credulous || len(got.bytes) == 0 {
		return
	}
	sum := seal.HashShard(got.bytes)
	if len(got.bytes) == st.lengths[index] {
		if sum != got.vouched(index) {
			_ = s.lied(st, index, got.drive)
		}
		return
	}
	select {
	case s.inspecting <- struct{}{}:
	default:
		s.log.Debug("too many shards to inspect: one is left out", "shard", st.shard(index).String(), "drive", got.drive)
		return
	}
	m := s.memory
	g := m.tryAcquire(&m.rescue, rounded(int64(st.lengths[index])))
	if g == nil {
		<-s.inspecting
		s.log.Debug("no memory to inspect a shard", "shard", st.shard(index).String(), "drive", got.drive)
		return
	}
	drive, n := got.drive, len(got.bytes)
	s.background.Add(1)
	go func() {
		defer s.background.Done()
		defer func() { g.release(); <-s.inspecting }()
		whole, err := s.fetchFrom(s.life, st, index, 0, st.run, 0, drive)
		if err != nil {
			return // it is silent now; that is the scrub's to find
		}
		// It may have told the truth the second time.
		if seal.HashShard(whole.bytes) != whole.vouched(index) || seal.HashShard(whole.bytes[off:off+n]) != sum {
			_ = s.lied(st, index, drive)
		}
		m.recycle(whole.buffer)
	}()
}

// lied reports a drive that gave other bytes than were written, with right
// checksums.
func (s *Store) lied(st *stripe, index int, drive hallig.DriveID) error {
	err := fmt.Errorf("shard %s on drive %s is not what was written, though its checksums are right: %w", st.shard(index), drive, hallig.ErrCorrupt)
	s.damage(Damage{Shard: st.shard(index), Pool: st.pool.ID, Drive: drive, Err: err})
	return err
}
