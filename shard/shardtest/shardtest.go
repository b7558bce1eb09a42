// Package shardtest is the conformance suite of shard.Store: every drive, local,
// remote or in memory, passes it.
package shardtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/shard"
)

// A Corrupter is a Store whose stored bodies a test can damage unnoticed. The
// parts of the suite that need it are skipped for other stores.
type Corrupter interface {
	// CorruptShard changes the byte of the stored body at off.
	CorruptShard(id shard.ID, off int64) error
}

// Body returns n bytes that depend on seed.
func Body(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(seed, uint64(n)))
	for i := 0; i < n; i += 8 {
		v := r.Uint64()
		for j := i; j < min(n, i+8); j++ {
			b[j] = byte(v)
			v >>= 8
		}
	}
	return b
}

// Header returns a valid header for a body: number n of a made-up data id.
func Header(data byte, n int, body []byte) shard.Header {
	h := shard.Header{
		ID:     shard.ID{Stripe: uint32(n / 3), Index: uint16(n % 3)},
		Pool:   7,
		K:      2,
		M:      1,
		Length: uint32(len(body)),
		Stripe: uint32(2 * len(body)),
		Vouch:  Body(uint64(n), 40),
	}
	h.ID.Data[0], h.ID.Data[15] = data, 1
	h.Session[3] = data
	return h
}

// Run runs the suite; open returns a new, empty store for each test.
func Run(t *testing.T, open func(t *testing.T) shard.Store) {
	tests := []struct {
		name string
		run  func(t *testing.T, s shard.Store)
	}{
		{"PutGet", testPutGet},
		{"Ranges", testRanges},
		{"PutAgain", testPutAgain},
		{"Delete", testDelete},
		{"Walk", testWalk},
		{"Invalid", testInvalid},
		{"Canceled", testCanceled},
		{"Status", testStatus},
		{"Concurrent", testConcurrent},
		{"Quarantine", testQuarantine},
		{"Scrub", testScrub},
		{"Model", testModel},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, open(t)) })
	}
}

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) || want == nil && err != nil {
		t.Fatalf("%s: error %v, want %v", what, err, want)
	}
}

func put(t *testing.T, s shard.Store, h shard.Header, body []byte) {
	t.Helper()
	wantErr(t, "put", s.Put(t.Context(), h, body), nil)
}

func expect(t *testing.T, s shard.Store, want shard.Header, body []byte) {
	t.Helper()
	prefix := []byte("before")
	h, got, err := s.Get(t.Context(), want.ID, 0, -1, prefix)
	wantErr(t, "get", err, nil)
	if !bytes.Equal(got, append([]byte("before"), body...)) {
		t.Fatalf("get %s: wrong bytes (%d, want %d)", want.ID, len(got)-6, len(body))
	}
	sameHeader(t, h, want)
	h, err = s.Stat(t.Context(), want.ID)
	wantErr(t, "stat", err, nil)
	sameHeader(t, h, want)
}

func sameHeader(t *testing.T, got, want shard.Header) {
	t.Helper()
	if got.ID != want.ID || got.Session != want.Session || got.Pool != want.Pool || got.K != want.K || got.M != want.M ||
		got.Length != want.Length || got.Stripe != want.Stripe || !bytes.Equal(got.Vouch, want.Vouch) {
		t.Fatalf("header %+v, want %+v", got, want)
	}
}

var lengths = []int{0, 1, 511, 512, 513, 4096, 65535, shard.BlockSize - 1, shard.BlockSize, shard.BlockSize + 1, 3*shard.BlockSize + 77}

