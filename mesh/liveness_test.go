package mesh_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/mesh"
	"github.com/hallig-cloud/hallig/mesh/meshtest"
)

// trio starts three nodes with the default bound.
func trio(t *testing.T) (*meshtest.World, []*meshtest.Node) {
	w := meshtest.New(t)
	var nodes []*meshtest.Node
	for range 3 {
		n, _ := w.Add(meshtest.Both)
		nodes = append(nodes, n)
	}
	for i, n := range nodes {
		n.Prepare(n.Config(), func(m *mesh.Mesh) { withWait(i, m) })
	}
	for _, n := range nodes {
		n.Run()
	}
	time.Sleep(3 * time.Second) // of the bubble's clock
	return w, nodes
}

func silence(w *meshtest.World, a, b string, on bool) {
	w.Net.Silence(a, b, on)
	w.Net.Silence(b, a, on)
}

// A peer that hangs, dies, or is cut off costs one bounded delay, then none,
// and comes back by itself.
func TestOneBoundedDelay(t *testing.T) {
	faults := map[string]func(w *meshtest.World, on bool){
		"hung":            func(w *meshtest.World, on bool) { silence(w, "n0", "n1", on) },
		"deaf":            func(w *meshtest.World, on bool) { w.Net.Silence("n0", "n1", on) },
		"mute":            func(w *meshtest.World, on bool) { w.Net.Silence("n1", "n0", on) },
		"cut":             func(w *meshtest.World, on bool) { w.Net.Cut("n0", "n1", on) },
		"as good as hung": func(w *meshtest.World, on bool) { w.Net.Delay("n1", "n0", map[bool]time.Duration{true: time.Hour}[on]) },
		"slow, but too far": func(w *meshtest.World, on bool) {
			w.Net.Delay("n0", "n1", map[bool]time.Duration{true: 20 * time.Second}[on])
		},
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, nodes := trio(t)
				c := nodes[0].Mesh.Client(nodes[1].ID())
				fault(w, true)
				start := time.Now()
				_, err := call(t.Context(), c, "/v1/echo", "")
				wantErr(t, "the first call", err, hallig.ErrUnavailable)
				if took := time.Since(start); took > mesh.DefaultBound+10*time.Millisecond {
					t.Fatalf("it took %v", took)
				}
				synctest.Wait()
				time.Sleep(mesh.DefaultBound)
				for range 100 {
					start = time.Now()
					_, err = call(t.Context(), c, "/v1/echo", "")
					wantErr(t, "a call", err, hallig.ErrUnavailable)
					if took := time.Since(start); took != 0 {
						t.Fatalf("it took %v: it did not fail fast", took)
					}
				}
				if _, err := nodes[0].Mesh.Dial(t.Context(), nodes[1].ID(), "echo"); err == nil || time.Since(start) != 0 {
					t.Fatalf("a stream: %v after %v", err, time.Since(start))
				}
				if c.State() != mesh.PeerDown || nodes[0].Mesh.Client(nodes[2].ID()).State() != mesh.PeerUp {
					t.Fatal(nodes[0].Mesh.Peers())
				}
				fault(w, false)
				time.Sleep(10 * time.Second)
				if c.State() != mesh.PeerUp {
					t.Fatalf("%+v", nodes[0].Mesh.Peers()[0])
				}
				_, err = call(t.Context(), c, "/v1/echo", "")
				wantErr(t, "after it is back", err, nil)
			})
		})
	}
}

// A node that was killed answers with refusals: calls fail at once, and it is
// called again when it is back, many times over.
func TestKilledAndRestarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, nodes := trio(t)
		c := nodes[0].Mesh.Client(nodes[1].ID())
		for range 8 {
			ended := make(chan error, 1)
			go func() { _, err := call(mesh.Long(context.Background()), c, "/v1/wait", ""); ended <- err }()
			synctest.Wait()
			start := time.Now()
			nodes[1].Stop()
			wantErr(t, "a call under way", <-ended, hallig.ErrUnavailable)
			_, err := call(t.Context(), c, "/v1/echo", "")
			if wantErr(t, "a call", err, hallig.ErrUnavailable); time.Since(start) > 0 {
				t.Fatalf("it took %v", time.Since(start))
			}
			nodes[1].Start(nodes[1].Config(), func(m *mesh.Mesh) { withWait(1, m) })
			time.Sleep(40 * time.Second)
			for range 6 {
				_, err = call(mesh.Long(t.Context()), c, "/v1/echo", "x")
				wantErr(t, "a call after the restart", err, nil)
			}
		}
	})
}

