package upkeep

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/objects"
)

const day = 24 * time.Hour

// rules sets the bucket's lifecycle configuration and versioning.
func (w *world) rules(v catalog.Versioning, rules ...string) {
	w.t.Helper()
	_, err := w.Store.UpdateBucket(w.t.Context(), "b", func(b *objects.Bucket) error {
		b.Versioning = v
		if b.Documents == nil {
			b.Documents = map[objects.Document][]byte{}
		}
		b.Documents[objects.DocLifecycle] = []byte("<LifecycleConfiguration><Rule>" + strings.Join(rules, "</Rule><Rule>") + "</Rule></LifecycleConfiguration>")
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) lifecycle() Expired {
	w.t.Helper()
	e, err := w.u.Lifecycle(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

// versions counts a key's versions and delete markers.
func (w *world) versions(key string) (versions, markers int) {
	w.t.Helper()
	page, err := w.Store.List(w.t.Context(), "b", catalog.Query{What: catalog.ListVersions, Prefix: key, Limit: 1000})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, i := range page.Items {
		if i.Version.Key != key {
			continue
		}
		if i.Version.DeleteMarker {
			markers++
		} else {
			versions++
		}
	}
	return versions, markers
}

const enabled = "<Status>Enabled</Status>"

func TestExpireCurrent(t *testing.T) {
	var names []string
	w := newWorld(t, 1, func(c *Config) { c.Events = func(e objects.Event) { names = append(names, e.Name) } }, nil)
	w.rules(catalog.Unversioned,
		"<Filter><Prefix>logs/</Prefix></Filter>"+enabled+"<Expiration><Days>3</Days></Expiration>",
		"<Filter><Tag><Key>a</Key><Value>b</Value></Tag></Filter>"+enabled+"<Expiration><Days>1</Days></Expiration>",
		"<Filter/><Status>Disabled</Status><Expiration><Days>1</Days></Expiration>")
	w.put("logs/x", 10)
	w.put("keep", 10)
	w.put("tagged", 10)
	if _, err := w.Store.Change(t.Context(), "b", "tagged", "", func(v *catalog.Version) error {
		v.Tags = []catalog.Tag{{Key: "a", Value: "b"}}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if e := w.lifecycle(); e != (Expired{}) {
		t.Fatalf("too early: %+v", e)
	}
	w.pass(2 * day)
	if e := w.lifecycle(); e != (Expired{Current: 1}) {
		t.Fatalf("the tagged one: %+v", e)
	}
	w.pass(2 * day)
	if e := w.lifecycle(); e != (Expired{Current: 1}) {
		t.Fatalf("the log: %+v", e)
	}
	w.pass(100 * day)
	if e := w.lifecycle(); e != (Expired{}) {
		t.Fatalf("nothing is left: %+v", e)
	}
	delete(w.bodies, "logs/x")
	delete(w.bodies, "tagged")
	w.mustCheck()
	if strings.Join(names, " ") != "LifecycleExpiration:Delete LifecycleExpiration:Delete" {
		t.Errorf("events %v", names)
	}
	w.pass(time.Hour)
	if s, err := w.u.Sweep(t.Context()); err != nil || s.Garbage != 2 {
		t.Fatalf("%+v %v", s, err)
	}
}

func TestExpireVersions(t *testing.T) {
	w := newWorld(t, 1, nil, nil)
	w.rules(catalog.Enabled,
		"<Filter/>"+enabled+"<Expiration><Days>10</Days></Expiration><NoncurrentVersionExpiration><NoncurrentDays>5</NoncurrentDays><NewerNoncurrentVersions>2</NewerNoncurrentVersions></NoncurrentVersionExpiration>")
	for i := range 6 {
		w.put("k", 10+i)
	}
	w.pass(7 * day)
	if e := w.lifecycle(); e != (Expired{Noncurrent: 3}) { // 6, less the current and two newer noncurrent ones
		t.Fatalf("%+v", e)
	}
	if v, m := w.versions("k"); v != 3 || m != 0 {
		t.Fatal(v, m)
	}
	w.mustCheck()
	w.pass(5 * day)
	if e := w.lifecycle(); e.Current != 1 {
		t.Fatalf("%+v", e)
	}
	if v, m := w.versions("k"); v != 3 || m != 1 {
		t.Fatal("a current version expires by a delete marker", v, m)
	}
	// Three noncurrent versions now, of which the newest two stay.
	if e := w.lifecycle(); e != (Expired{Noncurrent: 1}) {
		t.Fatalf("%+v", e)
	}
	if e := w.lifecycle(); e != (Expired{}) {
		t.Fatalf("a delete marker does not expire again: %+v", e)
	}
	// When nothing is below it any more the marker goes.
	w.rules(catalog.Enabled, "<Filter/>"+enabled+"<Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration><NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays></NoncurrentVersionExpiration>")
	w.pass(30 * day)
	if e := w.lifecycle(); e.Noncurrent != 2 || e.Markers != 0 {
		t.Fatalf("%+v", e)
	}
	if e := w.lifecycle(); e != (Expired{Markers: 1}) {
		t.Fatalf("%+v", e)
	}
	if v, m := w.versions("k"); v != 0 || m != 0 {
		t.Fatal(v, m)
	}
}

// TestExpireRaces: an object that was written anew, and one under a lock, stay.
func TestExpireRaces(t *testing.T) {
	raced := false
	w := newWorld(t, 1, nil, nil)
	w.put("k", 10)
	w.put("locked", 10)
	w.rules(catalog.Unversioned, "<Filter/>"+enabled+"<Expiration><Days>1</Days></Expiration>")
	w.pass(3 * day)
	lossy := &lossyCatalog{Catalog: w.Catalog, fail: func(r catalog.Request) (bool, bool) {
		if d, ok := r.Ops[0].(catalog.DeleteVersion); ok && d.Key == "k" && !raced {
			raced = true
			w.put("k", 20) // between the judgement and the removal
		}
		return false, false
	}}
	if _, err := w.Store.Change(t.Context(), "b", "locked", "", func(v *catalog.Version) error { v.LegalHold = true; return nil }); err != nil {
		t.Fatal(err)
	}
	w.edit = func(c *Config) { c.Catalog = lossy }
	w.restart(w.session)
	if e := w.lifecycle(); e != (Expired{Held: 1}) || !raced {
		t.Fatalf("%+v, raced %v", e, raced)
	}
	w.mustCheck()
}

// TestExpireLocked: no rule removes a version under an object lock: not the
// current one, not a noncurrent one, and not the null version that a delete
// marker of a suspended bucket would replace. The unlocked twin goes each time.
func TestExpireLocked(t *testing.T) {
	const current, noncurrent = "<Expiration><Days>1</Days></Expiration>", "<NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays></NoncurrentVersionExpiration>"
	for _, c := range []struct {
		made, then catalog.Versioning
		rule       string
		again      bool // the locked version becomes noncurrent
	}{
		{catalog.Unversioned, catalog.Unversioned, current, false},
		{catalog.Unversioned, catalog.Suspended, current, false},
		{catalog.Enabled, catalog.Enabled, noncurrent, true},
		{catalog.Unversioned, catalog.Enabled, noncurrent, true},
	} {
		w := newWorld(t, 1, nil, nil)
		w.rules(c.made, "<Filter/>"+enabled+c.rule)
		w.put("free", 10)
		w.put("locked", 10)
		locked, err := w.Store.Change(t.Context(), "b", "locked", "", func(v *catalog.Version) error {
			v.Retention = catalog.Retention{Mode: "COMPLIANCE", Until: v.Modified.Add(1000 * day)}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		w.rules(c.then, "<Filter/>"+enabled+c.rule)
		if c.again {
			w.put("free", 20)
			w.put("locked", 20)
		} else {
			delete(w.bodies, "free")
		}
		w.pass(10 * day)
		if e := w.lifecycle(); e.Held != 1 || e.Current+e.Noncurrent != 1 {
			t.Errorf("%+v: %+v", c, e)
		}
		if v, err := w.Store.Head(t.Context(), "b", "locked", locked.ID()); err != nil || v.Revision != locked.Revision {
			t.Errorf("%+v: the locked version is gone: %v", c, err)
		}
		w.mustCheck()
	}
}

func TestAbortUploads(t *testing.T) {
	w := newWorld(t, 1, nil, nil)
	w.rules(catalog.Unversioned, "<Filter><Prefix>u/</Prefix></Filter>"+enabled+"<AbortIncompleteMultipartUpload><DaysAfterInitiation>2</DaysAfterInitiation></AbortIncompleteMultipartUpload>")
	for _, key := range []string{"u/x", "keep"} {
		up, err := w.Store.CreateUpload(t.Context(), objects.CreateUploadRequest{Bucket: "b", Key: key})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Store.PutPart(t.Context(), objects.PutPartRequest{Bucket: "b", Key: key, Upload: up.ID, Number: 1, Body: bytes.NewReader([]byte("part")), Size: 4}); err != nil {
			t.Fatal(err)
		}
	}
	if e := w.lifecycle(); e != (Expired{}) {
		t.Fatalf("%+v", e)
	}
	if c := w.compare(); c.Orphans+c.Alive > 0 {
		t.Fatalf("the parts of open uploads are no orphans: %v", c)
	}
	w.pass(4 * day)
	if e := w.lifecycle(); e != (Expired{Uploads: 1}) {
		t.Fatalf("%+v", e)
	}
	w.pass(time.Hour)
	if s, err := w.u.Sweep(t.Context()); err != nil || s.Garbage != 1 || s.Shards == 0 {
		t.Fatalf("%+v %v", s, err)
	}
}

// TestOneBadBucket: a configuration that cannot be read keeps no other bucket
// from its rules.
func TestOneBadBucket(t *testing.T) {
	w := newWorld(t, 1, nil, nil)
	w.rules(catalog.Unversioned, "<Filter/>"+enabled+"<Expiration><Days>1</Days></Expiration>")
	w.put("k", 1)
	if _, err := w.Store.CreateBucket(t.Context(), objects.Bucket{Name: "a", Owner: "o",
		Documents: map[objects.Document][]byte{objects.DocLifecycle: []byte("nonsense")}}); err != nil {
		t.Fatal(err)
	}
	w.pass(3 * day)
	e, err := w.u.Lifecycle(t.Context())
	if err == nil || !strings.Contains(err.Error(), "bucket a") || e.Current != 1 {
		t.Fatalf("%+v %v", e, err)
	}
}
