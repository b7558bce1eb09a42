// Package admin is the operators' door: HTTP and JSON on an address of its
// own, loopback by default, for `hallig user`, `key`, `bucket`, `drive`,
// `keyring`, `status` and the like. Every request under /v1/ carries the
// node's admin token as a bearer token; /metrics, /healthz and /readyz are
// open to callers on the loopback interface and need the token from anywhere
// else.
//
// The package knows no service: what it offers comes in as interfaces, which
// node implements.
package admin

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"

	"github.com/hallig-cloud/hallig"
)

// MaxBody bounds a request's body, in bytes.
const MaxBody = 1 << 20

// ErrRefused means that arithmetic forbids what was asked: something would be
// lost. The message carries the arithmetic.
var ErrRefused = errors.New("refused")

// Users keeps users and their policies.
type Users interface {
	Users(ctx context.Context) ([]User, error)
	User(ctx context.Context, name string) (User, error)
	AddUser(ctx context.Context, u NewUser) (User, error)
	RemoveUser(ctx context.Context, name string) error
	Policies(ctx context.Context, user string) ([]Policy, error)
	SetPolicy(ctx context.Context, user string, p Policy) error
	RemovePolicy(ctx context.Context, user, policy string) error
}

// Keys keeps S3 access keys. user "" lists everybody's.
type Keys interface {
	Keys(ctx context.Context, user string) ([]Key, error)
	CreateKey(ctx context.Context, k NewKey) (Key, error)
	EnableKey(ctx context.Context, accessKey string, enabled bool) error
	DeleteKey(ctx context.Context, accessKey string) error
	NarrowKey(ctx context.Context, accessKey string, n Narrowing) error
	// RotateKey makes a key like another, and lets that one expire.
	RotateKey(ctx context.Context, accessKey string, s Succession) (Key, error)
}

// Buckets keeps buckets.
type Buckets interface {
	Buckets(ctx context.Context) ([]Bucket, error)
	Bucket(ctx context.Context, name string) (Bucket, error)
	CreateBucket(ctx context.Context, b NewBucket) (Bucket, error)
	RemoveBucket(ctx context.Context, name string) error
	SetSurvive(ctx context.Context, name, survive string) (Bucket, error)
}

// Drives adds and removes drives. A drive is named by its id, a unique prefix
// of it, or its path.
type Drives interface {
	Drives(ctx context.Context) ([]Drive, error)
	AddDrive(ctx context.Context, path string) (Drive, error)
	// ReplaceDrive makes path the successor of a failed, missing or lost drive.
	ReplaceDrive(ctx context.Context, drive, path string) (Drive, error)
	// RemoveDrive begins to drain a drive; it is gone when status says so. A
	// drive that is missing is declared lost instead. It is ErrRefused when
	// what is left would not keep the buckets' promises.
	RemoveDrive(ctx context.Context, drive string) (Drive, error)
}

// Sealing keeps the keyring.
type Sealing interface {
	Keyring(ctx context.Context) (Keyring, error)
	Protect(ctx context.Context, p Passphrase) error
	Unlock(ctx context.Context, p Passphrase) error
	Rotate(ctx context.Context, r Rotation) error
	Shares(ctx context.Context, w SharesWanted) (Shares, error)
	Recover(ctx context.Context, s Shares) error
	CreateEncryptorKey(ctx context.Context, name string) (EncryptorKey, error)
}

// Work starts and shows background work, and exports the catalog.
type Work interface {
	Status(ctx context.Context) (Status, error)
	StartScrub(ctx context.Context) (Task, error)
	Export(ctx context.Context, name string) (Export, error)
	Webhooks(ctx context.Context) ([]Webhook, error)
	AddWebhook(ctx context.Context, w Webhook) (Webhook, error)
	RemoveWebhook(ctx context.Context, name string) error
}

// Config is what a Server needs; every field but Log is required.
type Config struct {
	Token   string // at least 32 characters
	Users   Users
	Keys    Keys
	Buckets Buckets
	Drives  Drives
	Sealing Sealing
	Work    Work
	Metrics http.Handler // /metrics
	Ready   func() error // /readyz: nil when requests are served
	Log     *slog.Logger // nil: none
}

// Server is the door. It is an http.Handler.
type Server struct {
	cfg   Config
	token [32]byte
	mux   *http.ServeMux
}

// New returns a Server, or ErrInvalid for a short token.
func New(cfg Config) (*Server, error) {
	if len(cfg.Token) < 32 {
		return nil, fmt.Errorf("admin token of %d characters: at least 32 are needed: %w", len(cfg.Token), hallig.ErrInvalid)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{cfg: cfg, token: sha256.Sum256([]byte(cfg.Token)), mux: http.NewServeMux()}
	s.routes()
	return s, nil
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer func() {
		if p := recover(); p != nil {
			s.cfg.Log.ErrorContext(r.Context(), "admin request panicked", "path", r.URL.Path, "err", fmt.Sprint(p))
			writeError(w, errors.New("internal error; the node's log says more"))
		}
	}()
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	open := r.URL.Path == "/metrics" || r.URL.Path == "/healthz" || r.URL.Path == "/readyz"
	if !s.authenticated(r) && !(open && fromLoopback(r)) {
		h.Set("WWW-Authenticate", `Bearer realm="hallig"`)
		writeError(w, fmt.Errorf("the admin token is missing or wrong: it is in the file admin.token of the node's data directory (--data), or give HALLIG_ADMIN_TOKEN: %w", hallig.ErrDenied))
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, MaxBody)
	s.mux.ServeHTTP(w, r)
}

func (s *Server) authenticated(r *http.Request) bool {
	given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	sum := sha256.Sum256([]byte(given))
	return subtle.ConstantTimeCompare(sum[:], s.token[:]) == 1 && ok
}

// fromLoopback looks at the connection alone, never at a forwarded address.
func fromLoopback(r *http.Request) bool {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// handle makes a handler of a function from a decoded body to an answer. A
// body is required unless In is struct{}.
func handle[In, Out any](f func(r *http.Request, in In) (Out, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var in In
		if _, none := any(in).(struct{}); !none {
			d := json.NewDecoder(r.Body)
			d.DisallowUnknownFields()
			if err := d.Decode(&in); err != nil {
				writeError(w, fmt.Errorf("request body: %v: %w", err, hallig.ErrInvalid)) //nolint:errorlint // the cause is for people
				return
			}
			if _, err := d.Token(); !errors.Is(err, io.EOF) {
				writeError(w, fmt.Errorf("request body: something follows the JSON value: %w", hallig.ErrInvalid))
				return
			}
		}
		out, err := f(r, in)
		if err != nil {
			writeError(w, err)
			return
		}
		writeJSON(w, http.StatusOK, out)
	}
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		status, b = http.StatusInternalServerError, []byte(`{"error":{"kind":"failed","message":"encoding the answer failed"}}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // the client may be gone
}
