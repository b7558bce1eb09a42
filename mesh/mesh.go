package mesh

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/placement"
	"github.com/hallig-cloud/hallig/vfs"
)

// Defaults of Config.
const (
	DefaultBound   = time.Second
	DefaultPing    = time.Second
	DefaultPoll    = 2 * time.Second
	DefaultMaxBody = 32 << 20
)

// Config configures a Mesh. FS, Dir, Identity and Log are required.
type Config struct {
	FS       vfs.FS
	Dir      string // of the identity (DATA/mesh); the newest topology is kept there
	Identity *Identity
	// Topology is the newest envelope that the caller knows. It may be zero
	// when one is kept in Dir; the newer of the two counts.
	Topology Envelope
	// Addr is the host:port to listen on; empty: the node only calls others.
	// Where others reach it is for the topology to say.
	Addr string
	Log  *slog.Logger

	// Bound is what a dead or hung peer may cost a call before the peer is
	// known to be down; 0: DefaultBound. A quarter of it passes in silence
	// before a peer that owes an answer is asked for a sign of life, for which
	// it has the rest.
	Bound time.Duration
	Ping  time.Duration // between signs of life of a quiet peer; 0: DefaultPing
	Poll  time.Duration // between questions for a newer topology; 0: DefaultPoll
	// MaxBody bounds the body of a request in bytes; 0: DefaultMaxBody.
	MaxBody int64

	// Listen and Dial are the network; nil: TCP. Tests put another one there.
	Listen func(ctx context.Context, network, addr string) (net.Listener, error)
	Dial   func(ctx context.Context, network, addr string) (net.Conn, error)
}

// A Mesh is this node's place among the others. All methods may be called
// concurrently, but for Handle, HandleStream, StreamListener and HandleJoin,
// which come before Run.
type Mesh struct {
	cfg   Config
	log   *slog.Logger
	trust *trust
	self  hallig.NodeID
	epoch time.Time // zero of the monotonic clock of heard and samples

	mux     *http.ServeMux
	routes  map[string]route
	streams map[string]streamRoute
	join    func(context.Context, JoinRequest) (JoinAnswer, error)
	limits  *joinLimits

	now     atomic.Pointer[snapshot]
	arrived chan struct{} // 1: the topology has changed, or is to be asked for

	offers sync.Mutex // serializes Offer: store, then show

	mu       sync.Mutex
	listener net.Listener
	conns    map[*conn]struct{} // authenticated and live, both directions
	inbound  map[hallig.NodeID]int
	peers    map[hallig.NodeID]*peer
	traffic  map[hallig.NodeID]*traffic
	watchers map[*watcher]struct{}
	run      context.Context // non-nil while Run runs
	wg       sync.WaitGroup

	hooks hooks
}

// hooks switch protections off, for the tests that show that they are needed.
type hooks struct {
	skipPin       bool // take any certificate of the authority for a node that the topology knows
	skipSignature bool // take any topology
	skipClose     bool // leave connections open that a new topology locks out
	skipRoles     bool // let every member call every handler
}

// A snapshot is one topology and what it was signed in.
type snapshot struct {
	envelope Envelope
	topology *placement.Topology
	nodes    map[hallig.NodeID]placement.Node
}

func newSnapshot(e Envelope, t *placement.Topology) *snapshot {
	s := &snapshot{envelope: e, topology: t, nodes: make(map[hallig.NodeID]placement.Node, len(t.Nodes))}
	for _, n := range t.Nodes {
		s.nodes[n.ID] = n
	}
	return s
}

type watcher struct{ fn func() }

