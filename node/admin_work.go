package node

import (
	"context"

	"github.com/hallig-cloud/hallig/admin"
	"github.com/hallig-cloud/hallig/s3/notify"
)

// Webhooks implements admin.Work.
func (n *Node) Webhooks(ctx context.Context) ([]admin.Webhook, error) {
	s, err := n.services()
	if err != nil {
		return nil, err
	}
	hooks, err := s.notify.Webhooks().List(ctx)
	if err != nil {
		return nil, err
	}
	out := []admin.Webhook{}
	for _, h := range hooks {
		out = append(out, admin.Webhook{Name: h.Name, URL: h.URL, ARN: notify.ARNPrefix + h.Name})
	}
	return out, nil
}

// AddWebhook implements admin.Work.
func (n *Node) AddWebhook(ctx context.Context, w admin.Webhook) (admin.Webhook, error) {
	s, err := n.services()
	if err != nil {
		return admin.Webhook{}, err
	}
	hook := notify.Webhook{Name: w.Name, URL: w.URL, Secret: w.Secret}
	if w.Token != "" {
		hook.Authorization = "Bearer " + w.Token
	}
	if err := s.notify.Webhooks().Put(ctx, hook); err != nil {
		return admin.Webhook{}, err
	}
	return admin.Webhook{Name: w.Name, URL: w.URL, ARN: notify.ARNPrefix + w.Name}, nil
}

// RemoveWebhook implements admin.Work.
func (n *Node) RemoveWebhook(ctx context.Context, name string) error {
	s, err := n.services()
	if err != nil {
		return err
	}
	return s.notify.Webhooks().Delete(ctx, name)
}
