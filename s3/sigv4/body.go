package sigv4

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"net/http"
	"strconv"
	"strings"
)

const (
	unsignedPayload       = "UNSIGNED-PAYLOAD"
	streamSigned          = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
	streamSignedTrailer   = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
	streamUnsignedTrailer = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
	streamECDSA           = "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"
	emptyHash             = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
)

// parsePayload reads x-amz-content-sha256.
func parsePayload(value string) (Payload, *Error) {
	switch value {
	case unsignedPayload:
		return Unsigned, nil
	case streamSigned:
		return StreamSigned, nil
	case streamSignedTrailer:
		return StreamSignedTrailer, nil
	case streamUnsignedTrailer:
		return StreamUnsignedTrailer, nil
	case streamECDSA, streamECDSA + "-TRAILER":
		return 0, errNotImplemented("x-amz-content-sha256")
	}
	if _, err := hex.DecodeString(value); err == nil && len(value) == 2*sha256.Size {
		return Hashed, nil
	}
	return 0, errArgument("x-amz-content-sha256", clip(value), "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER, STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD, STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER or a valid sha256 value.")
}

// A seed is what a signed stream goes on from.
type seed struct {
	key       [sha256.Size]byte
	accessKey string
	date      string // as in x-amz-date
	scope     string
	signature string
}

func noTrailer() http.Header { return nil }

// withBody fits Auth with the body's reader.
func (v *Verifier) withBody(r *http.Request, a Auth, s seed) (Auth, error) {
	body := r.Body
	if body == nil {
		body = http.NoBody
	}
	a.Trailer = noTrailer
	a.Length = r.ContentLength
	switch {
	case a.Payload.Streaming():
		d, e := v.newDecoder(r, body, a.Payload, s)
		if e != nil {
			return Auth{}, e
		}
		a.Body, a.Length, a.Trailer = d, d.length, d.Trailer
	case a.Payload == Hashed:
		if r.ContentLength == 0 && !strings.EqualFold(a.Hash, emptyHash) {
			return Auth{}, errHashMismatch(a.Hash, emptyHash)
		}
		a.Body = &hashReader{body: body, left: r.ContentLength, want: strings.ToLower(a.Hash), given: a.Hash, hash: sha256.New()}
	default:
		a.Body = &plainReader{body: body}
	}
	return a, nil
}

// A plainReader words the transport's errors.
type plainReader struct{ body io.ReadCloser }

func (p *plainReader) Read(b []byte) (int, error) {
	n, err := p.body.Read(b)
	return n, transportError(err)
}

func (p *plainReader) Close() error { return p.body.Close() }

func transportError(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return errLength()
	}
	return err
}

// A hashReader checks the whole body's SHA-256 before it says EOF, and, where
// the length is known, before it hands out the last bytes.
type hashReader struct {
	left        int64 // bytes to come; negative if not known
	body        io.ReadCloser
	want, given string
	hash        hash.Hash
	err         error
}

func (h *hashReader) Read(b []byte) (int, error) {
	if h.err != nil || len(b) == 0 {
		return 0, h.err
	}
	n, err := h.body.Read(b)
	h.hash.Write(b[:n])
	h.left -= int64(n)
	if err == nil && (h.left != 0 || n == 0) {
		return n, nil
	}
	h.err = transportError(err)
	if err == nil || errors.Is(err, io.EOF) {
		h.err = io.EOF
		if got := hex.EncodeToString(h.hash.Sum(nil)); got != h.want {
			h.err = errHashMismatch(h.given, got)
			return 0, h.err
		}
	}
	return n, h.err
}

func (h *hashReader) Close() error { return h.body.Close() }

// decodedLength reads x-amz-decoded-content-length.
func decodedLength(r *http.Request) (int64, *Error) {
	given := r.Header["X-Amz-Decoded-Content-Length"]
	if len(given) != 1 || !isDigits(given[0]) {
		return 0, errNoLength()
	}
	n, err := strconv.ParseInt(given[0], 10, 64)
	if err != nil {
		return 0, errNoLength()
	}
	return n, nil
}

// declaredTrailers reads x-amz-trailer: the names of checksums, in lower case.
func declaredTrailers(r *http.Request) ([]string, *Error) {
	var names []string
	for _, value := range r.Header["X-Amz-Trailer"] {
		for name := range strings.SplitSeq(value, ",") {
			name = strings.ToLower(strings.TrimSpace(name))
			if name == "" {
				continue
			}
			if !strings.HasPrefix(name, "x-amz-checksum-") || len(names) >= maxTrailers {
				return nil, refuse(http.StatusBadRequest, "InvalidRequest", "The value specified in the x-amz-trailer header is not supported")
			}
			names = append(names, name)
		}
	}
	return names, nil
}
