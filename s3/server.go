package s3

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"sync"
	"time"

	"github.com/hallig-cloud/hallig/access"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/objects"
	"github.com/hallig-cloud/hallig/s3/sigv4"
)

// Config is what a Server is made of.
type Config struct {
	Store  objects.API
	Access *access.Service // users, keys and policies
	Region string          // S3's region string; default "us-east-1"
	// AnyRegion accepts signatures for every region, AllowV2 those of version 2.
	AnyRegion bool
	AllowV2   bool
	Domains   []string         // hosts below which BUCKET.DOMAIN is virtual-host style; none: path style only
	Log       *slog.Logger     // default: discards
	Clock     func() time.Time // default: time.Now
	// Observe, when set, is called after every request, from its goroutine, for
	// metrics and access logs. It must not block.
	Observe func(Record)
	// Events, when set, gets what happened to objects, all of one bucket, after the
	// commit. The response waits for it: what it has stored when it returns
	// outlives the process once the client has its answer.
	Events func(context.Context, ...objects.Event)
	// Notifications tries the targets of event notifications when they are
	// configured; without it no target exists.
	Notifications Notifications
	// Idle is how long a client may neither send nor take a byte in the middle of
	// a request before it is given up; 0: 60 s.
	Idle time.Duration
	// MaxHeader bounds the bytes of a request's headers; 0: 8 KiB, as S3.
	MaxHeader int
	// SecureCustomerKeys refuses SSE-C keys on connections without TLS, as S3
	// does. The default takes them from anywhere: Hallig often stands behind a
	// proxy that ended TLS, and listens on loopback.
	SecureCustomerKeys bool
}

// A Record is what is known of one request after its end.
type Record struct {
	Time       time.Time
	Duration   time.Duration
	RequestID  string
	HostID     string
	Operation  string // "GetObject"; "" if none was found
	Request    *http.Request
	Bucket     string
	Key        string
	Version    catalog.VersionID
	Requester  string // canonical user id; "" if anonymous
	AccessKey  string
	Status     int
	Code       string // S3's error code, "" on success
	BytesIn    int64  // declared length of the request's body, -1 if unknown
	BytesOut   int64  // of the response's body
	ObjectSize int64  // bytes of the object read or written; 0 if none
}

// A Server is the S3 door. It is an http.Handler; it starts no goroutines.
type Server struct {
	cfg      Config
	router   *router
	verifier *sigv4.Verifier
	settings *settingsCache
	lists    sync.Pool // of *listDocument
}

// New returns a Server.
func New(cfg Config) *Server {
	if cfg.Region == "" {
		cfg.Region = "us-east-1"
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Idle == 0 {
		cfg.Idle = time.Minute
	}
	if cfg.MaxHeader == 0 {
		cfg.MaxHeader = 8 << 10
	}
	return &Server{cfg: cfg, router: newRouter(operations()), verifier: newVerifier(&cfg), settings: newSettingsCache()}
}

// ServeHTTP answers one request. A panic in a handler is logged and becomes
// InternalError, or a broken connection if the answer had begun.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	wait := &patience{control: http.NewResponseController(w), idle: s.cfg.Idle}
	if r.Body != nil && r.Body != http.NoBody {
		// In a copy: net/http knows an unanswered Expect by the body it made.
		body := &patientBody{r.Body, wait}
		r = r.WithContext(r.Context())
		r.Body = body
	}
	q := &request{
		s: s, w: &response{ResponseWriter: w, wait: wait}, r: r,
		started: s.cfg.Clock(), length: r.ContentLength, body: r.Body,
	}
	q.id, q.hostID = newIDs()
	h := w.Header()
	h.Set("Server", "Hallig")
	h.Set("X-Amz-Request-Id", q.id)
	h.Set("X-Amz-Id-2", q.hostID)
	var failed *Error
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler { //nolint:errorlint // the very value is meant
				panic(p)
			}
			s.cfg.Log.ErrorContext(r.Context(), "request panicked", "request", q.id, "err", p, "stack", string(debug.Stack()))
			failed = fail("InternalError")
			s.finish(q, failed)
			if q.w.status != failed.Status {
				panic(http.ErrAbortHandler)
			}
			return
		}
		s.finish(q, failed)
	}()
	if err := s.serve(r.Context(), q); err != nil {
		failed = fromError(err)
	}
}

// serve takes the request through the door.
func (s *Server) serve(ctx context.Context, q *request) error {
	if n := headerSize(q.r); n > s.cfg.MaxHeader {
		return fail("RequestHeaderSectionTooLarge").With("MaxSizeAllowed", itoa(s.cfg.MaxHeader))
	}
	var err error
	if q.query, err = url.ParseQuery(q.r.URL.RawQuery); err != nil {
		return fail("InvalidURI").Because(err)
	}
	a, err := parseAddress(q.r, s.cfg.Domains)
	q.bucketName, q.key, q.virtualHost = a.bucket, a.key, a.virtualHost
	if err != nil {
		return err
	}
	if done, err := s.website(ctx, q); done || err != nil {
		return err
	}
	if q.r.Method == http.MethodOptions {
		return s.preflight(ctx, q)
	}
	if q.op, err = s.router.find(q.r.Method, a.scope(), q.query, q.r.Header); err != nil {
		return err
	}
	if err := s.cors(ctx, q); err != nil {
		return err
	}
	if err := s.authenticate(ctx, q); err != nil {
		return err
	}
	// A presigned query may stand for headers, and these may select the row.
	if q.op, err = s.router.find(q.r.Method, a.scope(), q.query, q.r.Header); err != nil {
		return err
	}
	if err := q.parseVersion(); err != nil {
		return err
	}
	if err := s.authorize(ctx, q); err != nil {
		return err
	}
	return q.op.handle(s, q.withRequester(ctx), q)
}

