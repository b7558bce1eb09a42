// Package bench loads an S3 endpoint and measures it: any S3 endpoint, since
// it is a plain client with AWS signatures of its own and knows nothing of the
// store's insides. It measures the server's memory, CPU and disk as well when
// it is told the process id and the directories.
//
// With a second endpoint to compare with, both get the same load in slices
// that alternate (ABBA), so that what else the machine does falls on both, and
// the report has the ratio of the medians with its spread. What is sent is
// decided by the seed alone.
package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/hallig-cloud/hallig"
)

// Kind is what is measured.
type Kind string

// The kinds of load.
const (
	Put         Kind = "put"         // new objects
	Get         Kind = "get"         // whole objects, read to the end
	Stat        Kind = "stat"        // HEAD
	Delete      Kind = "delete"      // one object each
	MultiDelete Kind = "multidelete" // Config.Batch objects with one request
	List        Kind = "list"        // pages of 1,000 keys, the bucket from end to end
	Multipart   Kind = "multipart"   // new objects in parts of Config.PartSize
	Mixed       Kind = "mixed"       // 45 % get, 30 % stat, 15 % put, 10 % delete
)

// Kinds is every kind, in the order in which "all" measures them.
func Kinds() []Kind { return []Kind{Put, Multipart, Get, Stat, List, Delete, MultiDelete, Mixed} }

// Payload is how bodies are vouched for in the signature.
type Payload string

// The ways to sign a body.
const (
	Unsigned Payload = "unsigned" // UNSIGNED-PAYLOAD: the client hashes nothing
	Signed   Payload = "signed"   // SHA-256, computed before the request's clock starts
)

// Endpoint is a server to load. URL, AccessKey and SecretKey must be set.
type Endpoint struct {
	Name      string // in the report; "" is the URL
	URL       string // http://host:port
	Region    string // "" is us-east-1
	AccessKey string
	SecretKey string
	Bucket    string   // made if missing; "" is hallig-bench
	PID       int      // server's process, for memory and CPU; 0: not measured
	Disks     []string // server's directories, for the overhead; none: not measured
}

// Config says what to do.
type Config struct {
	Endpoint Endpoint
	Compare  *Endpoint // nil: one endpoint alone

	Prefix      string // of every key; "" is bench/
	Kind        Kind
	Sizes       Sizes
	PartSize    int64         // bytes of a part of a multipart upload; 0 is 16 MiB
	Batch       int           // objects of one multi-delete, at most 1,000; 0 is 1,000
	Concurrency int           // requests at once; 0 is 16
	Duration    time.Duration // of the measurement of one endpoint, all slices; 0 is 10 s
	Slices      int           // that it is cut into; 0 is 5
	WarmUp      time.Duration // before it, not counted; 0 is a tenth of the duration, below 0 none
	Keys        int           // objects that get, stat, list and mixed work on, put before, and that one slice of the deletes deletes; 0 is 1000
	Payload     Payload       // "" is Unsigned
	NoVerify    bool          // do not compare what is read with what was put
	Keep        bool          // leave the objects behind
	Reuse       bool          // take the objects that an earlier run with this seed, prefix and size kept, and put only those that are missing
	Seed        uint64        // of the keys drawn, the sizes and the bodies; 0 draws one

	// BeforeSlice, if set, is called before each warm-up and slice.
	BeforeSlice func()
	// Progress is called about twice a second.
	Progress func(Live)
}

// Live is the state of a run.
type Live struct {
	Endpoint   string
	Phase      string // preparing, warming up, measuring, checking, cleaning
	Slice      int    // that is measured, from 1; 0: none
	Elapsed    time.Duration
	Operations int64
	Bytes      int64
	Errors     int64
	Total      int64 // operations to come in all; 0: not known
}

// cleaningBound is how long an interrupted run may take to tidy up.
const cleaningBound = 2 * time.Minute

func (e *Endpoint) fill() error {
	if e.URL == "" || e.AccessKey == "" || e.SecretKey == "" {
		return fmt.Errorf("bench needs an endpoint, an access key and its secret: %w", hallig.ErrInvalid)
	}
	if _, err := parseEndpoint(e.URL); err != nil {
		return fmt.Errorf("%w: %w", err, hallig.ErrInvalid)
	}
	if e.Name == "" {
		e.Name = e.URL
	}
	if e.Region == "" {
		e.Region = "us-east-1"
	}
	if e.Bucket == "" {
		e.Bucket = "hallig-bench"
	}
	return nil
}

