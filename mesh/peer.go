package mesh

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/placement"
)

// dialTime bounds the making of a connection when nothing shorter does.
const dialTime = 5 * time.Second

// A peer is another member, as this node calls it. It lives from the topology
// that first has it as a member to the one that does not any more.
type peer struct {
	mesh    *Mesh
	node    hallig.NodeID
	traffic *traffic
	wake    chan struct{} // 1: something to look at for the peer's watch
	gone    context.Context
	leave   context.CancelCauseFunc // ends gone
	// Short calls and long ones have connections of their own, so that a sign
	// of life does not queue behind a shard.
	short, long *http.Transport

	mu       sync.Mutex
	health   health
	life     context.Context // ends when the peer goes down, or is gone
	die      context.CancelCauseFunc
	calls    int           // under way
	oldest   time.Duration // when calls was last 0 and became 1
	sampled  time.Duration // when an exchange was last measured
	limit    time.Duration // beyond what it is slow, by the others at its site
	revision uint64        // of its topology, as it says
	asked    time.Duration // when it was last asked for its topology; 0: never
	untold   bool          // it is to be told the newest topology
	told     time.Duration // when it was last told; 0: not that one yet
	// exchanging: it is being asked or told.
	exchanging bool
	urgent     bool // a call failed: see at once whether it is there
	address    int  // of its addresses, the one that answered last
}

// errDown is why calls end when their peer is found to be down.
var errDown = fmt.Errorf("the peer does not answer: %w", hallig.ErrUnavailable)

// errGone is why calls end when their peer is no longer a member.
var errGone = fmt.Errorf("the node is no longer a member: %w", hallig.ErrUnavailable)

// newPeer is called with m.mu held.
func (m *Mesh) newPeer(node hallig.NodeID) *peer {
	p := &peer{mesh: m, node: node, traffic: m.trafficOf(node), wake: make(chan struct{}, 1), health: newHealth(m.since())}
	p.gone, p.leave = context.WithCancelCause(context.Background())
	p.life, p.die = context.WithCancelCause(p.gone)
	p.short, p.long = p.transport(), p.transport()
	return p
}

func (p *peer) transport() *http.Transport {
	var http2 http.Protocols
	http2.SetHTTP2(true)
	return &http.Transport{
		DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			secured, _, err := p.dial(ctx, protoRPC)
			if err != nil {
				return nil, err // not a nil *tls.Conn
			}
			return secured, nil
		},
		Protocols:          &http2,
		HTTP2:              http2Config(),
		DisableCompression: true,
		MaxConnsPerHost:    4, // beyond the streams of one; and many calls at once dial no more often
	}
}

// drop ends everything to do with the peer.
func (p *peer) drop() {
	p.leave(errGone)
	p.mesh.closeConns(func(c *conn) bool { return !c.inbound && c.who.node == p.node })
	p.short.CloseIdleConnections()
	p.long.CloseIdleConnections()
}

// dial makes a connection to the node at one of its addresses, in order,
// beginning with the one that answered last.
func (p *peer) dial(ctx context.Context, proto string) (*tls.Conn, *conn, error) {
	node, ok := p.mesh.now.Load().nodes[p.node]
	if !ok || !node.State.Member() {
		return nil, nil, errGone
	}
	if len(node.Addrs) == 0 {
		return nil, nil, fmt.Errorf("node %s has no address: %w", p.node, hallig.ErrUnavailable)
	}
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	defer context.AfterFunc(p.gone, cancel)()
	p.mu.Lock()
	first := p.address
	p.mu.Unlock()
	var failed error
	for i := range node.Addrs {
		n := (first + i) % len(node.Addrs)
		secured, c, err := p.dialAddr(ctx, node.Addrs[n], len(node.Addrs)-i, proto)
		if err == nil {
			p.mu.Lock()
			p.address = n
			p.mu.Unlock()
			return secured, c, nil
		}
		failed = errors.Join(failed, fmt.Errorf("%s: %w", node.Addrs[n], err))
	}
	return nil, nil, failed
}

