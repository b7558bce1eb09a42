package upkeep

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/fxamacker/cbor/v2"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/placement"
)

// Reencoded is what Reencode did.
type Reencoded struct {
	Versions int64 // looked at; here and below parts of open uploads count as versions
	Moved    int64 // versions re-encoded
	Bytes    int64 // plaintext of those
	Held     int64 // versions that should be and cannot: see errDisputed
	Waiting  int64 // versions whose new pool has drives that are away: they wait until these are back or lost
	Failed   int64
	Short    int64 // of those that did not move: their pool does not keep the promise
}

// errAway says that too few drives of the new pool are there. It does not wrap
// hallig.ErrUnavailable: nothing was committed, and nothing is in doubt.
var errAway = errors.New("drives of the new pool are away")

// force marks a data id to be re-encoded whatever its pool: some shard of it
// cannot be repaired under its present id.
func (u *Upkeep) force(data hallig.DataID) {
	u.mu.Lock()
	u.forced[data] = true
	u.mu.Unlock()
	u.kick(taskReencode)
}

// reencodePage is how many versions and parts are read at once.
const reencodePage = 200

// errDisputed says that drives contradict each other about a stripe whose vouch
// cannot be checked: it was written under a customer's key before buckets vouched
// for such stripes.
var errDisputed = errors.New("drives contradict each other about a stripe under a customer's key, and only that key tells who is right")

// Reencode moves every version, and every part of an open upload, whose pool is
// no longer what its bucket's promise and the topology ask for into the pool
// that is: its stripes are read, opened, coded anew under the next generation,
// and the catalog is changed if the version or part is still as it was read. The
// old stripes become garbage. What is under a customer's key is moved without
// being opened: its sealed segments stay as they are, and its bucket vouches for
// them. Nothing is written for a version whose new pool lacks drives just now:
// when they are back or declared lost, Run makes another pass. A topology that
// changes while a pass is under way counts from the next version on.
func (u *Upkeep) Reencode(ctx context.Context) (Reencoded, error) {
	u.reencodeMu.Lock()
	defer u.reencodeMu.Unlock()
	w := u.work(taskReencode, "versions", hallig.DriveID{})
	w.begin(0, 0)
	var r Reencoded
	p := &planner{u: u}
	p.look()
	u.noteDrives()
	u.mu.Lock()
	begun, narrowed := p.t, u.narrowed
	u.mu.Unlock()
	if err := p.readBuckets(ctx); err != nil {
		return r, err
	}
	var cursor []byte
	for {
		found, next, err := u.config.Catalog.Walk(ctx, cursor, reencodePage)
		if err != nil {
			return r, fmt.Errorf("walk the catalog: %w", err)
		}
		for _, f := range found {
			h := holderOf(f)
			if h == nil {
				continue
			}
			r.Versions++
			p.look()
			if err := u.reencodeIfNeeded(ctx, p, h, &r); err != nil {
				return r, err
			}
		}
		w.edit(func(t *Task) {
			t.Done = r.Versions
			t.Detail = fmt.Sprintf("%d versions and parts moved (%d bytes), %d failed, %d wait for drives, %d held back because drives contradict each other", r.Moved, r.Bytes, r.Failed, r.Waiting, r.Held)
		})
		if next == nil {
			w.edit(func(t *Task) {
				t.Found += r.Moved + r.Failed + r.Waiting + r.Held
				t.Fixed += r.Moved
				t.Failed += r.Failed
			})
			if r.Short == 0 {
				u.keep(ctx, begun, narrowed)
			}
			return r, nil
		}
		cursor = next
	}
}

func (u *Upkeep) reencodeIfNeeded(ctx context.Context, p *planner, h *holder, r *Reencoded) error {
	to, err := p.plan(ctx, h)
	if err != nil || to == nil {
		return err
	}
	short, err := p.short(ctx, h, to)
	if err != nil {
		return err
	}
	moved := r.Moved
	defer func() {
		if short && r.Moved == moved {
			r.Short++
		}
	}()
	if !p.takes(h, to) && !u.config.hasty {
		r.Waiting++
		return nil
	}
	switch err := u.reencode(ctx, p, h, to); {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, errAway): // they went meanwhile
		r.Waiting++
		u.config.Logger.Debug("a re-encoding waits for drives", "version", h.String(), "err", err)
	case errors.Is(err, errDisputed):
		r.Held++
		u.config.Logger.Error("a version cannot be re-encoded; it stays in its pool", "version", h.String(), "err", err)
	case errors.Is(err, hallig.ErrConflict):
		u.kick(taskReencode) // it changed meanwhile: the next pass looks again
	case errors.Is(err, hallig.ErrNotFound):
		if _, err := h.again(ctx, u.config.Catalog); errors.Is(err, hallig.ErrNotFound) {
			short = false // it went meanwhile
		}
		if h.part != nil {
			u.kick(taskReencode) // it may be a version now, where this pass has been already
		}
	case err != nil:
		r.Failed++
		u.config.Logger.Warn("a version could not be re-encoded; it stays in its pool", "version", h.String(), "err", err)
	default:
		r.Moved++
		r.Bytes += h.size()
	}
	return nil
}

// A reencoding is recorded before its first shard is written, so that what a
// crash leaves of it is found and removed.
type reencoding struct {
	Session hallig.SessionID  `cbor:"1,keyasint"`
	Bucket  hallig.BucketID   `cbor:"2,keyasint"`
	Key     string            `cbor:"3,keyasint"`
	Version catalog.VersionID `cbor:"4,keyasint"`
	Extents []catalog.Extent  `cbor:"5,keyasint"` // the new ones
	Upload  hallig.UploadID   `cbor:"6,keyasint,omitzero"`
	Part    int               `cbor:"7,keyasint,omitempty"` // of the upload, instead of a version
}

