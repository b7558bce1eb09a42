package bench

import (
	"slices"
)

// Report is what was measured. Rates are per second of wall time, latencies in
// milliseconds, sizes in bytes.
type Report struct {
	Kind         Kind    `json:"kind"`
	Sizes        string  `json:"sizes"`
	PartSize     int64   `json:"part_size,omitempty"`
	Batch        int     `json:"batch,omitempty"`
	Concurrency  int     `json:"concurrency"`
	Keys         int     `json:"keys"`
	Seed         uint64  `json:"seed"`
	Payload      Payload `json:"payload"`
	Verified     bool    `json:"verified"`
	WarmUp       float64 `json:"warm_up_seconds"`
	SliceSeconds float64 `json:"slice_seconds"`
	Interrupted  bool    `json:"interrupted,omitempty"`

	Endpoints  []Result    `json:"endpoints"`            // one, or two that are compared
	Comparison *Comparison `json:"comparison,omitempty"` // the first to the second
}

// Result is one endpoint's.
type Result struct {
	Name       string             `json:"name"`
	Seconds    float64            `json:"seconds"` // measured, all slices
	Operations int64              `json:"operations"`
	Items      int64              `json:"items"` // objects; for listings keys
	Errors     int64              `json:"errors"`
	Wrong      int64              `json:"wrong"` // of the errors: answers that were not what was put
	FirstError string             `json:"first_error,omitempty"`
	Bytes      int64              `json:"bytes"`
	Rate       Spread             `json:"items_per_second"` // over the slices
	MiBs       Spread             `json:"mib_per_second"`   // over the slices
	Latency    map[string]Latency `json:"latency_ms"`       // by operation, all slices
	Server     *Server            `json:"server,omitempty"`
	ClientCPU  float64            `json:"client_cpu_seconds"`
	Disk       *Disk              `json:"disk,omitempty"`
	Slices     []Slice            `json:"slices"`
}

// Slice is one stretch of a measurement.
type Slice struct {
	Seconds   float64            `json:"seconds"`
	Items     int64              `json:"items"`
	Bytes     int64              `json:"bytes"`
	ServerCPU float64            `json:"server_cpu_seconds"`
	ClientCPU float64            `json:"client_cpu_seconds"`
	Latency   map[string]Latency `json:"latency_ms"`
}

// Latency is the distribution of one operation's latencies, in milliseconds.
type Latency struct {
	Count int64   `json:"count"`
	P50   float64 `json:"p50"`
	P90   float64 `json:"p90"`
	P99   float64 `json:"p99"`
	Max   float64 `json:"max"`
}

