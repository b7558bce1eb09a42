package catalogtest

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
)

func equal[T any](t testing.TB, want, got T) {
	t.Helper()
	if !reflect.DeepEqual(want, got) {
		t.Fatalf("got  %+v\nwant %+v", got, want)
	}
}

// names renders a page: keys, prefixes in brackets.
func names(p catalog.Page) string {
	var out []string
	for _, i := range p.Items {
		switch {
		case i.Prefix != "":
			out = append(out, "["+i.Prefix+"]")
		case i.Upload != nil:
			out = append(out, i.Upload.Key)
		default:
			out = append(out, i.Version.Key)
		}
	}
	return strings.Join(out, " ")
}

func (f *fixture) lists(q catalog.Query, want string) {
	f.Helper()
	if got := names(f.list(q)); got != want {
		f.Fatalf("list %+v:\ngot  %s\nwant %s", q, got, want)
	}
}

func testListCurrent(t *testing.T, f *fixture) {
	for _, k := range []string{"a", "a/b", "a/b/c", "a//x", "b", "b::c", "b::d::e", "ü/1", "ü/2", "z"} {
		f.ok(f.put(k, catalog.Enabled, 1, "e"))
	}
	f.ok(f.put("b", catalog.Enabled, 1, "second"))
	f.ok(f.delete("z", catalog.Enabled))
	f.ok(f.put("gone/only", catalog.Enabled, 1, "e"))
	f.ok(f.delete("gone/only", catalog.Enabled))
	f.ok(f.put("half/a", catalog.Enabled, 1, "e"))
	f.ok(f.delete("half/a", catalog.Enabled))
	f.ok(f.put("half/b", catalog.Enabled, 1, "e"))
	f.lists(catalog.Query{}, "a a//x a/b a/b/c b b::c b::d::e half/b ü/1 ü/2")
	f.lists(catalog.Query{Prefix: "a/"}, "a//x a/b a/b/c")
	f.lists(catalog.Query{Delimiter: "/"}, "a [a/] b b::c b::d::e [half/] [ü/]")
	f.lists(catalog.Query{Delimiter: "/", Prefix: "a/"}, "[a//] a/b [a/b/]")
	f.lists(catalog.Query{Delimiter: "::"}, "a a//x a/b a/b/c b [b::] half/b ü/1 ü/2")
	f.lists(catalog.Query{Delimiter: "::", Prefix: "b::"}, "b::c [b::d::]")
	f.lists(catalog.Query{Delimiter: "ü"}, "a a//x a/b a/b/c b b::c b::d::e half/b [ü]")
	f.lists(catalog.Query{Prefix: "nothing"}, "")
	after := func(k string) catalog.Marker { return catalog.Marker{Key: k} }
	f.lists(catalog.Query{After: after("a/b")}, "a/b/c b b::c b::d::e half/b ü/1 ü/2")
	f.lists(catalog.Query{After: after("a/b"), Delimiter: "/"}, "b b::c b::d::e [half/] [ü/]") // a/ lies behind the marker
	f.lists(catalog.Query{After: after("a/"), Delimiter: "/"}, "b b::c b::d::e [half/] [ü/]")
	f.lists(catalog.Query{After: after("a"), Delimiter: "/"}, "[a/] b b::c b::d::e [half/] [ü/]")
	f.lists(catalog.Query{After: after("b"), Prefix: "a/"}, "")
	f.lists(catalog.Query{After: after("A"), Prefix: "a/"}, "a//x a/b a/b/c")
	if v := f.list(catalog.Query{Prefix: "b"}).Items[0].Version; v.ETag != "second" || !v.Latest {
		t.Fatalf("%+v", v)
	}
	if _, err := f.List(f.ctx, catalog.Query{Bucket: f.bucket}); !errors.Is(err, hallig.ErrInvalid) {
		t.Fatal(err)
	}
	other := catalog.Query{Bucket: hallig.NewID(), Limit: 10}
	if p, err := f.List(f.ctx, other); err != nil || len(p.Items) > 0 || p.Truncated {
		t.Fatal(p, err)
	}
}

