package mesh

import (
	"context"
	"fmt"
	"net/http"
	"path"
	"strconv"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/placement"
)

// AnyMember is the set of callers of a handler that every member may call,
// whatever its roles.
const AnyMember placement.Roles = ^placement.Roles(0)

// revisionHeader carries the sender's topology revision, on every request and
// every answer.
const revisionHeader = "Hallig-Topology"

// A Peer is the authenticated node at the other end, as the topology knew it
// when its request or stream arrived.
type Peer struct {
	Node     hallig.NodeID
	Provider string
	Site     string
	Roles    placement.Roles
}

func peerFrom(n placement.Node) Peer {
	return Peer{Node: n.ID, Provider: n.Provider, Site: n.Site, Roles: n.Roles}
}

type peerKey struct{}

// PeerOf returns the caller of an RPC from its request's context, or of a
// stream from the handler's; ok is false in any other context.
func PeerOf(ctx context.Context) (p Peer, ok bool) {
	p, ok = ctx.Value(peerKey{}).(Peer)
	return p, ok
}

// A route is who may call a handler.
type route struct {
	who       placement.Roles
	strangers bool // also nodes with a certificate of this mesh that the topology does not know
}

func (r route) allows(who placement.Roles) bool { return allows(r.who, who) }

func allows(wanted, has placement.Roles) bool { return wanted == AnyMember || wanted&has != 0 }

// Handle registers an RPC handler for a pattern of http.ServeMux ("GET
// /v1/x/{id}") and says which members may call it: those that have any of the
// roles who, or all with AnyMember. It panics on patterns that conflict, as
// ServeMux does, and on who == 0, which would let nobody in. Paths under
// /v1/mesh/ are the mesh's own.
//
// A request that reaches h comes from a member (PeerOf) at the time of its
// arrival; its context ends with the caller, with the connection (which a
// revocation closes), and with Run. Its body is bounded by Config.MaxBody:
// reading beyond fails with *http.MaxBytesError, for which WriteError answers
// hallig.ErrTooLarge. Paths that are not clean ("..", "//") never reach h.
func (m *Mesh) Handle(pattern string, who placement.Roles, h http.Handler) {
	if who == 0 {
		panic("mesh: handler " + pattern + " without roles")
	}
	m.handle(pattern, route{who: who}, h)
}

func (m *Mesh) handle(pattern string, r route, h http.Handler) {
	m.mux.Handle(pattern, h)
	m.routes[pattern] = r
}

// Routes lists the patterns of the RPC handlers and who may call them, for
// tests that go through all of them.
func (m *Mesh) Routes() map[string]placement.Roles {
	all := map[string]placement.Roles{}
	for pattern, r := range m.routes {
		all[pattern] = r.who
	}
	return all
}

// serveRPC lets a request through to its handler, or answers why not.
func (m *Mesh) serveRPC(w http.ResponseWriter, r *http.Request) {
	if !m.enter() {
		writeStatus(w, http.StatusServiceUnavailable, fmt.Errorf("the node stops: %w", hallig.ErrUnavailable))
		return
	}
	defer m.wg.Done()
	now := m.now.Load()
	w.Header().Set(revisionHeader, strconv.FormatUint(now.envelope.Revision, 10))
	c, ok := r.Context().Value(connKey{}).(*conn)
	if !ok {
		writeStatus(w, http.StatusForbidden, fmt.Errorf("no connection: %w", hallig.ErrDenied)) // cannot be
		return
	}
	node, err := now.admit(c.who, m.hooks)
	stranger := err == errStranger
	if err != nil && !stranger {
		writeStatus(w, http.StatusForbidden, err)
		return
	}
	if clean := path.Clean(r.URL.Path); clean != r.URL.Path && clean+"/" != r.URL.Path || r.URL.RawPath != "" {
		WriteError(w, fmt.Errorf("path %q: %w", r.URL.Path, hallig.ErrInvalid))
		return
	}
	_, pattern := m.mux.Handler(r)
	allowed, known := m.routes[pattern]
	switch {
	case stranger && !allowed.strangers:
		writeStatus(w, http.StatusMisdirectedRequest, fmt.Errorf("%w (its topology is %d): %w", errStranger, now.envelope.Revision, hallig.ErrUnavailable))
		return
	case !known:
		writeStatus(w, http.StatusNotFound, fmt.Errorf("no such call: %s %s: %w", r.Method, printable(r.URL.Path, 200), hallig.ErrUnsupported))
		return
	case !stranger && !allowed.allows(node.Roles) && !m.hooks.skipRoles:
		writeStatus(w, http.StatusForbidden, fmt.Errorf("node %s has the roles %s, %q is for %s: %w", node.ID, node.Roles, pattern, allowed.who, hallig.ErrDenied))
		return
	}
	ctx := r.Context()
	if !stranger {
		m.noteRevision(node.ID, r.Header.Get(revisionHeader))
		ctx = context.WithValue(ctx, peerKey{}, peerFrom(node))
	}
	r = r.WithContext(ctx)
	r.Body = http.MaxBytesReader(w, r.Body, m.cfg.MaxBody)
	m.mux.ServeHTTP(w, r)
}

// enter counts a handler among what Run waits for, unless Run ends.
func (m *Mesh) enter() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.run == nil || m.run.Err() != nil {
		return false
	}
	m.wg.Add(1)
	return true
}
