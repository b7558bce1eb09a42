package main

import (
	"context"
	"net/url"

	"github.com/hallig-cloud/hallig/admin"
)

type webhookCmd struct {
	Add    webhookAddCmd    `cmd:"" help:"Allow delivery of bucket events to a URL."`
	List   webhookListCmd   `cmd:"" help:"List webhooks."`
	Remove webhookRemoveCmd `cmd:"" aliases:"delete" help:"Remove a webhook."`
}

type webhookAddCmd struct {
	Name   string `arg:"" help:"Name of the webhook."`
	URL    string `arg:"" help:"http:// or https:// address that takes POST requests."`
	Token  string `help:"Sent as bearer token with every delivery; better as HALLIG_WEBHOOK_TOKEN." env:"HALLIG_WEBHOOK_TOKEN" placeholder:"TOKEN"`
	Secret string `help:"Signs every message (header X-Hallig-Signature); better as HALLIG_WEBHOOK_SECRET." env:"HALLIG_WEBHOOK_SECRET" placeholder:"SECRET"`
}

// Run adds a webhook.
func (w *webhookAddCmd) Run(ctx context.Context, c *cli, std *stdio) error {
	hook, err := call[admin.Webhook](ctx, c, "POST", "/webhooks", admin.Webhook{Name: w.Name, URL: w.URL, Token: w.Token, Secret: w.Secret})
	if err != nil {
		return err
	}
	return show(c, std, hook, func(t *table) {
		t.line("Webhook %s added. Name it in a bucket's notification configuration as %s", hook.Name, hook.ARN)
	})
}

type webhookListCmd struct{}

// Run lists webhooks.
func (webhookListCmd) Run(ctx context.Context, c *cli, std *stdio) error {
	hooks, err := call[[]admin.Webhook](ctx, c, "GET", "/webhooks", nil)
	if err != nil {
		return err
	}
	return show(c, std, hooks, func(t *table) {
		t.row("NAME", "URL", "ARN")
		for _, h := range hooks {
			t.row(h.Name, h.URL, h.ARN)
		}
	})
}

type webhookRemoveCmd struct {
	Name string `arg:"" help:"Name of the webhook."`
}

// Run removes a webhook.
func (w *webhookRemoveCmd) Run(ctx context.Context, c *cli, std *stdio) error {
	return change(ctx, c, std, "DELETE", "/webhooks/"+url.PathEscape(w.Name), nil, "Webhook %s removed.", w.Name)
}
