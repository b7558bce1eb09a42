package mesh

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

// probeTime bounds the question to a peer that is down or slow whether it is
// there: what takes longer is as good as dead.
const probeTime = 5 * time.Second

// watchPeer starts the peer's watch. m.mu is held, and Run runs.
func (m *Mesh) watchPeer(p *peer) {
	ctx, cancel := context.WithCancelCause(m.run)
	stop := context.AfterFunc(p.gone, func() { cancel(errGone) })
	m.wg.Go(func() {
		defer cancel(nil)
		defer stop()
		p.watch(ctx)
	})
}

// watch asks the peer for signs of life until ctx ends.
func (p *peer) watch(ctx context.Context) {
	timer := time.NewTimer(0) // make the first connection at once
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
		case <-timer.C:
		}
		due := p.due()
		if due <= 0 {
			p.ping(ctx)
			due = max(p.due(), time.Millisecond)
		}
		timer.Reset(due)
	}
}

// due is how long until the peer is to be asked; 0 or less: now.
func (p *peer) due() time.Duration {
	now := p.mesh.since()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.urgent && p.health.state != PeerDown || p.health.rtt == 0 && p.health.state == PeerUp {
		return 0
	}
	if p.health.state == PeerDown {
		return p.sampled + p.health.retry() - now
	}
	next := p.sampled + p.mesh.cfg.Ping
	if p.calls > 0 {
		// It owes an answer. Silence since the call began, or since it last
		// said anything, is looked into.
		quiet := max(p.oldest, time.Duration(p.traffic.heard.Load()), p.sampled)
		next = min(next, quiet+p.mesh.cfg.Bound/4)
	}
	return next - now
}

// ping asks the peer for a sign of life and judges it by that.
func (p *peer) ping(ctx context.Context) {
	p.mu.Lock()
	patience := p.mesh.cfg.Bound - p.mesh.cfg.Bound/4
	if p.health.state != PeerUp {
		patience = max(probeTime, patience)
	}
	p.urgent = false
	p.mu.Unlock()
	limit := slowFactor * p.mesh.siteMedian(p.node)
	p.mu.Lock()
	p.limit = limit
	p.mu.Unlock()
	start := p.mesh.since()
	err := p.ask(ctx, patience)
	switch {
	case err == nil, ctx.Err() != nil: // exchange has measured it
	case time.Duration(p.traffic.heard.Load()) > start && p.mesh.since()-start < probeTime:
		// It says other things meanwhile: it is there, and has a lot to do.
		p.answered(p.mesh.since() - start)
	default:
		p.failed(err)
	}
}

// ask sends a ping and waits for its answer.
func (p *peer) ask(ctx context.Context, patience time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("no sign of life within %v", patience))
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://mesh"+pingPath, nil)
	if err != nil {
		return err
	}
	call, err := p.begin(ctx, true)
	if err != nil {
		return err
	}
	answer, err := p.exchange(call, r, true)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		return err
	}
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, io.LimitReader(answer.Body, maxErrorBody))
	return err
}
