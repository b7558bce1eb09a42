//go:build !linux

package wan

import "time"

// A timerSleeper sleeps with Go's timers.
type timerSleeper struct{ woken chan struct{} }

func newSleeper() (sleeper, error) { return &timerSleeper{make(chan struct{}, 1)}, nil }

func (s *timerSleeper) sleep(d time.Duration) {
	var after <-chan time.Time
	if d >= 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		after = t.C
	}
	select {
	case <-after:
	case <-s.woken:
	}
}

func (s *timerSleeper) wake() {
	select {
	case s.woken <- struct{}{}:
	default:
	}
}

func (s *timerSleeper) close() {}

func (f *fabric) deliver() { f.queue.run() }
