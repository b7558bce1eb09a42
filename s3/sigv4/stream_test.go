package sigv4

import (
	"errors"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func swap(i, j int) func([]string) []string {
	return func(p []string) []string { p[i], p[j] = p[j], p[i]; return p }
}

func replace(i int, old, with string) func([]string) []string {
	return func(p []string) []string { p[i] = strings.Replace(p[i], old, with, 1); return p }
}

// flip changes one character of a chunk's data or signature, from the end.
func flip(i, fromEnd int) func([]string) []string {
	return func(p []string) []string {
		b := []byte(p[i])
		if b[len(b)-fromEnd] == 'a' {
			b[len(b)-fromEnd] = 'b'
		} else {
			b[len(b)-fromEnd] = 'a'
		}
		p[i] = string(b)
		return p
	}
}

// TestStreamAttacks edits aws-chunked bodies. The reader must say the error,
// never EOF, and no trailer may be had.
func TestStreamAttacks(t *testing.T) {
	const crc = "x-amz-checksum-crc32:AAAAAA=="
	three := []int{8192, 8192, 100}
	signed := func(s stream) stream { s.kind = streamSigned; return s }
	trailed := func(s stream) stream { s.kind, s.trailer = streamSignedTrailer, crc; return s }
	unsigned := func(s stream) stream { s.kind = streamUnsignedTrailer; return s }
	for name, test := range map[string]struct {
		s    stream
		want string
	}{
		"data flipped":              {signed(stream{sizes: three, change: flip(1, 10)}), "SignatureDoesNotMatch"},
		"chunks reordered":          {signed(stream{sizes: three, change: swap(0, 1)}), "SignatureDoesNotMatch"},
		"chunk dropped":             {signed(stream{sizes: three, change: func(p []string) []string { return slices.Delete(p, 1, 2) }}), "SignatureDoesNotMatch"},
		"chunk repeated":            {signed(stream{sizes: three, change: func(p []string) []string { return slices.Insert(p, 1, p[0]) }}), "SignatureDoesNotMatch"},
		"truncated":                 {signed(stream{sizes: three, change: func(p []string) []string { return p[:2] }}), "IncompleteBody"},
		"truncated inside":          {signed(stream{sizes: three, change: func(p []string) []string { p[1] = p[1][:500]; return p[:2] }}), "IncompleteBody"},
		"truncated to the last":     {signed(stream{sizes: three, change: func(p []string) []string { return p[2:] }}), "SignatureDoesNotMatch"},
		"final signature":           {signed(stream{sizes: three, change: flip(3, 3)}), "SignatureDoesNotMatch"},
		"no final chunk":            {signed(stream{sizes: three, change: func(p []string) []string { return p[:3] }}), "IncompleteBody"},
		"no final line":             {signed(stream{sizes: three, change: func(p []string) []string { return p[:4] }}), "IncompleteBody"},
		"appended":                  {signed(stream{sizes: three, change: func(p []string) []string { return append(p, "x") }}), "IncompleteBody"},
		"a second stream":           {signed(stream{sizes: three, change: func(p []string) []string { return append(p, p...) }}), "IncompleteBody"},
		"a trailer unasked":         {signed(stream{sizes: three, change: func(p []string) []string { p[4] = crc + "\r\n\r\n"; return p }}), "IncompleteBody"},
		"length too small":          {signed(stream{sizes: three, length: "16483"}), "IncompleteBody"},
		"length too big":            {signed(stream{sizes: three, length: "16485"}), "IncompleteBody"},
		"length of nothing":         {signed(stream{sizes: three, length: "0"}), "IncompleteBody"},
		"length far too big":        {signed(stream{sizes: three, length: "9223372036854775807"}), "IncompleteBody"},
		"length negative":           {signed(stream{sizes: three, length: "-1"}), "MissingContentLength"},
		"length no number":          {signed(stream{sizes: three, length: "1x"}), "MissingContentLength"},
		"length overflows":          {signed(stream{sizes: three, length: "99999999999999999999"}), "MissingContentLength"},
		"small chunk first":         {signed(stream{sizes: []int{100, 8192}}), "InvalidChunkSizeError"},
		"many small chunks":         {signed(stream{sizes: slices.Repeat([]int{10}, 10)}), "InvalidChunkSizeError"},
		"size is no number":         {signed(stream{sizes: three, change: replace(0, "2000;", "g000;")}), "IncompleteBody"},
		"size is negative":          {signed(stream{sizes: three, change: replace(0, "2000;", "-2000;")}), "IncompleteBody"},
		"size is empty":             {signed(stream{sizes: three, change: replace(0, "2000;", ";")}), "IncompleteBody"},
		"size overflows":            {signed(stream{sizes: three, change: replace(0, "2000;", "ffffffffffffffff;")}), "IncompleteBody"},
		"size is huge":              {signed(stream{sizes: three, change: replace(0, "2000;", "7ffffffffffffff;")}), "IncompleteBody"},
		"size line is endless":      {signed(stream{sizes: three, change: replace(0, "2000;", strings.Repeat("0", 100_000)+"2000;")}), "IncompleteBody"},
		"extension is endless":      {signed(stream{sizes: three, change: replace(0, "chunk-sig", strings.Repeat("x", 100_000)+"chunk-sig")}), "IncompleteBody"},
		"no signature":              {signed(stream{sizes: three, change: func(p []string) []string { p[0] = "2000" + p[0][strings.Index(p[0], "\r"):]; return p }}), "IncompleteBody"},
		"other extension":           {signed(stream{sizes: three, change: replace(0, "chunk-signature", "other-signature")}), "IncompleteBody"},
		"LF alone":                  {signed(stream{sizes: three, change: replace(0, "\r\n", "\n")}), "IncompleteBody"},
		"trailer flipped":           {trailed(stream{sizes: three, change: replace(4, "AAAAAA==", "AAAABA==")}), "SignatureDoesNotMatch"},
		"trailer signature":         {trailed(stream{sizes: three, change: flip(4, 10)}), "SignatureDoesNotMatch"},
		"trailer signature short":   {trailed(stream{sizes: three, change: replace(4, "signature:", "signature:0")}), "IncompleteBody"},
		"trailer without signature": {trailed(stream{sizes: three, change: func(p []string) []string { p[4] = crc + "\r\n\r\n"; return p }}), "IncompleteBody"},
		"trailer dropped":           {trailed(stream{sizes: three, change: func(p []string) []string { p[4] = "\r\n"; return p }}), "MalformedTrailerError"},
		"trailer not declared":      {trailed(stream{sizes: three, declare: "x-amz-checksum-sha1"}), "MalformedTrailerError"},
		"trailer is no checksum":    {trailed(stream{sizes: three, declare: "x-amz-acl"}), "InvalidRequest"},
		"unsigned trailer missing":  {unsigned(stream{sizes: three, declare: "x-amz-checksum-crc32"}), "MalformedTrailerError"},
		"unsigned trailer other":    {unsigned(stream{sizes: three, declare: "x-amz-checksum-sha1", trailer: crc}), "MalformedTrailerError"},
		"unsigned trailer twice":    {unsigned(stream{sizes: three, trailer: crc + "\r\n" + crc}), "MalformedTrailerError"},
		"unsigned trailer metadata": {unsigned(stream{sizes: three, declare: "x-amz-checksum-crc32", trailer: crc + "\r\nx-amz-meta-a:b"}), "MalformedTrailerError"},
		"unsigned trailer no name":  {unsigned(stream{sizes: three, declare: "x-amz-checksum-crc32", trailer: ":AAAAAA=="}), "MalformedTrailerError"},
		"unsigned trailer endless":  {unsigned(stream{sizes: three, declare: "x-amz-checksum-crc32", trailer: crc + strings.Repeat("A", 100_000)}), "IncompleteBody"},
		"unsigned trailers endless": {unsigned(stream{sizes: three, declare: "x-amz-checksum-crc32", trailer: strings.Repeat(crc+"\r\n", 10_000)}), "IncompleteBody"},
		"unsigned, too short":       {unsigned(stream{sizes: three, length: "16483"}), "IncompleteBody"},
		"unsigned with signature":   {unsigned(stream{sizes: three, change: replace(0, "\r\n", ";chunk-signature=00\r\n")}), "IncompleteBody"},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := verifierAt(attackTime()).Authenticate(test.s.request(t, attackTime()))
			if err == nil {
				_, err = io.ReadAll(a.Body)
				if a.Trailer() != nil {
					t.Errorf("trailer %v of a bad body", a.Trailer())
				}
				if _, again := a.Body.Read(make([]byte, 1)); code(again) != code(err) {
					t.Errorf("read again: %v", again)
				}
			}
			if code(err) != test.want {
				t.Errorf("%v, want %s", err, test.want)
			}
		})
	}
}

