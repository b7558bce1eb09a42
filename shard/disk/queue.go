package disk

import (
	"context"
	"errors"
	"runtime"
	"sync"

	"github.com/hallig-cloud/hallig/shard"
)

// errStored says that a Put's id is taken, by bytes still to be compared.
var errStored = errors.New("already stored")

type requestKind uint8

const (
	requestPut        requestKind = iota
	requestDelete                 // also: keep deletions, when compacting
	requestMove                   // store each of moves anew if it is still at its from
	requestQuarantine             // if the shard is still at from
	requestIndex                  // change the index alone, by change
)

// request is one call's share of a group.
type request struct {
	kind      requestKind
	header    shard.Header
	head      []byte // the record's header, to be completed by place
	body      []byte
	deletions []deletion
	id        shard.ID // of a quarantine
	moves     []move
	from      recordAt    // see requestQuarantine; of deletions that are kept: their segment
	keep      bool        // of deletions: those that the index still places at from
	probe     bool        // of deletions: write something in any case
	roll      bool        // of deletions: finish the active segment first
	end       *segmentEnd // of deletions: write this as well
	change    func(*txn) error
	sync      bool // of a requestIndex: the index is durable when it is answered

	wake    chan wake
	leading bool // asked to lead, under queue.mu
	taken   bool // in a group, under queue.mu

	err error // the answer
}

// move is a shard that compaction stores anew.
type move struct {
	header     shard.Header
	head, body []byte
	from       recordAt
}

// requests keeps requests with their wake, for Put.
var requests = sync.Pool{New: func() any { return &request{wake: make(chan wake, 1)} }}

type wake struct {
	lead bool // the caller is to commit the next group
	err  error
}

// recordAt is the place of a record.
type recordAt struct {
	segment uint64
	off     uint32
}

// A queue forms groups of the requests that arrive while the group before is
// being committed. The caller whose request comes first commits the group for
// all; there is no goroutine and a lone request waits for nothing.
type queue struct {
	mu      sync.Mutex
	waiting []*request
	busy    bool // somebody leads
	crowded bool // the last group was of more than one request, or more were waiting
}

// do has a request committed, by this caller or another. If ctx ends before
// the request is in a group it is withdrawn; from then on it is waited for.
func (q *queue) do(ctx context.Context, r *request, commit func([]*request)) error {
	if r.wake == nil {
		r.wake = make(chan wake, 1)
	}
	r.leading, r.taken, r.err = false, false, nil
	q.mu.Lock()
	q.waiting = append(q.waiting, r)
	if q.busy {
		q.mu.Unlock()
		var w wake
		select {
		case w = <-r.wake:
		case <-ctx.Done():
			if q.withdraw(r) {
				return ctx.Err()
			}
			w = <-r.wake
		}
		if !w.lead {
			return w.err
		}
		q.mu.Lock()
	}
	q.busy = true
	if q.crowded {
		// Whoever can run now may be about to join, and two writes and syncs cost
		// more than one. There is no timer: where nobody else can run it takes no time.
		q.mu.Unlock()
		runtime.Gosched()
		q.mu.Lock()
	}
	group := q.take()
	q.crowded = len(group)+len(q.waiting) > 1
	q.mu.Unlock()

	commit(group)

	q.mu.Lock()
	if len(q.waiting) > 0 {
		q.waiting[0].leading = true
		q.waiting[0].wake <- wake{lead: true}
	} else {
		q.busy = false
	}
	q.mu.Unlock()
	for _, g := range group {
		if g != r {
			g.wake <- wake{err: g.err}
		}
	}
	return r.err
}

// take removes the next group from the queue: the first request is always in it.
func (q *queue) take() []*request {
	n, size := 0, 0
	for n < len(q.waiting) && n < maxGroupRequests && size < maxGroup {
		size += len(q.waiting[n].body)
		q.waiting[n].taken = true
		n++
	}
	group := q.waiting[:n:n]
	q.waiting = append([]*request(nil), q.waiting[n:]...)
	return group
}

// withdraw removes a request that is neither in a group nor to lead one.
func (q *queue) withdraw(r *request) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if r.taken || r.leading {
		return false
	}
	for i, w := range q.waiting {
		if w == r {
			q.waiting = append(q.waiting[:i:i], q.waiting[i+1:]...)
			return true
		}
	}
	return false
}
