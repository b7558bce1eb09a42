package bench

import (
	"bytes"
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hallig-cloud/hallig/access"
	"github.com/hallig-cloud/hallig/objects"
	"github.com/hallig-cloud/hallig/objects/objectstest"
	"github.com/hallig-cloud/hallig/s3"
)

const (
	testKey    = "HALLIGROOT"
	testSecret = "hallig-root-secret"
	testBucket = "bench-bucket"
)

// A twin is Hallig's S3 door over a store in memory.
type twin struct {
	url   string
	store *objects.Store
	// between sees every answer first, with the request.
	between atomic.Pointer[func(w http.ResponseWriter, r *http.Request, next http.Handler)]
}

func newTwin(t testing.TB) *twin {
	t.Helper()
	mesh := objectstest.NewMesh(t, objectstest.Options{Drives: 1})
	users := access.New(mesh.Catalog, access.Config{})
	t.Cleanup(users.Close)
	if _, _, _, err := users.EnsureRoot(t.Context(), testKey, testSecret); err != nil {
		t.Fatal(err)
	}
	door := s3.New(s3.Config{Store: mesh.Store, Access: users})
	tw := &twin{store: mesh.Store}
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f := tw.between.Load(); f != nil {
			(*f)(w, r, door)
			return
		}
		door.ServeHTTP(w, r)
	}))
	t.Cleanup(h.Close)
	tw.url = h.URL
	return tw
}

func (tw *twin) end() Endpoint {
	return Endpoint{URL: tw.url, AccessKey: testKey, SecretKey: testSecret, Bucket: testBucket}
}

func (tw *twin) intercept(f func(w http.ResponseWriter, r *http.Request, next http.Handler)) {
	tw.between.Store(&f)
}

