package remote

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/mesh"
	"github.com/hallig-cloud/hallig/shard"
)

// Defaults of HandlerConfig.
const (
	DefaultPutMemory = 256 << 20
	DefaultGetMemory = 64 << 20
	DefaultPatience  = 30 * time.Second
)

// HandlerConfig configures a handler. Drives is required.
type HandlerConfig struct {
	// Drives returns a drive of this node; false if it is not here.
	Drives func(hallig.DriveID) (shard.Store, bool)
	// PutMemory and GetMemory bound the bytes of bodies that all PUTs, and all
	// GETs, hold at a time; further ones wait. 0: the defaults. They are at
	// least one largest shard and one window.
	PutMemory, GetMemory int64
	// Patience is how long a caller may take to send or to take the next
	// 256 KiB; 0: DefaultPatience.
	Patience time.Duration
}

// step is what must be sent or taken within HandlerConfig.Patience, in bytes.
const step = 256 << 10

// Handler returns the handler that serves this node's drives under Prefix. The
// mesh registers it for the roles that may read and write shards.
func Handler(cfg HandlerConfig) http.Handler {
	h := &handler{cfg: cfg, epoch: hallig.NewID(), order: map[hallig.DriveID]uint64{}}
	h.cfg.Patience = cmp.Or(cfg.Patience, DefaultPatience)
	h.puts = semaphore.NewWeighted(max(cmp.Or(cfg.PutMemory, DefaultPutMemory), maxPut))
	h.gets = semaphore.NewWeighted(max(cmp.Or(cfg.GetMemory, DefaultGetMemory), window))
	mux := http.NewServeMux()
	for pattern, serve := range map[string]func(http.ResponseWriter, *http.Request, target) error{
		"PUT /v1/shard/{drive}/{id}":         h.put,
		"GET /v1/shard/{drive}/{id}":         h.get,
		"GET /v1/shard/{drive}/{id}/header":  h.header,
		"POST /v1/shard/{drive}/{id}/verify": h.verify,
		"POST /v1/shard/{drive}/delete":      h.remove,
		"GET /v1/shard/{drive}/walk":         h.walk,
		"GET /v1/shard/{drive}/quarantined":  h.quarantined,
		"POST /v1/shard/{drive}/scrub":       h.scrub,
		"GET /v1/shard/{drive}/status":       h.status,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { h.serve(w, r, serve) })
	}
	mux.HandleFunc(Prefix, func(w http.ResponseWriter, r *http.Request) {
		mesh.WriteError(w, fmt.Errorf("no such call of a drive: %w", hallig.ErrUnsupported))
	})
	return mux
}

// maxPut bounds the body of a PUT, in bytes.
const maxPut = 4 + maxPreface + shard.MaxLength + 4

type handler struct {
	cfg        HandlerConfig
	puts, gets *semaphore.Weighted // bytes
	buffers    sync.Pool           // *[]byte
	epoch      hallig.ID

	mu    sync.Mutex
	order map[hallig.DriveID]uint64
}

// target is what a request is about.
type target struct {
	drive hallig.DriveID
	store shard.Store
	id    shard.ID // zero where the path has none
}

// errAnswered is returned by a call that has begun its answer.
var errAnswered = errors.New("answered")

