package mesh_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/mesh"
	"github.com/hallig-cloud/hallig/mesh/meshtest"
	"github.com/hallig-cloud/hallig/placement"
)

// echo answers with the caller's name and what it sent.
func echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		mesh.WriteError(w, err)
		return
	}
	p, _ := mesh.PeerOf(r.Context())
	w.Write([]byte(p.Node.String() + " " + p.Provider + " "))
	w.Write(body)
}

func withEcho(_ int, m *mesh.Mesh) {
	m.Handle("POST /v1/echo", mesh.AnyMember, http.HandlerFunc(echo))
	m.Handle("POST /v1/gateways", placement.RoleGateway, http.HandlerFunc(echo))
	m.HandleStream("echo", mesh.AnyMember, func(_ context.Context, p mesh.Peer, c net.Conn) {
		io.WriteString(c, p.Node.String()+"\n")
		io.Copy(c, c)
	})
	m.HandleStream("gateways", placement.RoleGateway, func(context.Context, mesh.Peer, net.Conn) {})
}

// call sends body to a node's handler and returns its answer.
func call(ctx context.Context, c *mesh.Client, path, body string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, path, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	answer, err := c.Do(r)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	if err := mesh.CheckAnswer(c.Node(), answer); err != nil {
		return "", err
	}
	b, err := io.ReadAll(answer.Body)
	return string(b), err
}

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) || want == nil && err != nil {
		t.Fatalf("%s: error %v, want %v", what, err, want)
	}
}

func TestCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, nodes := meshtest.Start(t, 3, withEcho)
		for _, from := range nodes {
			for _, to := range nodes {
				got, err := call(t.Context(), from.Mesh.Client(to.ID()), "/v1/echo", "hello")
				if from == to {
					wantErr(t, "a call to itself", err, hallig.ErrInvalid)
					continue
				}
				if want := from.ID().String() + " p" + from.Host + " hello"; err != nil || got != want {
					t.Fatalf("%q %v, want %q", got, err, want)
				}
			}
		}
		_, err := call(t.Context(), nodes[0].Mesh.Client(nodes[1].ID()), "/v1/nothing", "")
		wantErr(t, "an unknown call", err, hallig.ErrUnsupported)
		_, err = call(t.Context(), nodes[0].Mesh.Client(hallig.NewID()), "/v1/echo", "")
		wantErr(t, "an unknown node", err, hallig.ErrUnavailable)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = call(ctx, nodes[0].Mesh.Client(nodes[1].ID()), "/v1/echo", "")
		wantErr(t, "a canceled call", err, context.Canceled)
		synctest.Wait()
		peers := nodes[0].Mesh.Peers()
		if len(peers) != 2 || peers[0].Provider != "pn1" || peers[0].State != mesh.PeerUp || peers[0].RTT <= 0 || peers[0].Sent == 0 || peers[0].Received == 0 || peers[0].Calls != 0 {
			t.Fatalf("%+v", peers)
		}
	})
}

func TestStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var listeners []net.Listener
		_, nodes := meshtest.Start(t, 2, func(i int, m *mesh.Mesh) {
			withEcho(i, m)
			listeners = append(listeners, m.StreamListener("raft", mesh.AnyMember))
		})
		c, err := nodes[0].Mesh.Dial(t.Context(), nodes[1].ID(), "echo")
		wantErr(t, "dial", err, nil)
		body := bytes.Repeat([]byte("tide "), 20000)
		go func() { c.Write(body) }()
		got := make([]byte, 33+len(body))
		_, err = io.ReadFull(c, got)
		wantErr(t, "read", err, nil)
		if want := nodes[0].ID().String() + "\n" + string(body); string(got) != want {
			t.Fatal("the stream gave other bytes back")
		}
		if c.RemoteAddr().String() != nodes[1].ID().String() {
			t.Fatal(c.RemoteAddr())
		}
		c.Close()
		_, err = nodes[0].Mesh.Dial(t.Context(), nodes[1].ID(), "nothing")
		wantErr(t, "an unknown stream", err, hallig.ErrUnsupported)

		// A listener's connections outlive its handler's way of being called.
		out, err := nodes[0].Mesh.Dial(t.Context(), nodes[1].ID(), "raft")
		wantErr(t, "dial", err, nil)
		in, err := listeners[1].Accept()
		wantErr(t, "accept", err, nil)
		if in.RemoteAddr().String() != nodes[0].ID().String() {
			t.Fatal(in.RemoteAddr())
		}
		io.WriteString(out, "vote")
		b := make([]byte, 4)
		if _, err := io.ReadFull(in, b); err != nil || string(b) != "vote" {
			t.Fatal(string(b), err)
		}
		in.SetReadDeadline(time.Now().Add(time.Second))
		var late net.Error
		if _, err := in.Read(b); !errors.As(err, &late) || !late.Timeout() {
			t.Fatalf("read past its deadline: %v", err)
		}
		in.Close()
		if _, err := out.Read(b); err == nil {
			t.Fatal("the other end is closed and says nothing")
		}
		listeners[1].Close()
		_, err = listeners[1].Accept()
		wantErr(t, "accept after close", err, net.ErrClosed)
	})
}

// A large body in both directions, with many calls at once.
func TestManyCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, nodes := meshtest.Start(t, 2, withEcho)
		body := strings.Repeat("x", 200<<10)
		failed := make(chan error, 30)
		for range cap(failed) {
			go func() {
				got, err := call(mesh.Long(t.Context()), nodes[0].Mesh.Client(nodes[1].ID()), "/v1/echo", body)
				if err == nil && !strings.HasSuffix(got, body) {
					err = errors.New("other bytes came back")
				}
				failed <- err
			}()
		}
		for range cap(failed) {
			wantErr(t, "call", <-failed, nil)
		}
	})
}

// What a node writes to its own disk lets it start again without being told
// anything.
func TestRestartWithKeptTopology(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, nodes := meshtest.Start(t, 2, withEcho)
		e := w.Change(func(top *placement.Topology) { top.Nodes[1].Site = "elsewhere" })
		wantErr(t, "offer", nodes[0].Mesh.Offer(e), nil)
		synctest.Wait()
		nodes[0].Stop()
		cfg := nodes[0].Config()
		cfg.Topology = mesh.Envelope{}
		nodes[0].Start(cfg, func(m *mesh.Mesh) { withEcho(0, m) })
		if got := nodes[0].Mesh.Topology().Revision; got != e.Revision {
			t.Fatalf("revision %d after a restart, was %d", got, e.Revision)
		}
		time.Sleep(5 * time.Second) // of the bubble's clock: the other one notices that it is back
		_, err := call(t.Context(), nodes[1].Mesh.Client(nodes[0].ID()), "/v1/echo", "")
		wantErr(t, "call", err, nil)
	})
}
