package s3_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/hallig-cloud/hallig/objects"
	"github.com/hallig-cloud/hallig/s3"
)

// The hot operations as a server does them: net/http, SigV4, package objects
// over a catalog and a drive in memory. The client sends the same signed bytes
// again and again over one connection, so that next to nothing of what is
// counted is its own; cpu-µs/op is of the whole process.
//
//	go test ./s3 -run '^$' -bench . -benchmem

func BenchmarkPutObject4K(b *testing.B) {
	d := openDoor(b, quiet)
	d.bucket("bench")
	d.bench(b, http.MethodPut, "/bench/key", bytes.Repeat([]byte("x"), 4<<10))
}

func BenchmarkGetObject4K(b *testing.B) {
	d := openDoor(b, quiet)
	d.bucket("bench")
	d.put("bench", "key", string(bytes.Repeat([]byte("x"), 4<<10)))
	d.bench(b, http.MethodGet, "/bench/key", nil)
}

func BenchmarkHeadObject(b *testing.B) {
	d := openDoor(b, quiet)
	d.bucket("bench")
	d.put("bench", "key", "x")
	d.bench(b, http.MethodHead, "/bench/key", nil)
}

func BenchmarkListObjectsV2(b *testing.B) {
	d := openDoor(b, quiet)
	d.bucket("bench")
	for i := range 1100 {
		if _, err := d.mesh.Store.Put(ctx, objects.PutRequest{Bucket: "bench", Key: fmt.Sprintf("some/prefix/%08d", i), Body: http.NoBody}); err != nil {
			b.Fatal(err)
		}
	}
	d.bench(b, http.MethodGet, "/bench?list-type=2", nil)
}

// quiet keeps nothing of what a benchmark does.
func quiet(c *s3.Config) { c.Events, c.Observe = nil, nil }

// bench sends one request b.N times.
func (d *door) bench(b *testing.B, method, path string, body []byte) {
	b.Helper()
	r, err := http.NewRequest(method, d.url+path, bytes.NewReader(body)) //nolint:noctx // never sent by net/http
	if err != nil {
		b.Fatal(err)
	}
	sum := sha256.Sum256(body)
	hash := hex.EncodeToString(sum[:])
	r.Header.Set("User-Agent", "bench")
	r.Header.Set("x-amz-content-sha256", hash)
	signWith(b, r, caller{rootKey, rootSecret}, hash, time.Now())
	var wire bytes.Buffer
	if err := r.Write(&wire); err != nil {
		b.Fatal(err)
	}
	c, err := net.Dial("tcp", r.URL.Host) //nolint:noctx // loopback
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close() //nolint:errcheck // nothing is left in it
	in := bufio.NewReaderSize(c, 1<<20)
	b.ReportAllocs()
	b.ResetTimer()
	before := cpuTime(b)
	for b.Loop() {
		if _, err := c.Write(wire.Bytes()); err != nil {
			b.Fatal(err)
		}
		if status := answered(b, in, method); status != http.StatusOK {
			b.Fatal(status)
		}
	}
	b.ReportMetric(float64((cpuTime(b)-before).Nanoseconds())/1e3/float64(b.N), "cpu-µs/op")
}

// answered reads one response and returns its status.
func answered(b *testing.B, in *bufio.Reader, method string) (status int) {
	length := 0
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			b.Fatal(err)
		}
		line = bytes.TrimRight(line, "\r\n")
		switch {
		case status == 0:
			if status, err = strconv.Atoi(string(line[9:12])); err != nil {
				b.Fatal(err)
			}
		case len(line) == 0:
			if method != http.MethodHead {
				if _, err := io.CopyN(io.Discard, in, int64(length)); err != nil {
					b.Fatal(err)
				}
			}
			return status
		case bytes.HasPrefix(line, []byte("Content-Length: ")):
			if length, err = strconv.Atoi(string(line[16:])); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
