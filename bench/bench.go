// Package bench loads an S3 endpoint and measures it: any S3 endpoint, since
// it is a plain client with AWS signatures of its own and knows nothing of the
// store's insides. It measures the server's memory, CPU and disk as well when
// it is told the process id and the directories.
package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hallig-cloud/hallig"
)

// Kind is what is measured.
type Kind string

// The kinds of load.
const (
	Put    Kind = "put"    // new objects
	Get    Kind = "get"    // whole objects, read to the end
	Stat   Kind = "stat"   // HEAD
	Delete Kind = "delete" // one object each
	List   Kind = "list"   // pages of 1000 keys
	Mixed  Kind = "mixed"  // 45 % get, 30 % stat, 15 % put, 10 % delete
)

// Config says what to do. Endpoint, AccessKey, SecretKey and Bucket must be
// set.
type Config struct {
	Endpoint    string // http://host:port
	Region      string // "" is us-east-1
	AccessKey   string
	SecretKey   string
	Bucket      string // made if missing
	Prefix      string // of every key; "" is bench/
	Kind        Kind
	Size        int64         // bytes of an object
	Concurrency int           // requests at once; 0 is 16
	Duration    time.Duration // of the measurement; 0 is 10 s
	Keys        int           // objects that get, stat, list and mixed work on, put before; 0 is 1000
	Keep        bool          // leave the objects behind
	PID         int           // server's process, for memory and CPU; 0: not measured
	Disks       []string      // server's directories, for the overhead; none: not measured
	Seed        uint64        // of the mix; 0 draws one
	// Progress is called about twice a second.
	Progress func(Live)
}

// Live is the state of a run.
type Live struct {
	Phase      string // preparing, measuring, cleaning
	Elapsed    time.Duration
	Operations int64
	Bytes      int64
	Errors     int64
	Total      int64 // operations to come in all; 0: not known
}

// Report is what was measured. Rates are per second of wall time, latencies in
// milliseconds, sizes in bytes.
type Report struct {
	Kind        Kind               `json:"kind"`
	Size        int64              `json:"size"`
	Concurrency int                `json:"concurrency"`
	Seed        uint64             `json:"seed"`
	Seconds     float64            `json:"seconds"`
	Operations  int64              `json:"operations"`
	Errors      int64              `json:"errors"`
	FirstError  string             `json:"first_error,omitempty"`
	Bytes       int64              `json:"bytes"`
	Rate        float64            `json:"operations_per_second"`
	MiBs        float64            `json:"mib_per_second"`
	Latency     map[string]Latency `json:"latency_ms"` // by operation
	Server      *Server            `json:"server,omitempty"`
	Disk        *Disk              `json:"disk,omitempty"`
}

// Latency is the distribution of one operation's latencies, in milliseconds.
type Latency struct {
	Count int64   `json:"count"`
	P50   float64 `json:"p50"`
	P90   float64 `json:"p90"`
	P99   float64 `json:"p99"`
	Max   float64 `json:"max"`
}

// Disk is what the server's directories grew by.
type Disk struct {
	Stored   int64   `json:"stored"` // bytes of objects put
	Used     int64   `json:"used"`   // bytes that the directories grew by
	Overhead float64 `json:"overhead"`
}

func (c *Config) fill() error {
	if c.Endpoint == "" || c.AccessKey == "" || c.SecretKey == "" || c.Bucket == "" {
		return fmt.Errorf("bench needs an endpoint, an access key, its secret and a bucket: %w", hallig.ErrInvalid)
	}
	switch c.Kind {
	case Put, Get, Stat, Delete, List, Mixed:
	default:
		return fmt.Errorf("bench does not know %q: %w", c.Kind, hallig.ErrInvalid)
	}
	if c.Size < 0 || c.Size > 5<<30 {
		return fmt.Errorf("object size of %d bytes: 0 to 5 GiB: %w", c.Size, hallig.ErrInvalid)
	}
	if c.Region == "" {
		c.Region = "us-east-1"
	}
	if c.Prefix == "" {
		c.Prefix = "bench/"
	}
	if c.Concurrency <= 0 {
		c.Concurrency = 16
	}
	if c.Duration <= 0 {
		c.Duration = 10 * time.Second
	}
	if c.Keys <= 0 {
		c.Keys = 1000
	}
	if c.Seed == 0 {
		c.Seed = rand.Uint64()
	}
	if c.Progress == nil {
		c.Progress = func(Live) {}
	}
	return nil
}

