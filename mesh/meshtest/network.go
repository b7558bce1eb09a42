// Package meshtest is a network in memory and meshes over it, for tests:
// latency, silence and cuts are set per direction, nothing is bound to a real
// port, and all of it works under testing/synctest.
package meshtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// buffered is what a direction of a connection holds before Write blocks, in
// bytes.
const buffered = 4 << 20

// A Network connects hosts by name. An address is host:port; the host of a
// connection's caller is the one that Dialer was made for.
type Network struct {
	mu        sync.Mutex
	listeners map[string]*listener
	links     map[[2]string]link
	halves    map[*half]struct{}
	port      int
	mangle    func(from, to string, b []byte) []byte
}

// link is the state of one direction.
type link struct {
	silent bool // nothing arrives; it is kept until the link is heard again
	cut    bool // connections break, and none is made
	delay  time.Duration
}

// NewNetwork returns a network without faults.
func NewNetwork() *Network {
	return &Network{listeners: map[string]*listener{}, links: map[[2]string]link{}, halves: map[*half]struct{}{}, port: 40000}
}

func (n *Network) change(from, to string, f func(*link)) {
	n.mu.Lock()
	l := n.links[[2]string{from, to}]
	f(&l)
	n.links[[2]string{from, to}] = l
	halves := make([]*half, 0, len(n.halves))
	for h := range n.halves {
		halves = append(halves, h)
	}
	n.mu.Unlock()
	for _, h := range halves {
		h.kick()
	}
}

// Mangle has f change what is sent from one host to another; it owns b. nil
// breaks the connection, with b on it lost. Calls of f may run side by side.
func (n *Network) Mangle(f func(from, to string, b []byte) []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mangle = f
}

func (n *Network) mangler() func(from, to string, b []byte) []byte {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.mangle
}

func (n *Network) link(from, to string) link {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.links[[2]string{from, to}]
}

// Silence stops, or resumes, what goes from one host to another; connections
// stay as they are. Both directions silent is a host that hangs.
func (n *Network) Silence(from, to string, on bool) {
	n.change(from, to, func(l *link) { l.silent = on })
}

// Delay sets the latency from one host to another.
func (n *Network) Delay(from, to string, d time.Duration) {
	n.change(from, to, func(l *link) { l.delay = d })
}

// Cut breaks all connections between two hosts, and refuses new ones while on.
func (n *Network) Cut(a, b string, on bool) {
	n.change(a, b, func(l *link) { l.cut = on })
	n.change(b, a, func(l *link) { l.cut = on })
}

// Listen has the form of mesh.Config.Listen. Port 0 takes a free one.
func (n *Network) Listen(_ context.Context, _, addr string) (net.Listener, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if port == "0" {
		n.port++
		addr = fmt.Sprintf("%s:%d", host, n.port)
	}
	if n.listeners[addr] != nil {
		return nil, &net.OpError{Op: "listen", Net: "mem", Err: syscall.EADDRINUSE}
	}
	l := &listener{network: n, addr: addr, host: host, conns: make(chan net.Conn, 64), done: make(chan struct{})}
	n.listeners[addr] = l
	return l, nil
}

// Dialer returns a function of the form of mesh.Config.Dial, for calls from a
// host.
func (n *Network) Dialer(from string) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, _, addr string) (net.Conn, error) {
		return n.dial(ctx, from, addr)
	}
}

