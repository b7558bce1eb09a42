package objects_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/objects"
	"github.com/hallig-cloud/hallig/objects/objectstest"
	"github.com/hallig-cloud/hallig/shard"
)

// A hookedCatalog asks before and after every commit.
type hookedCatalog struct {
	catalog.Catalog
	before func(r catalog.Request) error
	after  func(r catalog.Request) error
	update func() error
}

func (c *hookedCatalog) Commit(ctx context.Context, r catalog.Request) ([]catalog.Result, error) {
	if c.before != nil {
		if err := c.before(r); err != nil {
			return nil, err
		}
	}
	res, err := c.Catalog.Commit(ctx, r)
	if err == nil && c.after != nil {
		if err := c.after(r); err != nil {
			return nil, err
		}
	}
	return res, err
}

func (c *hookedCatalog) Update(ctx context.Context, changes ...catalog.Change) error {
	if c.update != nil {
		if err := c.update(); err != nil {
			return err
		}
	}
	return c.Catalog.Update(ctx, changes...)
}

func hook(t testing.TB, h *hookedCatalog) *objectstest.Mesh {
	return objectstest.NewMesh(t, objectstest.Options{
		WrapCatalog: func(c catalog.Catalog) catalog.Catalog { h.Catalog = c; return h },
	})
}

func isPut(r catalog.Request) bool { _, ok := r.Ops[0].(catalog.Put); return ok }

// A writer that dies before its commit leaves nothing visible; one whose commit
// is refused does not even leave shards.
func TestNothingIsVisibleBeforeCommit(t *testing.T) {
	crash := errors.New("crash")
	h := &hookedCatalog{}
	m := hook(t, h)
	s := m.Store
	bucket(t, s, objects.Bucket{Name: "b"})
	h.before = func(r catalog.Request) error {
		if isPut(r) {
			return crash
		}
		return nil
	}
	for _, n := range []int{100, 9 << 20} {
		_, err := s.Put(context.Background(), objects.PutRequest{Bucket: "b", Key: "k", Body: bytes.NewReader(body(1, n)), Size: -1})
		if !errors.Is(err, crash) {
			t.Fatal(err)
		}
	}
	if _, err := s.Head(context.Background(), "b", "k", ""); !errors.Is(err, hallig.ErrNotFound) {
		t.Errorf("head: %v", err)
	}
	if page, err := s.List(context.Background(), "b", catalog.Query{Limit: 10}); err != nil || len(page.Items) != 0 {
		t.Errorf("list: %v %v", page, err)
	}
	s.WaitBackground()
	if n := stored(m); n != 0 {
		t.Errorf("%d shards are left of refused writes", n)
	}
}

func stored(m *objectstest.Mesh) (n int64) {
	for _, id := range m.Drives.IDs() {
		n += m.Drives.Mem(id).Status().Shards
	}
	return n
}

