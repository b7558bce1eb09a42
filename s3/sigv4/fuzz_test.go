package sigv4

import (
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
)

// FuzzHeader throws Authorization headers and signed lists at the parser; only
// the right signature may pass.
func FuzzHeader(f *testing.F) {
	f.Add(exampleScope+"SignedHeaders=host;x-amz-content-sha256;x-amz-date,Signature=00", "20130524T000000Z", emptyHash, "a=b")
	f.Add("AWS a:b", "Fri, 24 May 2013 00:00:00 GMT", unsignedPayload, "")
	f.Add("AWS4-HMAC-SHA256 Credential=a/b/c/s3/aws4_request,SignedHeaders=,Signature=c", "x", streamSigned, "x-id=1&&=&%")
	f.Fuzz(func(t *testing.T, authorization, date, hash, query string) {
		r := request("PUT", "/bucket/key", "s3.test", "body")
		r.Header["Authorization"] = []string{authorization}
		r.Header["X-Amz-Date"] = []string{date}
		r.Header["X-Amz-Content-Sha256"] = []string{hash}
		r.Header["X-Amz-Decoded-Content-Length"] = []string{"4"}
		r.URL.RawQuery = query
		if a, err := verifierAt(exampleTime(), func(c *Config) { c.AllowV2 = true }).Authenticate(r); err == nil && a.Kind != Anonymous {
			t.Errorf("accepted %q as %q", authorization, a.AccessKey)
		}
	})
}

// FuzzQuery throws queries at the presigned parser, and compares the query
// parser with net/url's.
func FuzzQuery(f *testing.F) {
	f.Add("X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=00")
	f.Add("AWSAccessKeyId=a&Expires=1&Signature=b")
	f.Add("a=b&a=c&%41=%zz&;&+=+")
	f.Fuzz(func(t *testing.T, query string) {
		r := &http.Request{Method: "GET", Host: "s3.test", URL: &url.URL{Path: "/k", RawQuery: query}, Header: http.Header{}, Body: http.NoBody}
		if a, err := verifierAt(exampleTime(), func(c *Config) { c.AllowV2 = true }).Authenticate(r); err == nil && a.Kind != Anonymous {
			t.Errorf("accepted %q", query)
		}
		list, e := parseQuery(query)
		values, err := url.ParseQuery(query)
		if (e == nil) != (err == nil) {
			t.Fatalf("%q: %v, net/url %v", query, e, err)
		}
		if e != nil {
			return
		}
		n := 0
		for _, v := range values {
			n += len(v)
		}
		if n != len(list) {
			t.Errorf("%q: %d parameters, net/url %d", query, len(list), n)
		}
	})
}

// FuzzStream throws bodies at the decoder: it never gives more than the
// decoded length, and says EOF only at exactly that many bytes.
func FuzzStream(f *testing.F) {
	_, body := streamExample(true)
	f.Add([]byte(body[65000:]), int64(10), true)
	f.Add([]byte("5\r\nhello\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n"), int64(5), false)
	f.Add([]byte("0\r\n\r\n"), int64(0), false)
	f.Fuzz(func(t *testing.T, body []byte, length int64, signed bool) {
		kind := StreamUnsignedTrailer
		if signed {
			kind = StreamSignedTrailer
		}
		if length < 0 {
			return
		}
		r := request("PUT", "/b/k", "s3.test", "", "X-Amz-Trailer", "x-amz-checksum-crc32")
		r.Header["X-Amz-Decoded-Content-Length"] = []string{strconv.FormatInt(length, 10)}
		d, e := verifierAt(exampleTime()).newDecoder(r, io.NopCloser(strings.NewReader(string(body))), kind, seed{})
		if e != nil {
			t.Fatal(e)
		}
		n, err := io.Copy(io.Discard, d)
		if n > length || err == nil && n != length {
			t.Errorf("%d of %d bytes, %v", n, length, err)
		}
		if err == nil && signed {
			t.Error("accepted without the key")
		}
	})
}

// FuzzCanonicalPath: decoding what was encoded gives the same path.
func FuzzCanonicalPath(f *testing.F) {
	for _, s := range oddStrings() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		back, err := url.PathUnescape(string(appendEncoded(nil, path, true)))
		if err != nil || back != path {
			t.Errorf("%q: %q, %v", path, back, err)
		}
	})
}
