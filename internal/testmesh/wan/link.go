// Package wan is a wide-area network in user space, for tests that run several
// real processes on one machine. Hosts have names; every ordered pair of hosts
// has a Link of its own with delay, jitter, loss, duplication, bandwidth and a
// cut, which may be changed at any time, and Counters of what went over it.
//
// Two networks offer the same interface. OpenNamespaces gives every host a
// network namespace with one TAP device and carries Ethernet frames between
// them (Linux, root, /dev/net/tun); any address, port and protocol works, and
// nodes see each other under fixed addresses. OpenLoopback needs nothing: it
// relays TCP between loopback ports; each pair of hosts and port has an address
// of its own, connecting costs no delay, and there is no loss in a stream.
//
// What happens to the nth frame of a direction is decided by the seed, the
// direction and n alone; when the nth frame is sent is up to the processes and
// the machine.
package wan

import (
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"sync"
	"time"
)

// DefaultQueue is the default of Link.Queue in bytes.
const DefaultQueue = 1 << 20

// A Link says how one direction between two hosts behaves. The zero Link
// delivers everything at once.
type Link struct {
	Delay     time.Duration // one way
	Jitter    time.Duration // up to so much more, evenly distributed
	Reorder   bool          // let jitter change the order of frames
	Loss      float64       // probability that a frame is lost
	Duplicate float64       // probability that a frame arrives twice
	Bandwidth int64         // bytes a second; 0 is unlimited
	Queue     int64         // bytes that wait for a limited bandwidth before more is dropped; 0 is DefaultQueue
	Cut       bool          // nothing arrives, what is on its way included
}

// Validate says what of a Link makes no sense.
func (l Link) Validate() error {
	switch {
	case l.Delay < 0 || l.Jitter < 0:
		return fmt.Errorf("link: delay %s and jitter %s must not be negative", l.Delay, l.Jitter)
	case !(l.Loss >= 0 && l.Loss <= 1) || !(l.Duplicate >= 0 && l.Duplicate <= 1):
		return fmt.Errorf("link: loss %v and duplicate %v are probabilities, 0 to 1", l.Loss, l.Duplicate)
	case l.Bandwidth < 0 || l.Queue < 0:
		return fmt.Errorf("link: bandwidth %d and queue %d must not be negative", l.Bandwidth, l.Queue)
	}
	return nil
}

// Counters count one direction since the network was opened. Frames and Bytes
// are what the sender sent (Ethernet frames with their headers; with loopback
// relays the reads and bytes of streams); the others say what became of it.
type Counters struct {
	Frames, Bytes    uint64 // sent
	Arrived          uint64 // frames handed to the receiver, duplicates included
	ArrivedBytes     uint64
	Lost, Duplicated uint64 // frames, by chance
	Cut              uint64 // frames dropped because the link was cut
	Overflowed       uint64 // frames dropped because the queue was full
}

// Plus returns the sums of two Counters.
func (c Counters) Plus(o Counters) Counters {
	return Counters{
		Frames: c.Frames + o.Frames, Bytes: c.Bytes + o.Bytes,
		Arrived: c.Arrived + o.Arrived, ArrivedBytes: c.ArrivedBytes + o.ArrivedBytes,
		Lost: c.Lost + o.Lost, Duplicated: c.Duplicated + o.Duplicated,
		Cut: c.Cut + o.Cut, Overflowed: c.Overflowed + o.Overflowed,
	}
}

// ErrNoHost is wrapped by what is asked of a host that the network has not.
var ErrNoHost = errors.New("no such host")

// A pipe is one direction between two hosts: its Link, its decisions and its
// Counters.
type pipe struct {
	mu      sync.Mutex
	link    Link
	rng     *rand.Rand
	free    time.Duration // when the sender has sent all it was given
	last    time.Duration // when the last frame arrives
	pending int           // frames on their way
	count   Counters
	changed chan struct{} // closed by set, and made anew
}

func newPipe(seed uint64, from, to string) *pipe {
	h := fnv.New64a()
	fmt.Fprintf(h, "%q %q", from, to)
	return &pipe{rng: rand.New(rand.NewPCG(seed, h.Sum64())), changed: make(chan struct{})}
}

func (p *pipe) set(l Link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.link = l
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *pipe) get() (Link, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.link, p.changed
}

func (p *pipe) counters() Counters {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count
}

// A fate is what becomes of one frame: no, one or two copies and when each
// arrives.
type fate struct {
	copies int
	due    [2]time.Duration
	direct bool // deliver now: nothing is before it
}

// send counts a frame of n bytes sent at now and decides its fate. Four random
// numbers are drawn for every frame whatever the Link says, so that the nth
// frame's luck does not depend on what was set before.
func (p *pipe) send(now time.Duration, n int) fate {
	p.mu.Lock()
	defer p.mu.Unlock()
	lost, twice := p.rng.Float64(), p.rng.Float64()
	jitter := [2]float64{p.rng.Float64(), p.rng.Float64()}
	p.count.Frames++
	p.count.Bytes += uint64(n)
	switch {
	case p.link.Cut:
		p.count.Cut++
		return fate{}
	case lost < p.link.Loss:
		p.count.Lost++
		return fate{}
	}
	sent, ok := p.transmit(now, n)
	if !ok {
		p.count.Overflowed++
		return fate{}
	}
	f := fate{copies: 1}
	if twice < p.link.Duplicate {
		p.count.Duplicated++
		f.copies = 2
	}
	for i := range f.copies {
		due := sent + p.link.Delay + time.Duration(jitter[i]*float64(p.link.Jitter))
		if !p.link.Reorder {
			due = max(due, p.last)
		}
		p.last = max(due, p.last)
		f.due[i] = due
	}
	f.direct = f.copies == 1 && f.due[0] <= now && p.pending == 0
	p.pending += f.copies
	return f
}

// transmit returns when a limited bandwidth has sent n bytes more; ok is false
// if more waits than the queue holds.
func (p *pipe) transmit(now time.Duration, n int) (sent time.Duration, ok bool) {
	if p.link.Bandwidth == 0 {
		p.free = now
		return now, true
	}
	queue := p.link.Queue
	if queue == 0 {
		queue = DefaultQueue
	}
	begin := max(now, p.free)
	if waiting := (begin - now).Seconds() * float64(p.link.Bandwidth); waiting > 0 && waiting+float64(n) > float64(queue) {
		return 0, false
	}
	p.free = begin + time.Duration(float64(n)/float64(p.link.Bandwidth)*float64(time.Second))
	return p.free, true
}

// arrive reports whether a frame that is due may be handed over.
func (p *pipe) arrive() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.link.Cut {
		p.pending--
		p.count.Cut++
		return false
	}
	return true
}

// done counts a frame of n bytes that was handed over.
func (p *pipe) done(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pending--
	p.count.Arrived++
	p.count.ArrivedBytes += uint64(n)
}