// scope returns what the address names.
func (a address) scope() scope {
	switch {
	case a.bucket == "":
		return scopeService
	case a.key == "":
		return scopeBucket
	}
	return scopeObject
}

// parseVersion reads the versionId parameter. An empty one is none, as several
// SDKs send it; a malformed one is InvalidArgument.
func (q *request) parseVersion() error {
	if a := (address{bucket: q.bucketName, key: q.key}); a.scope() != scopeObject || !q.query.Has("versionId") {
		return nil
	}
	text := q.query.Get("versionId")
	if text == "" {
		return nil
	}
	v, err := checkVersionID(text)
	q.version, q.versioned = v, true
	return err
}

// checkVersionID reads a client's version id. Well-formed ids of other stores,
// which clients that moved here may still know, name a version that never
// exists; anything else is InvalidArgument.
func checkVersionID(s string) (catalog.VersionID, error) {
	v := catalog.VersionID(s)
	if v == catalog.NullVersion {
		return v, nil
	}
	if _, err := v.Revision(); err == nil && len(s) == len(catalog.RevisionID(0)) {
		return v, nil
	}
	if foreignVersionID(s) {
		return catalog.RevisionID(0), nil
	}
	return "", invalidArgument("versionId", s, "Invalid version id specified")
}

// foreignVersionID reports whether s looks like an id that Amazon (32
// characters), MinIO (a UUID) or VersityGW (a ULID, 26) makes.
func foreignVersionID(s string) bool {
	for _, c := range []byte(s) {
		alphanumeric := c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		switch {
		case alphanumeric:
		case len(s) == 32 && (c == '.' || c == '_' || c == '-'):
		case len(s) == 36 && c == '-':
		default:
			return false
		}
	}
	return len(s) == 26 || len(s) == 32 || len(s) == 36
}

// finish answers a failed request and reports it.
func (s *Server) finish(q *request, failed *Error) {
	if failed != nil {
		s.refuse(q, failed)
	}
	s.observe(q, failed)
}

// refuse sends the error. If the answer has begun the connection is broken
// instead, so that no client takes what it has for the whole.
func (s *Server) refuse(q *request, e *Error) {
	level := slog.LevelDebug
	if e.Status >= 500 && !errors.Is(e, context.Canceled) {
		level = slog.LevelError
	}
	s.cfg.Log.Log(q.r.Context(), level, "request failed", "request", q.id, "method", q.r.Method,
		"bucket", q.bucketName, "key", q.key, "code", e.Code, "status", e.Status, "err", e)
	if q.w.status != 0 {
		s.observe(q, e)
		panic(http.ErrAbortHandler)
	}
	h := q.w.Header()
	if e.Status == http.StatusNotModified {
		h.Del("Content-Type")
		q.w.WriteHeader(e.Status)
		return
	}
	for _, name := range []string{"Content-Length", "Content-Range", "Content-Encoding", "Content-Disposition", "Cache-Control", "ETag", "Accept-Ranges"} {
		h.Del(name)
	}
	h.Set("Content-Type", "application/xml")
	if e.Status == http.StatusServiceUnavailable {
		h.Set("Retry-After", "1")
	}
	body := e.body(q.id, q.hostID)
	if q.r.Method == http.MethodHead {
		q.w.WriteHeader(e.Status)
		return
	}
	h.Set("Content-Length", itoa(len(body)))
	q.w.WriteHeader(e.Status)
	_, _ = q.w.Write(body) // a client that went away is no error of ours
}

func (s *Server) observe(q *request, failed *Error) {
	if s.cfg.Observe == nil || q.observed {
		return
	}
	q.observed = true
	rec := Record{
		Time: q.started, Duration: s.cfg.Clock().Sub(q.started), RequestID: q.id, HostID: q.hostID, Request: q.r,
		Bucket: q.bucketName, Key: q.key, Version: q.version, Status: q.w.status,
		BytesIn: q.r.ContentLength, BytesOut: q.w.bytes, ObjectSize: q.objectSize,
		Requester: q.auth.user, AccessKey: q.auth.accessKey,
	}
	if q.op != nil {
		rec.Operation = q.op.name
	}
	if failed != nil {
		rec.Code = failed.Code
	}
	s.cfg.Observe(rec)
}

// headerSize is the bytes of the request line's and the headers' text.
func headerSize(r *http.Request) int {
	n := 0
	for name, values := range r.Header {
		for _, v := range values {
			n += len(name) + len(v) + len(": \r\n")
		}
	}
	return n
}

// newIDs returns a request id, 16 upper-case hexadecimal digits, and a host id,
// base64 of 32 bytes, as S3's ids look.
func newIDs() (request, host string) {
	var raw [40]byte
	rand.Read(raw[:]) //nolint:errcheck // never fails
	const digits = "0123456789ABCDEF"
	var text [16 + 44]byte
	for i, b := range raw[:8] {
		text[2*i], text[2*i+1] = digits[b>>4], digits[b&15]
	}
	base64.StdEncoding.Encode(text[16:], raw[8:])
	both := string(text[:])
	return both[:16], both[16:]
}