// keys lists what is left on the server.
func (tw *twin) keys(t testing.TB) []string {
	t.Helper()
	cfg := Config{Endpoint: tw.end(), Kind: List}
	if err := cfg.fill(); err != nil {
		t.Fatal(err)
	}
	sides, err := newSides(&cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer sides[0].close()
	var p page
	var keys []string
	for {
		if err := sides[0].workers[0].client.list(t.Context(), "", "", &p); err != nil {
			t.Fatal(err)
		}
		for _, k := range p.keys {
			keys = append(keys, string(k))
		}
		if p.next == "" {
			return keys
		}
	}
}

func small(tw *twin, kind Kind) Config {
	return Config{
		Endpoint: tw.end(), Kind: kind, Sizes: FixedSize(4 << 10), Concurrency: 4, Keys: 60,
		Duration: 50 * time.Millisecond, Slices: 3, WarmUp: 5 * time.Millisecond, Seed: 7, Batch: 25,
	}
}

func mustSizes(t testing.TB, s string) Sizes {
	t.Helper()
	sizes, err := ParseSizes(s)
	if err != nil {
		t.Fatal(err)
	}
	return sizes
}

func TestEveryKindMeasuresAndTidiesUp(t *testing.T) {
	tw := newTwin(t)
	for _, kind := range Kinds() {
		t.Run(string(kind), func(t *testing.T) {
			cfg := small(tw, kind)
			want := []Kind{kind}
			switch kind {
			case Multipart:
				cfg.Sizes, cfg.PartSize, cfg.Keys = FixedSize(6<<20), 5<<20, 2
				want = append(want, partOp)
			case Mixed:
				// Every worker draws at least once a slice: so many, that the
				// seed draws each operation however slow the machine is.
				cfg.Sizes, cfg.Concurrency = mustSizes(t, "1KiB:80,100KiB:20"), 40
				want = []Kind{Get, Stat, Put, Delete}
			case Get:
				cfg.Payload, cfg.Sizes = Signed, mustSizes(t, "0,100KiB,3MiB")
				cfg.Keys = 12
			}
			rep, err := Run(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			r := rep.Endpoints[0]
			if r.Errors > 0 || r.Items == 0 || len(r.Slices) != 3 || r.Rate.Median <= 0 || r.Rate.Low > r.Rate.High {
				t.Errorf("got %+v", r)
			}
			for _, op := range want {
				if l := r.Latency[string(op)]; l.Count == 0 || l.P50 <= 0 || l.P50 > l.P90 || l.P90 > l.P99 || l.P99 > l.Max {
					t.Errorf("%s: latency %+v", op, l)
				}
			}
			if left := tw.keys(t); len(left) > 0 {
				t.Errorf("%d objects are left behind, the first %s", len(left), left[0])
			}
		})
	}
}

func TestComparisonAlternates(t *testing.T) {
	a, b := newTwin(t), newTwin(t)
	var mu sync.Mutex
	var order []string
	note := func(name string) func(http.ResponseWriter, *http.Request, http.Handler) {
		return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if mu.Lock(); r.Method == http.MethodHead && strings.Contains(r.URL.Path, "bench/") && (len(order) == 0 || order[len(order)-1] != name) {
				order = append(order, name)
			}
			mu.Unlock()
			next.ServeHTTP(w, r)
		}
	}
	a.intercept(note("a"))
	b.intercept(note("b"))
	cfg := small(a, Stat)
	other := b.end()
	cfg.Compare, cfg.WarmUp, cfg.Keys, cfg.Slices = &other, -1, 20, 5
	rep, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	// Five slices each, ABBA: neighbours of one side run together.
	if got, want := strings.Join(order, ""), "abababa"[:6]; got != want {
		t.Errorf("the slices came in the order %s, want %s", got, want)
	}
	c := rep.Comparison
	if c == nil || c.Rate.Median <= 0 || c.Rate.Low > c.Rate.High || c.P99["stat"].Median <= 0 {
		t.Errorf("got %+v", c)
	}
}

func TestRatiosOfMedians(t *testing.T) {
	side := func(items ...int64) (s []Slice) {
		for _, n := range items {
			s = append(s, Slice{Items: n, Seconds: 2, ServerCPU: 1})
		}
		return s
	}
	a, b := Result{Slices: side(100, 400, 300)}, Result{Slices: side(100, 100, 200)}
	c := compare(&a, &b)
	if c.Rate.Median != 3 || c.Rate.Low != 1 || c.Rate.High != 4 {
		t.Errorf("got %+v, want 3 (1 to 4)", c.Rate)
	}
	if math.Abs(c.CPU.Median-1.0/3) > 1e-9 {
		t.Errorf("CPU per item: got %+v, want a third", c.CPU)
	}
}

// One flipped byte in what a server answers must be seen; with verification
// off (the negative control) it is not.
func TestWrongBytesAreSeen(t *testing.T) {
	tw := newTwin(t)
	tw.intercept(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		rec := httptest.NewRecorder()
		next.ServeHTTP(rec, r)
		body := rec.Body.Bytes()
		for k, v := range rec.Header() {
			w.Header()[k] = v
		}
		w.WriteHeader(rec.Code)
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "bench/") && len(body) > 0 {
			body[len(body)-1] ^= 1
		}
		w.Write(body)
	})
	for _, kind := range []Kind{Get, Put} {
		for _, blind := range []bool{false, true} {
			cfg := small(tw, kind)
			cfg.NoVerify, cfg.Keys = blind, 20
			rep, err := Run(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			if r := rep.Endpoints[0]; (r.Wrong > 0) == blind {
				t.Errorf("%s, blind %v: %d wrong answers, %d errors, the first %s", kind, blind, r.Wrong, r.Errors, r.FirstError)
			}
		}
	}
}

func TestMissingKeysAreSeenInAListing(t *testing.T) {
	tw := newTwin(t)
	tw.intercept(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.URL.Query().Get("list-type") == "" {
			next.ServeHTTP(w, r)
			return
		}
		rec := httptest.NewRecorder()
		next.ServeHTTP(rec, r)
		text := rec.Body.String()
		if at := strings.Index(text, "<Contents>"); at >= 0 { // the first entry goes missing
			text = text[:at] + text[strings.Index(text, "</Contents>")+len("</Contents>"):]
		}
		w.WriteHeader(rec.Code)
		io.WriteString(w, text)
	})
	rep, err := Run(t.Context(), small(tw, List))
	if err != nil {
		t.Fatal(err)
	}
	if r := rep.Endpoints[0]; r.Wrong == 0 || r.Items > 0 {
		t.Errorf("got %d wrong of %d errors, %d keys", r.Wrong, r.Errors, r.Items)
	}
}

