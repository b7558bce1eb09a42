package nemesis

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func nodes() []Node {
	return []Node{{"a1", "a"}, {"a2", "a"}, {"b1", "b"}, {"b2", "b"}, {"c1", "c"}, {"c2", "c"}}
}

func plan(t *testing.T, seed uint64, events int) Schedule {
	s, err := Plan(Config{Seed: seed, Nodes: nodes(), Events: events})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestPlansAreReplayable(t *testing.T) {
	one := plan(t, 5, 65)
	if !reflect.DeepEqual(one, plan(t, 5, 65)) {
		t.Error("the same seed planned differently")
	}
	if reflect.DeepEqual(one.Events, plan(t, 6, 65).Events) {
		t.Error("another seed planned the same")
	}
	read, err := Parse("# kept from a failed run\n\n" + one.String())
	if err != nil || !reflect.DeepEqual(one, read) {
		t.Errorf("read back as %v, %v", read, err)
	}
}

func TestPlansHaveEveryKindAndDoNotOverlap(t *testing.T) {
	counts := map[Kind]int{}
	var end time.Duration
	for _, e := range plan(t, 9, 65).Events {
		counts[e.Kind]++
		if e.At <= end || e.For <= 0 {
			t.Errorf("%s begins before %s", e, end)
		}
		if e.Target == e.Other {
			t.Errorf("%s: with itself", e)
		}
		end = e.At + e.For
	}
	for _, k := range Kinds() {
		if counts[k] != 5 {
			t.Errorf("%d of 65 events are %s, of 13 kinds", counts[k], k)
		}
	}
}

func TestPlansThatCannotBe(t *testing.T) {
	for _, c := range []Config{
		{Events: 1}, {Nodes: nodes(), Kinds: map[Kind]int{}}, {Nodes: nodes()[:2], Events: 1}, {Nodes: nodes(), For: -1},
	} {
		if s, err := Plan(c); err == nil {
			t.Errorf("%+v planned %v", c, s)
		}
	}
	if _, err := Plan(Config{Nodes: nodes()[:1], Kinds: map[Kind]int{Kill: 1}, Events: 3}); err != nil {
		t.Errorf("one node can be killed: %v", err)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, text := range []string{
		"at 1s for 1s kill", "at 1s for 1s frob a1", "at x for 1s kill a1", "at 1s for -1s kill a1", "seed x",
		"at 1s for 1s kill a1 b1", "at 1s for 1s one-way a", "at 2s for 1s kill a1\nat 1s for 1s kill a1", "seed 1\nseed 2",
	} {
		if s, err := Parse(text); err == nil {
			t.Errorf("%q was read as %v", text, s)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("seed 3\nat 1s for 2s kill a1\nat 5s for 1s one-way a b\n")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse(text)
		if err != nil {
			return
		}
		if again, err := Parse(s.String()); err != nil || again.String() != s.String() {
			t.Errorf("%q became %q, %v", s, again, err)
		}
	})
}

func TestSeedFromTheEnvironment(t *testing.T) {
	t.Setenv("HALLIG_SEED", "77")
	if s, err := Seed(); s != 77 || err != nil {
		t.Errorf("%d, %v", s, err)
	}
	t.Setenv("HALLIG_SEED", "seven")
	if _, err := Seed(); err == nil {
		t.Error("seven was taken")
	}
}

// logbook is a Fault that writes down what happens when.
type logbook struct {
	begun time.Time
	lines []string
	fail  string // the call that fails
}

func (l *logbook) note(what string, e Event) error {
	call := fmt.Sprintf("%s %s %s", what, e.Kind, e.Target)
	l.lines = append(l.lines, fmt.Sprintf("%s %s", time.Since(l.begun), call))
	if call == l.fail {
		return errors.New("it broke")
	}
	return nil
}
func (l *logbook) Begin(_ context.Context, e Event) error { return l.note("begin", e) }
func (l *logbook) End(_ context.Context, e Event) error   { return l.note("end", e) }

func events(t *testing.T, lines ...string) Schedule {
	s, err := Parse(strings.Join(lines, "\n"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &logbook{begun: time.Now()}
		r := Runner{Faults: map[Kind]Fault{Kill: l, Pause: l}, Settle: func(ctx context.Context, e Event) error {
			return wait(ctx, 10*time.Second) // longer than there is until the next event
		}}
		report, err := r.Run(t.Context(), events(t, "at 1s for 2s kill a1", "at 5s for 1s pause b1", "at 60s for 0s kill c1"))
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"1s begin kill a1", "3s end kill a1", "13s begin pause b1", "14s end pause b1", "1m0s begin kill c1", "1m0s end kill c1"}
		if !reflect.DeepEqual(l.lines, want) {
			t.Errorf("happened: %q", l.lines)
		}
		if report.String() != "kill 2/2, pause 1/1" || report.Require(map[Kind]int{Kill: 2, Pause: 1}) != nil {
			t.Errorf("report: %s", report)
		}
		if report.Require(map[Kind]int{Kill: 3}) == nil || report.Require(map[Kind]int{Wipe: 1}) == nil {
			t.Error("what did not happen is not missed")
		}
	})
}

func TestFaultsEndWhateverHappens(t *testing.T) {
	for name, c := range map[string]struct {
		fail   string
		cancel time.Duration
		last   string
		report string
	}{
		"begin fails": {"begin kill a1", time.Hour, "1s end kill a1", "kill 0/1, pause 0/1"},
		"end fails":   {"end kill a1", time.Hour, "3s end kill a1", "kill 0/1, pause 0/1"},
		"cancelled":   {"", 2 * time.Second, "2s end kill a1", "kill 0/1, pause 0/1"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := &logbook{begun: time.Now(), fail: c.fail}
				ctx, cancel := context.WithTimeout(t.Context(), c.cancel)
				defer cancel()
				r := Runner{Faults: map[Kind]Fault{Kill: l, Pause: l}}
				report, err := r.Run(ctx, events(t, "at 1s for 2s kill a1", "at 5s for 1s pause b1"))
				if err == nil || l.lines[len(l.lines)-1] != c.last || report.String() != c.report {
					t.Errorf("%v; %q; %s", err, l.lines, report)
				}
			})
		})
	}
}

func TestAKindThatNobodyMakesIsAnError(t *testing.T) {
	l := &logbook{}
	r := Runner{Faults: map[Kind]Fault{Kill: l}}
	if _, err := r.Run(t.Context(), events(t, "at 0s for 0s kill a1", "at 1s for 1s wipe a1")); err == nil || len(l.lines) != 0 {
		t.Errorf("%v after %q", err, l.lines)
	}
}
