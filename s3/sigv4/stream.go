package sigv4

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"net/http"
	"slices"
	"strings"
)

// The bounds of an aws-chunked body.
const (
	minChunk    = 8 << 10 // every data chunk but the last
	maxLine     = 1 << 10 // bytes of a size line or a trailer line, with CRLF
	maxTrailers = 8
	maxOverrun  = 64 << 10 // bytes read beyond the decoded length to find which error it is
)

// A decoder reads an aws-chunked body: it checks every signature as it goes,
// hands bytes on as they come, but the last ones and EOF only when the last
// signature, the trailers and the length are right. Its memory is one buffer of
// 4 KiB.
type decoder struct {
	body    io.ReadCloser
	in      *bufio.Reader
	v       *Verifier
	payload Payload
	seed    seed
	names   []string // declared trailers

	length, seen int64 // decoded bytes: declared, and read
	left         int64 // bytes of the current chunk still to come
	chunk        int   // number of the current data chunk, from 1
	size         int64 // of the current chunk
	signature    [2 * sha256.Size]byte
	previous     string
	sum          hash.Hash // of the current chunk; nil when chunks are not signed
	mac          hash.Hash
	trailer      http.Header
	err          error
}

func (v *Verifier) newDecoder(r *http.Request, body io.ReadCloser, p Payload, s seed) (*decoder, *Error) {
	length, e := decodedLength(r)
	if e != nil {
		return nil, e
	}
	names, e := declaredTrailers(r)
	if e != nil {
		return nil, e
	}
	d := &decoder{body: body, in: bufio.NewReaderSize(body, 4<<10), v: v, payload: p, seed: s, names: names, length: length, previous: s.signature}
	if p != StreamUnsignedTrailer {
		d.sum = sha256.New()
		d.mac = hmac.New(sha256.New, s.key[:])
	}
	return d, nil
}

func (d *decoder) Close() error { return d.body.Close() }

// Trailer returns the verified trailers after EOF.
func (d *decoder) Trailer() http.Header {
	if !errors.Is(d.err, io.EOF) {
		return nil
	}
	return d.trailer
}

func (d *decoder) Read(b []byte) (int, error) {
	if d.err != nil {
		return 0, d.err
	}
	if len(b) == 0 {
		return 0, nil
	}
	if err := d.advance(); err != nil {
		return 0, err
	}
	b = b[:min(int64(len(b)), d.left, d.length-d.seen)]
	n, err := d.in.Read(b)
	if d.sum != nil {
		d.sum.Write(b[:n])
	}
	d.left -= int64(n)
	d.seen += int64(n)
	switch {
	case err != nil:
		d.err = truncated(err)
	case d.left == 0:
		d.err = d.endChunk()
	}
	// The last bytes are handed out only with the rest verified, for readers who
	// stop at the length that they know.
	if d.err == nil && d.seen == d.length {
		if err := d.advance(); err == nil {
			d.err = errLength()
		}
	}
	if d.err != nil && !errors.Is(d.err, io.EOF) {
		return 0, d.err
	}
	return n, nil
}

// advance goes to the next byte of data; d.err is io.EOF when all is read and
// verified.
func (d *decoder) advance() error {
	for d.left == 0 {
		if d.err = d.next(); d.err != nil {
			return d.err
		}
	}
	if d.seen == d.length { // the body has more than it said
		d.err = d.overrun()
	}
	return d.err
}

// truncated words an early end of the body.
func truncated(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errIncomplete()
	}
	return err
}

// overrun tells a chunk that is well formed but too much from a broken one.
func (d *decoder) overrun() error {
	if d.left > maxOverrun {
		return errLength()
	}
	if _, err := d.in.Discard(int(d.left)); err != nil {
		return truncated(err)
	}
	if err := d.crlf(); err != nil {
		return err
	}
	return errLength()
}

// line reads one line and returns it without its CRLF; it is valid until the
// next read.
func (d *decoder) line() ([]byte, error) {
	b, err := d.in.ReadSlice('\n')
	if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
		return nil, truncated(err)
	}
	if err != nil || len(b) > maxLine || len(b) < 2 || b[len(b)-2] != '\r' {
		return nil, errIncomplete()
	}
	return b[:len(b)-2], nil
}

func (d *decoder) crlf() error {
	b, err := d.line()
	if err == nil && len(b) != 0 {
		return errIncomplete()
	}
	return err
}

// next reads a chunk's size line; after the last chunk it reads the trailers
// and returns io.EOF.
func (d *decoder) next() error {
	line, err := d.line()
	if err != nil {
		return err
	}
	size, ext, found := bytes.Cut(line, []byte(";"))
	if d.sum != nil {
		sig, ok := bytes.CutPrefix(ext, []byte("chunk-signature="))
		if !ok || !isHex(sig) || len(sig) != len(d.signature) {
			return errIncomplete()
		}
		copy(d.signature[:], sig)
	} else if found {
		return errIncomplete()
	}
	n, ok := parseSize(size)
	if !ok {
		return errIncomplete()
	}
	if n == 0 {
		return d.finish()
	}
	if d.chunk > 0 && d.size < minChunk {
		return errChunkSize(d.chunk, d.size)
	}
	d.chunk++
	d.size, d.left = n, n
	return nil
}

