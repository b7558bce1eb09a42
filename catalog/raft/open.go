package raft

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/catalog/machine"
	"github.com/hallig-cloud/hallig/vfs"
)

// A Catalog implements catalog.Catalog. All methods may be called concurrently.
type Catalog struct {
	cfg        Config
	set        *mirrors
	partitions []*partition // by id; 0 holds the mesh's records
	opener     *opener
	watchers   machine.Watchers
	rebuilding atomic.Int32
	full       atomic.Bool // writes that add something are refused

	closed  chan struct{} // closed first by Close
	cancel  context.CancelFunc
	running sync.WaitGroup
	once    sync.Once

	joinMu  sync.Mutex // one mirror joins at a time
	slots   sync.Map   // hallig.BucketID → partition id, with several data partitions
	statMu  sync.Mutex
	joining map[string]string // directories of mirrors being rebuilt, and the step
}

var _ catalog.Catalog = (*Catalog)(nil)

// Open opens the catalog in the configured directories, makes it in empty ones,
// and returns once it serves. Directories whose mirrors are stale or empty are
// rebuilt in the background. Errors wrap hallig.ErrForeign, ErrUnsupported,
// ErrCorrupt, ErrStale (only stale mirrors are there) or ErrUnavailable.
func Open(ctx context.Context, c Config) (*Catalog, error) {
	if err := c.fill(); err != nil {
		return nil, err
	}
	n := &Catalog{cfg: c, closed: make(chan struct{}), joining: map[string]string{}}
	n.opener = newOpener(n)
	found, err := find(&n.cfg)
	if err != nil {
		return nil, err
	}
	n.set = &mirrors{cfg: &n.cfg, cache: pebble.NewCache(c.Cache), epoch: found.epoch, lost: found.lost}
	if err := n.set.open(found); err != nil {
		n.set.close()
		return nil, err
	}
	if err := n.openPartitions(); err != nil {
		n.set.close()
		return nil, err
	}
	background, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	if err := n.start(ctx, background, found.rebuild); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

// discovery is what the directories hold.
type discovery struct {
	epoch   uint64
	current []candidate
	rebuild []string // directories to be rebuilt once the catalog serves
	changed bool     // the set differs from what its members have recorded
	fresh   bool     // there is no catalog yet
	lost    map[string]error
}

type candidate struct {
	dir string
	id  hallig.ID
}

// find reads the records of all directories and decides which mirrors are
// current.
func find(c *Config) (*discovery, error) {
	d := &discovery{epoch: c.KnownEpoch, lost: map[string]error{}}
	records := map[string]record{}
	for _, dir := range c.Dirs {
		err := vfs.MkdirBelowSync(c.FS, path.Dir(dir), dir)
		var r record
		if err == nil {
			r, err = readRecord(c, dir)
		}
		switch {
		case err == nil:
			records[dir] = r
			d.epoch = max(d.epoch, r.Set.Epoch)
		case errors.Is(err, hallig.ErrForeign), errors.Is(err, hallig.ErrUnsupported):
			return nil, err
		case missing(err):
			d.rebuild = append(d.rebuild, dir)
		default:
			d.lost[dir] = err
		}
	}
	if len(records) == 0 {
		return d, d.create(c)
	}
	var members int
	for _, dir := range c.Dirs {
		r, ok := records[dir]
		if !ok {
			continue
		}
		if r.Set.Epoch == d.epoch && slices.Contains(r.Set.Members, r.Self) {
			d.current = append(d.current, candidate{dir, r.Self})
			members = len(r.Set.Members)
		} else {
			d.rebuild = append(d.rebuild, dir)
		}
	}
	d.changed = len(d.current) != members
	if len(d.current) == 0 {
		return d, d.stale(c, records)
	}
	return d, nil
}

// create decides to make a new catalog in every directory that can be used.
func (d *discovery) create(c *Config) error {
	if c.KnownEpoch > 0 {
		// Whatever AcceptStale says: an empty catalog is no outdated one, and what
		// is stored would be swept as unreferenced.
		return fmt.Errorf("none of %s holds the catalog that this node had: attach its drives, or restore an export: %w",
			strings.Join(c.Dirs, ", "), hallig.ErrNotFound)
	}
	if len(d.rebuild) == 0 {
		var errs []error
		for _, err := range d.lost {
			errs = append(errs, err)
		}
		return fmt.Errorf("no catalog directory can be used: %w: %w", errors.Join(errs...), hallig.ErrUnavailable)
	}
	if len(d.lost) > 0 {
		// An unreadable record may be a catalog's: never start empty beside it.
		for _, err := range d.lost {
			return fmt.Errorf("a catalog directory cannot be read and no other holds a catalog: %w", err)
		}
	}
	for _, dir := range d.rebuild {
		d.current = append(d.current, candidate{dir, hallig.NewID()})
	}
	d.rebuild, d.changed, d.fresh = nil, true, true
	return nil
}

// stale refuses to start, unless the operator accepts the loss.
func (d *discovery) stale(c *Config, records map[string]record) error {
	var best uint64
	for _, r := range records {
		if slices.Contains(r.Set.Members, r.Self) {
			best = max(best, r.Set.Epoch)
		}
	}
	if !c.AcceptStale || best == 0 {
		return fmt.Errorf("the catalog mirrors here (%s) are stale: mirrors of a later set (%d; the newest here is of %d) exist elsewhere. "+
			"Attach the missing drives. If they are lost for good, restore the latest export, or start with stale mirrors accepted and lose what was written since: %w",
			strings.Join(c.Dirs, ", "), d.epoch, best, hallig.ErrStale)
	}
	c.Log.Error("the catalog starts from stale mirrors, as ordered: acknowledged writes are lost", "epoch", best, "known", d.epoch)
	d.changed = true
	d.rebuild = slices.DeleteFunc(d.rebuild, func(dir string) bool {
		r, ok := records[dir]
		if !ok || r.Set.Epoch != best || !slices.Contains(r.Set.Members, r.Self) {
			return false
		}
		d.current = append(d.current, candidate{dir, r.Self})
		return true
	})
	return nil
}

// open opens the current mirrors and makes them agree.
func (s *mirrors) open(d *discovery) error {
	opened := make([]*mirror, len(d.current))
	errs := make([]error, len(d.current))
	var wg sync.WaitGroup
	for i, c := range d.current {
		wg.Add(1)
		go func() {
			defer wg.Done()
			opened[i], errs[i] = newMirror(s.cfg, s.cache, c.dir, c.id)
		}()
	}
	wg.Wait()
	for i, m := range opened {
		if errs[i] != nil {
			s.lost[d.current[i].dir] = errs[i]
			s.cfg.Log.Error("catalog mirror cannot be opened", "dir", d.current[i].dir, "err", errs[i])
			d.changed = true
			continue
		}
		s.members = append(s.members, m)
	}
	if len(s.members) == 0 {
		return fmt.Errorf("no catalog mirror can be opened: %w", errors.Join(errs...))
	}
	if err := s.reconcile(); err != nil {
		return err
	}
	if d.changed {
		s.mu.Lock()
		ok := s.recordLocked(s.members)
		s.mu.Unlock()
		if !ok {
			return s.drop()
		}
	}
	for _, m := range s.list() {
		remains(s.cfg, m.dir, m.id)
	}
	return nil
}

func (s *mirrors) close() {
	for _, m := range s.list() {
		m.close()
	}
	s.cache.Unref()
}

func (n *Catalog) openPartitions() error {
	for id := range uint16(n.cfg.Partitions + 1) {
		p, err := newPartition(n, id)
		if err != nil {
			return err
		}
		n.partitions = append(n.partitions, p)
	}
	for _, p := range n.partitions {
		if err := p.finishInstall(); err != nil {
			return err
		}
		if err := p.check(); err != nil {
			return err
		}
	}
	return nil
}

// check refuses a state that is ahead of its log: the log has lost what was on
// stable storage.
func (p *partition) check() error {
	r, err := (&snapshots{p}).row()
	if err != nil {
		return err
	}
	last := p.log.last
	if r != nil {
		last = max(last, r.Index)
	}
	if p.applied.Load() > last {
		return fmt.Errorf("catalog partition %d: the state is at entry %d, the log ends at %d: the drive lost what it had acknowledged; "+
			"remove this mirror's directory if others are well, else restore an export: %w", p.id, p.applied.Load(), last, hallig.ErrCorrupt)
	}
	return nil
}

// start starts the partitions and waits until they serve.
func (n *Catalog) start(ctx, background context.Context, rebuild []string) error {
	run := func(fn func(context.Context)) {
		n.running.Add(1)
		go func() {
			defer n.running.Done()
			fn(background)
		}()
	}
	for _, p := range n.partitions {
		if err := p.start(); err != nil {
			return err
		}
		run(p.follow)
		run(p.join)
	}
	run(n.opener.run)
	for _, p := range n.partitions {
		select {
		case <-p.ready:
		case <-ctx.Done():
			return fmt.Errorf("catalog partition %d did not come up: %w", p.id, ctx.Err())
		case <-time.After(time.Minute):
			return fmt.Errorf("catalog partition %d did not come up within a minute: %w", p.id, errors.Join(p.broken(), hallig.ErrUnavailable))
		}
	}
	if n.cfg.Sealer != nil {
		n.opener.unlock(n.cfg.Sealer)
	}
	run(n.probe)
	for _, dir := range rebuild {
		run(func(ctx context.Context) {
			if err := n.AddMirror(ctx, dir); err != nil && ctx.Err() == nil {
				n.cfg.Log.Error("catalog mirror was not rebuilt", "dir", dir, "err", err)
			}
		})
	}
	return nil
}

// Unlock gives a blind node the keys. Lists wait until the opened index is
// there.
func (n *Catalog) Unlock(s Sealer) { n.opener.unlock(s) }

// Close stops the catalog. Requests under way fail with hallig.ErrUnavailable;
// everything acknowledged is durable already.
func (n *Catalog) Close() error {
	var err error
	n.once.Do(func() {
		close(n.closed)
		if n.cancel != nil {
			n.cancel()
		}
		n.watchers.Close()
		for _, p := range n.partitions {
			if p.raft != nil {
				err = errors.Join(err, p.raft.Shutdown().Error())
			}
			close(p.ended)
		}
		n.running.Wait()
		n.set.close()
	})
	return err
}

// probe looks after the mirrors: a directory that is gone, or full, is noticed
// before a write fails on it.
func (n *Catalog) probe(ctx context.Context) {
	t := time.NewTicker(n.cfg.Probe)
	defer t.Stop()
	for {
		n.probeOnce()
		for _, p := range n.partitions {
			p.truncate()
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

func (n *Catalog) probeOnce() {
	low, members := 0, n.set.list()
	var scarce []*mirror
	for _, m := range members {
		r, err := readRecord(&n.cfg, m.dir)
		if err == nil && r.Self != m.id {
			err = fmt.Errorf("catalog mirror %s was replaced while in use: %w", m.dir, hallig.ErrForeign)
		}
		switch {
		case err == nil:
		case len(members) == 1 && !missing(err) && !errors.Is(err, hallig.ErrForeign):
			n.cfg.Log.Warn("the catalog's only mirror does not read well", "dir", m.dir, "err", err)
			continue
		default:
			m.fail(err)
			continue
		}
		free, total, err := n.cfg.FS.Usage(m.dir)
		reserve := n.cfg.reserve(total)
		if err != nil || reserve < 0 || free >= reserve {
			continue
		}
		low++
		if free < reserve/2 {
			scarce = append(scarce, m)
		}
	}
	if low < len(members) {
		for _, m := range scarce {
			m.fail(fmt.Errorf("less than half of what the catalog needs free is: %w", hallig.ErrFull))
		}
		low -= len(scarce)
	}
	n.full.Store(low > 0)
	_ = n.set.drop() // the failure of the last mirror shows in what is asked of it
}
