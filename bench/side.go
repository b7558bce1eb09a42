package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// side is one endpoint under load, with everything that was measured of it.
type side struct {
	cfg     *Config
	end     Endpoint
	workers []*worker
	helpers []*worker // that only put and remove small objects beside them
	server  *process
	disk    int64 // bytes used before

	next    atomic.Int64 // number of the next new object
	deleted atomic.Int64 // number of the next object to delete
	first   int64        // below it nothing is left but the first kept objects
	kept    int64        // objects below this number stay until the end
	stored  atomic.Int64 // bytes of objects put

	mu    sync.Mutex
	queue []object // of the mix's own puts, oldest first

	slices  []Slice
	counts  counts
	seconds float64
}

// Small objects are put for a load, and removed after it, with this many
// requests at once if the load itself has fewer. Larger ones are not, since
// what they take would be seen in the server's memory.
const (
	unmeasured  = 32
	smallObject = 64 << 10
)

func newSides(cfg *Config) ([]*side, error) {
	ends := []Endpoint{cfg.Endpoint}
	if cfg.Compare != nil {
		ends = append(ends, *cfg.Compare)
	}
	filler := makeFiller(cfg.Seed)
	var sides []*side
	for _, e := range ends {
		u, err := parseEndpoint(e.URL)
		if err != nil {
			return nil, err
		}
		s := &side{cfg: cfg, end: e, server: &process{pid: e.PID}}
		for i := range max(cfg.Concurrency, unmeasured) {
			w := &worker{side: s, number: i, client: newClient(e, u, cfg, filler)}
			if i < cfg.Concurrency {
				s.workers = append(s.workers, w)
			} else if cfg.Sizes.Mean() <= smallObject {
				s.helpers = append(s.helpers, w)
			}
		}
		sides = append(sides, s)
	}
	return sides, nil
}

func (s *side) close() {
	for _, w := range s.all() {
		w.client.conn.close()
	}
	s.server.end()
}

func (s *side) all() []*worker { return append(slices.Clone(s.workers), s.helpers...) }

// begin makes the bucket and puts what the load works on.
func (s *side) begin(ctx context.Context, live *live) error {
	live.enter(s.end.Name, "preparing", 0, 0)
	if err := s.workers[0].client.makeBucket(ctx); err != nil {
		return fmt.Errorf("make bucket %s: %w", s.end.Bucket, err)
	}
	var err error
	if s.disk, err = diskUsed(s.end.Disks); err != nil {
		return err
	}
	switch s.cfg.Kind {
	case Get, Stat, List, Mixed:
	default:
		return nil
	}
	from := int64(0)
	if s.cfg.Reuse {
		if from, err = s.present(ctx); err != nil {
			return err
		}
	}
	s.kept, s.first = int64(s.cfg.Keys), int64(s.cfg.Keys)
	if err := s.supply(ctx, live, from, s.kept); err != nil {
		return err
	}
	if s.cfg.Kind == Mixed {
		primed := s.kept + 4*int64(s.cfg.Concurrency)
		if err := s.supply(ctx, live, s.kept, primed); err != nil {
			return err
		}
		s.queue = s.objects(s.kept, primed)
	}
	return nil
}

// present says up to which number the objects are there from an earlier run.
// They were put in about the order of their numbers.
func (s *side) present(ctx context.Context) (int64, error) {
	low, high := int64(0), int64(s.cfg.Keys)
	for low < high {
		middle := (low + high) / 2
		err := s.workers[0].client.stat(ctx, s.object(middle))
		se, status := errors.AsType[*statusError](err)
		switch {
		case err == nil:
			low = middle + 1
		case errors.Is(err, errWrongBytes), status && se.status == http.StatusNotFound:
			high = middle
		default:
			return 0, err
		}
	}
	if low == int64(s.cfg.Keys) {
		return low, nil
	}
	return max(0, low-2*int64(len(s.all()))), nil
}

// supply puts the objects from number from up to number to, unmeasured.
func (s *side) supply(ctx context.Context, live *live, from, to int64) error {
	s.next.Store(to)
	live.enter(s.end.Name, "preparing", 0, to-from)
	return s.each(ctx, to-from, func(ctx context.Context, w *worker, i int64) error {
		o := s.object(from + i)
		err := w.client.put(ctx, o)
		if err == nil {
			s.stored.Add(o.size)
			w.counts.took(Put, time.Since(w.client.began))
		}
		live.count(1, o.size, err)
		return err
	})
}

// drainBound is how long an interrupted run waits for requests under way: what
// is cut off may be carried out by the server yet, after the tidying up.
const drainBound = 10 * time.Second