// TestStreamControl switches the comparison of signatures off: the attacks on
// signatures then pass, so it is the comparison that stops them.
func TestStreamControl(t *testing.T) {
	for name, s := range map[string]stream{
		"data flipped":     {kind: streamSigned, sizes: []int{8192, 8192, 100}, change: flip(1, 10)},
		"chunks reordered": {kind: streamSigned, sizes: []int{8192, 8192, 100}, change: swap(0, 1)},
		"trailer flipped":  {kind: streamSignedTrailer, sizes: []int{8192}, trailer: "x-amz-checksum-crc32:AAAAAA==", change: flip(2, 10)},
	} {
		v := verifierAt(attackTime())
		v.acceptAny = true
		a, err := v.Authenticate(s.request(t, attackTime()))
		if err == nil {
			_, err = io.ReadAll(a.Body)
		}
		if err != nil {
			t.Errorf("%s with the check off: %v", name, err)
		}
	}
}

// TestLengthWords tells a body that breaks off from one that lies.
func TestLengthWords(t *testing.T) {
	for body, want := range map[string]string{
		"b\r\nabcdefghijk\r\n0\r\n\r\n":   "You did not provide the number of bytes specified by the Content-Length HTTP header",
		"5\r\nabcde\r\n0\r\n\r\n":         "You did not provide the number of bytes specified by the Content-Length HTTP header",
		"B\r\ndummy data\r\n0\r\n\r\n":    "The request body terminated unexpectedly",
		"A\r\nXYZ\r\ndummy data\r\n0\r\n": "The request body terminated unexpectedly",
		"A\r\ndummy data\r\nJ\r\n\r\n":    "The request body terminated unexpectedly",
		"A\r\n":                           "The request body terminated unexpectedly",
		"":                                "The request body terminated unexpectedly",
	} {
		r := request("PUT", "/b/k", "s3.test", body, "X-Amz-Content-Sha256", streamUnsignedTrailer, "X-Amz-Decoded-Content-Length", "10")
		a, err := verifierAt(attackTime()).Authenticate(r)
		if err == nil {
			_, err = io.ReadAll(a.Body)
		}
		var e *Error
		if !errors.As(err, &e) || e.Code != "IncompleteBody" || e.Message != want {
			t.Errorf("%q: %v, want %s", body, err, want)
		}
	}
}