// Spread is a value over several slices: the median, the least and the most.
type Spread struct {
	Median float64 `json:"median"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
}

// Comparison is the first endpoint's values divided by the second's: the ratio
// of the medians over the slices, with the least and the most ratio of two
// slices that were measured next to each other. A value that one side lacks is
// 0.
type Comparison struct {
	Rate    Spread            `json:"rate"` // above 1: the first does more
	CPU     Spread            `json:"cpu"`  // server's CPU time of an item; below 1: the first takes less
	P50     map[string]Spread `json:"p50"`  // by operation; below 1: the first is faster
	P99     map[string]Spread `json:"p99"`
	PeakRSS float64           `json:"peak_rss"`
}

// Disk is what the server's directories grew by.
type Disk struct {
	Stored   int64   `json:"stored"` // bytes of objects put
	Used     int64   `json:"used"`   // bytes that the directories grew by
	Overhead float64 `json:"overhead"`
}

func newSlice(c *counts, seconds, serverCPU, clientCPU float64) Slice {
	return Slice{
		Seconds: seconds, Items: c.items, Bytes: c.bytes, ServerCPU: serverCPU, ClientCPU: clientCPU,
		Latency: latencies(c),
	}
}

func latencies(c *counts) map[string]Latency {
	out := map[string]Latency{}
	for kind, h := range c.hists {
		out[string(kind)] = h.latency()
	}
	return out
}

// rate is the slice's items per second.
func (s *Slice) rate() float64 { return ratio(float64(s.Items), s.Seconds) }

// cpu is the server's CPU seconds for an item.
func (s *Slice) cpu() float64 { return ratio(s.ServerCPU, float64(s.Items)) }

func report(cfg *Config, sides []*side) Report {
	rep := Report{
		Kind: cfg.Kind, Sizes: cfg.Sizes.String(), Concurrency: cfg.Concurrency, Keys: cfg.Keys, Seed: cfg.Seed,
		Payload: cfg.Payload, Verified: !cfg.NoVerify, WarmUp: max(0, cfg.WarmUp.Seconds()),
		SliceSeconds: cfg.Duration.Seconds() / float64(cfg.Slices),
	}
	if cfg.Kind == Multipart {
		rep.PartSize = cfg.PartSize
	}
	if cfg.Kind == MultiDelete {
		rep.Batch = cfg.Batch
	}
	for _, s := range sides {
		rep.Endpoints = append(rep.Endpoints, s.result())
	}
	if len(rep.Endpoints) == 2 {
		c := compare(&rep.Endpoints[0], &rep.Endpoints[1])
		rep.Comparison = &c
	}
	return rep
}

func (s *side) result() Result {
	r := Result{
		Name: s.end.Name, Seconds: s.seconds, Items: s.counts.items, Errors: s.counts.errs, Wrong: s.counts.wrong,
		FirstError: s.counts.first, Bytes: s.counts.bytes, Latency: latencies(&s.counts), Slices: s.slices,
		Rate: spread(s.slices, (*Slice).rate),
		MiBs: spread(s.slices, func(x *Slice) float64 { return ratio(float64(x.Bytes), x.Seconds) / (1 << 20) }),
	}
	cpu := 0.0
	for i := range s.slices {
		cpu += s.slices[i].ServerCPU
		r.ClientCPU += s.slices[i].ClientCPU
	}
	for kind, h := range s.counts.hists {
		if kind != partOp {
			r.Operations += h.n
		}
	}
	r.Server = s.server.result(cpu, r.Items)
	if d, err := diskGrown(s.end.Disks, s.disk, s.stored.Load()); err == nil {
		r.Disk = d // a directory that went away meanwhile is not worth the run
	}
	return r
}

// compare divides a's values by b's.
func compare(a, b *Result) Comparison {
	c := Comparison{
		Rate: ratios(a.Slices, b.Slices, (*Slice).rate),
		CPU:  ratios(a.Slices, b.Slices, (*Slice).cpu),
		P50:  map[string]Spread{}, P99: map[string]Spread{},
	}
	for op := range a.Latency {
		if _, ok := b.Latency[op]; ok {
			c.P50[op] = ratios(a.Slices, b.Slices, func(s *Slice) float64 { return s.Latency[op].P50 })
			c.P99[op] = ratios(a.Slices, b.Slices, func(s *Slice) float64 { return s.Latency[op].P99 })
		}
	}
	if a.Server != nil && b.Server != nil {
		c.PeakRSS = ratio(float64(a.Server.PeakRSS), float64(b.Server.PeakRSS))
	}
	return c
}

func spread(of []Slice, value func(*Slice) float64) Spread {
	var values []float64
	for i := range of {
		values = append(values, value(&of[i]))
	}
	return spreadOf(values)
}

func spreadOf(values []float64) Spread {
	if len(values) == 0 {
		return Spread{}
	}
	slices.Sort(values)
	n := len(values)
	return Spread{Median: (values[(n-1)/2] + values[n/2]) / 2, Low: values[0], High: values[n-1]}
}

func ratios(a, b []Slice, value func(*Slice) float64) Spread {
	var paired []float64
	n := min(len(a), len(b))
	for i := range n {
		paired = append(paired, ratio(value(&a[i]), value(&b[i])))
	}
	s := spreadOf(paired)
	s.Median = ratio(spread(a[:n], value).Median, spread(b[:n], value).Median)
	return s
}

// ratio is a/b, 0 if b is.
func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}
