package raft

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
)

func benchBucket(b testing.TB, n *Catalog) hallig.BucketID {
	b.Helper()
	id := hallig.NewID()
	res, err := n.Commit(context.Background(), catalog.Request{ID: hallig.NewID(), Bucket: id, Ops: []catalog.Op{catalog.SetBucket{Epoch: 1}}})
	if err != nil || res[0].Err != nil {
		b.Fatal(res, err)
	}
	return id
}

func benchPut(i int) catalog.Put {
	v := catalog.Version{Key: fmt.Sprintf("objects/%02x/%09d", i%251, i), Size: 4096, ETag: "d41d8cd98f00b204e9800998ecf8427e", Modified: time.Now(),
		Extents: []catalog.Extent{{Data: hallig.NewID(), Count: 1, Length: 4096, Last: true, Pool: 1}},
		DataKey: catalog.SealedKey{Under: "bucket", Epoch: 1, Wrapped: make([]byte, 60)}}
	v.ContentType, v.Owner = "application/octet-stream", "0123456789abcdef0123456789abcdef"
	return catalog.Put{Version: v}
}

// cpuTime is what the process has used: steadier than wall time where others run.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// benchPuts commits b.N small puts from a number of writers.
func benchPuts(b *testing.B, mirrors, writers int) {
	c := config(b, mirrors)
	c.Log = slog.New(slog.DiscardHandler)
	n := open(b, c)
	bucket, ctx, session := benchBucket(b, n), context.Background(), hallig.NewID()
	var next atomic.Int64
	lat := make([][]time.Duration, writers)
	var wg sync.WaitGroup
	b.ReportAllocs()
	cpu := cpuTime()
	b.ResetTimer()
	for w := range writers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for {
				i := int(next.Add(1))
				if i > b.N {
					return
				}
				start := time.Now()
				res, err := n.Commit(ctx, catalog.Request{ID: hallig.NewID(), Session: session, Bucket: bucket, Epoch: 1, Ops: []catalog.Op{benchPut(i)}})
				if err != nil || res[0].Err != nil {
					b.Error(res, err)
					return
				}
				lat[w] = append(lat[w], time.Since(start))
			}
		}()
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64((cpuTime()-cpu).Microseconds())/float64(b.N), "cpu-µs/op")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "puts/s")
	percentiles(b, lat)
}

func BenchmarkPut(b *testing.B) {
	for _, mirrors := range []int{1, 2, 3} {
		for _, writers := range []int{1, 16, 64} {
			b.Run(fmt.Sprintf("mirrors=%d/writers=%d", mirrors, writers), func(b *testing.B) { benchPuts(b, mirrors, writers) })
		}
	}
}

// load puts many keys by requests of 1000.
func load(t testing.TB, n *Catalog, bucket hallig.BucketID, from, to int) {
	t.Helper()
	for i := from; i < to; {
		r := catalog.Request{ID: hallig.NewID(), Bucket: bucket, Epoch: 1}
		for ; i < to && len(r.Ops) < catalog.MaxOps; i++ {
			r.Ops = append(r.Ops, benchPut(i))
		}
		res, err := n.Commit(context.Background(), r)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range res {
			if r.Err != nil {
				t.Fatal(r.Err)
			}
		}
	}
}

// benchKeys are the sizes of the buckets that page costs are measured in.
var benchKeys = []int{10_000, 1_000_000}

// BenchmarkList lists pages of 1000, one after the other and from random starts.
func BenchmarkList(b *testing.B) {
	for _, keys := range benchKeys {
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			c := config(b, 1)
			c.Log = slog.New(slog.DiscardHandler)
			n := open(b, c)
			bucket := benchBucket(b, n)
			load(b, n, bucket, 0, keys)
			q := catalog.Query{Bucket: bucket, Limit: 1000}
			b.Run("sequential", func(b *testing.B) { benchList(b, n, q, nil) })
			random := func(i int) catalog.Marker {
				at := int(uint64(i) * 2654435761 % uint64(keys))
				return catalog.Marker{Key: fmt.Sprintf("objects/%02x/%09d", at%251, at)}
			}
			b.Run("random", func(b *testing.B) { benchList(b, n, q, random) })
			b.Run("random/16", func(b *testing.B) { benchListers(b, n, q, 16, random) })
			q.Delimiter = "/"
			q.Prefix = "objects/"
			b.Run("delimiter", func(b *testing.B) { benchList(b, n, q, func(int) catalog.Marker { return catalog.Marker{} }) })
		})
	}
}

