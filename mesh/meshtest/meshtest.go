package meshtest

import (
	"context"
	"fmt"
	"log/slog"
	"path"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/mesh"
	"github.com/hallig-cloud/hallig/placement"
	"github.com/hallig-cloud/hallig/vfs"
	"github.com/hallig-cloud/hallig/vfs/vfstest"
)

// Dir is where every node keeps its identity, on a disk of its own.
const Dir = "/data/mesh"

// Both is what a node is by default.
const Both = placement.RoleGateway | placement.RoleStorage

// A World is an authority, a network, and the nodes that a test starts.
type World struct {
	T         testing.TB
	Net       *Network
	Mesh      hallig.MeshID
	Authority *mesh.Authority

	mu  sync.Mutex
	top placement.Topology
}

// A Node is one node of a World. Its host is called "n0", "n1", …
type Node struct {
	World    *World
	Host     string
	FS       vfs.FS
	Identity *mesh.Identity
	Mesh     *mesh.Mesh // after Prepare
	stop     func()
}

// New makes a world without nodes.
func New(t testing.TB) *World {
	t.Helper()
	id := hallig.NewID()
	authority, err := mesh.NewAuthority(id)
	if err != nil {
		t.Fatal(err)
	}
	return &World{T: t, Net: NewNetwork(), Mesh: id, Authority: authority}
}

// Topology returns a copy of the newest topology.
func (w *World) Topology() *placement.Topology {
	w.mu.Lock()
	defer w.mu.Unlock()
	return clone(&w.top)
}

func clone(t *placement.Topology) *placement.Topology {
	return &placement.Topology{Revision: t.Revision, Drives: slices.Clone(t.Drives), Nodes: slices.Clone(t.Nodes)}
}

// Change makes the next topology and signs it; nobody is told.
func (w *World) Change(f func(*placement.Topology)) mesh.Envelope {
	w.T.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	next := clone(&w.top)
	next.Revision++
	f(next)
	e, err := w.Authority.SignTopology(next)
	if err != nil {
		w.T.Fatal(err)
	}
	w.top = *next
	return e
}

// Envelope signs the newest topology.
func (w *World) Envelope() mesh.Envelope {
	w.T.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	e, err := w.Authority.SignTopology(&w.top)
	if err != nil {
		w.T.Fatal(err)
	}
	return e
}

// Certified makes an identity for a node's ID with a fresh key, on a fresh disk.
func (w *World) Certified(node hallig.NodeID) (*mesh.Identity, vfs.FS) {
	w.T.Helper()
	fs := vfstest.NewDisk(vfstest.DiskConfig{})
	key, err := mesh.OpenKey(fs, Dir)
	if err != nil {
		w.T.Fatal(err)
	}
	csr, err := key.Request()
	if err != nil {
		w.T.Fatal(err)
	}
	cert, err := w.Authority.Certify(csr, node)
	if err != nil {
		w.T.Fatal(err)
	}
	id, err := mesh.CreateIdentity(fs, Dir, cert, w.Authority.Certificate())
	if err != nil {
		w.T.Fatal(err)
	}
	return id, fs
}

// Add makes a node with an identity; it stands in the next topology, which is
// returned with it and told to nobody.
func (w *World) Add(roles placement.Roles) (*Node, mesh.Envelope) {
	w.T.Helper()
	n := &Node{World: w}
	n.Identity, n.FS = w.Certified(hallig.NewID())
	e := w.Change(func(t *placement.Topology) {
		n.Host = fmt.Sprint("n", len(t.Nodes))
		pin := n.Identity.Pin()
		t.Nodes = append(t.Nodes, placement.Node{
			ID: n.Identity.Node(), Provider: "p" + n.Host, Site: "s", Addrs: []string{n.Host + ":9002"},
			Key: pin[:], Roles: roles, State: placement.NodeActive,
		})
	})
	return n, e
}

// Config is the node's configuration, with the newest topology.
func (n *Node) Config() mesh.Config {
	return mesh.Config{
		FS: n.FS, Dir: Dir, Identity: n.Identity, Topology: n.World.Envelope(), Addr: n.Host + ":9002",
		Log: slog.New(slog.DiscardHandler), Listen: n.World.Net.Listen, Dial: n.World.Net.Dialer(n.Host),
	}
}

// Prepare makes the node's Mesh, has before register handlers, and listens.
func (n *Node) Prepare(cfg mesh.Config, before func(*mesh.Mesh)) {
	n.World.T.Helper()
	m, err := mesh.New(cfg)
	if err != nil {
		n.World.T.Fatal(err)
	}
	if before != nil {
		before(m)
	}
	if _, err := m.Listen(context.Background()); err != nil {
		n.World.T.Fatal(err)
	}
	n.Mesh = m
}

// Run runs what Prepare made until Stop or the end of the test.
func (n *Node) Run() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.Mesh.Run(ctx) }()
	n.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			n.World.T.Errorf("%s: run: %v", n.Host, err)
		}
	})
	n.World.T.Cleanup(n.stop)
}

// Start is Prepare and Run.
func (n *Node) Start(cfg mesh.Config, before func(*mesh.Mesh)) {
	n.World.T.Helper()
	n.Prepare(cfg, before)
	n.Run()
}

// Stop ends the node's Run and waits for it.
func (n *Node) Stop() { n.stop() }

// ID is the node's ID.
func (n *Node) ID() hallig.NodeID { return n.Identity.Node() }

// Start makes and starts count nodes that all know each other, with both roles.
func Start(t testing.TB, count int, before func(i int, m *mesh.Mesh)) (*World, []*Node) {
	t.Helper()
	w := New(t)
	nodes := make([]*Node, count)
	for i := range nodes {
		nodes[i], _ = w.Add(Both)
	}
	for i, n := range nodes {
		cfg := n.Config()
		cfg.Bound = 10 * time.Second // real time on a busy machine: tests of liveness set their own
		n.Prepare(cfg, func(m *mesh.Mesh) {
			if before != nil {
				before(i, m)
			}
		})
	}
	for _, n := range nodes {
		n.Run()
	}
	return w, nodes
}

// File returns the path of a file of the node's identity.
func File(name string) string { return path.Join(Dir, name) }
