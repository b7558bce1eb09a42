package s3

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/objects"
	"github.com/hallig-cloud/hallig/s3/notify"
)

// Notifications is what the door needs of event delivery; *notify.Notifier is
// it.
type Notifications interface {
	// Test sends s3:TestEvent to a webhook. ErrNotFound: no such webhook.
	Test(ctx context.Context, webhook string, e notify.Event) error
}

// getBucketNotification answers with the notification configuration; an empty
// one when there is none.
func (s *Server) getBucketNotification(ctx context.Context, q *request) error {
	b, err := q.Bucket(ctx)
	if err != nil {
		return err
	}
	if doc := b.Documents[objects.DocNotification]; len(doc) > 0 {
		return q.Raw("application/xml", doc)
	}
	return q.sendXML("NotificationConfiguration", notify.Configuration{})
}

// putBucketNotification replaces the notification configuration. Unless the
// request says not to, every target must take a test event first.
func (s *Server) putBucketNotification(ctx context.Context, q *request) error {
	data, err := s.readDocument(ctx, q, notify.MaxBytes)
	if err != nil {
		return err
	}
	c, err := notify.Parse(data)
	if err != nil {
		return err
	}
	if err := s.checkTargets(ctx, q, c.Targets()); err != nil {
		return err
	}
	var doc []byte
	if len(c.Targets()) > 0 {
		nameTargets(&c, q.id)
		if doc, err = c.Encode(); err != nil {
			return fmt.Errorf("put bucket notification: %w", err)
		}
	}
	if err := s.putDocument(ctx, q, objects.DocNotification, doc); err != nil {
		return err
	}
	return q.OK()
}

// nameTargets gives an id to entries that came without.
func nameTargets(c *notify.Configuration, request string) {
	n := 0
	name := func(id *string) {
		if n++; *id == "" {
			*id = request + "-" + itoa(n)
		}
	}
	for i := range c.Topics {
		name(&c.Topics[i].ID)
	}
	for i := range c.Queues {
		name(&c.Queues[i].ID)
	}
	for i := range c.Functions {
		name(&c.Functions[i].ID)
	}
}

func (s *Server) checkTargets(ctx context.Context, q *request, targets []notify.Target) error {
	if strings.EqualFold(q.header("X-Amz-Skip-Destination-Validation"), "true") {
		return nil
	}
	tested := make(map[string]bool)
	for _, t := range targets {
		if tested[t.Webhook] {
			continue
		}
		tested[t.Webhook] = true
		err := hallig.ErrNotFound
		if s.cfg.Notifications != nil {
			err = s.cfg.Notifications.Test(ctx, t.Webhook, notify.Event{
				At: s.cfg.Clock(), Bucket: q.bucketName, RequestID: q.id, HostID: q.hostID,
			})
		}
		refuse := func(why string) error {
			return invalidArgument(notify.ARNPrefix+t.Webhook, why, "Unable to validate the following destination configurations").Because(err)
		}
		switch {
		case errors.Is(err, hallig.ErrNotFound):
			return refuse("The destination webhook does not exist")
		case errors.Is(err, hallig.ErrUnavailable):
			return refuse("The destination webhook did not take the test event")
		case err != nil:
			return fmt.Errorf("test webhook %s: %w", t.Webhook, err)
		}
	}
	return nil
}

// withRequester lets event notifications know who asked.
func (q *request) withRequester(ctx context.Context) context.Context {
	ip, _, err := net.SplitHostPort(q.r.RemoteAddr)
	if err != nil {
		ip = q.r.RemoteAddr
	}
	return notify.WithRequester(ctx, notify.Requester{Principal: q.auth.user, SourceIP: ip, RequestID: q.id, HostID: q.hostID})
}