func testListVersions(t *testing.T, f *fixture) {
	var ids []catalog.VersionID
	n := f.ok(f.put("k", catalog.Unversioned, 1, "n"))
	for range 3 {
		v := f.ok(f.put("k", catalog.Enabled, 1, "e"))
		ids = append(ids, v.ID())
	}
	m := f.ok(f.delete("k", catalog.Enabled))
	f.ok(f.put("k\x00", catalog.Enabled, 1, "e")) // sorts right behind, and shares the bytes
	f.ok(f.put("l/x", catalog.Enabled, 1, "e"))
	want := []catalog.VersionID{m.ID(), ids[2], ids[1], ids[0], catalog.NullVersion}
	check := func(p catalog.Page, from int) {
		t.Helper()
		for i, id := range want[from:] {
			v := p.Items[i].Version
			if v.Key != "k" || v.ID != id || v.Latest != (i+from == 0) || v.DeleteMarker != (i+from == 0) {
				t.Fatalf("%d: %+v, want id %s", i, v, id)
			}
		}
	}
	all := f.list(catalog.Query{What: catalog.ListVersions})
	check(all, 0)
	if names(all) != "k k k k k k\x00 l/x" || !all.Items[5].Version.Latest || !all.Items[6].Version.Latest {
		t.Fatal(names(all))
	}
	for i, id := range want {
		p := f.list(catalog.Query{What: catalog.ListVersions, After: catalog.Marker{Key: "k", Version: id}})
		check(p, i+1)
		if len(p.Items) != len(want)-i-1+2 {
			t.Fatal(i, names(p))
		}
	}
	v := catalog.ListVersions
	f.lists(catalog.Query{What: v, After: catalog.Marker{Key: "k"}}, "k\x00 l/x")
	f.lists(catalog.Query{What: v, After: catalog.Marker{Key: "k", Version: catalog.RevisionID(n.Revision)}}, "k\x00 l/x")
	f.lists(catalog.Query{What: v, After: catalog.Marker{Key: "k", Version: "nonsense"}}, "k\x00 l/x")
	f.lists(catalog.Query{What: v, After: catalog.Marker{Key: "j", Version: ids[0]}}, "k k k k k k\x00 l/x")
	f.lists(catalog.Query{What: v, Delimiter: "/"}, "k k k k k k\x00 [l/]")
	f.ok(f.delete("l/x", catalog.Enabled))
	f.lists(catalog.Query{What: v, Delimiter: "/", Prefix: "l"}, "[l/]") // versions show, markers too
}

func testListUploads(t *testing.T, f *fixture) {
	var want []hallig.UploadID
	open := func(key string, after time.Duration) hallig.UploadID {
		at := f.now.Add(after)
		up := catalog.Upload{ID: catalog.NewUploadID(at), Key: key, Initiated: at, Initiator: "i"}
		up.Owner, up.StorageClass, up.Checksum = "o", "STANDARD", catalog.Checksum{Algorithm: "SHA256", Type: "COMPOSITE"}
		f.ok(catalog.CreateUpload{Upload: up})
		return up.ID
	}
	late := open("k", time.Hour)
	early := open("k", 0)
	want = append(want, open("a/1", 0), early, late, open("l", -time.Hour))
	all := f.list(catalog.Query{What: catalog.ListUploads})
	for i, item := range all.Items {
		if item.Upload.ID != want[i] {
			t.Fatalf("%d: %+v", i, item.Upload)
		}
	}
	if u := all.Items[1].Upload; u.Owner != "o" || u.StorageClass != "STANDARD" || u.Checksum.Algorithm != "SHA256" || u.Initiator != "i" || !u.Initiated.Equal(f.now) || u.Bucket != f.bucket {
		t.Fatalf("%+v", u)
	}
	u := catalog.ListUploads
	f.lists(catalog.Query{What: u, Delimiter: "/"}, "[a/] k k l")
	f.lists(catalog.Query{What: u, After: catalog.Marker{Key: "k"}}, "l")
	f.lists(catalog.Query{What: u, After: catalog.Marker{Key: "k", Upload: early}}, "k l")
	f.lists(catalog.Query{What: u, After: catalog.Marker{Key: "k", Upload: catalog.NewUploadID(f.now.Add(-time.Minute))}}, "k k l")
	f.lists(catalog.Query{What: u, After: catalog.Marker{Key: "k", Upload: catalog.NewUploadID(f.now.Add(2 * time.Hour))}}, "l")
	f.ok(catalog.AbortUpload{Key: "k", Upload: early})
	f.lists(catalog.Query{What: u, After: catalog.Marker{Key: "k", Upload: early}}, "k l") // closed, and yet a place
	f.lists(catalog.Query{What: u}, "a/1 k l")
	done := f.put("l", catalog.Unversioned, 0, "e")
	done.Upload = want[3]
	f.ok(catalog.PutPart{Key: "l", Upload: want[3], Part: catalog.Part{Number: 1, Extents: done.Version.Extents}})
	f.ok(done)
	f.lists(catalog.Query{What: u}, "a/1 k")
	f.lists(catalog.Query{}, "l")
}

