package testmesh

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/hallig-cloud/hallig/internal/testmesh/history"
)

// clientOf returns a client of a handler that plays the store.
func clientOf(t *testing.T, h *history.History, f http.HandlerFunc) *Client {
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	c := NewClient(ClientConfig{
		Endpoint: server.URL, AccessKey: "a", SecretKey: "s", Bucket: "b", History: h, Timeout: 300 * time.Millisecond,
		Dial: (&net.Dialer{}).DialContext,
	})
	t.Cleanup(c.Close)
	return c
}

func TestOutcomes(t *testing.T) {
	for want, f := range map[history.Outcome][]http.HandlerFunc{
		history.OK:          {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200) }},
		history.NotFound:    {status(404, "NoSuchKey"), status(404, "NoSuchBucket")},
		history.Refused:     {status(412, "PreconditionFailed")},
		history.NotModified: {status(304, "")},
		history.Failed:      {status(404, "NoSuchUpload"), status(409, "ConditionalRequestConflict"), status(403, "AccessDenied")},
		history.Unknown: {
			status(500, "InternalError"), status(503, "SlowDown"), status(408, "RequestTimeout"),
			func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
			func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body); <-r.Context().Done() },
			func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", "9")
				w.Write([]byte("cut"))
			},
		},
	} {
		for i, f := range f {
			c := clientOf(t, history.New(), f)
			got := c.Get(t.Context(), "k", Condition{})
			if got.Outcome != want {
				t.Errorf("%s %d: %s", want, i, got.Outcome)
			}
		}
	}
	c := clientOf(t, history.New(), nil)
	c.c.Dial = nil
	c.http.DialContext = func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Err: errors.New("refused")}
	}
	if got := c.Get(t.Context(), "k", Condition{}); got.Outcome != history.Failed {
		t.Errorf("a connection that was refused is %s", got.Outcome)
	}
}

func status(code int, name string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		if name != "" {
			io.WriteString(w, "<Error><Code>"+name+"</Code></Error>")
		}
	}
}

// A store that keeps one body too long, or changes a byte, is found out by
// what real clients record.
func TestALyingStoreIsFoundOut(t *testing.T) {
	for name, lie := range map[string]func(first, last string) string{
		"truth":      func(_, last string) string { return last },
		"stale":      func(first, _ string) string { return first },
		"wrong byte": func(_, last string) string { return last[:len(last)-1] + "!" },
	} {
		t.Run(name, func(t *testing.T) {
			h := history.New()
			var bodies []string
			c := clientOf(t, h, func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPut {
					b, _ := io.ReadAll(r.Body)
					bodies = append(bodies, string(b))
					w.Header().Set("ETag", etag(b))
					return
				}
				last := bodies[len(bodies)-1]
				said := lie(bodies[0], last)
				w.Header().Set("ETag", etag([]byte(last)))
				if strings.HasPrefix(name, "stale") {
					w.Header().Set("ETag", etag([]byte(said)))
				}
				io.WriteString(w, said)
			})
			c.Put(t.Context(), "k", []byte("first"), Condition{})
			c.Put(t.Context(), "k", []byte("second"), Condition{})
			c.Get(t.Context(), "k", Condition{})
			v := history.Check(h.Records(), 0)
			if v.Outcomes[history.OK] != 3 {
				t.Fatalf("outcomes %v", v.Outcomes)
			}
			if (v.Err() == nil) != (name == "truth") {
				t.Errorf("%v", v.Err())
			}
		})
	}
}