// serve finds the drive, and answers what a call returns.
func (h *handler) serve(w http.ResponseWriter, r *http.Request, call func(http.ResponseWriter, *http.Request, target) error) {
	t, err := h.target(r)
	if err == nil {
		err = call(w, r, t)
	}
	if err == errAnswered {
		return
	}
	if t.store != nil {
		w.Header().Set(statusHeader, h.statusOf(t).text())
	}
	if err != nil {
		mesh.WriteError(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (h *handler) target(r *http.Request) (target, error) {
	var t target
	var err error
	if t.drive, err = hallig.ParseID(r.PathValue("drive")); err != nil {
		return t, err
	}
	if text := r.PathValue("id"); text != "" {
		if t.id, err = parseID(text); err != nil {
			return t, err
		}
	}
	store, ok := h.cfg.Drives(t.drive)
	if !ok || store == nil {
		return t, fmt.Errorf("drive %s is not at this node: %w", t.drive, hallig.ErrUnavailable)
	}
	t.store = store
	return t, nil
}

// statusOf numbers a status, so that whoever gets several knows the newest.
func (h *handler) statusOf(t target) wireStatus {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.order[t.drive]++
	s := t.store.Status()
	return wireStatus{
		Epoch: h.epoch, Order: h.order[t.drive], State: s.State, Reason: s.Reason[:min(len(s.Reason), maxReason)],
		Shards: s.Shards, Live: s.Live, Dead: s.Dead, Free: s.Free, Total: s.Total, Quarantined: s.Quarantined,
	}
}

func (h *handler) buffer() *[]byte {
	if b, ok := h.buffers.Get().(*[]byte); ok {
		return b
	}
	return new([]byte)
}

// read reads a body of a known length into the buffer, in steps that each have
// a time limit.
func (h *handler) read(w http.ResponseWriter, r *http.Request, buffer *[]byte, n int) ([]byte, error) {
	if cap(*buffer) < n {
		*buffer = make([]byte, n)
	}
	b := (*buffer)[:n]
	control := http.NewResponseController(w)
	for done := 0; done < n; {
		// Where no deadline can be set, as in tests without a connection, there is none.
		_ = control.SetReadDeadline(time.Now().Add(h.cfg.Patience))
		to := min(n, done+step)
		if _, err := io.ReadFull(r.Body, b[done:to]); err != nil {
			return nil, fmt.Errorf("body of %d bytes ends after %d: %w: %w", n, done, err, hallig.ErrInvalid)
		}
		done = to
	}
	return b, nil
}

func (h *handler) put(w http.ResponseWriter, r *http.Request, t target) error {
	n := r.ContentLength
	if n < 8 || n > maxPut {
		return fmt.Errorf("put shard %s: body of %d bytes, want 8 to %d: %w", t.id, n, maxPut, hallig.ErrTooLarge)
	}
	if err := h.puts.Acquire(r.Context(), n); err != nil {
		return err
	}
	defer h.puts.Release(n)
	buffer := h.buffer()
	defer h.buffers.Put(buffer)
	b, err := h.read(w, r, buffer, int(n))
	if err != nil {
		return fmt.Errorf("put shard %s: %w", t.id, err)
	}
	header, body, err := parsePut(b)
	if err != nil {
		return fmt.Errorf("put shard %s: %w", t.id, err)
	}
	if header.ID != t.id {
		return fmt.Errorf("put shard %s: the header is of %s: %w", t.id, header.ID, hallig.ErrInvalid)
	}
	return t.store.Put(r.Context(), header, body)
}

// number reads a parameter; absent is the default.
func number(r *http.Request, name string, absent int64) (int64, error) {
	s := r.URL.Query().Get(name)
	if s == "" {
		return absent, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: want a number: %w", name, hallig.ErrInvalid)
	}
	return n, nil
}

// get sends a range window by window. What fails within the first is an answer
// of its own; what fails later ends the answer with the error.
func (h *handler) get(w http.ResponseWriter, r *http.Request, t target) error {
	off, err := number(r, "off", 0)
	if err != nil {
		return err
	}
	n, err := number(r, "n", -1)
	if err != nil {
		return err
	}
	if err := h.gets.Acquire(r.Context(), window); err != nil {
		return err
	}
	defer h.gets.Release(window)
	buffer := h.buffer()
	defer h.buffers.Put(buffer)
	first := windowFrom(off)
	if n >= 0 {
		first = min(first, n)
	}
	header, b, err := t.store.Get(r.Context(), t.id, off, first, (*buffer)[:0])
	if err != nil {
		return err
	}
	*buffer = b
	preface, err := appendPreface(nil, header)
	if err != nil {
		return err
	}
	total := clip(int64(header.Length), off, n)
	out := &sender{w: w, control: http.NewResponseController(w), patience: h.cfg.Patience}
	crc := sum(sum(0, preface), b)
	out.send(preface)
	out.run(b)
	for sent := int64(len(b)); sent < total && out.err == nil; sent += int64(len(b)) {
		at := off + sent
		_, b, err = t.store.Get(r.Context(), t.id, at, min(windowFrom(at), total-sent), (*buffer)[:0])
		if err == nil && len(b) == 0 {
			err = fmt.Errorf("get shard %s: it ends after %d of %d bytes: %w", t.id, sent, total, hallig.ErrCorrupt)
		}
		if err != nil {
			out.fail(err)
			return errAnswered
		}
		*buffer = b
		crc = sum(crc, b)
		out.run(b)
	}
	out.send(binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, endOfBody), crc))
	return errAnswered
}

// windowFrom is how much to read from off: to the end of a window, so that no
// block is read twice.
func windowFrom(off int64) int64 { return window - max(off, 0)%window }

// clip is the length of the range [off, off+n) of length bytes; n < 0 is to the end.
func clip(length, off, n int64) int64 {
	left := max(0, length-off)
	if n >= 0 {
		left = min(left, n)
	}
	return left
}

// A sender writes an answer to a caller that may be slow, or gone.
type sender struct {
	w        http.ResponseWriter
	control  *http.ResponseController
	patience time.Duration
	err      error
}

func (s *sender) send(b []byte) {
	for len(b) > 0 && s.err == nil {
		_ = s.control.SetWriteDeadline(time.Now().Add(s.patience)) // as in read
		n := min(len(b), step)
		_, s.err = s.w.Write(b[:n])
		b = b[n:]
	}
}

// run sends a run of bytes with its length before it.
func (s *sender) run(b []byte) {
	if len(b) > 0 {
		s.send(binary.BigEndian.AppendUint32(nil, uint32(len(b))))
		s.send(b)
	}
}

// fail ends an answer that has begun.
func (s *sender) fail(err error) {
	text := mesh.AppendError(nil, err)
	b := binary.BigEndian.AppendUint32(nil, failedBody)
	s.send(append(binary.BigEndian.AppendUint32(b, uint32(len(text))), text...))
}

// finish sends a whole answer.
func (h *handler) finish(w http.ResponseWriter, t target, b []byte) error {
	w.Header().Set(statusHeader, h.statusOf(t).text())
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	out := &sender{w: w, control: http.NewResponseController(w), patience: h.cfg.Patience}
	out.send(b)
	return errAnswered
}

func (h *handler) header(w http.ResponseWriter, r *http.Request, t target) error {
	header, err := t.store.Stat(r.Context(), t.id)
	if err != nil {
		return err
	}
	preface, err := appendPreface(nil, header)
	if err != nil {
		return err
	}
	return h.finish(w, t, binary.BigEndian.AppendUint32(preface, sum(0, preface)))
}

func (h *handler) verify(_ http.ResponseWriter, r *http.Request, t target) error {
	return t.store.Verify(r.Context(), t.id)
}

func (h *handler) status(http.ResponseWriter, *http.Request, target) error { return nil }

func (h *handler) remove(w http.ResponseWriter, r *http.Request, t target) error {
	n := r.ContentLength
	if n < 4 || n > batchIDs*shard.IDSize+4 || (n-4)%shard.IDSize != 0 {
		return fmt.Errorf("delete shards: body of %d bytes: %w", n, hallig.ErrTooLarge)
	}
	if err := h.puts.Acquire(r.Context(), n); err != nil {
		return err
	}
	defer h.puts.Release(n)
	b, err := h.read(w, r, new([]byte), int(n))
	if err != nil {
		return fmt.Errorf("delete shards: %w", err)
	}
	if sum(0, b[:n-4]) != binary.BigEndian.Uint32(b[n-4:]) {
		return fmt.Errorf("delete shards: the checksum is wrong: %w", hallig.ErrInvalid)
	}
	var ids []shard.ID
	for b = b[:n-4]; len(b) > 0; b = b[shard.IDSize:] {
		id, err := shard.ParseID(b[:shard.IDSize])
		if err != nil {
			return err
		}
		ids = append(ids, id)
	}
	return t.store.Delete(r.Context(), ids...)
}

// after reads where a page begins.
func after(r *http.Request) (shard.ID, error) {
	s := r.URL.Query().Get("after")
	if s == "" {
		return shard.ID{}, nil
	}
	return parseID(s)
}

var errPageFull = errors.New("the page is full")

func (h *handler) walk(w http.ResponseWriter, r *http.Request, t target) error {
	from, err := after(r)
	if err != nil {
		return err
	}
	var entries []byte
	err = t.store.Walk(r.Context(), from, func(i shard.Info) (err error) {
		if len(entries) >= pageInfos*infoSize {
			return errPageFull
		}
		entries, err = appendInfo(entries, i)
		return err
	})
	if err != nil && !errors.Is(err, errPageFull) {
		return err
	}
	return h.finish(w, t, appendPage(nil, entries, infoSize, err != nil))
}

func (h *handler) quarantined(w http.ResponseWriter, r *http.Request, t target) error {
	from, err := after(r)
	if err != nil {
		return err
	}
	ids, err := h.listQuarantined(r.Context(), t)
	if err != nil {
		return err
	}
	var entries []byte
	more := false
	for _, id := range ids {
		if id.Compare(from) <= 0 {
			continue
		}
		if more = len(entries) >= pageInfos*shard.IDSize; more {
			break
		}
		if entries, err = id.AppendBinary(entries); err != nil {
			return err
		}
	}
	return h.finish(w, t, appendPage(nil, entries, shard.IDSize, more))
}

func (h *handler) listQuarantined(ctx context.Context, t target) ([]shard.ID, error) {
	s, ok := t.store.(shard.Scrubber)
	if !ok {
		return nil, fmt.Errorf("drive %s cannot be scrubbed: %w", t.drive, hallig.ErrUnsupported)
	}
	return s.Quarantined(ctx)
}

func (h *handler) scrub(w http.ResponseWriter, r *http.Request, t target) error {
	limit, err := number(r, "limit", 0)
	if err != nil {
		return err
	}
	n := r.ContentLength
	if n < 0 || n > maxCursor {
		return fmt.Errorf("scrub: cursor of %d bytes, at most %d: %w", n, maxCursor, hallig.ErrTooLarge)
	}
	cursor, err := h.read(w, r, new([]byte), int(n))
	if err != nil {
		return fmt.Errorf("scrub: %w", err)
	}
	if r.URL.Query().Get("start") == "1" {
		cursor = nil
	}
	s, ok := t.store.(shard.Scrubber)
	if !ok {
		return fmt.Errorf("drive %s cannot be scrubbed: %w", t.drive, hallig.ErrUnsupported)
	}
	f, next, err := s.Scrub(r.Context(), cursor, limit)
	if err != nil {
		return err
	}
	out := wireFindings{Shards: f.Shards, Bytes: f.Bytes, Unnamed: f.Unnamed, Next: next, More: next != nil}
	for _, id := range f.Bad {
		b, err := id.AppendBinary(nil)
		if err != nil {
			return err
		}
		out.Bad = append(out.Bad, b)
	}
	b, err := modes().enc.Marshal(out)
	if err != nil {
		return fmt.Errorf("scrub: %w", err)
	}
	return h.finish(w, t, b)
}
