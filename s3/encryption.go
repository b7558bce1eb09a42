package s3

import (
	"crypto/md5" //nolint:gosec // S3 identifies customer keys by their MD5
	"encoding/base64"
	"net/http"

	"github.com/hallig-cloud/hallig/catalog"
)

// A customerKey is an SSE-C key as a request brings it.
type customerKey struct {
	key []byte // 32 bytes; nil if none was given
	md5 string // base64
}

const (
	headerSSE          = "x-amz-server-side-encryption"
	headerSSEKey       = "x-amz-server-side-encryption-aws-kms-key-id"
	headerSSEContext   = "x-amz-server-side-encryption-context"
	headerSSEBucketKey = "x-amz-server-side-encryption-bucket-key-enabled"
	fieldSSE           = "X-Amz-Server-Side-Encryption" // the same in net/http's canonical form
	fieldSSEKey        = "X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id"
	fieldSSEContext    = "X-Amz-Server-Side-Encryption-Context"
	fieldSSEBucketKey  = "X-Amz-Server-Side-Encryption-Bucket-Key-Enabled"
	customerPrefix     = "x-amz-server-side-encryption-customer-"
	sourcePrefix       = "x-amz-copy-source-server-side-encryption-customer-"
)

// parseCustomerKey reads the three SSE-C headers with the prefix, customerPrefix
// or sourcePrefix. Names are canonical here, so that looking costs nothing. secure
// says that the connection may carry a key.
func parseCustomerKey(h http.Header, prefix string, secure bool) (customerKey, error) {
	names := [...]string{"X-Amz-Server-Side-Encryption-Customer-Algorithm", "X-Amz-Server-Side-Encryption-Customer-Key", "X-Amz-Server-Side-Encryption-Customer-Key-Md5"}
	if prefix == sourcePrefix {
		names = [...]string{"X-Amz-Copy-Source-Server-Side-Encryption-Customer-Algorithm", "X-Amz-Copy-Source-Server-Side-Encryption-Customer-Key", "X-Amz-Copy-Source-Server-Side-Encryption-Customer-Key-Md5"}
	}
	algorithm, key, sum := h.Get(names[0]), h.Get(names[1]), h.Get(names[2])
	var c customerKey
	if algorithm == "" && key == "" && sum == "" {
		return c, nil
	}
	const requests = "Requests specifying Server Side Encryption with Customer provided keys must "
	switch {
	case !secure:
		return c, invalidRequest(requests + "be made over a secure connection.")
	case algorithm == "":
		return c, invalidArgument(prefix+"algorithm", "", requests+"provide a valid encryption algorithm.")
	case algorithm != "AES256":
		return c, failMessage("InvalidEncryptionAlgorithmError", "The Encryption request you specified is not valid. Supported value: AES256.").
			With("ArgumentName", prefix+"algorithm").With("ArgumentValue", algorithm)
	case key == "":
		return c, invalidArgument(prefix+"key", "", requests+"provide an appropriate secret key.")
	case sum == "":
		return c, invalidArgument(prefix+"key-MD5", "", requests+"provide the client calculated MD5 of the secret key.")
	}
	raw, err := base64.StdEncoding.DecodeString(key)
	if err != nil || len(raw) != 32 {
		return c, invalidArgument(prefix+"key", "null", "The secret key was invalid for the specified algorithm.")
	}
	digest := md5.Sum(raw) //nolint:gosec // S3 identifies customer keys by their MD5
	c.key, c.md5 = raw, base64.StdEncoding.EncodeToString(digest[:])
	if sum != c.md5 {
		return customerKey{}, invalidArgument(prefix+"key-MD5", sum, "The calculated MD5 hash of the key did not match the hash that was provided.")
	}
	return c, nil
}

// parseEncryption reads the SSE-S3 and SSE-KMS headers of a write. Zero takes
// the bucket's default.
func parseEncryption(h http.Header, c customerKey) (catalog.Encryption, error) {
	e := catalog.Encryption{Algorithm: h.Get(fieldSSE), KeyID: h.Get(fieldSSEKey), Context: h.Get(fieldSSEContext)}
	if c.key != nil {
		if e.Algorithm != "" || e.KeyID != "" {
			return e, invalidArgument(headerSSE, e.Algorithm, "Server Side Encryption with Customer provided key is incompatible with the encryption method specified")
		}
		return catalog.Encryption{CustomerMD5: c.md5}, nil
	}
	switch e.Algorithm {
	case "", "AES256":
		if e.KeyID != "" {
			return e, invalidArgument(headerSSE, e.Algorithm, "Server Side Encryption with AWS KMS managed key requires HTTP header x-amz-server-side-encryption : aws:kms")
		}
		e.Context = ""
	case "aws:kms", "aws:kms:dsse":
	default:
		return e, invalidArgument(headerSSE, e.Algorithm, "The encryption method specified is not supported")
	}
	if e.Context != "" {
		if _, err := base64.StdEncoding.DecodeString(e.Context); err != nil || len(e.Context) > 8<<10 {
			return e, invalidArgument(headerSSEContext, e.Context, "The header 'x-amz-server-side-encryption-context' shall be Base64-encoded UTF-8 string holding JSON which represents a string-string map")
		}
	}
	switch v := h.Get(fieldSSEBucketKey); v {
	case "", "false":
	case "true":
		e.BucketKey = e.Algorithm == "aws:kms"
	default:
		return e, invalidArgument(headerSSEBucketKey, v, "The value of x-amz-server-side-encryption-bucket-key-enabled must be true or false")
	}
	return e, nil
}

// checkCustomerKey compares the key of a read with what the version needs.
func checkCustomerKey(v *catalog.Encryption, c customerKey) error {
	switch {
	case v.CustomerMD5 == "" && c.key == nil:
		return nil
	case v.CustomerMD5 == "":
		return invalidRequest("The encryption parameters are not applicable to this object.")
	case c.key == nil:
		return invalidRequest("The object was stored using a form of Server Side Encryption. The correct parameters must be provided to retrieve the object.")
	case v.CustomerMD5 != c.md5:
		return fail("AccessDenied")
	}
	return nil
}

// setEncryption sets the response headers that tell how a version is
// encrypted.
func (q *request) setEncryption(e catalog.Encryption) {
	if e.CustomerMD5 != "" {
		q.set(customerPrefix+"algorithm", "AES256")
		q.set(customerPrefix+"key-MD5", e.CustomerMD5)
		return
	}
	q.set(fieldSSE, e.Algorithm)
	if e.Algorithm != "AES256" {
		q.set(fieldSSEKey, e.KeyID)
		if e.BucketKey {
			q.set(fieldSSEBucketKey, "true")
		}
	}
}

// secure reports whether the request may carry customer keys.
func (q *request) secure() bool { return !q.s.cfg.SecureCustomerKeys || q.r.TLS != nil }
