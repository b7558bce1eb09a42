// Package nemesis plans and runs faults: a Schedule is a list of events made
// from a seed, which can be printed, kept and run again; Run makes the events
// happen through a Fault for each kind and counts what really happened.
package nemesis

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Kind is a kind of fault.
type Kind string

// The kinds and what their events' Target and Other are. Faults of a node need
// Begin and End only where the harness cannot do it from outside: the clock,
// I/O errors and a full disk need the node's help or its file system's.
const (
	Kill         Kind = "kill"          // a node's process, SIGKILL; started again at the end
	Pause        Kind = "pause"         // a node's process; it goes on at the end
	DiskFull     Kind = "disk-full"     // a node
	IOError      Kind = "io-error"      // a node
	BitFlip      Kind = "bit-flip"      // a node: bits of what its drives hold, in up to m shards of a stripe
	TornTail     Kind = "torn-tail"     // a node: killed, its logs' ends cut or torn, started again
	Wipe         Kind = "wipe"          // a node: killed, its directories emptied, started again
	Clock        Kind = "clock"         // a node: its clock jumps, and back at the end
	Partition    Kind = "partition"     // a provider and an Other: nothing passes between them
	OneWay       Kind = "one-way"       // a provider and an Other: nothing passes from Target to Other
	CutProvider  Kind = "cut-provider"  // a provider: cut off from all others
	SlowProvider Kind = "slow-provider" // a provider: everything to and from it is slow
	Rolling      Kind = "rolling"       // Target is Everyone: nodes are restarted in turn
)

// Everyone is the Target of events that are about the whole mesh.
const Everyone = "*"

// Kinds returns all kinds.
func Kinds() []Kind {
	return []Kind{Kill, Pause, DiskFull, IOError, BitFlip, TornTail, Wipe, Clock, Partition, OneWay, CutProvider, SlowProvider, Rolling}
}

// An Event is one fault: from At since the beginning, For so long.
type Event struct {
	At, For       time.Duration
	Kind          Kind
	Target, Other string // Other is empty but for Partition and OneWay
}

// A Schedule is a list of events by the time they begin.
type Schedule struct {
	Seed   uint64 // that Plan made it from
	Events []Event
}

// String returns the schedule as text that Parse reads: a line for the seed
// and one for each event.
func (s Schedule) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d\n", s.Seed)
	for _, e := range s.Events {
		fmt.Fprintln(&b, e)
	}
	return b.String()
}

// String returns the event's line: at AT for FOR KIND TARGET [OTHER].
func (e Event) String() string {
	s := fmt.Sprintf("at %s for %s %s %s", e.At, e.For, e.Kind, e.Target)
	if e.Other != "" {
		s += " " + e.Other
	}
	return s
}

// Parse reads what String wrote. Empty lines and lines that begin with # are
// skipped.
func Parse(text string) (Schedule, error) {
	var s Schedule
	seeded := false
	for i, line := range strings.Split(text, "\n") {
		f := strings.Fields(line)
		if len(f) == 0 || strings.HasPrefix(f[0], "#") {
			continue
		}
		var err error
		if f[0] == "seed" && len(f) == 2 && !seeded {
			seeded = true
			s.Seed, err = strconv.ParseUint(f[1], 10, 64)
		} else {
			var e Event
			if e, err = parseEvent(f); err == nil && len(s.Events) > 0 && e.At < s.Events[len(s.Events)-1].At {
				err = fmt.Errorf("it begins before the event above")
			}
			s.Events = append(s.Events, e)
		}
		if err != nil {
			return Schedule{}, fmt.Errorf("schedule, line %d: %w", i+1, err)
		}
	}
	return s, nil
}

