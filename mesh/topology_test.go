package mesh_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/mesh"
	"github.com/hallig-cloud/hallig/mesh/meshtest"
	"github.com/hallig-cloud/hallig/placement"
)

func relabel(site string) func(*placement.Topology) {
	return func(t *placement.Topology) { t.Nodes[0].Site = site }
}

func revoke(id hallig.NodeID) func(*placement.Topology) {
	return func(t *placement.Topology) {
		for i := range t.Nodes {
			if t.Nodes[i].ID == id {
				t.Nodes[i].State = placement.NodeRevoked
			}
		}
	}
}

func TestTopologySpreads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, nodes := meshtest.Start(t, 5, nil)
		var told atomic.Int64
		stop := nodes[4].Mesh.Watch(func() { told.Add(1) })
		time.Sleep(time.Second)
		start := time.Now()
		wantErr(t, "offer", nodes[0].Mesh.Offer(w.Change(relabel("one"))), nil)
		reaches := func(revision uint64, nodes []*meshtest.Node, within time.Duration) {
			t.Helper()
			for {
				synctest.Wait()
				late := ""
				for _, n := range nodes {
					if n.Mesh.Topology().Revision != revision {
						late = n.Host
					}
				}
				if late == "" {
					return
				}
				if time.Since(start) > within {
					t.Fatalf("%s has not heard of revision %d within %v", late, revision, within)
				}
				time.Sleep(10 * time.Millisecond) // of the bubble's clock
			}
		}
		reaches(w.Topology().Revision, nodes, 20*time.Millisecond) // a push
		if told.Load() != 1 {
			t.Fatalf("the watcher was told %d times", told.Load())
		}
		stop()
		// A node that was away hears of it when it is back.
		w.Net.Cut("n4", "n0", true)
		w.Net.Cut("n4", "n1", true)
		w.Net.Cut("n4", "n2", true)
		w.Net.Cut("n4", "n3", true)
		wantErr(t, "offer", nodes[0].Mesh.Offer(w.Change(relabel("two"))), nil)
		time.Sleep(30 * time.Second)
		if nodes[4].Mesh.Topology().Revision == w.Topology().Revision {
			t.Fatal("a cut does not cut")
		}
		w.Net.Cut("n4", "n2", false) // by way of one other only
		start = time.Now()
		reaches(w.Topology().Revision, nodes, 10*time.Second)
		if told.Load() != 1 {
			t.Fatal("a watcher that was stopped was told")
		}
	})
}

func TestOffers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, nodes := meshtest.Start(t, 2, nil)
		m := nodes[0].Mesh
		old := m.Envelope()
		newer := w.Change(relabel("one"))
		wantErr(t, "offer", m.Offer(newer), nil)
		wantErr(t, "the same again", m.Offer(newer), nil)
		wantErr(t, "an older one", m.Offer(old), hallig.ErrStale)
		other := meshtest.New(t)
		_, foreign := other.Add(meshtest.Both)
		foreign.Revision = newer.Revision + 1
		wantErr(t, "another mesh's", m.Offer(foreign), hallig.ErrDenied)
		rolled := old
		rolled.Revision = newer.Revision + 1
		wantErr(t, "an old one under a new number", m.Offer(rolled), hallig.ErrDenied)
		twice := w.Topology()
		twice.Nodes[0].Site = "two"
		e, err := w.Authority.SignTopology(twice)
		wantErr(t, "sign", err, nil)
		wantErr(t, "two of one revision", m.Offer(e), hallig.ErrConflict)
		if got := m.Topology().Nodes[0].Site; got != "one" {
			t.Fatalf("the site is %q", got)
		}
	})
}

