package objects_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/objects"
	"github.com/hallig-cloud/hallig/objects/objectstest"
	"github.com/hallig-cloud/hallig/shard"
	"github.com/hallig-cloud/hallig/shard/disk"
	"github.com/hallig-cloud/hallig/vfs"
)

// onDisk opens drives in real directories, which are closed and removed with
// the test.
func onDisk(t testing.TB) func(hallig.DriveID, int) shard.Store {
	dir, mesh := t.TempDir(), hallig.NewID()
	return func(id hallig.DriveID, i int) shard.Store {
		name := filepath.Join(dir, fmt.Sprint(i))
		if err := disk.Create(vfs.OS(), name, disk.Identity{Mesh: mesh, Node: hallig.NewID(), Drive: id, Created: time.Now()}); err != nil {
			t.Fatal(err)
		}
		d, err := disk.Open(context.Background(), disk.Config{Dir: name, MinFree: -1})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.Close() })
		return d
	}
}

// sizes are what is measured: small, at the copies' end, large.
var sizes = []int{4 << 10, 64 << 10, 1 << 20, 64 << 20}

func eachSetup(b *testing.B, f func(b *testing.B, s *objects.Store, size int)) {
	for _, where := range []string{"mem", "disk"} {
		for _, drives := range []int{1, 4} {
			for _, size := range sizes {
				b.Run(fmt.Sprintf("%s/%d-drives/%dKiB", where, drives, size>>10), func(b *testing.B) {
					o := objectstest.Options{Drives: drives}
					if where == "disk" {
						o.Open = onDisk(b)
					} else if size > 1<<20 { // bodies of mem drives would fill the memory
						o.Config = func(c *objects.Config) { c.Memory = 256 << 20 }
					}
					m := objectstest.NewMesh(b, o)
					bucket(b, m.Store, objects.Bucket{Name: "b"})
					b.SetBytes(int64(size))
					b.ReportAllocs()
					before := cpuSeconds()
					f(b, m.Store, size)
					b.ReportMetric((cpuSeconds()-before)/float64(b.N)*1e6, "cpu-µs/op")
				})
			}
		}
	}
}

// forget makes a mem drive of a store keep nothing, so that a benchmark of
// writes measures the path and not the heap.
type forgetting struct{ shard.Store }

func (forgetting) Put(context.Context, shard.Header, []byte) error { return nil }

func BenchmarkPut(b *testing.B) {
	eachSetup(b, func(b *testing.B, s *objects.Store, size int) {
		data := body(1, size)
		b.ResetTimer()
		for i := range b.N {
			if _, err := s.Put(context.Background(), objects.PutRequest{Bucket: "b", Key: fmt.Sprint(i % 4), Body: bytes.NewReader(data), Size: int64(size)}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkPutPath is the path alone: drives and catalog cost nothing.
func BenchmarkPutPath(b *testing.B) {
	for _, drives := range []int{1, 4, 6} {
		for _, size := range sizes {
			b.Run(fmt.Sprintf("%d-drives/%dKiB", drives, size>>10), func(b *testing.B) {
				m := objectstest.NewMesh(b, objectstest.Options{Drives: drives, Wrap: func(_ int, d shard.Store) shard.Store { return forgetting{d} }})
				bucket(b, m.Store, objects.Bucket{Name: "b"})
				data := body(1, size)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				b.ResetTimer()
				for i := range b.N {
					if _, err := m.Store.Put(context.Background(), objects.PutRequest{Bucket: "b", Key: fmt.Sprint(i % 4), Body: bytes.NewReader(data), Size: int64(size)}); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// slow is a drive that keeps nothing and whose flush takes a while.
type slow struct {
	shard.Store
	flush time.Duration
}

func (s slow) Put(context.Context, shard.Header, []byte) error { time.Sleep(s.flush); return nil }

// BenchmarkPutSlow writes to drives whose flush takes 20 ms.
func BenchmarkPutSlow(b *testing.B) {
	const size = 64 << 20
	m := objectstest.NewMesh(b, objectstest.Options{Wrap: func(_ int, d shard.Store) shard.Store { return slow{d, 20 * time.Millisecond} }})
	bucket(b, m.Store, objects.Bucket{Name: "b"})
	data := body(1, size)
	b.SetBytes(size)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.Store.Put(context.Background(), objects.PutRequest{Bucket: "b", Key: "k", Body: bytes.NewReader(data), Size: size}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPutParallel(b *testing.B) {
	eachSetup(b, func(b *testing.B, s *objects.Store, size int) {
		data := body(1, size)
		var n atomic.Int64
		b.SetParallelism(16)
		b.ResetTimer()
		b.RunParallel(func(p *testing.PB) {
			for p.Next() {
				key := fmt.Sprint(n.Add(1) % 1000)
				if size > 1<<20 {
					key = "one"
				}
				if _, err := s.Put(context.Background(), objects.PutRequest{Bucket: "b", Key: key, Body: bytes.NewReader(data), Size: int64(size)}); err != nil {
					b.Error(err)
				}
			}
		})
	})
}

func BenchmarkGet(b *testing.B) {
	eachSetup(b, func(b *testing.B, s *objects.Store, size int) {
		v := put(b, s, "b", "k", body(1, size))
		b.ResetTimer()
		for range b.N {
			r, err := s.Get(context.Background(), objects.GetRequest{Version: v, Length: -1})
			if err != nil {
				b.Fatal(err)
			}
			if n, err := io.Copy(io.Discard, r); err != nil || n != v.Size {
				b.Fatal(n, err)
			}
			r.Close()
		}
	})
}

// BenchmarkGetDegraded reads with one of four drives gone.
func BenchmarkGetDegraded(b *testing.B) {
	m := objectstest.NewMesh(b, objectstest.Options{Drives: 4})
	bucket(b, m.Store, objects.Bucket{Name: "b"})
	v := put(b, m.Store, "b", "k", body(1, 64<<20))
	m.Drives.SetAway(m.Drives.IDs()[0], true)
	b.SetBytes(v.Size)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		r, err := m.Store.Get(context.Background(), objects.GetRequest{Version: v, Length: -1})
		if err != nil {
			b.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, r); err != nil || n != v.Size {
			b.Fatal(n, err)
		}
		r.Close()
	}
}
