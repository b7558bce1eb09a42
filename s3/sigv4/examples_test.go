package sigv4

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/hallig-cloud/hallig"
)

// The documented credentials of AWS's examples.
const (
	exampleKey    = "AKIAIOSFODNN7EXAMPLE"
	exampleSecret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
)

// verifierAt returns a Verifier that knows the documented key, at a time.
func verifierAt(now time.Time, change ...func(*Config)) *Verifier {
	c := Config{
		Lookup: func(_ context.Context, key string) (string, error) {
			if key != exampleKey {
				return "", hallig.ErrNotFound
			}
			return exampleSecret, nil
		},
		Now: func() time.Time { return now },
	}
	for _, f := range change {
		f(&c)
	}
	return New(c)
}

// exampleTime is the date of AWS's examples.
func exampleTime() time.Time { return time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC) }

// request builds a server-side request.
func request(method, target, host, body string, headers ...string) *http.Request {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Host = host
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return r
}

const exampleScope = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"

// TestDocumentedExamples checks the requests of "Signature Calculations for
// the Authorization Header" and "Using Query Parameters" in the S3 API
// Reference.
func TestDocumentedExamples(t *testing.T) {
	const empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	host := "examplebucket.s3.amazonaws.com"
	for name, r := range map[string]*http.Request{
		"GET object": request("GET", "/test.txt", host, "", "Range", "bytes=0-9",
			"X-Amz-Content-Sha256", empty, "X-Amz-Date", "20130524T000000Z", "Authorization",
			exampleScope+"SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"),
		"PUT object": request("PUT", "/test$file.text", host, "Welcome to Amazon S3.", "Date", "Fri, 24 May 2013 00:00:00 GMT",
			"X-Amz-Date", "20130524T000000Z", "X-Amz-Storage-Class", "REDUCED_REDUNDANCY",
			"X-Amz-Content-Sha256", "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072", "Authorization",
			exampleScope+"SignedHeaders=date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class,Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"),
		"GET bucket lifecycle": request("GET", "/?lifecycle", host, "", "X-Amz-Date", "20130524T000000Z", "X-Amz-Content-Sha256", empty, "Authorization",
			exampleScope+"SignedHeaders=host;x-amz-content-sha256;x-amz-date,Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
		"GET bucket": request("GET", "/?max-keys=2&prefix=J", host, "", "X-Amz-Date", "20130524T000000Z", "X-Amz-Content-Sha256", empty, "Authorization",
			exampleScope+"SignedHeaders=host;x-amz-content-sha256;x-amz-date,Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
		"presigned GET": request("GET", "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404", host, ""),
	} {
		t.Run(name, func(t *testing.T) {
			a, err := verifierAt(exampleTime()).Authenticate(r)
			if err != nil {
				t.Fatal(err)
			}
			if a.AccessKey != exampleKey {
				t.Errorf("access key %q", a.AccessKey)
			}
			if _, err := io.ReadAll(a.Body); err != nil {
				t.Errorf("body: %v", err)
			}
		})
	}
}

// streamExample is the request of "Transferring Payload in Multiple Chunks",
// or with trailers that of "Including Trailing Headers".
func streamExample(trailer bool) (*http.Request, string) {
	a := strings.Repeat("a", 65536)
	if !trailer {
		body := "10000;chunk-signature=ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648\r\n" + a + "\r\n" +
			"400;chunk-signature=0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497\r\n" + a[:1024] + "\r\n" +
			"0;chunk-signature=b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9\r\n\r\n"
		r := request("PUT", "/examplebucket/chunkObject.txt", "s3.amazonaws.com", body, "X-Amz-Date", "20130524T000000Z",
			"X-Amz-Storage-Class", "REDUCED_REDUNDANCY", "X-Amz-Content-Sha256", streamSigned, "Content-Encoding", "aws-chunked",
			"X-Amz-Decoded-Content-Length", "66560", "Content-Length", "66824", "Authorization",
			exampleScope+"SignedHeaders=content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class,Signature=4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9")
		return r, body
	}
	body := "10000;chunk-signature=b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2\r\n" + a + "\r\n" +
		"400;chunk-signature=1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7\r\n" + a[:1024] + "\r\n" +
		"0;chunk-signature=2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992\r\n" +
		"x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n"
	r := request("PUT", "/examplebucket/chunkObject.txt", "s3.amazonaws.com", body, "X-Amz-Date", "20130524T000000Z",
		"X-Amz-Storage-Class", "REDUCED_REDUNDANCY", "X-Amz-Content-Sha256", streamSignedTrailer, "Content-Encoding", "aws-chunked",
		"X-Amz-Decoded-Content-Length", "66560", "X-Amz-Trailer", "x-amz-checksum-crc32c", "Authorization",
		exampleScope+"SignedHeaders=content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class;x-amz-trailer,Signature=106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e")
	return r, body
}

func TestDocumentedStreams(t *testing.T) {
	for _, trailer := range []bool{false, true} {
		r, _ := streamExample(trailer)
		a, err := verifierAt(exampleTime()).Authenticate(r)
		if err != nil {
			t.Fatal(err)
		}
		if a.Length != 66560 || a.Trailer() != nil {
			t.Errorf("length %d, trailer %v before EOF", a.Length, a.Trailer())
		}
		b, err := io.ReadAll(a.Body)
		if err != nil || string(b) != strings.Repeat("a", 66560) {
			t.Fatalf("%d bytes, %v", len(b), err)
		}
		if got := a.Trailer().Get("X-Amz-Checksum-Crc32c"); trailer && got != "sOO8/Q==" {
			t.Errorf("trailer %q", got)
		}
	}
}

// code returns the S3 code of an error, or the error itself in words.
func code(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	if err == nil {
		return "OK"
	}
	return err.Error()
}
