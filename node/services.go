package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/access"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/catalog/raft"
	"github.com/hallig-cloud/hallig/objects"
	"github.com/hallig-cloud/hallig/placement"
	"github.com/hallig-cloud/hallig/s3"
	"github.com/hallig-cloud/hallig/s3/accesslog"
	"github.com/hallig-cloud/hallig/s3/notify"
	"github.com/hallig-cloud/hallig/upkeep"
)

// services are what runs once the keyring is open. They are built in the order
// of the fields and closed in the reverse order.
type services struct {
	session hallig.SessionID // of this life of the process
	catalog *raft.Catalog
	access  *access.Service
	objects *objects.Store
	notify  *notify.Notifier
	upkeep  atomic.Pointer[upkeep.Upkeep]
	logs    *accesslog.Log
	s3      *s3.Server

	first             bool
	accessKey, secret string // of the root user, with first

	background context.Context // ends with stop
	stop       context.CancelFunc
	work       sync.WaitGroup // ends after stop
}

// startServices builds and starts everything above the drives and the keyring.
func (n *Node) startServices(ctx context.Context) (s *services, err error) {
	s = &services{session: hallig.NewID()}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.background, s.stop = background, stop
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.catalog, err = n.openCatalog(ctx); err != nil {
		return s, err
	}
	if err = n.bringTopology(ctx, s.catalog); err != nil {
		return s, err
	}
	if err = n.checkMissing(); err != nil {
		return s, err
	}
	if err = n.loadNamedKeys(ctx, s.catalog); err != nil {
		return s, err
	}
	s.access = access.New(s.catalog, access.Config{Now: n.cfg.Now, Log: n.cfg.Log})
	if err = n.ensureRoot(ctx, s); err != nil {
		return s, err
	}
	s.objects, err = objects.New(objects.Config{
		Catalog: s.catalog, Drives: n.fleet, Keys: n.keys.ring, Mesh: n.fleet.mesh, Node: n.fleet.node,
		Session: s.session, Logger: n.cfg.Log, Now: n.cfg.Now, Damage: s.damage,
	})
	if err != nil {
		return s, fmt.Errorf("object path: %w", err)
	}
	s.notify = notify.New(notify.Config{
		Records: s.catalog, Node: n.fleet.node.String(), Region: n.cfg.Region, Log: n.cfg.Log, Clock: n.cfg.Now,
	})
	s.run(background, n.cfg.Log, "event notifications", s.notify.Run)
	s.logs = accesslog.New(accesslog.Config{Store: s.objects, Region: n.cfg.Region, Account: s.access.Account(), Log: n.cfg.Log, Clock: n.cfg.Now})
	s.run(background, n.cfg.Log, "server access logs", s.logs.Run)
	if err = n.startUpkeep(background, s); err != nil {
		return s, err
	}
	requests := &accessLog{w: n.cfg.AccessLog}
	s.s3 = s3.New(s3.Config{
		Store: s.objects, Access: s.access, Region: n.cfg.Region, Domains: n.cfg.Domains, Log: n.cfg.Log, Clock: n.cfg.Now,
		Notifications: s.notify,
		Events:        func(ctx context.Context, e ...objects.Event) { n.publish(ctx, s, e...) },
		AllowV2:       n.cfg.SigV2,
		Observe: func(r s3.Record) {
			n.metrics.record(r)
			requests.record(r)
			s.logs.Observe(r)
		},
	})
	return s, nil
}

// run runs a service until close; one that ends early is logged.
func (s *services) run(ctx context.Context, log *slog.Logger, what string, f func(context.Context) error) {
	s.work.Go(func() {
		if err := f(ctx); err != nil && ctx.Err() == nil {
			log.Error("a service ended", "service", what, "err", err)
		}
	})
}

// close stops what startServices started, as far as it came.
func (s *services) close() error {
	s.stop()
	s.work.Wait()
	var err error
	if s.objects != nil {
		err = s.objects.Close()
	}
	if s.access != nil {
		s.access.Close()
	}
	if s.catalog != nil {
		err = errors.Join(err, s.catalog.Close())
	}
	return err
}

// ensureRoot makes the root user and its first key at the first start, and
// takes preset credentials at every start.
func (n *Node) ensureRoot(ctx context.Context, s *services) error {
	key, secret, created, err := s.access.EnsureRoot(ctx, n.cfg.RootAccessKey, n.cfg.RootSecretKey)
	if errors.Is(err, hallig.ErrInvalid) {
		return startf(err, "HALLIG_ROOT_ACCESS_KEY or HALLIG_ROOT_SECRET_KEY cannot be used: %v", err)
	}
	if errors.Is(err, hallig.ErrFull) {
		return startf(err, "the disks are too full to store the first user: free some space (a few hundred MiB at least) on %s and start again", strings.Join(slices.Sorted(maps.Values(n.fleet.paths())), ", "))
	}
	if err != nil {
		return fmt.Errorf("root user: %w", err)
	}
	if !created {
		return nil
	}
	s.first, s.accessKey = true, key.AccessKey
	if n.cfg.RootSecretKey != "" {
		return nil // the operator has it: it is not shown or written down again
	}
	s.secret = secret
	if err := n.data.saveCredentials(key.AccessKey, secret); err != nil {
		return startIO("the credentials file", n.data.file(CredentialsFile), err)
	}
	return nil
}

// bringTopology reads the topology, adds this node's new drives to it, and
// hands it to the fleet.
func (n *Node) bringTopology(ctx context.Context, records catalog.Records) error {
	id := n.identity.get()
	t, err := changeTopology(ctx, records, func(t *placement.Topology) (bool, error) { return n.join(t, id), nil })
	if err != nil {
		return err
	}
	n.fleet.setTopology(t)
	return nil
}
