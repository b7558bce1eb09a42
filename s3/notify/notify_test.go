package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/catalog/mem"
	"github.com/hallig-cloud/hallig/objects"
	"github.com/hallig-cloud/hallig/s3/subresource"
)

func doc(s string) []byte {
	return []byte(`<NotificationConfiguration xmlns="` + subresource.Namespace + `">` + s + `</NotificationConfiguration>`)
}

func topic(id, hook, event, filter string) string {
	return "<TopicConfiguration><Id>" + id + "</Id><Topic>" + ARNPrefix + hook + "</Topic><Event>" + event + "</Event>" + filter + "</TopicConfiguration>"
}

func filter(prefix, suffix string) string {
	return "<Filter><S3Key><FilterRule><Name>prefix</Name><Value>" + prefix + "</Value></FilterRule>" +
		"<FilterRule><Name>Suffix</Name><Value>" + suffix + "</Value></FilterRule></S3Key></Filter>"
}

func TestParse(t *testing.T) {
	const created = "s3:ObjectCreated:*"
	for _, tt := range []struct{ name, in, code string }{
		{"empty", "", ""},
		{"one", topic("a", "w", created, ""), ""},
		{"queue", "<QueueConfiguration><Queue>" + ARNPrefix + "w</Queue><Event>s3:ObjectRemoved:Delete</Event></QueueConfiguration>", ""},
		{"a URL is no target", "<QueueConfiguration><Queue>http://169.254.169.254/</Queue><Event>" + created + "</Event></QueueConfiguration>", "InvalidArgument"},
		{"foreign ARN", "<QueueConfiguration><Queue>arn:aws:sqs:us-east-1:1:q</Queue><Event>" + created + "</Event></QueueConfiguration>", "InvalidArgument"},
		{"bad name", topic("a", "../w", created, ""), "InvalidArgument"},
		{"unknown event", topic("a", "w", "s3:ObjectEaten", ""), "InvalidArgument"},
		{"no event", "<TopicConfiguration><Topic>" + ARNPrefix + "w</Topic></TopicConfiguration>", "MalformedXML"},
		{"same id", topic("a", "w", created, "") + topic("a", "w", "s3:ObjectRemoved:*", ""), "InvalidArgument"},
		{"overlap", topic("a", "w", created, "") + topic("b", "v", "s3:ObjectCreated:Put", ""), "InvalidArgument"},
		{"overlap by prefix", topic("a", "w", created, filter("im", "")) + topic("b", "v", created, filter("images/", ".png")), "InvalidArgument"},
		{"apart by prefix", topic("a", "w", created, filter("images/", "")) + topic("b", "v", created, filter("logs/", "")), ""},
		{"apart by suffix", topic("a", "w", created, filter("", ".jpg")) + topic("b", "v", created, filter("", ".png")), ""},
		{"two prefixes", topic("a", "w", created, strings.Replace(filter("a", "b"), "Suffix", "Prefix", 1)), "InvalidArgument"},
		{"unknown rule", topic("a", "w", created, strings.Replace(filter("a", "b"), "Suffix", "infix", 1)), "InvalidArgument"},
		{"event bridge", "<EventBridgeConfiguration/>", "NotImplemented"},
		{"not XML", "<", "MalformedXML"},
	} {
		_, err := Parse(doc(tt.in))
		var e *subresource.Error
		if code := ""; errors.As(err, &e) {
			code = e.Code
			if code != tt.code {
				t.Errorf("%s: %v, want %q", tt.name, err, tt.code)
			}
		} else if tt.code != "" {
			t.Errorf("%s: no error, want %s", tt.name, tt.code)
		}
	}
}

