package upkeep

import (
	"container/heap"
	"context"
	"sync"
	"time"

	"github.com/hallig-cloud/hallig"
)

// A stripeID names a stripe as it is stored: one of its generations.
type stripeID struct {
	Data       hallig.DataID
	Number     uint32
	Generation uint16
}

// maxQueue bounds the repairs that wait. What does not fit is found again by
// the next comparison.
const maxQueue = 200_000

// An item is a stripe to be repaired.
type item struct {
	stripeID
	pool    hallig.PoolID // 0: not known
	suspect map[int]bool  // shards that were found bad, though their drive may think otherwise
	taken   map[int]bool  // those of them that the repair under way knows of
	due     time.Time
	tries   int
	added   int64 // counts additions
	at      int   // place in the heap; -1 while it is being repaired
	again   bool  // reported anew while it was being repaired
	dropped bool  // not to be tried again: nothing refers to it any more
}

// A queue holds the stripes to be repaired, each once, by when they are due.
type queue struct {
	now   func() time.Time
	retry time.Duration

	mu       sync.Mutex
	items    map[stripeID]*item
	heap     itemHeap
	changed  chan struct{} // closed and replaced when something is added or done
	overflow bool
	added    int64
}

func newQueue(now func() time.Time, retry time.Duration) *queue {
	return &queue{now: now, retry: retry, items: map[stripeID]*item{}, changed: make(chan struct{})}
}

// signal wakes everyone who waits. q.mu is held.
func (q *queue) signal() {
	close(q.changed)
	q.changed = make(chan struct{})
}

// add queues a stripe and reports whether it was not waiting already. index is
// a shard that is suspect, or negative.
func (q *queue) add(id stripeID, pool hallig.PoolID, index int, suspect bool) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	it := q.items[id]
	fresh := it == nil
	if fresh {
		if len(q.items) >= maxQueue {
			q.overflow = true
			return false
		}
		q.added++
		it = &item{stripeID: id, pool: pool, due: q.now(), added: q.added}
		q.items[id] = it
		heap.Push(&q.heap, it)
		q.signal()
	}
	if it.at < 0 {
		it.again = true
	}
	if it.at >= 0 && it.pool == 0 { // while it is being repaired the pool is the worker's
		it.pool = pool
	}
	if suspect && index >= 0 {
		if it.suspect == nil {
			it.suspect = map[int]bool{}
		}
		it.suspect[index] = true
	}
	return fresh
}

// length is the number of stripes that wait or are being repaired.
func (q *queue) length() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.items)
}

// next waits for a stripe that is due and takes it, or returns nil when ctx is
// done.
func (q *queue) next(ctx context.Context) *item {
	for {
		q.mu.Lock()
		changed := q.changed
		wait := time.Duration(-1)
		if len(q.heap) > 0 {
			if wait = q.heap[0].due.Sub(q.now()); wait <= 0 {
				it := heap.Pop(&q.heap).(*item)
				it.at = -1
				it.taken, it.suspect = it.suspect, nil
				q.mu.Unlock()
				return it
			}
		}
		q.mu.Unlock()
		var timer *time.Timer
		var due <-chan time.Time
		if wait > 0 {
			timer = time.NewTimer(wait)
			due = timer.C
		}
		select {
		case <-due:
		case <-changed:
		case <-ctx.Done():
		}
		if timer != nil {
			timer.Stop()
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

// done returns a stripe that was taken: for good, or to be tried again later.
func (q *queue) done(it *item, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	defer q.signal()
	if ok && !it.again || it.dropped {
		delete(q.items, it.stripeID)
		return
	}
	if it.again {
		it.again, it.due = false, q.now()
	}
	if !ok {
		for i := range it.taken {
			if it.suspect == nil {
				it.suspect = map[int]bool{}
			}
			it.suspect[i] = true
		}
		it.due = q.now().Add(q.retry << min(it.tries, 6))
		it.tries++
	}
	heap.Push(&q.heap, it)
}

// idle waits until no stripe is due or being repaired; those that failed and
// wait to be tried again are not waited for.
func (q *queue) idle(ctx context.Context) error {
	for {
		q.mu.Lock()
		changed := q.changed
		busy := len(q.items) > len(q.heap) || len(q.heap) > 0 && !q.heap[0].due.After(q.now())
		q.mu.Unlock()
		if !busy {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// hurry makes every stripe that waits due now: drives came back.
func (q *queue) hurry() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, it := range q.heap {
		it.due, it.tries = q.now(), 0
	}
	heap.Init(&q.heap)
	q.signal()
}

// additions counts the stripes that were added so far.
func (q *queue) additions() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.added
}

// drop forgets the stripes that were among the first until additions and that
// gone says nothing refers to.
func (q *queue) drop(until int64, gone func(stripeID) bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for id, it := range q.items {
		if it.added > until || !gone(id) {
			continue
		}
		if it.at < 0 {
			it.dropped = true
			continue
		}
		heap.Remove(&q.heap, it.at)
		delete(q.items, id)
	}
	q.signal()
}

// overflowed reports whether something did not fit since the last call.
func (q *queue) overflowed() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	o := q.overflow
	q.overflow = false
	return o
}

// itemHeap implements heap.Interface, by due.
type itemHeap []*item

func (h itemHeap) Len() int           { return len(h) }
func (h itemHeap) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h itemHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i]; h[i].at, h[j].at = i, j }

// Push implements heap.Interface.
func (h *itemHeap) Push(x any) {
	it := x.(*item)
	it.at = len(*h)
	*h = append(*h, it)
}

// Pop implements heap.Interface.
func (h *itemHeap) Pop() any {
	old := *h
	it := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return it
}