func testListPages(t *testing.T, f *fixture) {
	for i := range 30 {
		for v := range 1 + i%3 {
			f.ok(f.put(fmt.Sprintf("%d/%02d", i%4, i), catalog.Enabled, int64(v), "e"))
		}
		f.ok(catalog.CreateUpload{Upload: catalog.Upload{ID: hallig.NewID(), Key: fmt.Sprint(i % 5), Initiated: f.now}})
	}
	for _, q := range []catalog.Query{{}, {Delimiter: "/"}, {What: catalog.ListVersions}, {What: catalog.ListVersions, Delimiter: "/1"},
		{What: catalog.ListUploads}, {Prefix: "1/", What: catalog.ListVersions}} {
		whole := f.list(q)
		if whole.Truncated || whole.Next != (catalog.Marker{}) && whole.Truncated {
			t.Fatalf("%+v", whole.Next)
		}
		for _, limit := range []int{1, 2, 7, len(whole.Items)} {
			var got []catalog.Item
			for q := q; ; {
				q.Limit = limit
				p := f.list(q)
				got = append(got, p.Items...)
				if !p.Truncated {
					break
				}
				if len(p.Items) != limit {
					t.Fatalf("a page of %d of %d", len(p.Items), limit)
				}
				q.After = p.Next
			}
			equal(t, whole.Items, got)
		}
	}
}

// testListSkips has a prefix with many keys, and a key with many versions,
// between two others.
func testListSkips(t *testing.T, f *fixture) {
	var ops []catalog.Op
	for i := range 2000 {
		ops = append(ops, f.put(fmt.Sprintf("m/%04d", i), catalog.Enabled, 1, "e"), f.put("n", catalog.Enabled, 1, "e"))
	}
	ops = append(ops, f.put("a", catalog.Enabled, 1, "e"), f.put("z", catalog.Enabled, 1, "e"))
	for part := range slices.Chunk(ops, catalog.MaxOps) {
		if _, err := f.Commit(f.ctx, f.request(part...)); err != nil {
			t.Fatal(err)
		}
	}
	f.lists(catalog.Query{Delimiter: "/"}, "a [m/] n z")
	f.lists(catalog.Query{Delimiter: "/", Limit: 3}, "a [m/] n")
	f.lists(catalog.Query{Delimiter: "/", After: catalog.Marker{Key: "m/"}}, "n z")
	f.lists(catalog.Query{What: catalog.ListVersions, Prefix: "n", Limit: 2}, "n n")
	if p := f.list(catalog.Query{Limit: 2}); !p.Truncated || p.Next.Key != "m/0000" {
		t.Fatalf("%+v", p.Next)
	}
}

