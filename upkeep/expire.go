package upkeep

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/objects"
	"github.com/hallig-cloud/hallig/upkeep/lifecycle"
)

// Expired is what Lifecycle did.
type Expired struct {
	Current    int64 // current versions expired
	Noncurrent int64 // noncurrent versions removed
	Markers    int64 // lone delete markers removed
	Uploads    int64 // incomplete uploads aborted
	Held       int64 // versions that an object lock keeps
}

// Lifecycle goes through every bucket with rules and does what is due. Every
// removal holds only if the version is still the one that was judged.
func (u *Upkeep) Lifecycle(ctx context.Context) (Expired, error) {
	u.lifecycleMu.Lock()
	defer u.lifecycleMu.Unlock()
	w := u.work(taskLifecycle, "versions", hallig.DriveID{})
	w.begin(0, 0)
	var e Expired
	var failed error
	err := u.eachBucket(ctx, func(b objects.Bucket) error {
		doc := b.Documents[objects.DocLifecycle]
		if len(doc) == 0 {
			return nil
		}
		rules, err := lifecycle.Parse(doc)
		if err == nil && rules.Acts() {
			x := &expiry{u: u, b: b, rules: rules, now: u.config.Now(), e: &e, w: w}
			err = x.run(ctx)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil { // one bucket must not keep the others waiting
			failed = errors.Join(failed, fmt.Errorf("bucket %s: %w", b.Name, err))
		}
		return nil
	})
	w.edit(func(t *Task) {
		n := e.Current + e.Noncurrent + e.Markers + e.Uploads
		t.Found, t.Fixed = t.Found+n, t.Fixed+n
		t.Detail = fmt.Sprintf("expired %d objects, %d noncurrent versions, %d delete markers; aborted %d uploads; %d are locked",
			e.Current, e.Noncurrent, e.Markers, e.Uploads, e.Held)
	})
	return e, errors.Join(err, failed)
}

// An expiry goes through one bucket.
type expiry struct {
	u     *Upkeep
	b     objects.Bucket
	rules *lifecycle.Configuration
	now   time.Time
	e     *Expired
	w     *work

	key   string    // of the versions seen last
	count int       // noncurrent versions of it so far that are not delete markers
	since time.Time // Modified of the version before (newer)
	last  *catalog.Summary
}

func (x *expiry) run(ctx context.Context) error {
	q := catalog.Query{Bucket: x.b.ID, What: catalog.ListVersions, Limit: 1000}
	for {
		page, err := x.u.config.Catalog.List(ctx, q)
		if err != nil {
			return err
		}
		for i := range page.Items {
			if err := x.version(ctx, &page.Items[i].Version); err != nil {
				return err
			}
			x.w.add(1)
		}
		if !page.Truncated {
			break
		}
		q.After = page.Next
	}
	if err := x.lone(ctx); err != nil {
		return err
	}
	return x.uploads(ctx)
}

// version judges one version; they come by key, the newest first.
func (x *expiry) version(ctx context.Context, s *catalog.Summary) error {
	if s.Key != x.key || x.last == nil {
		if err := x.lone(ctx); err != nil {
			return err
		}
		x.key, x.count, x.last = s.Key, 0, s
		x.since = time.UnixMilli(s.Modified)
		if s.DeleteMarker {
			return nil // judged when it is known to be alone
		}
		return x.current(ctx, s)
	}
	x.last = &catalog.Summary{Key: s.Key} // the newest is not alone
	since := x.since
	x.since = time.UnixMilli(s.Modified)
	newer := x.count
	if !s.DeleteMarker {
		x.count++
	}
	o := object(s)
	at, _, ok := x.rules.Noncurrent(o, since, newer)
	v, due, err := x.due(ctx, s, at, ok, func(o lifecycle.Object) (time.Time, string, bool) { return x.rules.Noncurrent(o, since, newer) })
	if err != nil || !due {
		return err
	}
	return x.remove(ctx, s, v, &x.e.Noncurrent)
}

func object(s *catalog.Summary) lifecycle.Object {
	return lifecycle.Object{Key: s.Key, Size: s.Size, Modified: time.UnixMilli(s.Modified)}
}

// due reads the version if a rule may apply to it (a list shows no tags) and
// judges it as it is.
func (x *expiry) due(ctx context.Context, s *catalog.Summary, at time.Time, ok bool, judge func(lifecycle.Object) (time.Time, string, bool)) (catalog.Version, bool, error) {
	if (!ok || at.After(x.now)) && !x.tags() {
		return catalog.Version{}, false, nil
	}
	v, err := x.u.config.Catalog.Head(ctx, x.b.ID, s.Key, s.ID)
	if errors.Is(err, hallig.ErrNotFound) {
		return v, false, nil
	}
	if err != nil {
		return v, false, err
	}
	at, _, ok = judge(lifecycle.Object{Key: v.Key, Size: v.Size, Tags: v.Tags, Modified: v.Modified})
	return v, ok && !at.After(x.now), nil
}

func (x *expiry) tags() bool {
	for i := range x.rules.Rules {
		if x.rules.Rules[i].Enabled && len(x.rules.Rules[i].Filter.Tags) > 0 {
			return true
		}
	}
	return false
}

// current expires a current version: for good in an unversioned bucket, by a
// delete marker in others.
func (x *expiry) current(ctx context.Context, s *catalog.Summary) error {
	at, _, ok := x.rules.Expiration(object(s))
	v, due, err := x.due(ctx, s, at, ok, x.rules.Expiration)
	if err != nil || !due {
		return err
	}
	if x.b.Versioning == catalog.Unversioned {
		return x.remove(ctx, s, v, &x.e.Current)
	}
	res, err := x.commit(ctx, catalog.Delete{
		Key: s.Key, Versioning: x.b.Versioning, At: x.now, Owner: x.b.Owner,
		If: catalog.Precondition{IfMatch: []string{v.ETag}, IfSize: &v.Size, IfModified: &v.Modified},
	})
	if err != nil || res.Err != nil {
		return x.passed(err, res.Err)
	}
	x.e.Current++
	x.u.config.Events(objects.Event{Name: "LifecycleExpiration:DeleteMarkerCreated", Bucket: x.b.Name, Version: res.Version, At: x.now})
	return nil
}

// lone judges the key's newest version if it is a delete marker with nothing
// below it.
func (x *expiry) lone(ctx context.Context) error {
	s := x.last
	x.last = nil
	if s == nil || !s.DeleteMarker {
		return nil
	}
	at, _, ok := x.rules.Marker(s.Key, time.UnixMilli(s.Modified))
	if !ok || at.After(x.now) {
		return nil
	}
	v, err := x.u.config.Catalog.Head(ctx, x.b.ID, s.Key, s.ID)
	if errors.Is(err, hallig.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return x.remove(ctx, s, v, &x.e.Markers)
}

// remove deletes one version for good, if it is still v.
func (x *expiry) remove(ctx context.Context, s *catalog.Summary, v catalog.Version, count *int64) error {
	res, err := x.commit(ctx, catalog.DeleteVersion{Key: s.Key, Version: s.ID, At: x.now, IfEdit: v.Edit})
	if err != nil || res.Err != nil {
		return x.passed(err, res.Err)
	}
	*count++
	x.u.config.Events(objects.Event{Name: "LifecycleExpiration:Delete", Bucket: x.b.Name, Version: v, At: x.now})
	return nil
}

// passed forgives what only says that somebody was faster, or that a lock
// holds.
func (x *expiry) passed(err, refused error) error {
	switch {
	case err != nil:
		return err
	case errors.Is(refused, hallig.ErrLockHeld):
		x.e.Held++
		return nil
	case errors.Is(refused, hallig.ErrConflict), errors.Is(refused, hallig.ErrNotFound), errors.Is(refused, hallig.ErrPrecondition):
		return nil
	}
	return refused
}

func (x *expiry) commit(ctx context.Context, op catalog.Op) (catalog.Result, error) {
	if err := x.u.take(ctx, x.u.ops, 1); err != nil {
		return catalog.Result{}, err
	}
	res, err := x.u.config.Catalog.Commit(ctx, catalog.Request{
		ID: hallig.NewID(), Session: x.u.config.Session, Bucket: x.b.ID, Epoch: x.b.Epoch, Ops: []catalog.Op{op},
	})
	if err != nil {
		return catalog.Result{}, err
	}
	return res[0], nil
}

// uploads aborts incomplete uploads that are too old.
func (x *expiry) uploads(ctx context.Context) error {
	q := catalog.Query{Bucket: x.b.ID, What: catalog.ListUploads, Limit: 1000}
	for {
		page, err := x.u.config.Catalog.List(ctx, q)
		if err != nil {
			return err
		}
		for _, i := range page.Items {
			if i.Upload == nil {
				continue
			}
			at, _, ok := x.rules.Abort(i.Upload.Key, i.Upload.Initiated)
			if !ok || at.After(x.now) {
				continue
			}
			res, err := x.commit(ctx, catalog.AbortUpload{Key: i.Upload.Key, Upload: i.Upload.ID})
			if err == nil && res.Err == nil {
				x.e.Uploads++
			} else if err := x.passed(err, res.Err); err != nil {
				return err
			}
		}
		if !page.Truncated {
			return nil
		}
		q.After = page.Next
	}
}
