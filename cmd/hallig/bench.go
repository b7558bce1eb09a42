package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hallig-cloud/hallig/bench"
	"github.com/hallig-cloud/hallig/node"
)

type benchCmd struct {
	Kind        string        `arg:"" optional:"" help:"put, get, stat, delete, list, mixed, or all." enum:"put,get,stat,delete,list,mixed,all" default:"all"`
	Endpoint    string        `help:"S3 endpoint; the node of --data if not given." placeholder:"URL"`
	AccessKey   string        `help:"Access key; the node's first one if not given." env:"AWS_ACCESS_KEY_ID" placeholder:"KEY"`
	SecretKey   string        `help:"Secret key." env:"AWS_SECRET_ACCESS_KEY" placeholder:"KEY"`
	Region      string        `help:"Region to sign for." default:"us-east-1"`
	Bucket      string        `help:"Bucket to work in; made if missing." default:"hallig-bench"`
	Prefix      string        `help:"Prefix of the keys." default:"bench/"`
	Size        string        `help:"Bytes of an object: 4096, 4KiB, 64MiB." default:"4KiB"`
	Concurrency int           `help:"Requests at once." default:"16"`
	Duration    time.Duration `help:"How long to measure." default:"10s"`
	Keys        int           `help:"Objects to read from." default:"1000"`
	Objects     int64         `help:"Put that many objects instead, list them all, and report time, memory and disk."`
	Keep        bool          `help:"Leave the objects behind."`
	PID         int           `help:"Process of the server, for its memory and CPU." name:"pid"`
	Disk        []string      `help:"A directory of the server, for the overhead; may be repeated." placeholder:"DIR"`
	Seed        uint64        `help:"Seed of bodies and mix."`
}

// Run measures.
func (b *benchCmd) Run(ctx context.Context, c *cli, std *stdio) error {
	size, err := parseSize(b.Size)
	if err != nil {
		return err
	}
	cfg := bench.Config{
		Endpoint: b.Endpoint, Region: b.Region, AccessKey: b.AccessKey, SecretKey: b.SecretKey, Bucket: b.Bucket,
		Prefix: b.Prefix, Size: size, Concurrency: b.Concurrency, Duration: b.Duration, Keys: b.Keys, Keep: b.Keep,
		PID: b.PID, Disks: b.Disk, Seed: b.Seed, Progress: b.progress(std),
	}
	b.local(c, &cfg)
	if b.Objects > 0 {
		rep, err := bench.Fill(ctx, cfg, b.Objects)
		if err != nil {
			return err
		}
		return show(c, std, rep, func(t *table) { fillTable(t, rep) })
	}
	kinds := []bench.Kind{bench.Kind(b.Kind)}
	if b.Kind == "all" {
		kinds = []bench.Kind{bench.Put, bench.Get, bench.Stat, bench.List, bench.Delete, bench.Mixed}
	}
	var reports []bench.Report
	for _, kind := range kinds {
		cfg.Kind = kind
		rep, err := bench.Run(ctx, cfg)
		if err != nil {
			return fmt.Errorf("bench %s: %w", kind, err)
		}
		reports = append(reports, rep)
	}
	if err := show(c, std, reports, func(t *table) { benchTable(t, reports) }); err != nil {
		return err
	}
	for _, rep := range reports {
		if rep.Errors > 0 {
			return fmt.Errorf("%d requests of %s failed, the first: %s", rep.Errors, rep.Kind, rep.FirstError)
		}
	}
	return nil
}

// local fills in what the node of the data directory knows.
func (b *benchCmd) local(c *cli, cfg *bench.Config) {
	if cfg.Endpoint == "" {
		if e, err := node.ReadEndpoints(c.Data); err == nil {
			cfg.Endpoint = "http://" + reachable(e.S3)
		}
	}
	if cfg.AccessKey == "" {
		if access, secret, err := node.ReadCredentials(filepath.Join(c.Data, node.CredentialsFile)); err == nil {
			cfg.AccessKey, cfg.SecretKey = access, secret
		}
	}
}

