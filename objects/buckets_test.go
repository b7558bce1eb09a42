package objects_test

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/objects"
	"github.com/hallig-cloud/hallig/objects/objectstest"
	"github.com/hallig-cloud/hallig/placement"
	"github.com/hallig-cloud/hallig/seal"
)

// A second Store over the same catalog, as another gateway is.
func gateway(t *testing.T, m *objectstest.Mesh, c catalog.Catalog) *objects.Store {
	t.Helper()
	if c == nil {
		c = m.Catalog
	}
	s, err := objects.New(objects.Config{Catalog: c, Drives: m.Drives, Keys: m.Keys, Mesh: m.Keys.Mesh(), Session: hallig.NewID()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// A deaf catalog never tells of changes.
type deaf struct{ catalog.Catalog }

func (deaf) Watch(catalog.Kind, func()) func() { return func() {} }

// When UpdateBucket has returned, every later write obeys, through a gateway
// that has not heard of it too.
func TestLaterWritesObey(t *testing.T) {
	m := objectstest.NewMesh(t, objectstest.Options{})
	a, b := m.Store, gateway(t, m, deaf{m.Catalog})
	bucket(t, a, objects.Bucket{Name: "b"})
	if v := put(t, b, "b", "k", body(1, 10)); !v.Null {
		t.Fatal("a version in a bucket without")
	}
	if _, err := a.UpdateBucket(ctx, "b", func(b *objects.Bucket) error { b.Versioning = catalog.Enabled; return nil }); err != nil {
		t.Fatal(err)
	}
	if v := put(t, b, "b", "k", body(1, 10)); v.Null {
		t.Error("a write after the change did not obey it")
	}
	lock := objects.Lock{Enabled: true, Mode: "COMPLIANCE", Days: 3}
	if _, err := a.UpdateBucket(ctx, "b", func(b *objects.Bucket) error { b.Lock = lock; return nil }); err != nil {
		t.Fatal(err)
	}
	v := put(t, b, "b", "k", body(1, 10))
	if v.Retention.Mode != "COMPLIANCE" || !v.Retention.Until.Equal(v.Modified.AddDate(0, 0, 3)) {
		t.Errorf("retention %+v of a version made at %s", v.Retention, v.Modified)
	}
	res, err := b.Delete(ctx, "b", objects.DeleteRequest{Key: "k", Version: v.ID(), Bypass: true})
	if err != nil || !errors.Is(res[0].Err, hallig.ErrLockHeld) {
		t.Errorf("delete of a locked version: %v %v", res, err)
	}
}

func TestUpdateBucket(t *testing.T) {
	m := objectstest.NewMesh(t, objectstest.Options{})
	s := m.Store
	first := bucket(t, s, objects.Bucket{Name: "b", Owner: "o"})
	no := errors.New("no")
	if _, err := s.UpdateBucket(ctx, "b", func(b *objects.Bucket) error { b.Owner = "x"; return no }); !errors.Is(err, no) {
		t.Error(err)
	}
	if b, _ := s.Bucket(ctx, "b"); b.Owner != "o" {
		t.Error("a refused change was stored")
	}
	b, err := s.UpdateBucket(ctx, "b", func(b *objects.Bucket) error {
		b.Documents = map[objects.Document][]byte{objects.DocPolicy: []byte("{}")}
		b.ID, b.Name, b.Epoch = hallig.NewID(), "x", 99
		return nil
	})
	if err != nil || b.ID != first.ID || b.Name != "b" || b.Epoch != first.Epoch || string(b.Documents[objects.DocPolicy]) != "{}" {
		t.Errorf("%+v %v", b, err)
	}
	if _, err := s.UpdateBucket(ctx, "b", func(b *objects.Bucket) error { b.Survive = "the flood"; return nil }); !errors.Is(err, hallig.ErrInvalid) {
		t.Error(err)
	}
	_, err = s.UpdateBucket(ctx, "b", func(b *objects.Bucket) error {
		b.Documents[objects.DocCORS] = make([]byte, catalog.MaxRecord)
		return nil
	})
	if !errors.Is(err, hallig.ErrTooLarge) {
		t.Error(err)
	}
	if _, err := s.UpdateBucket(ctx, "b", func(b *objects.Bucket) error { b.Key = []byte("no key"); return nil }); err == nil {
		t.Error("a key that does not open was stored")
	}
	if err := m.Keys.Rotate(func(*seal.Secrets) error { return nil }); err != nil {
		t.Fatal(err)
	}
	rewrap := func(b *objects.Bucket) (err error) {
		b.Key, _, err = m.Keys.RewrapBucket(b.ID, b.Key)
		return err
	}
	if b, err = s.UpdateBucket(ctx, "b", rewrap); err != nil {
		t.Fatal(err)
	}
	if _, stale, err := m.Keys.RewrapBucket(b.ID, b.Key); err != nil || stale {
		t.Errorf("the key wrapped anew was not stored: stale %v, %v", stale, err)
	}
	// Concurrent changes are all kept.
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			_, err := s.UpdateBucket(ctx, "b", func(b *objects.Bucket) error {
				if b.Documents == nil {
					b.Documents = map[objects.Document][]byte{}
				}
				b.Documents[objects.Document(fmt.Sprint(i))] = []byte("x")
				b.Lock.Days++ // raises the epoch each time
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if b, _ = s.Bucket(ctx, "b"); len(b.Documents) != 11 || b.Lock.Days != 10 || b.Epoch != first.Epoch+10 {
		t.Errorf("%d documents, %d days, epoch %d", len(b.Documents), b.Lock.Days, b.Epoch)
	}
}

// A crash after the first of a creation's or deletion's two steps leaves what
// the next request completes.
func TestCrashBetweenBucketSteps(t *testing.T) {
	h := &hookedCatalog{}
	m := hook(t, h)
	s := m.Store
	crash := errors.New("crash")
	h.before = func(catalog.Request) error { return crash }
	if _, err := s.CreateBucket(ctx, objects.Bucket{Name: "b"}); !errors.Is(err, crash) {
		t.Fatal(err)
	}
	h.before = nil
	put(t, gateway(t, m, nil), "b", "k", body(1, 5)) // opens it
	if _, err := s.CreateBucket(ctx, objects.Bucket{Name: "b"}); !errors.Is(err, hallig.ErrExists) {
		t.Fatal(err)
	}
	// A change whose second step is missing is finished by the next writer.
	h.before = func(catalog.Request) error { return crash }
	if _, err := s.UpdateBucket(ctx, "b", func(b *objects.Bucket) error { b.Versioning = catalog.Enabled; return nil }); !errors.Is(err, crash) {
		t.Fatal(err)
	}
	h.before = nil
	if v := put(t, s, "b", "k", body(1, 5)); v.Null {
		t.Error("the change was lost")
	}
	for _, next := range []string{"create", "delete", "write"} {
		name := "c" + next
		old := bucket(t, s, objects.Bucket{Name: name})
		h.update = func() error { return crash }
		if err := s.DeleteBucket(ctx, name); !errors.Is(err, crash) {
			t.Fatal(err)
		}
		h.update = nil
		switch next {
		case "create":
			if b := bucket(t, s, objects.Bucket{Name: name}); b.ID == old.ID {
				t.Error("the bucket is the old one")
			}
			put(t, s, name, "k", body(1, 5))
		case "delete":
			if err := s.DeleteBucket(ctx, name); err != nil {
				t.Error(err)
			}
			if _, err := s.Bucket(ctx, name); !errors.Is(err, hallig.ErrNotFound) {
				t.Error(err)
			}
		case "write":
			_, err := s.Put(ctx, objects.PutRequest{Bucket: name, Key: "k", Body: bytes.NewReader(nil)})
			if !errors.Is(err, hallig.ErrNotFound) {
				t.Error(err)
			}
			if _, err := s.Bucket(ctx, name); !errors.Is(err, hallig.ErrNotFound) {
				t.Error(err)
			}
		}
	}
}

// A bucket that is deleted and made anew under a write does not take it.
func TestBucketMadeAnewUnderAWrite(t *testing.T) {
	m := objectstest.NewMesh(t, objectstest.Options{})
	s, other := m.Store, gateway(t, m, nil)
	bucket(t, s, objects.Bucket{Name: "b"})
	r := &triggered{Reader: bytes.NewReader(body(1, 1000)), do: func() {
		if err := other.DeleteBucket(ctx, "b"); err != nil {
			t.Error(err)
		}
		bucket(t, other, objects.Bucket{Name: "b"})
	}}
	_, err := s.Put(ctx, objects.PutRequest{Bucket: "b", Key: "k", Body: r, Size: -1})
	if !errors.Is(err, hallig.ErrNotFound) {
		t.Errorf("%v", err)
	}
}

// Writers and the deletion of their bucket: either the bucket is gone and no
// write succeeded after, or it stands.
func TestDeleteBucketRacesWriters(t *testing.T) {
	m := objectstest.NewMesh(t, objectstest.Options{})
	s := m.Store
	for i := range 20 {
		name := fmt.Sprint("b", i)
		bucket(t, s, objects.Bucket{Name: name})
		var written atomic.Int64
		var deleted error
		var wg sync.WaitGroup
		for j := range 4 {
			wg.Go(func() {
				_, err := s.Put(ctx, objects.PutRequest{Bucket: name, Key: fmt.Sprint(j), Body: bytes.NewReader(nil)})
				if err == nil {
					written.Add(1)
				} else if !errors.Is(err, hallig.ErrNotFound) {
					t.Error(err)
				}
			})
		}
		wg.Go(func() { deleted = s.DeleteBucket(ctx, name) })
		wg.Wait()
		_, err := s.Bucket(ctx, name)
		switch {
		case deleted == nil && (written.Load() > 0 || !errors.Is(err, hallig.ErrNotFound)):
			t.Fatalf("deleted with %d objects in it (%v)", written.Load(), err)
		case deleted != nil && (!errors.Is(deleted, hallig.ErrNotEmpty) || err != nil):
			t.Fatalf("%v %v", deleted, err)
		}
	}
}

func TestBuckets(t *testing.T) {
	s := objectstest.New(t)
	for i := range 5 {
		bucket(t, s, objects.Bucket{Name: fmt.Sprint("b", i)})
	}
	list, err := s.Buckets(ctx, "b1", 2)
	if err != nil || len(list) != 2 || list[0].Name != "b2" || list[1].Name != "b3" {
		t.Errorf("%v %v", list, err)
	}
	for _, bad := range []objects.Bucket{{}, {Name: string(make([]byte, 300))}, {Name: "x", Survive: "it"}} {
		if _, err := s.CreateBucket(ctx, bad); !errors.Is(err, hallig.ErrInvalid) {
			t.Errorf("%v", err)
		}
	}
	if _, err := s.Put(ctx, objects.PutRequest{Bucket: "none", Key: "k"}); !errors.Is(err, hallig.ErrNotFound) {
		t.Error(err)
	}
}

func TestChange(t *testing.T) {
	m := objectstest.NewMesh(t, objectstest.Options{})
	s := m.Store
	bucket(t, s, objects.Bucket{Name: "b", Versioning: catalog.Enabled})
	v := put(t, s, "b", "k", body(1, 5))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			_, err := s.Change(ctx, "b", "k", v.ID(), func(v *catalog.Version) error {
				v.Tags = append(v.Tags, catalog.Tag{Key: fmt.Sprint(i)})
				v.Size, v.ETag, v.Extents = 7, "x", nil // not attributes: ignored
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	now, err := s.Head(ctx, "b", "k", v.ID())
	if err != nil || len(now.Tags) != 8 || now.Size != 5 || now.ETag != v.ETag || now.ID() != v.ID() || !now.Modified.Equal(v.Modified) {
		t.Errorf("%+v %v", now, err)
	}
	if got, err := get(s, now, 0, -1); err != nil || !bytes.Equal(got, body(1, 5)) {
		t.Error(err)
	}
	if _, err := s.Delete(ctx, "b", objects.DeleteRequest{Key: "k", Owner: "o"}); err != nil {
		t.Fatal(err)
	}
	marker, err := s.Head(ctx, "b", "k", "")
	if !errors.Is(err, hallig.ErrNotFound) || !marker.DeleteMarker || marker.Owner != "o" {
		t.Errorf("%+v %v", marker, err)
	}
	if _, err := s.Change(ctx, "b", "k", "", func(*catalog.Version) error { return nil }); !errors.Is(err, hallig.ErrNotFound) {
		t.Error(err)
	}
}

// Gateways that need a new pool at the same moment agree on one.
func TestPoolsAgree(t *testing.T) {
	m := objectstest.NewMesh(t, objectstest.Options{Drives: 6})
	top := m.Drives.Topology()
	ids := make([]hallig.PoolID, 8)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			p, err := objects.EnsurePool(ctx, m.Catalog, top, hallig.SurviveTwoDrives, placement.Large)
			if err != nil {
				t.Error(err)
				return
			}
			ids[i] = p.ID
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Fatalf("pools %v", ids)
		}
	}
	small, err := objects.EnsurePool(ctx, m.Catalog, top, hallig.SurviveTwoDrives, placement.Small)
	if err != nil || small.ID == ids[0] || small.Scheme.K != 1 {
		t.Errorf("%+v %v", small, err)
	}
	var refused *placement.Refusal
	if _, err := objects.EnsurePool(ctx, m.Catalog, top, hallig.SurviveTwoProviders, placement.Small); !errors.As(err, &refused) {
		t.Errorf("%v", err)
	}
	m.Drives.Add()
	wider, err := objects.EnsurePool(ctx, m.Catalog, m.Drives.Topology(), hallig.SurviveTwoDrives, placement.Large)
	if err != nil || wider.ID == ids[0] {
		t.Errorf("no new pool after a drive was added: %v", err)
	}
	all, err := objects.Pools(ctx, m.Catalog)
	if err != nil || len(all) != 3 {
		t.Errorf("%d pools, %v", len(all), err)
	}
}

// A drive that failed is tried again after a while.
func TestDrivesComeBack(t *testing.T) {
	clock := objectstest.NewClock()
	m := objectstest.NewMesh(t, objectstest.Options{Drives: 3, Config: func(c *objects.Config) { c.Now = clock.Now }})
	bucket(t, m.Store, objects.Bucket{Name: "b"})
	id := m.Drives.IDs()[0]
	whole := put(t, m.Store, "b", "k", body(1, 10)).Extents[0].Pool
	m.Drives.Mem(id).SetState("failed", "test")
	narrow := put(t, m.Store, "b", "k", body(1, 10)).Extents[0].Pool
	if narrow == whole {
		t.Fatal("written to a pool with a failed drive")
	}
	m.Drives.Mem(id).SetState("online", "")
	clock.Advance(time.Minute)
	if p := put(t, m.Store, "b", "k", body(1, 10)).Extents[0].Pool; p != whole {
		t.Errorf("pool %d after the drive came back, want %d", p, whole)
	}
}
