package main

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hallig-cloud/hallig/bench"
	"github.com/hallig-cloud/hallig/bench/floor"
)

// The test binary stands in for a server: it serves on the address that it is
// told, or ends at once.
func TestMain(m *testing.M) {
	switch addr := os.Getenv("PEERS_TEST_SERVE"); addr {
	case "":
		os.Exit(m.Run())
	case "fail":
		os.Stdout.WriteString("no disk today")
		os.Exit(3)
	default:
		_ = http.ListenAndServe(addr, http.NotFoundHandler()) //nolint:gosec // it ends by a signal
	}
}

func standIn(t *testing.T, mode string) (system, string) {
	t.Helper()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return system{name: "stand-in", command: func(addr, _, _ string, dirs []string) (args, env []string) {
		if mode == "" {
			mode = addr
		}
		if len(dirs) != 2 {
			t.Errorf("got the drives %v", dirs)
		}
		return nil, []string{"PEERS_TEST_SERVE=" + mode}
	}}, binary
}

func TestServersStartAndStop(t *testing.T) {
	sys, binary := standIn(t, "")
	root := t.TempDir()
	s, err := start(t.Context(), sys, binary, root, 2)
	if err != nil {
		t.Fatal(err)
	}
	if e := s.endpoint(); e.PID == 0 || !strings.HasPrefix(e.URL, "http://127.0.0.1:") {
		t.Errorf("got %+v", e)
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	if s.cmd.ProcessState == nil {
		t.Error("it is still running")
	}
	if _, err := os.Stat(filepath.Join(root, "drive2")); err != nil {
		t.Error(err)
	}
}

func TestAServerThatEndsSaysWhy(t *testing.T) {
	sys, binary := standIn(t, "fail")
	_, err := start(t.Context(), sys, binary, t.TempDir(), 2)
	if err == nil || !strings.Contains(err.Error(), "no disk today") {
		t.Errorf("got %v", err)
	}
}

// made is a result with a ratio and a CPU time.
func made(p *program, r *row, peer string, ratio float64) measured {
	side := func(name string, rate float64) bench.Result {
		return bench.Result{
			Name: name, Rate: bench.Spread{Median: rate, Low: rate / 2, High: rate * 2}, Items: int64(rate),
			Server: &bench.Server{CPUPerOne: 0.5, PeakRSS: 100 * mib}, Latency: map[string]bench.Latency{"x": {P50: 1, P99: 2}},
		}
	}
	return measured{
		Row: r.id, Peer: peer, When: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Load: [2]float64{1, 2},
		Under: p.conditions(r, peer),
		Report: bench.Report{
			Endpoints: []bench.Result{side(hallig, 1000*ratio), side(peer, 1000)},
			Comparison: &bench.Comparison{
				Rate: bench.Spread{Median: ratio, Low: ratio / 2, High: ratio * 2}, PeakRSS: .25,
				P99: map[string]bench.Spread{"a": {Median: .5}, "b": {Median: .75}},
			},
		},
	}
}

func TestGrowthBeyondTheTargetIsMarked(t *testing.T) {
	at := func(n int, cpu float64, start time.Duration) grown {
		of := map[bench.Kind]float64{bench.Put: 1, bench.Get: cpu, bench.List: 1}
		return grown{Objects: n, Start: start, CPU: of, P50: of}
	}
	p := testProgram(t)
	page := p.page(&results{Growth: []grown{at(10, 1, time.Second), at(100, 1.3, 5*time.Second), at(1000, 1.31, 6*time.Second)}})
	for _, want := range []string{
		"| 100 | 1.000 (1.00; 1.00×) | 1.300 (1.30; 1.30×) | 1.000 (1.00; 1.00×) | 5.0 s |",
		"| 1000 | 1.000 (1.00; 1.00×) | 1.310 (1.31; 1.31×) **missed** | 1.000 (1.00; 1.00×) | 6.0 s **missed** |",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}

func testProgram(t *testing.T, args ...string) *program {
	t.Helper()
	o, err := parse(append([]string{"-work", t.TempDir()}, args...))
	if err != nil {
		t.Fatal(err)
	}
	return &program{opts: o, halligHash: "abc"}
}

func TestThePageSaysWhatWasMetAndMissed(t *testing.T) {
	p := testProgram(t)
	kept := &results{Floor: []floor.Cost{{Name: floor.Exchange, Unit: "call", CPU: 50 * time.Microsecond}}}
	all := rows()
	kept.put(made(p, &all[0], minio, 2.99))
	kept.put(made(p, &all[0], minio, 3)) // takes its place
	kept.put(made(p, &all[1], minio, 4.9))
	page := p.page(kept)
	for _, want := range []string{
		"| PUT 4 KiB, 32 clients, 1 drive | 3.00× (1.50–6.00) | ≥ 3.0× | met | 0.75× (0.00–0.00) | 0.25× |",
		"| PUT 4 KiB, 32 clients, 4 drives | 4.90× (2.45–9.80) | ≥ 5.0× | **missed** |",
		"| STAT, 32 clients, 4 drives | not measured | ≥ 2.0× |",
		"| STAT, 32 clients, 4 drives | 0.05 | – |",
		"| PUT 4 KiB, 32 clients, 1 drive | 0.05 | 0.5 | 10 % | 0.5 | – |",
		minioVersion, vgwVersion,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if t.Failed() {
		t.Log(page)
	}
}

// Only a result under the same conditions counts as measured; the negative
// control is each condition changed.
func TestResultsOfOtherConditionsAreMeasuredAnew(t *testing.T) {
	p := testProgram(t)
	r := &rows()[9]
	base := p.conditions(r, minio)
	if base != p.conditions(r, minio) {
		t.Error("the same conditions differ")
	}
	for name, args := range map[string][]string{
		"slice": {"-slice", "6s"}, "slices": {"-slices", "6"}, "keys": {"-list-keys", "5"}, "payload": {"-payload", "signed"},
	} {
		if testProgram(t, args...).conditions(r, minio) == base {
			t.Errorf("another %s is taken for the same", name)
		}
	}
	p.halligHash = "def"
	if p.conditions(r, minio) == base || p.conditions(r, versitygw) == p.conditions(r, minio) {
		t.Error("another server is taken for the same")
	}
}

func TestResultsSurvive(t *testing.T) {
	p := testProgram(t)
	all := rows()
	kept := &results{}
	kept.put(made(p, &all[2], versitygw, 2))
	if err := kept.save(p.resultsFile()); err != nil {
		t.Fatal(err)
	}
	again, err := load(p.resultsFile())
	if err != nil {
		t.Fatal(err)
	}
	if m := again.find(all[2].id, versitygw); m == nil || m.Under != p.conditions(&all[2], versitygw) || m.Report.Comparison.Rate.Median != 2 {
		t.Errorf("got %+v", m)
	}
	if err := os.WriteFile(p.resultsFile(), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := load(p.resultsFile()); err == nil {
		t.Error("a broken file is taken for results")
	}
}

func TestRowsAreWellFormed(t *testing.T) {
	o := options{slice: time.Second, keys: 100, listKeys: 1000}
	seen := map[string]bool{}
	costs := &results{}
	for _, w := range floor.Works() {
		costs.Floor = append(costs.Floor, floor.Cost{Name: w.Name, CPU: time.Microsecond})
	}
	if !costs.hasFloor() || (&results{Floor: costs.Floor[1:]}).hasFloor() {
		t.Error("a floor that lacks a work is taken for whole, or a whole one is not")
	}
	for _, r := range rows() {
		if seen[r.id] || r.title == "" || r.keys(&o) <= 0 || r.clients <= 0 || (r.drives != 1 && r.drives != 4) {
			t.Errorf("%s: %+v", r.id, r)
		}
		seen[r.id] = true
		for _, peer := range []string{minio, versitygw} {
			if _, ok := r.targets[peer]; !ok {
				t.Errorf("%s has no target for %s", r.id, peer)
			}
		}
		for _, p := range r.floor(&r) {
			if _, ok := costs.cost(p.work); !ok || p.amount < 0 {
				t.Errorf("%s: the floor has %+v", r.id, p)
			}
		}
		if sum, parts := costs.sum(r.floor(&r)); sum <= 0 || parts == "" {
			t.Errorf("%s: the floor is %v (%s)", r.id, sum, parts)
		}
	}
	// A PUT of 64 MiB on four drives: every byte received, hashed and sealed
	// once, coded once, and twice as many vouched for, summed and written.
	for _, r := range rows() {
		if r.id != "put-64m" {
			continue
		}
		want := map[floor.Name]float64{floor.Receive: 64, floor.MD5: 64, floor.Seal: 64, floor.Code22: 64, floor.BLAKE3: 128, floor.CRC32C: 128, floor.Write: 128}
		for _, p := range r.floor(&r) {
			if w, ok := want[p.work]; ok && w != p.amount {
				t.Errorf("%s: %v MiB, want %v", p.work, p.amount, w)
			}
			delete(want, p.work)
		}
		if len(want) > 0 {
			t.Errorf("the floor lacks %v", want)
		}
	}
}

func TestFlags(t *testing.T) {
	for _, args := range [][]string{{"-slices", "4"}, {"-slice", "0s"}, {"-peers", "x"}, {"-peers", hallig}, {"-rows", "("}} {
		if _, err := parse(args); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
}

// TestARowEndToEnd runs Hallig against itself through everything but the
// peer's installation.
func TestARowEndToEnd(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds and starts servers")
	}
	p := testProgram(t, "-slice", "100ms", "-keys", "40", "-floor", "1ms", "-peers", versitygw)
	binary := filepath.Join(p.opts.work, "hallig")
	if err := goCommand(t.Context(), nil, "build", "-o", binary, "github.com/hallig-cloud/hallig/cmd/hallig"); err != nil {
		t.Fatal(err)
	}
	p.binaries = map[string]string{hallig: binary}
	home, dirs, err := layout(filepath.Join(p.opts.drives, "other"), 1)
	if err != nil {
		t.Fatal(err)
	}
	addrs, err := freeAddresses(2)
	if err != nil {
		t.Fatal(err)
	}
	// The peer is a script that starts Hallig in VersityGW's place.
	args, env := systems()[hallig].command(addrs[0], addrs[1], home, dirs)
	script := "#!/bin/sh\nexport " + strings.Join(env, " ") + "\nexec " + binary + " " +
		strings.ReplaceAll(strings.Join(args, " "), addrs[0], "$2") + "\n" // its arguments begin with --port ADDR
	p.binaries[versitygw] = filepath.Join(p.opts.work, "peer")
	if err := os.WriteFile(p.binaries[versitygw], []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	kept := &results{}
	for _, id := range []string{"get-4k", "list"} {
		for _, r := range rows() {
			if r.id != id {
				continue
			}
			p.opts.listKeys = 50
			m, err := p.measure(context.Background(), &r, versitygw)
			if err != nil {
				t.Fatal(err)
			}
			c := m.Report.Comparison
			if c == nil || c.Rate.Median <= 0 || c.CPU.Median <= 0 || c.PeakRSS <= 0 || len(m.Report.Endpoints[1].Slices) != 5 {
				text, _ := json.Marshal(m) // for people
				t.Errorf("%s: got %s", id, text)
			}
			kept.put(m)
		}
	}
	if !strings.Contains(p.page(kept), "bucket of 50") {
		t.Error("the page lacks the listing")
	}
	p.opts.growth, p.opts.out = []int{30, 300}, filepath.Join(p.opts.work, "page.md")
	if err := p.grow(t.Context(), kept); err != nil {
		t.Fatal(err)
	}
	if !p.grownAlready(kept) || len(kept.Growth) != 2 {
		t.Errorf("got %+v", kept.Growth)
	}
	for _, g := range kept.Growth {
		if g.Start <= 0 || g.P50[bench.Put] <= 0 || g.P50[bench.Get] <= 0 || g.P50[bench.List] <= 0 {
			t.Errorf("got %+v", g)
		}
	}
}
