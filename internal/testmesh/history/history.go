// Package history records what clients of an S3 store did and saw, and checks
// that it could have happened one operation at a time: linearizability, by
// porcupine, for every key by itself.
//
// A key is a register with S3's rules: puts and completed multipart uploads,
// deletes, reads, all with If-Match and If-None-Match. A listing counts as one
// read of every key it should have shown, at some moment while it ran. A write
// whose outcome nobody knows may have happened at any time since it was sent,
// or never; a read whose outcome is unknown says nothing.
package history

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// A Kind is what an operation does.
type Kind string

// The kinds. Complete is CompleteMultipartUpload.
const (
	Put      Kind = "put"
	Complete Kind = "complete"
	Delete   Kind = "delete"
	Get      Kind = "get"
	Head     Kind = "head"
	List     Kind = "list"
)

// Writes reports whether operations of the kind change the key.
func (k Kind) Writes() bool { return k == Put || k == Complete || k == Delete }

// An Outcome is how an operation ended.
type Outcome string

// The outcomes.
const (
	OK          Outcome = "ok"
	NotFound    Outcome = "not found"    // 404
	Refused     Outcome = "refused"      // 412: the condition does not hold
	NotModified Outcome = "not modified" // 304
	Failed      Outcome = "failed"       // it surely changed nothing (409, a refused connection)
	Unknown     Outcome = "unknown"      // a timeout, a broken connection, 5xx
)

// An Op is what a client asks for.
type Op struct {
	Kind        Kind   `json:"kind"`
	Key         string `json:"key"`
	Value       string `json:"value,omitempty"` // of a put or complete: Digest of the body
	ETag        string `json:"etag,omitempty"`  // of a put or complete: what its ETag must be
	IfMatch     string `json:"if_match,omitempty"`
	IfNoneMatch string `json:"if_none_match,omitempty"` // an ETag or "*"
}

// A Result is what a client saw. Value is needed for Get, ETag for Get, Head,
// List, Put and Complete that are OK.
type Result struct {
	Outcome Outcome `json:"outcome"`
	Value   string  `json:"value,omitempty"`
	ETag    string  `json:"etag,omitempty"`
}

// A Record is one operation with its result, between two moments since the
// history began.
type Record struct {
	Client int `json:"client"`
	Op
	Result Result        `json:"result"`
	Call   time.Duration `json:"call"`
	Return time.Duration `json:"return"` // of an unknown outcome: when the client gave up
}

// Digest returns the Value of a body.
func Digest(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:16])
}

// A History collects the records of many clients.
type History struct {
	begun   time.Time
	mu      sync.Mutex
	records []Record
	open    map[*Pending]struct{}
}

// New returns an empty History that begins now. Every key is absent at first.
func New() *History { return &History{begun: time.Now(), open: map[*Pending]struct{}{}} }

// A Pending operation has begun.
type Pending struct {
	h   *History
	rec Record
}

// Begin notes that a client is about to send an operation.
func (h *History) Begin(client int, op Op) *Pending {
	p := &Pending{h: h, rec: Record{Client: client, Op: op, Call: time.Since(h.begun)}}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.open[p] = struct{}{}
	return p
}

// End notes the result.
func (p *Pending) End(r Result) {
	p.rec.Return, p.rec.Result = time.Since(p.h.begun), r
	p.h.mu.Lock()
	defer p.h.mu.Unlock()
	delete(p.h.open, p)
	p.h.records = append(p.h.records, p.rec)
}

// EndList notes what a listing showed: the ETag of every key it showed. keys
// are those that it would have to show if they exist. A listing that failed
// says nothing: end it with End.
func (p *Pending) EndList(keys []string, shown map[string]string) {
	end := time.Since(p.h.begun)
	p.h.mu.Lock()
	defer p.h.mu.Unlock()
	delete(p.h.open, p)
	for _, key := range keys {
		rec := p.rec
		rec.Key, rec.Return, rec.Result = key, end, Result{Outcome: NotFound}
		if etag, ok := shown[key]; ok {
			rec.Result = Result{Outcome: OK, ETag: etag}
		}
		p.h.records = append(p.h.records, rec)
	}
}

// Records returns what has ended, in the order of its end, and what has not
// ended yet as unknown.
func (h *History) Records() []Record {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := append([]Record(nil), h.records...)
	for p := range h.open {
		rec := p.rec
		rec.Return, rec.Result = time.Since(h.begun), Result{Outcome: Unknown}
		all = append(all, rec)
	}
	return all
}

// Write writes records as lines of JSON.
func Write(w io.Writer, records []Record) error {
	buf := bufio.NewWriter(w)
	enc := json.NewEncoder(buf)
	for _, r := range records {
		if err := enc.Encode(r); err != nil {
			return fmt.Errorf("write history: %w", err)
		}
	}
	return buf.Flush()
}

// Read reads what Write wrote.
func Read(r io.Reader) ([]Record, error) {
	dec := json.NewDecoder(r)
	var records []Record
	for {
		var rec Record
		switch err := dec.Decode(&rec); {
		case errors.Is(err, io.EOF):
			return records, nil
		case err != nil:
			return nil, fmt.Errorf("read history: record %d: %w", len(records), err)
		}
		records = append(records, rec)
	}
}
