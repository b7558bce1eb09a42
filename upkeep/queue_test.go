package upkeep

import (
	"sync"
	"testing"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/objects"
	"github.com/hallig-cloud/hallig/shard"
)

// TestQueueConcurrent: reports, repairs and drops at once; every stripe that is
// left in the end is one that failed, and the race detector is content.
func TestQueueConcurrent(t *testing.T) {
	w := newWorld(t, 4, nil, nil)
	w.fill()
	all := w.inventory()
	var g sync.WaitGroup
	for range 3 {
		g.Go(func() {
			for _, h := range all {
				w.u.Damage(objects.Damage{Shard: h.id, Drive: h.drive, Err: hallig.ErrCorrupt})
			}
		})
	}
	for range 2 {
		g.Go(func() {
			if err := w.u.RepairWaiting(t.Context()); err != nil {
				t.Error(err)
			}
			w.u.queue.hurry()
			w.u.Status()
		})
	}
	g.Go(func() { w.u.queue.drop(w.u.queue.additions(), func(s stripeID) bool { return s.Number%2 == 1 }) })
	g.Wait()
	w.repair()
	if n := w.u.queue.length(); n != 0 {
		t.Errorf("%d stripes are left", n)
	}
	w.whole()
}

// TestQueueBounded: what does not fit is remembered as a whole.
func TestQueueBounded(t *testing.T) {
	q := newQueue(time.Now, time.Second)
	var id stripeID
	for i := range maxQueue + 1 {
		id.Number = uint32(i)
		if q.add(id, 1, -1, false) != (i < maxQueue) {
			t.Fatal(i)
		}
	}
	if !q.overflowed() || q.overflowed() || q.length() != maxQueue {
		t.Error("overflow")
	}
	if q.add(stripeOf(shard.ID{}), 1, 0, true) {
		t.Error("a stripe is queued twice")
	}
}
