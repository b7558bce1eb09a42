package machine

import (
	"sync"

	"github.com/hallig-cloud/hallig/catalog"
)

// Watchers tells watchers that records of a kind may have changed. Its zero
// value is ready. It is safe for concurrent use.
type Watchers struct {
	mu      sync.Mutex
	closed  bool
	watches map[*watch]struct{}
	running sync.WaitGroup
}

type watch struct {
	kind catalog.Kind
	wake chan struct{} // holds one: changes coalesce
	done chan struct{}
	once sync.Once
}

func (w *watch) stop() { w.once.Do(func() { close(w.done) }) }

// Watch calls changed from a goroutine of its own after Notify of the kind,
// until stop is called or the watchers are closed. stop does not wait for a
// call that is under way.
func (w *Watchers) Watch(kind catalog.Kind, changed func()) (stop func()) {
	x := &watch{kind: kind, wake: make(chan struct{}, 1), done: make(chan struct{})}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return func() {}
	}
	if w.watches == nil {
		w.watches = map[*watch]struct{}{}
	}
	w.watches[x] = struct{}{}
	w.running.Add(1)
	go func() {
		defer w.running.Done()
		for {
			select {
			case <-x.done:
				return
			default:
			}
			select {
			case <-x.done:
				return
			case <-x.wake:
				changed()
			}
		}
	}()
	return func() {
		w.mu.Lock()
		delete(w.watches, x)
		w.mu.Unlock()
		x.stop()
	}
}

// Notify wakes the watchers of the kind.
func (w *Watchers) Notify(kind catalog.Kind) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for x := range w.watches {
		if x.kind == kind {
			select {
			case x.wake <- struct{}{}:
			default:
			}
		}
	}
}

// Close ends every watch and waits for their calls to return.
func (w *Watchers) Close() {
	w.mu.Lock()
	w.closed = true
	for x := range w.watches {
		x.stop()
	}
	clear(w.watches)
	w.mu.Unlock()
	w.running.Wait()
}
