package s3_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/hallig-cloud/hallig/s3"
)

// XML bombs, on every route that reads a document, from the one who may.
func TestXMLBombs(t *testing.T) {
	f := openField(t)
	bombs := map[string]string{
		"entities":  `<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><Delete>&b;</Delete>`,
		"external":  `<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><Delete><Object><Key>&a;</Key></Object></Delete>`,
		"depth":     strings.Repeat("<a>", 100_000) + strings.Repeat("</a>", 100_000),
		"size":      "<a>" + strings.Repeat("x", 5<<20) + "</a>",
		"elements":  "<Delete>" + strings.Repeat("<Object><Key>k</Key></Object>", 60_000) + "</Delete>",
		"attribute": "<a " + strings.Repeat(`b="c" `, 100_000) + "/>",
		"garbage":   "\xff\xfe\x00",
		"open":      "<Delete><Object>",
	}
	bodies := matrixRoutes()
	for name, bomb := range bombs {
		before := allocated()
		n := 0
		for _, r := range s3.Routes() {
			if !strings.HasPrefix(bodies[r.Name], "<") {
				continue
			}
			n++
			got := f.attack(t, byHeader(t, f.root, f.callOf(r, bomb)))
			if got.status < 400 || got.status >= 500 && got.code != "NotImplemented" {
				t.Errorf("%s on %s: %v", name, r.Name, got)
			}
		}
		if n < 15 {
			t.Errorf("only %d routes read documents", n)
		}
		if used := (allocated() - before) / uint64(n); used > 128<<20 {
			t.Errorf("%s allocates %d MiB a request", name, used>>20)
		}
	}
}

func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// Thousands of ranges cost no more than the object (RFC 9110, section 14.2).
func TestThousandsOfRanges(t *testing.T) {
	f := openField(t)
	for _, header := range []string{"bytes=" + strings.TrimSuffix(strings.Repeat("0-0,", 1500), ","), "bytes=0-,0-,0-", "bytes=-1,-1", "bytes=" + strings.Repeat("9", 5000) + "-",
		"bytes=0-" + strings.Repeat("9", 5000), "bytes=-" + strings.Repeat("9", 5000), "bytes=1-0", "bytes=--1", "bytes=abc", "bytes", "lines=0-1"} {
		got := f.as(t, f.root, "GET", "/attacked/key", "Range", header)
		if got.status >= 500 || len(got.body) > 16<<10 || strings.Contains(got.header.Get("Content-Type"), "multipart") {
			t.Errorf("%.40s: %v, %d bytes", header, got, len(got.body))
		}
	}
}

func TestPartNumbersAreBounded(t *testing.T) {
	f := openField(t)
	for _, n := range []string{"0", "10001", "-1", "x", "", "99999999999999999999", "1.5"} {
		for _, path := range []string{"/attacked/key?uploadId=" + f.upload + "&partNumber=" + n} {
			got := f.attack(t, byHeader(t, f.root, call{method: "PUT", path: "/attacked/key", query: strings.Split(path, "?")[1], body: "x"}))
			mustBe(t, "part "+n, got, "InvalidArgument")
		}
	}
	body := "<CompleteMultipartUpload>" + strings.Repeat("<Part><PartNumber>1</PartNumber><ETag>x</ETag></Part>", 10_001) + "</CompleteMultipartUpload>"
	got := f.attack(t, byHeader(t, f.root, call{method: "POST", path: "/attacked/key", query: "uploadId=" + f.upload, body: body}))
	if got.status < 400 || got.status >= 500 {
		t.Errorf("10,001 parts: %v", got)
	}
}

// endless is a body without an end and without a length.
type endless struct{ n int64 }

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'a'
	}
	e.n += int64(len(p))
	return len(p), nil
}

// MinIO CVE-2022-31028, Ceph CVE-2022-3854: memory without bounds.
func TestEndlessBodiesAreBounded(t *testing.T) {
	f := openField(t)
	bodies := matrixRoutes()
	for _, r := range s3.Routes() {
		if r.Name == "PutObject" || r.Name == "UploadPart" || bodies[r.Name] == "" {
			continue
		}
		e := &endless{}
		out := byUnsignedPayload(t, f.root, f.callOf(r, ""))
		in := out.Clone(context.Background())
		in.RequestURI, in.Host = in.URL.RequestURI(), "s3.test"
		in.Body, in.ContentLength, in.RemoteAddr = io.NopCloser(e), -1, "192.0.2.1:1"
		w := &discard{header: http.Header{}}
		f.server.ServeHTTP(w, in)
		if w.status < 400 || e.n > 16<<20 {
			t.Errorf("%s: %d after %d bytes", r.Name, w.status, e.n)
		}
	}
}

type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(status int)      { d.status = status }

func TestHugeHeadersAreRefused(t *testing.T) {
	f := openField(t)
	for name, headers := range map[string][]string{"one": {"X-Amz-Meta-A", strings.Repeat("a", 100_000)}, "another": {"X-Other", strings.Repeat("a", 100_000)}} {
		got := f.attack(t, byHeader(t, f.root, call{method: "PUT", path: "/attacked/k", body: "x", headers: headers}))
		if got.status < 400 || got.status >= 500 {
			t.Errorf("%s: %v", name, got)
		}
	}
	var many []string
	for i := range 5000 {
		many = append(many, fmt.Sprintf("X-Amz-Meta-%d", i), "v")
	}
	if got := f.attack(t, byHeader(t, f.root, call{method: "PUT", path: "/attacked/k", body: "x", headers: many})); got.status < 400 || got.status >= 500 {
		t.Errorf("many: %v", got)
	}
}