func (n *Network) dial(ctx context.Context, from, addr string) (net.Conn, error) {
	refused := &net.OpError{Op: "dial", Net: "mem", Err: syscall.ECONNREFUSED}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	there, back := n.link(from, host), n.link(host, from)
	if there.silent || back.silent {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if d := there.delay + back.delay; d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	n.mu.Lock()
	l := n.listeners[addr]
	n.port++
	caller := address(fmt.Sprintf("%s:%d", from, n.port))
	n.mu.Unlock()
	if l == nil || there.cut || back.cut {
		return nil, refused
	}
	out, in := n.half(from, host), n.half(host, from)
	near := &Conn{in: in, out: out, local: caller, remote: address(addr)}
	far := &Conn{in: out, out: in, local: address(addr), remote: caller}
	near.read, near.write, far.read, far.write = newDeadline(), newDeadline(), newDeadline(), newDeadline()
	select {
	case l.conns <- far:
		return near, nil
	case <-l.done:
		return nil, refused
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (n *Network) half(from, to string) *half {
	h := &half{network: n, from: from, to: to, wake: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.halves[h] = struct{}{}
	return h
}

type address string

func (a address) Network() string { return "mem" }
func (a address) String() string  { return string(a) }

type listener struct {
	network *Network
	addr    string
	host    string
	conns   chan net.Conn
	done    chan struct{}
	once    sync.Once
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() {
		l.network.mu.Lock()
		delete(l.network.listeners, l.addr)
		l.network.mu.Unlock()
		close(l.done)
		for {
			select {
			case c := <-l.conns:
				c.Close()
			default:
				return
			}
		}
	})
	return nil
}

func (l *listener) Addr() net.Addr { return address(l.addr) }

// A half is one direction of a connection.
type half struct {
	network  *Network
	from, to string

	mu     sync.Mutex
	sent   []packet
	size   int
	closed bool // by either end
	wake   chan struct{}
}

type packet struct {
	at   time.Time
	data []byte
}

func (h *half) kick() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.kickLocked()
}

func (h *half) kickLocked() {
	close(h.wake)
	h.wake = make(chan struct{})
}

func (h *half) close() {
	h.mu.Lock()
	h.closed = true
	h.kickLocked()
	h.mu.Unlock()
	h.network.mu.Lock()
	delete(h.network.halves, h)
	h.network.mu.Unlock()
}

var errReset error = &net.OpError{Op: "read", Net: "mem", Err: syscall.ECONNRESET}

// take copies what has arrived; wait is how long until more may have, 0 for
// "until woken".
func (h *half) take(b []byte) (n int, wait time.Duration, wake chan struct{}, err error) {
	l := h.network.link(h.from, h.to)
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case l.cut:
		return 0, 0, nil, errReset
	case len(h.sent) == 0 && h.closed:
		return 0, 0, nil, io.EOF
	case len(h.sent) == 0 || l.silent:
		return 0, 0, h.wake, nil
	}
	if wait = time.Until(h.sent[0].at); wait > 0 {
		return 0, wait, h.wake, nil
	}
	n = copy(b, h.sent[0].data)
	h.size -= n
	if h.sent[0].data = h.sent[0].data[n:]; len(h.sent[0].data) == 0 {
		h.sent = slices.Delete(h.sent, 0, 1)
	}
	h.kickLocked()
	return n, 0, nil, nil
}

// give appends what is sent, as far as there is room.
func (h *half) give(b []byte) (n int, wake chan struct{}, err error) {
	l, mangle := h.network.link(h.from, h.to), h.network.mangler()
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case l.cut:
		return 0, nil, errReset
	case h.closed:
		return 0, nil, io.ErrClosedPipe
	case h.size >= buffered:
		return 0, h.wake, nil
	}
	n = min(len(b), buffered-h.size)
	data := slices.Clone(b[:n])
	if mangle != nil {
		if data = mangle(h.from, h.to, data); data == nil {
			return 0, nil, errReset
		}
	}
	if len(data) > 0 {
		h.sent = append(h.sent, packet{at: time.Now().Add(l.delay), data: data})
		h.size += len(data)
	}
	h.kickLocked()
	return n, nil, nil
}

// A Conn is one end of a connection.
type Conn struct {
	in, out       *half
	local, remote net.Addr
	read, write   *deadline
	closed        atomic.Bool
}

// Read implements net.Conn.
func (c *Conn) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	for {
		expired := c.read.wait()
		select {
		case <-expired:
			return 0, os.ErrDeadlineExceeded
		default:
		}
		if c.closed.Load() {
			return 0, net.ErrClosed
		}
		n, wait, wake, err := c.in.take(b)
		if n > 0 || err != nil {
			return n, err
		}
		if wait == 0 {
			wait = 1000 * time.Hour
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-wake:
		case <-expired:
		}
		timer.Stop()
	}
}

// Write implements net.Conn.
func (c *Conn) Write(b []byte) (int, error) {
	written := 0
	for {
		expired := c.write.wait()
		select {
		case <-expired:
			return written, os.ErrDeadlineExceeded
		default:
		}
		n, wake, err := c.out.give(b[written:])
		if err == errReset {
			c.Close()
		}
		if written += n; err != nil || written == len(b) {
			return written, err
		}
		if wake == nil {
			continue
		}
		select {
		case <-wake:
		case <-expired:
		}
	}
}

// Close implements net.Conn.
func (c *Conn) Close() error {
	c.closed.Store(true)
	c.out.close()
	c.in.close()
	return nil
}

// LocalAddr implements net.Conn.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr implements net.Conn.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline implements net.Conn.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.read.set(t)
	c.in.kick()
	return nil
}

// SetWriteDeadline implements net.Conn.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.write.set(t)
	c.out.kick()
	return nil
}

// A deadline is a channel that closes when a time has come.
type deadline struct {
	mu    sync.Mutex
	timer *time.Timer
	done  chan struct{}
}

func newDeadline() *deadline { return &deadline{done: make(chan struct{})} }

func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	done := make(chan struct{})
	d.done = done
	switch wait := time.Until(t); {
	case t.IsZero():
	case wait <= 0:
		close(done)
	default:
		d.timer = time.AfterFunc(wait, func() { close(done) })
	}
}

func (d *deadline) wait() chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.done
}
