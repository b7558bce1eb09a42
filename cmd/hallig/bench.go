package main

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/hallig-cloud/hallig/bench"
	"github.com/hallig-cloud/hallig/node"
)

type benchCmd struct {
	Kind string `arg:"" optional:"" help:"put, multipart, get, stat, list, delete, multidelete, mixed (45 % get, 30 % stat, 15 % put, 10 % delete), or all." enum:"put,multipart,get,stat,list,delete,multidelete,mixed,all" default:"all"`

	Endpoint  string   `help:"S3 endpoint; the node of --data if not given." placeholder:"URL"`
	AccessKey string   `help:"Access key; the node's first one if not given." env:"AWS_ACCESS_KEY_ID" placeholder:"KEY"`
	SecretKey string   `help:"Secret key." env:"AWS_SECRET_ACCESS_KEY" placeholder:"KEY"`
	Region    string   `help:"Region to sign for." default:"us-east-1"`
	Bucket    string   `help:"Bucket to work in; made if missing." default:"hallig-bench"`
	PID       int      `help:"Process of the server, for its memory and CPU." name:"pid"`
	Disk      []string `help:"A directory of the server, for the overhead; may be repeated." placeholder:"DIR"`

	Compare          string `help:"A second endpoint that gets the same load in alternating slices; prints the ratios." placeholder:"URL"`
	CompareAccessKey string `help:"Its access key; the same as --access-key if not given." env:"HALLIG_BENCH_COMPARE_ACCESS_KEY" placeholder:"KEY"`
	CompareSecretKey string `help:"Its secret key." env:"HALLIG_BENCH_COMPARE_SECRET_KEY" placeholder:"KEY"`
	CompareRegion    string `help:"Its region; the same as --region if not given."`
	CompareBucket    string `help:"Its bucket; the same as --bucket if not given."`
	ComparePID       int    `help:"Its process." name:"compare-pid"`

	Prefix      string        `help:"Prefix of the keys." default:"bench/"`
	Size        string        `help:"Bytes of an object: 4096, 4KiB, 64MiB; sizes with weights: 4KiB:60,1MiB:40; or mix, as in the world: most objects small, most bytes in large ones." default:"4KiB"`
	PartSize    string        `help:"Bytes of a part of a multipart upload." default:"16MiB"`
	Batch       int           `help:"Objects of one multi-delete." default:"1000"`
	Concurrency int           `help:"Requests at once." default:"16"`
	Duration    time.Duration `help:"How long to measure each load." default:"10s"`
	Slices      int           `help:"Slices that this is cut into, for the spread." default:"5"`
	WarmUp      time.Duration `help:"How long to load before that without measuring; a tenth of the duration if not given, none below 0."`
	Keys        int           `help:"Objects to read from or list; of deletes, what one slice deletes." default:"1000"`
	Payload     string        `help:"How bodies are signed: unsigned (UNSIGNED-PAYLOAD) or signed (SHA-256, computed before the request's clock starts)." enum:"unsigned,signed" default:"unsigned"`
	Verify      bool          `help:"Compare what is read with what was put." negatable:"" default:"true"`
	Objects     int           `help:"Put that many objects instead, list them all, and report time, memory and disk."`
	Keep        bool          `help:"Leave the objects behind."`
	Reuse       bool          `help:"Work on the objects that an earlier run with --keep and the same --seed, --prefix and --size left, and put only what is missing."`
	Seed        uint64        `help:"Seed of bodies, sizes and keys; drawn if 0."`
}

// Run measures. SIGINT and SIGTERM end it with what was measured until then.
func (b *benchCmd) Run(ctx context.Context, c *cli, std *stdio) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	go func() { // a second signal ends the tidying up as well
		<-ctx.Done()
		stop()
	}()
	cfg, err := b.config(c, std)
	if err != nil {
		return fmt.Errorf("%w: %w", err, errUsage)
	}
	if b.Objects > 0 {
		cfg.Keys = b.Objects
		rep, err := bench.Fill(ctx, cfg)
		b.clearLine(std)
		if err != nil {
			return err
		}
		return show(c, std, rep, func(t *table) { fillTable(t, rep) })
	}
	kinds := []bench.Kind{bench.Kind(b.Kind)}
	if b.Kind == "all" {
		kinds = bench.Kinds()
	}
	var reports []bench.Report
	var failed error
	for _, kind := range kinds {
		cfg.Kind = kind
		rep, err := bench.Run(ctx, cfg)
		if len(rep.Endpoints) > 0 && len(rep.Endpoints[0].Slices) > 0 {
			reports = append(reports, rep)
		}
		if err != nil {
			failed = fmt.Errorf("bench %s: %w", kind, err)
			break
		}
	}
	b.clearLine(std)
	if err := show(c, std, reports, func(t *table) { benchTable(t, reports) }); err != nil {
		return err
	}
	if ctx.Err() != nil {
		failed = errors.Join(errors.New("interrupted: the result is partial"), failed)
	}
	return errors.Join(failed, requestErrors(reports))
}

