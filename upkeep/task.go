package upkeep

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
)

// TaskState is what a task does now.
type TaskState string

// The states of a task.
const (
	TaskWaiting TaskState = "waiting" // for its next turn
	TaskRunning TaskState = "running"
	TaskFailed  TaskState = "failed" // the last turn ended with Err; it will be tried again
)

// A Task is a piece of background work as it stands.
type Task struct {
	Name   string // scrub, repair, compare, re-encode, rebalance, sweep, lifecycle, export
	Drive  hallig.DriveID
	State  TaskState
	Done   int64 // of the current pass
	Total  int64 // 0: not known
	Unit   string
	Rate   float64       // units a second over the current pass
	ETA    time.Duration // 0: not known
	Found  int64         // since the start of the process: damaged, missing, unreferenced …
	Fixed  int64
	Failed int64
	Detail string    // what an operator should know of the findings
	Err    error     // the last failure; nil after a turn that went well
	Last   time.Time // end of the last full pass; zero: none yet
	Next   time.Time
}

// A work is a task while the process lives.
type work struct {
	mu      sync.Mutex
	t       Task
	started time.Time
	base    int64 // Done when the pass was taken up
	now     func() time.Time
}

func (w *work) edit(f func(*Task)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(&w.t)
}

// begin notes that a pass runs: done of total are behind it.
func (w *work) begin(done, total int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.started, w.base = w.now(), done
	w.t.State, w.t.Done, w.t.Total = TaskRunning, done, total
}

func (w *work) add(n int64) { w.edit(func(t *Task) { t.Done += n }) }

// end notes how a pass ended.
func (w *work) end(err error, next time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.t.Err, w.t.Next, w.t.State = err, next, TaskWaiting
	if err != nil {
		w.t.State = TaskFailed
		return
	}
	w.t.Last = w.now()
}

func (w *work) snapshot() Task {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.t
	if t.State != TaskRunning {
		return t
	}
	if span := w.now().Sub(w.started).Seconds(); span > 0 {
		t.Rate = float64(t.Done-w.base) / span
	}
	if t.Rate > 0 && t.Total > t.Done {
		t.ETA = time.Duration(float64(t.Total-t.Done) / t.Rate * float64(time.Second)).Round(time.Second)
	}
	return t
}

// work returns the task of a name and drive, made at the first call.
func (u *Upkeep) work(name, unit string, drive hallig.DriveID) *work {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, w := range u.works {
		if w.t.Name == name && w.t.Drive == drive {
			return w
		}
	}
	w := &work{now: u.config.Now, t: Task{Name: name, Unit: unit, Drive: drive, State: TaskWaiting}}
	u.works = append(u.works, w)
	return w
}

// Status returns every task, in a stable order.
func (u *Upkeep) Status() []Task {
	u.mu.Lock()
	works := slices.Clone(u.works)
	u.mu.Unlock()
	out := make([]Task, 0, len(works))
	for _, w := range works {
		t := w.snapshot()
		if t.Name == taskRepair {
			t.Total = t.Done + int64(u.queue.length())
		}
		out = append(out, t)
	}
	slices.SortStableFunc(out, func(a, b Task) int {
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		return slices.Compare(a.Drive[:], b.Drive[:])
	})
	return out
}

// A progress is what survives a restart of a task, under KindTask.
type progress struct {
	Cursor  []byte    `cbor:"1,keyasint"`
	Done    int64     `cbor:"2,keyasint"`
	Started time.Time `cbor:"3,keyasint"` // of the pass
	Last    time.Time `cbor:"4,keyasint"` // end of the last full pass
}

const taskPrefix = "upkeep/"

// load reads a task's progress; a missing or malformed record is a fresh start.
func (u *Upkeep) load(ctx context.Context, name string) (progress, error) {
	var p progress
	rec, err := u.config.Catalog.Get(ctx, catalog.KindTask, taskPrefix+name)
	if errors.Is(err, hallig.ErrNotFound) {
		return p, nil
	}
	if err != nil {
		return p, fmt.Errorf("read the progress of %s: %w", name, err)
	}
	if err := cbor.Unmarshal(rec.Value, &p); err != nil {
		u.config.Logger.Warn("the progress of a task is malformed: it starts anew", "task", name, "err", err)
		return progress{}, nil
	}
	return p, nil
}

func (u *Upkeep) save(ctx context.Context, name string, p progress) error {
	value, err := cbor.Marshal(p)
	if err != nil {
		return err
	}
	err = u.config.Catalog.Update(ctx, catalog.Change{Kind: catalog.KindTask, Name: taskPrefix + name, Value: value, Expect: catalog.AnyRevision})
	if err != nil {
		return fmt.Errorf("record the progress of %s: %w", name, err)
	}
	return nil
}