// run is one run's state.
type run struct {
	cfg    Config
	client *client
	began  time.Time
	phase  atomic.Value // string
	total  atomic.Int64
	ops    atomic.Int64
	bytes  atomic.Int64
	errs   atomic.Int64

	mu    sync.Mutex
	first string // first error
	hists map[Kind]*histogram
	next  atomic.Int64 // number of the next new key
}

// Run carries out one measurement. Failed requests are counted, not returned;
// the error is of the run as a whole.
func Run(ctx context.Context, cfg Config) (Report, error) {
	if err := cfg.fill(); err != nil {
		return Report{}, err
	}
	r := newRun(cfg)
	stop := r.report()
	defer stop()
	if err := r.client.makeBucket(ctx); err != nil {
		return Report{}, fmt.Errorf("make bucket %s: %w", cfg.Bucket, err)
	}
	before, err := diskUsed(cfg.Disks)
	if err != nil {
		return Report{}, err
	}
	if cfg.Kind != Put {
		if err := r.prepare(ctx); err != nil {
			return Report{}, fmt.Errorf("put the objects to work on: %w", err)
		}
	}
	r.enter("measuring", 0)
	server := watchServer(cfg.PID)
	elapsed := r.measure(ctx)
	rep := r.result(elapsed)
	rep.Server = server.stop()
	if rep.Disk, err = diskGrown(cfg.Disks, before, r.next.Load()*cfg.Size); err != nil {
		return rep, err
	}
	if !cfg.Keep {
		r.enter("cleaning", r.next.Load())
		if err := r.clean(ctx); err != nil {
			return rep, fmt.Errorf("remove the objects: %w", err)
		}
	}
	return rep, ctx.Err()
}

func newRun(cfg Config) *run {
	r := &run{cfg: cfg, client: newClient(cfg), began: time.Now(), hists: map[Kind]*histogram{}}
	r.phase.Store("preparing")
	return r
}

// enter begins a phase and sets the counters back.
func (r *run) enter(phase string, total int64) {
	r.phase.Store(phase)
	r.ops.Store(0)
	r.bytes.Store(0)
	r.errs.Store(0)
	r.total.Store(total)
	r.mu.Lock()
	r.hists, r.first, r.began = map[Kind]*histogram{}, "", time.Now()
	r.mu.Unlock()
}

// report calls Progress until the returned function is called.
func (r *run) report() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				r.mu.Lock()
				began := r.began
				r.mu.Unlock()
				phase, _ := r.phase.Load().(string)
				r.cfg.Progress(Live{phase, time.Since(began), r.ops.Load(), r.bytes.Load(), r.errs.Load(), r.total.Load()})
			}
		}
	})
	return func() { cancel(); wg.Wait() }
}

func (r *run) key(n int64) string { return fmt.Sprintf("%s%02x/%010d", r.cfg.Prefix, n*167%256, n) }

// workers runs f in every worker until it returns false or ctx ends.
func (r *run) workers(ctx context.Context, f func(ctx context.Context, random *rand.Rand) bool) {
	var wg sync.WaitGroup
	for w := range r.cfg.Concurrency {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(r.cfg.Seed, uint64(w)))
			for ctx.Err() == nil && f(ctx, random) {
			}
		})
	}
	wg.Wait()
}

// each runs f for every number below n, once.
func (r *run) each(ctx context.Context, n int64, f func(ctx context.Context, i int64) error) error {
	var next atomic.Int64
	var failed atomic.Pointer[error]
	r.workers(ctx, func(ctx context.Context, _ *rand.Rand) bool {
		i := next.Add(1) - 1
		if i >= n || failed.Load() != nil {
			return false
		}
		if err := f(ctx, i); err != nil {
			failed.CompareAndSwap(nil, &err)
			return false
		}
		return true
	})
	if err := failed.Load(); err != nil {
		return *err
	}
	return ctx.Err()
}

