package testmesh

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hallig-cloud/hallig/internal/testmesh/nemesis"
)

// A Node is what every fault of a process needs. A Process is one.
type Node interface {
	Name() string
	Start(ctx context.Context) error // returns when it is ready
	Kill() error
	Restart(ctx context.Context) error // orderly
	Pause(ctx context.Context) error
	Resume() error
}

// What a Node may offer beside; the faults of a kind exist when all nodes do.
type (
	// A Wiper removes everything a killed node has stored.
	Wiper interface {
		Wipe(ctx context.Context) error
	}
	// A Tearer cuts or garbles the last bytes of a killed node's logs, of what
	// was not acknowledged, and fails if there was nothing to tear.
	Tearer interface {
		TearTail(ctx context.Context) error
	}
	// A BitFlipper flips bits of what a node has stored, and fails if it
	// flipped none.
	BitFlipper interface {
		FlipBits(ctx context.Context) error
	}
	// A DiskFiller fills the node's file system and makes room again.
	DiskFiller interface {
		FillDisk(ctx context.Context) error
		FreeDisk(ctx context.Context) error
	}
	// An IOBreaker lets the node's files fail and work again.
	IOBreaker interface {
		BreakIO(ctx context.Context) error
		MendIO(ctx context.Context) error
	}
	// A ClockShifter moves the node's clock, and back with 0.
	ClockShifter interface {
		ShiftClock(ctx context.Context, by time.Duration) error
	}
)

// FaultConfig says how hard Faults hits.
type FaultConfig struct {
	SlowDelay     time.Duration // added by slow-provider; 0 is 500 ms
	SlowBandwidth int64         // of slow-provider in bytes a second; 0 is not limited
	ClockJump     time.Duration // 0 is one hour
}

// Faults returns the faults that can be made on a mesh and its nodes.
func Faults(m *Mesh, nodes []Node, c FaultConfig) map[nemesis.Kind]nemesis.Fault {
	if c.SlowDelay == 0 {
		c.SlowDelay = 500 * time.Millisecond
	}
	if c.ClockJump == 0 {
		c.ClockJump = time.Hour
	}
	faults := map[nemesis.Kind]nemesis.Fault{
		nemesis.CutProvider:  linkFault(m, func(e nemesis.Event) Change { return CutOff(e.Target) }),
		nemesis.Partition:    linkFault(m, func(e nemesis.Event) Change { return CutBetween(e.Target, e.Other, true) }),
		nemesis.OneWay:       linkFault(m, func(e nemesis.Event) Change { return CutBetween(e.Target, e.Other, false) }),
		nemesis.SlowProvider: linkFault(m, func(e nemesis.Event) Change { return SlowDown(e.Target, c.SlowDelay, c.SlowBandwidth) }),
		nemesis.Rolling:      rolling(nodes),
	}
	on(faults, nodes, nemesis.Kill, func(_ context.Context, n Node) error { return n.Kill() }, startNode[Node])
	on(faults, nodes, nemesis.Pause, func(ctx context.Context, n Node) error { return n.Pause(ctx) },
		func(_ context.Context, n Node) error { return n.Resume() })
	type wiper interface {
		Node
		Wiper
	}
	on(faults, nodes, nemesis.Wipe, func(ctx context.Context, n wiper) error { return killThen(ctx, n, n.Wipe) }, startNode[wiper])
	type tearer interface {
		Node
		Tearer
	}
	on(faults, nodes, nemesis.TornTail, func(ctx context.Context, n tearer) error { return killThen(ctx, n, n.TearTail) }, startNode[tearer])
	on(faults, nodes, nemesis.BitFlip, func(ctx context.Context, n BitFlipper) error { return n.FlipBits(ctx) }, nil)
	on(faults, nodes, nemesis.DiskFull, func(ctx context.Context, n DiskFiller) error { return n.FillDisk(ctx) },
		func(ctx context.Context, n DiskFiller) error { return n.FreeDisk(ctx) })
	on(faults, nodes, nemesis.IOError, func(ctx context.Context, n IOBreaker) error { return n.BreakIO(ctx) },
		func(ctx context.Context, n IOBreaker) error { return n.MendIO(ctx) })
	on(faults, nodes, nemesis.Clock, func(ctx context.Context, n ClockShifter) error { return n.ShiftClock(ctx, c.ClockJump) },
		func(ctx context.Context, n ClockShifter) error { return n.ShiftClock(ctx, 0) })
	return faults
}

func startNode[N Node](ctx context.Context, n N) error { return n.Start(ctx) }

func killThen(ctx context.Context, n Node, then func(context.Context) error) error {
	if err := n.Kill(); err != nil {
		return err
	}
	return then(ctx)
}

// on adds the faults of a kind if every node is an N.
func on[N any](faults map[nemesis.Kind]nemesis.Fault, nodes []Node, kind nemesis.Kind, begin, end func(context.Context, N) error) {
	able := map[string]N{}
	for _, n := range nodes {
		a, ok := n.(N)
		if !ok {
			return
		}
		able[n.Name()] = a
	}
	call := func(f func(context.Context, N) error) func(context.Context, nemesis.Event) error {
		if f == nil {
			return nil
		}
		return func(ctx context.Context, e nemesis.Event) error {
			n, ok := able[e.Target]
			if !ok {
				return fmt.Errorf("no node %q", e.Target)
			}
			return f(ctx, n)
		}
	}
	faults[kind] = nemesis.FaultFuncs{BeginFunc: call(begin), EndFunc: call(end)}
}

// linkFault is a fault that is a Change while it lasts. Events of the same
// text do not overlap.
func linkFault(m *Mesh, change func(nemesis.Event) Change) nemesis.Fault {
	var mu sync.Mutex
	undo := map[nemesis.Event]func() error{}
	return nemesis.FaultFuncs{
		BeginFunc: func(_ context.Context, e nemesis.Event) error {
			for _, p := range []string{e.Target, e.Other} {
				if p != "" && !slices.ContainsFunc(m.hosts, func(h Host) bool { return h.Provider == p }) {
					return fmt.Errorf("no provider %q", p)
				}
			}
			u, err := m.Apply(change(e))
			mu.Lock()
			defer mu.Unlock()
			undo[e] = u
			return err
		},
		EndFunc: func(_ context.Context, e nemesis.Event) error {
			mu.Lock()
			defer mu.Unlock()
			u := undo[e]
			if u == nil {
				return nil
			}
			delete(undo, e)
			return u()
		},
	}
}

// rolling restarts all nodes in turn, each when the one before is ready.
func rolling(nodes []Node) nemesis.Fault {
	return nemesis.FaultFuncs{BeginFunc: func(ctx context.Context, _ nemesis.Event) error {
		var errs []error
		for _, n := range nodes {
			errs = append(errs, n.Restart(ctx))
		}
		return errors.Join(errs...)
	}}
}
