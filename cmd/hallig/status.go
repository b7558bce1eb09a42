package main

import (
	"context"
	"time"

	"github.com/hallig-cloud/hallig/admin"
)

type statusCmd struct{}

// Run shows the node's state.
func (statusCmd) Run(ctx context.Context, c *cli, std *stdio) error {
	st, err := call[admin.Status](ctx, c, "GET", "/status", nil)
	if err != nil {
		return err
	}
	return show(c, std, st, func(t *table) { statusTable(t, st) })
}

func statusTable(t *table, st admin.Status) {
	t.row("node", short(st.Node)+" ("+st.Provider+" / "+st.Site+")")
	t.row("state", st.State)
	t.row("version", st.Version+", up "+time.Since(st.Started).Round(time.Second).String())
	t.row("data", st.Data)
	t.row("S3", "http://"+st.S3)
	t.row("stored", bytes(st.Totals.Bytes)+" in "+plural(st.Totals.Versions, "version")+", "+plural(st.Totals.Buckets, "bucket"))
	t.row("keyring", keyringState(st.Keyring))
	if st.Refusing != "" {
		t.line("\n%s", loud(st.Refusing, true))
	}
	t.line("\nPromise: %s", st.Promise.Says)
	t.line("")
	driveTable(t, st.Drives)
	t.line("")
	t.row("CATALOG AND KEY FILE", "STATE", "KEY FILE", "PATH")
	for _, m := range st.Mirrors {
		t.row(short(m.Drive), m.State, yes(m.KeyFile), m.Path)
	}
	if len(st.Tasks) > 0 {
		t.line("")
		taskTable(t, st.Tasks)
	}
	if len(st.Events) > 0 {
		t.line("")
		for _, e := range st.Events {
			t.row(when(e.At), e.Level, e.Text)
		}
	}
}

func keyringState(k admin.Keyring) string {
	switch {
	case k.Locked:
		return "LOCKED: no object can be read or written until `hallig keyring unlock`"
	case k.Protected:
		return "unlocked, protected by a passphrase"
	}
	return "not protected: whoever reads the key file reads everything (`hallig keyring protect`)"
}
