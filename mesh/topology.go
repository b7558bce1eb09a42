package mesh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/placement"
)

// The mesh's own calls.
const (
	pingPath     = "/v1/mesh/ping"     // GET: 204, to any member
	topologyPath = "/v1/mesh/topology" // GET ?known=REVISION: the envelope, or 204 if it is no newer; PUT: offers one
)

// polled is how many peers are asked for a newer topology at a time: one that
// withholds it is not alone.
const polled = 3

// Topology returns the newest topology. It is shared: it must not be changed.
func (m *Mesh) Topology() *placement.Topology { return m.now.Load().topology }

// Envelope returns the newest topology as it was signed.
func (m *Mesh) Envelope() Envelope { return m.now.Load().envelope }

// Watch has fn called after every change of the topology, from the goroutine
// that brought it, one call at a time: fn must be quick, and must not call
// Offer. stop ends that; a call under way may outlast it.
func (m *Mesh) Watch(fn func()) (stop func()) {
	w := &watcher{fn: fn}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.watchers[w] = struct{}{}
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.watchers, w)
	}
}

// Offer brings a topology that the catalog has committed. If the authority
// signed it and it is newer it is kept on disk and holds at once: on return
// every connection of nodes that it locks out is closed. It is then told to all
// peers. Errors wrap hallig.ErrDenied (not signed by the authority),
// ErrInvalid, ErrStale (it is older), or ErrConflict (the authority signed two
// of the same revision). The one that holds already is a success.
func (m *Mesh) Offer(e Envelope) error { return m.take(e, true) }

// take is Offer; local says that it did not come from a peer, and so is for
// this node to tell.
func (m *Mesh) take(e Envelope, local bool) error {
	m.offers.Lock()
	defer m.offers.Unlock()
	now := m.now.Load()
	if e.Revision < now.envelope.Revision {
		return fmt.Errorf("topology %d is older than %d: %w", e.Revision, now.envelope.Revision, hallig.ErrStale)
	}
	if e.Revision == now.envelope.Revision && bytes.Equal(e.Topology, now.envelope.Topology) {
		return nil
	}
	top, err := m.open(e)
	if err != nil {
		return err
	}
	if e.Revision == now.envelope.Revision {
		m.log.Error("the authority signed two different topologies of one revision: restore neither from a backup", "revision", e.Revision)
		return fmt.Errorf("topology %d is not the one that is known: %w", e.Revision, hallig.ErrConflict)
	}
	if err := saveEnvelope(m.cfg.FS, m.cfg.Dir, e); err != nil {
		// It holds all the same: a full disk must not keep a revoked node in.
		m.log.Error("a new topology cannot be kept on disk", "revision", e.Revision, "err", err)
	}
	m.show(newSnapshot(e, top))
	if local {
		m.mu.Lock()
		for _, p := range m.peers {
			p.tell()
		}
		m.mu.Unlock()
	}
	m.nudge()
	m.log.Info("a new topology holds", "revision", e.Revision, "nodes", len(top.Nodes))
	if n, ok := top.Node(m.self); ok && !n.State.Member() {
		m.log.Error("this node is revoked: no other node talks to it any more")
	}
	return nil
}

func (m *Mesh) open(e Envelope) (*placement.Topology, error) {
	if m.hooks.skipSignature {
		return e.decode()
	}
	return m.trust.open(e)
}

// show makes a snapshot the newest: peers come and go, connections that it
// locks out are closed, watchers are called.
func (m *Mesh) show(s *snapshot) {
	m.mu.Lock()
	m.now.Store(s)
	var gone []*peer
	for id, p := range m.peers {
		if n, ok := s.nodes[id]; !ok || !n.State.Member() {
			delete(m.peers, id)
			gone = append(gone, p)
		}
	}
	for id, n := range s.nodes {
		if id == m.self || !n.State.Member() || m.peers[id] != nil {
			continue
		}
		p := m.newPeer(id)
		m.peers[id] = p
		if m.run != nil && m.run.Err() == nil {
			m.watchPeer(p)
		}
	}
	var told []func()
	for w := range m.watchers {
		told = append(told, w.fn)
	}
	m.mu.Unlock()
	for _, p := range gone {
		p.leave(errGone)
	}
	if !m.hooks.skipClose {
		m.closeConns(func(c *conn) bool {
			_, err := m.admit(c.who)
			return err != nil && (err != errStranger || !c.inbound)
		})
	}
	for _, p := range gone {
		p.drop()
	}
	for _, fn := range told {
		fn()
	}
}

// dropPeers ends all calls, when Run ends.
func (m *Mesh) dropPeers() {
	m.mu.Lock()
	peers := make([]*peer, 0, len(m.peers))
	for _, p := range m.peers {
		peers = append(peers, p)
	}
	m.mu.Unlock()
	for _, p := range peers {
		p.drop()
	}
}

// nudge wakes spread.
func (m *Mesh) nudge() {
	select {
	case m.arrived <- struct{}{}:
	default:
	}
}

// noteRevision takes note of a peer's revision from a header.
func (m *Mesh) noteRevision(node hallig.NodeID, header string) {
	if r, err := strconv.ParseUint(header, 10, 64); err == nil {
		m.noteRevisionNumber(node, r)
	}
}

func (m *Mesh) noteRevisionNumber(node hallig.NodeID, revision uint64) {
	m.mu.Lock()
	p := m.peers[node]
	m.mu.Unlock()
	if p == nil {
		return
	}
	own := m.now.Load().envelope.Revision
	p.mu.Lock()
	p.revision = revision
	if revision == own {
		p.untold = false
	}
	if revision < own {
		p.untold = true
	}
	p.mu.Unlock()
	if revision != own {
		m.nudge()
	}
}