// The walk over the keys is the order of a listing, from any worker's place.
func TestKeyOrder(t *testing.T) {
	for _, keys := range []int{1, 2, 255, 256, 257, 1000, 70_000} {
		s := &side{cfg: &Config{Keys: keys, Prefix: "p/", Concurrency: 7}}
		var sorted []string
		for n := range keys {
			sorted = append(sorted, s.key(int64(n)))
		}
		slices.Sort(sorted)
		at := int64(0)
		for i, want := range sorted {
			if at < 0 || s.key(at) != want {
				t.Fatalf("%d keys: place %d is %d, want %s", keys, i, at, want)
			}
			next := s.after(at)
			if next >= 0 && s.before(next) != at {
				t.Fatalf("%d keys: before %d lies %d, want %d", keys, next, s.before(next), at)
			}
			at = next
		}
		if at != -1 {
			t.Errorf("%d keys: it goes on to %d", keys, at)
		}
		for w := range 7 {
			if f := s.folder(w); f >= int64(keys) {
				t.Errorf("%d keys: worker %d begins at %d", keys, w, f)
			}
		}
	}
}

func TestAnInterruptedRunReportsAndTidiesUp(t *testing.T) {
	tw := newTwin(t)
	for _, kind := range []Kind{Put, Mixed, Multipart} {
		ctx, cancel := context.WithCancel(t.Context())
		cfg := small(tw, kind)
		cfg.Duration, cfg.WarmUp, cfg.Keys, cfg.PartSize = time.Hour, -1, 10, 1<<10
		if kind == Multipart {
			cfg.PartSize = 5 << 20
		}
		cfg.Progress = func(l Live) {
			if l.Phase == "measuring" && l.Operations > 0 {
				cancel()
			}
		}
		rep, err := Run(ctx, cfg)
		if err == nil || !rep.Interrupted || rep.Endpoints[0].Items == 0 || len(rep.Endpoints[0].Slices) != 1 {
			t.Errorf("%s: got %v and %+v", kind, err, rep)
		}
		if left := tw.keys(t); len(left) > 0 {
			t.Errorf("%s: %d objects are left behind", kind, len(left))
		}
		cancel()
	}
}

func TestReuseTakesWhatIsThere(t *testing.T) {
	tw := newTwin(t)
	var puts atomic.Int64
	tw.intercept(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "bench/") {
			puts.Add(1)
		}
		next.ServeHTTP(w, r)
	})
	cfg := small(tw, Get)
	cfg.Keep = true
	for i, want := range []int64{60, 0, 80} { // the last makes 80 of 60; of the first it cannot tell whether all are there, since 32 were put at once
		puts.Store(0)
		cfg.Reuse = i > 0
		if i == 2 {
			cfg.Keys = 80
		}
		rep, err := Run(t.Context(), cfg)
		if err != nil || rep.Endpoints[0].Errors > 0 {
			t.Fatal(err, rep)
		}
		if puts.Load() != want {
			t.Errorf("run %d: %d puts, want %d", i, puts.Load(), want)
		}
	}
}

func TestTheSeedDecides(t *testing.T) {
	requests := func() []string {
		tw := newTwin(t)
		var mu sync.Mutex
		var seen []string
		tw.intercept(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			body, _ := io.ReadAll(r.Body)
			r.Body = io.NopCloser(bytes.NewReader(body))
			mu.Lock()
			seen = append(seen, fmt.Sprintf("%s %s %x", r.Method, r.URL, body[:min(len(body), 40)]))
			mu.Unlock()
			next.ServeHTTP(w, r)
		})
		cfg := small(tw, Mixed)
		cfg.Concurrency, cfg.WarmUp, cfg.Slices = 1, -1, 1
		cfg.Sizes = FixedSize(smallObject + 1) // put by the one worker, in order
		if _, err := Run(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		return seen
	}
	a, b := requests(), requests()
	n := min(len(a), len(b)) - 2 // one of them did more before the time was up, then tidied up
	if n < 60 || !slices.Equal(a[:n], b[:n]) {
		t.Errorf("%d and %d requests differ", len(a), len(b))
	}
}

func TestAServerThatIsAwayIsAnError(t *testing.T) {
	h := httptest.NewServer(http.NotFoundHandler())
	h.Close()
	_, err := Run(t.Context(), Config{Endpoint: Endpoint{URL: h.URL, AccessKey: "a", SecretKey: "b"}, Kind: Put})
	if err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("got %v", err)
	}
}

