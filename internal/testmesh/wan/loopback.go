package wan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"time"
)

const (
	relayRead  = 64 << 10
	relayQueue = 256 // reads on their way in one direction of one connection
)

// loopback is the Network of OpenLoopback.
type loopback struct {
	names []string
	log   *slog.Logger
	begun time.Time
	ctx   context.Context //nolint:containedctx // ends the relays with Close
	stop  context.CancelFunc
	wg    sync.WaitGroup

	mu     sync.Mutex
	pipes  map[[2]string]*pipe
	relays map[relay]net.Listener
}

// A relay stands for a port of one host as another sees it.
type relay struct {
	from, to string
	port     int
}

// OpenLoopback returns a Network of TCP relays between loopback ports. Loss
// and duplication have no effect on streams; a cut holds back what is sent
// until it is healed, as TCP's own repetition would.
func OpenLoopback(c Config) (Network, error) {
	ctx, stop := context.WithCancel(context.Background())
	l := &loopback{
		names: slices.Clone(c.Hosts), log: c.logger(), begun: time.Now(), ctx: ctx, stop: stop,
		pipes: map[[2]string]*pipe{}, relays: map[relay]net.Listener{},
	}
	for _, from := range c.Hosts {
		for _, to := range c.Hosts {
			l.pipes[[2]string{from, to}] = newPipe(c.Seed, from, to)
		}
	}
	return l, nil
}

// Hosts implements Links.
func (l *loopback) Hosts() []string { return slices.Clone(l.names) }

func (l *loopback) pipe(from, to string) (*pipe, error) {
	p, ok := l.pipes[[2]string{from, to}]
	if !ok {
		return nil, fmt.Errorf("link from %q to %q: %w", from, to, ErrNoHost)
	}
	return p, nil
}

// Set implements Links.
func (l *loopback) Set(from, to string, link Link) error {
	p, err := l.pipe(from, to)
	if err == nil {
		err = link.Validate()
	}
	if err == nil {
		p.set(link)
	}
	return err
}

// Link implements Links.
func (l *loopback) Link(from, to string) (Link, error) {
	p, err := l.pipe(from, to)
	if err != nil {
		return Link{}, err
	}
	link, _ := p.get()
	return link, nil
}

// Counters implements Links.
func (l *loopback) Counters(from, to string) (Counters, error) {
	p, err := l.pipe(from, to)
	if err != nil {
		return Counters{}, err
	}
	return p.counters(), nil
}

// Isolated implements Places.
func (l *loopback) Isolated() bool { return false }