func benchList(b *testing.B, n *Catalog, q catalog.Query, start func(i int) catalog.Marker) {
	if _, err := n.List(context.Background(), q); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	cpu := cpuTime()
	b.ResetTimer()
	keys := 0
	for i := range b.N {
		if start != nil {
			q.After = start(i)
		}
		p, err := n.List(context.Background(), q)
		if err != nil {
			b.Fatal(err)
		}
		keys += len(p.Items)
		if q.After = p.Next; !p.Truncated {
			q.After = catalog.Marker{}
		}
	}
	b.ReportMetric(float64((cpuTime()-cpu).Microseconds())/float64(b.N), "cpu-µs/op")
	b.ReportMetric(float64(keys)/b.Elapsed().Seconds(), "keys/s")
}

// benchListers lists from many goroutines.
func benchListers(b *testing.B, n *Catalog, q catalog.Query, listers int, start func(i int) catalog.Marker) {
	var next atomic.Int64
	lat := make([][]time.Duration, listers)
	var wg sync.WaitGroup
	for l := range listers {
		wg.Go(func() {
			for i := int(next.Add(1)); i <= b.N; i = int(next.Add(1)) {
				q, began := q, time.Now()
				q.After = start(i)
				if _, err := n.List(context.Background(), q); err != nil {
					b.Error(err)
					return
				}
				lat[l] = append(lat[l], time.Since(began))
			}
		})
	}
	wg.Wait()
	percentiles(b, lat)
}

// percentiles reports the median and the 99th percentile of what goroutines took.
func percentiles(b *testing.B, lat [][]time.Duration) {
	all := slices.Concat(lat...)
	slices.Sort(all)
	b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(all[len(all)*99/100].Microseconds())/1000, "p99-ms")
}

func BenchmarkHead(b *testing.B) {
	c := config(b, 1)
	c.Log = slog.New(slog.DiscardHandler)
	n := open(b, c)
	bucket := benchBucket(b, n)
	load(b, n, bucket, 0, 100_000)
	b.ResetTimer()
	for i := range b.N {
		if _, err := n.Head(context.Background(), bucket, benchPut(i%100_000).Version.Key, ""); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkStart measures how long a catalog of many keys takes to open and
// to list a page: HALLIG_BENCH_KEYS keys, 100,000 by default.
func BenchmarkStart(b *testing.B) {
	keys := 100_000
	if s := os.Getenv("HALLIG_BENCH_KEYS"); s != "" {
		var err error
		if keys, err = strconv.Atoi(s); err != nil {
			b.Fatal(err)
		}
	}
	c := config(b, 1)
	c.Log = slog.New(slog.DiscardHandler)
	n := open(b, c)
	bucket := benchBucket(b, n)
	start := time.Now()
	load(b, n, bucket, 0, keys)
	b.ReportMetric(float64(keys)/time.Since(start).Seconds(), "loaded/s")
	if _, err := n.List(context.Background(), catalog.Query{Bucket: bucket, Limit: 1}); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(n.Status().Mirrors[0].Bytes)/float64(keys), "B/key")
	if err := n.Close(); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	for range b.N {
		n, err := Open(context.Background(), c)
		if err != nil {
			b.Fatal(err)
		}
		if p, err := n.List(context.Background(), catalog.Query{Bucket: bucket, Limit: 1000}); err != nil || len(p.Items) != 1000 {
			b.Fatal(len(p.Items), err)
		}
		b.StopTimer()
		if err := n.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