// An answer that takes long is no silence: the peer is asked meanwhile, and the
// call goes on.
func TestLongCallsLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, nodes := trio(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := call(ctx, nodes[0].Mesh.Client(nodes[1].ID()), "/v1/wait", "")
		wantErr(t, "a call that takes a minute", err, context.DeadlineExceeded)
		synctest.Wait()
		if s := nodes[0].Mesh.Peers()[0]; s.State != mesh.PeerUp || s.Calls != 0 {
			t.Fatalf("%+v", s)
		}
	})
}

// Silence in the middle of an answer ends it too.
func TestSilenceWithinAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := meshtest.New(t)
		a, _ := w.Add(meshtest.Both)
		b, _ := w.Add(meshtest.Both)
		a.Prepare(a.Config(), nil)
		b.Prepare(b.Config(), func(m *mesh.Mesh) {
			m.Handle("GET /v1/half", mesh.AnyMember, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				io.WriteString(w, "half")
				http.NewResponseController(w).Flush()
				<-r.Context().Done()
			}))
		})
		a.Run()
		b.Run()
		time.Sleep(3 * time.Second)
		r, _ := http.NewRequestWithContext(t.Context(), "GET", "/v1/half", nil)
		answer, err := a.Mesh.Client(b.ID()).Do(r)
		wantErr(t, "call", err, nil)
		if _, err := io.ReadFull(answer.Body, make([]byte, 4)); err != nil {
			t.Fatal(err)
		}
		silence(w, "n0", "n1", true)
		start := time.Now()
		_, err = answer.Body.Read(make([]byte, 1))
		wantErr(t, "the rest", err, hallig.ErrUnavailable)
		if took := time.Since(start); took > mesh.DefaultBound+10*time.Millisecond {
			t.Fatalf("it took %v", took)
		}
		answer.Body.Close()
		synctest.Wait() // for the mesh's own calls, which end as well
		if n := a.Mesh.Peers()[0].Calls; n != 0 {
			t.Fatalf("%d calls are under way", n)
		}
	})
}

// Slow is a state of its own: calls go through.
func TestSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, nodes := trio(t)
		w.Net.Delay("n1", "n0", 650*time.Millisecond)
		time.Sleep(time.Minute)
		c := nodes[0].Mesh.Client(nodes[1].ID())
		if c.State() != mesh.PeerSlow {
			t.Fatalf("%+v", nodes[0].Mesh.Peers()[0])
		}
		_, err := call(t.Context(), c, "/v1/echo", "")
		wantErr(t, "a call", err, nil)
		// Slower than the bound: known to be down once, then slow, not flapping.
		w.Net.Delay("n1", "n0", 1500*time.Millisecond)
		time.Sleep(2 * time.Minute)
		if s := nodes[0].Mesh.Peers()[0]; s.State != mesh.PeerSlow || s.For < time.Minute {
			t.Fatalf("%+v", s)
		}
		w.Net.Delay("n1", "n0", 0)
		time.Sleep(time.Minute)
		if c.State() != mesh.PeerUp {
			t.Fatalf("%+v", nodes[0].Mesh.Peers()[0])
		}
	})
}

// Run ends with everything that it started, whatever it is doing.
func TestRunEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, nodes := trio(t)
		openSession(t, nodes[0], nodes[1])
		silence(w, "n1", "n2", true)
		synctest.Wait()
		start := time.Now()
		for _, n := range nodes {
			n.Stop()
			if n.Mesh.Live() != 0 {
				t.Fatalf("%s has %d connections", n.Host, n.Mesh.Live())
			}
			_, err := call(t.Context(), n.Mesh.Client(nodes[0].ID()), "/v1/echo", "")
			if err == nil {
				t.Fatal("a call after the end")
			}
		}
		if took := time.Since(start); took > time.Second {
			t.Fatalf("it took %v", took)
		}
	})
}

// What goes over the wire has the windows that were configured: net/http
// documents smaller bounds than it keeps.
func TestWindows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, nodes := meshtest.Start(t, 2, nil)
		id := nodes[1].Identity
		c, err := raw(w, certificates(id), "h2")
		wantErr(t, "connect", err, nil)
		defer c.Close()
		io.WriteString(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
		settings, window := map[uint16]uint32{}, uint32(65535)
		for window == 65535 {
			head := make([]byte, 9)
			if _, err := io.ReadFull(c, head); err != nil {
				t.Fatal(err)
			}
			body := make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
			io.ReadFull(c, body)
			switch head[3] {
			case 4:
				for ; len(body) >= 6; body = body[6:] {
					settings[binary.BigEndian.Uint16(body)] = binary.BigEndian.Uint32(body[2:])
				}
			case 8:
				window += binary.BigEndian.Uint32(body)
			}
		}
		if got := fmt.Sprint(settings[3], settings[4], settings[5], window); got != "256 8388608 262144 33554432" {
			t.Fatalf("streams, window of a stream, frame, window of the connection: %s", got)
		}
	})
}
