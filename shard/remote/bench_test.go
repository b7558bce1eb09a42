package remote

import (
	"fmt"
	"testing"

	"github.com/hallig-cloud/hallig/shard/mem"
	"github.com/hallig-cloud/hallig/shard/shardtest"
)

// BenchmarkPut and BenchmarkGet go over TLS on loopback to a drive in memory. The same shard
// is put again and again.
func BenchmarkPut(b *testing.B) {
	for _, size := range []int{4 << 10, 1 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			_, nodes, served := pair(b, true, nil)
			body := shardtest.Body(1, size)
			s := closing(b, New(Config{Node: nodes[0].Mesh.Client(nodes[1].ID()), Drive: served.add(mem.New(mem.Config{}))}))
			b.SetBytes(int64(size))
			for b.Loop() {
				if err := s.Put(b.Context(), shardtest.Header(1, 0, body), body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkGet(b *testing.B) {
	for _, size := range []int{4 << 10, 1 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			_, nodes, served := pair(b, true, nil)
			body := shardtest.Body(1, size)
			under := mem.New(mem.Config{})
			s := closing(b, New(Config{Node: nodes[0].Mesh.Client(nodes[1].ID()), Drive: served.add(under)}))
			h := shardtest.Header(1, 0, body)
			if err := under.Put(b.Context(), h, body); err != nil {
				b.Fatal(err)
			}
			dst := make([]byte, 0, size)
			b.SetBytes(int64(size))
			for b.Loop() {
				if _, _, err := s.Get(b.Context(), h.ID, 0, -1, dst); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
