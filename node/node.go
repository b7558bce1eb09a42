package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/admin"
)

// Info is what an operator is told when a node serves.
type Info struct {
	First       bool     `json:"first"` // this start made the store
	S3          string   `json:"s3"`
	Admin       string   `json:"admin"`
	Region      string   `json:"region"`
	Data        string   `json:"data"`
	Drives      []string `json:"drives"`
	KeyFiles    []string `json:"key_files"`
	AccessKey   string   `json:"access_key,omitempty"` // with First
	SecretKey   string   `json:"secret_key,omitempty"` // with First
	Credentials string   `json:"credentials,omitempty"`
	Promise     string   `json:"promise"`
	Safe        bool     `json:"safe"` // the loss of at least one drive is survived
	Locked      bool     `json:"locked"`
}

// Node is one node.
type Node struct {
	cfg      Config
	data     *dataDir
	fleet    *fleet
	identity identityKeeper
	keys     *keyring
	events   events
	metrics  *metrics
	started  time.Time

	s3    listener
	admin listener

	store      atomic.Pointer[services] // nil until the keyring is open and everything runs
	tend       chan struct{}            // wakes tendMirrors
	saving     sync.Mutex               // held while the identity is written
	scrub      scrubbing
	lastExport atomic.Pointer[admin.Export]
	inFlight   atomic.Int64 // S3 requests
	draining   atomic.Bool
	unlocked   chan struct{} // closed when the keyring opens
	unlock     sync.Once
	fatal      chan error // what ends a node that serves
}

// New checks a configuration. Nothing is read or written before Run.
func New(cfg Config) (*Node, error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	return &Node{cfg: cfg, unlocked: make(chan struct{}), tend: make(chan struct{}, 1), fatal: make(chan error, 1)}, nil
}

// Run serves until ctx ends, then drains: it accepts no more requests, lets
// those in flight finish within Config.DrainWithin, and closes everything in
// the reverse order. started is called once, when requests are answered, or
// when the node waits for its keyring to be unlocked. An error that wraps
// ErrStart says in one sentence why the node did not start.
func (n *Node) Run(ctx context.Context, started func(Info)) (err error) {
	n.started = n.cfg.Now()
	n.events.now = n.cfg.Now
	if n.data, err = openDataDir(n.cfg.FS, n.cfg.Data, n.cfg.Drives); err != nil {
		return err
	}
	defer n.data.close()
	if err := n.listen(ctx); err != nil {
		return err
	}
	defer n.s3.close()
	defer n.admin.close()
	if err := n.openDrives(ctx); err != nil {
		return err
	}
	defer n.fleet.close()
	if err := n.openKeyring(ctx); err != nil {
		return err
	}
	if err := n.serveDoors(); err != nil {
		return err
	}
	return n.operate(ctx, started)
}

// operate runs from the moment that the doors answer to the end.
func (n *Node) operate(ctx context.Context, started func(Info)) error {
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	stop := func() { cancel(); wg.Wait() }
	defer stop()
	wg.Go(func() { n.watchDrives(background) })
	wg.Go(func() { n.keepIdentity(background) })
	wg.Go(func() { n.tendMirrors(background) })

	announced := false
	if n.keys.ring.Locked() {
		info := n.info(nil)
		started(info)
		announced = true
		select {
		case <-ctx.Done():
			return n.drain(nil, stop)
		case <-n.unlocked:
		}
	} else {
		n.unlock.Do(func() { close(n.unlocked) })
	}
	s, err := n.startServices(ctx)
	if err != nil {
		return err
	}
	n.store.Store(s)
	n.keepMirrors()
	if !announced {
		started(n.info(s))
	}
	n.cfg.Log.Info("serving", "s3", n.s3.addr(), "admin", n.admin.addr(), "data", n.cfg.Data)
	select {
	case <-ctx.Done():
	case err = <-n.fatal:
		n.cfg.Log.Error("the node cannot go on", "err", err)
	}
	return errors.Join(err, n.drain(s, stop))
}

// drain finishes requests in flight and stops everything: first what asks the
// services for something, then the services.
func (n *Node) drain(s *services, stop func()) error {
	n.draining.Store(true)
	ctx, cancel := context.WithTimeout(context.Background(), n.cfg.DrainWithin)
	defer cancel()
	err := n.s3.server.Shutdown(ctx)
	if err != nil {
		n.cfg.Log.Warn("requests were cut off: they did not finish in time", "within", n.cfg.DrainWithin.String())
		err = n.s3.server.Close()
	}
	stop()
	if n.admin.server.Shutdown(ctx) != nil {
		n.admin.server.Close()
	}
	n.store.Store(nil)
	if s != nil {
		err = errors.Join(err, s.close())
	}
	n.identity.touch(n.cfg.Now())
	n.saveIdentity()
	n.cfg.Log.Info("stopped")
	return err
}