func (r *run) prepare(ctx context.Context) error {
	r.enter("preparing", int64(r.cfg.Keys))
	r.next.Store(int64(r.cfg.Keys))
	return r.each(ctx, int64(r.cfg.Keys), func(ctx context.Context, i int64) error {
		r.ops.Add(1)
		return r.client.put(ctx, r.key(i), r.cfg.Size)
	})
}

func (r *run) clean(ctx context.Context) error {
	const batch = 500
	n := r.next.Load()
	return r.each(ctx, (n+batch-1)/batch, func(ctx context.Context, i int64) error {
		var keys []string
		for k := i * batch; k < min(n, (i+1)*batch); k++ {
			keys = append(keys, r.key(k))
		}
		r.ops.Add(int64(len(keys)))
		return r.client.deleteMany(ctx, keys)
	})
}

// measure loads the server for the duration and returns how long it took.
func (r *run) measure(ctx context.Context) time.Duration {
	deadline, cancel := context.WithTimeout(ctx, r.cfg.Duration)
	defer cancel()
	began := time.Now()
	var deleted atomic.Int64
	r.workers(deadline, func(_ context.Context, random *rand.Rand) bool {
		kind := r.cfg.Kind
		if kind == Mixed {
			kind = draw(random)
		}
		var err error
		var n int64
		start := time.Now()
		switch kind {
		case Put:
			n = r.cfg.Size
			err = r.client.put(ctx, r.key(r.next.Add(1)-1), n)
		case Get:
			n, err = r.client.get(ctx, r.key(random.Int64N(int64(r.cfg.Keys))))
		case Stat:
			err = r.client.stat(ctx, r.key(random.Int64N(int64(r.cfg.Keys))))
		case List:
			_, _, err = r.client.list(ctx, r.cfg.Prefix, r.key(random.Int64N(int64(r.cfg.Keys))))
		case Delete:
			i := deleted.Add(1) - 1
			if r.cfg.Kind == Delete && i >= int64(r.cfg.Keys) {
				return false
			}
			if r.cfg.Kind == Mixed { // what the mix reads stays: put and delete one of its own
				i = r.next.Add(1) - 1
				if err = r.client.put(ctx, r.key(i), r.cfg.Size); err != nil {
					break
				}
				start = time.Now()
			}
			err = r.client.delete(ctx, r.key(i))
		}
		r.count(kind, time.Since(start), n, err)
		return !errors.Is(err, context.Canceled)
	})
	return time.Since(began)
}

func draw(random *rand.Rand) Kind {
	switch n := random.IntN(100); {
	case n < 45:
		return Get
	case n < 75:
		return Stat
	case n < 90:
		return Put
	}
	return Delete
}

func (r *run) count(kind Kind, took time.Duration, n int64, err error) {
	if err != nil {
		r.errs.Add(1)
		r.mu.Lock()
		if r.first == "" {
			r.first = err.Error()
		}
		r.mu.Unlock()
		return
	}
	r.ops.Add(1)
	r.bytes.Add(n)
	r.mu.Lock()
	h := r.hists[kind]
	if h == nil {
		h = &histogram{}
		r.hists[kind] = h
	}
	h.add(took)
	r.mu.Unlock()
}

func (r *run) result(elapsed time.Duration) Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	rep := Report{
		Kind: r.cfg.Kind, Size: r.cfg.Size, Concurrency: r.cfg.Concurrency, Seed: r.cfg.Seed,
		Seconds: elapsed.Seconds(), Operations: r.ops.Load(), Errors: r.errs.Load(), FirstError: r.first,
		Bytes: r.bytes.Load(), Latency: map[string]Latency{},
	}
	rep.Rate = float64(rep.Operations) / rep.Seconds
	rep.MiBs = float64(rep.Bytes) / rep.Seconds / (1 << 20)
	for kind, h := range r.hists {
		rep.Latency[string(kind)] = h.latency()
	}
	return rep
}