func parseEvent(f []string) (e Event, err error) {
	if len(f) < 6 || len(f) > 7 || f[0] != "at" || f[2] != "for" {
		return e, fmt.Errorf("an event is: at AT for FOR KIND TARGET [OTHER]")
	}
	if e.At, err = time.ParseDuration(f[1]); err != nil {
		return e, err
	}
	if e.For, err = time.ParseDuration(f[3]); err != nil {
		return e, err
	}
	e.Kind, e.Target = Kind(f[4]), f[5]
	if len(f) == 7 {
		e.Other = f[6]
	}
	switch {
	case e.At < 0 || e.For < 0:
		return e, fmt.Errorf("times must not be negative")
	case !slices.Contains(Kinds(), e.Kind):
		return e, fmt.Errorf("unknown kind %q", e.Kind)
	case (e.Other != "") != (e.Kind == Partition || e.Kind == OneWay):
		return e, fmt.Errorf("partition and one-way have two providers, others have one target")
	}
	return e, nil
}

// A Node is a possible target.
type Node struct{ Name, Provider string }

// Config says what Plan may plan.
type Config struct {
	Seed   uint64
	Nodes  []Node
	Kinds  map[Kind]int  // weights; nil is every kind once
	Events int           // how many
	Rest   time.Duration // between the end of one and the next, on average; 0 is 3 s
	For    time.Duration // how long each lasts, on average; 0 is 3 s
}

// Plan makes a schedule from a seed. Kinds come as often as their weights say,
// shuffled, and each in its turn over a shuffled deck, so that none is missing
// from a long schedule. Events do not overlap: only one provider is in trouble
// at a time, which is what is promised to do no harm.
func Plan(c Config) (Schedule, error) {
	s := Schedule{Seed: c.Seed}
	deck, providers, err := c.deck()
	if err != nil {
		return s, err
	}
	r := rand.New(rand.NewPCG(c.Seed, 0x6e656d65736973))
	around := func(d time.Duration) time.Duration {
		return (d/2 + time.Duration(r.Int64N(int64(d)+1))).Round(time.Millisecond)
	}
	var at time.Duration
	var hand []Kind
	for range c.Events {
		if len(hand) == 0 {
			hand = slices.Clone(deck)
			r.Shuffle(len(hand), func(i, j int) { hand[i], hand[j] = hand[j], hand[i] })
		}
		at += around(cmp.Or(c.Rest, 3*time.Second))
		e := Event{At: at, For: around(cmp.Or(c.For, 3*time.Second)), Kind: hand[0]}
		hand = hand[1:]
		switch e.Kind {
		case Partition, OneWay:
			i := r.Perm(len(providers))
			e.Target, e.Other = providers[i[0]], providers[i[1]]
		case CutProvider, SlowProvider:
			e.Target = providers[r.IntN(len(providers))]
		case Rolling:
			e.Target = Everyone
		default:
			e.Target = c.Nodes[r.IntN(len(c.Nodes))].Name
		}
		s.Events = append(s.Events, e)
		at += e.For
	}
	return s, nil
}

// deck returns every kind as often as its weight, in a fixed order, and the
// providers.
func (c Config) deck() (deck []Kind, providers []string, err error) {
	for _, n := range c.Nodes {
		if !slices.Contains(providers, n.Provider) {
			providers = append(providers, n.Provider)
		}
	}
	for _, k := range Kinds() {
		weight := 1
		if c.Kinds != nil {
			weight = c.Kinds[k]
		}
		for range weight {
			deck = append(deck, k)
		}
	}
	switch {
	case len(c.Nodes) == 0 || len(deck) == 0:
		return nil, nil, fmt.Errorf("plan: there must be nodes and kinds of faults")
	case len(providers) < 2 && (slices.Contains(deck, Partition) || slices.Contains(deck, OneWay)):
		return nil, nil, fmt.Errorf("plan: partitions need two providers")
	case c.For < 0 || c.Rest < 0 || c.Events < 0:
		return nil, nil, fmt.Errorf("plan: nothing may be negative")
	}
	return deck, providers, nil
}

// Seed returns HALLIG_SEED, or a seed from the clock if it is not set. Print
// it: with the same seed Plan plans the same.
func Seed() (uint64, error) {
	text := os.Getenv("HALLIG_SEED")
	if text == "" {
		return uint64(time.Now().UnixNano()), nil
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("HALLIG_SEED: %w", err)
	}
	return seed, nil
}
