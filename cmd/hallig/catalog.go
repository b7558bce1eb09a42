package main

import (
	"context"

	"github.com/hallig-cloud/hallig/admin"
	"github.com/hallig-cloud/hallig/node"
)

type catalogCmd struct {
	Export  catalogExportCmd  `cmd:"" help:"Write a sealed export of the catalog now."`
	Restore catalogRestoreCmd `cmd:"" help:"Rebuild a stopped node's catalog from an export."`
}

type catalogExportCmd struct {
	Name string `arg:"" optional:"" help:"Name of the export; the time if not given."`
}

// Run writes an export.
func (e *catalogExportCmd) Run(ctx context.Context, c *cli, std *stdio) error {
	x, err := call[admin.Export](ctx, c, "POST", "/catalog/exports", admin.Named{Name: e.Name})
	if err != nil {
		return err
	}
	return show(c, std, x, func(t *table) {
		t.line("%s: %s, sealed under the root key. Keep a copy of it, and of the key file, elsewhere.", x.Path, bytes(x.Size))
	})
}

type catalogRestoreCmd struct {
	File           string   `arg:"" help:"The export." type:"existingfile"`
	Drive          []string `help:"The node's drives, as for start." placeholder:"DIR" type:"path"`
	PassphraseFile string   `help:"File with the passphrase of a protected key file." placeholder:"FILE"`
	Force          bool     `help:"Replace a catalog that is there."`
}

// Run rebuilds the catalog of a node that is not running.
func (r *catalogRestoreCmd) Run(ctx context.Context, c *cli, std *stdio) error {
	s := startCmd{PassphraseFile: r.PassphraseFile}
	x, err := node.RestoreCatalog(ctx, node.Config{Data: c.Data, Drives: r.Drive, Passphrase: s.passphrase}, r.File, r.Force)
	if err != nil {
		return err
	}
	return show(c, std, x, func(t *table) {
		t.line("Restored from %s of %s. Start the node and run `hallig scrub start`.", x.Path, when(x.At))
	})
}
