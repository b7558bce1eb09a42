package node

import (
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/hallig-cloud/hallig/s3"
	"github.com/hallig-cloud/hallig/shard"
)

// metrics are the node's figures for Prometheus.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	errors   *prometheus.CounterVec
	latency  *prometheus.HistogramVec
	in, out  *prometheus.CounterVec
}

func newMetrics(n *Node) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hallig_s3_requests_total", Help: "S3 requests answered, by operation and HTTP status.",
		}, []string{"operation", "status"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hallig_s3_errors_total", Help: "S3 requests answered with an error, by operation and S3 code.",
		}, []string{"operation", "code"}),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "hallig_s3_request_seconds", Help: "Time from the request's header to the end of the answer, by operation.",
			Buckets: prometheus.ExponentialBuckets(.0005, 2, 18),
		}, []string{"operation"}),
		in: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hallig_s3_received_bytes_total", Help: "Bytes of request bodies as declared, by operation.",
		}, []string{"operation"}),
		out: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hallig_s3_sent_bytes_total", Help: "Bytes of response bodies, by operation.",
		}, []string{"operation"}),
	}
	m.registry.MustRegister(m.requests, m.errors, m.latency, m.in, m.out,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), newNodeCollector(n))
	return m
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// record counts a request. Operations and codes are from fixed tables, so the
// number of series is bounded.
func (m *metrics) record(r s3.Record) {
	op := r.Operation
	if op == "" {
		op = "none"
	}
	m.requests.WithLabelValues(op, strconv.Itoa(r.Status)).Inc()
	if r.Code != "" {
		m.errors.WithLabelValues(op, r.Code).Inc()
	}
	m.latency.WithLabelValues(op).Observe(r.Duration.Seconds())
	m.in.WithLabelValues(op).Add(float64(max(r.BytesIn, 0)))
	m.out.WithLabelValues(op).Add(float64(r.BytesOut))
}

// nodeCollector reads the node's state when Prometheus asks.
type nodeCollector struct {
	n         *Node
	state     *prometheus.Desc
	shards    *prometheus.Desc
	live      *prometheus.Desc
	dead      *prometheus.Desc
	free      *prometheus.Desc
	total     *prometheus.Desc
	bad       *prometheus.Desc
	ready     *prometheus.Desc
	locked    *prometheus.Desc
	mirrors   *prometheus.Desc
	taskDone  *prometheus.Desc
	taskTotal *prometheus.Desc
	taskFound *prometheus.Desc
	taskFixed *prometheus.Desc
	taskFail  *prometheus.Desc
	memory    *prometheus.Desc
	build     *prometheus.Desc
}

func newNodeCollector(n *Node) *nodeCollector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("hallig_"+name, help, labels, nil)
	}
	return &nodeCollector{
		n:         n,
		state:     desc("drive_state", "1 for the state that the drive is in.", "drive", "path", "state"),
		shards:    desc("drive_shards", "Live shards.", "drive"),
		live:      desc("drive_live_bytes", "Bytes of live shards.", "drive"),
		dead:      desc("drive_dead_bytes", "Bytes that compaction will free.", "drive"),
		free:      desc("drive_free_bytes", "Free bytes of the drive's file system.", "drive"),
		total:     desc("drive_total_bytes", "Size of the drive's file system in bytes.", "drive"),
		bad:       desc("drive_quarantined_shards", "Shards found bad and not yet repaired.", "drive"),
		ready:     desc("ready", "1 while S3 requests are served."),
		locked:    desc("keyring_locked", "1 while no root key is in memory."),
		mirrors:   desc("catalog_mirrors", "Mirrors of the catalog, by state.", "state"),
		taskDone:  desc("task_done", "Progress of background work, in its unit.", "task"),
		taskTotal: desc("task_total", "End of background work, in its unit; 0 when not known.", "task"),
		taskFound: desc("task_found_total", "What background work found damaged, missing or unreferenced.", "task"),
		taskFixed: desc("task_fixed_total", "What it healed or removed.", "task"),
		taskFail:  desc("task_failed_total", "What it could not.", "task"),
		memory:    desc("stripe_memory_bytes", "Bytes of stripe buffers in use by requests."),
		build:     desc("build_info", "1.", "version"),
	}
}

// Describe implements prometheus.Collector.
func (c *nodeCollector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

// Collect implements prometheus.Collector.
func (c *nodeCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for _, d := range c.n.fleet.snapshot() {
		id, now := d.id.String(), d.status()
		for _, s := range []shard.State{shard.StateOnline, shard.StateFull, shard.StateReadOnly, shard.StateFailed, shard.StateMissing, shard.StateForeign} {
			gauge(c.state, truth(now.State == s), id, d.path, string(s))
		}
		gauge(c.shards, float64(now.Shards), id)
		gauge(c.live, float64(now.Live), id)
		gauge(c.dead, float64(now.Dead), id)
		gauge(c.free, float64(now.Free), id)
		gauge(c.total, float64(now.Total), id)
		gauge(c.bad, float64(now.Quarantined), id)
	}
	gauge(c.ready, truth(c.n.ready() == nil))
	gauge(c.locked, truth(c.n.keys.ring.Locked()))
	gauge(c.build, 1, c.n.cfg.Version)
	states := map[string]int{}
	for _, m := range c.n.mirrors() {
		states[m.State]++
	}
	for state, count := range states {
		gauge(c.mirrors, float64(count), state)
	}
	for _, t := range c.n.tasks() {
		gauge(c.taskDone, float64(t.Done), t.Name)
		gauge(c.taskTotal, float64(t.Total), t.Name)
		gauge(c.taskFound, float64(t.Found), t.Name)
		gauge(c.taskFixed, float64(t.Fixed), t.Name)
		gauge(c.taskFail, float64(t.Failed), t.Name)
	}
	if s := c.n.store.Load(); s != nil {
		gauge(c.memory, float64(s.objects.MemoryInUse()))
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
