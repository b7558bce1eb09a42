package admin

import (
	"errors"
	"net/http"

	"github.com/hallig-cloud/hallig"
)

// kind is one row of the table between sentinels, their names on the wire and
// HTTP statuses.
type kind struct {
	name     string
	status   int
	sentinel error
}

// kinds is in order of precedence: the first sentinel that an error wraps wins.
func kinds() []kind {
	return []kind{
		{"refused", http.StatusConflict, ErrRefused},
		{"locked", http.StatusLocked, hallig.ErrKeyLocked},
		{"denied", http.StatusUnauthorized, hallig.ErrDenied},
		{"not-found", http.StatusNotFound, hallig.ErrNotFound},
		{"exists", http.StatusConflict, hallig.ErrExists},
		{"not-empty", http.StatusConflict, hallig.ErrNotEmpty},
		{"conflict", http.StatusConflict, hallig.ErrConflict},
		{"invalid", http.StatusBadRequest, hallig.ErrInvalid},
		{"too-large", http.StatusRequestEntityTooLarge, hallig.ErrTooLarge},
		{"foreign", http.StatusConflict, hallig.ErrForeign},
		{"full", http.StatusInsufficientStorage, hallig.ErrFull},
		{"read-only", http.StatusConflict, hallig.ErrReadOnly},
		{"unsupported", http.StatusNotImplemented, hallig.ErrUnsupported},
		{"unavailable", http.StatusServiceUnavailable, hallig.ErrUnavailable},
	}
}

// failure is an error's body on the wire.
type failure struct {
	Error struct {
		Kind    string `json:"kind"`
		Message string `json:"message"`
	} `json:"error"`
}

func writeError(w http.ResponseWriter, err error) {
	var f failure
	f.Error.Kind, f.Error.Message = "failed", err.Error()
	status := http.StatusInternalServerError
	for _, k := range kinds() {
		if errors.Is(err, k.sentinel) {
			f.Error.Kind, status = k.name, k.status
			break
		}
	}
	writeJSON(w, status, f)
}

// remoteError is a failure as the client sees it: the node's words, wrapping
// the same sentinel.
type remoteError struct {
	message  string
	sentinel error
}

func (e *remoteError) Error() string { return e.message }
func (e *remoteError) Unwrap() error { return e.sentinel }

func (f failure) err() error {
	e := &remoteError{message: f.Error.Message}
	for _, k := range kinds() {
		if k.name == f.Error.Kind {
			e.sentinel = k.sentinel
		}
	}
	return e
}
