package wan

import (
	"container/heap"
	"sync"
	"time"
)

// A sleeper sleeps until a time has passed or it is woken. wake is remembered
// if nobody sleeps.
type sleeper interface {
	sleep(d time.Duration) // d < 0: until woken
	wake()
	close()
}

// A parcel is a frame on its way.
type parcel struct {
	due  time.Duration
	seq  uint64 // order of those that are due together
	pipe *pipe
	to   int
	buf  *buffer
}

// A buffer holds one frame; it is returned when its last copy has arrived.
type buffer struct {
	data []byte // of full size
	n    int
	mu   sync.Mutex
	uses int
}

// A queue is the one timer of a switch: parcels in the order of their time,
// and one goroutine that hands over what is due.
type queue struct {
	mu     sync.Mutex
	heap   parcels
	seq    uint64
	closed bool
	until  time.Duration // what the goroutine sleeps until; <0 is for ever
	asleep bool
	sl     sleeper
	now    func() time.Duration
	hand   func(parcel)
}

func newQueue(sl sleeper, now func() time.Duration, hand func(parcel)) *queue {
	return &queue{sl: sl, now: now, hand: hand}
}

// add takes a parcel; a closed queue drops it.
func (q *queue) add(p parcel) {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return
	}
	p.seq = q.seq
	q.seq++
	heap.Push(&q.heap, p)
	wake := q.asleep && (q.until < 0 || p.due < q.until)
	if wake {
		q.asleep = false // one wake is enough
	}
	q.mu.Unlock()
	if wake {
		q.sl.wake()
	}
}

// run hands over what is due until close.
func (q *queue) run() {
	var due []parcel
	for {
		now := q.now()
		q.mu.Lock()
		if q.closed {
			q.mu.Unlock()
			return
		}
		due = due[:0]
		for len(q.heap) > 0 && q.heap[0].due <= now {
			due = append(due, heap.Pop(&q.heap).(parcel))
		}
		q.until = -1
		if len(q.heap) > 0 {
			q.until = q.heap[0].due
		}
		q.asleep = len(due) == 0
		until := q.until
		q.mu.Unlock()
		if len(due) == 0 {
			if until < 0 {
				q.sl.sleep(-1)
			} else {
				q.sl.sleep(max(until-q.now(), 0))
			}
			continue
		}
		for _, p := range due {
			q.hand(p)
		}
	}
}

// close ends run and drops what is on its way.
func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.sl.wake()
}

// parcels is a heap by due, then seq.
type parcels []parcel

func (h parcels) Len() int { return len(h) }
func (h parcels) Less(i, j int) bool {
	return h[i].due < h[j].due || h[i].due == h[j].due && h[i].seq < h[j].seq
}
func (h parcels) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

// Push is container/heap's.
func (h *parcels) Push(x any) { *h = append(*h, x.(parcel)) }

// Pop is container/heap's.
func (h *parcels) Pop() any {
	old := *h
	p := old[len(old)-1]
	old[len(old)-1] = parcel{}
	*h = old[:len(old)-1]
	return p
}
