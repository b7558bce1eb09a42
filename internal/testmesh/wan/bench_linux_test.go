package wan

import (
	"io"
	"net"
	"slices"
	"testing"
	"time"
)

// BenchmarkThroughput sends one TCP stream without delay and reports MB/s.
func BenchmarkThroughput(b *testing.B) {
	for name, open := range networks() {
		b.Run(name, func(b *testing.B) {
			n := open(b, "a", "b")
			const size = 1 << 20
			got := make(chan int64)
			c := dial(b, n, "a", "b", serve(b, n, "b", func(c net.Conn) { n, _ := io.Copy(io.Discard, c); got <- n }))
			c.SetDeadline(time.Time{})
			buf := make([]byte, size)
			b.SetBytes(size)
			for b.Loop() {
				c.Write(buf)
			}
			c.(*net.TCPConn).CloseWrite()
			if n := <-got; n != int64(b.N)*size {
				b.Fatalf("%d bytes of %d arrived", n, b.N*size)
			}
		})
	}
}

// BenchmarkRoundTrip reports the median round trip at 20 ms each way.
func BenchmarkRoundTrip(b *testing.B) {
	for name, open := range networks() {
		b.Run(name, func(b *testing.B) {
			n := open(b, "a", "b")
			c := dial(b, n, "a", "b", echo(b, n, "b"))
			c.SetDeadline(time.Time{})
			must(b, n.Set("a", "b", Link{Delay: 20 * time.Millisecond}), n.Set("b", "a", Link{Delay: 20 * time.Millisecond}))
			var took []time.Duration
			for b.Loop() {
				begun := time.Now()
				roundTrip(b, c, "ping")
				took = append(took, time.Since(begun))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
		})
	}
}

func networks() map[string]func(testing.TB, ...string) Network {
	return map[string]func(testing.TB, ...string) Network{"namespaces": openNamespaces, "loopback": openLoopback}
}