// New returns a Mesh that neither listens nor calls anyone before Run (or
// Listen). hallig.ErrInvalid or ErrDenied says what is wrong with the
// configuration or the topology; a kept topology that cannot be read is
// hallig.ErrCorrupt unless cfg.Topology replaces it.
func New(cfg Config) (*Mesh, error) {
	if cfg.FS == nil || cfg.Dir == "" || cfg.Identity == nil || cfg.Log == nil {
		return nil, fmt.Errorf("mesh: FS, Dir, Identity and Log are required: %w", hallig.ErrInvalid)
	}
	cfg.Bound = cmp.Or(cfg.Bound, DefaultBound)
	cfg.Ping = cmp.Or(cfg.Ping, DefaultPing)
	cfg.Poll = cmp.Or(cfg.Poll, DefaultPoll)
	cfg.MaxBody = cmp.Or(cfg.MaxBody, DefaultMaxBody)
	if cfg.Listen == nil {
		cfg.Listen = (&net.ListenConfig{}).Listen
	}
	if cfg.Dial == nil {
		cfg.Dial = (&net.Dialer{}).DialContext
	}
	m := &Mesh{
		cfg: cfg, log: cfg.Log, trust: cfg.Identity.trust, self: cfg.Identity.node, epoch: time.Now(),
		mux: http.NewServeMux(), routes: map[string]route{}, streams: map[string]streamRoute{}, limits: newJoinLimits(),
		arrived: make(chan struct{}, 1), conns: map[*conn]struct{}{}, inbound: map[hallig.NodeID]int{},
		peers: map[hallig.NodeID]*peer{}, traffic: map[hallig.NodeID]*traffic{}, watchers: map[*watcher]struct{}{},
	}
	if err := m.firstTopology(); err != nil {
		return nil, fmt.Errorf("mesh: %w", err)
	}
	m.handleTopology()
	return m, nil
}

// firstTopology takes the newer of the configured and the kept envelope.
func (m *Mesh) firstTopology() error {
	given := m.cfg.Topology
	kept, err := loadEnvelope(m.cfg.FS, m.cfg.Dir)
	switch {
	case err != nil && given.IsZero():
		return err
	case err != nil:
		m.log.Warn("the kept topology is unreadable and is replaced", "err", err)
	case given.IsZero() && kept.IsZero():
		return fmt.Errorf("no topology is given or kept in %s: %w", m.cfg.Dir, hallig.ErrInvalid)
	}
	newest := given
	if given.IsZero() || err == nil && kept.Revision > given.Revision {
		newest = kept
	}
	top, err := m.trust.open(newest)
	if err != nil {
		return err
	}
	if newest.Revision != kept.Revision {
		if err := saveEnvelope(m.cfg.FS, m.cfg.Dir, newest); err != nil {
			return err
		}
	}
	m.show(newSnapshot(newest, top))
	return nil
}

// Self returns this node's ID.
func (m *Mesh) Self() hallig.NodeID { return m.self }

// Listen binds Config.Addr, if it is not bound yet, and returns the address;
// nil without an Addr. Run calls it; a caller that asked for port 0 calls it
// before.
func (m *Mesh) Listen(ctx context.Context) (net.Addr, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cfg.Addr == "" {
		return nil, nil
	}
	if m.listener == nil {
		l, err := m.cfg.Listen(ctx, "tcp", m.cfg.Addr)
		if err != nil {
			return nil, fmt.Errorf("mesh: listen on %s: %w", m.cfg.Addr, err)
		}
		m.listener = l
	}
	return m.listener.Addr(), nil
}

// Run serves the port, keeps watch over the peers and the topology, and returns
// when ctx ends, with nil, or when it cannot listen. On return every connection
// is closed and every handler and goroutine has ended. A Mesh runs once.
func (m *Mesh) Run(ctx context.Context) error {
	if _, err := m.Listen(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m.mu.Lock()
	if m.run != nil {
		m.mu.Unlock()
		return fmt.Errorf("mesh: it runs, or has run, already: %w", hallig.ErrInvalid)
	}
	m.run = ctx
	listener := m.listener
	for _, p := range m.peers {
		m.watchPeer(p)
	}
	m.mu.Unlock()
	m.wg.Go(func() { m.spread(ctx) })
	var failed error
	if listener != nil {
		failed = m.serve(ctx, listener)
	} else {
		<-ctx.Done()
	}
	cancel()
	m.closeConns(func(*conn) bool { return true })
	m.wg.Wait()
	m.dropPeers()
	if ctx.Err() != nil && errors.Is(failed, net.ErrClosed) {
		return nil
	}
	return failed
}

// since is the time on the mesh's monotonic clock.
func (m *Mesh) since() time.Duration { return time.Since(m.epoch) }
