package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/hallig-cloud/hallig/bench"
)

// writePage writes what was measured as Markdown.
func (p *program) writePage(kept *results) error {
	text := p.page(kept)
	return os.WriteFile(p.opts.out, []byte(text), 0o644)
}

func (p *program) page(kept *results) string {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	say("# Performance")
	say("Written by `go run ./bench/peers`; do not edit. Run it again to measure your machine: it installs the peers, starts them and Hallig on loopback and on directories of one file system, and gives both the same load in slices that alternate (ABBA), with a sync before each. A ratio is that of the medians over the slices; in parentheses the least and the most ratio of neighbouring slices. Client and servers share the machine.")
	say("")
	p.circumstances(say, kept)
	say("")
	say("## Ratios")
	say("Throughput above 1, p99 and memory below 1 are in Hallig's favour. Beside MinIO p99 and peak memory are targets too: no more than its. Where a load has several operations, the p99 is that of the one with the worst ratio.")
	for _, peer := range p.opts.peers {
		p.ratios(say, kept, peer)
	}
	say("")
	say("## What was measured")
	p.figures(say, kept)
	say("")
	say("## Growth")
	p.growthTable(say, kept)
	say("")
	say("## Settings and durability")
	say("| | Settings | When it acknowledges a write |")
	say("|---|---|---|")
	for _, name := range append([]string{hallig}, p.opts.peers...) {
		sys := systems()[name]
		say("| %s (%s) | %s | %s |", name, sys.version, sys.settings, sys.durable)
	}
	say("")
	say("Bodies are signed with UNSIGNED-PAYLOAD unless said otherwise, so no server hashes them for the signature; all three make MD5 ETags. What is read is compared by the client, byte by byte. The objects of the listed bucket are empty, in favour of peers that open a file for each key. Keys lie in 256 folders.")
	say("")
	say("## The floor")
	p.floorTables(say, kept)
	return b.String()
}

// circumstances says when, where and with which flags.
func (p *program) circumstances(say func(string, ...any), kept *results) {
	say("| | |")
	say("|---|---|")
	say("| Machine | %s |", p.machine)
	var from, to time.Time
	var lowest, highest float64
	slicesOf, payloads, builds := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for i, m := range kept.Rows {
		if i == 0 || m.When.Before(from) {
			from = m.When
		}
		if m.When.After(to) {
			to = m.When
		}
		for _, l := range m.Load {
			if lowest == 0 || l < lowest {
				lowest = l
			}
			highest = max(highest, l)
		}
		slicesOf[fmt.Sprintf("%d of %s", m.Under.Slices, m.Under.Slice)] = true
		payloads[string(m.Under.Payload)] = true
		builds[m.Under.Hallig] = true
	}
	if len(kept.Rows) > 0 {
		say("| Measured | %s to %s UTC |", from.Format("2006-01-02 15:04"), to.Format("2006-01-02 15:04"))
		say("| Slices for each server and row | %s |", joined(slicesOf))
		say("| Bodies | %s |", joined(payloads))
		say("| Load average before and after the rows | %.1f to %.1f |", lowest, highest)
		say("| Builds of Hallig | %s |", joined(builds))
	}
	if p.opts.note != "" {
		say("| Note | %s |", p.opts.note)
	}
}