func (c *Config) fill() error {
	if err := c.Endpoint.fill(); err != nil {
		return err
	}
	if c.Compare != nil {
		other := *c.Compare
		if err := other.fill(); err != nil {
			return fmt.Errorf("the endpoint to compare with: %w", err)
		}
		if other.URL == c.Endpoint.URL && other.Bucket == c.Endpoint.Bucket {
			return fmt.Errorf("an endpoint compared with itself needs another bucket: %w", hallig.ErrInvalid)
		}
		c.Compare = &other
	}
	if err := c.fillLoad(); err != nil {
		return err
	}
	if c.Prefix == "" {
		c.Prefix = "bench/"
	}
	if c.Seed == 0 {
		c.Seed = rand.Uint64()
	}
	if c.BeforeSlice == nil {
		c.BeforeSlice = func() {}
	}
	if c.Progress == nil {
		c.Progress = func(Live) {}
	}
	return nil
}

func (c *Config) fillLoad() error {
	switch c.Kind {
	case Put, Get, Stat, Delete, MultiDelete, List, Multipart, Mixed:
	default:
		return fmt.Errorf("bench does not know %q: %w", c.Kind, hallig.ErrInvalid)
	}
	switch c.Payload {
	case "":
		c.Payload = Unsigned
	case Unsigned, Signed:
	default:
		return fmt.Errorf("payload %q: unsigned or signed: %w", c.Payload, hallig.ErrInvalid)
	}
	for value, standard := range map[*int]int{&c.Batch: 1000, &c.Concurrency: 16, &c.Slices: 5, &c.Keys: 1000} {
		if *value <= 0 {
			*value = standard
		}
	}
	if c.Batch > 1000 || c.Concurrency > 10_000 || c.Slices > 1000 || c.Keys > 1<<30 {
		return fmt.Errorf("at most 1,000 objects a multi-delete, 10,000 requests at once, 1,000 slices and 2^30 keys: %w", hallig.ErrInvalid)
	}
	if c.PartSize <= 0 {
		c.PartSize = 16 << 20
	}
	if c.Duration <= 0 {
		c.Duration = 10 * time.Second
	}
	if c.WarmUp == 0 {
		c.WarmUp = c.Duration / 10
	}
	return nil
}

// Run carries out one measurement. Failed requests are counted, not returned;
// the error is of the run as a whole. When ctx ends, the report is of what was
// measured until then, says that it was interrupted, and comes with the error;
// the objects are removed all the same.
func Run(ctx context.Context, cfg Config) (Report, error) {
	if err := cfg.fill(); err != nil {
		return Report{}, err
	}
	sides, err := newSides(&cfg)
	if err != nil {
		return Report{}, err
	}
	defer func() {
		for _, s := range sides {
			s.close()
		}
	}()
	live := newLive(cfg.Progress)
	defer live.stop()
	err = measureAll(ctx, &cfg, sides, live)
	rep := report(&cfg, sides)
	rep.Interrupted = ctx.Err() != nil
	if !cfg.Keep {
		// An interrupted run tidies up too.
		bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleaningBound)
		defer cancel()
		if ctx.Err() == nil {
			bound = ctx
		}
		for _, s := range sides {
			if cerr := s.clean(bound, live); cerr != nil {
				err = errors.Join(err, fmt.Errorf("remove the objects from %s: %w", s.end.Name, cerr))
			}
		}
	}
	return rep, err
}

// measureAll prepares, warms up and measures every side.
func measureAll(ctx context.Context, cfg *Config, sides []*side, live *live) error {
	for _, s := range sides {
		if err := s.begin(ctx, live); err != nil {
			return fmt.Errorf("prepare %s: %w", s.end.Name, err)
		}
	}
	if cfg.WarmUp > 0 {
		for _, s := range sides {
			if err := s.warmUp(ctx, live); err != nil {
				return fmt.Errorf("warm up %s: %w", s.end.Name, err)
			}
		}
	}
	for _, s := range sides {
		s.server.begin()
	}
	for i := range cfg.Slices {
		for j := range sides {
			s := sides[(i+j)%len(sides)]
			if err := s.slice(ctx, i, live); err != nil {
				return fmt.Errorf("measure %s: %w", s.end.Name, err)
			}
		}
	}
	for _, s := range sides {
		if err := s.check(ctx, live); err != nil {
			return fmt.Errorf("check %s: %w", s.end.Name, err)
		}
	}
	return nil
}
