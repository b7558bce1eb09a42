package mesh

import (
	"slices"
	"time"
)

// PeerState is what a peer can be relied on for just now.
type PeerState string

// The states of a peer.
const (
	// PeerUp: it answers, or has not been asked yet.
	PeerUp PeerState = "up"
	// PeerSlow: it answers, later than it should. Calls go through; who has a
	// choice takes another peer.
	PeerSlow PeerState = "slow"
	// PeerDown: it does not answer. Calls fail at once; it is asked again in
	// the background.
	PeerDown PeerState = "down"
)

const (
	rttShare    = 8                      // an exchange counts 1/8 in the moving average (RFC 6298)
	rttKept     = 128                    // exchanges for the 99th percentile
	slowFloor   = 500 * time.Millisecond // faster is never slow
	slowFactor  = 4                      // times the median of the site's peers
	relapse     = 30 * time.Second       // down again so soon after it came up: it flaps
	flapAnswers = 3                      // answers in a row by which one that flaps is believed
	firstRetry  = 250 * time.Millisecond
	lastRetry   = 2 * time.Second
)

// health is one peer's state machine. It knows no clock and no lock: its caller
// has both.
type health struct {
	state   PeerState
	reason  string        // why it is not up
	since   time.Duration // of the state
	cameUp  time.Duration // when it last came up after having been down
	wasDown bool
	rtt     time.Duration // moving average; 0: none yet
	last    []time.Duration
	next    int // where the next goes in last
	answers int // in a row, while down
	needed  int // answers to be up again
	fails   int // in a row, while down
}

func newHealth(now time.Duration) health { return health{state: PeerUp, since: now} }

// answered notes an exchange that took rtt. limit is beyond what the peer is
// slow. It reports whether the state changed.
func (h *health) answered(now, rtt, limit time.Duration) bool {
	if h.state == PeerDown {
		h.answers++
		if h.answers < h.needed {
			return false
		}
		h.cameUp, h.wasDown = now, true
		h.rtt, h.last, h.next = 0, nil, 0 // what was before says nothing now
	}
	h.sample(rtt)
	limit = max(limit, slowFloor)
	switch {
	case h.rtt > limit, h.state == PeerSlow && h.rtt > limit/2:
		return h.enter(now, PeerSlow, "answers late: "+h.rtt.Round(time.Millisecond).String())
	}
	return h.enter(now, PeerUp, "")
}

func (h *health) sample(rtt time.Duration) {
	if h.rtt == 0 {
		h.rtt = rtt
	}
	h.rtt += (rtt - h.rtt) / rttShare
	if len(h.last) < rttKept {
		h.last = append(h.last, rtt)
		return
	}
	h.last[h.next] = rtt
	h.next = (h.next + 1) % rttKept
}

// failed notes that the peer did not answer when it was asked. It reports
// whether the state changed.
func (h *health) failed(now time.Duration, reason string) bool {
	h.answers = 0
	if h.state == PeerDown {
		h.fails++
		h.reason = reason
		return false
	}
	h.fails, h.needed = 0, 1
	if h.wasDown && now-h.cameUp < relapse {
		h.needed = flapAnswers
	}
	return h.enter(now, PeerDown, reason)
}

func (h *health) enter(now time.Duration, s PeerState, reason string) bool {
	changed := h.state != s
	if changed {
		h.since = now
	}
	h.state, h.reason = s, reason
	return changed
}

// retry is how long to wait before a peer that is down is asked again. After an
// answer that does not suffice yet it is asked soon.
func (h *health) retry() time.Duration {
	if h.answers > 0 {
		return firstRetry
	}
	return min(firstRetry<<min(h.fails, 8), lastRetry)
}

// p99 is the 99th percentile of the last exchanges; 0 without any.
func (h *health) p99() time.Duration {
	if len(h.last) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(h.last))
	return sorted[(len(sorted)*99+99)/100-1]
}

// median of durations; 0 without any. It sorts its argument.
func median(d []time.Duration) time.Duration {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return d[len(d)/2]
}
