// Package sigv4 authenticates S3 requests: AWS Signature Version 4 in the
// Authorization header, in the query (presigned) and in the fields of a POST
// form; the hashed, unsigned and streaming payloads; and Signature Version 2
// behind a switch.
//
// Sources: "Authenticating Requests (AWS Signature Version 4)" of the Amazon
// S3 API Reference, sections "Authorization Header", "Signature Calculations:
// Transferring Payload in Multiple Chunks", "Trailing Headers", "Query
// Parameters", "POST"; error messages as S3 words them.
package sigv4

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"time"
)

// A Kind says where a request carries its signature.
type Kind uint8

// The kinds.
const (
	Anonymous   Kind = iota // none
	Header                  // V4, Authorization header
	Presigned               // V4, query
	Post                    // V4 or V2, form fields; see AuthenticatePost
	HeaderV2                // V2, Authorization header
	PresignedV2             // V2, query
)

// Type returns the kind as the condition key s3:authType and access logs name
// it; "" when anonymous.
func (k Kind) Type() string {
	switch k {
	case Header, HeaderV2:
		return "REST-HEADER"
	case Presigned, PresignedV2:
		return "REST-QUERY-STRING"
	case Post:
		return "POST"
	}
	return ""
}

// A Payload says how the body is protected.
type Payload uint8

// The payloads.
const (
	Unsigned              Payload = iota // UNSIGNED-PAYLOAD, presigned, V2, anonymous
	Hashed                               // x-amz-content-sha256 is the body's hash
	StreamSigned                         // STREAMING-AWS4-HMAC-SHA256-PAYLOAD
	StreamSignedTrailer                  // STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER
	StreamUnsignedTrailer                // STREAMING-UNSIGNED-PAYLOAD-TRAILER
)

// Streaming reports whether the body is in the aws-chunked encoding.
func (p Payload) Streaming() bool { return p >= StreamSigned }

// An Auth is an authenticated (or anonymous) request.
type Auth struct {
	AccessKey string // "" when anonymous
	Kind      Kind
	Payload   Payload
	Version   string        // s3:signatureversion: "AWS4-HMAC-SHA256", "AWS" or ""
	Date      time.Time     // the signature's; zero when anonymous
	Age       time.Duration // how old the signature is; for s3:signatureAge
	// Hash is x-amz-content-sha256 as the request gave it, "" if absent.
	Hash string
	// Body is the decoded body. It returns a *Error, never io.EOF, if a
	// signature, a hash or a length turns out wrong: nothing that was read may
	// be used before EOF.
	Body io.ReadCloser
	// Length is the decoded body's length, -1 when the request does not say.
	Length int64
	// Trailer returns the verified trailers once Body has returned io.EOF, and
	// nil before. Only names that x-amz-trailer declares are in it.
	Trailer func() http.Header
}

// Config configures a Verifier.
type Config struct {
	Region string // the region that scopes must name; default "us-east-1"
	// AnyRegion accepts every region in a scope.
	AnyRegion bool
	// Lookup returns an access key's secret. An error that wraps
	// hallig.ErrNotFound is answered with InvalidAccessKeyId, another is returned.
	Lookup  func(ctx context.Context, accessKey string) (secret string, err error)
	AllowV2 bool // accept Signature Version 2
	// HostBucket returns the bucket that a virtual-host style Host names, or "";
	// needed by Signature Version 2 only. nil: path style alone.
	HostBucket func(host string) string
	Now        func() time.Time // default time.Now
	Log        *slog.Logger     // default discards; never gets a secret
}

// An Error is a refusal in S3's words.
type Error struct {
	Code    string
	Message string
	Status  int
	Fields  []Field // further elements of the error body, in order
}

// A Field is one further element of an error body.
type Field struct{ Name, Value string }

// Error implements error.
func (e *Error) Error() string { return e.Code + ": " + e.Message }
