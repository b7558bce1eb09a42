package accesslog

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/hallig-cloud/hallig/s3"
)

// An entry is one request, with nothing of it kept alive.
type entry struct {
	bucket string
	at     time.Time
	rest   string // of the line, behind the time
}

func newEntry(r s3.Record) entry {
	return entry{bucket: r.Bucket, at: r.Time, rest: rest(r)}
}

// line is the whole line with its end.
func (e entry) line(owner string) string {
	return field(owner) + " " + field(e.bucket) + e.at.UTC().Format(" [02/Jan/2006:15:04:05 -0700] ") + e.rest + "\n"
}

// rest makes the fields behind the time, in order; "-" is nothing.
func rest(r s3.Record) string {
	q := r.Request
	var b strings.Builder
	add := func(s string) {
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(s)
	}
	add(field(remoteIP(q.RemoteAddr)))
	add(field(r.Requester))
	add(field(r.RequestID))
	add(operation(r))
	add(field(escapeKey(r.Key)))
	add(quoted(q.Method + " " + q.RequestURI + " " + q.Proto))
	add(number(int64(r.Status)))
	add(field(r.Code))
	add(number(r.BytesOut))
	add(number(r.ObjectSize))
	add(strconv.FormatInt(r.Duration.Milliseconds(), 10))
	add("-") // turn-around time
	add(quoted(q.Referer()))
	add(quoted(q.UserAgent()))
	add(field(string(r.Version)))
	add(field(r.HostID))
	version, kind := signature(q)
	add(version)
	add(cipher(q.TLS))
	add(kind)
	add(field(q.Host))
	add(tlsVersion(q.TLS))
	add("-") // access point
	add("-") // whether an ACL was required
	return b.String()
}

func remoteIP(addr string) string {
	if ip, _, err := net.SplitHostPort(addr); err == nil {
		return ip
	}
	return addr
}

// field makes text fit between spaces.
func field(s string) string {
	if s == "" {
		return "-"
	}
	return escape(s, " \"")
}

// quoted makes text fit between quotes.
func quoted(s string) string {
	if s == "" {
		s = "-"
	}
	return `"` + escape(s, `"`) + `"`
}

