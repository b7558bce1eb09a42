package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/admin"
	"github.com/hallig-cloud/hallig/node"
)

const defaultAdminAddr = "127.0.0.1:9001"

// client finds the node: its address from --admin-addr or what the running
// node wrote into the data directory, its token from --admin-token or the data
// directory.
func (c *cli) client() (*admin.Client, error) {
	cl := &admin.Client{Address: c.AdminAddr, Token: c.AdminToken}
	if cl.Address == "" {
		cl.Address = defaultAdminAddr
		if e, err := node.ReadEndpoints(c.Data); err == nil && e.Admin != "" {
			cl.Address = e.Admin
		}
	}
	if cl.Token == "" {
		name := filepath.Join(c.Data, node.TokenFile)
		text, err := os.ReadFile(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil, fmt.Errorf("no admin token: %s is not there. Name the node's data directory with --data, or give HALLIG_ADMIN_TOKEN: %w", name, hallig.ErrDenied)
		case err != nil:
			return nil, fmt.Errorf("read the admin token: %w (its owner may; or give HALLIG_ADMIN_TOKEN): %w", err, hallig.ErrDenied)
		}
		cl.Token = strings.TrimSpace(string(text))
	}
	return cl, nil
}

// call asks the node for something and returns the decoded answer.
func call[Out any](ctx context.Context, c *cli, method, path string, in any) (Out, error) {
	var out Out
	cl, err := c.client()
	if err != nil {
		return out, err
	}
	err = cl.Do(ctx, method, path, in, &out)
	return out, err
}

// change asks the node to change something and says so.
func change(ctx context.Context, c *cli, std *stdio, method, path string, in any, said string, args ...any) error {
	if _, err := call[struct{}](ctx, c, method, path, in); err != nil {
		return err
	}
	if c.JSON {
		_, err := fmt.Fprintln(std.out, "{}")
		return err
	}
	_, err := fmt.Fprintf(std.out, said+"\n", args...)
	return err
}

// show prints v as JSON with --json, else by table.
func show(c *cli, std *stdio, v any, table func(t *table)) error {
	if c.JSON {
		e := json.NewEncoder(std.out)
		e.SetIndent("", "  ")
		return e.Encode(v)
	}
	t := newTable(std.out)
	table(t)
	return t.flush()
}
