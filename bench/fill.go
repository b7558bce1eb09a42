package bench

import (
	"context"
	"fmt"
	"time"
)

// FillReport is what a filled bucket costs. Sizes are bytes.
type FillReport struct {
	Objects     int64    `json:"objects"`
	Size        int64    `json:"size"`
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

// Fill puts that many objects, lists them all once, page by page, and reports
// what it took. The objects are left behind with Keep.
func Fill(ctx context.Context, cfg Config, count int64) (FillReport, error) {
	cfg.Kind = Put
	if err := cfg.fill(); err != nil {
		return FillReport{}, err
	}
	r := newRun(cfg)
	stop := r.report()
	defer stop()
	if err := r.client.makeBucket(ctx); err != nil {
		return FillReport{}, fmt.Errorf("make bucket %s: %w", cfg.Bucket, err)
	}
	before, err := diskUsed(cfg.Disks)
	if err != nil {
		return FillReport{}, err
	}
	rep := FillReport{Objects: count, Size: cfg.Size}
	r.enter("filling", count)
	server, began := watchServer(cfg.PID), time.Now()
	err = r.each(ctx, count, func(ctx context.Context, i int64) error {
		start := time.Now()
		err := r.client.put(ctx, r.key(i), cfg.Size)
		r.count(Put, time.Since(start), cfg.Size, err)
		return err
	})
	rep.Filling = server.stop()
	if err != nil {
		return rep, fmt.Errorf("fill: %w", err)
	}
	r.next.Store(count)
	rep.FillSeconds = time.Since(began).Seconds()
	rep.FillRate = float64(count) / rep.FillSeconds
	if l, ok := r.result(time.Since(began)).Latency[string(Put)]; ok {
		rep.Latency = &l
	}
	if rep.Disk, err = diskGrown(cfg.Disks, before, count*cfg.Size); err != nil {
		return rep, err
	}
	if err := r.listAll(ctx, &rep); err != nil {
		return rep, fmt.Errorf("list: %w", err)
	}
	if !cfg.Keep {
		r.enter("cleaning", count)
		if err := r.clean(ctx); err != nil {
			return rep, fmt.Errorf("remove the objects: %w", err)
		}
	}
	return rep, nil
}

// listAll lists the bucket's objects page after page.
func (r *run) listAll(ctx context.Context, rep *FillReport) error {
	r.enter("listing", rep.Objects)
	server, began := watchServer(r.cfg.PID), time.Now()
	defer func() { rep.Listing = server.stop() }()
	for after := ""; ; {
		start := time.Now()
		n, last, err := r.client.list(ctx, r.cfg.Prefix, after)
		if err != nil {
			return err
		}
		rep.ListPageMax = max(rep.ListPageMax, ms(time.Since(start)))
		rep.ListPages++
		rep.Listed += int64(n)
		r.ops.Add(int64(n))
		if after = last; after == "" {
			rep.ListSeconds = time.Since(began).Seconds()
			return nil
		}
	}
}
