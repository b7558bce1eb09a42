package node

import (
	"context"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/admin"
)

// StartScrub implements admin.Work.
func (n *Node) StartScrub(ctx context.Context) (admin.Task, error) {
	return admin.Task{}, hallig.ErrUnsupported
}

// Export implements admin.Work.
func (n *Node) Export(ctx context.Context, name string) (admin.Export, error) {
	return admin.Export{}, hallig.ErrUnsupported
}

// RestoreCatalog rebuilds a stopped node's catalog from an export.
func RestoreCatalog(ctx context.Context, cfg Config, file string, force bool) (admin.Export, error) {
	return admin.Export{}, hallig.ErrUnsupported
}

// Webhooks implements admin.Work.
func (n *Node) Webhooks(ctx context.Context) ([]admin.Webhook, error) {
	return nil, hallig.ErrUnsupported
}

// AddWebhook implements admin.Work.
func (n *Node) AddWebhook(ctx context.Context, w admin.Webhook) (admin.Webhook, error) {
	return admin.Webhook{}, hallig.ErrUnsupported
}

// RemoveWebhook implements admin.Work.
func (n *Node) RemoveWebhook(ctx context.Context, name string) error { return hallig.ErrUnsupported }
