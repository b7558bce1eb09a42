package s3

import (
	"context"
	"errors"

	"github.com/hallig-cloud/hallig/objects"
	"github.com/hallig-cloud/hallig/s3/cors"
)

// preflight answers a CORS preflight request (OPTIONS), which carries no
// credentials.
func (s *Server) preflight(ctx context.Context, q *request) error {
	if q.bucketName == "" {
		return fail("MethodNotAllowed").With("Method", q.r.Method).With("ResourceType", scopeService.String())
	}
	p, err := cors.ParsePreflight(q.r.Header)
	if err != nil {
		return err
	}
	b, err := q.Bucket(ctx)
	if err != nil {
		return err
	}
	forbid := func(message, resource string) error {
		return failMessage("AccessForbidden", message).
			With("Method", q.header("Access-Control-Request-Method")).With("ResourceType", resource)
	}
	doc := b.Documents[objects.DocCORS]
	if doc == nil {
		return forbid("CORSResponse: CORS is not enabled for this bucket.", scopeBucket.String())
	}
	c, err := cors.Parse(doc)
	if err != nil {
		return err
	}
	rule, ok := c.Match(p)
	if !ok {
		resource := scopeBucket
		if q.key != "" {
			resource = scopeObject
		}
		return forbid("CORSResponse: This CORS request is not allowed. This is usually because the evalution of Origin, request method / Access-Control-Request-Method or Access-Control-Request-Headers are not whitelisted by the resource's CORS spec.", resource.String())
	}
	rule.Answer(q.w.Header(), p.Origin, p.Headers)
	return q.OK()
}

// cors sets the response headers of a cross-origin request, before anything
// else can fail. A bucket that cannot be loaded is for the operation to report.
func (s *Server) cors(ctx context.Context, q *request) error {
	origin := q.header("Origin")
	if origin == "" || q.bucketName == "" {
		return nil
	}
	b, err := q.Bucket(ctx)
	if err != nil {
		var known *Error
		if errors.As(err, &known) {
			return nil
		}
		return err
	}
	doc := b.Documents[objects.DocCORS]
	if doc == nil {
		return nil
	}
	c, err := cors.Parse(doc)
	if err != nil {
		return err
	}
	if rule, ok := c.MatchActual(origin, q.r.Method); ok {
		rule.Answer(q.w.Header(), origin, nil)
	}
	return nil
}
