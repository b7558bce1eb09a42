package objects

import "github.com/hallig-cloud/hallig/placement"

// SetAckRule replaces Pool.Ack: the negative control of the rule.
func (s *Store) SetAckRule(f func(*placement.Pool) int) { s.ackRule = f }

// MemoryPeak is the most bytes that were ever granted at once.
func (s *Store) MemoryPeak() int64 { _, n, _, _ := s.memory.state(); return n }

// WaitBackground waits for shards on their way and for deletions.
func (s *Store) WaitBackground() { s.background.Wait() }

// MemoryExcess is the most bytes of buffers that were ever in use beyond what
// was granted.
func (s *Store) MemoryExcess() int64 { _, _, _, n := s.memory.state(); return n }

// MemoryLent is the bytes of buffers in use now.
func (s *Store) MemoryLent() int64 { _, _, n, _ := s.memory.state(); return n }

// SetCredulous leaves what drives gave uninspected: the negative control.
func (s *Store) SetCredulous(on bool) { s.credulous = on }

// SetSpending lets reads of damaged stripes use memory that they were not
// granted: the negative control.
func (s *Store) SetSpending(on bool) { s.spending = on }
