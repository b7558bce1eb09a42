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

	"github.com/cockroachdb/pebble/v2"

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
func benchPuts(b *testing.B, n *Catalog, bucket hallig.BucketID, from, writers int) {
	ctx, session := context.Background(), hallig.NewID()
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
				res, err := n.Commit(ctx, catalog.Request{ID: hallig.NewID(), Session: session, Bucket: bucket, Epoch: 1, Ops: []catalog.Op{benchPut(from + i)}})
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
			b.Run(fmt.Sprintf("mirrors=%d/writers=%d", mirrors, writers), func(b *testing.B) {
				c := config(b, mirrors)
				c.Log = slog.New(slog.DiscardHandler)
				n := open(b, c)
				benchPuts(b, n, benchBucket(b, n), 0, writers)
			})
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
			random := randomKey(keys)
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

// benchHead reads versions of keys at random.
func benchHead(b *testing.B, n *Catalog, bucket hallig.BucketID, keys int) {
	at := randomKey(keys)
	b.ReportAllocs()
	cpu := cpuTime()
	b.ResetTimer()
	for i := range b.N {
		if _, err := n.Head(context.Background(), bucket, at(i).Key, ""); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64((cpuTime()-cpu).Microseconds())/float64(b.N), "cpu-µs/op")
}

func BenchmarkHead(b *testing.B) {
	c := config(b, 1)
	c.Log = slog.New(slog.DiscardHandler)
	n := open(b, c)
	bucket := benchBucket(b, n)
	load(b, n, bucket, 0, 100_000)
	benchHead(b, n, bucket, 100_000)
}

// BenchmarkGrowth measures puts, reads, pages and starts at 10^4 and at 10^6
// keys (HALLIG_BENCH_KEYS for the latter): none may grow by more than 1.3.
func BenchmarkGrowth(b *testing.B) {
	sizes := slices.Clone(benchKeys)
	if s := os.Getenv("HALLIG_BENCH_KEYS"); s != "" {
		var err error
		if sizes[1], err = strconv.Atoi(s); err != nil {
			b.Fatal(err)
		}
	}
	c := config(b, 1)
	c.Log = slog.New(slog.DiscardHandler)
	n, err := Open(context.Background(), c)
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := n.Close(); err != nil {
			b.Error(err)
		}
	}()
	bucket, have := benchBucket(b, n), 0
	for _, keys := range sizes {
		cpu, from := cpuTime(), have
		load(b, n, bucket, have, keys)
		settle(n)
		have = keys
		perKey := float64((cpuTime() - cpu).Microseconds()) / float64(keys-from)
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			b.Run("put", func(b *testing.B) { benchPuts(b, n, bucket, have, 64); have += b.N })
			b.Run("head", func(b *testing.B) { benchHead(b, n, bucket, keys) })
			b.Run("list", func(b *testing.B) { benchList(b, n, catalog.Query{Bucket: bucket, Limit: 1000}, randomKey(keys)) })
			b.Run("start", func(b *testing.B) {
				const starts = 3 // however short the others are asked to be
				for range starts {
					n = benchStart(b, n, c, bucket)
				}
				b.ReportMetric(b.Elapsed().Seconds()/starts, "s/start")
				b.ReportMetric(perKey, "cpu-µs/loaded")
				b.ReportMetric(float64(n.Status().Mirrors[0].Bytes)/float64(keys), "B/key")
			})
		})
	}
}

// settle waits for the compactions that a load has left behind.
func settle(n *Catalog) {
	for _, m := range n.set.list() {
		for _, db := range []*pebble.DB{m.log, m.state, m.opened} {
			for db.Metrics().Compact.NumInProgress > 0 {
				time.Sleep(10 * time.Millisecond)
			}
		}
	}
}

// benchStart closes a catalog and times its start, up to the first page.
func benchStart(b *testing.B, n *Catalog, c Config, bucket hallig.BucketID) *Catalog {
	b.StopTimer()
	if err := n.Close(); err != nil {
		b.Fatal(err)
	}
	b.StartTimer()
	n, err := Open(context.Background(), c)
	if err != nil {
		b.Fatal(err)
	}
	if p, err := n.List(context.Background(), catalog.Query{Bucket: bucket, Limit: 1000}); err != nil || len(p.Items) != 1000 {
		b.Fatal(len(p.Items), err)
	}
	return n
}

// randomKey starts pages all over a bucket of keys.
func randomKey(keys int) func(i int) catalog.Marker {
	return func(i int) catalog.Marker {
		at := int(uint64(i) * 2654435761 % uint64(keys))
		return catalog.Marker{Key: fmt.Sprintf("objects/%02x/%09d", at%251, at)}
	}
}
