package mesh

import (
	"testing"
	"time"
)

const ms = time.Millisecond

func TestHealth(t *testing.T) {
	h := newHealth(0)
	now := time.Duration(0)
	answer := func(rtt time.Duration) { now += time.Second; h.answered(now, rtt, 0) }
	is := func(what string, want PeerState) {
		t.Helper()
		if h.state != want {
			t.Fatalf("%s: %s, want %s (rtt %v)", what, h.state, want, h.rtt)
		}
	}
	is("at first", PeerUp)
	answer(20 * ms)
	if h.rtt != 20*ms || h.p99() != 20*ms {
		t.Fatalf("%v %v", h.rtt, h.p99())
	}
	answer(2 * time.Second)
	is("one late answer", PeerUp)
	for range 3 {
		answer(2 * time.Second)
	}
	is("late answers", PeerSlow)
	if h.reason == "" || h.since != now-time.Second && h.since != now && h.since != now-2*time.Second {
		t.Fatalf("%+v", h)
	}
	answer(20 * ms)
	is("one good answer", PeerSlow)
	for range 30 {
		answer(20 * ms)
	}
	is("good answers", PeerUp)
	if h.p99() != 2*time.Second {
		t.Fatal(h.p99())
	}
	// Between half the limit and the limit it stays what it was.
	for range 60 {
		answer(400 * ms)
	}
	is("rather late answers", PeerUp)
	for range 60 {
		answer(600 * ms)
	}
	is("late answers", PeerSlow)
	for range 60 {
		answer(400 * ms)
	}
	is("rather late answers of a slow one", PeerSlow)
	// A site whose round trip is long is not slow.
	far := newHealth(0)
	for range 60 {
		far.answered(now, 600*ms, slowFactor*300*ms)
	}
	if far.state != PeerUp {
		t.Fatal("by the others at its site it is not slow")
	}

	if !h.failed(now, "gone") || h.failed(now, "gone") {
		t.Fatal("it goes down once")
	}
	is("a failure", PeerDown)
	if h.retry() != 2*firstRetry {
		t.Fatal(h.retry())
	}
	for range 10 {
		h.failed(now, "gone")
	}
	if h.retry() != lastRetry {
		t.Fatal(h.retry())
	}
	answer(20 * ms)
	is("one answer after a long time up", PeerUp)
	h.failed(now, "gone")
	answer(20 * ms)
	is("an answer of one that flaps", PeerDown)
	h.failed(now, "gone")
	answer(20 * ms)
	answer(20 * ms)
	is("two answers of one that flaps", PeerDown)
	answer(20 * ms)
	is("three answers", PeerUp)
	now += time.Minute
	h.failed(now, "gone")
	answer(3 * time.Second)
	is("a late answer of one that was down", PeerSlow)
	for range 2 * rttKept {
		answer(time.Duration(1+len(h.last)) * ms)
	}
	if len(h.last) != rttKept {
		t.Fatal(len(h.last))
	}
}

func TestJoinLimits(t *testing.T) {
	l := newJoinLimits()
	now := time.Unix(0, 0)
	let := 0
	for i := range joinSources + 10 { // all at once, from everywhere
		if l.allow(now, string(rune(i))) {
			let++
		}
	}
	if let != joinsAtOnce || len(l.sources) > joinSources {
		t.Fatalf("%d were let through, %d sources are remembered", let, len(l.sources))
	}
	now = now.Add(time.Minute)
	if !l.allow(now, "new") || len(l.sources) > joinSources {
		t.Fatal("idle sources are not forgotten")
	}
}