// tell marks a peer as one to be told the newest topology.
func (p *peer) tell() {
	p.mu.Lock()
	p.untold, p.told = true, 0
	p.mu.Unlock()
}

// spread exchanges topologies with peers until ctx ends: it asks those that
// claim a newer one and tells those that have an older one, at once, and asks
// a few others in turn.
func (m *Mesh) spread(ctx context.Context) {
	tick := time.NewTicker(m.cfg.Poll)
	defer tick.Stop()
	for {
		poll := false
		select {
		case <-ctx.Done():
			return
		case <-m.arrived:
		case <-tick.C:
			poll = true
		}
		m.mu.Lock()
		peers := make([]*peer, 0, len(m.peers))
		for _, p := range m.peers {
			peers = append(peers, p)
		}
		m.mu.Unlock()
		rand.Shuffle(len(peers), func(i, j int) { peers[i], peers[j] = peers[j], peers[i] })
		left := 0
		if poll {
			left = polled
		}
		for _, p := range peers {
			ask, tell := p.duties(m.now.Load().envelope.Revision, left > 0)
			if ask {
				left--
				m.wg.Go(func() { p.during(ctx, p.fetch) })
			} else if tell {
				m.wg.Go(func() { p.during(ctx, p.push) })
			}
		}
	}
}

// duties says whether a peer is to be asked or told now, and notes that it is.
// A peer is asked, and told, at most once in half a poll, so that one that lies
// about its revision costs little.
func (p *peer) duties(own uint64, poll bool) (ask, tell bool) {
	now, pace := p.mesh.since(), p.mesh.cfg.Poll/2
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.exchanging || p.health.state == PeerDown {
		return false, false
	}
	switch {
	case poll, p.revision > own && (p.asked == 0 || now-p.asked >= pace):
		p.asked, p.exchanging, ask = now, true, true
	case p.untold && (p.told == 0 || now-p.told >= pace):
		p.told, p.exchanging, tell = now, true, true
	}
	return ask, tell
}

// during runs an exchange within a bounded time.
func (p *peer) during(ctx context.Context, exchange func(context.Context) error) {
	ctx, cancel := context.WithTimeout(ctx, 2*p.mesh.cfg.Bound)
	defer cancel()
	err := exchange(ctx)
	p.mu.Lock()
	p.exchanging = false
	again := p.untold && p.told == 0 // a newer one came meanwhile
	p.mu.Unlock()
	if again {
		p.mesh.nudge()
	}
	if err != nil {
		p.mesh.log.Debug("cannot exchange topologies with a node", "node", p.node, "err", err)
	}
}

// fetch asks the peer for its topology, if it is newer.
func (p *peer) fetch(ctx context.Context) error {
	known := strconv.FormatUint(p.mesh.now.Load().envelope.Revision, 10)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://mesh"+topologyPath+"?known="+known, nil)
	if err != nil {
		return err
	}
	answer, err := p.mesh.Client(p.node).once(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if err := CheckAnswer(p.node, answer); err != nil {
		return err
	}
	if answer.StatusCode == http.StatusNoContent {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, MaxEnvelope+1))
	if err != nil {
		return err
	}
	e, err := ParseEnvelope(body)
	if err != nil {
		return err
	}
	if err = p.mesh.take(e, false); err != nil && !errors.Is(err, hallig.ErrStale) {
		p.mesh.log.Warn("a node gave a topology that does not hold", "node", p.node, "revision", e.Revision, "err", err)
	}
	return err
}

// push offers the newest topology to the peer.
func (p *peer) push(ctx context.Context) error {
	body, err := p.mesh.now.Load().envelope.Bytes()
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPut, "https://mesh"+topologyPath, bytes.NewReader(body))
	if err != nil {
		return err
	}
	answer, err := p.mesh.Client(p.node).once(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	return CheckAnswer(p.node, answer)
}

// introduce hands the newest topology to a node that does not know this one.
func (m *Mesh) introduce(ctx context.Context, node hallig.NodeID) error {
	p, err := m.peer(node)
	if err != nil {
		return err
	}
	return p.push(ctx)
}

// handleTopology registers the mesh's own calls.
func (m *Mesh) handleTopology() {
	member, any := route{who: AnyMember}, route{who: AnyMember, strangers: true}
	m.handle("GET "+pingPath, member, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNoContent)
	}))
	m.handle("GET "+topologyPath, any, http.HandlerFunc(m.giveTopology))
	m.handle("PUT "+topologyPath, any, http.HandlerFunc(m.takeTopology))
}

func (m *Mesh) giveTopology(w http.ResponseWriter, r *http.Request) {
	known, err := strconv.ParseUint(r.URL.Query().Get("known"), 10, 64)
	if err != nil {
		WriteError(w, fmt.Errorf("known=%q: want a revision: %w", printable(r.URL.Query().Get("known"), 40), hallig.ErrInvalid))
		return
	}
	e := m.now.Load().envelope
	if e.Revision <= known {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	body, err := e.Bytes()
	if err != nil {
		WriteError(w, err)
		return
	}
	w.Write(body) //nolint:errcheck // the caller is gone
}

func (m *Mesh) takeTopology(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxEnvelope))
	if err != nil {
		WriteError(w, err)
		return
	}
	e, err := ParseEnvelope(body)
	if err == nil {
		err = m.take(e, false)
	}
	if err != nil && !errors.Is(err, hallig.ErrStale) {
		WriteError(w, err)
		return
	}
	w.Header().Set(revisionHeader, strconv.FormatUint(m.now.Load().envelope.Revision, 10))
	w.WriteHeader(http.StatusNoContent)
}
