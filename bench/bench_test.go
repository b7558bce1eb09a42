package bench

import (
	"math"
	"net/http"
	"net/url"
	"testing"
	"time"
)

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

// The example of AWS's documentation for GET Bucket (List Objects), with the
// payload hash replaced, cannot be had: S3 signs UNSIGNED-PAYLOAD here. That a
// server accepts the signature is tested end to end; here, that it covers what
// it must.
func TestSignatureCoversTheRequest(t *testing.T) {
	s := &signer{accessKey: "AKIAIOSFODNN7EXAMPLE", secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", region: "us-east-1"}
	sign := func(method, target string) string {
		u, err := url.Parse(target)
		if err != nil {
			t.Fatal(err)
		}
		r := &http.Request{Method: method, URL: u, Header: http.Header{}}
		s.sign(r, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
		return r.Header.Get("Authorization")
	}
	base := sign("GET", "http://h:1/b/k?list-type=2")
	for _, other := range [][2]string{
		{"PUT", "http://h:1/b/k?list-type=2"}, {"GET", "http://g:1/b/k?list-type=2"},
		{"GET", "http://h:1/b/l?list-type=2"}, {"GET", "http://h:1/b/k?list-type=1"},
	} {
		if sign(other[0], other[1]) == base {
			t.Errorf("%s %s has the same signature", other[0], other[1])
		}
	}
	if sign("GET", "http://h:1/b/k?list-type=2") != base {
		t.Error("the signature is not repeatable")
	}
}
