package bench

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// FillReport is what a filled bucket costs. Sizes are bytes.
type FillReport struct {
	Objects     int64    `json:"objects"`
	Sizes       string   `json:"sizes"`
	Seed        uint64   `json:"seed"`
	FillSeconds float64  `json:"fill_seconds"`
	FillRate    float64  `json:"objects_per_second"`
	Listed      int64    `json:"listed"`
	ListSeconds float64  `json:"list_seconds"`
	ListPages   int64    `json:"list_pages"`
	ListPageMax float64  `json:"list_page_max_ms"`
	Filling     *Server  `json:"server_filling,omitempty"`
	Listing     *Server  `json:"server_listing,omitempty"`
	Disk        *Disk    `json:"disk,omitempty"`
	Latency     *Latency `json:"put_latency_ms"`
}

// Fill puts Config.Keys objects, lists them all once, page by page, compares
// the keys, and reports what it took. Kind and Compare are not looked at. The
// objects are left behind with Keep.
func Fill(ctx context.Context, cfg Config) (FillReport, error) {
	cfg.Kind, cfg.Compare, cfg.Reuse = List, nil, false
	if err := cfg.fill(); err != nil {
		return FillReport{}, err
	}
	sides, err := newSides(&cfg)
	if err != nil {
		return FillReport{}, err
	}
	s := sides[0]
	defer s.close()
	live := newLive(cfg.Progress)
	defer live.stop()
	rep := FillReport{Objects: int64(cfg.Keys), Sizes: cfg.Sizes.String(), Seed: cfg.Seed}
	err = s.fillAndList(ctx, live, &rep)
	if !cfg.Keep {
		bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleaningBound)
		defer cancel()
		if ctx.Err() == nil {
			bound = ctx
		}
		if cerr := s.clean(bound, live); cerr != nil {
			err = errors.Join(err, fmt.Errorf("remove the objects: %w", cerr))
		}
	}
	return rep, err
}

func (s *side) fillAndList(ctx context.Context, live *live, rep *FillReport) error {
	if err := s.workers[0].client.makeBucket(ctx); err != nil {
		return fmt.Errorf("make bucket %s: %w", s.end.Bucket, err)
	}
	var err error
	if s.disk, err = diskUsed(s.end.Disks); err != nil {
		return err
	}
	s.server.begin()
	before, began := s.server.cpu(), time.Now()
	s.kept = rep.Objects
	err = s.supply(ctx, live, 0, rep.Objects)
	rep.FillSeconds = time.Since(began).Seconds()
	rep.Filling = s.server.result(s.server.cpu()-before, rep.Objects)
	if err != nil {
		return fmt.Errorf("fill: %w", err)
	}
	rep.FillRate = float64(rep.Objects) / rep.FillSeconds
	var c counts
	for _, w := range s.all() {
		c.add(&w.counts)
	}
	if l, ok := latencies(&c)[string(Put)]; ok {
		rep.Latency = &l
	}
	if rep.Disk, err = diskGrown(s.end.Disks, s.disk, s.stored.Load()); err != nil {
		return err
	}
	if err := s.listAll(ctx, live, rep); err != nil {
		return fmt.Errorf("list: %w", err)
	}
	return nil
}

// listAll lists the bucket's objects page after page.
func (s *side) listAll(ctx context.Context, live *live, rep *FillReport) error {
	live.enter(s.end.Name, "listing", 0, rep.Objects)
	w := s.workers[0]
	w.counts = counts{}
	s.server.begin()
	before, began := s.server.cpu(), time.Now()
	defer func() { rep.Listing = s.server.result(s.server.cpu()-before, rep.Listed) }()
	for {
		n, _, _, err := w.list(ctx)
		if err != nil {
			return err
		}
		live.count(n, 0, nil)
		rep.ListPages++
		rep.Listed += n
		if w.page.next == "" {
			break
		}
	}
	rep.ListSeconds = time.Since(began).Seconds()
	rep.ListPageMax = w.counts.hists[List].latency().Max
	return nil
}