// parseSize reads a chunk's size: 1 to 15 hexadecimal digits.
func parseSize(b []byte) (int64, bool) {
	if len(b) == 0 || len(b) > 15 || !isHex(b) {
		return 0, false
	}
	var n int64
	for _, c := range b {
		n = n<<4 | int64(hexDigit(c))
	}
	return n, true
}

func hexDigit(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 0xff
}

func isHex(b []byte) bool {
	for _, c := range b {
		if hexDigit(c) == 0xff {
			return false
		}
	}
	return true
}

func (d *decoder) endChunk() error {
	if err := d.crlf(); err != nil {
		return err
	}
	return d.checkChunk()
}

// checkChunk verifies the current chunk's signature, which becomes the seed of
// the next one.
func (d *decoder) checkChunk() error {
	if d.sum == nil {
		return nil
	}
	var sum [sha256.Size]byte
	d.sum.Sum(sum[:0])
	d.sum.Reset()
	return d.verify("AWS4-HMAC-SHA256-PAYLOAD\n", emptyHash+"\n", sum, d.signature[:])
}

// verify checks one link of the chain of signatures.
func (d *decoder) verify(name, between string, sum [sha256.Size]byte, signature []byte) error {
	b := make([]byte, 0, 400)
	b = append(b, name...)
	b = append(b, d.seed.date...)
	b = append(b, '\n')
	b = append(b, d.seed.scope...)
	b = append(b, '\n')
	b = append(b, d.previous...)
	b = append(b, '\n')
	b = append(b, between...)
	b = hex.AppendEncode(b, sum[:])
	d.mac.Reset()
	d.mac.Write(b)
	var want [2 * sha256.Size]byte
	hex.Encode(want[:], d.mac.Sum(nil))
	if subtle.ConstantTimeCompare(want[:], signature) != 1 && !d.v.acceptAny {
		return errSignature(d.seed.accessKey, string(b), string(signature), "")
	}
	d.previous = string(signature)
	return nil
}

// finish verifies the final chunk, the length and the trailers.
func (d *decoder) finish() error {
	if err := d.checkChunk(); err != nil {
		return err
	}
	if d.seen != d.length {
		return errLength()
	}
	lines, err := d.trailerLines()
	if err != nil {
		return err
	}
	if err := d.checkTrailers(lines); err != nil {
		return err
	}
	if _, err := d.in.ReadByte(); !errors.Is(err, io.EOF) {
		if err == nil {
			return errIncomplete() // something follows
		}
		return truncated(err)
	}
	return io.EOF
}

type trailerLine struct{ name, value string }

// trailerLines reads lines up to the empty one.
func (d *decoder) trailerLines() ([]trailerLine, error) {
	var lines []trailerLine
	for {
		b, err := d.line()
		switch {
		case err != nil:
			return nil, err
		case len(b) == 0:
			return lines, nil
		case d.payload == StreamSigned || len(lines) > maxTrailers:
			return nil, errIncomplete()
		}
		name, value, ok := strings.Cut(string(b), ":")
		if !ok || strings.ContainsAny(string(b), "\r\x00") {
			return nil, errIncomplete()
		}
		lines = append(lines, trailerLine{strings.ToLower(name), strings.TrimSpace(value)})
	}
}

const trailerSignature = "x-amz-trailer-signature"

// checkTrailers verifies the trailers' signature and that they are those
// declared.
func (d *decoder) checkTrailers(lines []trailerLine) error {
	if len(lines) == 0 && len(d.names) > 0 {
		return errTrailer()
	}
	if d.payload == StreamSignedTrailer {
		last := len(lines) - 1
		if last < 0 || lines[last].name != trailerSignature || len(lines[last].value) != 2*sha256.Size || !isHex([]byte(lines[last].value)) {
			return errIncomplete()
		}
		if err := d.verifyTrailers(lines[:last], lines[last].value); err != nil {
			return err
		}
		lines = lines[:last]
	}
	d.trailer = make(http.Header, len(lines))
	for _, l := range lines {
		key := http.CanonicalHeaderKey(l.name)
		if !slices.Contains(d.names, l.name) || d.trailer[key] != nil || l.value == "" {
			return errTrailer()
		}
		d.trailer[key] = []string{l.value}
	}
	for _, name := range d.names {
		if d.trailer[http.CanonicalHeaderKey(name)] == nil {
			return errTrailer()
		}
	}
	return nil
}

func (d *decoder) verifyTrailers(lines []trailerLine, signature string) error {
	h := sha256.New()
	for _, l := range lines {
		io.WriteString(h, l.name+":"+l.value+"\n") //nolint:errcheck // a hash never fails
	}
	var sum [sha256.Size]byte
	h.Sum(sum[:0])
	return d.verify("AWS4-HMAC-SHA256-TRAILER\n", "", sum, []byte(signature))
}
