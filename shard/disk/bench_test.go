package disk

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hallig-cloud/hallig/shard"
	"github.com/hallig-cloud/hallig/shard/shardtest"
)

func benchPut(b *testing.B, size, parallel int) {
	d := open(b, create(b, Config{}))
	body := shardtest.Body(1, size)
	var n atomic.Int64
	b.SetBytes(int64(size))
	b.SetParallelism(parallel)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			h := shardtest.Header(1, int(n.Add(1)), body)
			if err := d.Put(b.Context(), h, body); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func BenchmarkPut4KiBAlone(b *testing.B) { benchSerial(b, 4<<10) }
func BenchmarkPut4KiB32(b *testing.B)    { benchPut(b, 4<<10, 16) } // two processors: 32 writers
func BenchmarkPut4KiB8(b *testing.B)     { benchPut(b, 4<<10, 4) }
func BenchmarkPut1MiB4(b *testing.B)     { benchPut(b, 1<<20, 2) }

// BenchmarkDelete32 deletes shards one by one, with 32 callers; BenchmarkDeleteMany
// 1,000 in a call, as the sweep does.
func BenchmarkDelete32(b *testing.B)   { benchDelete(b, 1, 16) }
func BenchmarkDeleteMany(b *testing.B) { benchDelete(b, 1000, 1) }

func benchDelete(b *testing.B, batch, parallel int) {
	d := open(b, create(b, Config{}))
	var n atomic.Int64
	b.SetParallelism(parallel)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		ids := make([]shard.ID, batch)
		for pb.Next() {
			for i := range ids {
				ids[i] = shardtest.Header(1, int(n.Add(1)), nil).ID
			}
			if err := d.Delete(b.Context(), ids...); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func benchSerial(b *testing.B, size int) {
	d := open(b, create(b, Config{}))
	body := shardtest.Body(1, size)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	for n := range b.N {
		if err := d.Put(b.Context(), shardtest.Header(1, n, body), body); err != nil {
			b.Fatal(err)
		}
	}
}

func benchGet(b *testing.B, size int, off, n int64) {
	d := open(b, create(b, Config{}))
	body := shardtest.Body(1, size)
	const shards = 64
	for i := range shards {
		if err := d.Put(b.Context(), shardtest.Header(1, i, body), body); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(n)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		var dst []byte
		for i := 0; pb.Next(); i++ {
			var err error
			if _, dst, err = d.Get(b.Context(), shardtest.Header(1, i%shards, body).ID, off, n, dst[:0]); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func BenchmarkGet4KiB(b *testing.B)  { benchGet(b, 4<<10, 0, 4<<10) }
func BenchmarkGet1MiB(b *testing.B)  { benchGet(b, 1<<20, 0, 1<<20) }
func BenchmarkGetRange(b *testing.B) { benchGet(b, 4<<20, 1<<20+1000, 64<<10) } // 64 KiB over two blocks
func BenchmarkScrub(b *testing.B) {
	d := open(b, create(b, Config{}))
	body := shardtest.Body(1, 1<<20)
	for i := range 64 {
		if err := d.Put(b.Context(), shardtest.Header(1, i, body), body); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(64 << 20)
	b.ResetTimer()
	for range b.N {
		if f, _, err := d.Scrub(b.Context(), nil, 1<<40); err != nil || f.Shards != 64 {
			b.Fatal(f, err)
		}
	}
}

// BenchmarkOpen100k opens a drive with 100,000 shards of 4 KiB: after a Close,
// as a kill leaves it, and with the index made anew.
func BenchmarkOpen100k(b *testing.B) {
	cfg := create(b, Config{})
	d := open(b, cfg)
	body := shardtest.Body(1, 4<<10)
	var n atomic.Int64
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for i := n.Add(1); i <= 100_000; i = n.Add(1) {
				if err := d.Put(b.Context(), shardtest.Header(1, int(i), body), body); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if err := d.Close(); err != nil {
		b.Fatal(err)
	}
	for _, rebuild := range []bool{false, true} {
		b.Run(map[bool]string{false: "closed", true: "rebuild"}[rebuild], func(b *testing.B) {
			for range b.N {
				cfg.Rebuild = rebuild
				d, err := Open(b.Context(), cfg)
				if err != nil {
					b.Fatal(err)
				}
				if got := d.Status().Shards; got != 100_000 {
					b.Fatal(got)
				}
				b.StopTimer()
				if err := d.Close(); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
}

// BenchmarkStatAbsent asks a drive of 100,000 shards for one that it has not,
// as the sweep does of the drives where a shard does not belong.
func BenchmarkStatAbsent(b *testing.B) {
	d := open(b, create(b, Config{}))
	t := d.begin()
	id := func(n int) shard.ID {
		id := shardtest.Header(1, n, nil).ID
		id.Data[8], id.Data[9], id.Data[10] = byte(n>>16), byte(n>>8), byte(n)
		id.Data[0] = byte(n * 7919 >> 3)
		id.Data[1] = byte(n * 104729 >> 5)
		return id
	}
	for n := range 100_000 {
		if _, err := t.get(id(2 * n)); err != nil {
			b.Fatal(err)
		}
		t.set(id(2*n), entry{state: entryLive, segment: 1 << 40, off: uint32(n)})
	}
	if err := t.commit(true); err != nil {
		b.Fatal(err)
	}
	if err := d.index.(pebbleKV).db.Compact(b.Context(), []byte{0}, []byte{255}, false); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for n := range b.N {
		if _, err := d.Stat(b.Context(), id(2*(n%100_000)+1)); err == nil {
			b.Fatal("there")
		}
	}
}
