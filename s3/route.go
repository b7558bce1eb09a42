package s3

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// A scope is what a request addresses.
type scope uint8

const (
	scopeService scope = iota
	scopeBucket
	scopeObject
)

func (c scope) String() string {
	return [...]string{"SERVICE", "BUCKET", "OBJECT"}[c]
}

// A bodyKind says what an operation does with the request's body.
type bodyKind uint8

const (
	bodyNone   bodyKind = iota // ignored
	bodyXML                    // a small document, read whole
	bodyStream                 // an object's bytes
	bodyForm                   // multipart/form-data
)

// An operation is one row of the routing table.
type operation struct {
	name   string // Amazon's name of the API operation: "GetObject"
	method string
	scope  scope
	// query names the parameters that select the row: "uploads" must be there,
	// "list-type=2" must have that value, "partNumber=*" must be there and is
	// no sub-resource of its own. header names a header that must be there.
	query  []string
	header string
	// action is the IAM action that the request needs, versionAction that with a
	// versionId parameter ("": the same). "" leaves it to the handler.
	action        string
	versionAction string
	anonymous     bool // a request without credentials may be allowed by policy or ACL
	body          bodyKind
	// late says that the handler asks for the permission itself, once it knows
	// what the body says: policies may have conditions on it.
	late   bool
	handle func(s *Server, ctx context.Context, q *request) error
}

// afterBody marks the row as late.
func (op operation) afterBody() operation {
	op.late = true
	return op
}

// permission returns the IAM action for a request with or without a version.
func (op *operation) permission(versioned bool) string {
	if versioned && op.versionAction != "" {
		return op.versionAction
	}
	return op.action
}

// operations is the routing table: every request that Hallig understands.
func operations() []operation {
	return slices.Concat(objectOperations(), bucketOperations())
}

// subresources are the query parameters that select something other than the
// resource itself; a request with one that its method has no row for is refused
// rather than taken for the plain operation.
func subresources(ops []operation) map[string]bool {
	m := make(map[string]bool)
	for _, op := range ops {
		for _, sel := range op.query {
			if name, _, hasValue := strings.Cut(sel, "="); !hasValue {
				m[name] = true
			}
		}
	}
	for _, name := range []string{
		"accelerate", "acl", "analytics", "attributes", "cors", "delete", "encryption", "intelligent-tiering",
		"inventory", "legal-hold", "lifecycle", "location", "logging", "metadataConfiguration", "metadataTable",
		"metrics", "notification", "object-lock", "ownershipControls", "policy", "policyStatus", "publicAccessBlock",
		"renameObject", "replication", "requestPayment", "restore", "retention", "select", "session", "tagging",
		"torrent", "uploads", "versioning", "versions", "website",
	} {
		m[name] = true
	}
	return m
}

// A router finds the operation of a request.
type router struct {
	byPlace map[place][]operation
	subs    map[string]bool
}

type place struct {
	method string
	scope  scope
}

func newRouter(ops []operation) *router {
	rt := &router{byPlace: make(map[place][]operation), subs: subresources(ops)}
	for _, op := range ops {
		op.header = http.CanonicalHeaderKey(op.header)
		p := place{op.method, op.scope}
		rt.byPlace[p] = append(rt.byPlace[p], op)
	}
	for _, rows := range rt.byPlace {
		// the most particular first
		slices.SortStableFunc(rows, func(a, b operation) int { return b.weight() - a.weight() })
	}
	return rt
}

func (op *operation) weight() int {
	n := len(op.query) * 2
	if op.header != "" {
		n++
	}
	return n
}

// find returns the operation for a request, or the error that S3 gives.
func (rt *router) find(method string, sc scope, query url.Values, header http.Header) (*operation, error) {
	if err := misplaced(method, sc, query, header); err != nil {
		return nil, err
	}
	rows := rt.byPlace[place{method, sc}]
	for i := range rows {
		op := &rows[i]
		if !op.selected(query, header) {
			continue
		}
		if len(op.query) == 0 {
			if name := rt.stray(query); name != "" {
				return nil, strayError(method, sc, name)
			}
		}
		return op, nil
	}
	resource := sc.String()
	if method == http.MethodPost {
		resource = scopeService.String() // as S3 has it
	}
	return nil, fail("MethodNotAllowed").With("Method", method).With("ResourceType", resource)
}

func (op *operation) selected(query url.Values, header http.Header) bool {
	if op.header != "" && !headerPresent(header, op.header) && !hoisted(query, op.header) {
		return false
	}
	for _, sel := range op.query {
		name, value, hasValue := strings.Cut(sel, "=")
		if !query.Has(name) || hasValue && value != "*" && query.Get(name) != value {
			return false
		}
	}
	return true
}

// hoisted reports whether a presigned query holds a header in the place of a
// parameter, as some SDKs put it; package sigv4 sets the header once it has
// verified the signature.
func hoisted(query url.Values, name string) bool {
	if !query.Has("X-Amz-Signature") {
		return false
	}
	for parameter := range query {
		if strings.EqualFold(parameter, name) {
			return true
		}
	}
	return false
}

// headerPresent reports whether a header is there, by its canonical name.
func headerPresent(h http.Header, canonical string) bool {
	_, ok := h[canonical]
	return ok
}

// misplaced refuses parameters and headers that belong to other operations.
func misplaced(method string, sc scope, query url.Values, header http.Header) error {
	if headerPresent(header, "X-Amz-Copy-Source") && method != http.MethodPut && (method != http.MethodPost || query.Has("uploadId")) {
		return invalidArgument("x-amz-copy-source", header.Get("X-Amz-Copy-Source"), "You can only specify a copy source header for copy requests.")
	}
	if method != http.MethodPut || sc != scopeObject {
		return nil
	}
	switch part, id := query.Has("partNumber"), query.Has("uploadId"); {
	case part && !id:
		return invalidArgument("partNumber", "partNumber", "This operation does not accept partNumber without uploadId")
	case id && !part:
		return fail("MethodNotAllowed").With("Method", method).With("ResourceType", "UPLOAD")
	}
	return nil
}

// stray returns a sub-resource in the query, "" if there is none.
func (rt *router) stray(query url.Values) string {
	var found string
	for name := range query {
		if rt.subs[name] && (found == "" || name < found) {
			found = name
		}
	}
	return found
}

func strayError(method string, sc scope, name string) error {
	if sc == scopeObject && method == http.MethodGet {
		switch name {
		case "uploads":
			return invalidRequest("Key is not expected for the GET method ?uploads subresource")
		case "versions":
			return invalidRequest("There is no such thing as the ?versions sub-resource for a key")
		}
	}
	return fail("MethodNotAllowed").With("Method", method).With("ResourceType", strings.ToUpper(name))
}