func TestWrongConfigurations(t *testing.T) {
	good := Endpoint{URL: "http://h:1", AccessKey: "a", SecretKey: "b"}
	for name, cfg := range map[string]Config{
		"no endpoint":  {Kind: Put},
		"no key":       {Endpoint: Endpoint{URL: "http://h:1"}, Kind: Put},
		"no scheme":    {Endpoint: Endpoint{URL: "h:1", AccessKey: "a", SecretKey: "b"}, Kind: Put},
		"path":         {Endpoint: Endpoint{URL: "http://h:1/x", AccessKey: "a", SecretKey: "b"}, Kind: Put},
		"kind":         {Endpoint: good, Kind: "x"},
		"payload":      {Endpoint: good, Kind: Put, Payload: "x"},
		"batch":        {Endpoint: good, Kind: Put, Batch: 1001},
		"against self": {Endpoint: good, Compare: &good, Kind: Put},
	} {
		if err := cfg.fill(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestFill(t *testing.T) {
	tw := newTwin(t)
	cfg := small(tw, "")
	cfg.Keys = 1234
	rep, err := Fill(t.Context(), cfg)
	if err != nil || rep.Listed != 1234 || rep.ListPages != 2 || rep.Latency.Count != 1234 {
		t.Errorf("got %v, %+v", err, rep)
	}
	if left := tw.keys(t); len(left) > 0 {
		t.Errorf("%d objects are left behind", len(left))
	}
}

func TestHistogramBoundsItsError(t *testing.T) {
	var h histogram
	for i := 1; i <= 10_000; i++ {
		h.add(time.Duration(i) * 37 * time.Microsecond)
	}
	for _, q := range []float64{.5, .9, .99} {
		want := q * 10_000 * 37 / 1000
		if got := h.quantile(q); math.Abs(got-want) > want*.035 {
			t.Errorf("quantile %v: got %v ms, want about %v", q, got, want)
		}
	}
	if got := h.quantile(1); got != 370 {
		t.Errorf("maximum: got %v ms, want 370", got)
	}
	for us := uint64(0); us < 1<<20; us += 7 {
		if b := bucket(us); upper(b) < us || (b > 0 && upper(b-1) >= us) {
			t.Fatalf("%d µs lies outside its bucket %d", us, b)
		}
	}
}

// That a server accepts the signatures is tested end to end; here, that they
// cover what they must.
func TestSignatureCoversTheRequest(t *testing.T) {
	s := &signer{accessKey: "AKIAIOSFODNN7EXAMPLE", secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", region: "us-east-1"}
	sign := func(method, path, query, host, payload string, day int) string {
		return string(s.sign(nil, method, path, query, host, payload, time.Date(2026, 1, day, 3, 4, 5, 0, time.UTC)))
	}
	base := sign("GET", "/b/k", "list-type=2", "h:1", unsigned, 2)
	for i, other := range []string{
		sign("PUT", "/b/k", "list-type=2", "h:1", unsigned, 2), sign("GET", "/b/l", "list-type=2", "h:1", unsigned, 2),
		sign("GET", "/b/k", "list-type=1", "h:1", unsigned, 2), sign("GET", "/b/k", "list-type=2", "g:1", unsigned, 2),
		sign("GET", "/b/k", "list-type=2", "h:1", emptyHash, 2), sign("GET", "/b/k", "list-type=2", "h:1", unsigned, 3),
	} {
		if _, a, _ := strings.Cut(base, "Signature="); strings.Contains(other, a) {
			t.Errorf("%d has the same signature", i)
		}
	}
	if sign("GET", "/b/k", "list-type=2", "h:1", unsigned, 2) != base {
		t.Error("the signature is not repeatable")
	}
}

func TestEscape(t *testing.T) {
	if got := escape("a b/ü~+=", true); got != "a%20b/%C3%BC~%2B%3D" {
		t.Error(got)
	}
	if got := escape("a/b", false); got != "a%2Fb" {
		t.Error(got)
	}
}

func TestSizes(t *testing.T) {
	for s, want := range map[string]int64{"0": 0, "4096": 4096, "4KiB": 4096, "4k": 4096, "64MiB": 64 << 20, "5GiB": 5 << 30, "12b": 12} {
		if got, err := ParseSize(s); err != nil || got != want {
			t.Errorf("%s: got %d, %v, want %d", s, got, err, want)
		}
	}
	for _, s := range []string{"", "x", "-1", "+1", "6GiB", "4 KiB x", "1e3", "4.5MiB", "99999999999999999999"} {
		if got, err := ParseSize(s); err == nil {
			t.Errorf("%s: got %d, want an error", s, got)
		}
	}
	for _, s := range []string{"", "4KiB:", "4KiB:0", "4KiB:-1", "4KiB,", "mix,1"} {
		if _, err := ParseSizes(s); err == nil {
			t.Errorf("%s: no error", s)
		}
	}
	mixed := mustSizes(t, "mix")
	if mean := mixed.Mean() / (1 << 20); mean < .84 || mean > .87 {
		t.Errorf("the mix has a mean of %.3f MiB", mean)
	}
	var got []int64
	for i := range uint64(10_000) {
		got = append(got, mixed.of(mix(1, i)))
	}
	slices.Sort(got)
	if got[5000] != 16<<10 {
		t.Errorf("the mix has a median of %d", got[5000])
	}
}

func FuzzParseSizes(f *testing.F) {
	for _, s := range []string{"mix", "4KiB", "1KiB:3,5GiB:1", ":", "1:18446744073709551615"} {
		f.Add(s, uint64(1))
	}
	f.Fuzz(func(t *testing.T, s string, h uint64) {
		sizes, err := ParseSizes(s)
		if err != nil {
			return
		}
		if n := sizes.of(h); n < 0 || n > MaxSize {
			t.Errorf("%q: size %d", s, n)
		}
	})
}

func TestBodyRanges(t *testing.T) {
	filler := makeFiller(3)
	var whole body
	const size = 2<<20 + 77
	whole.set(filler, 3, 9, size, 0, size)
	all := bytes.Join(whole.after(nil), nil)
	if len(all) != size {
		t.Fatalf("got %d bytes", len(all))
	}
	for _, r := range [][2]int64{{0, 10}, {5, 30}, {24, 1}, {1 << 20, 1 << 20}, {size - 1, 1}, {0, size}} {
		var part body
		part.set(filler, 3, 9, size, r[0], r[1])
		if got := bytes.Join(part.after([]byte("head")), nil); !bytes.Equal(got[4:], all[r[0]:r[0]+r[1]]) {
			t.Errorf("range %v differs", r)
		}
	}
	if n, err := whole.read(bytes.NewReader(all), make([]byte, 1000), true); n != size || err != nil {
		t.Errorf("got %d, %v", n, err)
	}
	if _, err := whole.read(bytes.NewReader(all[1:]), make([]byte, 1000), true); err == nil {
		t.Error("a missing byte is not seen")
	}
	if _, err := whole.read(bytes.NewReader(append(all, 0)), make([]byte, 1000), true); err == nil {
		t.Error("one byte too many is not seen")
	}
	var other body
	other.set(filler, 3, 10, size, 0, size)
	if _, err := other.read(bytes.NewReader(all), make([]byte, 1000), true); err == nil {
		t.Error("another object's bytes are not seen")
	}
}

// What the client itself takes for a request, against a server that does
// nothing.
func BenchmarkClient(b *testing.B) {
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	}))
	defer h.Close()
	u, err := url.Parse(h.URL)
	if err != nil {
		b.Fatal(err)
	}
	cfg := Config{Seed: 1, Payload: Unsigned}
	c := newClient(Endpoint{AccessKey: "a", SecretKey: "b", Region: "us-east-1", Bucket: "b"}, u, &cfg, makeFiller(1))
	b.ReportAllocs()
	for b.Loop() {
		if err := c.put(b.Context(), object{"some/key", 1, 4096}); err != nil {
			b.Fatal(err)
		}
	}
}

// The pages that the client searches are XML: what it finds is what a decoder
// finds.
func TestPagesAreSearchedAsADecoderReadsThem(t *testing.T) {
	tw := newTwin(t)
	cfg := small(tw, Get)
	cfg.Keep = true
	if _, err := Run(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	var raw []byte
	tw.intercept(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		rec := httptest.NewRecorder()
		next.ServeHTTP(rec, r)
		raw = slices.Clone(rec.Body.Bytes())
		w.Write(raw)
	})
	keys := tw.keys(t)
	var decoded struct{ Contents []struct{ Key string } }
	if err := xml.Unmarshal(raw, &decoded); err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, c := range decoded.Contents {
		want = append(want, c.Key)
	}
	if len(want) != 60 || !slices.Equal(keys, want) {
		t.Errorf("got %d keys, a decoder finds %d", len(keys), len(want))
	}
}
