package access

import (
	"errors"
	"net/http"

	"github.com/hallig-cloud/hallig"
)

// An Error is a refusal in S3's words: a malformed policy or ACL, a grant that
// cannot be. It wraps hallig.ErrInvalid, or hallig.ErrDenied when Status is 403.
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

// Unwrap returns the sentinel.
func (e *Error) Unwrap() error {
	if e.Status == http.StatusForbidden {
		return hallig.ErrDenied
	}
	return hallig.ErrInvalid
}

func malformedPolicy(message string) *Error {
	return &Error{Code: "MalformedPolicy", Message: message, Status: http.StatusBadRequest}
}

func malformedACL() *Error {
	return &Error{Code: "MalformedACLError", Status: http.StatusBadRequest,
		Message: "The XML you provided was not well-formed or did not validate against our published schema"}
}

func invalidArgument(name, value, message string) *Error {
	return &Error{Code: "InvalidArgument", Message: message, Status: http.StatusBadRequest,
		Fields: []Field{{"ArgumentName", name}, {"ArgumentValue", value}}}
}

// A Denied is why Decide said no. It wraps hallig.ErrDenied.
type Denied struct {
	ARN      string // of who asked
	Action   string
	Resource string
	Explicit bool   // an explicit deny; otherwise nothing allowed it
	Source   string // what denied explicitly: "a bucket policy", "an identity-based policy", "a key policy"
}

// Error implements error. It is for logs: S3 answers "Access Denied".
func (d *Denied) Error() string {
	s := d.ARN + " may not perform " + d.Action + " on " + d.Resource
	if d.Explicit {
		return s + ": explicit deny in " + d.Source
	}
	return s + ": nothing allows it"
}

// Unwrap returns hallig.ErrDenied.
func (d *Denied) Unwrap() error { return hallig.ErrDenied }

func isNotFound(err error) bool { return errors.Is(err, hallig.ErrNotFound) }
