package s3

import "context"

// website answers requests to a website host; done says that it did.
func (s *Server) website(_ context.Context, _ *request) (done bool, err error) { return false, nil }

// preflight answers a CORS preflight request (OPTIONS).
func (s *Server) preflight(_ context.Context, _ *request) error { return fail("AccessForbidden") }

// cors sets the response headers of a cross-origin request, before anything
// else can fail.
func (s *Server) cors(_ context.Context, _ *request) error { return nil }
