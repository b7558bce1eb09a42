package bench

import (
	"sync"
	"sync/atomic"
	"time"
)

// live counts what is going on and tells Progress about it.
type live struct {
	ops, bytes, errs atomic.Int64

	mu   sync.Mutex
	now  Live // without the counts
	from time.Time

	done chan struct{}
	wg   sync.WaitGroup
}

func newLive(progress func(Live)) *live {
	l := &live{done: make(chan struct{}), from: time.Now()}
	l.wg.Go(func() {
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-l.done:
				return
			case <-tick.C:
				progress(l.state())
			}
		}
	})
	return l
}

// enter begins a phase and sets the counters back.
func (l *live) enter(endpoint, phase string, slice int, total int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ops.Store(0)
	l.bytes.Store(0)
	l.errs.Store(0)
	l.now = Live{Endpoint: endpoint, Phase: phase, Slice: slice, Total: total}
	l.from = time.Now()
}

func (l *live) count(items, bytes int64, err error) {
	if err != nil {
		l.errs.Add(1)
		return
	}
	l.ops.Add(items)
	l.bytes.Add(bytes)
}

func (l *live) state() Live {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.now
	s.Elapsed, s.Operations, s.Bytes, s.Errors = time.Since(l.from), l.ops.Load(), l.bytes.Load(), l.errs.Load()
	return s
}

func (l *live) stop() {
	close(l.done)
	l.wg.Wait()
}
