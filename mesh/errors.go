package mesh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"unicode"

	"github.com/hallig-cloud/hallig"
)

// errorType is the content type of an error's body: a wireError in CBOR.
const errorType = "application/vnd.hallig.error"

const (
	maxErrorText = 1 << 10 // bytes of an error's text on the wire
	maxErrorBody = 4 << 10 // bytes of an error's body
)

// wireError is an error on its way to another node: {kinds, text}.
type wireError struct {
	Kinds []uint8 `cbor:"1,keyasint,omitempty"` // of the sentinels that it wraps
	Text  string  `cbor:"2,keyasint"`
}

// kinds maps the sentinels to their numbers on the wire, which never change:
// a number is the index. An error that wraps none of them has no kind.
func kinds() []error {
	return []error{
		nil, hallig.ErrInvalid, hallig.ErrNotFound, hallig.ErrExists, hallig.ErrPrecondition, hallig.ErrNotModified,
		hallig.ErrConflict, hallig.ErrStale, hallig.ErrFenced, hallig.ErrNotEmpty, hallig.ErrDenied, hallig.ErrLockHeld,
		hallig.ErrKeyLocked, hallig.ErrKeyUnknown, hallig.ErrCorrupt, hallig.ErrLost, hallig.ErrFull, hallig.ErrReadOnly,
		hallig.ErrUnavailable, hallig.ErrForeign, hallig.ErrUnsupported, hallig.ErrTooLarge,
	}
}

// encodeError writes an error for the wire. The end of the handler's context
// (a node that stops, a caller that went away) travels as hallig.ErrUnavailable:
// it says nothing about the caller's own context.
func encodeError(err error) wireError {
	w := wireError{Text: printable(err.Error(), maxErrorText)}
	for i, sentinel := range kinds() {
		if sentinel != nil && errors.Is(err, sentinel) {
			w.Kinds = append(w.Kinds, uint8(i))
		}
	}
	if len(w.Kinds) == 0 && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		unavailable := encodeError(hallig.ErrUnavailable)
		w.Kinds = unavailable.Kinds
	}
	return w
}

// printable makes foreign text fit for a log: valid UTF-8, no control
// characters, at most limit bytes.
func printable(s string, limit int) string {
	if len(s) > limit {
		s = s[:limit]
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

// A RemoteError is what another node answered. It wraps the sentinels that the
// error wrapped there.
type RemoteError struct {
	Node  hallig.NodeID // who answered
	Text  string        // printable, at most 1 KiB
	kinds []error
}

// Error names the node and gives its text.
func (e *RemoteError) Error() string { return fmt.Sprintf("node %s: %s", e.Node, e.Text) }

// Unwrap returns the sentinels.
func (e *RemoteError) Unwrap() []error { return e.kinds }

// remote turns what came over the wire into an error. Kinds of a newer version
// are left out; an error without any is a plain one.
func (w wireError) remote(node hallig.NodeID) *RemoteError {
	e := &RemoteError{Node: node, Text: printable(w.Text, maxErrorText)}
	all := kinds()
	for _, k := range w.Kinds {
		if int(k) < len(all) && all[k] != nil {
			e.kinds = append(e.kinds, all[k])
		}
	}
	return e
}

// statusOf is the HTTP status for an error, for people and logs: the client
// goes by the body.
func statusOf(err error) int {
	for _, c := range []struct {
		is     error
		status int
	}{
		{hallig.ErrInvalid, http.StatusBadRequest},
		{hallig.ErrNotFound, http.StatusNotFound},
		{hallig.ErrDenied, http.StatusForbidden},
		{hallig.ErrTooLarge, http.StatusRequestEntityTooLarge},
		{hallig.ErrUnavailable, http.StatusServiceUnavailable},
		{hallig.ErrFull, http.StatusInsufficientStorage},
		{hallig.ErrExists, http.StatusConflict},
		{hallig.ErrConflict, http.StatusConflict},
		{hallig.ErrPrecondition, http.StatusPreconditionFailed},
	} {
		if errors.Is(err, c.is) {
			return c.status
		}
	}
	return http.StatusInternalServerError
}

// WriteError answers an RPC with an error: the caller's CheckAnswer gives back
// its text and the root package's sentinels that it wraps. Call it before
// anything else was written.
func WriteError(w http.ResponseWriter, err error) {
	var long *http.MaxBytesError
	if errors.As(err, &long) {
		err = fmt.Errorf("request body: over %d bytes: %w", long.Limit, hallig.ErrTooLarge)
	}
	writeStatus(w, statusOf(err), err)
}

func writeStatus(w http.ResponseWriter, status int, err error) {
	body, merr := marshal(encodeError(err))
	if merr != nil {
		body = nil // a text that cannot be written; the status tells
	}
	w.Header().Set("Content-Type", errorType)
	w.WriteHeader(status)
	w.Write(body) //nolint:errcheck // the caller is gone
}

// CheckAnswer returns nil for an answer of status 2xx, which it does not
// touch. Of any other it reads and closes the body and returns the error that
// WriteError wrote, a *RemoteError; an answer that is not of that form wraps
// hallig.ErrUnavailable.
func CheckAnswer(node hallig.NodeID, r *http.Response) error {
	if r.StatusCode/100 == 2 {
		return nil
	}
	defer r.Body.Close()
	body, err := io.ReadAll(io.LimitReader(r.Body, maxErrorBody+1))
	if err == nil && r.Header.Get("Content-Type") == errorType && len(body) <= maxErrorBody {
		if w, err := parseError(body); err == nil {
			return w.remote(node)
		}
	}
	return fmt.Errorf("node %s answers %d without saying why: %w", node, r.StatusCode, hallig.ErrUnavailable)
}

// parseError reads an error's body.
func parseError(body []byte) (wireError, error) {
	var w wireError
	err := unmarshal(body, &w, hallig.ErrInvalid)
	return w, err
}

// AppendError appends an error in the form of WriteError's body, for answers
// that have begun before they fail.
func AppendError(dst []byte, err error) []byte {
	body, merr := marshal(encodeError(err))
	if merr != nil {
		return dst
	}
	return append(dst, body...)
}

// ParseError reads what AppendError appended: a *RemoteError, or
// hallig.ErrUnavailable if it is malformed. It never returns nil.
func ParseError(node hallig.NodeID, body []byte) error {
	if len(body) <= maxErrorBody {
		if w, err := parseError(body); err == nil {
			return w.remote(node)
		}
	}
	return fmt.Errorf("node %s fails without saying why: %w", node, hallig.ErrUnavailable)
}
