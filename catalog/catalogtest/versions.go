package catalogtest

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
)

func testRequests(t *testing.T, f *fixture) {
	bad := map[string]catalog.Request{
		"no ops":   f.request(),
		"many ops": f.request(make([]catalog.Op, catalog.MaxOps+1)...),
	}
	r := f.request(f.delete("k", catalog.Unversioned))
	r.ID = hallig.ID{}
	bad["no id"] = r
	for name, r := range bad {
		if _, err := f.Commit(f.ctx, r); !errors.Is(err, hallig.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, key := range []string{"", strings.Repeat("x", catalog.MaxKey+1), "\xff"} {
		f.fails(f.put(key, catalog.Unversioned, 1, "e"), hallig.ErrInvalid)
	}
	long := strings.Repeat("ä", catalog.MaxKey/2)
	f.ok(f.put(long, catalog.Unversioned, 1, "e"))
	f.head(long, catalog.CurrentVersion)
	res, err := f.Commit(f.ctx, f.request(f.put("", 0, 1, "e"), f.put("a", 0, 1, "e"), catalog.AbortUpload{Key: "a", Upload: hallig.NewID()}))
	if err != nil || !errors.Is(res[0].Err, hallig.ErrInvalid) || res[1].Err != nil || !errors.Is(res[2].Err, hallig.ErrNotFound) {
		t.Fatal(res, err)
	}
	f.head("a", catalog.CurrentVersion)
}

func testUnversioned(t *testing.T, f *fixture) {
	a := f.ok(f.put("k", catalog.Unversioned, 10, "a"))
	if a.Revision == 0 || a.Edit != a.Revision || !a.Null || !a.Latest || a.ID() != catalog.NullVersion || a.Bucket != f.bucket {
		t.Fatalf("%+v", a)
	}
	b := f.ok(f.put("k", catalog.Unversioned, 20, "b"))
	if b.Revision <= a.Revision {
		t.Fatalf("revisions %d then %d", a.Revision, b.Revision)
	}
	if v := f.head("k", catalog.CurrentVersion); v.Revision != b.Revision || v.Size != 20 || !v.Latest {
		t.Fatalf("%+v", v)
	}
	if v := f.head("k", catalog.NullVersion); v.Revision != b.Revision {
		t.Fatalf("%+v", v)
	}
	f.gone("k", catalog.RevisionID(a.Revision))
	f.gone("k", catalog.RevisionID(b.Revision)) // its only id is "null"
	f.gone("k", "nonsense")
	f.wantUsage(1, 1, 20, 0)
	if g := f.garbage(); len(g) != 1 || g[0].Revision != b.Revision || g[0].Extents[0] != a.Extents[0] || g[0].Bucket != f.bucket {
		t.Fatalf("%+v", g)
	}
	if d := f.ok(f.delete("k", catalog.Unversioned)); d.Revision != b.Revision || d.ETag != "b" || d.DeleteMarker {
		t.Fatalf("%+v", d)
	}
	f.gone("k", catalog.CurrentVersion)
	if d := f.ok(f.delete("k", catalog.Unversioned)); !reflect.DeepEqual(d, catalog.Version{}) {
		t.Fatalf("%+v", d)
	}
	f.wantUsage(0, 0, 0, 0)
	if c := f.ok(f.put("k", catalog.Unversioned, 1, "c")); c.Revision <= b.Revision {
		t.Fatal("a revision was used again")
	}
}

func testEnabled(t *testing.T, f *fixture) {
	null := f.ok(f.put("k", catalog.Unversioned, 1, "n"))
	a := f.ok(f.put("k", catalog.Enabled, 2, "a"))
	m := f.ok(f.delete("k", catalog.Enabled))
	if !m.DeleteMarker || m.Null || m.Owner != "owner" || !m.Modified.Equal(f.now) || m.Revision <= a.Revision {
		t.Fatalf("%+v", m)
	}
	if v := f.head("k", catalog.CurrentVersion); !v.DeleteMarker || v.Revision != m.Revision || v.Owner != "owner" {
		t.Fatalf("%+v", v)
	}
	f.wantUsage(0, 3, 3, 0)
	for id, want := range map[catalog.VersionID]hallig.Revision{catalog.NullVersion: null.Revision, a.ID(): a.Revision, m.ID(): m.Revision} {
		if v := f.head("k", id); v.Revision != want || v.Latest != (want == m.Revision) {
			t.Fatalf("%q: %+v", id, v)
		}
	}
	b := f.ok(f.put("k", catalog.Enabled, 4, "b"))
	f.wantUsage(1, 4, 7, 0)
	if v := f.head("k", ""); v.Revision != b.Revision {
		t.Fatalf("%+v", v)
	}
	if m := f.ok(f.delete("none", catalog.Enabled)); !m.DeleteMarker {
		t.Fatal("deleting what is not there makes no marker")
	}
	if len(f.garbage()) != 0 {
		t.Fatal("garbage without a removal")
	}
}

func testSuspended(t *testing.T, f *fixture) {
	a := f.ok(f.put("k", catalog.Enabled, 2, "a"))
	n := f.ok(f.put("k", catalog.Suspended, 4, "n"))
	if !n.Null {
		t.Fatal("not null")
	}
	n2 := f.ok(f.put("k", catalog.Suspended, 8, "n2"))
	f.wantUsage(1, 2, 10, 0)
	if g := f.garbage(); len(g) != 1 || g[0].Extents[0] != n.Extents[0] {
		t.Fatalf("%+v", g)
	}
	m := f.ok(f.delete("k", catalog.Suspended))
	if !m.DeleteMarker || !m.Null || m.ID() != catalog.NullVersion {
		t.Fatalf("%+v", m)
	}
	f.wantUsage(0, 2, 2, 0)
	if g := f.garbage(); len(g) != 2 || g[1].Extents[0] != n2.Extents[0] {
		t.Fatalf("%+v", g)
	}
	// A new version above, then the null marker below goes when another null comes.
	f.ok(f.put("k", catalog.Enabled, 1, "b"))
	f.ok(f.put("k", catalog.Suspended, 16, "n3"))
	f.wantUsage(1, 3, 19, 0)
	if v := f.head("k", catalog.NullVersion); v.DeleteMarker || v.ETag != "n3" || !v.Latest {
		t.Fatalf("%+v", v)
	}
	f.head("k", a.ID())
}

func testDeleteVersion(t *testing.T, f *fixture) {
	n := f.ok(f.put("k", catalog.Unversioned, 1, "n"))
	a := f.ok(f.put("k", catalog.Enabled, 2, "a"))
	b := f.ok(f.put("k", catalog.Enabled, 4, "b"))
	m := f.ok(f.delete("k", catalog.Enabled))
	remove := func(id catalog.VersionID) catalog.Version {
		t.Helper()
		return f.ok(catalog.DeleteVersion{Key: "k", Version: id, At: f.now})
	}
	if d := remove(m.ID()); !d.DeleteMarker || d.Revision != m.Revision {
		t.Fatalf("%+v", d)
	}
	if v := f.head("k", ""); v.Revision != b.Revision || !v.Latest {
		t.Fatalf("%+v", v)
	}
	f.wantUsage(1, 3, 7, 0)
	if d := remove(a.ID()); d.ETag != "a" || d.Size != 2 {
		t.Fatalf("%+v", d)
	}
	if d := remove(a.ID()); d.Revision != 0 {
		t.Fatalf("%+v", d)
	}
	if v := f.head("k", ""); v.Revision != b.Revision {
		t.Fatalf("%+v", v)
	}
	remove(b.ID())
	if v := f.head("k", ""); v.Revision != n.Revision || !v.Null {
		t.Fatalf("%+v", v)
	}
	if d := remove(catalog.RevisionID(n.Revision)); d.Revision != 0 {
		t.Fatal("the null version was removed by its revision")
	}
	if d := remove(catalog.NullVersion); d.Revision != n.Revision {
		t.Fatalf("%+v", d)
	}
	f.gone("k", "")
	f.wantUsage(0, 0, 0, 0)
	f.fails(catalog.DeleteVersion{Key: "k", At: f.now}, hallig.ErrInvalid)
	c := f.ok(f.put("k", catalog.Enabled, 1, "c"))
	f.fails(catalog.DeleteVersion{Key: "k", Version: c.ID(), At: f.now, IfEdit: c.Edit - 1}, hallig.ErrConflict)
	f.fails(catalog.DeleteVersion{Key: "k", Version: c.ID(), At: f.now, If: catalog.Precondition{IfMatch: []string{"x"}}}, hallig.ErrPrecondition)
	f.ok(catalog.DeleteVersion{Key: "k", Version: c.ID(), At: f.now, IfEdit: c.Edit, If: catalog.Precondition{IfMatch: []string{"c"}}})
	f.fails(catalog.DeleteVersion{Key: "k", Version: c.ID(), At: f.now, If: catalog.Precondition{IfMatch: []string{"c"}}}, hallig.ErrNotFound)
}

func testPreconditions(t *testing.T, f *fixture) {
	put := func(p catalog.Precondition) catalog.Put {
		op := f.put("k", catalog.Enabled, 3, "new")
		op.If = p
		return op
	}
	del := func(p catalog.Precondition) catalog.Delete {
		op := f.delete("k", catalog.Enabled)
		op.If = p
		return op
	}
	match, none := catalog.Precondition{IfMatch: []string{"e"}}, catalog.Precondition{IfNoneMatch: []string{"*"}}
	absent := func() {
		t.Helper()
		f.fails(put(match), hallig.ErrNotFound)
		f.fails(put(catalog.Precondition{IfMatch: []string{"*"}}), hallig.ErrNotFound)
		f.fails(del(match), hallig.ErrNotFound)
		f.fails(del(catalog.Precondition{IfSize: ptr(int64(3))}), hallig.ErrPrecondition)
	}
	absent()
	f.ok(put(none))
	f.fails(put(none), hallig.ErrPrecondition)
	f.fails(put(match), hallig.ErrPrecondition)
	f.fails(put(catalog.Precondition{IfNoneMatch: []string{"x", "new"}}), hallig.ErrPrecondition)
	f.fails(del(catalog.Precondition{IfSize: ptr(int64(4))}), hallig.ErrPrecondition)
	f.fails(del(catalog.Precondition{IfModified: ptr(f.now.Add(time.Second))}), hallig.ErrPrecondition)
	f.ok(put(catalog.Precondition{IfMatch: []string{"x", "new"}, IfNoneMatch: []string{"y"}}))
	f.ok(del(catalog.Precondition{IfMatch: []string{"*"}, IfSize: ptr(int64(3)), IfModified: ptr(f.now.Truncate(time.Second))}))
	absent() // a current delete marker counts as absent
	f.ok(put(none))
}

// concurrently runs op n times at once and counts the successes and the errors.
func concurrently(f *fixture, n int, op func(i int) catalog.Op, lost error) (won int) {
	f.Helper()
	var wg sync.WaitGroup
	errs := make([]error, n)
	start := make(chan struct{})
	for i := range n {
		wg.Add(1)
		go func() {
			defer wg.Done()
			<-start
			res, err := f.Commit(f.ctx, f.request(op(i)))
			if err == nil {
				err = res[0].Err
			}
			errs[i] = err
		}()
	}
	close(start)
	wg.Wait()
	for _, err := range errs {
		switch {
		case err == nil:
			won++
		case !errors.Is(err, lost):
			f.Errorf("a loser got %v, want %v", err, lost)
		}
	}
	return won
}

// OneWinner puts n times at once under If-None-Match: * and If-Match, and
// returns how many succeeded in all of rounds rounds. It is exported for the
// negative controls of implementations: without comparing revisions there are
// more winners than rounds.
func OneWinner(t testing.TB, c catalog.Catalog, rounds, n int) (winners int) {
	f := newFixture(t, c)
	for range rounds {
		key := hallig.NewID().String()
		winners += concurrently(f, n, func(int) catalog.Op {
			op := f.put(key, catalog.Enabled, 1, "first")
			op.If.IfNoneMatch = []string{"*"}
			return op
		}, hallig.ErrPrecondition)
	}
	return winners
}

func testOneWinner(t *testing.T, f *fixture) {
	const rounds, n = 8, 32
	if w := OneWinner(t, f.Catalog, rounds, n); w != rounds {
		t.Fatalf("If-None-Match: %d winners in %d rounds", w, rounds)
	}
	f.ok(f.put("k", catalog.Unversioned, 1, "old"))
	won := concurrently(f, n, func(i int) catalog.Op {
		op := f.put("k", catalog.Unversioned, 1, hallig.NewID().String())
		op.If.IfMatch = []string{"old"}
		return op
	}, hallig.ErrPrecondition)
	if won != 1 {
		t.Fatalf("If-Match: %d winners", won)
	}
	f.wantUsage(1, 1, 1, 0)
}

func testOneUpdateWins(t *testing.T, f *fixture) {
	v := f.ok(f.put("k", catalog.Enabled, 1, "e"))
	won := concurrently(f, 16, func(i int) catalog.Op {
		u := v
		u.Tags = []catalog.Tag{{Key: "n", Value: string(rune('a' + i))}}
		return catalog.Update{Version: u}
	}, hallig.ErrConflict)
	if won != 1 {
		t.Fatalf("%d updates of one edit succeeded", won)
	}
}

func testDependentOps(t *testing.T, f *fixture) {
	none := func() catalog.Put {
		op := f.put("k", catalog.Unversioned, 1, "e")
		op.If.IfNoneMatch = []string{"*"}
		return op
	}
	r := f.request(none(), none(), f.delete("k", catalog.Unversioned), none())
	for range 2 { // and the repeat
		res, err := f.Commit(f.ctx, r)
		if err != nil || res[0].Err != nil || !errors.Is(res[1].Err, hallig.ErrPrecondition) || res[2].Err != nil || res[3].Err != nil {
			t.Fatal(res, err)
		}
	}
	var removals []catalog.Op
	for range 5 {
		v := f.ok(f.put("many", catalog.Enabled, 1, "e"))
		removals = append(removals, catalog.DeleteVersion{Key: "many", Version: v.ID(), At: f.now})
	}
	res, err := f.Commit(f.ctx, f.request(append(removals, removals[0])...))
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range res {
		if r.Err != nil || (r.Version.Revision == 0) != (i == 5) {
			t.Fatal(i, r)
		}
	}
	f.gone("many", "")
}

func testObjectLock(t *testing.T, f *fixture) {
	put := func(r catalog.Retention, hold bool) catalog.Version {
		op := f.put("k", catalog.Enabled, 1, "e")
		op.Version.Retention, op.Version.LegalHold = r, hold
		return f.ok(op)
	}
	until := f.now.Add(time.Hour)
	del := func(v catalog.Version, at time.Time, bypass bool) catalog.DeleteVersion {
		return catalog.DeleteVersion{Key: "k", Version: v.ID(), At: at, Bypass: bypass}
	}
	governance := put(catalog.Retention{Mode: "GOVERNANCE", Until: until}, false)
	f.fails(del(governance, f.now, false), hallig.ErrLockHeld)
	f.ok(del(governance, f.now, true))
	compliance := put(catalog.Retention{Mode: "COMPLIANCE", Until: until}, false)
	f.fails(del(compliance, f.now, true), hallig.ErrLockHeld)
	f.ok(f.delete("k", catalog.Enabled)) // a marker is always possible
	f.ok(del(compliance, until, false))
	held := put(catalog.Retention{}, true)
	f.fails(del(held, f.now.Add(1e6*time.Hour), true), hallig.ErrLockHeld)
	v := f.head("k", held.ID())
	v.LegalHold = false
	f.ok(catalog.Update{Version: v})
	f.ok(del(held, f.now, false))
}

func testUpdate(t *testing.T, f *fixture) {
	a := f.ok(f.put("k", catalog.Enabled, 1, "a"))
	b := f.ok(f.put("k", catalog.Enabled, 2, "b"))
	a.Tags = []catalog.Tag{{Key: "x", Value: "y"}}
	u := f.ok(catalog.Update{Version: a})
	if u.Revision != a.Revision || u.Edit <= b.Revision || u.Latest {
		t.Fatalf("%+v", u)
	}
	if v := f.head("k", a.ID()); v.Edit != u.Edit || len(v.Tags) != 1 || v.Latest || v.Extents[0] != a.Extents[0] {
		t.Fatalf("%+v", v)
	}
	if v := f.head("k", ""); v.Revision != b.Revision {
		t.Fatal("an update changed which version is current")
	}
	f.fails(catalog.Update{Version: a}, hallig.ErrConflict) // its Edit is the old one
	for _, change := range []func(*catalog.Version){
		func(v *catalog.Version) { v.Size++ },
		func(v *catalog.Version) { v.ETag = "z" },
		func(v *catalog.Version) { v.Modified = v.Modified.Add(time.Millisecond) },
	} {
		v := u
		change(&v)
		f.fails(catalog.Update{Version: v}, hallig.ErrInvalid)
	}
	gone := u
	gone.Revision = b.Revision + 100
	f.fails(catalog.Update{Version: gone}, hallig.ErrNotFound)
	if len(f.garbage()) != 0 {
		t.Fatal("an update of tags made garbage")
	}
	f.wantUsage(1, 2, 3, 0)
	n := f.ok(f.put("n", catalog.Unversioned, 2, "b"))
	n.ContentType = "text/plain"
	if u := f.ok(catalog.Update{Version: n}); !u.Null {
		t.Fatal("an update of the null version")
	}
	if v := f.head("n", catalog.NullVersion); v.ContentType != "text/plain" || !v.Null {
		t.Fatalf("%+v", v)
	}
}

func testMoved(t *testing.T, f *fixture) {
	for _, versioning := range []catalog.Versioning{catalog.Unversioned, catalog.Enabled} {
		a := f.ok(f.put("k", versioning, 5, "a"))
		op := catalog.Put{Version: a, Versioning: versioning, Moved: true}
		op.Version.ContentType = "text/x"
		f.fails(op, hallig.ErrInvalid)
		op.IfEdit = a.Edit - 1
		f.fails(op, hallig.ErrConflict)
		op.IfEdit = a.Edit
		b := f.ok(op)
		if v := f.head("k", ""); v.Revision != b.Revision || v.ContentType != "text/x" || v.Extents[0] != a.Extents[0] {
			t.Fatalf("%+v", v)
		}
		if g := f.garbage(); len(g) != 0 || !f.referenced(a.Extents[0].Data) {
			t.Fatalf("moved data became garbage: %+v", g)
		}
		if versioning == catalog.Enabled { // two versions share the data: the last to go makes it garbage
			f.ok(catalog.DeleteVersion{Key: "k", Version: a.ID(), At: f.now})
			if len(f.garbage()) != 0 {
				t.Fatal("shared data became garbage")
			}
		}
		f.ok(catalog.DeleteVersion{Key: "k", Version: b.ID(), At: f.now})
		g := f.garbage()
		if len(g) != 1 || g[0].Extents[0] != a.Extents[0] {
			t.Fatalf("%+v", g)
		}
		if err := f.Collected(f.ctx, g[0].Revision); err != nil {
			t.Fatal(err)
		}
	}
}

// testNullLock: what takes the null version away without naming it — a put, a
// completion, a plain delete — obeys an object lock on it.
func testNullLock(t *testing.T, f *fixture) {
	until := f.now.Add(time.Hour)
	for name, lock := range map[string]catalog.Attributes{
		"governance": {Retention: catalog.Retention{Mode: "GOVERNANCE", Until: until}},
		"compliance": {Retention: catalog.Retention{Mode: "COMPLIANCE", Until: until}},
		"hold":       {LegalHold: true},
	} {
		for _, versioning := range []catalog.Versioning{catalog.Unversioned, catalog.Suspended} {
			key := fmt.Sprintf("%s%d", name, versioning)
			locked := f.ok(f.put(key, versioning, 5, "locked"))
			locked.Attributes = lock
			locked = f.ok(catalog.Update{Version: locked})
			upload, part := f.upload(key)
			takers := func(at time.Time) []catalog.Op {
				put, completed := f.put(key, versioning, 5, "other"), f.put(key, versioning, part.Size, "whole")
				put.Version.Modified, completed.Version.Modified = at, at
				conditional := put
				conditional.If.IfMatch = []string{"locked"}
				moved := put
				moved.Version.Extents, moved.Moved, moved.IfEdit = locked.Extents, true, locked.Edit
				completed.Upload, completed.Version.Extents = upload.ID, part.Extents
				del := f.delete(key, versioning)
				del.At = at
				return []catalog.Op{put, conditional, moved, completed, del}
			}
			garbage := len(f.garbage())
			for _, op := range takers(f.now) {
				f.fails(op, hallig.ErrLockHeld)
			}
			if v := f.head(key, catalog.NullVersion); v.Revision != locked.Revision || v.ETag != "locked" || len(f.garbage()) != garbage {
				t.Fatalf("%s: a locked version was touched: %+v", key, v)
			}
			for _, op := range takers(until) {
				if name == "hold" {
					f.fails(op, hallig.ErrLockHeld)
				}
			}
			f.ok(f.put(key, catalog.Enabled, 1, "beside")) // takes nothing away
			if name != "hold" {                            // the negative control: it was the lock that refused
				f.ok(takers(until)[3])
				if v := f.head(key, catalog.NullVersion); v.ETag != "whole" {
					t.Fatalf("%+v", v)
				}
			}
		}
	}
}

// upload opens an upload of a key with one part.
func (f *fixture) upload(key string) (catalog.Upload, catalog.Part) {
	f.Helper()
	u := catalog.Upload{ID: hallig.NewID(), Key: key, Initiated: f.now, Initiator: "owner"}
	p := catalog.Part{Number: 1, Size: 7, ETag: "p", Modified: f.now, Extents: []catalog.Extent{extent(7)}}
	f.ok(catalog.CreateUpload{Upload: u})
	f.ok(catalog.PutPart{Key: key, Upload: u.ID, Part: p})
	return u, p
}
