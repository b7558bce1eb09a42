package raft

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	hraft "github.com/hashicorp/raft"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog/machine"
)

// A partition is one Raft group's replica on this node.
type partition struct {
	id   uint16
	node *Catalog
	log  *logStore
	raft *hraft.Raft

	applyMu sync.Mutex // held while entries are applied, and while a mirror catches up
	machine *machine.Machine
	applied atomic.Uint64 // index of the last entry in the state
	counter atomic.Uint64 // of the last operation in the state

	queue   chan *pending
	serving atomic.Bool   // leader, with everything committed applied
	ready   chan struct{} // receives when serving becomes true

	mu      sync.Mutex
	fault   error
	stopped chan struct{} // closed when fault is set
	ended   chan struct{} // closed by Close, once Raft has ended
	round   *round
}

func newPartition(n *Catalog, id uint16) (*partition, error) {
	l, err := newLogStore(n.set, id)
	if err != nil {
		return nil, err
	}
	p := &partition{id: id, node: n, log: l, queue: make(chan *pending, 1024), ready: make(chan struct{}, 1), stopped: make(chan struct{}), ended: make(chan struct{})}
	l.fatal = func(err error) { _ = p.stop(err) }
	err = n.set.read(func(m *mirror) error {
		r := newReader(m, m.state, id)
		index, _, err := appliedOf(r)
		if err != nil {
			return err
		}
		c, err := machine.Counter(r)
		p.applied.Store(index)
		p.counter.Store(c)
		return err
	})
	return p, err
}

// broken returns why the partition applies nothing any more.
func (p *partition) broken() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fault
}

func (p *partition) stop(err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fault == nil {
		if !errors.Is(err, hallig.ErrUnavailable) {
			err = unavailable(err)
		}
		p.fault = err
		close(p.stopped)
		p.node.cfg.Log.Error("catalog partition stopped", "partition", p.id, "err", err)
	}
	return p.fault
}

// start runs the replica: for now a group of one voter, over a transport
// within the process.
func (p *partition) start() error {
	c := hraft.DefaultConfig()
	c.LocalID = hraft.ServerID(p.node.cfg.Node.String())
	c.NoSnapshotRestoreOnStart = true
	c.MaxAppendEntries = 256
	c.BatchApplyCh = true
	c.NoLegacyTelemetry = true
	c.TrailingLogs = p.node.cfg.trailing
	c.SnapshotInterval = p.node.cfg.SnapshotInterval
	c.SnapshotThreshold = p.node.cfg.SnapshotEntries
	// A lone voter waits for nobody: elect at once.
	c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = 20*time.Millisecond, 20*time.Millisecond, 20*time.Millisecond
	c.Logger = hclog.New(&hclog.LoggerOptions{Name: "raft", Level: hclog.Error, DisableTime: true,
		Output: slogLines{p.node.cfg.Log.With("partition", p.id)}})
	snaps := &snapshots{p}
	addr, transport := hraft.NewInmemTransport(hraft.ServerAddress(c.LocalID))
	row, err := snaps.row()
	if err != nil {
		return err
	}
	if row == nil && p.log.last == 0 {
		conf := hraft.Configuration{Servers: []hraft.Server{{ID: c.LocalID, Address: addr}}}
		if err := p.log.bootstrap(conf); err != nil {
			return fmt.Errorf("catalog partition %d: %w", p.id, err)
		}
	}
	done := make(chan error, 1)
	go func() { // see logStore.Set
		defer close(done)
		var err error
		p.raft, err = hraft.NewRaft(c, fsm{p}, p.log, p.log, snaps, transport)
		done <- err
	}()
	err, sent := <-done
	if !sent {
		err = p.broken()
	}
	if err != nil {
		return fmt.Errorf("catalog partition %d: %w", p.id, err)
	}
	return nil
}

// follow keeps serving in step with leadership, until ctx ends.
func (p *partition) follow(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case leads := <-p.raft.LeaderCh():
			p.serving.Store(false)
			if !leads {
				continue
			}
			p.serve(ctx)
		}
	}
}

// serve begins to serve as the leader: everything committed before must be in
// the state before anything is read.
func (p *partition) serve(ctx context.Context) {
	for ctx.Err() == nil && p.broken() == nil && p.raft.State() == hraft.Leader {
		if err := p.wait(p.raft.Barrier(0)); err != nil {
			select {
			case <-ctx.Done():
			case <-time.After(10 * time.Millisecond):
			}
			continue
		}
		p.serving.Store(true)
		select {
		case p.ready <- struct{}{}:
		default:
		}
		return
	}
}

// truncate takes a snapshot when the log has grown large, so that it can be
// truncated.
func (p *partition) truncate() {
	if p.log.grown.Load() < p.node.cfg.SnapshotBytes || p.broken() != nil || p.node.rebuilding.Load() > 0 {
		return
	}
	p.log.grown.Store(0)
	if err := p.raft.Snapshot().Error(); err != nil && !errors.Is(err, hraft.ErrNothingNewToSnapshot) && !errors.Is(err, hraft.ErrRaftShutdown) {
		p.node.cfg.Log.Warn("the catalog's log was not truncated", "partition", p.id, "err", err)
	}
}

// strict returns once everything acknowledged before the call is in the state.
func (p *partition) strict(ctx context.Context) error {
	if err := p.broken(); err != nil {
		return err
	}
	if !p.serving.Load() {
		return fmt.Errorf("catalog partition %d has no leader here: %w", p.id, hallig.ErrUnavailable)
	}
	if p.voters() == 1 {
		// Nobody else can commit, and what this node committed it answered after
		// applying it.
		return ctx.Err()
	}
	return p.barrier(ctx)
}

// voters is how many replicas vote.
func (p *partition) voters() int { return 1 }

// A round is a barrier that reads share.
type round struct {
	done chan struct{}
	err  error
	next *round // asked for while this one was under way
}

// barrier waits for a barrier that began after the call: reads that come while
// one is under way share the next.
func (p *partition) barrier(ctx context.Context) error {
	p.mu.Lock()
	var r *round
	switch {
	case p.round == nil:
		r = &round{done: make(chan struct{})}
		p.round = r
		go p.runRounds(r)
	case p.round.next == nil:
		p.round.next = &round{done: make(chan struct{})}
		fallthrough
	default:
		r = p.round.next
	}
	p.mu.Unlock()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-r.done:
		return r.err
	}
}

func (p *partition) runRounds(r *round) {
	for r != nil {
		if err := p.wait(p.raft.Barrier(10 * time.Second)); err != nil {
			r.err = unavailable(err)
		}
		close(r.done)
		p.mu.Lock()
		r = r.next
		p.round = r
		p.mu.Unlock()
	}
}

// slogLines passes lines of text to a logger.
type slogLines struct{ log *slog.Logger }

func (s slogLines) Write(b []byte) (int, error) {
	s.log.Warn("raft", "err", strings.TrimSpace(string(b)))
	return len(b), nil
}