// A topology that was rolled back, and dressed as a new one, by a node without
// the authority's key. Without the signature's check it is taken: the test
// notices.
func TestRollback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, nodes := meshtest.Start(t, 3, nil)
		revoked := nodes[2]
		before := w.Topology() // has the node
		wantErr(t, "revoke", nodes[0].Mesh.Offer(w.Change(revoke(revoked.ID()))), nil)
		synctest.Wait()
		before.Revision = w.Topology().Revision + 7
		attacker, err := mesh.NewAuthority(w.Mesh)
		wantErr(t, "another authority", err, nil)
		rolled, err := attacker.SignTopology(before)
		wantErr(t, "sign", err, nil)
		back := func(n *meshtest.Node) bool {
			err := n.Mesh.Offer(rolled)
			node, _ := n.Mesh.Topology().Node(revoked.ID())
			if err == nil != node.State.Member() {
				t.Fatalf("offer: %v, and the node's state is %s", err, node.State)
			}
			return node.State.Member()
		}
		if back(nodes[0]) {
			t.Fatal("a rolled-back topology is accepted")
		}
		nodes[0].Mesh.SkipSignature()
		if !back(nodes[0]) {
			t.Fatal("without the signature's check a rolled-back topology is refused: what refuses it is something else")
		}
	})
}

// session keeps a call, and a stream in either direction, open between two nodes.
type session struct {
	call, out, in chan error
}

func openSession(t *testing.T, a, b *meshtest.Node) session {
	t.Helper()
	s := session{make(chan error, 1), make(chan error, 1), make(chan error, 1)}
	go func() {
		_, err := call(context.Background(), a.Mesh.Client(b.ID()), "/v1/wait", "")
		s.call <- err
	}()
	for ended, ends := range map[chan error][2]*meshtest.Node{s.out: {a, b}, s.in: {b, a}} {
		c, err := ends[0].Mesh.Dial(t.Context(), ends[1].ID(), "echo")
		wantErr(t, "dial", err, nil)
		if _, err := io.ReadFull(c, make([]byte, 33)); err != nil {
			t.Fatal(err)
		}
		go func() {
			_, err := c.Read(make([]byte, 1))
			c.Close()
			ended <- err
		}()
	}
	return s
}

func withWait(i int, m *mesh.Mesh) {
	withEcho(i, m)
	m.Handle("POST /v1/wait", mesh.AnyMember, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		mesh.WriteError(w, r.Context().Err())
	}))
}

// Ten seconds after the commit a revoked node is out, in both directions, with
// what was open; here it takes a fraction of one, and ten at the node that the
// news reaches last.
func TestRevocationClosesWhatIsOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, nodes := meshtest.Start(t, 4, withWait)
		bad := nodes[3]
		open := []session{openSession(t, nodes[1], bad), openSession(t, bad, nodes[1]), openSession(t, bad, nodes[2])}
		bystander := openSession(t, nodes[1], nodes[2])
		synctest.Wait()
		start := time.Now()
		wantErr(t, "revoke", nodes[0].Mesh.Offer(w.Change(revoke(bad.ID()))), nil)
		for _, s := range open {
			for _, ended := range []chan error{s.call, s.out, s.in} {
				if err := <-ended; err == nil {
					t.Fatal("a call to or from a revoked node succeeded")
				}
			}
		}
		if took := time.Since(start); took > time.Second {
			t.Fatalf("it took %v", took)
		}
		_, err := call(t.Context(), bad.Mesh.Client(nodes[1].ID()), "/v1/echo", "")
		wantErr(t, "a call from it", err, hallig.ErrUnavailable)
		_, err = call(t.Context(), nodes[1].Mesh.Client(bad.ID()), "/v1/echo", "")
		wantErr(t, "a call to it", err, hallig.ErrUnavailable)
		_, err = bad.Mesh.Dial(t.Context(), nodes[1].ID(), "echo")
		wantErr(t, "a stream from it", err, hallig.ErrUnavailable)
		time.Sleep(time.Minute)
		select {
		case err := <-bystander.call:
			t.Fatalf("another node's call ended: %v", err)
		case err := <-bystander.out:
			t.Fatalf("another node's stream ended: %v", err)
		default:
		}
		// It cannot talk itself back in with what it still holds.
		if _, err := call(t.Context(), bad.Mesh.Client(nodes[2].ID()), "/v1/echo", ""); err == nil {
			t.Fatal("it is back")
		}
	})
}