func TestWants(t *testing.T) {
	c, err := Parse(doc(topic("a", "w", "s3:ObjectCreated:*", filter("my+images/", ".j%70g"))))
	if err != nil {
		t.Fatal(err)
	}
	target := c.Targets()[0]
	for _, tt := range []struct {
		event, key string
		want       bool
	}{
		{"ObjectCreated:Put", "my images/a.jpg", true},
		{"ObjectCreated:Copy", "my+images/a.j%70g", true},
		{"ObjectRemoved:Delete", "my images/a.jpg", false},
		{"ObjectCreated:Put", "images/a.jpg", false},
		{"ObjectCreated:Put", "my images/a.png", false},
	} {
		if got := target.Wants(tt.event, tt.key); got != tt.want {
			t.Errorf("%s %s: %v", tt.event, tt.key, got)
		}
	}
}

func TestMessage(t *testing.T) {
	e := Event{
		Name: "ObjectCreated:Put", At: time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC), Region: "us-east-1", Bucket: "b", Owner: "o",
		Key: "red flower/ä.jpg", Size: 0, ETag: "e", VersionID: "v", Revision: 0xABC, Principal: "p", SourceIP: "1.2.3.4",
		RequestID: "r", HostID: "h", TargetID: "t",
	}
	got, err := e.Message()
	if err != nil {
		t.Fatal(err)
	}
	want := `{"Records":[{"eventVersion":"2.1","eventSource":"aws:s3","awsRegion":"us-east-1","eventTime":"2026-01-02T03:04:05.006Z",` +
		`"eventName":"ObjectCreated:Put","userIdentity":{"principalId":"p"},"requestParameters":{"sourceIPAddress":"1.2.3.4"},` +
		`"responseElements":{"x-amz-id-2":"h","x-amz-request-id":"r"},"s3":{"s3SchemaVersion":"1.0","configurationId":"t",` +
		`"bucket":{"name":"b","ownerIdentity":{"principalId":"o"},"arn":"arn:aws:s3:::b"},` +
		`"object":{"key":"red+flower/%C3%A4.jpg","size":0,"eTag":"e","versionId":"v","sequencer":"0000000000000ABC"}}}]}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// A receiver answers with what status says and keeps the keys it accepted.
type receiver struct {
	mu     sync.Mutex
	status int
	keys   []string
	header http.Header
	body   []byte
	tries  int
}

func (r *receiver) RoundTrip(req *http.Request) (*http.Response, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	r.tries++
	r.header, r.body = req.Header, body
	if r.status == 200 {
		var m struct {
			Records []struct {
				S3 struct{ Object struct{ Key string } }
			}
		}
		if err := json.Unmarshal(body, &m); err != nil {
			return nil, err
		}
		for _, rec := range m.Records {
			r.keys = append(r.keys, rec.S3.Object.Key)
		}
	}
	return &http.Response{StatusCode: r.status, Status: fmt.Sprint(r.status), Body: http.NoBody, Request: req}, nil
}

func (r *receiver) set(status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status = status
}

func (r *receiver) tried() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tries
}

func (r *receiver) got() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(slices.Values(r.keys))
}

func bucket() *objects.Bucket {
	return &objects.Bucket{
		ID: hallig.NewID(), Name: "b", Owner: "o", Edit: 1,
		Documents: map[objects.Document][]byte{objects.DocNotification: doc(topic("t", "w", "s3:ObjectCreated:*", filter("in/", "")))},
	}
}

func keys(n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("in/%04d", i))
	}
	return all
}

func publish(t *testing.T, n *Notifier, b *objects.Bucket, count int) {
	t.Helper()
	for _, k := range keys(count) {
		tell(t, n, b, "ObjectCreated:Put", k)
	}
}

func tell(t *testing.T, n *Notifier, b *objects.Bucket, name, key string) {
	t.Helper()
	if err := n.Publish(t.Context(), b, Event{Name: name, Key: key, At: time.Now()}); err != nil {
		t.Error(err)
	}
}

func records(t *testing.T) *mem.Catalog {
	t.Helper()
	c := mem.New(mem.Config{})
	if err := NewWebhooks(c).Put(t.Context(), Webhook{Name: "w", URL: "http://hook.example/x", Authorization: "Bearer z", Secret: "s"}); err != nil {
		t.Fatal(err)
	}
	return c
}

func start(t *testing.T, n *Notifier) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestDelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{status: 200}
		n := New(Config{Records: records(t), Node: "n1", Client: &http.Client{Transport: r}})
		stop := start(t, n)
		defer stop()
		b := bucket()
		publish(t, n, b, 50)
		tell(t, n, b, "ObjectCreated:Put", "out/1")
		tell(t, n, b, "ObjectRemoved:Delete", "in/1")
		synctest.Wait()
		if got := r.got(); !slices.Equal(got, keys(50)) {
			t.Errorf("delivered %v", got)
		}
		if r.header.Get("Authorization") != "Bearer z" || r.header.Get("Content-Type") != "application/json" {
			t.Errorf("headers %v", r.header)
		}
		if want := (Webhook{Secret: "s"}).Sign(time.Now(), r.body); r.header.Get(SignatureHeader) != want {
			t.Errorf("signature %q, want %q", r.header.Get(SignatureHeader), want)
		}
		if c := n.Counts(); c.Delivered != 50 || c.Dropped != 0 || c.Waiting != 0 {
			t.Errorf("counts %+v", c)
		}
	})
}

// A target that is down for an hour gets everything when it is back, and a
// process that dies meanwhile (it is simply abandoned here: Run's orderly end
// stores nothing that is not stored already) leaves it to the next.
func TestBacklogSurvivesProcess(t *testing.T) {
	for _, crash := range []bool{false, true} {
		t.Run(fmt.Sprintf("crash=%v", crash), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cat := records(t)
				r := &receiver{status: 503}
				n := New(Config{Records: cat, Node: "n1", Client: &http.Client{Transport: r}})
				stop := start(t, n)
				publish(t, n, bucket(), 1200)
				time.Sleep(time.Hour)
				synctest.Wait()
				if len(r.got()) != 0 || n.Counts().Waiting != 0 {
					t.Fatalf("delivered %d, in memory %d", len(r.got()), n.Counts().Waiting)
				}
				second := New(Config{Records: cat, Node: "n1", Client: &http.Client{Transport: r}})
				if !crash {
					stop()
				}
				other := New(Config{Records: cat, Node: "n2", Client: &http.Client{Transport: &receiver{status: 200}}})
				stopOther := start(t, other)
				synctest.Wait()
				if other.Counts().Delivered != 0 {
					t.Error("another node delivered this one's backlog")
				}
				stopOther()
				if crash {
					defer stop()
					r.set(0) // the abandoned process reaches nobody
				}
				r2 := &receiver{status: 200}
				second.cfg.Client = &http.Client{Transport: r2}
				stop2 := start(t, second)
				synctest.Wait()
				if got := r2.got(); !slices.Equal(got, keys(1200)) {
					t.Errorf("delivered %d of 1200 after the restart", len(got))
				}
				stop2()
				if names, err := second.backlogWebhooks(t.Context()); err != nil || len(names) != 0 {
					t.Errorf("backlog left: %v %v", names, err)
				}
			})
		})
	}
}

// forgetful loses what is stored, as a Notifier would that kept its backlog in
// memory alone.
type forgetful struct{ *mem.Catalog }

func (f forgetful) Update(ctx context.Context, changes ...catalog.Change) error {
	if len(changes) > 0 && changes[0].Kind == catalog.KindTask {
		return nil
	}
	return f.Catalog.Update(ctx, changes...)
}

// The negative control of TestBacklogSurvivesProcess: without the catalog the
// backlog is gone.
func TestBacklogNeedsCatalog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cat := forgetful{records(t)}
		first := New(Config{Records: cat, Node: "n1", Client: &http.Client{Transport: &receiver{status: 503}}})
		stop := start(t, first)
		publish(t, first, bucket(), 100)
		time.Sleep(time.Hour)
		stop()
		r := &receiver{status: 200}
		second := New(Config{Records: cat, Node: "n1", Client: &http.Client{Transport: r}})
		stop = start(t, second)
		synctest.Wait()
		stop()
		if len(r.got()) == 100 {
			t.Error("the events came from somewhere else than the catalog")
		}
	})
}

// TestRecorded: what Publish returned for is delivered by the next process,
// though this one never tried: it dies at once. The negative control keeps the
// events in memory, where a catalog that takes nothing leaves them.
func TestRecorded(t *testing.T) {
	for _, control := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			cat := records(t)
			var held catalog.Records = cat
			if control {
				held = forgetful{cat}
			}
			dying := New(Config{Records: held, Node: "n1"})
			var callers sync.WaitGroup
			b := bucket()
			for i := range 40 {
				callers.Go(func() {
					events := make([]Event, 30)
					for j := range events {
						events[j] = Event{Name: "ObjectCreated:Put", Key: fmt.Sprintf("in/%04d", 30*i+j), At: time.Now()}
					}
					if err := dying.Publish(t.Context(), b, events...); err != nil {
						t.Error(err)
					}
				})
			}
			callers.Wait()
			r := &receiver{status: 200}
			stop := start(t, New(Config{Records: cat, Node: "n1", Client: &http.Client{Transport: r}}))
			synctest.Wait()
			stop()
			if all := slices.Equal(r.got(), keys(1200)); all == control {
				t.Errorf("negative control %v: %d of 1200 delivered", control, len(r.got()))
			}
		})
	}
}

// refusing takes no tasks while refuse is set.
type refusing struct {
	*mem.Catalog
	refuse *atomic.Bool
	tasks  *atomic.Int64 // changes of tasks taken
}

func (r refusing) Update(ctx context.Context, changes ...catalog.Change) error {
	if len(changes) > 0 && changes[0].Kind == catalog.KindTask {
		if r.refuse.Load() {
			return hallig.ErrUnavailable
		}
		r.tasks.Add(1)
	}
	return r.Catalog.Update(ctx, changes...)
}

// TestGroups: concurrent events share their way to the catalog.
func TestGroups(t *testing.T) {
	cat := refusing{records(t), &atomic.Bool{}, &atomic.Int64{}}
	n := New(Config{Records: cat, Node: "n1"})
	b := bucket()
	q := n.queue("w")
	q.storing.Lock() // a batch is on its way
	var callers sync.WaitGroup
	for _, k := range keys(100) {
		callers.Go(func() { tell(t, n, b, "ObjectCreated:Put", k) })
	}
	for joined := 0; joined < 100; {
		q.mu.Lock()
		if q.group != nil {
			joined = len(q.group.events)
		}
		q.mu.Unlock()
		runtime.Gosched()
	}
	q.storing.Unlock()
	callers.Wait()
	if got := cat.tasks.Load(); got != 1 {
		t.Errorf("%d batches for 100 events at once", got)
	}
}

// TestCatalogRefuses: events that the catalog does not take are said to be in
// danger, are bounded, and go out all the same.
func TestCatalogRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cat := refusing{records(t), &atomic.Bool{}, &atomic.Int64{}}
		cat.refuse.Store(true)
		r := &receiver{status: 200}
		n := New(Config{Records: cat, Node: "n1", Client: &http.Client{Transport: r}, Waiting: 100})
		b := bucket()
		for _, k := range keys(150) {
			if err := n.Publish(t.Context(), b, Event{Name: "ObjectCreated:Put", Key: k, At: time.Now()}); !errors.Is(err, hallig.ErrUnavailable) {
				t.Fatal(err)
			}
		}
		if c := n.Counts(); c.Waiting != 100 || c.Dropped != 50 {
			t.Errorf("counts %+v", c)
		}
		stop := start(t, n)
		synctest.Wait()
		if got := r.got(); !slices.Equal(got, keys(100)) {
			t.Errorf("delivered %d of 100", len(got))
		}
		stop()
	})
}

// TestBounds: a backlog that is full gives up its oldest, and what is too old
// is given up, both counted.
func TestBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{status: 500}
		n := New(Config{Records: records(t), Node: "n1", Client: &http.Client{Transport: r}, Batches: 20, GiveUp: time.Hour})
		b := bucket()
		publish(t, n, b, 50) // nothing runs yet: a batch each
		if c := n.Counts(); c.Waiting != 0 || c.Dropped != 30 {
			t.Fatalf("counts %+v", c)
		}
		stop := start(t, n)
		time.Sleep(30 * time.Minute)
		if tries := r.tried(); tries > 100 {
			t.Errorf("%d attempts in half an hour", tries)
		}
		r.set(200)
		time.Sleep(10 * time.Minute)
		if got := r.got(); !slices.Equal(got, keys(50)[30:]) {
			t.Errorf("delivered %v, want the newest 20", got)
		}
		r.set(500)
		publish(t, n, b, 10)
		time.Sleep(2 * time.Hour)
		r.set(200)
		time.Sleep(time.Hour)
		if c := n.Counts(); len(r.got()) != 20 || c.Dropped != 40 || c.Delivered != 20 {
			t.Errorf("events that were too old: %d delivered, counts %+v", len(r.got()), c)
		}
		stop()
	})
}

func TestTestEvent(t *testing.T) {
	r := &receiver{status: 200}
	n := New(Config{Records: records(t), Node: "n1", Client: &http.Client{Transport: r}})
	e := Event{At: time.Now(), Bucket: "b", RequestID: "r", HostID: "h"}
	if err := n.Test(t.Context(), "w", e); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(r.body), `"Event":"s3:TestEvent"`) {
		t.Errorf("body %s", r.body)
	}
	r.set(500)
	if err := n.Test(t.Context(), "w", e); !errors.Is(err, hallig.ErrUnavailable) {
		t.Error(err)
	}
	if err := n.Test(t.Context(), "none", e); !errors.Is(err, hallig.ErrNotFound) {
		t.Error(err)
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	hit := false
	inner := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hit = true }))
	defer inner.Close()
	outer := httptest.NewServer(http.RedirectHandler(inner.URL, http.StatusTemporaryRedirect))
	defer outer.Close()
	cat := mem.New(mem.Config{})
	n := New(Config{Records: cat, Node: "n1"})
	if err := n.Webhooks().Put(t.Context(), Webhook{Name: "w", URL: outer.URL}); err != nil {
		t.Fatal(err)
	}
	if err := n.Test(t.Context(), "w", Event{}); err == nil || hit {
		t.Errorf("err %v, followed %v", err, hit)
	}
}

func TestWebhooks(t *testing.T) {
	ctx := t.Context()
	h := NewWebhooks(mem.New(mem.Config{}))
	for _, w := range []Webhook{{Name: "A", URL: "http://x"}, {Name: "", URL: "http://x"}, {Name: "a", URL: "ftp://x"}, {Name: "a", URL: "x"},
		{Name: "a", URL: "http://x", Authorization: "a\r\nb"}} {
		if err := h.Put(ctx, w); !errors.Is(err, hallig.ErrInvalid) {
			t.Errorf("%+v: %v", w, err)
		}
	}
	for i := range 120 {
		if err := h.Put(ctx, Webhook{Name: fmt.Sprintf("w%03d", i), URL: "http://x"}); err != nil {
			t.Fatal(err)
		}
	}
	if all, err := h.List(ctx); err != nil || len(all) != 120 || all[119].Name != "w119" {
		t.Errorf("list: %d %v", len(all), err)
	}
	if err := h.Delete(ctx, "w000"); err != nil {
		t.Error(err)
	}
	if err := h.Delete(ctx, "w000"); !errors.Is(err, hallig.ErrNotFound) {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(doc(topic("a", "w", "s3:ObjectCreated:*", filter("a", "b"))))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse(data)
		if err != nil {
			return
		}
		out, err := c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse(out); err != nil && len(out) <= MaxBytes {
			t.Fatalf("what was written does not parse: %v\n%s", err, out)
		}
		for _, target := range c.Targets() {
			target.Wants("ObjectCreated:Put", "k")
		}
	})
}
