package notify

import (
	"context"
	"fmt"
	"time"

	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/objects"
)

// A Requester is who caused an event, and by which request.
type Requester struct {
	Principal string // canonical user id; "" is anonymous or Hallig itself
	SourceIP  string
	RequestID string
	HostID    string
}

type requesterKey struct{}

// WithRequester returns a context that tells Objects who asked.
func WithRequester(ctx context.Context, r Requester) context.Context {
	return context.WithValue(ctx, requesterKey{}, r)
}

// Buckets looks up a bucket's record by name; objects.API does. It must be
// quick (a cache), for Objects waits for it.
type Buckets interface {
	Bucket(ctx context.Context, name string) (objects.Bucket, error)
}

// Objects publishes what happened to objects, all of one bucket; see Publish. The
// request's requester is taken from the context.
func (n *Notifier) Objects(ctx context.Context, buckets Buckets, told ...objects.Event) error {
	if len(told) == 0 {
		return nil
	}
	b, err := buckets.Bucket(ctx, told[0].Bucket)
	if err != nil {
		return fmt.Errorf("notify of %s: %w", told[0].Name, err)
	}
	if len(b.Documents[objects.DocNotification]) == 0 {
		return nil
	}
	r, ok := ctx.Value(requesterKey{}).(Requester)
	if !ok {
		r.SourceIP = "127.0.0.1" // Hallig itself: lifecycle and its like
	}
	events := make([]Event, len(told))
	for i := range told {
		o := &told[i]
		v := &o.Version
		e := Event{
			Name: o.Name, At: o.At, Key: v.Key, Size: v.Size, ETag: v.ETag, Revision: uint64(max(v.Revision, v.Edit)),
			Principal: r.Principal, SourceIP: r.SourceIP, RequestID: r.RequestID, HostID: r.HostID,
		}
		if e.At.IsZero() {
			e.At = time.Now()
		}
		if b.Versioning != catalog.Unversioned {
			e.VersionID = string(v.ID())
		}
		events[i] = e
	}
	return n.Publish(ctx, &b, events...)
}