func testPutGet(t *testing.T, s shard.Store) {
	for i, n := range lengths {
		body := Body(uint64(i), n)
		put(t, s, Header(1, i, body), body)
	}
	largest := Body(99, shard.MaxLength)
	h := Header(2, 0, largest)
	h.Vouch = Body(5, shard.MaxVouch)
	put(t, s, h, largest)
	clear(largest) // a store retains neither
	clear(h.Vouch)
	h.Vouch = Body(5, shard.MaxVouch)
	expect(t, s, h, Body(99, shard.MaxLength))
	for i, n := range lengths {
		body := Body(uint64(i), n)
		expect(t, s, Header(1, i, body), body)
		wantErr(t, "verify", s.Verify(t.Context(), Header(1, i, body).ID), nil)
	}
	absent := Header(9, 0, nil).ID
	_, got, err := s.Get(t.Context(), absent, 0, -1, []byte("x"))
	wantErr(t, "get an absent shard", err, hallig.ErrNotFound)
	if string(got) != "x" {
		t.Fatalf("a failed get returned %q instead of dst", got)
	}
	_, err = s.Stat(t.Context(), absent)
	wantErr(t, "stat an absent shard", err, hallig.ErrNotFound)
	wantErr(t, "verify an absent shard", s.Verify(t.Context(), absent), hallig.ErrNotFound)
}

func testRanges(t *testing.T, s shard.Store) {
	body := Body(1, 3*shard.BlockSize+1000)
	h := Header(1, 0, body)
	put(t, s, h, body)
	r := rand.New(rand.NewPCG(1, 1))
	edges := []int64{0, 1, shard.BlockSize - 1, shard.BlockSize, shard.BlockSize + 1, 2 * shard.BlockSize, int64(len(body)) - 1, int64(len(body)), int64(len(body)) + 1, 1 << 40}
	for range 300 {
		off, n := r.Int64N(int64(len(body))+10), r.Int64N(int64(len(body)))
		if r.IntN(2) == 0 {
			off = edges[r.IntN(len(edges))]
		}
		switch r.IntN(4) {
		case 0:
			n = edges[r.IntN(len(edges))]
		case 1:
			n = -1
		}
		from := min(off, int64(len(body)))
		to := int64(len(body))
		if n >= 0 && n < to-from {
			to = from + n
		}
		_, got, err := s.Get(t.Context(), h.ID, off, n, nil)
		wantErr(t, fmt.Sprintf("get %d+%d", off, n), err, nil)
		if !bytes.Equal(got, body[from:to]) {
			t.Fatalf("get %d+%d: wrong bytes", off, n)
		}
	}
	_, _, err := s.Get(t.Context(), h.ID, -1, 5, nil)
	wantErr(t, "get from before the start", err, hallig.ErrInvalid)
}

func testPutAgain(t *testing.T, s shard.Store) {
	body := Body(1, 5000)
	h := Header(1, 0, body)
	put(t, s, h, body)
	put(t, s, h, body)
	other := bytes.Clone(body)
	other[4000] ^= 1
	wantErr(t, "put other bytes", s.Put(t.Context(), h, other), hallig.ErrExists)
	short := h
	short.Length--
	wantErr(t, "put fewer bytes", s.Put(t.Context(), short, body[:4999]), hallig.ErrExists)
	expect(t, s, h, body)
	next := h // another generation is another shard
	next.ID.Generation++
	put(t, s, next, other)
	expect(t, s, next, other)
	expect(t, s, h, body)
}

func testDelete(t *testing.T, s shard.Store) {
	var ids []shard.ID
	body := Body(1, 3000)
	for i := range 30 {
		put(t, s, Header(1, i, body), body)
		if i%2 == 0 {
			ids = append(ids, Header(1, i, body).ID)
		}
	}
	absent := Header(2, 0, body)
	wantErr(t, "delete", s.Delete(t.Context(), append(ids, absent.ID)...), nil)
	wantErr(t, "delete again", s.Delete(t.Context(), ids...), nil)
	wantErr(t, "delete nothing", s.Delete(t.Context()), nil)
	wantErr(t, "put after delete", s.Put(t.Context(), absent, body), hallig.ErrStale)
	for i := range 30 {
		h := Header(1, i, body)
		if i%2 == 1 {
			expect(t, s, h, body)
			continue
		}
		_, _, err := s.Get(t.Context(), h.ID, 0, -1, nil)
		wantErr(t, "get after delete", err, hallig.ErrNotFound)
		wantErr(t, "verify after delete", s.Verify(t.Context(), h.ID), hallig.ErrNotFound)
		wantErr(t, "put after delete", s.Put(t.Context(), h, body), hallig.ErrStale)
		h.ID.Generation++
		put(t, s, h, body)
	}
}

