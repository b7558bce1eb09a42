package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

// worker makes one request after the other on a connection of its own.
type worker struct {
	side   *side
	number int
	client *client
	random *rand.Rand
	counts counts

	page   page  // of the listing this worker is walking
	want   int64 // number of the key that must come next, -1: none
	walked bool  // it is not the worker's first walk
}

// counts is what was done, by one worker or together.
type counts struct {
	hists map[Kind]*histogram
	items int64 // objects; for listings keys
	bytes int64
	errs  int64
	wrong int64 // of errs: answers that were not what was put
	first string
}

func (c *counts) add(o *counts) {
	if c.hists == nil {
		c.hists = map[Kind]*histogram{}
	}
	for kind, h := range o.hists {
		if c.hists[kind] == nil {
			c.hists[kind] = &histogram{}
		}
		c.hists[kind].merge(h)
	}
	c.items, c.bytes, c.errs, c.wrong = c.items+o.items, c.bytes+o.bytes, c.errs+o.errs, c.wrong+o.wrong
	if c.first == "" {
		c.first = o.first
	}
}

func (c *counts) took(kind Kind, d time.Duration) {
	if c.hists == nil {
		c.hists = map[Kind]*histogram{}
	}
	h := c.hists[kind]
	if h == nil {
		h = &histogram{}
		c.hists[kind] = h
	}
	h.add(d)
}

// step makes one operation of the load; more is false when there is nothing
// left to do in this slice.
func (w *worker) step(ctx context.Context, kind Kind) (items, bytes int64, more bool, err error) {
	s := w.side
	switch kind {
	case Put:
		o := s.object(s.next.Add(1) - 1)
		err = w.client.put(ctx, o)
		return w.one(Put, o.size, err)
	case Multipart:
		o := s.object(s.next.Add(1) - 1)
		return w.multipart(ctx, o)
	case Get:
		o := s.object(w.random.Int64N(int64(s.cfg.Keys)))
		n, err := w.client.get(ctx, o)
		return w.one(Get, n, err)
	case Stat:
		err = w.client.stat(ctx, s.object(w.random.Int64N(int64(s.cfg.Keys))))
		return w.one(Stat, 0, err)
	case Delete:
		i := s.deleted.Add(1) - 1
		if i >= s.next.Load() {
			return 0, 0, false, nil
		}
		return w.one(Delete, 0, w.client.delete(ctx, s.object(i)))
	case MultiDelete:
		return w.deleteBatch(ctx)
	case List:
		return w.list(ctx)
	}
	return w.mixed(ctx)
}

// one accounts for an operation that was one request.
func (w *worker) one(kind Kind, bytes int64, err error) (int64, int64, bool, error) {
	if err == nil {
		w.counts.took(kind, time.Since(w.client.began))
	}
	return 1, bytes, true, err
}

func (w *worker) deleteBatch(ctx context.Context) (items, bytes int64, more bool, err error) {
	s := w.side
	to := s.deleted.Add(int64(s.cfg.Batch))
	from := to - int64(s.cfg.Batch)
	to = min(to, s.next.Load())
	if from >= to {
		return 0, 0, false, nil
	}
	if err := w.client.deleteMany(ctx, s.objects(from, to)); err != nil {
		return 0, 0, true, err
	}
	w.counts.took(MultiDelete, time.Since(w.client.began))
	return to - from, 0, true, nil
}

// list reads the next page and holds its keys against those that must be
// there.
func (w *worker) list(ctx context.Context) (items, bytes int64, more bool, err error) {
	s := w.side
	after := ""
	if w.page.next == "" {
		w.want = 0
		if !w.walked { // workers begin in places of their own
			w.want = s.folder(w.number)
			if before := s.before(w.want); before >= 0 {
				after = s.key(before)
			}
		}
		w.walked = true
	}
	if err := w.client.list(ctx, s.cfg.Prefix, after, &w.page); err != nil {
		w.page.next = ""
		return 0, 0, true, err
	}
	w.counts.took(List, time.Since(w.client.began))
	if !s.cfg.NoVerify {
		var key []byte
		for _, got := range w.page.keys {
			if key = s.appendKey(key[:0], w.want); w.want < 0 || string(key) != string(got) {
				w.page.next = ""
				return 0, 0, true, fmt.Errorf("listing: %s instead of %s: %w", got, key, errWrongBytes)
			}
			w.want = s.after(w.want)
		}
		if w.page.next == "" && w.want >= 0 {
			return 0, 0, true, fmt.Errorf("listing: it ends before %s: %w", s.key(w.want), errWrongBytes)
		}
	}
	return int64(len(w.page.keys)), 0, true, nil
}

// multipart puts an object in parts, one after the other. Each part is timed,
// and so is the whole.
func (w *worker) multipart(ctx context.Context, o object) (items, bytes int64, more bool, err error) {
	id, err := w.client.createUpload(ctx, o)
	if err != nil {
		return 1, 0, true, err
	}
	began := w.client.began
	var etags []string
	for off := int64(0); off < o.size || len(etags) == 0; off += w.side.cfg.PartSize {
		length := min(w.side.cfg.PartSize, o.size-off)
		etag, err := w.client.putPart(ctx, o, id, len(etags)+1, off, length)
		if err != nil {
			return 1, 0, true, w.abandon(ctx, o, id, err)
		}
		w.counts.took(partOp, time.Since(w.client.began))
		etags = append(etags, etag)
	}
	if err := w.client.completeUpload(ctx, o, id, etags); err != nil {
		return 1, 0, true, w.abandon(ctx, o, id, err)
	}
	w.counts.took(Multipart, time.Since(began))
	return 1, o.size, true, nil
}

// partOp is the latency of one part of a multipart upload.
const partOp Kind = "part"

// abandon aborts a failed upload, so that nothing of it is left behind.
func (w *worker) abandon(ctx context.Context, o object, id string, err error) error {
	w.client.conn.renew()
	bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if aerr := w.client.abortUpload(bound, o, id); aerr != nil {
		return fmt.Errorf("%w (and abort the upload: %w)", err, aerr)
	}
	return err
}

// mixed draws an operation. Gets and stats work on the objects that were put
// before; deletes take the oldest of those that the puts of the mix have made,
// so that nobody reads what is being deleted.
func (w *worker) mixed(ctx context.Context) (items, bytes int64, more bool, err error) {
	s := w.side
	kind := draw(w.random)
	if kind == Delete {
		if o, ok := s.oldest(); ok {
			return w.one(Delete, 0, w.client.delete(ctx, o))
		}
		kind = Put
	}
	if kind != Put {
		return w.step(ctx, kind)
	}
	o := s.object(s.next.Add(1) - 1)
	err = w.client.put(ctx, o)
	if err == nil {
		s.fresh(o)
	}
	return w.one(Put, o.size, err)
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
