package mesh

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/placement"
)

// The protocols of the port.
const (
	protoRPC    = "h2"
	protoStream = "hallig-stream/1"
)

// maxInbound bounds the connections of one node to this one.
const maxInbound = 64

// traffic counts the bytes exchanged with one node, TLS included, and when
// it was last heard answering.
type traffic struct {
	sent, received atomic.Int64
	heard          atomic.Int64 // Mesh.since in nanoseconds; of connections that this node made
}

// A conn is a TCP connection under TLS. Closing it closes at once, whatever TLS
// would have liked to say.
type conn struct {
	net.Conn
	mesh    *Mesh
	inbound bool
	who     holder // set before it is registered
	count   atomic.Pointer[traffic]
	once    sync.Once
	onClose func() // under mesh.mu
}

// Read implements net.Conn.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if t := c.count.Load(); t != nil && n > 0 {
		t.received.Add(int64(n))
		if !c.inbound {
			t.heard.Store(int64(c.mesh.since()))
		}
	}
	return n, err
}

// Write implements net.Conn.
func (c *conn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if t := c.count.Load(); t != nil && n > 0 {
		t.sent.Add(int64(n))
	}
	return n, err
}

// shut closes the connection.
func (c *conn) shut() { _ = c.Close() } // there is nobody to tell

// Close implements net.Conn.
func (c *conn) Close() error {
	c.once.Do(func() {
		if told := c.mesh.unregister(c); told != nil {
			told()
		}
	})
	return c.Conn.Close()
}

// errStranger says of a node with a certificate of this mesh that the topology
// does not know it: it may be newer than the topology.
var errStranger = errors.New("this node does not know you yet") //nolint:gochecknoglobals // a sentinel

// admit decides by the newest topology whether a node with a valid certificate
// is let in: nil, errStranger, or an error that wraps hallig.ErrDenied.
func (m *Mesh) admit(who holder) (placement.Node, error) {
	return m.now.Load().admit(who, m.hooks)
}

func (s *snapshot) admit(who holder, h hooks) (placement.Node, error) {
	node, ok := s.nodes[who.node]
	switch {
	case !ok:
		return node, errStranger
	case !node.State.Member():
		return node, fmt.Errorf("node %s is revoked: %w", who.node, hallig.ErrDenied)
	case Pin(node.Key) != who.pin && !h.skipPin:
		return node, fmt.Errorf("node %s has another key than the one that the topology pins: %w", who.node, hallig.ErrDenied)
	}
	return node, nil
}

// verify is the check of a peer's certificate within the handshake. Strangers
// pass: what they may do is decided with each request.
func (m *Mesh) verify(certs []*x509.Certificate) (holder, error) {
	who, err := m.trust.check(certs)
	if err != nil {
		return who, err
	}
	if who.node == m.self {
		return who, fmt.Errorf("the certificate is this node's own: %w", hallig.ErrDenied)
	}
	if _, err := m.admit(who); err != nil && err != errStranger {
		return who, err
	}
	return who, nil
}

// register counts a connection among the live ones of its node, if the
// topology lets it in now: a change of topology finds either no connection or
// one that is registered.
func (m *Mesh) register(c *conn) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.admit(c.who); err != nil && (err != errStranger || !c.inbound) {
		return err
	}
	if m.run != nil && m.run.Err() != nil {
		return fmt.Errorf("the mesh stops: %w", hallig.ErrUnavailable)
	}
	if c.inbound {
		if m.inbound[c.who.node] >= maxInbound {
			return fmt.Errorf("node %s has %d connections: %w", c.who.node, maxInbound, hallig.ErrUnavailable)
		}
		m.inbound[c.who.node]++
	}
	m.conns[c] = struct{}{}
	c.count.Store(m.trafficOf(c.who.node))
	return nil
}

// trafficOf returns the counters of a node. m.mu is held.
func (m *Mesh) trafficOf(node hallig.NodeID) *traffic {
	t := m.traffic[node]
	if t == nil {
		t = &traffic{}
		if _, known := m.now.Load().nodes[node]; known { // strangers come and go
			m.traffic[node] = t
		}
	}
	return t
}

// unregister returns the function that is to be told.
func (m *Mesh) unregister(c *conn) func() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.conns[c]; !ok {
		return nil
	}
	delete(m.conns, c)
	if c.inbound {
		if m.inbound[c.who.node]--; m.inbound[c.who.node] == 0 {
			delete(m.inbound, c.who.node)
		}
	}
	return c.onClose
}

// closeConns closes the live connections that match.
func (m *Mesh) closeConns(match func(*conn) bool) {
	m.mu.Lock()
	var closing []*conn
	for c := range m.conns {
		if match(c) {
			closing = append(closing, c)
		}
	}
	m.mu.Unlock()
	for _, c := range closing {
		c.shut()
	}
}

// serverTLS is the configuration of the accepting side. A client that asks for
// nothing but to join needs no certificate; every other one does, whatever it
// asks for.
func (m *Mesh) serverTLS() *tls.Config {
	own := m.cfg.Identity.certificate()
	base := &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Certificates:           []tls.Certificate{own},
		Time:                   anyTime,
		SessionTicketsDisabled: true, // every connection is checked in full
	}
	members, joiners := base.Clone(), base.Clone()
	members.NextProtos = []string{protoRPC, protoStream}
	members.ClientAuth = tls.RequireAnyClientCert // VerifyConnection checks it
	members.VerifyConnection = func(cs tls.ConnectionState) error {
		_, err := m.verify(cs.PeerCertificates)
		return err
	}
	joiners.NextProtos = []string{protoJoin}
	base.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if len(hello.SupportedProtos) != 1 || hello.SupportedProtos[0] != protoJoin {
			return members, nil
		}
		if err := m.mayJoin(hello.Conn.RemoteAddr()); err != nil {
			return nil, err
		}
		return joiners, nil
	}
	return base
}

// clientTLS is the configuration of the calling side, for one node and one
// protocol.
func (m *Mesh) clientTLS(node hallig.NodeID, proto string) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		Certificates:       []tls.Certificate{m.cfg.Identity.certificate()},
		NextProtos:         []string{proto},
		Time:               anyTime,
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection does it, by authority and pin
		VerifyConnection: func(cs tls.ConnectionState) error {
			who, err := m.verify(cs.PeerCertificates)
			if err != nil {
				return err
			}
			if who.node != node {
				return fmt.Errorf("node %s answers where node %s was called: %w", who.node, node, hallig.ErrForeign)
			}
			if cs.NegotiatedProtocol != proto {
				return fmt.Errorf("node %s does not speak %s: %w", node, proto, hallig.ErrUnsupported)
			}
			return nil
		},
	}
}

// handshakeTime bounds a handshake on the accepting side.
const handshakeTime = 10 * time.Second