// dialAddr gives one address its share of the time that is left.
func (p *peer) dialAddr(ctx context.Context, addr string, left int, proto string) (*tls.Conn, *conn, error) {
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/time.Duration(left))
		defer cancel()
	}
	raw, err := p.mesh.cfg.Dial(ctx, "tcp", addr)
	if err != nil {
		return nil, nil, err
	}
	c := &conn{Conn: raw, mesh: p.mesh}
	c.count.Store(p.traffic)
	secured := tls.Client(c, p.mesh.clientTLS(p.node, proto))
	if err := secured.HandshakeContext(ctx); err != nil {
		c.shut()
		return nil, nil, err
	}
	if c.who, err = p.mesh.verify(secured.ConnectionState().PeerCertificates); err == nil {
		err = p.mesh.register(c)
	}
	if err != nil {
		c.shut()
		return nil, nil, err
	}
	return secured, c, nil
}

// A call is one use of a peer: an RPC from its start to the close of the
// answer's body, or the opening of a stream.
type call struct {
	peer   *peer
	caller context.Context
	ctx    context.Context // the caller's, that also ends when the peer goes down
	cancel context.CancelCauseFunc
	stop   func() bool
	start  time.Duration
	probe  bool
	once   sync.Once
}

// begin lets a call start, or fails at once when the peer is down. probe calls
// start in any case and do not end when the peer goes down.
func (p *peer) begin(ctx context.Context, probe bool) (*call, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !probe && p.health.state == PeerDown {
		return nil, fmt.Errorf("node %s is down (%s): %w", p.node, p.health.reason, hallig.ErrUnavailable)
	}
	c := &call{peer: p, caller: ctx, start: p.mesh.since(), probe: probe}
	c.ctx, c.cancel = context.WithCancelCause(ctx)
	life := p.life
	if probe {
		life = p.gone
	} else {
		if p.calls == 0 {
			p.oldest = c.start
			p.poke()
		}
		p.calls++
	}
	c.stop = context.AfterFunc(life, func() { c.cancel(context.Cause(life)) })
	return c, nil
}

// poke wakes the peer's watch.
func (p *peer) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// explain turns an error of the call into what its caller understands: the
// caller's own cancellation, or hallig.ErrUnavailable.
func (c *call) explain(err error) error {
	if err == nil {
		return nil
	}
	if c.caller.Err() != nil {
		return c.caller.Err()
	}
	var answered *RemoteError
	if errors.As(err, &answered) {
		return err
	}
	if cause := context.Cause(c.ctx); cause != nil {
		return fmt.Errorf("call node %s: %w", c.peer.node, cause)
	}
	if errors.Is(err, hallig.ErrUnavailable) || errors.Is(err, hallig.ErrDenied) || errors.Is(err, hallig.ErrForeign) {
		return err
	}
	return fmt.Errorf("call node %s: %w: %w", c.peer.node, err, hallig.ErrUnavailable)
}

// end notes that the call is over. An error that is not the caller's doing
// makes the watch look after the peer at once. measured says that the time
// since its start tells how fast the peer is.
func (c *call) end(err error, measured bool) {
	c.once.Do(func() {
		c.stop()
		p := c.peer
		var answered *RemoteError
		broken := err != nil && c.caller.Err() == nil && !errors.As(err, &answered)
		p.mu.Lock()
		if !c.probe {
			p.calls--
		}
		if broken && !c.probe {
			p.urgent = true
			p.poke()
		}
		p.mu.Unlock()
		c.cancel(nil)
		if measured {
			p.answered(p.mesh.since() - c.start)
		}
	})
}

// answered feeds the peer's health.
func (p *peer) answered(rtt time.Duration) {
	now := p.mesh.since()
	p.mu.Lock()
	before := p.health.state
	p.sampled = now
	changed := p.health.answered(now, max(rtt, 1), p.limit)
	state, reason := p.health.state, p.health.reason
	p.mu.Unlock()
	if changed {
		p.mesh.log.Info("a node's state changed", "node", p.node, "state", string(state), "before", string(before), "reason", reason)
	}
}

