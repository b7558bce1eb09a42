package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/hallig-cloud/hallig/admin"
)

type keyCmd struct {
	Create  keyCreateCmd  `cmd:"" help:"Make an access key; the secret is shown once."`
	List    keyListCmd    `cmd:"" help:"List access keys."`
	Show    keyShowCmd    `cmd:"" help:"Show a key and what it is narrowed to."`
	Policy  keyPolicyCmd  `cmd:"" help:"Narrow a key to less than its user may, or lift that."`
	Rotate  keyRotateCmd  `cmd:"" help:"Make a key in place of another, which works for a while more."`
	Disable keyDisableCmd `cmd:"" help:"Refuse a key from now on."`
	Enable  keyEnableCmd  `cmd:"" help:"Accept a disabled key again."`
	Delete  keyDeleteCmd  `cmd:"" aliases:"remove" help:"Delete a key."`
}

type keyCreateCmd struct {
	User    string  `arg:"" help:"Whose key."`
	Comment string  `help:"What it is for."`
	Expires expires `help:"When it ends: a date (2027-01-31, or RFC 3339), or a time from now (90d, 12h). Never if not given." placeholder:"WHEN"`
	Policy  string  `help:"Narrow the key to less than its user may: readonly, readwrite, or a JSON file (- is standard input)." placeholder:"POLICY"`
}

// expires is a moment, given as a date or as a time from now.
type expires string

// at returns the moment; zero if none was given.
func (e expires) at(now time.Time) (time.Time, error) {
	text := string(e)
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), nil
		}
	}
	d, err := time.ParseDuration(text)
	if days, ok := strings.CutSuffix(text, "d"); ok && err != nil {
		var n int
		n, err = strconv.Atoi(days)
		if n > 36500 {
			n = 36500
		}
		d = time.Duration(n) * 24 * time.Hour
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("--expires %q: a date (2027-01-31), or a time from now (90d, 12h): %w", text, errUsage)
	}
	return now.Add(d), nil
}

// Run makes a key.
func (k *keyCreateCmd) Run(ctx context.Context, c *cli, std *stdio) error {
	in := admin.NewKey{User: k.User, Comment: k.Comment}
	var err error
	if in.Expires, err = k.Expires.at(time.Now()); err != nil {
		return err
	}
	if k.Policy != "" {
		if in.Policy, err = readPolicy(k.Policy, std); err != nil {
			return err
		}
	}
	key, err := call[admin.Key](ctx, c, "POST", "/keys", in)
	if err != nil {
		return err
	}
	return showSecret(c, std, key)
}

// showSecret prints a new key.
func showSecret(c *cli, std *stdio, key admin.Key) error {
	return show(c, std, key, func(t *table) {
		t.row("access key", key.AccessKey)
		t.row("secret key", key.Secret)
		if !key.Expires.IsZero() {
			t.row("expires", when(key.Expires))
		}
		t.line("The secret is not shown again.")
	})
}

type keyListCmd struct {
	User string `help:"Only this user's." placeholder:"NAME"`
}

func keys(ctx context.Context, c *cli, user string) ([]admin.Key, error) {
	return call[[]admin.Key](ctx, c, "GET", "/keys?user="+url.QueryEscape(user), nil)
}

// keyState says whether a key works.
func keyState(key admin.Key, now time.Time) string {
	switch {
	case key.Disabled:
		return "disabled"
	case !key.Expires.IsZero() && !now.Before(key.Expires):
		return "expired"
	}
	return "enabled"
}

// Run lists keys.
func (k *keyListCmd) Run(ctx context.Context, c *cli, std *stdio) error {
	list, err := keys(ctx, c, k.User)
	if err != nil {
		return err
	}
	return show(c, std, list, func(t *table) {
		t.row("ACCESS KEY", "USER", "STATE", "NARROWED", "CREATED", "EXPIRES", "COMMENT")
		for _, key := range list {
			t.row(key.AccessKey, key.User, keyState(key, time.Now()), yes(len(key.Policy) > 0), when(key.Created), when(key.Expires), key.Comment)
		}
	})
}

type keyShowCmd struct {
	Key string `arg:"" help:"Access key."`
}

// Run shows a key.
func (k *keyShowCmd) Run(ctx context.Context, c *cli, std *stdio) error {
	list, err := keys(ctx, c, "")
	if err != nil {
		return err
	}
	for _, key := range list {
		if key.AccessKey != k.Key {
			continue
		}
		return show(c, std, key, func(t *table) {
			t.row("access key", key.AccessKey)
			t.row("user", key.User)
			t.row("state", keyState(key, time.Now()))
			t.row("created", when(key.Created))
			t.row("expires", when(key.Expires))
			t.row("comment", key.Comment)
			if len(key.Policy) == 0 {
				t.row("may", "all that the user may")
				return
			}
			t.row("may", "what the user may and this policy allows:")
			t.line("%s", key.Policy)
		})
	}
	return fmt.Errorf("there is no access key %q: `hallig key list` shows them: %w", k.Key, errNotFound)
}

type keyPolicyCmd struct {
	Key      string `arg:"" help:"Access key."`
	Document string `arg:"" help:"readonly, readwrite, a JSON file (- is standard input), or none to lift it."`
}

// Run narrows a key.
func (k *keyPolicyCmd) Run(ctx context.Context, c *cli, std *stdio) error {
	var doc json.RawMessage
	said := "Key %s may all that its user may."
	if k.Document != "none" {
		var err error
		if doc, err = readPolicy(k.Document, std); err != nil {
			return err
		}
		said = "Key %s may what its user may and the policy allows."
	}
	return change(ctx, c, std, "PUT", "/keys/"+url.PathEscape(k.Key)+"/policy", admin.Narrowing{Policy: doc}, said, k.Key)
}

type keyRotateCmd struct {
	Key   string        `arg:"" help:"Access key."`
	Grace time.Duration `help:"How long the former key works on." default:"24h"`
}

// Run makes a key in place of another.
func (k *keyRotateCmd) Run(ctx context.Context, c *cli, std *stdio) error {
	key, err := call[admin.Key](ctx, c, "POST", "/keys/"+url.PathEscape(k.Key)+"/rotate", admin.Succession{Grace: k.Grace})
	if err != nil {
		return err
	}
	if err := showSecret(c, std, key); err != nil || c.JSON {
		return err
	}
	_, err = fmt.Fprintf(std.out, "The former key %s works for %s more.\n", k.Key, k.Grace)
	return err
}

type keyDisableCmd struct {
	Key string `arg:"" help:"Access key."`
}

// Run disables a key.
func (k *keyDisableCmd) Run(ctx context.Context, c *cli, std *stdio) error {
	return change(ctx, c, std, "PUT", "/keys/"+url.PathEscape(k.Key), admin.Enabled{Enabled: false}, "Key %s disabled.", k.Key)
}

type keyEnableCmd struct {
	Key string `arg:"" help:"Access key."`
}

// Run enables a key.
func (k *keyEnableCmd) Run(ctx context.Context, c *cli, std *stdio) error {
	return change(ctx, c, std, "PUT", "/keys/"+url.PathEscape(k.Key), admin.Enabled{Enabled: true}, "Key %s enabled.", k.Key)
}

type keyDeleteCmd struct {
	Key string `arg:"" help:"Access key."`
}

// Run deletes a key.
func (k *keyDeleteCmd) Run(ctx context.Context, c *cli, std *stdio) error {
	return change(ctx, c, std, "DELETE", "/keys/"+url.PathEscape(k.Key), nil, "Key %s deleted.", k.Key)
}
