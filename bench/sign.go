package bench

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"time"
)

// unsigned is the payload hash of a body that is not signed
// (https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html).
const unsigned = "UNSIGNED-PAYLOAD"

// emptyHash is the SHA-256 of nothing.
const emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// signer signs requests with AWS Signature Version 4. It keeps the day's key
// and its buffers: one for each worker.
type signer struct {
	accessKey, secret, region string

	day   string
	key   hash.Hash // HMAC under the day's key
	text  []byte
	scope string
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	_, _ = h.Write([]byte(text)) // a hash never fails
	return h.Sum(nil)
}

func (s *signer) renew(day string) {
	key := mac([]byte("AWS4"+s.secret), day)
	for _, part := range []string{s.region, "s3", "aws4_request"} {
		key = mac(key, part)
	}
	s.day, s.key = day, hmac.New(sha256.New, key)
	s.scope = day + "/" + s.region + "/s3/aws4_request"
}

// sign appends the headers that authenticate a request to its head: date,
// payload hash and signature over them, the host, the method, the path and the
// query (both encoded as S3 does, the query sorted).
func (s *signer) sign(head []byte, method, path, query, host, payload string, now time.Time) []byte {
	const signed = "host;x-amz-content-sha256;x-amz-date"
	var stampBuf [16]byte
	stamp := now.UTC().AppendFormat(stampBuf[:0], "20060102T150405Z")
	if day := string(stamp[:8]); day != s.day {
		s.renew(day)
	}
	t := append(s.text[:0], method...)
	t = append(append(t, '\n'), path...)
	t = append(append(t, '\n'), query...)
	t = append(append(t, "\nhost:"...), host...)
	t = append(append(t, "\nx-amz-content-sha256:"...), payload...)
	t = append(append(t, "\nx-amz-date:"...), stamp...)
	t = append(append(t, "\n\n"+signed+"\n"...), payload...)
	canonical := sha256.Sum256(t)

	t = append(t[:0], "AWS4-HMAC-SHA256\n"...)
	t = append(append(t, stamp...), '\n')
	t = append(append(t, s.scope...), '\n')
	t = hex.AppendEncode(t, canonical[:])
	s.key.Reset()
	_, _ = s.key.Write(t) // a hash never fails
	var sum [sha256.Size]byte
	signature := s.key.Sum(sum[:0])
	s.text = t

	head = append(append(head, "X-Amz-Date: "...), stamp...)
	head = append(append(head, "\r\nX-Amz-Content-Sha256: "...), payload...)
	head = append(append(head, "\r\nAuthorization: AWS4-HMAC-SHA256 Credential="...), s.accessKey...)
	head = append(append(head, '/'), s.scope...)
	head = append(head, ",SignedHeaders="+signed+",Signature="...)
	head = hex.AppendEncode(head, signature)
	return append(head, '\r', '\n')
}
