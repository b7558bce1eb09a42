package main

import (
	"context"
	"fmt"

	"github.com/hallig-cloud/hallig/admin"
)

type scrubCmd struct {
	Start  scrubStartCmd  `cmd:"" help:"Begin a full pass now."`
	Status scrubStatusCmd `cmd:"" help:"Show the pass that runs and the last one." default:"1"`
}

type scrubStartCmd struct {
	Wait bool `help:"Wait until the pass is done; fails if it found damage that could not be healed."`
}

// Run starts a pass.
func (s *scrubStartCmd) Run(ctx context.Context, c *cli, std *stdio) error {
	task, err := call[admin.Task](ctx, c, "POST", "/scrub", nil)
	if err != nil {
		return err
	}
	if s.Wait {
		before := task.Last
		bar := newProgress(std, "scrub", task.Total, task.Unit)
		defer bar.close()
		err := poll(ctx, func() (bool, error) {
			if task, err = scrubTask(ctx, c); err != nil {
				return false, err
			}
			bar.set(task.Done)
			return task.Last.After(before), nil
		})
		if err != nil {
			return err
		}
	}
	if err := show(c, std, task, func(t *table) { taskTable(t, []admin.Task{task}) }); err != nil {
		return err
	}
	if s.Wait && task.Failed > 0 {
		return fmt.Errorf("%d stripes are damaged and could not be healed", task.Failed)
	}
	return nil
}

// scrubTask finds the scrub among the node's tasks.
func scrubTask(ctx context.Context, c *cli) (admin.Task, error) {
	st, err := call[admin.Status](ctx, c, "GET", "/status", nil)
	if err != nil {
		return admin.Task{}, err
	}
	for _, t := range st.Tasks {
		if t.Name == "scrub" {
			return t, nil
		}
	}
	return admin.Task{}, fmt.Errorf("the node runs no scrub: %w", errNotFound)
}

type scrubStatusCmd struct{}

// Run shows the scrub.
func (scrubStatusCmd) Run(ctx context.Context, c *cli, std *stdio) error {
	task, err := scrubTask(ctx, c)
	if err != nil {
		return err
	}
	return show(c, std, task, func(t *table) { taskTable(t, []admin.Task{task}) })
}

func taskTable(t *table, tasks []admin.Task) {
	t.row("TASK", "STATE", "DONE", "FOUND", "FIXED", "FAILED", "LAST FULL PASS", "DETAIL")
	for _, k := range tasks {
		done := fmt.Sprintf("%d %s", k.Done, k.Unit)
		if k.Total > 0 {
			done = fmt.Sprintf("%d/%d %s (%d %%)", k.Done, k.Total, k.Unit, 100*k.Done/k.Total)
		}
		t.row(k.Name, k.State, done, k.Found, k.Fixed, k.Failed, when(k.Last), k.Detail)
	}
}