func testWalk(t *testing.T, s shard.Store) {
	var want []shard.Info
	for i := range 200 {
		n := (i * 7919) % 200
		body := Body(uint64(n), n)
		h := Header(byte(n%3), n, body)
		put(t, s, h, body)
		want = append(want, shard.Info{ID: h.ID, Session: h.Session, Length: uint32(n), Sum: shard.Sum(shard.AppendSums(nil, body))})
	}
	slices.SortFunc(want, func(a, b shard.Info) int { return a.ID.Compare(b.ID) })
	walk := func(after shard.ID) []shard.Info {
		var got []shard.Info
		wantErr(t, "walk", s.Walk(t.Context(), after, func(i shard.Info) error {
			got = append(got, i)
			return nil
		}), nil)
		return got
	}
	if got := walk(shard.ID{}); !slices.Equal(got, want) {
		t.Fatalf("walk: %v\nwant %v", got, want)
	}
	if got := walk(want[100].ID); !slices.Equal(got, want[101:]) {
		t.Fatal("walk from the middle is wrong")
	}
	between := want[100].ID
	between.Generation = 9
	if got := walk(between); !slices.Equal(got, want[101:]) {
		t.Fatal("walk from between two shards is wrong")
	}
	stop := errors.New("enough")
	n := 0
	err := s.Walk(t.Context(), shard.ID{}, func(shard.Info) error { n++; return stop })
	if wantErr(t, "walk", err, stop); n != 1 {
		t.Fatal("walk went on after an error")
	}
}

func testInvalid(t *testing.T, s shard.Store) {
	body := Body(1, 100)
	for name, change := range map[string]func(h *shard.Header){
		"length":  func(h *shard.Header) { h.Length++ },
		"no data": func(h *shard.Header) { h.ID.Data = hallig.DataID{} },
		"k":       func(h *shard.Header) { h.K = 0 },
		"index":   func(h *shard.Header) { h.ID.Index = h.K + h.M },
		"vouch":   func(h *shard.Header) { h.Vouch = make([]byte, shard.MaxVouch+1) },
	} {
		h := Header(1, 0, body)
		change(&h)
		wantErr(t, name, s.Put(t.Context(), h, body), hallig.ErrInvalid)
	}
	long := make([]byte, shard.MaxLength+1)
	wantErr(t, "too long", s.Put(t.Context(), Header(1, 0, long), long), hallig.ErrInvalid)
	if st := s.Status(); st.Shards != 0 {
		t.Fatal("an invalid put left something behind")
	}
}

func testCanceled(t *testing.T, s shard.Store) {
	body := Body(1, 100)
	h := Header(1, 0, body)
	put(t, s, h, body)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wantErr(t, "put", s.Put(ctx, Header(1, 1, body), body), context.Canceled)
	_, _, err := s.Get(ctx, h.ID, 0, -1, nil)
	wantErr(t, "get", err, context.Canceled)
	wantErr(t, "delete", s.Delete(ctx, h.ID), context.Canceled)
	wantErr(t, "walk", s.Walk(ctx, shard.ID{}, func(shard.Info) error { return nil }), context.Canceled)
	expect(t, s, h, body)
}

