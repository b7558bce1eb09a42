package mesh

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// maxHandshakes bounds the handshakes under way: what has no certificate yet
// costs no more than that many goroutines.
const maxHandshakes = 128

// Windows for 50 ms × 1 Gbit/s and more, and frames that need few system
// calls. (net/http documents bounds of 4 MiB for the windows and takes these;
// a test sees what goes over the wire.)
func http2Config() *http.HTTP2Config {
	return &http.HTTP2Config{
		MaxConcurrentStreams:          256,
		MaxReadFrameSize:              256 << 10,
		MaxReceiveBufferPerStream:     8 << 20,
		MaxReceiveBufferPerConnection: 32 << 20,
		SendPingTimeout:               15 * time.Second,
		PingTimeout:                   10 * time.Second,
		WriteByteTimeout:              30 * time.Second,
	}
}

// serve accepts connections until ctx ends.
func (m *Mesh) serve(ctx context.Context, listener net.Listener) error {
	rpc := &queue{addr: listener.Addr(), conns: make(chan net.Conn), done: ctx.Done()}
	var http2 http.Protocols
	http2.SetHTTP2(true)
	server := &http.Server{
		Handler:        http.HandlerFunc(m.serveRPC),
		Protocols:      &http2,
		HTTP2:          http2Config(),
		MaxHeaderBytes: 16 << 10,
		BaseContext:    func(net.Listener) context.Context { return ctx },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, c.(*tls.Conn).NetConn().(*conn))
		},
		// Run waits for every connection's goroutine. Serve runs in wg itself,
		// so that what it adds is never the first.
		ConnState: func(_ net.Conn, s http.ConnState) {
			switch s {
			case http.StateNew:
				m.wg.Add(1)
			case http.StateClosed, http.StateHijacked:
				m.wg.Done()
			}
		},
		ErrorLog: slog.NewLogLogger(m.log.Handler(), slog.LevelDebug),
	}
	m.wg.Go(func() { server.Serve(rpc) }) //nolint:errcheck // it ends with the queue
	defer context.AfterFunc(ctx, func() { listener.Close() })()
	config := m.serverTLS()
	slots := make(chan struct{}, maxHandshakes)
	var failed error
	for {
		raw, err := listener.Accept()
		if err != nil {
			var temporary net.Error
			if ctx.Err() == nil && errors.As(err, &temporary) && !errors.Is(err, net.ErrClosed) {
				m.log.Warn("mesh: cannot accept a connection", "err", err)
				pause(ctx, 100*time.Millisecond) // out of file descriptors, most likely
				continue
			}
			failed = err
			break
		}
		select {
		case slots <- struct{}{}:
		default:
			raw.Close() // flooded: members dial again, and have connections already
			continue
		}
		m.wg.Go(func() { m.accept(ctx, raw, config, slots, rpc) })
	}
	listener.Close()
	server.Close()
	return failed
}

// pause waits for d, or for ctx to end.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

type connKey struct{}

// accept does the handshake and hands the connection to its protocol.
func (m *Mesh) accept(ctx context.Context, raw net.Conn, config *tls.Config, slots chan struct{}, rpc *queue) {
	release := sync.OnceFunc(func() { <-slots })
	defer release()
	c := &conn{Conn: raw, mesh: m, inbound: true}
	secured := tls.Server(c, config)
	// The raw connection is closed, not the TLS one: that would wait for a peer
	// that does not read.
	stop := context.AfterFunc(ctx, func() { c.shut() })
	defer stop()
	shaking, cancel := context.WithTimeout(ctx, handshakeTime)
	err := secured.HandshakeContext(shaking)
	cancel()
	if err != nil {
		c.shut()
		m.log.Debug("mesh: a connection was refused", "addr", raw.RemoteAddr().String(), "err", err)
		return
	}
	cs := secured.ConnectionState()
	if cs.NegotiatedProtocol == protoJoin {
		m.serveJoin(ctx, secured, cs) // it keeps its slot: handshakes and joins are bounded together
		c.shut()
		return
	}
	if c.who, err = m.verify(cs.PeerCertificates); err == nil {
		err = m.register(c)
	}
	if err != nil {
		c.shut()
		m.log.Debug("mesh: a connection was refused", "addr", raw.RemoteAddr().String(), "err", err)
		return
	}
	release()
	switch cs.NegotiatedProtocol {
	case protoRPC:
		rpc.hand(secured, c)
	case protoStream:
		m.serveStream(ctx, secured, c)
		c.shut()
	default:
		c.shut()
	}
}

// A queue is the listener of the HTTP server: it hands over connections whose
// handshake is done.
type queue struct {
	addr  net.Addr
	conns chan net.Conn
	done  <-chan struct{}
}

func (q *queue) hand(secured *tls.Conn, c *conn) {
	select {
	case q.conns <- secured:
	case <-q.done:
		c.shut()
	}
}

// Accept implements net.Listener.
func (q *queue) Accept() (net.Conn, error) {
	select {
	case c := <-q.conns:
		return c, nil
	case <-q.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (q *queue) Close() error { return nil }

// Addr implements net.Listener.
func (q *queue) Addr() net.Addr { return q.addr }
