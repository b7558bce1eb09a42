package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hallig-cloud/hallig/bench"
)

// Growth: what an operation costs with so many objects in the bucket, and how
// long a start takes.

// The targets of the issue on speed.
const (
	growthTarget = 1.3             // times the cost with the fewest objects
	startTarget  = 5 * time.Second // with a million objects
)

// grown is what was measured with so many objects.
type grown struct {
	Objects int           `json:"objects"`
	When    time.Time     `json:"when"`
	Hallig  string        `json:"hallig"`
	Machine string        `json:"machine"`
	Slice   time.Duration `json:"slice"`
	Start   time.Duration `json:"start_ns"` // until the first answer after a clean stop
	// By kind: CPU milliseconds of the server and the median latency, of an
	// object or of a page of a listing.
	CPU map[bench.Kind]float64 `json:"cpu_ms"`
	P50 map[bench.Kind]float64 `json:"p50_ms"`
}

// growing are the loads whose cost must not grow.
func growing() []bench.Kind { return []bench.Kind{bench.Put, bench.Get, bench.List} }

// parseCounts reads "10000,100000": ascending numbers, or nothing.
func parseCounts(s string) ([]int, error) {
	if s == "" {
		return nil, nil
	}
	var counts []int
	for word := range strings.SplitSeq(s, ",") {
		n, err := strconv.Atoi(word)
		if err != nil || n < 1 || (len(counts) > 0 && n <= counts[len(counts)-1]) {
			return nil, fmt.Errorf("%q: give ascending numbers of objects, such as 10000,100000", s)
		}
		counts = append(counts, n)
	}
	return counts, nil
}

// grow fills one Hallig on one drive step by step and measures at each.
func (p *program) grow(ctx context.Context, kept *results) error {
	if len(p.opts.growth) == 0 || p.grownAlready(kept) {
		return nil
	}
	root := filepath.Join(p.opts.drives, "run", "growth")
	if err := os.RemoveAll(root); err != nil {
		return err
	}
	kept.Growth = nil
	for _, n := range p.opts.growth {
		p.say("growth: %d objects …", n)
		g, err := p.growTo(ctx, root, n)
		if err != nil {
			return errors.Join(fmt.Errorf("growth to %d objects: %w", n, err), os.RemoveAll(root))
		}
		kept.Growth = append(kept.Growth, g)
		if err := errors.Join(kept.save(p.resultsFile()), p.writePage(kept)); err != nil {
			return err
		}
	}
	return os.RemoveAll(root)
}

// grownAlready says that the results have all of it, of this Hallig.
func (p *program) grownAlready(kept *results) bool {
	if p.opts.fresh || len(kept.Growth) != len(p.opts.growth) {
		return false
	}
	for i, g := range kept.Growth {
		if g.Objects != p.opts.growth[i] || g.Hallig != p.halligHash || g.Machine != p.machine.id() || g.Slice != p.opts.slice {
			return false
		}
	}
	return true
}

func (p *program) growTo(ctx context.Context, root string, n int) (g grown, err error) {
	g = grown{
		Objects: n, When: time.Now().UTC(), Hallig: p.halligHash, Machine: p.machine.id(), Slice: p.opts.slice,
		CPU: map[bench.Kind]float64{}, P50: map[bench.Kind]float64{},
	}
	s, err := start(ctx, systems()[hallig], p.binaries[hallig], root, 1)
	if err != nil {
		return g, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	if err := p.fill(ctx, s.endpoint(), n); err != nil {
		return g, err
	}
	for _, kind := range growing() {
		cfg := bench.Config{
			Endpoint: s.endpoint(), Kind: kind, Sizes: bench.FixedSize(kib), Concurrency: 32, Keys: n,
			Duration: p.opts.slice * time.Duration(p.opts.slices), Slices: p.opts.slices, WarmUp: p.opts.slice,
			Seed: seed, Keep: true, Reuse: true, BeforeSlice: unix.Sync,
		}
		switch kind {
		case bench.Put: // beside the others, and removed again
			cfg.Prefix, cfg.Keep, cfg.Reuse = "more/", false, false
		case bench.List:
			cfg.Concurrency = 1
		}
		rep, err := bench.Run(ctx, cfg)
		if err != nil {
			return g, err
		}
		e := &rep.Endpoints[0]
		if e.Errors > 0 {
			return g, fmt.Errorf("%s: %d requests failed, the first: %s", kind, e.Errors, e.FirstError)
		}
		l := e.Latency[string(kind)]
		g.P50[kind] = l.P50
		if e.Server != nil && l.Count > 0 {
			g.CPU[kind] = 1000 * e.Server.CPU / float64(l.Count)
		}
	}
	return g, p.timeStart(ctx, &s, root, &g)
}

// fill puts the objects that are not there yet.
func (p *program) fill(ctx context.Context, e bench.Endpoint, n int) error {
	_, err := bench.Run(ctx, bench.Config{
		Endpoint: e, Kind: bench.Stat, Sizes: bench.FixedSize(kib), Concurrency: 32, Keys: n,
		Duration: time.Millisecond, Slices: 1, WarmUp: -1, Seed: seed, Keep: true, Reuse: true,
	})
	return err
}

// timeStart stops the server, starts it again and takes the time.
func (p *program) timeStart(ctx context.Context, s **server, root string, g *grown) error {
	if err := (*s).stop(); err != nil {
		return err
	}
	began := time.Now()
	again, err := start(ctx, systems()[hallig], p.binaries[hallig], root, 1)
	if err != nil {
		return err
	}
	g.Start = time.Since(began)
	*s = again
	return nil
}

// growthTable shows it.
func (p *program) growthTable(say func(string, ...any), kept *results) {
	if len(kept.Growth) == 0 {
		say("Not measured.")
		return
	}
	say("Hallig on one drive, objects of 1 KiB, 32 clients (listing: 1). CPU of the server, in parentheses the median latency and the CPU's ratio to the first line; no more than %.1f× is the target.", growthTarget)
	say("")
	say("| Objects | PUT, ms | GET, ms | LIST, a page of 1,000, ms | Start |")
	say("|---|---|---|---|---|")
	first := kept.Growth[0]
	for _, g := range kept.Growth {
		cells := []string{strconv.Itoa(g.Objects)}
		for _, kind := range growing() {
			times := 0.0
			if first.CPU[kind] > 0 {
				times = g.CPU[kind] / first.CPU[kind]
			}
			cell := fmt.Sprintf("%.3f (%.2f; %.2f×)", g.CPU[kind], g.P50[kind], times)
			if times > growthTarget {
				cell += " **missed**"
			}
			cells = append(cells, cell)
		}
		start := fmt.Sprintf("%.1f s", g.Start.Seconds())
		if g.Start > startTarget && g.Objects <= 1_000_000 {
			start += " **missed**"
		}
		say("| %s |", strings.Join(append(cells, start), " | "))
	}
}