// failed feeds the peer's health. When it goes down all that is under way ends.
func (p *peer) failed(err error) {
	now := p.mesh.since()
	p.mu.Lock()
	p.sampled = now
	changed := p.health.failed(now, printable(err.Error(), 200))
	die := p.die
	if changed {
		p.life, p.die = context.WithCancelCause(p.gone)
	}
	p.mu.Unlock()
	if !changed {
		return
	}
	p.mesh.log.Warn("a node does not answer", "node", p.node, "err", err)
	die(errDown)
	p.mesh.closeConns(func(c *conn) bool { return !c.inbound && c.who.node == p.node })
	p.short.CloseIdleConnections()
	p.long.CloseIdleConnections()
}

// siteMedian is the median round trip of the other peers at a node's site; 0
// without any.
func (m *Mesh) siteMedian(node hallig.NodeID) time.Duration {
	nodes := m.now.Load().nodes
	own := nodes[node]
	m.mu.Lock()
	var beside []*peer
	for id, p := range m.peers {
		if n := nodes[id]; id != node && n.Provider == own.Provider && n.Site == own.Site {
			beside = append(beside, p)
		}
	}
	m.mu.Unlock()
	var all []time.Duration
	for _, p := range beside {
		p.mu.Lock()
		if p.health.state != PeerDown && p.health.rtt > 0 {
			all = append(all, p.health.rtt)
		}
		p.mu.Unlock()
	}
	return median(all)
}

// peer returns a member that can be called.
func (m *Mesh) peer(node hallig.NodeID) (*peer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p := m.peers[node]; p != nil {
		return p, nil
	}
	if node == m.self {
		return nil, fmt.Errorf("node %s is this one: it does not call itself: %w", node, hallig.ErrInvalid)
	}
	return nil, fmt.Errorf("node %s is no member of the mesh: %w", node, hallig.ErrUnavailable)
}

// PeerStatus describes another member.
type PeerStatus struct {
	Node     hallig.NodeID   `json:"node"`
	Provider string          `json:"provider"`
	Site     string          `json:"site"`
	Roles    placement.Roles `json:"roles"`
	State    PeerState       `json:"state"`
	Reason   string          `json:"reason,omitempty"` // why it is not up
	For      time.Duration   `json:"for"`              // how long it has been in the state
	RTT      time.Duration   `json:"rtt"`              // moving average of calls and signs of life; 0: none yet
	P99      time.Duration   `json:"p99"`              // of the last 128 of them
	Calls    int             `json:"calls"`            // under way
	Revision uint64          `json:"revision"`         // of its topology, as it says
	// Bytes over the network since this node started, both directions' TLS
	// included.
	Sent     int64 `json:"sent"`
	Received int64 `json:"received"`
}

// Peers describes the other members, ordered by provider, site and ID.
func (m *Mesh) Peers() []PeerStatus {
	nodes := m.now.Load().nodes
	m.mu.Lock()
	peers := make([]*peer, 0, len(m.peers))
	for _, p := range m.peers {
		peers = append(peers, p)
	}
	m.mu.Unlock()
	all := make([]PeerStatus, 0, len(peers))
	for _, p := range peers {
		all = append(all, p.status(nodes[p.node]))
	}
	slices.SortFunc(all, func(a, b PeerStatus) int {
		return slices.Compare([]string{a.Provider, a.Site, a.Node.String()}, []string{b.Provider, b.Site, b.Node.String()})
	})
	return all
}

func (p *peer) status(n placement.Node) PeerStatus {
	now := p.mesh.since()
	p.mu.Lock()
	defer p.mu.Unlock()
	return PeerStatus{
		Node: p.node, Provider: n.Provider, Site: n.Site, Roles: n.Roles,
		State: p.health.state, Reason: p.health.reason, For: now - p.health.since,
		RTT: p.health.rtt, P99: p.health.p99(), Calls: p.calls, Revision: p.revision,
		Sent: p.traffic.sent.Load(), Received: p.traffic.received.Load(),
	}
}
