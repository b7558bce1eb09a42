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
	"github.com/hallig-cloud/hallig/seal"
)

// Reencoded is what Reencode did.
type Reencoded struct {
	Versions int64 // looked at
	Moved    int64 // versions re-encoded
	Bytes    int64 // plaintext of those
	Held     int64 // versions that should be and cannot: under a customer's key
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

// Reencode moves every version whose pool is no longer what its bucket's
// promise and the topology ask for into the pool that is: its stripes are read,
// opened, coded anew under the next generation, and the catalog is changed if
// the version is still as it was read. The old stripes become garbage. Versions
// under a customer's key cannot be: their stripes' vouches need it. Nothing is
// written for a version whose new pool lacks drives just now: when they are
// back or declared lost, Run makes another pass. A topology that changes while
// a pass is under way counts from the next version on.
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
		found, next, err := u.config.Catalog.Walk(ctx, cursor, 200)
		if err != nil {
			return r, fmt.Errorf("walk the catalog: %w", err)
		}
		for _, f := range found {
			if f.Version == nil {
				continue // parts follow when they are a version
			}
			r.Versions++
			p.look()
			if err := u.reencodeIfNeeded(ctx, p, f.Version, &r); err != nil {
				return r, err
			}
		}
		w.edit(func(t *Task) {
			t.Done = r.Versions
			t.Detail = fmt.Sprintf("%d versions moved (%d bytes), %d failed, %d wait for drives, %d held back under customers' keys", r.Moved, r.Bytes, r.Failed, r.Waiting, r.Held)
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

func (u *Upkeep) reencodeIfNeeded(ctx context.Context, p *planner, v *catalog.Version, r *Reencoded) error {
	to, err := p.plan(ctx, v)
	if err != nil || to == nil {
		return err
	}
	short, err := p.short(ctx, v, to)
	if err != nil {
		return err
	}
	moved := r.Moved
	defer func() {
		if short && r.Moved == moved {
			r.Short++
		}
	}()
	if v.Encryption.CustomerCheck != nil {
		r.Held++
		return nil
	}
	if !p.takes(v, to) && !u.config.hasty {
		r.Waiting++
		return nil
	}
	switch err := u.reencode(ctx, p, v, to); {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, errAway): // they went meanwhile
		r.Waiting++
		u.config.Logger.Debug("a re-encoding waits for drives", "bucket", v.Bucket, "version", v.ID(), "err", err)
	case errors.Is(err, hallig.ErrConflict):
		u.kick(taskReencode) // the version changed meanwhile: the next pass looks again
	case errors.Is(err, hallig.ErrNotFound):
		if _, err := u.config.Catalog.Head(ctx, v.Bucket, v.Key, v.ID()); errors.Is(err, hallig.ErrNotFound) {
			short = false // it went meanwhile
		}
	case err != nil:
		r.Failed++
		u.config.Logger.Warn("a version could not be re-encoded; it stays in its pool", "bucket", v.Bucket, "version", v.ID(), "err", err)
	default:
		r.Moved++
		r.Bytes += v.Size
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
}

const reencodePrefix = taskPrefix + "re-encode/"

// reencode moves a version's extents to the pools given.
func (u *Upkeep) reencode(ctx context.Context, p *planner, v *catalog.Version, to []*placement.Pool) error {
	b := p.buckets[v.Bucket]
	keys, err := u.config.Keys.Bucket(b.ID, b.Key)
	if err != nil {
		return err
	}
	key, err := keys.UnwrapData(v.DataKey, seal.Wrapping{Context: v.Encryption.Context})
	if err != nil {
		return err
	}
	// What was walked over may be old: this is what is replaced.
	now, err := u.config.Catalog.Head(ctx, v.Bucket, v.Key, v.ID())
	if err != nil {
		return err
	}
	if now.Edit != v.Edit {
		return fmt.Errorf("the version changed: %w", hallig.ErrConflict)
	}
	next := now
	next.Extents = slices.Clone(now.Extents)
	r := reencoding{Session: u.config.Session, Bucket: v.Bucket, Key: v.Key, Version: v.ID()}
	for i, pool := range to {
		if pool == nil {
			continue
		}
		e := &next.Extents[i]
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
		if err = u.recode(ctx, &now.Extents[i], &next.Extents[i], pool, v.Bucket, key); err != nil {
			break
		}
	}
	if err == nil {
		err = u.commitExtents(ctx, &next)
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

// commitExtents makes the new extents count.
func (u *Upkeep) commitExtents(ctx context.Context, v *catalog.Version) error {
	usage, err := u.config.Catalog.Usage(ctx, v.Bucket)
	if err != nil {
		return err
	}
	results, err := u.config.Catalog.Commit(ctx, catalog.Request{
		ID: hallig.NewID(), Session: u.config.Session, Bucket: v.Bucket, Epoch: usage.Epoch,
		Ops: []catalog.Op{catalog.Update{Version: *v}},
	})
	if err != nil {
		return fmt.Errorf("commit re-encoded extents: %w", err)
	}
	if err := results[0].Err; err != nil {
		return fmt.Errorf("commit re-encoded extents: %w", err)
	}
	generation := map[hallig.DataID]uint16{}
	u.mu.Lock()
	for _, e := range v.Extents {
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
			used, err := u.committed(ctx, r)
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

// committed reports whether the catalog refers to what a re-encoding wrote.
func (u *Upkeep) committed(ctx context.Context, r reencoding) (bool, error) {
	for _, id := range []catalog.VersionID{r.Version, catalog.CurrentVersion} {
		v, err := u.config.Catalog.Head(ctx, r.Bucket, r.Key, id)
		if errors.Is(err, hallig.ErrNotFound) {
			continue
		}
		if err != nil {
			return false, err
		}
		for _, e := range r.Extents {
			if slices.ContainsFunc(v.Extents, func(x catalog.Extent) bool { return x.Data == e.Data && x.Generation == e.Generation }) {
				return true, nil
			}
		}
	}
	return false, nil
}