// requestErrors is an error if a request failed.
func requestErrors(reports []bench.Report) error {
	for _, rep := range reports {
		for _, r := range rep.Endpoints {
			if r.Errors > 0 {
				return fmt.Errorf("%d requests of %s to %s failed (%d answers were wrong), the first: %s", r.Errors, rep.Kind, r.Name, r.Wrong, r.FirstError)
			}
		}
	}
	return nil
}

// config turns the flags into what the package wants.
func (b *benchCmd) config(c *cli, std *stdio) (bench.Config, error) {
	sizes, err := bench.ParseSizes(b.Size)
	if err != nil {
		return bench.Config{}, err
	}
	part, err := bench.ParseSize(b.PartSize)
	if err != nil {
		return bench.Config{}, err
	}
	cfg := bench.Config{
		Endpoint: bench.Endpoint{
			URL: b.Endpoint, Region: b.Region, AccessKey: b.AccessKey, SecretKey: b.SecretKey, Bucket: b.Bucket,
			PID: b.PID, Disks: b.Disk,
		},
		Prefix: b.Prefix, Sizes: sizes, PartSize: part, Batch: b.Batch, Concurrency: b.Concurrency, Duration: b.Duration,
		Slices: b.Slices, WarmUp: b.WarmUp, Keys: b.Keys, Payload: bench.Payload(b.Payload), NoVerify: !b.Verify,
		Keep: b.Keep, Reuse: b.Reuse, Seed: b.Seed, Progress: b.progress(std),
	}
	b.local(c, &cfg.Endpoint)
	if cfg.Endpoint.URL == "" {
		return cfg, fmt.Errorf("no endpoint: no node serves %s; name its directory with --data, or give --endpoint", c.Data)
	}
	if cfg.Endpoint.AccessKey == "" || cfg.Endpoint.SecretKey == "" {
		return cfg, errors.New("no credentials: give AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or --access-key and --secret-key")
	}
	if b.Compare != "" {
		or := func(s, other string) string {
			if s == "" {
				return other
			}
			return s
		}
		cfg.Compare = &bench.Endpoint{
			URL: b.Compare, Region: or(b.CompareRegion, b.Region), Bucket: or(b.CompareBucket, b.Bucket), PID: b.ComparePID,
			AccessKey: or(b.CompareAccessKey, cfg.Endpoint.AccessKey), SecretKey: or(b.CompareSecretKey, cfg.Endpoint.SecretKey),
		}
	}
	return cfg, nil
}

