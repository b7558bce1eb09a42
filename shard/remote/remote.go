package remote

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/mesh"
	"github.com/hallig-cloud/hallig/shard"
)

// A Caller calls a node; *mesh.Client is one.
type Caller interface {
	Do(*http.Request) (*http.Response, error)
	Node() hallig.NodeID
	State() mesh.PeerState
}

// DefaultFresh is Config.Fresh where it is 0.
const DefaultFresh = time.Second

// Config configures a Store. Node and Drive are required.
type Config struct {
	Node  Caller
	Drive hallig.DriveID
	// Fresh is how old what Status says may be before it is asked for anew;
	// 0: DefaultFresh.
	Fresh time.Duration
}

// A Store is one drive of another node: a shard.Store, and a shard.Scrubber if
// the drive is one there. Beside the errors of shard.Store, which travel, calls
// fail with hallig.ErrUnavailable when the node cannot be reached (whether the
// call had its effect is then not known), and with hallig.ErrCorrupt when it
// answers with something else than was asked for.
type Store struct {
	cfg Config

	mu        sync.Mutex
	closed    bool
	known     wireStatus
	when      time.Time // when known was learned, or last asked for in vain
	trouble   string    // why nothing newer is known; empty: known is what it says
	asking    bool
	refreshes sync.WaitGroup
	ctx       context.Context // of refreshes; ended by Close
	cancel    context.CancelFunc
}

var (
	_ shard.Store    = (*Store)(nil)
	_ shard.Scrubber = (*Store)(nil)
	_ Caller         = (*mesh.Client)(nil)
)

// New returns the store, and asks for the drive's status in the background.
// Close ends it.
func New(cfg Config) *Store {
	s := &Store{cfg: cfg, trouble: "its node has not answered yet"}
	s.cfg.Fresh = cmp.Or(cfg.Fresh, DefaultFresh)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ask()
	return s
}

// Close ends what runs in the background. Calls under way go on.
func (s *Store) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.refreshes.Wait()
	return nil
}

// Status implements shard.Store: what the node last said of the drive, with
// this or any other call. It never waits; when that is older than Config.Fresh
// the node is asked in the background. While the node is down, or as long as it
// has never answered, the state is shard.StateUnreachable.
func (s *Store) Status() shard.Status {
	down := s.cfg.Node.State() == mesh.PeerDown
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.when) > s.cfg.Fresh {
		s.ask()
	}
	st := s.known.status(s.cfg.Drive)
	switch {
	case down:
		st.State, st.Reason = shard.StateUnreachable, "node "+s.cfg.Node.Node().String()+" does not answer"
	case s.trouble != "":
		st.State, st.Reason = shard.StateUnreachable, s.trouble
	}
	return st
}

// ask starts a refresh, if none is under way. s.mu is held.
func (s *Store) ask() {
	if s.asking || s.closed {
		return
	}
	s.asking = true
	s.refreshes.Go(func() {
		err := s.Refresh(s.ctx)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.asking = false
		if err == nil || s.ctx.Err() != nil {
			return
		}
		s.when = time.Now()
		// A node that is gone for a moment takes nothing back of what it said.
		var said *mesh.RemoteError
		if errors.As(err, &said) || s.known.Epoch.IsZero() {
			s.trouble = err.Error()
		}
	})
}

// refreshTime bounds a refresh.
const refreshTime = 10 * time.Second

// Refresh asks the node for the drive's status and waits for the answer.
func (s *Store) Refresh(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, refreshTime)
	defer cancel()
	return s.try(ctx, "status", func(ctx context.Context) error {
		answer, err := s.send(ctx, http.MethodGet, "status", nil)
		return discard(answer, err)
	})
}

// learn takes note of a status that came with an answer.
func (s *Store) learn(text string) {
	w, err := parseStatus(text)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.when, s.trouble = time.Now(), ""
	if w.Epoch != s.known.Epoch || w.Order > s.known.Order {
		s.known = w
	}
}

// A body is a request's body in parts, that can be sent again.
type body [][]byte

