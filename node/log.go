package node

import (
	"bytes"
	"encoding/json"
	"io"
	"log" //nolint:depguard // net/http asks for its type
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/hallig-cloud/hallig/s3"
)

// newServerLog passes net/http's own complaints (mostly clients' broken
// connections) to the log, at debug level.
func newServerLog(l *slog.Logger) *log.Logger { //nolint:depguard // net/http asks for this type
	return slog.NewLogLogger(l.Handler(), slog.LevelDebug)
}

// accessLog writes one JSON line per S3 request. The request id joins it with
// the log and with what the client was told.
type accessLog struct {
	mu sync.Mutex
	w  io.Writer
}

// accessLine is one line of the access log.
type accessLine struct {
	Time      string  `json:"time"`
	Request   string  `json:"request"`
	Remote    string  `json:"remote"`
	Requester string  `json:"requester,omitempty"`
	AccessKey string  `json:"access_key,omitempty"`
	Operation string  `json:"operation,omitempty"`
	Method    string  `json:"method"`
	Path      string  `json:"path"`
	Bucket    string  `json:"bucket,omitempty"`
	Key       string  `json:"key,omitempty"`
	Status    int     `json:"status"`
	Code      string  `json:"code,omitempty"`
	In        int64   `json:"bytes_in"`
	Out       int64   `json:"bytes_out"`
	Millis    float64 `json:"ms"`
	Agent     string  `json:"user_agent,omitempty"`
}

// record writes a request's line. The query is left out: presigned URLs carry
// signatures in it.
func (a *accessLog) record(r s3.Record) {
	if a.w == nil {
		return
	}
	host, _, err := net.SplitHostPort(r.Request.RemoteAddr)
	if err != nil {
		host = r.Request.RemoteAddr
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err = e.Encode(accessLine{
		Time: r.Time.UTC().Format(time.RFC3339Nano), Request: r.RequestID, Remote: host, Requester: r.Requester, AccessKey: r.AccessKey,
		Operation: r.Operation, Method: r.Request.Method, Path: r.Request.URL.EscapedPath(), Bucket: r.Bucket, Key: r.Key,
		Status: r.Status, Code: r.Code, In: max(r.BytesIn, 0), Out: r.BytesOut,
		Millis: float64(r.Duration.Microseconds()) / 1000, Agent: r.Request.UserAgent(),
	})
	if err != nil {
		return // no value of these types fails to encode
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	_, _ = a.w.Write(b.Bytes()) // a full log disk must not stop requests
}
