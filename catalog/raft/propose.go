package raft

import (
	"context"
	"errors"
	"fmt"

	hraft "github.com/hashicorp/raft"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog/machine"
)

// A pending is a command that waits for its answer.
type pending struct {
	command []byte
	done    chan outcome // holds one
}

type outcome struct {
	answer machine.Answer
	err    error
}

const (
	maxJoined      = 512     // commands of one log entry
	maxJoinedBytes = 1 << 20 // and about how many bytes, unless one alone is larger
	maxInFlight    = 4       // log entries proposed and not yet answered
)

// propose has a command committed and applied. An error wraps
// hallig.ErrUnavailable (or the context's) when it is not known whether it was.
func (p *partition) propose(ctx context.Context, c *machine.Command) (machine.Answer, error) {
	b, err := machine.EncodeCommand(c)
	if err != nil {
		return machine.Answer{}, err
	}
	if len(b) > machine.MaxEntry-2*maxJoinedBytes {
		return machine.Answer{}, fmt.Errorf("catalog request of %d bytes: %w", len(b), hallig.ErrTooLarge)
	}
	w := &pending{command: b, done: make(chan outcome, 1)}
	select {
	case p.queue <- w:
	case <-ctx.Done():
		return machine.Answer{}, ctx.Err()
	case <-p.stopped:
		return machine.Answer{}, p.broken()
	case <-p.node.closed:
		return machine.Answer{}, closed()
	}
	select {
	case o := <-w.done:
		return o.answer, o.err
	case <-ctx.Done():
		return machine.Answer{}, fmt.Errorf("catalog: the outcome is not known: %w: %w", ctx.Err(), hallig.ErrUnavailable)
	case <-p.stopped:
		return machine.Answer{}, p.broken()
	case <-p.node.closed:
		return machine.Answer{}, closed()
	}
}

// errClosed says that the catalog was closed.
var errClosed = fmt.Errorf("catalog is closed: %w", hallig.ErrUnavailable)

func closed() error { return errClosed }

// join makes log entries of what is queued: concurrent commands share one.
func (p *partition) join(ctx context.Context) {
	slots := make(chan struct{}, maxInFlight)
	for {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		var batch []*pending
		select {
		case w := <-p.queue:
			batch = p.gather(w)
		case <-ctx.Done():
			return
		}
		f := p.send(batch)
		p.node.running.Add(1)
		go func() {
			defer p.node.running.Done()
			p.answer(f, batch)
			<-slots
		}()
	}
}

// gather adds what else is queued.
func (p *partition) gather(w *pending) []*pending {
	batch, n := []*pending{w}, len(w.command)
	for len(batch) < maxJoined && n < maxJoinedBytes {
		select {
		case w := <-p.queue:
			batch = append(batch, w)
			n += len(w.command)
		default:
			return batch
		}
	}
	return batch
}

func (p *partition) send(batch []*pending) hraft.ApplyFuture {
	commands := make([][]byte, len(batch))
	for i, w := range batch {
		commands[i] = w.command
	}
	return p.raft.Apply(machine.JoinCommands(commands), 0)
}

// wait waits for Raft's answer. Raft never answers what was still queued when
// it ended: the goroutine that asks then stays behind, and nobody waits for it.
func (p *partition) wait(f hraft.Future) error {
	answered := make(chan error, 1)
	go func() { answered <- f.Error() }()
	select {
	case err := <-answered:
		return err
	case <-p.stopped:
		return p.broken()
	case <-p.ended:
		return closed()
	}
}

func (p *partition) answer(f hraft.ApplyFuture, batch []*pending) {
	var got applied
	err := p.wait(f)
	if err == nil {
		got, _ = f.Response().(applied)
		err = got.err
	} else {
		err = proposalError(err)
	}
	if err == nil && len(got.answers) != len(batch) {
		err = fmt.Errorf("catalog entry with %d answers to %d commands: %w", len(got.answers), len(batch), hallig.ErrCorrupt)
	}
	for i, w := range batch {
		if err != nil {
			w.done <- outcome{err: err}
			continue
		}
		w.done <- outcome{answer: got.answers[i]}
	}
}

// proposalError wraps Raft's errors: whether the entry will commit is not known.
func proposalError(err error) error {
	if errors.Is(err, hallig.ErrFull) || errors.Is(err, hallig.ErrUnavailable) {
		return err
	}
	return unavailable(err)
}