// progress keeps one line of a terminal up to date.
func (b *benchCmd) progress(std *stdio) func(bench.Live) {
	if !isTerminal(std.err) {
		return nil
	}
	return func(l bench.Live) {
		seconds := max(l.Elapsed.Seconds(), 0.001)
		of := ""
		if l.Total > 0 {
			of = fmt.Sprintf(" of %d", l.Total)
		}
		fmt.Fprintf(os.Stderr, "\r\x1b[K%s %4.0f s: %d%s, %.0f/s, %s/s, %d errors", l.Phase, seconds, l.Operations, of,
			float64(l.Operations)/seconds, bytes(int64(float64(l.Bytes)/seconds)), l.Errors)
	}
}

func benchTable(t *table, reports []bench.Report) {
	t.line("\n")
	t.row("LOAD", "SIZE", "AT ONCE", "OPS/S", "MiB/S", "OPERATION", "P50 ms", "P90 ms", "P99 ms", "MAX ms", "ERRORS")
	for _, r := range reports {
		var names []string
		for name := range r.Latency {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			l := r.Latency[name]
			t.row(r.Kind, bytes(r.Size), r.Concurrency, fmt.Sprintf("%.0f", r.Rate), fmt.Sprintf("%.1f", r.MiBs), name,
				fmt.Sprintf("%.2f", l.P50), fmt.Sprintf("%.2f", l.P90), fmt.Sprintf("%.2f", l.P99), fmt.Sprintf("%.2f", l.Max), r.Errors)
		}
	}
	for _, r := range reports {
		serverLine(t, string(r.Kind), r.Server)
		diskLine(t, r.Disk)
	}
}

func serverLine(t *table, what string, s *bench.Server) {
	if s != nil {
		t.line("%s: server used %.1f s of CPU, %s of memory (%s at most)", what, s.CPU, bytes(s.RSS), bytes(s.PeakRSS))
	}
}

func diskLine(t *table, d *bench.Disk) {
	if d != nil {
		t.line("disk: %s for %s of objects, %.2f times", bytes(d.Used), bytes(d.Stored), d.Overhead)
	}
}

func fillTable(t *table, r bench.FillReport) {
	t.line("\n%d objects of %s: put in %.1f s (%.0f/s), listed in %.2f s (%d keys, %d pages, slowest page %.1f ms)",
		r.Objects, bytes(r.Size), r.FillSeconds, r.FillRate, r.ListSeconds, r.Listed, r.ListPages, r.ListPageMax)
	if l := r.Latency; l != nil {
		t.line("put: p50 %.2f ms, p90 %.2f ms, p99 %.2f ms, max %.2f ms", l.P50, l.P90, l.P99, l.Max)
	}
	serverLine(t, "filling", r.Filling)
	serverLine(t, "listing", r.Listing)
	diskLine(t, r.Disk)
}

// parseSize reads bytes with an optional binary unit.
func parseSize(s string) (int64, error) {
	units := []struct {
		suffix string
		factor int64
	}{{"kib", 1 << 10}, {"mib", 1 << 20}, {"gib", 1 << 30}, {"k", 1 << 10}, {"m", 1 << 20}, {"g", 1 << 30}, {"b", 1}, {"", 1}}
	low := strings.ToLower(strings.TrimSpace(s))
	for _, u := range units {
		if digits, ok := strings.CutSuffix(low, u.suffix); ok {
			var n int64
			if _, err := fmt.Sscanf(digits, "%d", &n); err != nil || n < 0 || n > (5<<30)/u.factor || fmt.Sprint(n) != strings.TrimSpace(digits) {
				return 0, fmt.Errorf("size %q: give bytes such as 4096, 4KiB or 64MiB: %w", s, errUsage)
			}
			return n * u.factor, nil
		}
	}
	return 0, fmt.Errorf("size %q: %w", s, errUsage)
}
