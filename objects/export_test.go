package objects

import "github.com/hallig-cloud/hallig/placement"

// SetAckRule replaces Pool.Ack: the negative control of the rule.
func (s *Store) SetAckRule(f func(*placement.Pool) int) { s.ackRule = f }

// MemoryPeak is the most bytes that were ever granted at once.
func (s *Store) MemoryPeak() int64 { return s.memory.peak.Load() }

// WaitBackground waits for shards on their way and for deletions.
func (s *Store) WaitBackground() { s.background.Wait() }
