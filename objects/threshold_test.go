package objects_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"syscall"
	"testing"

	"github.com/hallig-cloud/hallig/objects"
	"github.com/hallig-cloud/hallig/objects/objectstest"
)

func cpuSeconds() float64 {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return 0
	}
	return float64(r.Utime.Nano()+r.Stime.Nano()) / 1e9
}

// BenchmarkThreshold compares copies with coding by size, on four drives on
// disk: what Config.SmallLimit is chosen by. CPU is of the whole process and
// steadier than the clock.
func BenchmarkThreshold(b *testing.B) {
	for _, size := range []int{16 << 10, 64 << 10, 128 << 10, 256 << 10, 512 << 10, 1 << 20} {
		for _, class := range []string{"copies", "coded"} {
			limit := int64(64 << 20)
			if class == "coded" {
				limit = -1
			}
			m := objectstest.NewMesh(b, objectstest.Options{Open: onDisk(b), Config: func(c *objects.Config) { c.SmallLimit = limit }})
			bucket(b, m.Store, objects.Bucket{Name: "b"})
			data := body(1, size)
			v := put(b, m.Store, "b", "k", data)
			measure := func(name string, f func()) {
				b.Run(fmt.Sprintf("%s/%dKiB/%s", name, size>>10, class), func(b *testing.B) {
					before := cpuSeconds()
					for range b.N {
						f()
					}
					b.ReportMetric((cpuSeconds()-before)/float64(b.N)*1e6, "cpu-µs/op")
				})
			}
			measure("put", func() {
				if _, err := m.Store.Put(context.Background(), objects.PutRequest{Bucket: "b", Key: "k2", Body: bytes.NewReader(data), Size: int64(size)}); err != nil {
					b.Fatal(err)
				}
			})
			measure("get", func() {
				r, err := m.Store.Get(context.Background(), objects.GetRequest{Version: v, Length: -1})
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, r); err != nil {
					b.Fatal(err)
				}
				r.Close()
			})
		}
	}
}
