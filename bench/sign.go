package bench

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"sync"
	"time"
)

// signer signs requests with AWS Signature Version 4, the payload unsigned
// (https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html).
type signer struct {
	accessKey, secret, region string

	mu  sync.Mutex
	day string
	key []byte
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text)) //nolint:errcheck // a hash never fails
	return h.Sum(nil)
}

// dayKey is the signing key of a day, kept.
func (s *signer) dayKey(day string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.day != day {
		key := mac([]byte("AWS4"+s.secret), day)
		for _, part := range []string{s.region, "s3", "aws4_request"} {
			key = mac(key, part)
		}
		s.day, s.key = day, key
	}
	return s.key
}

// sign signs host, x-amz-content-sha256 and x-amz-date. The URL's path must be
// escaped as S3 does (it is: keys here are plain) and its query sorted.
func (s *signer) sign(r *http.Request, now time.Time) {
	const payload = "UNSIGNED-PAYLOAD"
	stamp := now.UTC().Format("20060102T150405Z")
	day := stamp[:8]
	scope := day + "/" + s.region + "/s3/aws4_request"
	const signed = "host;x-amz-content-sha256;x-amz-date"
	canonical := strings.Join([]string{
		r.Method, r.URL.EscapedPath(), strings.ReplaceAll(r.URL.Query().Encode(), "+", "%20"),
		"host:" + r.URL.Host, "x-amz-content-sha256:" + payload, "x-amz-date:" + stamp, "", signed, payload,
	}, "\n")
	sum := sha256.Sum256([]byte(canonical))
	text := "AWS4-HMAC-SHA256\n" + stamp + "\n" + scope + "\n" + hex.EncodeToString(sum[:])
	signature := hex.EncodeToString(mac(s.dayKey(day), text))
	r.Header.Set("X-Amz-Date", stamp)
	r.Header.Set("X-Amz-Content-Sha256", payload)
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+s.accessKey+"/"+scope+",SignedHeaders="+signed+",Signature="+signature)
}
