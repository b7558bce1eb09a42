package sigv4

import (
	"encoding/hex"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// isoBasic is the layout of x-amz-date, isoDate that of a scope's date.
const (
	isoBasic = "20060102T150405Z"
	isoDate  = "20060102"
	isoLong  = "2006-01-02T15:04:05Z"
)

func refuse(status int, code, message string, fields ...Field) *Error {
	return &Error{Code: code, Message: message, Status: status, Fields: fields}
}

func errArgument(name, value, message string) *Error {
	return refuse(http.StatusBadRequest, "InvalidArgument", message,
		Field{"ArgumentName", name}, Field{"ArgumentValue", value})
}

func errMechanisms(value string) *Error {
	return errArgument("Authorization", value, "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the Authorization header should be specified")
}

func errMechanism() *Error {
	return refuse(http.StatusBadRequest, "InvalidRequest", "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.")
}

func errHeader(format string, args ...any) *Error {
	return refuse(http.StatusBadRequest, "AuthorizationHeaderMalformed",
		"The authorization header is malformed; "+fmt.Sprintf(format, args...))
}

func errQuery(format string, args ...any) *Error {
	return refuse(http.StatusBadRequest, "AuthorizationQueryParametersError", fmt.Sprintf(format, args...))
}

func errQueryParameters() *Error {
	return errQuery("Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.")
}

func errMissingDate() *Error {
	return refuse(http.StatusForbidden, "AccessDenied", "AWS authentication requires a valid Date or x-amz-date header.")
}

func errUnsignedHeaders(names []string) *Error {
	return refuse(http.StatusForbidden, "AccessDenied", "There were headers present in the request which were not signed",
		Field{"HeadersNotSigned", strings.Join(names, ", ")})
}

func errUnknownKey(key string) *Error {
	return refuse(http.StatusForbidden, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.",
		Field{"AWSAccessKeyId", key})
}

func errSkewed(given string, now time.Time) *Error {
	return refuse(http.StatusForbidden, "RequestTimeTooSkewed", "The difference between the request time and the current time is too large.",
		Field{"RequestTime", given}, Field{"ServerTime", now.UTC().Format(isoLong)},
		Field{"MaxAllowedSkewMilliseconds", strconv.FormatInt(MaxSkew.Milliseconds(), 10)})
}

func errExpired(seconds int64, expires, now time.Time) *Error {
	fields := []Field{{"X-Amz-Expires", strconv.FormatInt(seconds, 10)}}
	if seconds < 0 { // Signature Version 2 gives a time, not a duration
		fields = nil
	}
	fields = append(fields, Field{"Expires", expires.UTC().Format(isoLong)}, Field{"ServerTime", now.UTC().Format(isoLong)})
	return refuse(http.StatusForbidden, "AccessDenied", "Request has expired.", fields...)
}

func errNotYet(date string, expires, now time.Time) *Error {
	return refuse(http.StatusForbidden, "AccessDenied", "Request is not valid yet.",
		Field{"RequestTime", date}, Field{"Expires", expires.UTC().Format(isoLong)}, Field{"ServerTime", now.UTC().Format(isoLong)})
}

func errToken(token string) *Error {
	return refuse(http.StatusBadRequest, "InvalidToken", "The provided token is malformed or otherwise invalid.",
		Field{"Token-0", clip(token)})
}

func errURI(uri string) *Error {
	return refuse(http.StatusBadRequest, "InvalidURI", "Couldn't parse the specified URI.", Field{"URI", clip(uri)})
}

func errHashMismatch(client, computed string) *Error {
	return refuse(http.StatusBadRequest, "XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match what was computed.",
		Field{"ClientComputedContentSHA256", client}, Field{"S3ComputedContentSHA256", computed})
}

func errIncomplete() *Error {
	return refuse(http.StatusBadRequest, "IncompleteBody", "The request body terminated unexpectedly")
}

func errLength() *Error {
	return refuse(http.StatusBadRequest, "IncompleteBody", "You did not provide the number of bytes specified by the Content-Length HTTP header")
}

func errNoLength() *Error {
	return refuse(http.StatusLengthRequired, "MissingContentLength", "You must provide the Content-Length HTTP header.")
}

func errTrailer() *Error {
	return refuse(http.StatusBadRequest, "MalformedTrailerError", "The request contained trailing data that was not well-formed or did not conform to our published schema.")
}

func errChunkSize(n int, size int64) *Error {
	return refuse(http.StatusBadRequest, "InvalidChunkSizeError", "Only the last chunk is allowed to have a size less than 8192 bytes",
		Field{"Chunk", strconv.Itoa(n)}, Field{"BadChunkSize", strconv.FormatInt(size, 10)})
}

func errNotImplemented(header string) *Error {
	return refuse(http.StatusNotImplemented, "NotImplemented", "A header you provided implies functionality that is not implemented",
		Field{"Header", header})
}

// maxEcho bounds what a refusal repeats of the request.
const maxEcho = 8 << 10

func clip(s string) string { return s[:min(len(s), 1024)] }

func errSignature(key, toSign, provided, canonical string) *Error {
	e := refuse(http.StatusForbidden, "SignatureDoesNotMatch",
		"The request signature we calculated does not match the signature you provided. Check your key and signing method.",
		Field{"AWSAccessKeyId", key})
	if toSign != "" && len(toSign) <= maxEcho {
		e.Fields = append(e.Fields, Field{"StringToSign", toSign}, Field{"SignatureProvided", clip(provided)}, Field{"StringToSignBytes", bytesOf(toSign)})
	}
	if canonical != "" && len(canonical) <= maxEcho {
		e.Fields = append(e.Fields, Field{"CanonicalRequest", canonical}, Field{"CanonicalRequestBytes", bytesOf(canonical)})
	}
	return e
}

// bytesOf writes the bytes of s in hexadecimal with spaces, as S3 does.
func bytesOf(s string) string {
	b := make([]byte, 0, 3*len(s))
	for i := range len(s) {
		if i > 0 {
			b = append(b, ' ')
		}
		b = hex.AppendEncode(b, []byte{s[i]})
	}
	return string(b)
}
