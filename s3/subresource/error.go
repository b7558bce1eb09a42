package subresource

import "fmt"

// An Error is a refusal of a document, as the client is to read it.
type Error struct {
	Code    string
	Message string
	Status  int // HTTP
	// Fields are further elements of the error's body, in order.
	Fields []Field
}

// A Field is one further element of an error's body.
type Field struct{ Name, Value string }

// Error implements error.
func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Malformed is the error for a document that is not XML, or not the XML of the
// published schema.
func Malformed() *Error {
	return &Error{
		Code:    "MalformedXML",
		Message: "The XML you provided was not well-formed or did not validate against our published schema.",
		Status:  400,
	}
}

// BadArgument is InvalidArgument with the argument's name and value; an empty
// name leaves both fields out.
func BadArgument(message, name, value string) *Error {
	e := &Error{Code: "InvalidArgument", Message: message, Status: 400}
	if name != "" {
		e.Fields = []Field{{"ArgumentName", name}, {"ArgumentValue", value}}
	}
	return e
}

// NotImplemented refuses what Hallig does not do; header names it.
func NotImplemented(header string) *Error {
	return &Error{
		Code:    "NotImplemented",
		Message: "A header you provided implies functionality that is not implemented.",
		Status:  501,
		Fields:  []Field{{"Header", header}},
	}
}

// BadRequest is InvalidRequest with a formatted message.
func BadRequest(format string, args ...any) *Error {
	return &Error{Code: "InvalidRequest", Message: fmt.Sprintf(format, args...), Status: 400}
}