// run lets workers call f until it returns false or ctx ends.
func run(ctx context.Context, workers []*worker, f func(w *worker) bool) {
	var wg, watch sync.WaitGroup
	done := make(chan struct{})
	watch.Go(func() {
		select {
		case <-done:
			return
		case <-ctx.Done():
		}
		select {
		case <-done:
		case <-time.After(drainBound):
			for _, w := range workers {
				w.client.conn.abort()
			}
		}
	})
	for _, w := range workers {
		w.client.conn.renew()
		wg.Go(func() {
			for ctx.Err() == nil && f(w) {
			}
		})
	}
	wg.Wait()
	close(done)
	watch.Wait()
}

// each calls f for every number below n, once, and returns the first error.
// The helpers work too.
func (s *side) each(ctx context.Context, n int64, f func(ctx context.Context, w *worker, i int64) error) error {
	var next atomic.Int64
	var failed atomic.Pointer[error]
	run(ctx, s.all(), func(w *worker) bool {
		i := next.Add(1) - 1
		if i >= n || failed.Load() != nil {
			return false
		}
		if err := f(ctx, w, i); err != nil {
			failed.CompareAndSwap(nil, &err)
			return false
		}
		return true
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

func (s *side) warmUp(ctx context.Context, live *live) error {
	if err := s.ready(ctx, live); err != nil {
		return err
	}
	live.enter(s.end.Name, "warming up", 0, 0)
	s.load(ctx, -1, s.cfg.WarmUp, live)
	return ctx.Err()
}

// forget forgets what was counted.
func (s *side) forget() {
	for _, w := range s.all() {
		w.counts = counts{}
	}
}

// tooMuch is how many bytes of new objects may lie on the server between two
// slices.
const tooMuch = 512 << 20

// ready puts the server into the state that a slice begins with.
func (s *side) ready(ctx context.Context, live *live) error {
	switch s.cfg.Kind {
	case Put, Multipart:
		if s.stored.Load() > tooMuch && !s.cfg.Keep {
			if err := s.remove(ctx, live); err != nil {
				return err
			}
		}
	case Delete, MultiDelete:
		from := s.next.Load()
		if left := s.deleted.Load(); left < from {
			s.first = left
			if err := s.remove(ctx, live); err != nil {
				return err
			}
		}
		s.first = from
		s.deleted.Store(from)
		if err := s.supply(ctx, live, from, from+int64(s.cfg.Keys)); err != nil {
			return err
		}
	}
	s.cfg.BeforeSlice()
	return ctx.Err()
}

// slice measures once.
func (s *side) slice(ctx context.Context, number int, live *live) error {
	if err := s.ready(ctx, live); err != nil {
		return err
	}
	s.forget()
	live.enter(s.end.Name, "measuring", number+1, 0)
	before, own := s.server.cpu(), ownCPU()
	began := time.Now()
	s.load(ctx, number, s.cfg.Duration/time.Duration(s.cfg.Slices), live)
	seconds := time.Since(began).Seconds()
	after, ownAfter := s.server.cpu(), ownCPU()
	var c counts
	for _, w := range s.workers {
		c.add(&w.counts)
	}
	s.stored.Add(s.putBytes(&c))
	s.slices = append(s.slices, newSlice(&c, seconds, after-before, ownAfter-own))
	s.counts.add(&c)
	s.seconds += seconds
	return ctx.Err()
}

func (s *side) putBytes(c *counts) int64 {
	if s.cfg.Kind == Put || s.cfg.Kind == Multipart {
		return c.bytes
	}
	return 0
}

// load lets the workers work for a while. The numbers that they draw depend on
// the seed, the slice and the worker.
func (s *side) load(ctx context.Context, slice int, d time.Duration, live *live) {
	for i, w := range s.workers {
		w.random = rand.New(rand.NewPCG(s.cfg.Seed, mix(uint64(slice+1), uint64(i))))
	}
	deadline := time.Now().Add(d)
	run(ctx, s.workers, func(w *worker) bool {
		items, bytes, more, err := w.step(ctx, s.cfg.Kind)
		if ctx.Err() != nil || !more {
			return false
		}
		live.count(items, bytes, err)
		if err != nil {
			w.failed(ctx, err)
		} else {
			w.counts.items += items
			w.counts.bytes += bytes
		}
		return time.Now().Before(deadline)
	})
}

// failed counts an error, and waits a moment so that a server that is gone is
// not asked a million times.
func (w *worker) failed(ctx context.Context, err error) {
	w.counts.errs++
	if errors.Is(err, errWrongBytes) {
		w.counts.wrong++
	}
	if w.counts.first == "" {
		w.counts.first = err.Error()
	}
	select {
	case <-ctx.Done():
	case <-time.After(10 * time.Millisecond):
	}
}

// Of what was put without being read, and of what was deleted, this many
// objects and bytes are looked at in the end.
const (
	checkedObjects = 64
	checkedBytes   = 256 << 20
)

// check reads a sample of what the load has put, or asks for what it deleted.
func (s *side) check(ctx context.Context, live *live) error {
	from, to := s.first, s.next.Load()
	switch s.cfg.Kind {
	case Put, Multipart:
	case Delete, MultiDelete:
		to = min(to, s.deleted.Load())
	default:
		return nil
	}
	if s.cfg.NoVerify || from >= to {
		return nil
	}
	n := min(to-from, checkedObjects, max(1, int64(checkedBytes/max(1, s.cfg.Sizes.Mean()))))
	live.enter(s.end.Name, "checking", 0, n)
	var mu sync.Mutex
	return s.each(ctx, n, func(ctx context.Context, w *worker, i int64) error {
		err := s.checkOne(ctx, w, s.object(from+i*(to-from)/n))
		live.count(1, 0, err)
		if err != nil {
			mu.Lock()
			defer mu.Unlock()
			s.counts.errs++
			s.counts.wrong++
			if s.counts.first == "" {
				s.counts.first = err.Error()
			}
		}
		return nil
	})
}

func (s *side) checkOne(ctx context.Context, w *worker, o object) error {
	_, err := w.client.get(ctx, o)
	if s.cfg.Kind == Put || s.cfg.Kind == Multipart {
		return err
	}
	if se, ok := errors.AsType[*statusError](err); ok && se.status == http.StatusNotFound {
		return nil
	}
	return fmt.Errorf("%s is still there after its deletion: %w", o.key, errors.Join(err, errWrongBytes))
}

// remove deletes the new objects that are left.
func (s *side) remove(ctx context.Context, live *live) error {
	const batch = 1000
	from, to := s.first, s.next.Load()
	live.enter(s.end.Name, "cleaning", 0, to-from)
	err := s.each(ctx, (to-from+batch-1)/batch, func(ctx context.Context, w *worker, i int64) error {
		objects := s.objects(from+i*batch, min(to, from+(i+1)*batch))
		err := w.client.deleteMany(ctx, objects)
		live.count(int64(len(objects)), 0, err)
		return err
	})
	if err == nil {
		s.first = to
		s.stored.Store(0)
	}
	return err
}

// clean deletes everything that the run has put.
func (s *side) clean(ctx context.Context, live *live) error {
	if s.kept > 0 {
		s.first = 0
	}
	return s.remove(ctx, live)
}

// oldest takes the oldest object that a put of the mix has made.
func (s *side) oldest() (object, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		return object{}, false
	}
	o := s.queue[0]
	s.queue = s.queue[1:]
	return o, true
}

func (s *side) fresh(o object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue = append(s.queue, o)
}

func (s *side) object(n int64) object {
	return object{s.key(n), uint64(n), s.cfg.Sizes.of(mix(s.cfg.Seed^0x5a5a, uint64(n)))}
}

func (s *side) objects(from, to int64) []object {
	out := make([]object, 0, max(0, to-from))
	for n := from; n < to; n++ {
		out = append(out, s.object(n))
	}
	return out
}

// folders is the number of common prefixes that keys are spread over: servers
// that keep a directory for each get no directory of a million files.
const folders = 256

func (s *side) key(n int64) string { return string(s.appendKey(nil, n)) }

// appendKey appends the key of object n: PREFIX 2 hexadecimal digits / 10
// digits.
func (s *side) appendKey(b []byte, n int64) []byte {
	const hexDigits = "0123456789abcdef"
	folder := n % folders
	b = append(b, s.cfg.Prefix...)
	b = append(b, hexDigits[folder>>4&15], hexDigits[folder&15], '/')
	var digits [20]byte
	d := strconv.AppendInt(digits[:0], n, 10)
	for range max(0, 10-len(d)) {
		b = append(b, '0')
	}
	return append(b, d...)
}

// after is the number of the key that follows n's in a listing of the first
// Keys objects, -1 after the last.
func (s *side) after(n int64) int64 {
	keys := int64(s.cfg.Keys)
	if n+folders < keys {
		return n + folders
	}
	if next := n%folders + 1; next < folders && next < keys {
		return next
	}
	return -1
}

// before is the number of the key that precedes n's, -1 before the first.
func (s *side) before(n int64) int64 {
	if n >= folders {
		return n - folders
	}
	if n == 0 {
		return -1
	}
	return lastIn(n-1, int64(s.cfg.Keys))
}

// lastIn is the largest number below keys in a folder.
func lastIn(folder, keys int64) int64 { return folder + (keys-1-folder)/folders*folders }

// folder is the folder, and so the number of its first key, in which a worker
// begins to list.
func (s *side) folder(worker int) int64 {
	return int64(worker) % int64(s.cfg.Concurrency) * int64(min(folders, s.cfg.Keys)) / int64(s.cfg.Concurrency)
}