func (b body) reader() io.ReadCloser {
	readers := make([]io.Reader, len(b))
	for i, part := range b {
		readers[i] = bytes.NewReader(part)
	}
	return io.NopCloser(io.MultiReader(readers...))
}

// send calls the node and returns an answer of status 2xx.
func (s *Store) send(ctx context.Context, method, path string, b body) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, "https://mesh"+Prefix+s.cfg.Drive.String()+"/"+path, nil)
	if err != nil {
		return nil, err
	}
	for _, part := range b {
		r.ContentLength += int64(len(part))
	}
	if r.ContentLength > 0 {
		r.Body = b.reader()
		r.GetBody = func() (io.ReadCloser, error) { return b.reader(), nil }
	}
	answer, err := s.cfg.Node.Do(r)
	if err != nil {
		return nil, err
	}
	if text := answer.Header.Get(statusHeader); text != "" {
		s.learn(text)
	}
	if err := mesh.CheckAnswer(s.cfg.Node.Node(), answer); err != nil {
		return nil, err
	}
	return answer, nil
}

// discard reads an answer that has no body.
func discard(answer *http.Response, err error) error {
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, io.LimitReader(answer.Body, maxError))
	return err
}

// try makes a call, and makes it again, once, when a connection broke under it:
// not when the node said why it failed, nor when it is down. What it returns
// is the caller's own context error or wraps a sentinel.
func (s *Store) try(ctx context.Context, what string, call func(context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := call(ctx)
	var said *mesh.RemoteError
	if err != nil && ctx.Err() == nil && !errors.As(err, &said) && !errors.Is(err, hallig.ErrCorrupt) && s.cfg.Node.State() != mesh.PeerDown {
		err = call(ctx)
	}
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("%s on drive %s: %w", what, s.cfg.Drive, known(err))
}

// known makes errors of reading an answer, which wrap no sentinel, unavailable.
func known(err error) error {
	var said *mesh.RemoteError
	if errors.As(err, &said) {
		return err
	}
	for _, sentinel := range []error{hallig.ErrUnavailable, hallig.ErrCorrupt, hallig.ErrDenied, hallig.ErrForeign, hallig.ErrInvalid} {
		if errors.Is(err, sentinel) {
			return err
		}
	}
	return fmt.Errorf("%w: %w", err, hallig.ErrUnavailable)
}

// Put implements shard.Store.
func (s *Store) Put(ctx context.Context, h shard.Header, content []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := h.Check(content); err != nil {
		return err
	}
	preface, err := appendPreface(nil, h)
	if err != nil {
		return err
	}
	trailer := binary.BigEndian.AppendUint32(nil, sum(sum(0, preface), content))
	return s.try(ctx, "put shard "+h.ID.String(), func(ctx context.Context) error {
		return discard(s.send(mesh.Long(ctx), http.MethodPut, formatID(h.ID), body{preface, content, trailer}))
	})
}

// shortGet is the length up to which a GET counts as a short call, in bytes.
const shortGet = 256 << 10

// Get implements shard.Store.
func (s *Store) Get(ctx context.Context, id shard.ID, off, n int64, dst []byte) (shard.Header, []byte, error) {
	if off < 0 {
		return shard.Header{}, dst, fmt.Errorf("get shard %s from byte %d: %w", id, off, hallig.ErrInvalid)
	}
	path := formatID(id) + "?off=" + strconv.FormatInt(off, 10) + "&n=" + strconv.FormatInt(n, 10)
	var header shard.Header
	out := dst
	err := s.try(ctx, "get shard "+id.String(), func(ctx context.Context) error {
		if n < 0 || n > shortGet {
			ctx = mesh.Long(ctx)
		}
		answer, err := s.send(ctx, http.MethodGet, path, nil)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		header, out, err = readRange(answer.Body, s.cfg.Node.Node(), id, off, n, dst)
		return err
	})
	if err != nil {
		if errors.Is(err, hallig.ErrCorrupt) {
			s.mu.Lock()
			s.ask() // it may be in quarantine now
			s.mu.Unlock()
		}
		return shard.Header{}, dst, err
	}
	return header, out, nil
}

// readRange reads the answer to a GET and appends its bytes to dst; on an error
// what it returns is of no use. An answer that is not what was asked for, or
// whose checksum is wrong, wraps hallig.ErrCorrupt.
func readRange(r io.Reader, node hallig.NodeID, id shard.ID, off, n int64, dst []byte) (shard.Header, []byte, error) {
	header, crc, err := readPreface(r)
	if err != nil {
		return header, dst, foul(err)
	}
	if header.ID != id {
		return header, dst, fmt.Errorf("node %s answers with shard %s: %w", node, header.ID, hallig.ErrCorrupt)
	}
	left := clip(int64(header.Length), off, n)
	dst = slices.Grow(dst, int(left))
	var word [4]byte
	for {
		if _, err := io.ReadFull(r, word[:]); err != nil {
			return header, dst, cut(err)
		}
		size := binary.BigEndian.Uint32(word[:])
		switch {
		case size == endOfBody:
			if _, err := io.ReadFull(r, word[:]); err != nil {
				return header, dst, cut(err)
			}
			if left != 0 || binary.BigEndian.Uint32(word[:]) != crc {
				return header, dst, fmt.Errorf("node %s answers %d bytes too few, or with a wrong checksum: %w", node, left, hallig.ErrCorrupt)
			}
			return header, dst, nil
		case size == failedBody:
			return header, dst, readFailure(r, node)
		case int64(size) > left:
			return header, dst, fmt.Errorf("node %s answers more bytes than were asked for: %w", node, hallig.ErrCorrupt)
		}
		at := len(dst)
		dst = dst[:at+int(size)]
		if _, err := io.ReadFull(r, dst[at:]); err != nil {
			return header, dst, cut(err)
		}
		crc = sum(crc, dst[at:])
		left -= int64(size)
	}
}

// readFailure reads the error that ends an answer.
func readFailure(r io.Reader, node hallig.NodeID) error {
	var word [4]byte
	if _, err := io.ReadFull(r, word[:]); err != nil {
		return cut(err)
	}
	text, err := io.ReadAll(io.LimitReader(r, int64(min(binary.BigEndian.Uint32(word[:]), maxError))))
	if err != nil {
		return cut(err)
	}
	return mesh.ParseError(node, text)
}

// cut makes an answer that ends early one of a broken connection.
func cut(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// foul makes a malformed answer corrupt.
func foul(err error) error {
	if errors.Is(err, hallig.ErrInvalid) || errors.Is(err, hallig.ErrTooLarge) {
		return fmt.Errorf("%v: %w", err, hallig.ErrCorrupt)
	}
	return cut(err)
}

// Stat implements shard.Store.
func (s *Store) Stat(ctx context.Context, id shard.ID) (shard.Header, error) {
	var header shard.Header
	err := s.try(ctx, "stat shard "+id.String(), func(ctx context.Context) error {
		answer, err := s.send(ctx, http.MethodGet, formatID(id)+"/header", nil)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		h, crc, err := readPreface(answer.Body)
		if err != nil {
			return foul(err)
		}
		var word [4]byte
		if _, err := io.ReadFull(answer.Body, word[:]); err != nil {
			return cut(err)
		}
		if h.ID != id || binary.BigEndian.Uint32(word[:]) != crc {
			return fmt.Errorf("node %s answers with the header of shard %s, or with a wrong checksum: %w", s.cfg.Node.Node(), h.ID, hallig.ErrCorrupt)
		}
		header = h
		return nil
	})
	return header, err
}

// Delete implements shard.Store. Many IDs go in several calls, in order: after
// an error the first ones may be gone.
func (s *Store) Delete(ctx context.Context, ids ...shard.ID) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for batch := range slices.Chunk(ids, batchIDs) {
		b := make([]byte, 0, len(batch)*shard.IDSize+4)
		for _, id := range batch {
			var err error
			if b, err = id.AppendBinary(b); err != nil {
				return err
			}
		}
		b = binary.BigEndian.AppendUint32(b, sum(0, b))
		err := s.try(ctx, fmt.Sprintf("delete %d shards", len(batch)), func(ctx context.Context) error {
			return discard(s.send(mesh.Long(ctx), http.MethodPost, "delete", body{b}))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Walk implements shard.Store. It asks page by page: nothing is held open at
// the node while fn runs, and a break costs one page.
func (s *Store) Walk(ctx context.Context, after shard.ID, fn func(shard.Info) error) error {
	for {
		entries, more, err := s.page(ctx, "walk shards", "walk", after, infoSize)
		if err != nil {
			return err
		}
		for ; len(entries) > 0; entries = entries[infoSize:] {
			i, err := parseInfo(entries)
			if err != nil {
				return err
			}
			if i.ID.Compare(after) <= 0 {
				return fmt.Errorf("walk shards: node %s lists %s after %s: %w", s.cfg.Node.Node(), i.ID, after, hallig.ErrCorrupt)
			}
			after = i.ID
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := fn(i); err != nil {
				return err
			}
		}
		if !more {
			return nil
		}
	}
}

func (s *Store) page(ctx context.Context, what, path string, after shard.ID, size int) (entries []byte, more bool, err error) {
	err = s.try(ctx, what, func(ctx context.Context) error {
		answer, err := s.send(mesh.Long(ctx), http.MethodGet, path+"?after="+formatID(after), nil)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		b, err := io.ReadAll(io.LimitReader(answer.Body, int64(maxPage(size))+1))
		if err != nil {
			return err
		}
		entries, more, err = parsePage(b, size)
		return err
	})
	return entries, more, err
}

// Verify implements shard.Store: the node reads its own drive.
func (s *Store) Verify(ctx context.Context, id shard.ID) error {
	return s.try(ctx, "verify shard "+id.String(), func(ctx context.Context) error {
		return discard(s.send(mesh.Long(ctx), http.MethodPost, formatID(id)+"/verify", nil))
	})
}

// Scrub implements shard.Scrubber: the node reads its own drive.
// hallig.ErrUnsupported if the drive there is no Scrubber.
func (s *Store) Scrub(ctx context.Context, cursor []byte, limit int64) (f shard.Findings, next []byte, err error) {
	path := "scrub?limit=" + strconv.FormatInt(limit, 10)
	if cursor == nil {
		path += "&start=1"
	}
	err = s.try(ctx, "scrub", func(ctx context.Context) error {
		answer, err := s.send(mesh.Long(ctx), http.MethodPost, path, body{cursor})
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		b, err := io.ReadAll(io.LimitReader(answer.Body, maxFindings+1))
		if err != nil {
			return err
		}
		f, next, err = parseFindings(b)
		return foul(err)
	})
	return f, next, err
}

func parseFindings(b []byte) (shard.Findings, []byte, error) {
	var w wireFindings
	if len(b) > maxFindings {
		return shard.Findings{}, nil, fmt.Errorf("findings of over %d bytes: %w", maxFindings, hallig.ErrTooLarge)
	}
	if err := unmarshal(b, &w); err != nil {
		return shard.Findings{}, nil, err
	}
	return w.findings()
}

// Quarantined implements shard.Scrubber.
func (s *Store) Quarantined(ctx context.Context) ([]shard.ID, error) {
	var all []shard.ID
	var after shard.ID
	for {
		entries, more, err := s.page(ctx, "list the quarantine", "quarantined", after, shard.IDSize)
		if err != nil {
			return nil, err
		}
		for ; len(entries) > 0; entries = entries[shard.IDSize:] {
			id, err := shard.ParseID(entries[:shard.IDSize])
			if err != nil {
				return nil, err
			}
			if id.Compare(after) <= 0 {
				return nil, fmt.Errorf("list the quarantine: node %s lists %s after %s: %w", s.cfg.Node.Node(), id, after, hallig.ErrCorrupt)
			}
			after = id
			all = append(all, id)
		}
		if !more {
			return all, nil
		}
	}
}
