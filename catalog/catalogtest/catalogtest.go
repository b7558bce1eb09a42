// Package catalogtest is the conformance suite of catalog.Catalog: every
// implementation passes it.
package catalogtest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
)

// Open returns an empty catalog, whose end is registered with t.Cleanup.
type Open func(t testing.TB) catalog.Catalog

// Run runs the whole suite.
func Run(t *testing.T, open Open) {
	for _, c := range []struct {
		name string
		test func(*testing.T, *fixture)
	}{
		{"Requests", testRequests},
		{"Unversioned", testUnversioned},
		{"Enabled", testEnabled},
		{"Suspended", testSuspended},
		{"DeleteVersion", testDeleteVersion},
		{"Preconditions", testPreconditions},
		{"OneWinner", testOneWinner},
		{"OneUpdateWins", testOneUpdateWins},
		{"DependentOps", testDependentOps},
		{"ObjectLock", testObjectLock},
		{"NullLock", testNullLock},
		{"Update", testUpdate},
		{"Moved", testMoved},
		{"Epochs", testEpochs},
		{"CloseBucket", testCloseBucket},
		{"Uploads", testUploads},
		{"UploadErrors", testUploadErrors},
		{"MovePart", testMovePart},
		{"Repeats", testRepeats},
		{"Fence", testFence},
		{"Garbage", testGarbage},
		{"Reencode", testReencode},
		{"Walk", testWalk},
		{"Fields", testFields},
		{"ListCurrent", testListCurrent},
		{"ListVersions", testListVersions},
		{"ListUploads", testListUploads},
		{"ListPages", testListPages},
		{"ListSkips", testListSkips},
		{"Records", testRecords},
		{"RecordsRace", testRecordsRace},
		{"Watch", testWatch},
		{"Model", testModel},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, newFixture(t, open(t))) })
	}
}

// A fixture is a catalog with one open bucket.
type fixture struct {
	testing.TB
	catalog.Catalog
	ctx     context.Context
	bucket  hallig.BucketID
	session hallig.SessionID
	epoch   uint64
	now     time.Time
}

func newFixture(t testing.TB, c catalog.Catalog) *fixture {
	f := &fixture{TB: t, Catalog: c, ctx: context.Background(), bucket: hallig.NewID(), session: hallig.NewID(),
		now: time.Date(2026, 3, 1, 12, 0, 0, 123e6, time.UTC)}
	f.ok(catalog.SetBucket{Epoch: 1})
	f.epoch = 1
	return f
}

func (f *fixture) request(ops ...catalog.Op) catalog.Request {
	return catalog.Request{ID: hallig.NewID(), Session: f.session, Bucket: f.bucket, Epoch: f.epoch, Ops: ops}
}

// do commits one operation and returns its result.
func (f *fixture) do(op catalog.Op) catalog.Result {
	f.Helper()
	res, err := f.Commit(f.ctx, f.request(op))
	if err != nil {
		f.Fatalf("commit %T: %v", op, err)
	}
	if len(res) != 1 {
		f.Fatalf("commit %T: %d results", op, len(res))
	}
	return res[0]
}

func (f *fixture) ok(op catalog.Op) catalog.Version {
	f.Helper()
	res := f.do(op)
	if res.Err != nil {
		f.Fatalf("%T: %v", op, res.Err)
	}
	return res.Version
}

func (f *fixture) fails(op catalog.Op, want error) {
	f.Helper()
	if res := f.do(op); !errors.Is(res.Err, want) {
		f.Fatalf("%T: got %v, want %v", op, res.Err, want)
	}
}

func (f *fixture) head(key string, id catalog.VersionID) catalog.Version {
	f.Helper()
	v, err := f.Head(f.ctx, f.bucket, key, id)
	if err != nil {
		f.Fatalf("head %q %q: %v", key, id, err)
	}
	return v
}

func (f *fixture) gone(key string, id catalog.VersionID) {
	f.Helper()
	if v, err := f.Head(f.ctx, f.bucket, key, id); !errors.Is(err, hallig.ErrNotFound) {
		f.Fatalf("head %q %q: got %+v, %v, want not found", key, id, v, err)
	}
}

func (f *fixture) usage() catalog.Usage {
	f.Helper()
	u, err := f.Usage(f.ctx, f.bucket)
	if err != nil {
		f.Fatal(err)
	}
	return u
}

func (f *fixture) wantUsage(current, versions, bytes, uploads int64) {
	f.Helper()
	want := catalog.Usage{Epoch: f.epoch, Current: current, Versions: versions, Bytes: bytes, Uploads: uploads}
	if u := f.usage(); u != want {
		f.Fatalf("usage: got %+v, want %+v", u, want)
	}
}

// garbage returns all waiting garbage's extents in order.
func (f *fixture) garbage() []catalog.Garbage {
	f.Helper()
	g, err := f.Garbage(f.ctx, 0, 10_000)
	if err != nil {
		f.Fatal(err)
	}
	return g
}

func (f *fixture) referenced(id hallig.DataID) bool {
	f.Helper()
	r, err := f.Referenced(f.ctx, []hallig.DataID{id})
	if err != nil || len(r) != 1 {
		f.Fatal(r, err)
	}
	return r[0]
}

func extent(n int64) catalog.Extent {
	return catalog.Extent{Data: hallig.NewID(), Count: 4, Length: n, Last: true, Pool: 7}
}

// put returns an unconditional put of size bytes in one new extent.
func (f *fixture) put(key string, v catalog.Versioning, size int64, etag string) catalog.Put {
	return catalog.Put{Versioning: v, Version: catalog.Version{Key: key, Size: size, ETag: etag, Modified: f.now,
		Extents: []catalog.Extent{extent(size)}}}
}

func (f *fixture) delete(key string, v catalog.Versioning) catalog.Delete {
	return catalog.Delete{Key: key, Versioning: v, At: f.now, Owner: "owner"}
}

func (f *fixture) list(q catalog.Query) catalog.Page {
	f.Helper()
	q.Bucket = f.bucket
	if q.Limit == 0 {
		q.Limit = 1000
	}
	p, err := f.List(f.ctx, q)
	if err != nil {
		f.Fatalf("list %+v: %v", q, err)
	}
	return p
}

func ptr[T any](v T) *T { return &v }
