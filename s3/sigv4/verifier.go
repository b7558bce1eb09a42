package sigv4

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hallig-cloud/hallig"
)

// The bounds of time.
const (
	MaxSkew    = 15 * time.Minute // between a signature's date and now
	MaxExpires = 604800           // seconds that a presigned request may live
)

const (
	algorithm  = "AWS4-HMAC-SHA256"
	algorithmA = "AWS4-ECDSA-P256-SHA256"
	terminal   = "aws4_request"
	service    = "s3"
)

// A Verifier authenticates requests. It is safe for concurrent use.
type Verifier struct {
	c    Config
	mu   sync.RWMutex
	keys map[keyID]signingKey

	// acceptUnsigned and acceptAny are the negative controls of tests: they
	// switch off the check of unsigned headers, and every comparison of
	// signatures.
	acceptUnsigned, acceptAny bool
}

type keyID struct{ key, date, region string }

type signingKey struct {
	secret string
	key    [sha256.Size]byte
}

// maxKeys bounds the cache of signing keys.
const maxKeys = 4096

// New returns a Verifier.
func New(c Config) *Verifier {
	if c.Region == "" {
		c.Region = "us-east-1"
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Verifier{c: c, keys: make(map[keyID]signingKey)}
}

// Authenticate checks the request's signature, or finds that it has none. The
// error is a *Error, or Lookup's. Nothing of the body is read but by
// Auth.Body. A POST form is anonymous to it; see AuthenticatePost.
//
// The x-amz-* parameters of a presigned query stand for headers of the same
// name (as SDKs hoist them) and are set in r.Header unless a signed header has
// the name.
func (v *Verifier) Authenticate(r *http.Request) (Auth, error) {
	query, e := parseQuery(r.URL.RawQuery)
	if e != nil {
		return Auth{}, e
	}
	header := r.Header["Authorization"]
	v4, v2 := hasAny(query, "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature"), hasAny(query, "AWSAccessKeyId", "Signature")
	if len(header) > 1 || count(len(header) > 0, v4, v2) > 1 {
		value := ""
		if len(header) > 0 {
			value = clip(header[0])
		}
		return Auth{}, errMechanisms(value)
	}
	switch {
	case len(header) == 1:
		return v.header(r, query, header[0])
	case v4:
		return v.presigned(r, query)
	case v2:
		return v.presignedV2(r, query)
	}
	return v.anonymous(r)
}

func count(bs ...bool) (n int) {
	for _, b := range bs {
		if b {
			n++
		}
	}
	return n
}

func hasAny(query []parameter, names ...string) bool {
	return slices.ContainsFunc(query, func(p parameter) bool { return slices.Contains(names, p.name) })
}

// A scope is a parsed credential: who signed, and what the key is for.
type scope struct {
	key, date, region string
	text              string // date/region/s3/aws4_request
}

// parseScope reads KEY/DATE/REGION/s3/aws4_request; refuse words the error.
func (v *Verifier) parseScope(credential string, refuse func(format string, args ...any) *Error) (scope, *Error) {
	parts := strings.Split(credential, "/")
	if len(parts) != 5 || parts[0] == "" {
		return scope{}, refuse("the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\".")
	}
	s := scope{key: parts[0], date: parts[1], region: parts[2], text: credential[len(parts[0])+1:]}
	switch {
	case parts[4] != terminal:
		return s, refuse("incorrect terminal %q. This endpoint uses \"aws4_request\".", parts[4])
	case parts[3] != service:
		return s, refuse("incorrect service %q. This endpoint belongs to \"s3\".", parts[3])
	case s.region != v.c.Region && !v.c.AnyRegion:
		return s, refuse("the region %q is wrong; expecting %q", s.region, v.c.Region)
	}
	if _, err := time.Parse(isoDate, s.date); err != nil || len(s.date) != len(isoDate) {
		return s, refuse("incorrect date format %q. This date in the credential must be in the format \"yyyyMMdd\".", s.date)
	}
	return s, nil
}

// secret looks an access key up.
func (v *Verifier) secret(ctx context.Context, key string) (string, error) {
	secret, err := v.c.Lookup(ctx, key)
	switch {
	case errors.Is(err, hallig.ErrNotFound):
		return "", errUnknownKey(clip(key))
	case err != nil:
		return "", fmt.Errorf("look up access key: %w", err)
	case secret == "":
		return "", errUnknownKey(clip(key)) // an empty secret would let anybody sign
	}
	return secret, nil
}

// signingKey derives, or remembers, the key of a scope.
func (v *Verifier) signingKey(s scope, secret string) [sha256.Size]byte {
	id := keyID{s.key, s.date, s.region}
	v.mu.RLock()
	k, ok := v.keys[id]
	v.mu.RUnlock()
	if ok && k.secret == secret {
		return k.key
	}
	k = signingKey{secret: secret, key: deriveKey(secret, s.date, s.region)}
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.keys) >= maxKeys {
		clear(v.keys)
	}
	v.keys[id] = k
	return k.key
}

func deriveKey(secret, date, region string) (key [sha256.Size]byte) {
	b := mac([]byte("AWS4"+secret), date)
	for _, s := range []string{region, service, terminal} {
		b = mac(b, s)
	}
	copy(key[:], b)
	return key
}

func mac(key []byte, data string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(data))
	return h.Sum(nil)
}

// stringToSign is the V4 string of a canonical request.
func stringToSign(date, scope string, canonical []byte) string {
	sum := sha256.Sum256(canonical)
	b := make([]byte, 0, len(algorithm)+len(date)+len(scope)+3+2*len(sum))
	b = append(append(b, algorithm...), '\n')
	b = append(append(b, date...), '\n')
	b = append(append(b, scope...), '\n')
	return string(hex.AppendEncode(b, sum[:]))
}

// matches compares a hexadecimal signature in constant time.
func (v *Verifier) matches(key [sha256.Size]byte, toSign, signature string) bool {
	if v.acceptAny {
		return true
	}
	h := hmac.New(sha256.New, key[:])
	io.WriteString(h, toSign) //nolint:errcheck // a hash takes every write
	var sum [sha256.Size]byte
	var want [2 * sha256.Size]byte
	hex.Encode(want[:], h.Sum(sum[:0]))
	return subtle.ConstantTimeCompare(want[:], []byte(signature)) == 1
}

// parseSigned splits SignedHeaders; each name must be in lower case and stand
// once.
func parseSigned(list string) ([]string, bool) {
	names := strings.Split(list, ";")
	for i, n := range names {
		if n == "" || n != strings.ToLower(n) || slices.Contains(names[:i], n) {
			return nil, false
		}
		if i >= maxSigned {
			return nil, false
		}
	}
	return names, true
}

// maxSigned bounds the names in SignedHeaders.
const maxSigned = 256