// local fills in what the node of the data directory knows.
func (b *benchCmd) local(c *cli, end *bench.Endpoint) {
	if end.URL == "" {
		if e, err := node.ReadEndpoints(c.Data); err == nil {
			end.URL = "http://" + reachable(e.S3)
		}
	}
	if end.AccessKey == "" {
		if access, secret, err := node.ReadCredentials(filepath.Join(c.Data, node.CredentialsFile)); err == nil {
			end.AccessKey, end.SecretKey = access, secret
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
		of, where := "", ""
		if l.Total > 0 {
			of = fmt.Sprintf(" of %d", l.Total)
		}
		if l.Slice > 0 {
			of += fmt.Sprintf(" (slice %d of %d)", l.Slice, b.Slices)
		}
		if b.Compare != "" {
			where = l.Endpoint + ": "
		}
		fmt.Fprintf(std.err, "\r\x1b[K%s%s %4.0f s: %d%s, %.0f/s, %s/s, %d errors", where, l.Phase, seconds, l.Operations, of,
			float64(l.Operations)/seconds, bytes(int64(float64(l.Bytes)/seconds)), l.Errors)
	}
}

func (b *benchCmd) clearLine(std *stdio) {
	if isTerminal(std.err) {
		fmt.Fprint(std.err, "\r\x1b[K")
	}
}

func benchTable(t *table, reports []bench.Report) {
	if len(reports) == 0 {
		return
	}
	t.row("LOAD", "SIZE", "AT ONCE", "ENDPOINT", "ITEMS/S", "LOW–HIGH", "MiB/S", "OPERATION", "P50 ms", "P90 ms", "P99 ms", "MAX ms", "ERRORS")
	for _, rep := range reports {
		for _, r := range rep.Endpoints {
			for _, op := range operations(r.Latency) {
				l := r.Latency[op]
				t.row(rep.Kind, rep.Sizes, rep.Concurrency, r.Name, fmt.Sprintf("%.0f", r.Rate.Median),
					fmt.Sprintf("%.0f–%.0f", r.Rate.Low, r.Rate.High), fmt.Sprintf("%.1f", r.MiBs.Median), op,
					fmt.Sprintf("%.2f", l.P50), fmt.Sprintf("%.2f", l.P90), fmt.Sprintf("%.2f", l.P99), fmt.Sprintf("%.2f", l.Max), r.Errors)
			}
		}
	}
	for _, rep := range reports {
		for _, r := range rep.Endpoints {
			serverLine(t, fmt.Sprintf("%s: %s", rep.Kind, r.Name), r.Server)
			diskLine(t, r.Disk)
		}
		if c := rep.Comparison; c != nil && !rep.Interrupted {
			compareLine(t, rep, c)
		}
	}
	t.line("%s", conditions(reports[0]))
}

// conditions says how it was measured.
func conditions(r bench.Report) string {
	verified := "what was read was compared"
	if !r.Verified {
		verified = "what was read was not compared"
	}
	return fmt.Sprintf("%d slices of %.1f s after %.1f s of warm-up; bodies %s; %s; seed %d.",
		len(r.Endpoints[0].Slices), r.SliceSeconds, r.WarmUp, r.Payload, verified, r.Seed)
}

func compareLine(t *table, rep bench.Report, c *bench.Comparison) {
	t.line("%s: %s does %s times what %s does", rep.Kind, rep.Endpoints[0].Name, times(c.Rate), rep.Endpoints[1].Name)
	for _, op := range operations(c.P99) {
		t.line("  %s: p50 %s times, p99 %s times as long", op, times(c.P50[op]), times(c.P99[op]))
	}
	if c.CPU.Median > 0 {
		t.line("  server's CPU time of one: %s times; peak memory: %.2f times", times(c.CPU), c.PeakRSS)
	}
}

func times(s bench.Spread) string { return fmt.Sprintf("%.2f (%.2f–%.2f)", s.Median, s.Low, s.High) }

func operations[V any](by map[string]V) []string {
	var names []string
	for name := range by {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func serverLine(t *table, what string, s *bench.Server) {
	if s != nil {
		t.line("%s: server used %.1f s of CPU, %.3f ms each, %s of memory (%s at most)", what, s.CPU, s.CPUPerOne, bytes(s.RSS), bytes(s.PeakRSS))
	}
}

func diskLine(t *table, d *bench.Disk) {
	if d != nil && d.Stored > 0 {
		t.line("disk: %s for %s of objects, %.2f times", bytes(d.Used), bytes(d.Stored), d.Overhead)
	}
}

func fillTable(t *table, r bench.FillReport) {
	t.line("%d objects of %s: put in %.1f s (%.0f/s), listed in %.2f s (%d keys, %d pages, slowest page %.1f ms)",
		r.Objects, strings.TrimSpace(r.Sizes), r.FillSeconds, r.FillRate, r.ListSeconds, r.Listed, r.ListPages, r.ListPageMax)
	if l := r.Latency; l != nil {
		t.line("put: p50 %.2f ms, p90 %.2f ms, p99 %.2f ms, max %.2f ms", l.P50, l.P90, l.P99, l.Max)
	}
	serverLine(t, "filling", r.Filling)
	serverLine(t, "listing", r.Listing)
	diskLine(t, r.Disk)
}
