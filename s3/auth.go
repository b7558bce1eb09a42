package s3

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/access"
	"github.com/hallig-cloud/hallig/s3/sigv4"
)

// credentials say who asks and how that was proved.
type credentials struct {
	identity  access.Identity
	user      string // canonical user id; "" if anonymous
	accessKey string
	anonymous bool
	root      bool
	presigned bool
	proof     sigv4.Auth
}

// newVerifier makes the server's verifier of signatures.
func newVerifier(cfg *Config) *sigv4.Verifier {
	return sigv4.New(sigv4.Config{
		Region: cfg.Region, AnyRegion: cfg.AnyRegion, Lookup: cfg.Access.Secret, AllowV2: cfg.AllowV2, Now: cfg.Clock, Log: cfg.Log,
		HostBucket: func(host string) string {
			b, _ := hostBucket(host, cfg.Domains)
			return b
		},
	})
}

// authenticate finds out who asks, and puts the verifying reader in place of
// the body. It reads nothing of the body. A form is authenticated by its
// fields, later.
func (s *Server) authenticate(ctx context.Context, q *request) error {
	if q.body == nil {
		q.body = io.MultiReader()
	}
	if q.op.body == bodyForm {
		q.auth = anonymousCredentials()
		return nil
	}
	proof, err := s.verifier.Authenticate(q.r)
	if err != nil {
		return fmt.Errorf("authenticate: %w", err)
	}
	if proof.Payload.Streaming() && q.op.body != bodyStream {
		return invalidRequest("The value of x-amz-content-sha256 header is invalid.")
	}
	if q.auth, err = s.credentialsOf(ctx, proof); err != nil {
		return err
	}
	q.body, q.length, q.trailer = proof.Body, proof.Length, proof.Trailer
	return nil
}

func anonymousCredentials() credentials {
	return credentials{identity: access.AnonymousIdentity(), anonymous: true}
}

// credentialsOf resolves the access key of a proof to a user.
func (s *Server) credentialsOf(ctx context.Context, proof sigv4.Auth) (credentials, error) {
	if proof.Kind == sigv4.Anonymous {
		c := anonymousCredentials()
		c.proof = proof
		return c, nil
	}
	found, err := s.cfg.Access.Lookup(ctx, proof.AccessKey)
	if errors.Is(err, hallig.ErrNotFound) { // deleted since its secret was read
		return credentials{}, fail("InvalidAccessKeyId").Because(err)
	}
	if err != nil {
		return credentials{}, fmt.Errorf("look up the access key: %w", err)
	}
	return credentials{
		identity: found.Identity, user: found.Identity.User, accessKey: proof.AccessKey, root: found.Identity.Root,
		presigned: proof.Kind == sigv4.Presigned || proof.Kind == sigv4.PresignedV2, proof: proof,
	}, nil
}

// fromProof turns a refusal of package sigv4 into the error that is sent.
func fromProof(err error) (*Error, bool) {
	var refused *sigv4.Error
	if !errors.As(err, &refused) {
		return nil, false
	}
	e := &Error{Code: refused.Code, Message: worded(refused.Code, refused.Message), Status: refused.Status, cause: err}
	for _, f := range refused.Fields {
		e = e.With(f.Name, f.Value)
	}
	return e, true
}
