package main

import (
	"context"
	"net/url"
	"path/filepath"

	"github.com/hallig-cloud/hallig/admin"
)

type driveCmd struct {
	List    driveListCmd    `cmd:"" help:"List drives."`
	Add     driveAddCmd     `cmd:"" help:"Make a directory on its own disk a drive."`
	Replace driveReplaceCmd `cmd:"" help:"Put a new drive in the place of a failed or missing one."`
	Remove  driveRemoveCmd  `cmd:"" help:"Empty a drive and take it out; a missing one is declared lost."`
}

type driveListCmd struct{}

// Run lists drives.
func (driveListCmd) Run(ctx context.Context, c *cli, std *stdio) error {
	drives, err := call[[]admin.Drive](ctx, c, "GET", "/drives", nil)
	if err != nil {
		return err
	}
	return show(c, std, drives, func(t *table) { driveTable(t, drives) })
}

func driveTable(t *table, drives []admin.Drive) {
	t.row("DRIVE", "STATE", "SHARDS", "USED", "FREE", "BAD", "CATALOG", "PATH")
	for _, d := range drives {
		t.row(short(d.ID), d.State, d.Shards, bytes(d.Live+d.Dead), bytes(d.Free), d.Quarantined, yes(d.Catalog), d.Path)
	}
	for _, d := range drives {
		if d.Reason != "" {
			t.line("  %s: %s", short(d.ID), d.Reason)
		}
	}
}

// short is as much of an id as people compare; commands take it as a prefix.
func short(id string) string { return id[:min(len(id), 8)] }

type driveAddCmd struct {
	Path string `arg:"" help:"Empty directory on its own disk." type:"path"`
}

// Run adds a drive.
func (d *driveAddCmd) Run(ctx context.Context, c *cli, std *stdio) error {
	made, err := call[admin.Drive](ctx, c, "POST", "/drives", admin.NewDrive{Path: absolute(d.Path)})
	if err != nil {
		return err
	}
	return show(c, std, made, func(t *table) { t.line("Drive %s added at %s.", short(made.ID), made.Path) })
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

type driveReplaceCmd struct {
	Drive string `arg:"" help:"The drive to replace: its id, the first digits of it, or its path."`
	Path  string `arg:"" help:"Empty directory on its own disk." type:"path"`
}

// Run replaces a drive.
func (d *driveReplaceCmd) Run(ctx context.Context, c *cli, std *stdio) error {
	made, err := call[admin.Drive](ctx, c, "POST", "/drives/replace?drive="+url.QueryEscape(d.Drive), admin.NewDrive{Path: absolute(d.Path)})
	if err != nil {
		return err
	}
	return show(c, std, made, func(t *table) {
		t.line("Drive %s at %s takes its place; `hallig status` shows the repair.", short(made.ID), made.Path)
	})
}

type driveRemoveCmd struct {
	Drive string `arg:"" help:"The drive: its id, the first digits of it, or its path."`
	Wait  bool   `help:"Wait until it is empty."`
}

// Run begins to drain a drive.
func (d *driveRemoveCmd) Run(ctx context.Context, c *cli, std *stdio) error {
	drive, err := call[admin.Drive](ctx, c, "POST", "/drives/remove?drive="+url.QueryEscape(d.Drive), nil)
	if err != nil {
		return err
	}
	if d.Wait {
		if err := waitEmpty(ctx, c, std, drive); err != nil {
			return err
		}
	}
	return show(c, std, drive, func(t *table) {
		if d.Wait {
			t.line("Drive %s is empty and out. Its directory %s may be taken away.", short(drive.ID), drive.Path)
			return
		}
		t.line("Drive %s is %s; `hallig status` shows the progress.", short(drive.ID), drive.State)
	})
}

// waitEmpty follows a drain with a progress bar.
func waitEmpty(ctx context.Context, c *cli, std *stdio, drive admin.Drive) error {
	bar := newProgress(std, "emptying "+short(drive.ID), max(drive.Shards, 1), "shards")
	defer bar.close()
	return poll(ctx, func() (bool, error) {
		drives, err := call[[]admin.Drive](ctx, c, "GET", "/drives", nil)
		if err != nil {
			return false, err
		}
		for _, d := range drives {
			if d.ID == drive.ID {
				bar.set(drive.Shards - d.Shards)
				return false, nil
			}
		}
		return true, nil
	})
}