// escape percent-encodes control characters and those given, so that no
// client can forge a line or a field.
func escape(s, also string) string {
	bad := func(c byte) bool { return c < ' ' || c == 0x7f || strings.IndexByte(also, c) >= 0 }
	clean := true
	for i := range len(s) {
		clean = clean && !bad(s[i])
	}
	if clean {
		return s
	}
	var b strings.Builder
	for i := range len(s) {
		if bad(s[i]) {
			fmt.Fprintf(&b, "%%%02X", s[i])
		} else {
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

// escapeKey URL-encodes a key but for what is safe in one.
func escapeKey(key string) string {
	var b strings.Builder
	for i := range len(key) {
		c := key[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("/-_.~!*'()", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

func number(n int64) string {
	if n <= 0 {
		return "-"
	}
	return strconv.FormatInt(n, 10)
}

func signature(q *http.Request) (version, kind string) {
	auth := q.Header.Get("Authorization")
	switch {
	case strings.HasPrefix(auth, "AWS4-"):
		return "SigV4", "AuthHeader"
	case strings.HasPrefix(auth, "AWS "):
		return "SigV2", "AuthHeader"
	case strings.Contains(q.URL.RawQuery, "X-Amz-Signature="):
		return "SigV4", "QueryString"
	case strings.Contains(q.URL.RawQuery, "Signature="):
		return "SigV2", "QueryString"
	}
	return "-", "-"
}

func cipher(t *tls.ConnectionState) string {
	if t == nil {
		return "-"
	}
	return field(tls.CipherSuiteName(t.CipherSuite))
}

func tlsVersion(t *tls.ConnectionState) string {
	if t == nil {
		return "-"
	}
	return "TLSv" + strings.TrimPrefix(tls.VersionName(t.Version), "TLS ")
}

// operation names a request as the log does: REST.METHOD.RESOURCE.
func operation(r s3.Record) string {
	if name, ok := operations()[r.Operation]; ok {
		return name
	}
	if r.Operation == "" {
		if r.Request.Method == http.MethodOptions {
			return "REST.OPTIONS.PREFLIGHT"
		}
		return "-"
	}
	noun := r.Operation
	for _, verb := range []string{"GetBucket", "PutBucket", "DeleteBucket", "ListBucket", "Get", "Put", "Delete", "List"} {
		if rest, ok := strings.CutPrefix(noun, verb); ok && rest != "" {
			noun = rest
			break
		}
	}
	return "REST." + r.Request.Method + "." + strings.ToUpper(strings.TrimSuffix(strings.TrimSuffix(noun, "Configuration"), "Controls"))
}

// operations are the names that do not follow from the operation's own.
func operations() map[string]string {
	return map[string]string{
		"ListBuckets": "REST.GET.SERVICE", "CreateBucket": "REST.PUT.BUCKET", "HeadBucket": "REST.HEAD.BUCKET", "DeleteBucket": "REST.DELETE.BUCKET",
		"ListObjects": "REST.GET.BUCKET", "ListObjectsV2": "REST.GET.BUCKET", "ListObjectVersions": "REST.GET.BUCKETVERSIONS",
		"GetBucketPolicy": "REST.GET.BUCKETPOLICY", "PutBucketPolicy": "REST.PUT.BUCKETPOLICY", "DeleteBucketPolicy": "REST.DELETE.BUCKETPOLICY",
		"GetBucketLogging": "REST.GET.LOGGING_STATUS", "PutBucketLogging": "REST.PUT.LOGGING_STATUS",
		"GetBucketRequestPayment": "REST.GET.REQUEST_PAYMENT", "PutBucketRequestPayment": "REST.PUT.REQUEST_PAYMENT",
		"GetObjectLockConfiguration": "REST.GET.OBJECT_LOCK_CONFIGURATION", "PutObjectLockConfiguration": "REST.PUT.OBJECT_LOCK_CONFIGURATION",
		"GetPublicAccessBlock": "REST.GET.PUBLIC_ACCESS_BLOCK", "PutPublicAccessBlock": "REST.PUT.PUBLIC_ACCESS_BLOCK",
		"DeletePublicAccessBlock": "REST.DELETE.PUBLIC_ACCESS_BLOCK",
		"GetObject":               "REST.GET.OBJECT", "HeadObject": "REST.HEAD.OBJECT", "PutObject": "REST.PUT.OBJECT", "DeleteObject": "REST.DELETE.OBJECT",
		"CopyObject": "REST.COPY.OBJECT", "DeleteObjects": "REST.POST.MULTI_OBJECT_DELETE", "PostObject": "REST.POST.OBJECT",
		"CreateMultipartUpload": "REST.POST.UPLOADS", "UploadPart": "REST.PUT.PART", "UploadPartCopy": "REST.COPY.PART",
		"CompleteMultipartUpload": "REST.POST.UPLOAD", "AbortMultipartUpload": "REST.DELETE.UPLOAD", "ListParts": "REST.GET.UPLOAD",
		"ListMultipartUploads": "REST.GET.UPLOADS", "GetObjectTagging": "REST.GET.OBJECT_TAGGING", "PutObjectTagging": "REST.PUT.OBJECT_TAGGING",
		"DeleteObjectTagging": "REST.DELETE.OBJECT_TAGGING", "GetObjectAcl": "REST.GET.ACL", "PutObjectAcl": "REST.PUT.ACL",
		"GetObjectRetention": "REST.GET.OBJECT_LOCK_RETENTION", "PutObjectRetention": "REST.PUT.OBJECT_LOCK_RETENTION",
		"GetObjectLegalHold": "REST.GET.OBJECT_LOCK_LEGALHOLD", "PutObjectLegalHold": "REST.PUT.OBJECT_LOCK_LEGALHOLD",
		"GetObjectAttributes": "REST.GET.OBJECT_ATTRIBUTES",
	}
}
