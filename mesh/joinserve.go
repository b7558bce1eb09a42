package mesh

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/hallig-cloud/hallig"
)

// Limits of requests to join, which anyone can send: in all and for each source
// address (each /64 of IPv6), in requests a second and at once.
const (
	joinsPerSecond       = 20
	joinsAtOnce          = 40
	joinsPerSourceSecond = 1
	joinsPerSourceAtOnce = 5
	joinSources          = 4096 // that are remembered; beyond, sources that were idle are forgotten
)

type joinLimits struct {
	mu      sync.Mutex
	all     *rate.Limiter
	sources map[string]*rate.Limiter
}

func newJoinLimits() *joinLimits {
	return &joinLimits{all: rate.NewLimiter(joinsPerSecond, joinsAtOnce), sources: map[string]*rate.Limiter{}}
}

// allow takes one request from a source, or refuses it.
func (l *joinLimits) allow(now time.Time, source string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	one := l.sources[source]
	if one == nil {
		if len(l.sources) >= joinSources {
			for s, x := range l.sources {
				if x.TokensAt(now) >= joinsPerSourceAtOnce {
					delete(l.sources, s)
				}
			}
		}
		if len(l.sources) >= joinSources {
			return false
		}
		one = rate.NewLimiter(joinsPerSourceSecond, joinsPerSourceAtOnce)
		l.sources[source] = one
	}
	return one.AllowN(now, 1) && l.all.AllowN(now, 1)
}

// source names where a connection comes from: its address without the port.
func source(addr net.Addr) string {
	ap, err := netip.ParseAddrPort(addr.String())
	if err != nil {
		host, _, _ := net.SplitHostPort(addr.String())
		return host
	}
	ip := ap.Addr().Unmap()
	if ip.Is6() {
		if p, err := ip.WithZone("").Prefix(64); err == nil {
			return p.String()
		}
	}
	return ip.String()
}

// HandleJoin registers who decides about requests to join; without it they are
// refused. fn has 10 s. It looks the token's Invitation up, uses it
// (Invitation.Use), certifies the key, puts the node into a new topology, and
// stores all that before it answers; the answer's topology must have the node
// with its key, and only a gateway may get a key file: any other answer is not
// sent. fn must be ready to give the same answer again.
func (m *Mesh) HandleJoin(fn func(context.Context, JoinRequest) (JoinAnswer, error)) { m.join = fn }

// mayJoin limits connections to join before their handshake costs anything.
func (m *Mesh) mayJoin(addr net.Addr) error {
	if !m.limits.allow(time.Now(), source(addr)) {
		return fmt.Errorf("too many requests to join: %w", hallig.ErrUnavailable)
	}
	return nil
}

// serveJoin answers the one request of a connection.
func (m *Mesh) serveJoin(ctx context.Context, secured *tls.Conn, cs tls.ConnectionState) {
	ctx, cancel := context.WithTimeout(ctx, joinTime)
	defer cancel()
	deadline, _ := ctx.Deadline()
	secured.SetDeadline(deadline) //nolint:errcheck // a closed connection says so when used
	remote := secured.RemoteAddr().String()
	var w joinWire
	if err := readFrame(secured, maxJoin, &w); err != nil {
		if errors.Is(err, hallig.ErrTooLarge) || errors.Is(err, hallig.ErrInvalid) {
			m.replyJoin(secured, remote, JoinAnswer{}, err)
		}
		return
	}
	answer, err := m.answerJoin(ctx, w, cs, remote)
	m.replyJoin(secured, remote, answer, err)
}

func (m *Mesh) answerJoin(ctx context.Context, w joinWire, cs tls.ConnectionState, remote string) (JoinAnswer, error) {
	r, err := w.request(cs, remote)
	if err != nil {
		return JoinAnswer{}, err
	}
	if m.join == nil {
		return JoinAnswer{}, fmt.Errorf("join: this node takes no others in: %w", hallig.ErrUnavailable)
	}
	answer, err := m.join(ctx, r)
	if err != nil {
		return JoinAnswer{}, err
	}
	if _, err := answer.check(m.trust, r.Pin); err != nil {
		m.log.Error("an answer to a request to join is withheld", "node", answer.Node, "err", err)
		return JoinAnswer{}, fmt.Errorf("join: the mesh has made no valid answer: %w", hallig.ErrUnavailable)
	}
	return answer, nil
}

func (m *Mesh) replyJoin(secured *tls.Conn, remote string, answer JoinAnswer, err error) {
	reply := joinReply{Answer: &answer}
	if err != nil {
		m.log.Warn("a request to join was refused", "addr", remote, "err", err)
		e := encodeError(err)
		reply = joinReply{Error: &e}
	} else {
		m.log.Info("a node was let in", "addr", remote, "node", answer.Node)
	}
	if err := writeFrame(secured, reply); err != nil {
		m.log.Warn("the answer to a request to join was not sent", "addr", remote, "err", err)
	}
}
