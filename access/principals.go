package access

import (
	"bytes"
	"context"
	"fmt"
)

// A storedPolicy is a parsed bucket policy and what it was parsed from.
type storedPolicy struct {
	document []byte
	policy   *Policy
}

// StoredPolicy parses a bucket policy as it is stored, and remembers it: it is
// what every request to the bucket asks for. No document is no policy, nil.
// One that cannot be read is an error, and the request must be refused: it may
// hold a deny.
func (s *Service) StoredPolicy(document []byte, bucket string) (*Policy, error) {
	if len(document) == 0 {
		return nil, nil
	}
	s.mu.RLock()
	stored, ok := s.policies[bucket]
	s.mu.RUnlock()
	if ok && bytes.Equal(stored.document, document) {
		return stored.policy, nil
	}
	p, err := ParsePolicy(document, bucket, s.c.Account, nil)
	if err != nil {
		return nil, fmt.Errorf("stored policy of bucket %s: %w", bucket, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.policies) >= maxCached {
		clear(s.policies)
	}
	s.policies[bucket] = storedPolicy{document: bytes.Clone(document), policy: p}
	return p, nil
}

// ParseBucketPolicy is ParsePolicy with principals that must exist, as S3
// demands of a policy that is stored.
func (s *Service) ParseBucketPolicy(ctx context.Context, document []byte, bucket string) (*Policy, error) {
	var failed error
	p, err := ParsePolicy(document, bucket, s.c.Account, func(p Principal) bool {
		ok, err := s.exists(ctx, p)
		if err != nil {
			failed = err
		}
		return ok
	})
	if failed != nil {
		return nil, failed
	}
	return p, err
}

// exists reports whether a principal names a user or an access key.
func (s *Service) exists(ctx context.Context, p Principal) (bool, error) {
	var err error
	if p.Canonical != "" {
		_, err = s.UserByID(ctx, p.Canonical)
	} else if _, err = s.User(ctx, p.Name); isNotFound(err) && p.Raw == p.Name {
		_, err = s.Lookup(ctx, p.Name)
	}
	if isNotFound(err) {
		return false, nil
	}
	return err == nil, err
}
