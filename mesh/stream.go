package mesh

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/placement"
)

// The protocol of hallig-stream/1: each side sends one frame, the caller
// streamPreface and the other streamReply; then the connection is the
// handler's.
const (
	maxPreface  = 1 << 10
	maxReply    = 4 << 10
	prefaceTime = 10 * time.Second
)

type streamPreface struct {
	Name     string `cbor:"1,keyasint"`
	Revision uint64 `cbor:"2,keyasint"`
}

type streamReply struct {
	Error    *wireError `cbor:"1,keyasint,omitempty"`
	Revision uint64     `cbor:"2,keyasint"`
	Stranger bool       `cbor:"3,keyasint,omitempty"`
}

type streamRoute struct {
	who placement.Roles
	fn  func(context.Context, Peer, net.Conn)
}

// HandleStream registers the handler of a kind of stream and the roles that may
// open one, as Handle does. fn runs in a goroutine of its own; the connection
// is closed when it returns. ctx ends when the connection is closed from this
// side (a revocation, the end of Run). fn must return soon after.
func (m *Mesh) HandleStream(name string, who placement.Roles, fn func(ctx context.Context, p Peer, c net.Conn)) {
	if who == 0 || m.streams[name].fn != nil || name == "" || len(name) > 64 {
		panic("mesh: stream " + name + ": without roles, registered twice, or a name of not 1 to 64 bytes")
	}
	m.streams[name] = streamRoute{who: who, fn: fn}
}

// Streams lists the kinds of streams and who may open them.
func (m *Mesh) Streams() map[string]placement.Roles {
	all := map[string]placement.Roles{}
	for name, s := range m.streams {
		all[name] = s.who
	}
	return all
}

// serveStream reads the preface and runs the handler.
func (m *Mesh) serveStream(ctx context.Context, secured *tls.Conn, c *conn) {
	secured.SetDeadline(time.Now().Add(prefaceTime)) //nolint:errcheck // a closed connection says so when used
	var p streamPreface
	if err := readFrame(secured, maxPreface, &p); err != nil {
		if errors.Is(err, hallig.ErrTooLarge) || errors.Is(err, hallig.ErrInvalid) {
			_ = m.replyStream(secured, err, false) // it is closed in any case
		}
		return
	}
	node, err := m.admit(c.who)
	stream, known := m.streams[p.Name]
	switch {
	case err == errStranger:
		_ = m.replyStream(secured, fmt.Errorf("%w: %w", err, hallig.ErrUnavailable), true) // it is closed in any case
		return
	case err != nil:
	case !known:
		err = fmt.Errorf("no such stream: %s: %w", printable(p.Name, 64), hallig.ErrUnsupported)
	case !allows(stream.who, node.Roles) && !m.hooks.skipRoles:
		err = fmt.Errorf("node %s has the roles %s, the stream %s is for %s: %w", node.ID, node.Roles, p.Name, stream.who, hallig.ErrDenied)
	}
	if m.replyStream(secured, err, false) != nil || err != nil {
		return
	}
	m.noteRevisionNumber(node.ID, p.Revision)
	secured.SetDeadline(time.Time{}) //nolint:errcheck // as above
	peer := peerFrom(node)
	ctx, cancel := context.WithCancel(context.WithValue(ctx, peerKey{}, peer))
	defer cancel()
	defer c.whenClosed(cancel)()
	stream.fn(ctx, peer, &streamConn{Conn: secured, under: c, peer: peer})
}

func (m *Mesh) replyStream(w net.Conn, err error, stranger bool) error {
	reply := streamReply{Revision: m.now.Load().envelope.Revision, Stranger: stranger}
	if err != nil {
		e := encodeError(err)
		reply.Error = &e
	}
	return writeFrame(w, reply)
}

// A streamConn is a stream as its users see it.
type streamConn struct {
	*tls.Conn
	under *conn
	peer  Peer
	done  func()
}

// Close closes at once; what was written and not read by the other side may be
// lost.
func (s *streamConn) Close() error {
	if s.done != nil {
		s.done()
	}
	return s.under.Close()
}

// RemoteAddr names the node at the other end.
func (s *streamConn) RemoteAddr() net.Addr { return NodeAddr(s.peer.Node) }

// NodeAddr is a node as a net.Addr, for streams.
type NodeAddr hallig.NodeID

