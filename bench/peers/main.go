// Command peers measures Hallig side by side with what people would pick
// instead, and writes docs/performance.md:
//
//	go run ./bench/peers [-slice 5s] [-slices 5] [-list-keys 1000000] [-rows REGEXP]
//
// It installs MinIO (its last published version) and VersityGW, builds Hallig
// from this tree, and for each row of the table starts Hallig and one peer on
// fresh directories of the same file system, on loopback, and gives both the
// same load in alternating slices. It then measures the floor (package
// bench/floor): what the work takes at least on this machine.
//
// Every row is written to a results file, and the page anew, when it is done; a run that was
// interrupted goes on where it was. Rows that were measured with another
// Hallig, other flags or on another machine are measured anew. The bucket of
// the listings is filled once and kept in the work directory.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/hallig-cloud/hallig/bench"
)

// options are the flags.
type options struct {
	slice    time.Duration
	slices   int
	keys     int
	listKeys int
	payload  string
	rows     *regexp.Regexp
	peers    []string
	growth   []int
	floor    time.Duration
	work     string
	drives   string
	out      string
	note     string
	fresh    bool
	render   bool
}

// program is one run.
type program struct {
	opts       options
	binaries   map[string]string
	halligHash string
	machine    machine
	tty        bool
}

func parse(args []string) (options, error) {
	var o options
	fs := flag.NewFlagSet("peers", flag.ContinueOnError)
	fs.DurationVar(&o.slice, "slice", 5*time.Second, "length of a slice, and of the warm-up")
	fs.IntVar(&o.slices, "slices", 5, "slices for each server, at least 5")
	fs.IntVar(&o.keys, "keys", 10_000, "objects that get, stat and (a fifth of them) mixed work on")
	fs.IntVar(&o.listKeys, "list-keys", 1_000_000, "objects in the bucket that is listed")
	fs.StringVar(&o.payload, "payload", string(bench.Unsigned), "how bodies are signed: unsigned or signed")
	pattern := fs.String("rows", "", "measure only rows whose id matches this regular expression")
	peers := fs.String("peers", minio+","+versitygw, "peers to measure against")
	growth := fs.String("growth", "10000,100000,1000000", "numbers of objects at which to measure Hallig's growth, after the rows and only without -rows; empty: none")
	fs.DurationVar(&o.floor, "floor", time.Second, "how long to measure each work of the floor")
	fs.StringVar(&o.work, "work", "", "directory of binaries and results; hallig-peers in the user's cache directory if not given")
	fs.StringVar(&o.drives, "drives", "", "directory below which the drives are made; drives in the work directory if not given")
	fs.StringVar(&o.out, "out", "docs/performance.md", "page to write")
	fs.StringVar(&o.note, "note", "", "what to say about the circumstances on the page")
	fs.BoolVar(&o.fresh, "fresh", false, "measure every row anew")
	fs.BoolVar(&o.render, "render", false, "measure nothing: write the page from the results file, whatever Hallig they are of")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if o.slices < 5 || o.slice <= 0 {
		return o, errors.New("at least 5 slices, longer than nothing")
	}
	var err error
	if o.rows, err = regexp.Compile(*pattern); err != nil {
		return o, err
	}
	if o.growth, err = parseCounts(*growth); err != nil {
		return o, err
	}
	if *pattern != "" {
		o.growth = nil
	}
	for name := range strings.SplitSeq(*peers, ",") {
		if _, ok := systems()[name]; !ok || name == hallig {
			return o, fmt.Errorf("peer %q: there are %s and %s", name, minio, versitygw)
		}
		o.peers = append(o.peers, name)
	}
	if o.work == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return o, err
		}
		o.work = filepath.Join(cache, "hallig-peers")
	}
	if o.work, err = filepath.Abs(o.work); err != nil {
		return o, err
	}
	if o.drives == "" {
		o.drives = filepath.Join(o.work, "drives")
	}
	o.drives, err = filepath.Abs(o.drives)
	return o, err
}

func main() {
	o, err := parse(os.Args[1:])
	if err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "peers:", err)
		}
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		stop()
		os.Exit(1)
	}
}

// run measures what is missing and writes the page.
func run(ctx context.Context, o options) error {
	p := &program{opts: o, tty: isTerminal(os.Stderr)}
	if err := os.MkdirAll(o.drives, 0o700); err != nil {
		return err
	}
	var err error
	if p.machine, err = thisMachine(o.drives); err != nil {
		return err
	}
	if !o.render {
		if err := p.install(ctx); err != nil {
			return err
		}
	}
	kept, err := load(p.resultsFile())
	if err != nil {
		return err
	}
	failed := p.measureAll(ctx, kept)
	if err := p.writePage(kept); err != nil {
		return errors.Join(failed, err)
	}
	return failed
}

// measureAll measures what the results lack. A row that fails does not keep
// the others from being measured.
func (p *program) measureAll(ctx context.Context, kept *results) error {
	if p.opts.render {
		return nil
	}
	var failed error
	if p.opts.fresh || !kept.hasFloor() || kept.FloorOn != p.machine.id() {
		p.say("measuring the floor")
		costs, err := p.floors(ctx)
		if err != nil {
			return err
		}
		kept.Floor, kept.FloorOn = costs, p.machine.id()
		if err := kept.save(p.resultsFile()); err != nil {
			return err
		}
	}
	for _, r := range rows() {
		if !p.opts.rows.MatchString(r.id) {
			continue
		}
		for _, peer := range p.opts.peers {
			if m := kept.find(r.id, peer); m != nil && !p.opts.fresh && m.Under == p.conditions(&r, peer) {
				p.say("%s, %s: measured at %s", r.id, peer, m.When.Format(time.RFC3339))
				continue
			}
			p.say("%s, %s …", r.id, peer)
			m, err := p.measure(ctx, &r, peer)
			if ctx.Err() != nil {
				return errors.Join(failed, ctx.Err())
			}
			if err != nil {
				p.say("%s, %s: %v", r.id, peer, err)
				failed = errors.Join(failed, fmt.Errorf("%s, %s: %w", r.id, peer, err))
				continue
			}
			p.say("%s, %s: %s", r.id, peer, short(&m.Report))
			kept.put(m)
			if err := errors.Join(kept.save(p.resultsFile()), p.writePage(kept)); err != nil {
				return err
			}
		}
	}
	return errors.Join(failed, p.grow(ctx, kept))
}

// short is a result in one line.
func short(rep *bench.Report) string {
	c, a, b := rep.Comparison, &rep.Endpoints[0], &rep.Endpoints[1]
	return fmt.Sprintf("%.0f/s to %.0f/s, ratio %s", a.Rate.Median, b.Rate.Median, ratioText(c.Rate))
}

func (p *program) say(format string, args ...any) {
	p.endLine()
	fmt.Fprintf(os.Stderr, format+"\n", args...)
}

func (p *program) progress(r *row, peer string) func(bench.Live) {
	if !p.tty {
		return nil
	}
	return func(l bench.Live) {
		fmt.Fprintf(os.Stderr, "\r\x1b[K%s, %s: %s: %s %d, %.0f s: %d", r.id, peer, l.Endpoint, l.Phase, l.Slice, l.Elapsed.Seconds(), l.Operations)
	}
}

func (p *program) endLine() {
	if p.tty {
		fmt.Fprint(os.Stderr, "\r\x1b[K")
	}
}
