package accesslog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/objects"
	"github.com/hallig-cloud/hallig/s3"
	"github.com/hallig-cloud/hallig/s3/subresource"
)

func record(method, uri, op string) s3.Record {
	r := httptest.NewRequest(method, uri, nil)
	r.Header.Set("User-Agent", `agent "x"`)
	return s3.Record{
		Time: time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC), Duration: 7 * time.Millisecond, RequestID: "RID", HostID: "HID", Operation: op,
		Request: r, Bucket: "src", Key: "a b/ü\n.txt", Requester: "user", Status: 200, BytesOut: 12, ObjectSize: 34,
	}
}

func TestLine(t *testing.T) {
	r := record("GET", "/src/a%20b?x=1", "GetObject")
	got := newEntry(r).line("owner")
	want := `owner src [03/Feb/2026:04:05:06 +0000] 192.0.2.1 user RID REST.GET.OBJECT a%20b/%C3%BC%0A.txt "GET /src/a%20b?x=1 HTTP/1.1" ` +
		`200 - 12 34 7 - "-" "agent %22x%22" - HID - - - example.com - - -` + "\n"
	if got != want {
		t.Errorf("got  %swant %s", got, want)
	}
	for op, want := range map[string]string{
		"ListObjectsV2": "REST.GET.BUCKET", "GetBucketVersioning": "REST.GET.VERSIONING", "GetBucketCors": "REST.GET.CORS",
		"GetBucketAcl": "REST.GET.ACL", "GetBucketLifecycleConfiguration": "REST.GET.LIFECYCLE", "": "-",
	} {
		r.Operation = op
		if got := operation(r); got != want {
			t.Errorf("%s: %s, want %s", op, got, want)
		}
	}
}

// Whatever a client sends, a record is one line with as many fields.
func FuzzLine(f *testing.F) {
	f.Add("a b", "agent", `ref"erer`, "user", "host")
	fields := regexp.MustCompile(`"[^"]*"|\[[^\]]*\](?: |$)|[^ ]+`)
	f.Fuzz(func(t *testing.T, key, agent, referer, requester, host string) {
		r := record("GET", "/", "GetObject")
		r.Key, r.Requester, r.Request.Host, r.Request.RequestURI = key, requester, host, "/"+key
		r.Request.Header = http.Header{"User-Agent": {agent}, "Referer": {referer}}
		line := newEntry(r).line("owner")
		if strings.Count(line, "\n") != 1 || !strings.HasSuffix(line, "\n") || strings.Contains(line, "\r") {
			t.Fatalf("%q", line)
		}
		if n := len(fields.FindAllString(strings.TrimSuffix(line, "\n"), -1)); n != 26 {
			t.Fatalf("%d fields in %q", n, line)
		}
	})
}

// memory is a store of buckets and put objects.
type memory struct {
	mu      sync.Mutex
	buckets map[string]objects.Bucket
	objects map[string]string
	fail    error
}

func (m *memory) Bucket(_ context.Context, name string) (objects.Bucket, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, ok := m.buckets[name]
	if !ok {
		return b, fmt.Errorf("bucket %s: %w", name, hallig.ErrNotFound)
	}
	return b, nil
}

func (m *memory) Put(_ context.Context, r objects.PutRequest) (catalog.Version, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil || int64(len(body)) != r.Size {
		return catalog.Version{}, errors.New("bad body")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return catalog.Version{}, m.fail
	}
	m.objects[r.Bucket+"/"+r.Key] = string(body)
	return catalog.Version{}, nil
}

func store(format string) *memory {
	doc := `<BucketLoggingStatus xmlns="` + subresource.Namespace + `"><LoggingEnabled><TargetBucket>logs</TargetBucket><TargetPrefix>p/</TargetPrefix>` +
		format + `</LoggingEnabled></BucketLoggingStatus>`
	return &memory{
		buckets: map[string]objects.Bucket{
			"src":  {ID: hallig.NewID(), Name: "src", Owner: "o", Edit: 1, Documents: map[objects.Document][]byte{objects.DocLogging: []byte(doc)}},
			"off":  {ID: hallig.NewID(), Name: "off", Owner: "o"},
			"logs": {ID: hallig.NewID(), Name: "logs", Owner: "o"},
		},
		objects: map[string]string{},
	}
}

func run(t *testing.T, l *Log) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestDelivery(t *testing.T) {
	for format, pattern := range map[string]string{
		"": `^logs/p/2000-01-01-00-0\d-00-[0-9A-F]{16}$`,
		"<TargetObjectKeyFormat><PartitionedPrefix><PartitionDateSource>EventTime</PartitionDateSource></PartitionedPrefix></TargetObjectKeyFormat>": `^logs/p/000000000000/us-east-1/src/2026/02/03/2026-02-03-00-00-00-[0-9A-F]{16}$`,
	} {
		synctest.Test(t, func(t *testing.T) {
			m := store(format)
			l := New(Config{Store: m, Size: 1 << 20})
			stop := run(t, l)
			for range 10 {
				l.Observe(record("GET", "/src/k", "GetObject"))
				off := record("GET", "/off/k", "GetObject")
				off.Bucket = "off"
				l.Observe(off)
			}
			time.Sleep(l.cfg.Every)
			synctest.Wait()
			if len(m.objects) != 1 {
				t.Fatalf("objects after the first interval: %v", m.objects)
			}
			l.Observe(record("GET", "/src/k", "GetObject"))
			stop() // delivers the last line
			lines := 0
			for key, text := range m.objects {
				if !regexp.MustCompile(pattern).MatchString(key) {
					t.Errorf("key %s", key)
				}
				lines += strings.Count(text, "\n")
			}
			if lines != 11 || l.Dropped() != 0 {
				t.Errorf("%d lines, %d dropped", lines, l.Dropped())
			}
		})
	}
}

func TestSizeAndLosses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := store("")
		l := New(Config{Store: m, Size: 1000, Waiting: 20})
		for range 25 {
			l.Observe(record("GET", "/src/k", "GetObject"))
		}
		if l.Dropped() != 5 {
			t.Errorf("%d dropped, want 5", l.Dropped())
		}
		stop := run(t, l)
		synctest.Wait()
		if len(m.objects) < 2 {
			t.Errorf("%d objects before the interval is over", len(m.objects))
		}
		m.mu.Lock()
		m.fail = hallig.ErrFull
		m.mu.Unlock()
		l.Observe(record("GET", "/src/k", "GetObject"))
		stop()
		if l.Dropped() <= 5 {
			t.Error("a failed delivery was not counted")
		}
	})
}
