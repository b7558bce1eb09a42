package bench

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// requestTimeout bounds one request: a server that hangs is an error, not a
// hanging measurement.
const requestTimeout = 2 * time.Minute

// conn is one worker's connection. It writes requests and reads answers in the
// worker's own goroutine: net/http's client takes several times the processor
// time of the exchange itself, which the server under test would be missing on
// a shared machine. It is made anew when the server has closed it.
type conn struct {
	host   string // for the Host header
	addr   string // host:port to dial
	secure bool

	mu      sync.Mutex // of aborted and the change of c
	aborted bool
	c       net.Conn
	used    bool // c has carried a request: an error may be an idle close
	in      *bufio.Reader
}

func newConn(u *url.URL) *conn {
	c := &conn{host: u.Host, addr: u.Host, secure: u.Scheme == "https"}
	if u.Port() == "" {
		port := "80"
		if c.secure {
			port = "443"
		}
		c.addr = net.JoinHostPort(u.Hostname(), port)
	}
	return c
}

// abort ends a request in flight; the connection stays unusable until renew.
func (c *conn) abort() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.aborted = true
	if c.c != nil {
		c.c.Close()
	}
}

// renew allows requests again after an abort.
func (c *conn) renew() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.aborted {
		c.aborted, c.c = false, nil
	}
}

func (c *conn) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.c != nil {
		c.c.Close()
		c.c = nil
	}
}

func (c *conn) connect(ctx context.Context) error {
	if c.c != nil {
		return nil
	}
	d := &net.Dialer{Timeout: 5 * time.Second}
	n, err := d.DialContext(ctx, "tcp", c.addr)
	if err != nil {
		return err
	}
	if c.secure {
		host, _, _ := net.SplitHostPort(c.addr) // it was joined above, or came from a URL
		n = tls.Client(n, &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12})
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.aborted {
		n.Close()
		return context.Canceled
	}
	c.c, c.used = n, false
	if c.in == nil {
		c.in = bufio.NewReaderSize(n, 64<<10)
	} else {
		c.in.Reset(n)
	}
	return nil
}

// exchange sends one request and returns the answer, whose body the caller
// reads to its end before the next one. head is the whole head with its empty
// line. A request on a connection that turns out to have been closed while it
// was idle is sent again, once.
func (c *conn) exchange(ctx context.Context, method string, head []byte, b *body) (*http.Response, error) {
	for {
		if err := c.connect(ctx); err != nil {
			return nil, err
		}
		retry := c.used
		resp, err := c.once(method, head, b)
		if err == nil {
			c.used = true
			return resp, nil
		}
		c.close()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if timeout, ok := errors.AsType[net.Error](err); !retry || (ok && timeout.Timeout()) {
			return nil, err
		}
	}
}

func (c *conn) once(method string, head []byte, b *body) (*http.Response, error) {
	if err := c.c.SetDeadline(time.Now().Add(requestTimeout)); err != nil {
		return nil, err
	}
	buffers := net.Buffers{head}
	if b != nil {
		buffers = b.after(head)
	}
	_, werr := buffers.WriteTo(c.c)
	for {
		resp, err := http.ReadResponse(c.in, &http.Request{Method: method})
		if err != nil {
			return nil, errors.Join(werr, err)
		}
		if resp.StatusCode >= 200 {
			// A refusal before the body was read through leaves the rest of it
			// in the way of the next request.
			resp.Close = resp.Close || werr != nil
			return resp, nil
		}
	}
}

// parseEndpoint reads an endpoint's address.
func parseEndpoint(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || (u.Path != "" && u.Path != "/") || u.RawQuery != "" {
		return nil, fmt.Errorf("endpoint %q: give http://HOST:PORT or https://HOST", s)
	}
	return u, nil
}