// endless is a body that never ends.
type endless struct{ read int64 }

func (e *endless) Read(p []byte) (int, error) { e.read += int64(len(p)); return len(p), nil }
func (e *endless) Close() error               { return nil }

// TestDecoderIsBounded: an endless size line, chunk or overrun is given up
// after a bounded read.
func TestDecoderIsBounded(t *testing.T) {
	for name, head := range map[string]string{"line": "", "chunk": "fffffffffffffff\r\n", "small chunk": "ffff\r\n"} {
		e := &endless{}
		r := request("PUT", "/b/k", "s3.test", "", "X-Amz-Content-Sha256", streamUnsignedTrailer, "X-Amz-Decoded-Content-Length", "10")
		r.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(strings.NewReader(head), e), e}
		a, err := verifierAt(attackTime()).Authenticate(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, a.Body); code(err) != "IncompleteBody" {
			t.Errorf("%s: %v", name, err)
		}
		if e.read > 256<<10 {
			t.Errorf("%s: read %d bytes of an endless body", name, e.read)
		}
	}
}

// TestDecoderMemory: a long stream costs no more memory than a short one.
func TestDecoderMemory(t *testing.T) {
	s := stream{kind: streamSigned, sizes: slices.Repeat([]int{64 << 10}, 64)}
	r := s.request(t, attackTime())
	a, err := verifierAt(attackTime()).Authenticate(r)
	if err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 32<<10)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{a.Body}, buffer)
	runtime.ReadMemStats(&after)
	if err != nil || n != 64*64<<10 {
		t.Fatalf("%d, %v", n, err)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20 {
		t.Errorf("4 MiB allocated %d bytes", used)
	}
}

func BenchmarkStream(b *testing.B) {
	s := stream{kind: streamSigned, sizes: slices.Repeat([]int{64 << 10}, 64)}
	req := s.request(b, attackTime())
	body, _ := io.ReadAll(req.Body)
	v := verifierAt(attackTime())
	b.SetBytes(int64(len(s.content())))
	b.ReportAllocs()
	for b.Loop() {
		req.Body = io.NopCloser(strings.NewReader(string(body)))
		a, err := v.Authenticate(req)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, a.Body); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAuthenticate(b *testing.B) {
	r := signedPut(b)
	v := verifierAt(attackTime())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Authenticate(r); err != nil {
			b.Fatal(err)
		}
	}
}

// TestReadersWhoStopAtTheLength: who reads exactly the declared bytes and never
// asks for EOF learns of a bad end all the same.
func TestReadersWhoStopAtTheLength(t *testing.T) {
	for name, s := range map[string]stream{
		"final signature": {kind: streamSigned, sizes: []int{8192, 100}, change: flip(2, 3)},
		"trailer":         {kind: streamSignedTrailer, sizes: []int{8192, 100}, trailer: "x-amz-checksum-crc32:AAAAAA==", change: replace(3, "AAAAAA", "AAAAAB")},
		"more":            {kind: streamUnsignedTrailer, sizes: []int{8192, 8192}, length: "8192"},
		"last chunk":      {kind: streamSigned, sizes: []int{8192, 100}, change: flip(1, 10)},
	} {
		a, err := verifierAt(attackTime()).Authenticate(s.request(t, attackTime()))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(a.Body, make([]byte, a.Length)); err == nil {
			t.Errorf("%s: all bytes were handed out", name)
		}
	}
	r := signedPut(t)
	r.Body = io.NopCloser(strings.NewReader("the bodz"))
	a, err := verifierAt(attackTime()).Authenticate(r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(a.Body, make([]byte, a.Length)); err == nil {
		t.Error("hashed: all bytes were handed out")
	}
}