const reencodePrefix = taskPrefix + "re-encode/"

// reencode moves a holder's extents to the pools given.
func (u *Upkeep) reencode(ctx context.Context, p *planner, h *holder, to []*placement.Pool) error {
	c, err := u.custodyOf(p, h)
	if err != nil {
		return err
	}
	// What was walked over may be old: this is what is replaced.
	now, err := h.again(ctx, u.config.Catalog)
	if err != nil {
		return err
	}
	next := slices.Clone(now.extents())
	r := reencoding{Session: u.config.Session, Bucket: now.bucket()}
	if now.version != nil {
		r.Key, r.Version = now.version.Key, now.version.ID()
	} else {
		r.Key, r.Upload, r.Part = now.upload.Key, now.upload.ID, now.part.Number
	}
	for i, pool := range to {
		if pool == nil {
			continue
		}
		e := &next[i]
		if e.Generation == 1<<16-1 {
			return fmt.Errorf("data %s has used up its generations: %w", e.Data, hallig.ErrUnsupported)
		}
		e.Generation++
		if err := u.freeGeneration(ctx, pool, e); err != nil {
			return err
		}
		e.Pool, e.Count = pool.ID, uint32((e.Length+pool.StripeSize()-1)/pool.StripeSize())
		r.Extents = append(r.Extents, *e)
	}
	name := reencodePrefix + hallig.NewID().String()
	if err := u.saveReencoding(ctx, name, r); err != nil {
		return err
	}
	for i, pool := range to {
		if pool == nil {
			continue
		}
		if err = u.recode(ctx, &now.extents()[i], &next[i], pool, c); err != nil {
			break
		}
	}
	if err == nil {
		err = u.commitExtents(ctx, now, next)
	}
	if err == nil || !errors.Is(err, hallig.ErrUnavailable) {
		return errors.Join(err, u.endReencoding(context.WithoutCancel(ctx), name, r, err != nil))
	}
	return err // in doubt: resumeReencodings settles it
}

// freeGeneration raises the generation past ones that an earlier try used: a
// shard that was deleted cannot be stored again.
func (u *Upkeep) freeGeneration(ctx context.Context, pool *placement.Pool, e *catalog.Extent) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if used := u.tried[e.Data]; used >= e.Generation {
		if used == 1<<16-1 {
			return fmt.Errorf("data %s has used up its generations: %w", e.Data, hallig.ErrUnsupported)
		}
		e.Generation = used + 1
	}
	u.tried[e.Data] = e.Generation
	return ctx.Err()
}

func (u *Upkeep) saveReencoding(ctx context.Context, name string, r reencoding) error {
	value, err := cbor.Marshal(r)
	if err != nil {
		return err
	}
	if err := u.config.Catalog.Update(ctx, catalog.Change{Kind: catalog.KindTask, Name: name, Value: value}); err != nil {
		return fmt.Errorf("record a re-encoding: %w", err)
	}
	return nil
}

// commitExtents makes the re-encoded extents count.
func (u *Upkeep) commitExtents(ctx context.Context, h *holder, extents []catalog.Extent) error {
	if err := u.move(ctx, h, extents); err != nil {
		return err
	}
	generation := map[hallig.DataID]uint16{}
	u.mu.Lock()
	for _, e := range extents {
		generation[e.Data] = e.Generation
		delete(u.forced, e.Data)
		delete(u.tried, e.Data)
	}
	u.mu.Unlock()
	u.queue.drop(u.queue.additions(), func(id stripeID) bool {
		now, ok := generation[id.Data]
		return ok && id.Generation != now
	})
	return nil
}

// endReencoding removes the record, and with discard first what was written.
func (u *Upkeep) endReencoding(ctx context.Context, name string, r reencoding, discard bool) error {
	if discard {
		d := u.newDeletion()
		if err := errors.Join(d.addAll(ctx, r.Extents), d.flush(ctx)); err != nil {
			return err
		}
	}
	err := u.config.Catalog.Update(ctx, catalog.Change{Kind: catalog.KindTask, Name: name, Delete: true, Expect: catalog.AnyRevision})
	if err != nil {
		return fmt.Errorf("remove the record of a re-encoding: %w", err)
	}
	return nil
}

// resumeReencodings settles re-encodings that ended without an answer: of dead
// sessions, fenced first, and our own that are in doubt.
func (u *Upkeep) resumeReencodings(ctx context.Context) error {
	u.reencodeMu.Lock() // none of our own is under way
	defer u.reencodeMu.Unlock()
	for after := reencodePrefix; ; {
		recs, err := u.config.Catalog.Scan(ctx, catalog.KindTask, after, 100)
		if err != nil {
			return fmt.Errorf("read re-encodings: %w", err)
		}
		for _, rec := range recs {
			if len(rec.Name) < len(reencodePrefix) || rec.Name[:len(reencodePrefix)] != reencodePrefix {
				return nil
			}
			after = rec.Name
			var r reencoding
			if err := cbor.Unmarshal(rec.Value, &r); err != nil {
				return fmt.Errorf("re-encoding %s: %w: %w", rec.Name, hallig.ErrCorrupt, err)
			}
			if r.Session != u.config.Session {
				if u.config.Living(r.Session) {
					continue
				}
				if err := u.fence(ctx, r.Session); err != nil {
					return err
				}
			}
			used, err := u.refers(ctx, &r)
			if err != nil {
				return err
			}
			u.mu.Lock()
			for _, e := range r.Extents {
				u.tried[e.Data] = max(u.tried[e.Data], e.Generation)
			}
			u.mu.Unlock()
			if err := u.endReencoding(ctx, rec.Name, r, !used); err != nil {
				return err
			}
		}
		if len(recs) == 0 {
			return nil
		}
	}
}