// Port implements Places. The port was free a moment ago.
func (l *loopback) Port(host string) (int, error) {
	if !slices.Contains(l.names, host) {
		return 0, fmt.Errorf("host %q: %w", host, ErrNoHost)
	}
	ln, err := (&net.ListenConfig{}).Listen(l.ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port, nil
}

// Listen implements Places.
func (l *loopback) Listen(host string, port int) (string, error) {
	if !slices.Contains(l.names, host) {
		return "", fmt.Errorf("host %q: %w", host, ErrNoHost)
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), nil
}

// Addr implements Places.
func (l *loopback) Addr(from, to string, port int) (string, error) {
	if from == to {
		return l.Listen(to, port)
	}
	out, err := l.pipe(from, to)
	if err != nil {
		return "", err
	}
	back, err := l.pipe(to, from)
	if err != nil {
		return "", err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	key := relay{from, to, port}
	ln, ok := l.relays[key]
	if !ok {
		if ln, err = (&net.ListenConfig{}).Listen(l.ctx, "tcp", "127.0.0.1:0"); err != nil {
			return "", fmt.Errorf("relay from %q to %q: %w", from, to, err)
		}
		l.relays[key] = ln
		target := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		l.wg.Go(func() { l.accept(ln, target, out, back) })
	}
	return ln.Addr().String(), nil
}

func (l *loopback) accept(ln net.Listener, target string, out, back *pipe) {
	for {
		client, err := ln.Accept()
		if err != nil {
			return
		}
		l.wg.Go(func() { l.relay(client, target, out, back) })
	}
}

// relay carries one connection until both directions have ended.
func (l *loopback) relay(client net.Conn, target string, out, back *pipe) {
	defer client.Close()
	server, err := (&net.Dialer{}).DialContext(l.ctx, "tcp", target)
	if err != nil {
		return
	}
	defer server.Close()
	ctx, cancel := context.WithCancel(l.ctx)
	defer cancel()
	unhook := context.AfterFunc(ctx, func() { client.Close(); server.Close() })
	defer unhook()
	var wg sync.WaitGroup
	wg.Go(func() { l.carry(ctx, cancel, server, client, out) })
	wg.Go(func() { l.carry(ctx, cancel, client, server, back) })
	wg.Wait()
}

// A portion is what one read of a stream gave, and when it arrives.
type portion struct {
	data []byte
	due  time.Duration
	end  bool
}

// carry copies one direction. An error on either side ends the connection; an
// orderly end is passed on in its turn.
func (l *loopback) carry(ctx context.Context, fail context.CancelFunc, dst, src net.Conn, p *pipe) {
	portions := make(chan portion, relayQueue)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for q := range portions {
			if err := l.deliver(ctx, dst, p, q); err != nil {
				fail()
			}
		}
	}()
	for {
		buf := make([]byte, relayRead)
		n, err := src.Read(buf)
		if n > 0 {
			portions <- portion{data: buf[:n:n], due: p.stream(time.Since(l.begun), n)}
		}
		if err == nil {
			continue
		}
		if errors.Is(err, io.EOF) {
			portions <- portion{end: true, due: p.stream(time.Since(l.begun), 0)}
		} else {
			fail()
		}
		break
	}
	close(portions)
	<-done
}

// deliver waits until a portion is due and the link is not cut, and writes it.
func (l *loopback) deliver(ctx context.Context, dst net.Conn, p *pipe, q portion) error {
	timer := time.NewTimer(q.due - time.Since(l.begun))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	for {
		link, changed := p.get()
		if !link.Cut {
			break
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if q.end {
		if tcp, ok := dst.(*net.TCPConn); ok {
			return tcp.CloseWrite()
		}
		return dst.Close()
	}
	_, err := dst.Write(q.data)
	if err == nil {
		p.done(len(q.data))
	}
	return err
}

// stream counts n bytes of a stream sent at now and says when they arrive:
// what send does, without what streams do not have.
func (p *pipe) stream(now time.Duration, n int) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	jitter := p.rng.Float64()
	if n > 0 {
		p.count.Frames++
		p.count.Bytes += uint64(n)
		p.pending++
	}
	sent := max(now, p.free)
	if p.link.Bandwidth > 0 {
		sent += time.Duration(float64(n) / float64(p.link.Bandwidth) * float64(time.Second))
	}
	p.free = sent
	return sent + p.link.Delay + time.Duration(jitter*float64(p.link.Jitter))
}

// Dial implements Places.
func (l *loopback) Dial(ctx context.Context, from, network, addr string) (net.Conn, error) {
	if !slices.Contains(l.names, from) {
		return nil, fmt.Errorf("dial from %q: %w", from, ErrNoHost)
	}
	return (&net.Dialer{}).DialContext(ctx, network, addr)
}

// Start implements Places.
func (l *loopback) Start(host string, cmd *exec.Cmd) error {
	if !slices.Contains(l.names, host) {
		return fmt.Errorf("start at %q: %w", host, ErrNoHost)
	}
	return cmd.Start()
}

// Close implements Network.
func (l *loopback) Close() error {
	l.stop()
	l.mu.Lock()
	for _, ln := range l.relays {
		ln.Close()
	}
	l.mu.Unlock()
	l.wg.Wait()
	return nil
}