// A commit whose answer is lost is asked for again, with the same id: a
// conditional write that succeeded does not turn into a failure.
func TestLostCommitAnswer(t *testing.T) {
	h := &hookedCatalog{}
	m := hook(t, h)
	bucket(t, m.Store, objects.Bucket{Name: "b"})
	var lost atomic.Int64
	h.after = func(r catalog.Request) error {
		if isPut(r) && lost.Add(1) <= 2 {
			return fmt.Errorf("the answer was lost: %w", hallig.ErrUnavailable)
		}
		return nil
	}
	data := body(1, 200_000)
	v, err := m.Store.Put(context.Background(), objects.PutRequest{
		Bucket: "b", Key: "k", Body: bytes.NewReader(data), Size: -1, If: catalog.Precondition{IfNoneMatch: []string{"*"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := get(m.Store, v, 0, -1); err != nil || !bytes.Equal(got, data) {
		t.Fatal(err)
	}
	// An outcome that stays unknown must not lead to deletions.
	h.after = func(r catalog.Request) error {
		if isPut(r) {
			return hallig.ErrUnavailable
		}
		return nil
	}
	brief, err := objects.New(objects.Config{Catalog: h, Drives: m.Drives, Keys: m.Keys, Mesh: m.Keys.Mesh(), Session: hallig.NewID(), CommitTimeout: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer brief.Close()
	if _, err = brief.Put(context.Background(), objects.PutRequest{Bucket: "b", Key: "doubt", Body: bytes.NewReader(data), Size: -1}); !errors.Is(err, hallig.ErrUnavailable) {
		t.Fatal(err)
	}
	brief.WaitBackground()
	v, err = m.Store.Head(context.Background(), "b", "doubt", "")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := get(m.Store, v, 0, -1); err != nil || !bytes.Equal(got, data) {
		t.Fatal(err)
	}
}

// Of many conditional writers exactly one wins, and the losers' data goes.
func TestConditionalWriters(t *testing.T) {
	m := objectstest.NewMesh(t, objectstest.Options{})
	bucket(t, m.Store, objects.Bucket{Name: "b"})
	var won atomic.Int64
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			_, err := m.Store.Put(context.Background(), objects.PutRequest{Bucket: "b", Key: "k", Body: bytes.NewReader(body(uint64(i), 1000)), Size: 1000,
				If: catalog.Precondition{IfNoneMatch: []string{"*"}}})
			if err == nil {
				won.Add(1)
			} else if !errors.Is(err, hallig.ErrPrecondition) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("%d writers won", won.Load())
	}
	m.Store.WaitBackground()
	if n := stored(m); n != 3 {
		t.Errorf("%d shards are stored, want the winner's 3 copies", n)
	}
}

// Bodies that are not what was announced, and readers that fail, change
// nothing.
func TestBadBodies(t *testing.T) {
	m := objectstest.NewMesh(t, objectstest.Options{})
	bucket(t, m.Store, objects.Bucket{Name: "b"})
	broken := errors.New("bad chunk signature")
	cases := map[string]struct {
		r    objects.PutRequest
		want error
	}{
		"too short":   {objects.PutRequest{Body: bytes.NewReader(body(1, 99)), Size: 100}, hallig.ErrInvalid},
		"too long":    {objects.PutRequest{Body: bytes.NewReader(body(1, 101)), Size: 100}, hallig.ErrInvalid},
		"long by 1":   {objects.PutRequest{Body: bytes.NewReader(body(1, 4<<20+1)), Size: 4 << 20}, hallig.ErrInvalid},
		"much longer": {objects.PutRequest{Body: bytes.NewReader(body(1, 9<<20)), Size: 1}, hallig.ErrInvalid},
		"not empty":   {objects.PutRequest{Body: bytes.NewReader(body(1, 1)), Size: 0}, hallig.ErrInvalid},
		"cut off":     {objects.PutRequest{Body: io.MultiReader(bytes.NewReader(body(1, 70_000)), failing{io.ErrUnexpectedEOF}), Size: -1}, io.ErrUnexpectedEOF},
		"broken":      {objects.PutRequest{Body: io.MultiReader(bytes.NewReader(body(1, 9<<20)), failing{broken}), Size: -1}, broken},
		"verify":      {objects.PutRequest{Body: bytes.NewReader(body(1, 9<<20)), Size: 9 << 20, Verify: func(objects.Sums) error { return broken }}, broken},
		"checksum":    {objects.PutRequest{Body: bytes.NewReader(nil), Attributes: catalog.Attributes{Checksum: catalog.Checksum{Algorithm: "MD4"}}}, hallig.ErrInvalid},
		"too large":   {objects.PutRequest{Body: bytes.NewReader(nil), Size: 6 << 30}, hallig.ErrTooLarge},
		"no key":      {objects.PutRequest{Body: bytes.NewReader(nil), Key: "-"}, hallig.ErrInvalid},
		"long key":    {objects.PutRequest{Body: bytes.NewReader(nil), Key: string(make([]byte, 1025))}, hallig.ErrInvalid},
		"no kms key":  {objects.PutRequest{Body: failing{broken}, Attributes: catalog.Attributes{Encryption: catalog.Encryption{Algorithm: "aws:kms", KeyID: "absent"}}}, hallig.ErrKeyUnknown},
		"customer":    {objects.PutRequest{Body: failing{broken}, CustomerKey: []byte("short")}, hallig.ErrInvalid},
	}
	for name, c := range cases {
		c.r.Bucket = "b"
		switch c.r.Key {
		case "":
			c.r.Key = "k"
		case "-":
			c.r.Key = ""
		}
		if _, err := m.Store.Put(context.Background(), c.r); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	m.Store.WaitBackground()
	if n := stored(m); n != 0 {
		t.Errorf("%d shards are left", n)
	}
	if page, _ := m.Store.List(context.Background(), "b", catalog.Query{Limit: 10}); len(page.Items) != 0 {
		t.Errorf("listed: %+v", page.Items)
	}
	m.Store.WaitBackground()
	if n := m.Store.MemoryInUse(); n != 0 {
		t.Errorf("%d bytes of memory are not returned", n)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// A reader that panics or blocks is the door's; a client that goes away ends
// the write.
func TestCanceledPut(t *testing.T) {
	m := objectstest.NewMesh(t, objectstest.Options{})
	bucket(t, m.Store, objects.Bucket{Name: "b"})
	ctx, cancel := context.WithCancel(context.Background())
	r := &triggered{Reader: bytes.NewReader(body(1, 20<<20)), at: 9 << 20, do: cancel}
	if _, err := m.Store.Put(ctx, objects.PutRequest{Bucket: "b", Key: "k", Body: r, Size: -1}); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	m.Store.WaitBackground()
	if n := stored(m); n != 0 {
		t.Errorf("%d shards are left", n)
	}
	m.Store.WaitBackground()
	if n := m.Store.MemoryInUse(); n != 0 {
		t.Errorf("%d bytes of memory are not returned", n)
	}
}

// A stream that is not read to its end, or whose request ends, gives back what
// it holds and never ends as if it were whole.
func TestStreamsLeftEarly(t *testing.T) {
	m := objectstest.NewMesh(t, objectstest.Options{})
	bucket(t, m.Store, objects.Bucket{Name: "b"})
	v := put(t, m.Store, "b", "k", body(1, 20<<20))
	for _, n := range []int64{0, 1, 5 << 20} {
		r, err := m.Store.Get(context.Background(), objects.GetRequest{Version: v, Length: -1})
		if err != nil {
			t.Fatal(err)
		}
		io.CopyN(io.Discard, r, n)
		r.Close()
		if _, err := r.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("read after close: %v", err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	r, err := m.Store.Get(ctx, objects.GetRequest{Version: v, Length: -1})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if n, err := io.Copy(io.Discard, r); err == nil && n != v.Size {
		t.Errorf("%d bytes of %d and no error", n, v.Size)
	}
	r.Close()
	for _, id := range m.Drives.IDs() { // lost in the middle
		r, err := m.Store.Get(context.Background(), objects.GetRequest{Version: v, Length: -1})
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range m.Drives.IDs() {
			m.Drives.SetAway(x, x != id)
		}
		if n, err := io.Copy(io.Discard, r); err == nil && n != v.Size {
			t.Errorf("%d bytes of %d and no error", n, v.Size)
		} else if err != nil && !errors.Is(err, hallig.ErrLost) {
			t.Error(err)
		}
		r.Close()
		for _, x := range m.Drives.IDs() {
			m.Drives.SetAway(x, false)
		}
	}
	m.Store.WaitBackground()
	if n := m.Store.MemoryInUse(); n != 0 {
		t.Errorf("%d bytes of memory are not returned", n)
	}
}

// A dropping drive takes shards and keeps their headers' count only.
type dropping struct {
	shard.Store
	taken *atomic.Int64
}

func (d dropping) Put(_ context.Context, _ shard.Header, b []byte) error {
	d.taken.Add(int64(len(b)))
	return nil
}

// A body of any size goes through in a bounded memory.
func TestMemoryIsBounded(t *testing.T) {
	size := int64(1 << 30)
	if testing.Short() {
		size = 64 << 20
	}
	var taken atomic.Int64
	const budget = 24 << 20
	m := objectstest.NewMesh(t, objectstest.Options{
		Wrap:   func(_ int, d shard.Store) shard.Store { return dropping{d, &taken} },
		Config: func(c *objects.Config) { c.Memory = budget },
	})
	bucket(t, m.Store, objects.Bucket{Name: "b"})
	v, err := m.Store.Put(context.Background(), objects.PutRequest{Bucket: "b", Key: "k", Body: io.LimitReader(zeros{}, size), Size: -1})
	if err != nil || v.Size != size {
		t.Fatal(v.Size, err)
	}
	if len(v.Extents) != 1 {
		t.Errorf("a record of %d extents", len(v.Extents))
	}
	if peak := m.Store.MemoryPeak(); peak > budget {
		t.Errorf("%d bytes were granted of %d", peak, budget)
	}
	if taken.Load() < 2*size {
		t.Errorf("only %d bytes were put", taken.Load())
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// Many requests together stay within the budget, and all end.
func TestManyRequestsShareTheBudget(t *testing.T) {
	const budget = 20 << 20
	m := objectstest.NewMesh(t, objectstest.Options{Config: func(c *objects.Config) { c.Memory = budget }})
	bucket(t, m.Store, objects.Bucket{Name: "b"})
	data := body(1, 6<<20)
	src := put(t, m.Store, "b", "src", data)
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			key := fmt.Sprint(i)
			v := put(t, m.Store, "b", key, data)
			if got, err := get(m.Store, v, 0, -1); err != nil || !bytes.Equal(got, data) {
				t.Error(err)
			}
		})
		wg.Go(func() {
			v, err := m.Store.Copy(context.Background(), objects.CopyRequest{Source: src, Bucket: "b", Key: "copy" + fmt.Sprint(i)})
			if err != nil {
				t.Error(err)
				return
			}
			if got, err := get(m.Store, v, 1000, 5<<20); err != nil || !bytes.Equal(got, data[1000:1000+5<<20]) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if peak := m.Store.MemoryPeak(); peak > budget {
		t.Errorf("%d bytes were granted of %d", peak, budget)
	}
	m.Store.WaitBackground()
	if n := m.Store.MemoryInUse(); n != 0 {
		t.Errorf("%d bytes of memory are not returned", n)
	}
}

// A request that finds no memory in time is refused, not queued for ever.
func TestNoMemoryInTime(t *testing.T) {
	m := objectstest.NewMesh(t, objectstest.Options{Config: func(c *objects.Config) { c.Memory, c.MemoryWait = 1<<20, time.Millisecond }})
	bucket(t, m.Store, objects.Bucket{Name: "b"})
	r, w := io.Pipe()
	done := make(chan error)
	go func() {
		_, err := m.Store.Put(context.Background(), objects.PutRequest{Bucket: "b", Key: "slow", Body: r, Size: -1})
		done <- err
	}()
	w.Write([]byte("x")) // it has its memory now
	_, err := m.Store.Put(context.Background(), objects.PutRequest{Bucket: "b", Key: "k", Body: bytes.NewReader(body(1, 10)), Size: -1})
	if !errors.Is(err, hallig.ErrUnavailable) {
		t.Errorf("%v", err)
	}
	w.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
