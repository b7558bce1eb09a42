package main

import (
	"context"
	"net/url"

	"github.com/hallig-cloud/hallig/admin"
)

type keyCmd struct {
	Create  keyCreateCmd  `cmd:"" help:"Make an access key; the secret is shown once."`
	List    keyListCmd    `cmd:"" help:"List access keys."`
	Disable keyDisableCmd `cmd:"" help:"Refuse a key from now on."`
	Enable  keyEnableCmd  `cmd:"" help:"Accept a disabled key again."`
	Delete  keyDeleteCmd  `cmd:"" help:"Delete a key."`
}

type keyCreateCmd struct {
	User    string `arg:"" help:"Whose key."`
	Comment string `help:"What it is for."`
}

// Run makes a key.
func (k *keyCreateCmd) Run(ctx context.Context, c *cli, std *stdio) error {
	key, err := call[admin.Key](ctx, c, "POST", "/keys", admin.NewKey{User: k.User, Comment: k.Comment})
	if err != nil {
		return err
	}
	return show(c, std, key, func(t *table) {
		t.row("access key", key.AccessKey)
		t.row("secret key", key.Secret)
		t.line("The secret is not shown again.")
	})
}

type keyListCmd struct {
	User string `help:"Only this user's." placeholder:"NAME"`
}

// Run lists keys.
func (k *keyListCmd) Run(ctx context.Context, c *cli, std *stdio) error {
	keys, err := call[[]admin.Key](ctx, c, "GET", "/keys?user="+url.QueryEscape(k.User), nil)
	if err != nil {
		return err
	}
	return show(c, std, keys, func(t *table) {
		t.row("ACCESS KEY", "USER", "STATE", "CREATED", "COMMENT")
		for _, key := range keys {
			state := "enabled"
			if key.Disabled {
				state = "disabled"
			}
			t.row(key.AccessKey, key.User, state, when(key.Created), key.Comment)
		}
	})
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
