package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hallig-cloud/hallig/bench"
	"github.com/hallig-cloud/hallig/bench/floor"
)

// seed makes every run the same, and lets kept objects be used again.
const seed = 20261122

// A measured row is kept in the results file.
type measured struct {
	Row    string       `json:"row"`
	Peer   string       `json:"peer"`
	When   time.Time    `json:"when"`
	Load   [2]float64   `json:"load"` // average of the machine, before and after
	Under  conditions   `json:"conditions"`
	Report bench.Report `json:"report"`
}

// conditions are what makes two results the same measurement.
type conditions struct {
	Hallig  string        `json:"hallig"` // hash of the binary
	Peer    string        `json:"peer"`   // its version
	Slice   time.Duration `json:"slice"`
	Slices  int           `json:"slices"`
	Keys    int           `json:"keys"`
	Payload bench.Payload `json:"payload"`
	Machine string        `json:"machine"`
}

func (p *program) conditions(r *row, peer string) conditions {
	return conditions{
		Hallig: p.halligHash, Peer: systems()[peer].version, Slice: p.opts.slice, Slices: p.opts.slices,
		Keys: r.keys(&p.opts), Payload: bench.Payload(p.opts.payload), Machine: p.machine.id(),
	}
}

// measure runs one row against one peer: both servers fresh, on drives in the
// same file system.
func (p *program) measure(ctx context.Context, r *row, peer string) (m measured, err error) {
	m = measured{Row: r.id, Peer: peer, When: time.Now().UTC(), Under: p.conditions(r, peer)}
	m.Load[0] = loadAverage()
	var ends []bench.Endpoint
	for _, name := range []string{hallig, peer} {
		root := filepath.Join(p.opts.drives, "run", name)
		if r.kept {
			root = filepath.Join(p.opts.drives, "kept", fmt.Sprintf("%s-%s-%d", name, r.id, r.keys(&p.opts)))
		} else if err := os.RemoveAll(root); err != nil {
			return m, err
		}
		s, err := start(ctx, systems()[name], p.binaries[name], root, r.drives)
		if err != nil {
			return m, err
		}
		defer func() {
			err = errors.Join(err, s.stop())
			if !r.kept {
				err = errors.Join(err, os.RemoveAll(root))
			}
		}()
		ends = append(ends, s.endpoint())
	}
	m.Report, err = bench.Run(ctx, bench.Config{
		Endpoint: ends[0], Compare: &ends[1], Kind: r.kind, Sizes: bench.FixedSize(r.size), PartSize: r.part,
		Concurrency: r.clients, Duration: p.opts.slice * time.Duration(p.opts.slices), Slices: p.opts.slices,
		WarmUp: p.opts.slice, Keys: r.keys(&p.opts), Payload: bench.Payload(p.opts.payload), Seed: seed,
		Keep: true, Reuse: r.kept, BeforeSlice: unix.Sync, Progress: p.progress(r, peer),
	})
	p.endLine()
	m.Load[1] = loadAverage()
	for _, e := range m.Report.Endpoints {
		if err == nil && e.Errors > 0 {
			err = fmt.Errorf("%s: %d requests failed, the first: %s", e.Name, e.Errors, e.FirstError)
		}
	}
	return m, err
}

// floors measures the works on the drives' file system.
func (p *program) floors(ctx context.Context) ([]floor.Cost, error) {
	if err := os.MkdirAll(p.opts.drives, 0o700); err != nil {
		return nil, err
	}
	var costs []floor.Cost
	for _, w := range floor.Works() {
		c, err := floor.Measure(ctx, w, p.opts.drives, p.opts.floor)
		if err != nil {
			return nil, err
		}
		costs = append(costs, c)
	}
	return costs, nil
}