func joined(set map[string]bool) string {
	var names []string
	for name := range set {
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// ratios is the table of one peer against the targets.
func (p *program) ratios(say func(string, ...any), kept *results, peer string) {
	say("")
	say("### Hallig to %s", peer)
	say("| Operation | Throughput | Target | | p99 | Peak memory | CPU of one |")
	say("|---|---|---|---|---|---|---|")
	for _, r := range rows() {
		target := "as near as the floor allows"
		if r.targets[peer] > 0 {
			target = fmt.Sprintf("≥ %.1f×", r.targets[peer])
		}
		m := kept.find(r.id, peer)
		if m == nil || m.Report.Comparison == nil {
			say("| %s | not measured | %s | | | | |", r.title, target)
			continue
		}
		c := m.Report.Comparison
		p99, rss := ratioText(worst(c.P99)), fmt.Sprintf("%.2f×", c.PeakRSS)
		if peer == minio { // the targets ask for no worse than MinIO's
			p99, rss = p99+marked(worst(c.P99).Median), rss+marked(c.PeakRSS)
		}
		say("| %s | %s | %s | %s | %s | %s | %s |", titled(&r, m), ratioText(c.Rate), target,
			verdict(c.Rate.Median, r.targets[peer]), p99, rss, ratioText(c.CPU))
	}
}

// titled names the row with the number of keys where that was a flag.
func titled(r *row, m *measured) string {
	if r.kind == bench.List {
		return fmt.Sprintf("%s, bucket of %d", r.title, m.Under.Keys)
	}
	return r.title
}

// marked says that more than 1 is a missed target.
func marked(ratio float64) string {
	if ratio > 1 {
		return " **missed**"
	}
	return ""
}

func verdict(ratio, target float64) string {
	switch {
	case target == 0:
		return ""
	case ratio >= target:
		return "met"
	}
	return "**missed**"
}

// worst is the largest median.
func worst(of map[string]bench.Spread) bench.Spread {
	var w bench.Spread
	for _, s := range of {
		if s.Median > w.Median {
			w = s
		}
	}
	return w
}

func ratioText(s bench.Spread) string {
	return fmt.Sprintf("%.2f× (%.2f–%.2f)", s.Median, s.Low, s.High)
}

// figures is every row's own numbers.
func (p *program) figures(say func(string, ...any), kept *results) {
	say("| Operation | Server | Items/s (low–high) | MiB/s | p50 ms | p99 ms | Server's CPU of an item, ms | Client's, ms | Peak memory, MiB |")
	say("|---|---|---|---|---|---|---|---|---|")
	for _, r := range rows() {
		for _, peer := range p.opts.peers {
			m := kept.find(r.id, peer)
			if m == nil {
				continue
			}
			for _, e := range m.Report.Endpoints {
				name := e.Name
				if name == hallig {
					name += " (beside " + peer + ")"
				}
				var rss, cpu float64
				if e.Server != nil {
					rss, cpu = float64(e.Server.PeakRSS)/mib, e.Server.CPUPerOne
				}
				say("| %s | %s | %.0f (%.0f–%.0f) | %.1f | %s | %s | %.4f | %.4f | %.0f |", titled(&r, m), name,
					e.Rate.Median, e.Rate.Low, e.Rate.High, e.MiBs.Median,
					quantiles(e.Latency, func(l bench.Latency) float64 { return l.P50 }),
					quantiles(e.Latency, func(l bench.Latency) float64 { return l.P99 }),
					cpu, 1000*e.ClientCPU/float64(max(1, e.Items)), rss)
			}
		}
	}
}

// quantiles is a latency of each operation; named if there are several.
func quantiles(of map[string]bench.Latency, value func(bench.Latency) float64) string {
	var names []string
	for name := range of {
		names = append(names, name)
	}
	slices.Sort(names)
	var out []string
	for _, name := range names {
		text := fmt.Sprintf("%.2f", value(of[name]))
		if len(names) > 1 {
			text = name + " " + text
		}
		out = append(out, text)
	}
	return strings.Join(out, ", ")
}

// floorTables shows the limit and what share of the CPU time it is.
func (p *program) floorTables(say func(string, ...any), kept *results) {
	say("What the work takes at least on one core of this machine: the libraries' calls and the system's with nothing around them (`go test -bench . ./bench/floor`). The clock of an fdatasync is the disk's.")
	say("")
	say("| Work | CPU | Clock |")
	say("|---|---|---|")
	for _, c := range kept.Floor {
		say("| %s | %s µs a %s | %s µs |", c.Name, micro(c.CPU), c.Unit, micro(c.Clock))
	}
	say("")
	say("The floor of an item (object, key of a listing) is the sum of what Hallig's promises and S3 ask for: bytes through loopback once, MD5 for the ETag, AES-GCM, BLAKE3 for the vouches of each shard, CRC32C and a write of every byte stored, an fdatasync on each drive involved, shared by all the clients. Not in it: HTTP and XML, signatures, the catalog, the runtime.")
	say("")
	say("| Operation | Floor, ms | Hallig's CPU, ms | Floor's share | MinIO's CPU, ms | VersityGW's CPU, ms | The floor's parts |")
	say("|---|---|---|---|---|---|---|")
	for _, r := range rows() {
		sum, parts := kept.sum(r.floor(&r))
		own := kept.cpu(r.id, p.opts.peers, hallig)
		share := "–"
		if own > 0 {
			share = fmt.Sprintf("%.0f %%", 100*sum/own)
		}
		say("| %s | %.3g | %s | %s | %s | %s | %s |", r.title, sum, orDash(own), share,
			orDash(kept.cpu(r.id, []string{minio}, minio)), orDash(kept.cpu(r.id, []string{versitygw}, versitygw)), parts)
	}
}

func micro(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d)/1000) }

func orDash(v float64) string {
	if v == 0 {
		return "–"
	}
	return fmt.Sprintf("%.3g", v)
}

// cpu is a server's CPU time for an item in milliseconds: the least of the
// runs beside those peers, 0 if none was measured.
func (r *results) cpu(row string, peers []string, server string) float64 {
	least := 0.0
	for _, peer := range peers {
		m := r.find(row, peer)
		if m == nil {
			continue
		}
		for _, e := range m.Report.Endpoints {
			if e.Name == server && e.Server != nil && (least == 0 || e.Server.CPUPerOne < least) {
				least = e.Server.CPUPerOne
			}
		}
	}
	return least
}

// sum adds up a floor in milliseconds and names its parts, largest first.
func (r *results) sum(parts []part) (float64, string) {
	byWork := map[string]float64{}
	total := 0.0
	for _, p := range parts {
		c, ok := r.cost(p.work)
		if !ok {
			continue
		}
		ms := c.CPU.Seconds() * 1000 * p.amount
		byWork[string(p.work)] += ms
		total += ms
	}
	var names []string
	for name := range byWork {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		if byWork[a] != byWork[b] {
			return int(1e9 * (byWork[b] - byWork[a]))
		}
		return strings.Compare(a, b)
	})
	var out []string
	for _, name := range names {
		if byWork[name] >= total/100 {
			out = append(out, fmt.Sprintf("%s %.0f %%", name, 100*byWork[name]/total))
		}
	}
	return total, strings.Join(out, ", ")
}
