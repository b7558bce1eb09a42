package s3_test

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/hallig-cloud/hallig/access"
	"github.com/hallig-cloud/hallig/objects"
	"github.com/hallig-cloud/hallig/s3"
)

// TestServe serves a store in memory on $HALLIG_SERVE until it is killed, for
// suites of other clients that are run by hand. "/-/reset" empties it,
// "/-/user?access=A&secret=S&role=R" makes a user, "/-/owner?bucket=B&owner=A"
// gives a bucket away.
func TestServe(t *testing.T) {
	addr := os.Getenv("HALLIG_SERVE")
	if addr == "" {
		t.Skip("HALLIG_SERVE is not set")
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	h := &served{t: t, log: log}
	h.reset()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Fatal(http.Serve(l, h)) //nolint:gosec // a test
}

type served struct {
	t   *testing.T
	log *slog.Logger
	mu  sync.Mutex
	d   *door
}

func (h *served) reset() {
	d := openDoor(h.t, func(c *s3.Config) { c.Domains, c.Log = []string{"s3.localhost"}, h.log })
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.d != nil {
		h.d.mesh.Store.Close() //nolint:errcheck // the next one is there
	}
	h.d = d
}

func (h *served) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	d := h.d
	h.mu.Unlock()
	ctx, q := context.Background(), r.URL.Query()
	var err error
	switch {
	case !strings.HasPrefix(r.URL.Path, "/-/"):
		d.server.ServeHTTP(w, r)
		return
	case r.URL.Path == "/-/reset":
		h.reset()
	case r.URL.Path == "/-/user":
		err = d.user(ctx, q.Get("access"), q.Get("secret"), q.Get("role"))
	case r.URL.Path == "/-/owner":
		c, lookup := d.access.Lookup(ctx, q.Get("owner"))
		if err = lookup; err == nil {
			_, err = d.mesh.Store.UpdateBucket(ctx, q.Get("bucket"), func(b *objects.Bucket) error {
				b.Owner = c.Identity.User
				delete(b.Documents, objects.DocACL)
				return nil
			})
		}
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// user makes a user with one key: "admin" may do everything, "userplus" may
// make buckets, others what bucket owners and policies let them.
func (d *door) user(ctx context.Context, key, secret, role string) error {
	if _, err := d.access.CreateUser(ctx, key, key, ""); err != nil {
		return err
	}
	action := map[string]string{"admin": "s3:*", "userplus": "s3:CreateBucket"}[role]
	if action != "" {
		doc := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:ListAllMyBuckets","` + action + `"],"Resource":"*"}]}`
		if err := d.access.SetPolicy(ctx, key, role, []byte(doc)); err != nil {
			return err
		}
	}
	_, _, err := d.access.CreateKey(ctx, access.NewKey{User: key, AccessKey: key, Secret: secret})
	return err
}