// listener is a bound address and its server.
type listener struct {
	ln     net.Listener
	server *http.Server
}

func (l *listener) addr() string { return l.ln.Addr().String() }

func (l *listener) close() {
	if l.server != nil {
		l.server.Close()
	}
	l.ln.Close()
}

// listen binds both addresses before anything is touched, so that a port in
// use is found out first.
func (n *Node) listen(ctx context.Context) error {
	var lc net.ListenConfig
	for _, x := range []struct {
		l          *listener
		flag, addr string
	}{{&n.s3, "--s3-addr", n.cfg.S3Addr}, {&n.admin, "--admin-addr", n.cfg.AdminAddr}} {
		ln, err := lc.Listen(ctx, "tcp", x.addr)
		switch {
		case errors.Is(err, syscall.EADDRINUSE):
			err = startf(err, "address %s is in use by another process: stop it, or choose another with %s", x.addr, x.flag)
		case errors.Is(err, syscall.EADDRNOTAVAIL):
			err = startf(err, "address %s is not one of this machine's: choose another with %s", x.addr, x.flag)
		case errors.Is(err, syscall.EACCES):
			err = startf(err, "no permission to listen on %s (ports below 1024 need it): choose another with %s", x.addr, x.flag)
		case err != nil:
			err = startf(err, "cannot listen on %s: %v: choose another with %s", x.addr, err, x.flag)
		}
		if err != nil {
			if n.s3.ln != nil {
				n.s3.ln.Close()
			}
			return err
		}
		x.l.ln = ln
	}
	return nil
}

// serveDoors begins to answer: the admin address in full, S3 with 503 until
// the services run.
func (n *Node) serveDoors() error {
	token, err := n.data.token()
	if err != nil {
		return err
	}
	n.metrics = newMetrics(n)
	door, err := admin.New(admin.Config{
		Token: token, Users: n, Keys: n, Buckets: n, Drives: n, Sealing: n, Work: n,
		Metrics: n.metrics.handler(), Ready: n.ready, Log: n.cfg.Log,
	})
	if err != nil {
		return err
	}
	n.admin.server = newServer(door, n.cfg)
	n.s3.server = newServer(http.HandlerFunc(n.serveS3), n.cfg)
	for _, l := range []*listener{&n.admin, &n.s3} {
		go func() {
			if err := l.server.Serve(l.ln); !errors.Is(err, http.ErrServerClosed) {
				select {
				case n.fatal <- fmt.Errorf("serve %s: %w", l.ln.Addr(), err):
				default:
				}
			}
		}()
	}
	if err := n.data.writeJSON(EndpointsFile, Endpoints{S3: n.s3.addr(), Admin: n.admin.addr()}); err != nil {
		return startIO("the data directory", n.cfg.Data, err)
	}
	return nil
}

// newServer bounds what a slow or hostile client can hold on to. Bodies have no
// deadline of their own: they may be 5 GiB over a slow line; s3 bounds idleness.
func newServer(h http.Handler, cfg Config) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: 20 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: newServerLog(cfg.Log),
	}
}

// serveS3 passes a request on to the S3 door once there is one.
func (n *Node) serveS3(w http.ResponseWriter, r *http.Request) {
	s := n.store.Load()
	if s == nil || n.draining.Load() {
		w.Header().Set("Content-Type", "application/xml")
		w.Header().Set("Retry-After", "2")
		w.Header().Set("Connection", "close")
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write([]byte(`<?xml version="1.0" encoding="UTF-8"?>` + "\n" +
			`<Error><Code>ServiceUnavailable</Code><Message>Service is unable to handle request.</Message></Error>`))
		return
	}
	n.inFlight.Add(1)
	defer n.inFlight.Add(-1)
	s.s3.ServeHTTP(w, r)
}

// ready says why S3 requests would not be served; nil when they are.
func (n *Node) ready() error {
	switch {
	case n.draining.Load():
		return fmt.Errorf("draining: %w", hallig.ErrUnavailable)
	case n.keys.ring.Locked():
		return fmt.Errorf("the keyring is locked: hallig keyring unlock: %w", hallig.ErrKeyLocked)
	case n.store.Load() == nil:
		return fmt.Errorf("starting: %w", hallig.ErrUnavailable)
	}
	return nil
}