func testStatus(t *testing.T, s shard.Store) {
	body := Body(1, 10000)
	for i := range 10 {
		put(t, s, Header(1, i, body), body)
	}
	put(t, s, Header(1, 0, body), body)
	wantErr(t, "delete", s.Delete(t.Context(), Header(1, 0, body).ID), nil)
	st := s.Status()
	if st.State != shard.StateOnline || st.Reason != "" || st.Shards != 9 || st.Live < 90000 || st.Live > 100000 || st.Quarantined != 0 || st.Total <= 0 || st.Free <= 0 {
		t.Fatalf("%+v", st)
	}
}

func testConcurrent(t *testing.T, s shard.Store) {
	var wg sync.WaitGroup
	fail := make(chan error, 100)
	for w := range 16 {
		wg.Go(func() {
			for i := range 20 {
				body := Body(uint64(w*100+i), 100+997*i)
				h := Header(byte(w), i, body)
				same := Header(99, i, Body(uint64(i), 2000)) // all writers write these
				err := errors.Join(s.Put(t.Context(), h, body), s.Put(t.Context(), same, Body(uint64(i), 2000)))
				_, got, gerr := s.Get(t.Context(), h.ID, 0, -1, nil)
				if err = errors.Join(err, gerr); err == nil && !bytes.Equal(got, body) {
					err = errors.New("wrong bytes")
				}
				if i%5 == 4 {
					err = errors.Join(err, s.Delete(t.Context(), h.ID))
				}
				if err != nil {
					fail <- err
					return
				}
			}
		})
	}
	wg.Wait()
	close(fail)
	for err := range fail {
		t.Error(err)
	}
	if st := s.Status(); st.Shards != 16*16+20 {
		t.Errorf("%d shards, want %d", st.Shards, 16*16+20)
	}
}

func quarantined(t *testing.T, s shard.Store) []shard.ID {
	t.Helper()
	ids, err := s.(shard.Scrubber).Quarantined(t.Context())
	wantErr(t, "quarantined", err, nil)
	return ids
}

func testQuarantine(t *testing.T, s shard.Store) {
	c, ok := s.(Corrupter)
	if !ok {
		t.Skip("the store cannot be corrupted by the test")
	}
	body := Body(1, 2*shard.BlockSize+500)
	var heads []shard.Header
	for i := range 4 {
		heads = append(heads, Header(1, i, body))
		put(t, s, heads[i], body)
	}
	ctx := t.Context()
	for _, h := range heads[:3] {
		wantErr(t, "corrupt", c.CorruptShard(h.ID, shard.BlockSize+9), nil)
	}
	// The first block is still served, the second never.
	_, got, err := s.Get(ctx, heads[0].ID, 10, 100, nil)
	if wantErr(t, "get an intact block", err, nil); !bytes.Equal(got, body[10:110]) {
		t.Fatal("wrong bytes")
	}
	_, got, err = s.Get(ctx, heads[0].ID, 0, -1, []byte("x"))
	if wantErr(t, "get a bad block", err, hallig.ErrCorrupt); string(got) != "x" {
		t.Fatal("unverified bytes were returned")
	}
	wantErr(t, "verify", s.Verify(ctx, heads[1].ID), hallig.ErrCorrupt)
	_, _, err = s.Get(ctx, heads[1].ID, 0, 10, nil)
	wantErr(t, "get from quarantine", err, hallig.ErrCorrupt)
	_, err = s.Stat(ctx, heads[1].ID)
	wantErr(t, "stat in quarantine", err, hallig.ErrCorrupt)
	if st := s.Status(); st.Quarantined != 2 || st.Shards != 2 {
		t.Fatalf("%+v", st)
	}
	if ids := quarantined(t, s); !slices.Equal(ids, []shard.ID{heads[0].ID, heads[1].ID}) {
		t.Fatal(ids)
	}
	wantErr(t, "walk", s.Walk(ctx, shard.ID{}, func(i shard.Info) error {
		if i.ID == heads[0].ID || i.ID == heads[1].ID {
			return errors.New("a quarantined shard was walked over")
		}
		return nil
	}), nil)
	// Healed by the right bytes only; a bad one not yet noticed as well.
	other := bytes.Clone(body)
	other[0] ^= 1
	wantErr(t, "put other bytes", s.Put(ctx, heads[0], other), hallig.ErrExists)
	put(t, s, heads[0], body)
	put(t, s, heads[2], body)
	wantErr(t, "delete", s.Delete(ctx, heads[1].ID), nil)
	for _, i := range []int{0, 2, 3} {
		expect(t, s, heads[i], body)
	}
	_, _, err = s.Get(ctx, heads[1].ID, 0, -1, nil)
	wantErr(t, "get after delete", err, hallig.ErrNotFound)
	if st := s.Status(); st.Quarantined != 0 || st.Shards != 3 || len(quarantined(t, s)) != 0 {
		t.Fatalf("%+v", st)
	}
}

