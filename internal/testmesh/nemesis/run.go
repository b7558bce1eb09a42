package nemesis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"
)

// A Fault makes events of one kind happen. Begin returns nil only when the
// fault is there (the process is gone, the link is cut, the bit is flipped),
// End only when it is over; what it left behind may still be repaired then.
type Fault interface {
	Begin(ctx context.Context, e Event) error
	End(ctx context.Context, e Event) error
}

// FaultFuncs is a Fault of two functions; a nil End does nothing.
type FaultFuncs struct {
	BeginFunc, EndFunc func(ctx context.Context, e Event) error
}

// Begin implements Fault.
func (f FaultFuncs) Begin(ctx context.Context, e Event) error { return f.BeginFunc(ctx, e) }

// End implements Fault.
func (f FaultFuncs) End(ctx context.Context, e Event) error {
	if f.EndFunc == nil {
		return nil
	}
	return f.EndFunc(ctx, e)
}

// A Runner runs schedules.
type Runner struct {
	Faults map[Kind]Fault
	// Settle, if set, is called after every event and returns when the mesh is
	// whole again, by asking it. Later events wait.
	Settle func(ctx context.Context, e Event) error
	Log    *slog.Logger // nil discards
}

// A Count says what happened to the events of one kind.
type Count struct{ Planned, Begun, Ended int }

// A Report counts by kind what really happened.
type Report map[Kind]Count

// String returns one line.
func (r Report) String() string {
	var parts []string
	for _, k := range Kinds() {
		if c, ok := r[k]; ok {
			parts = append(parts, fmt.Sprintf("%s %d/%d", k, c.Ended, c.Planned))
		}
	}
	return strings.Join(parts, ", ")
}

// Require returns an error for kinds of which less happened from beginning to
// end than wanted: no kind may silently stop happening.
func (r Report) Require(least map[Kind]int) error {
	var errs []error
	for _, k := range Kinds() {
		if c := r[k]; c.Ended < least[k] {
			errs = append(errs, fmt.Errorf("%s: %d events happened, %d are required", k, c.Ended, least[k]))
		}
	}
	return errors.Join(errs...)
}

// Run runs a schedule. An event begins at its time or, if the ones before it
// are not over or have not settled, as soon as they are; it lasts at least its
// time. Whatever ends Run, faults that began are ended. A kind without a Fault
// is an error before anything begins.
func (r *Runner) Run(ctx context.Context, s Schedule) (Report, error) {
	report := Report{}
	for _, e := range s.Events {
		if r.Faults[e.Kind] == nil {
			return report, fmt.Errorf("event %q: nobody makes faults of this kind", e)
		}
		c := report[e.Kind]
		c.Planned++
		report[e.Kind] = c
	}
	log := r.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	begun := time.Now()
	for _, e := range s.Events {
		if err := wait(ctx, time.Until(begun.Add(e.At))); err != nil {
			return report, err
		}
		if err := r.one(ctx, log, e, report); err != nil {
			return report, fmt.Errorf("event %q: %w", e, err)
		}
	}
	return report, nil
}

// one runs an event from beginning to end.
func (r *Runner) one(ctx context.Context, log *slog.Logger, e Event, report Report) error {
	fault := r.Faults[e.Kind]
	log.Info("a fault begins", "event", e.String())
	if err := fault.Begin(ctx, e); err != nil {
		return errors.Join(fmt.Errorf("begin: %w", err), fault.End(context.WithoutCancel(ctx), e))
	}
	c := report[e.Kind]
	c.Begun++
	report[e.Kind] = c
	waited := wait(ctx, e.For)
	if err := fault.End(context.WithoutCancel(ctx), e); err != nil {
		return errors.Join(waited, fmt.Errorf("end: %w", err))
	}
	if waited != nil {
		return waited
	}
	c.Ended++
	report[e.Kind] = c
	log.Info("a fault is over", "event", e.String())
	if r.Settle == nil {
		return nil
	}
	if err := r.Settle(ctx, e); err != nil {
		return fmt.Errorf("settle: %w", err)
	}
	return nil
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}