// Network returns "hallig".
func (NodeAddr) Network() string { return "hallig" }

// String returns the node's ID.
func (a NodeAddr) String() string { return hallig.NodeID(a).String() }

// Dial opens a stream of a kind to a node. It fails fast when the node is down,
// as Client.Do does, and with the same errors; what the other side refuses is a
// *RemoteError. The connection is closed when the node is found to be down,
// when the topology locks it out, and when Run ends; deadlines are the
// caller's.
func (m *Mesh) Dial(ctx context.Context, node hallig.NodeID, stream string) (net.Conn, error) {
	c, stranger, err := m.dialStream(ctx, node, stream)
	if err != nil && stranger && m.introduce(ctx, node) == nil {
		c, _, err = m.dialStream(ctx, node, stream)
	}
	if err != nil {
		return nil, fmt.Errorf("open stream %s to node %s: %w", stream, node, err)
	}
	return c, nil
}

func (m *Mesh) dialStream(ctx context.Context, node hallig.NodeID, stream string) (net.Conn, bool, error) {
	p, err := m.peer(node)
	if err != nil {
		return nil, false, err
	}
	call, err := p.begin(ctx, false)
	if err != nil {
		return nil, false, err
	}
	c, stranger, err := m.shake(call.ctx, p, stream)
	err = call.explain(err)
	call.end(err, false)
	return c, stranger, err
}

// shake dials and exchanges the first frames, within ctx.
func (m *Mesh) shake(ctx context.Context, p *peer, stream string) (net.Conn, bool, error) {
	secured, under, err := p.dial(ctx, protoStream)
	if err != nil {
		return nil, false, err
	}
	ok := false
	defer func() {
		if !ok {
			under.shut()
		}
	}()
	stop := context.AfterFunc(ctx, func() { under.shut() })
	secured.SetDeadline(time.Now().Add(prefaceTime)) //nolint:errcheck // a closed connection says so when used
	var reply streamReply
	err = writeFrame(secured, streamPreface{Name: stream, Revision: m.now.Load().envelope.Revision})
	if err == nil {
		err = readFrame(secured, maxReply, &reply)
	}
	switch {
	case !stop():
		return nil, false, context.Cause(ctx)
	case err != nil:
		return nil, false, err
	}
	m.noteRevisionNumber(p.node, reply.Revision)
	if reply.Error != nil {
		return nil, reply.Stranger, reply.Error.remote(p.node)
	}
	ok = true
	secured.SetDeadline(time.Time{}) //nolint:errcheck // as above
	return &streamConn{Conn: secured, under: under, peer: Peer{Node: p.node}}, false, nil
}

// whenClosed calls fn when the connection is closed; the function that it
// returns takes that back.
func (c *conn) whenClosed(fn func()) (stop func()) {
	c.mesh.mu.Lock()
	defer c.mesh.mu.Unlock()
	if _, live := c.mesh.conns[c]; !live {
		fn()
		return func() {}
	}
	c.onClose = fn
	return func() {
		c.mesh.mu.Lock()
		defer c.mesh.mu.Unlock()
		c.onClose = nil
	}
}

// A StreamListener is a net.Listener for one kind of stream: what a Raft
// transport asks for.
type StreamListener struct {
	self  hallig.NodeID
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

// StreamListener registers a kind of stream, as HandleStream does, whose
// connections come out of the listener's Accept. The connections are the
// caller's to close; they close with Run at the latest. While nobody accepts,
// callers wait, up to 10 s.
func (m *Mesh) StreamListener(name string, who placement.Roles) *StreamListener {
	l := &StreamListener{self: m.self, conns: make(chan net.Conn), done: make(chan struct{})}
	m.HandleStream(name, who, func(ctx context.Context, _ Peer, c net.Conn) {
		closed, cancel := context.WithCancel(ctx)
		defer cancel()
		c.(*streamConn).done = cancel
		timeout := time.NewTimer(prefaceTime)
		defer timeout.Stop()
		select {
		case l.conns <- c:
			<-closed.Done()
		case <-closed.Done():
		case <-timeout.C:
		case <-l.done:
		}
	})
	return l
}

// Accept returns the next stream, or net.ErrClosed after Close.
func (l *StreamListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close ends Accept; streams that were accepted stay open.
func (l *StreamListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

// Addr names this node.
func (l *StreamListener) Addr() net.Addr { return NodeAddr(l.self) }