func testRecords(t *testing.T, f *fixture) {
	for _, kind := range []catalog.Kind{catalog.KindUser, catalog.KindPool, catalog.KindTopology} {
		set := func(name, value string, expect hallig.Revision) error {
			return f.Catalog.Update(f.ctx, catalog.Change{Kind: kind, Name: name, Value: []byte(value), Expect: expect})
		}
		for i, name := range []string{"b", "a", "c/ä", "ab"} {
			if err := set(name, fmt.Sprint(i), 0); err != nil {
				t.Fatal(err)
			}
		}
		if err := set("b", "x", 0); !errors.Is(err, hallig.ErrConflict) {
			t.Fatal(err)
		}
		r, err := f.Get(f.ctx, kind, "b")
		if err != nil || string(r.Value) != "0" || r.Revision == 0 || r.Kind != kind || r.Name != "b" {
			t.Fatal(r, err)
		}
		if err := set("b", "y", r.Revision-1); !errors.Is(err, hallig.ErrConflict) {
			t.Fatal(err)
		}
		if err := set("b", "y", r.Revision); err != nil {
			t.Fatal(err)
		}
		if err := set("new", "y", catalog.AnyRevision); err != nil {
			t.Fatal(err)
		}
		// All or nothing.
		err = f.Catalog.Update(f.ctx, catalog.Change{Kind: kind, Name: "a", Delete: true, Expect: catalog.AnyRevision},
			catalog.Change{Kind: kind, Name: "b", Value: []byte("z"), Expect: r.Revision})
		if !errors.Is(err, hallig.ErrConflict) {
			t.Fatal(err)
		}
		scan := func(after string, limit int) (out string) {
			rs, err := f.Scan(f.ctx, kind, after, limit)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range rs {
				out += r.Name + "=" + string(r.Value) + " "
			}
			return out
		}
		equal(t, "a=1 ab=3 b=y c/ä=2 new=y ", scan("", 0))
		equal(t, "ab=3 b=y ", scan("a", 2))
		if err := f.Catalog.Update(f.ctx, catalog.Change{Kind: kind, Name: "a", Delete: true, Expect: catalog.AnyRevision},
			catalog.Change{Kind: kind, Name: "ab", Delete: true, Expect: catalog.AnyRevision}); err != nil {
			t.Fatal(err)
		}
		equal(t, "b=y c/ä=2 new=y ", scan("", 0))
		if _, err := f.Get(f.ctx, kind, "a"); !errors.Is(err, hallig.ErrNotFound) {
			t.Fatal(err)
		}
	}
	for _, c := range []catalog.Change{{Kind: catalog.KindUser}, {Kind: catalog.KindUser, Name: "a\x00b"}, {Name: "x"},
		{Kind: catalog.KindUser, Name: strings.Repeat("x", 513)}} {
		if err := f.Catalog.Update(f.ctx, c); !errors.Is(err, hallig.ErrInvalid) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	big := catalog.Change{Kind: catalog.KindUser, Name: "big", Value: make([]byte, catalog.MaxRecord+1)}
	if err := f.Catalog.Update(f.ctx, big); !errors.Is(err, hallig.ErrTooLarge) {
		t.Error(err)
	}
	if err := f.Catalog.Update(f.ctx); !errors.Is(err, hallig.ErrInvalid) {
		t.Error(err)
	}
}

func testRecordsRace(t *testing.T, f *fixture) {
	const n = 8
	var wg sync.WaitGroup
	for range n {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for { // a counter under compare-and-swap
				r, err := f.Get(f.ctx, catalog.KindTask, "counter")
				if err != nil && !errors.Is(err, hallig.ErrNotFound) {
					t.Error(err)
					return
				}
				err = f.Catalog.Update(f.ctx, catalog.Change{Kind: catalog.KindTask, Name: "counter", Value: append(r.Value, 1), Expect: r.Revision})
				if err == nil {
					return
				}
				if !errors.Is(err, hallig.ErrConflict) {
					t.Error(err)
					return
				}
			}
		}()
	}
	wg.Wait()
	if r, err := f.Get(f.ctx, catalog.KindTask, "counter"); err != nil || len(r.Value) != n {
		t.Fatalf("%d of %d increments: %v", len(r.Value), n, err)
	}
}

func testWatch(t *testing.T, f *fixture) {
	users, keys := make(chan struct{}, 100), make(chan struct{}, 100)
	stop := f.Watch(catalog.KindUser, func() { users <- struct{}{} })
	defer f.Watch(catalog.KindKey, func() { keys <- struct{}{} })()
	set := func(kind catalog.Kind) {
		t.Helper()
		if err := f.Catalog.Update(f.ctx, catalog.Change{Kind: kind, Name: "x", Expect: catalog.AnyRevision}); err != nil {
			t.Fatal(err)
		}
	}
	set(catalog.KindUser)
	<-users
	if len(keys) > 0 {
		t.Fatal("a watcher of another kind was called")
	}
	stop()
	stop()
	set(catalog.KindUser)
	set(catalog.KindKey)
	<-keys
	if len(users) > 0 {
		t.Fatal("a stopped watcher was called")
	}
}