func testScrub(t *testing.T, s shard.Store) {
	sc, ok := s.(shard.Scrubber)
	if !ok {
		t.Skip("the store is no Scrubber")
	}
	body := Body(1, 30000)
	for i := range 20 {
		put(t, s, Header(1, i, body), body)
	}
	pass := func() (all shard.Findings) {
		var cursor []byte
		for calls := 1; ; calls++ {
			f, next, err := sc.Scrub(t.Context(), cursor, 100000)
			wantErr(t, "scrub", err, nil)
			all.Shards += f.Shards
			all.Bytes += f.Bytes
			all.Bad = append(all.Bad, f.Bad...)
			if next == nil {
				if calls < 4 {
					t.Fatalf("%d bytes in %d calls: the limit is not kept", all.Bytes, calls)
				}
				return all
			}
			cursor = next
		}
	}
	if f := pass(); f.Shards != 20 || f.Bytes < 20*30000 || len(f.Bad) != 0 {
		t.Fatalf("%+v", f)
	}
	c, ok := s.(Corrupter)
	if !ok {
		return
	}
	bad := Header(1, 11, body)
	wantErr(t, "corrupt", c.CorruptShard(bad.ID, 29999), nil)
	if f := pass(); !slices.Equal(f.Bad, []shard.ID{bad.ID}) {
		t.Fatalf("%+v", f)
	}
	if f := pass(); len(f.Bad) != 0 {
		t.Fatalf("found again: %+v", f)
	}
	if ids := quarantined(t, s); !slices.Equal(ids, []shard.ID{bad.ID}) {
		t.Fatal(ids)
	}
}

// testModel does random operations and compares with a map.
func testModel(t *testing.T, s shard.Store) {
	const seed = 20
	r := rand.New(rand.NewPCG(seed, 0))
	have, gone := map[int]bool{}, map[int]bool{}
	body := func(n int) []byte { return Body(uint64(n), n*37%5000) }
	for step := range 1500 {
		n := r.IntN(150)
		h := Header(3, n, body(n))
		var err, want error
		switch r.IntN(4) {
		case 0, 1:
			if err = s.Put(t.Context(), h, body(n)); gone[n] {
				want = hallig.ErrStale
			} else {
				have[n] = true
			}
		case 2:
			var got []byte
			if _, got, err = s.Get(t.Context(), h.ID, 0, -1, nil); !have[n] {
				want = hallig.ErrNotFound
			} else if !bytes.Equal(got, body(n)) {
				t.Fatalf("seed %d, step %d: wrong bytes", seed, step)
			}
		case 3:
			if r.IntN(6) == 0 {
				err = s.Delete(t.Context(), h.ID)
				have[n], gone[n] = false, true
			}
		}
		wantErr(t, fmt.Sprintf("seed %d, step %d", seed, step), err, want)
	}
	for n := range 150 {
		if have[n] {
			expect(t, s, Header(3, n, body(n)), body(n))
		}
	}
}