// The negative control: nothing is closed, so what was open stays open.
func TestRevocationWithoutClosing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, nodes := meshtest.Start(t, 2, withWait)
		nodes[0].Mesh.SkipClose()
		s := openSession(t, nodes[1], nodes[0]) // the other node does not hear of it: it is not told, being revoked
		synctest.Wait()
		wantErr(t, "revoke", nodes[0].Mesh.Offer(w.Change(revoke(nodes[1].ID()))), nil)
		time.Sleep(time.Second)
		synctest.Wait()
		select {
		case <-s.call:
			t.Fatal("the call ended: what closes it is not what the other test thinks")
		case <-s.out:
			t.Fatal("the stream ended: what closes it is not what the other test thinks")
		default:
		}
	})
}

// A node whose key is another in the new topology is as good as revoked.
func TestRepinning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, nodes := meshtest.Start(t, 2, withWait)
		s := openSession(t, nodes[1], nodes[0])
		synctest.Wait()
		wantErr(t, "re-pin", nodes[0].Mesh.Offer(w.Change(func(top *placement.Topology) { top.Nodes[1].Key = make([]byte, 32) })), nil)
		for _, ended := range []chan error{s.call, s.out, s.in} {
			if err := <-ended; err == nil {
				t.Fatal("it goes on")
			}
		}
		_, err := call(t.Context(), nodes[1].Mesh.Client(nodes[0].ID()), "/v1/echo", "")
		wantErr(t, "a call", err, hallig.ErrUnavailable)
	})
}

// A node that the other does not know yet hands over the topology that has it,
// within its first call.
func TestNewNodeIntroducesItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, nodes := meshtest.Start(t, 2, withEcho)
		for _, kind := range []string{"call", "stream"} {
			n, _ := w.Add(meshtest.Both) // nobody is told
			n.Start(n.Config(), func(m *mesh.Mesh) { withEcho(0, m) })
			var err error
			if kind == "call" {
				_, err = call(t.Context(), n.Mesh.Client(nodes[0].ID()), "/v1/echo", "")
			} else {
				var c net.Conn
				if c, err = n.Mesh.Dial(t.Context(), nodes[0].ID(), "echo"); err == nil {
					c.Close()
				}
			}
			wantErr(t, "the first "+kind, err, nil)
			if _, ok := nodes[0].Mesh.Topology().Node(n.ID()); !ok {
				t.Fatal("the other does not know it")
			}
		}
		// One that has nothing newer to show stays a stranger.
		id, fs := w.Certified(hallig.NewID())
		lone := &meshtest.Node{World: w, Host: "lone", FS: fs, Identity: id}
		lone.Start(lone.Config(), nil)
		_, err := call(t.Context(), lone.Mesh.Client(nodes[0].ID()), "/v1/echo", "")
		if wantErr(t, "a stranger's call", err, hallig.ErrUnavailable); !strings.Contains(err.Error(), "does not know you") {
			t.Fatal(err)
		}
		_, err = lone.Mesh.Dial(t.Context(), nodes[0].ID(), "echo")
		wantErr(t, "a stranger's stream", err, hallig.ErrUnavailable)
	})
}

// A kept topology is not replaced by an older one that a restart is given, and
// damage to it is seen.
func TestKeptTopology(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, nodes := meshtest.Start(t, 1, nil)
		old := w.Envelope()
		wantErr(t, "offer", nodes[0].Mesh.Offer(w.Change(relabel("one"))), nil)
		nodes[0].Stop()
		cfg := nodes[0].Config()
		cfg.Topology = old
		m, err := mesh.New(cfg)
		if wantErr(t, "start", err, nil); m.Topology().Nodes[0].Site != "one" {
			t.Fatal("it was rolled back by a restart")
		}
		f, err := cfg.FS.Create(meshtest.File("topology.cbor"))
		wantErr(t, "damage", err, nil)
		f.Write([]byte("damage"))
		f.Close()
		cfg.Topology = mesh.Envelope{}
		_, err = mesh.New(cfg)
		wantErr(t, "start without one", err, hallig.ErrCorrupt)
		cfg.Topology = w.Envelope()
		_, err = mesh.New(cfg)
		wantErr(t, "start with another", err, nil)
		cfg.Identity = nil
		_, err = mesh.New(cfg)
		wantErr(t, "start without an identity", err, hallig.ErrInvalid)
	})
}
