package upkeep

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/objects"
	"github.com/hallig-cloud/hallig/placement"
	"github.com/hallig-cloud/hallig/seal"
	"github.com/hallig-cloud/hallig/shard"
)

var customer = bytes.Repeat([]byte{3}, 32)

func (w *world) body(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(w.rng.Uint32()), byte(w.rng.Uint32()), 1}).Read(b) //nolint:errcheck // never fails
	return b
}

// putUnder stores an object under the customer's key. old: as stripes were
// before buckets vouched for them, that is, with vouches that need the data key.
func (w *world) putUnder(key string, n int, old bool) []byte {
	w.t.Helper()
	b := w.body(n)
	r := objects.PutRequest{Bucket: "b", Key: key, Body: bytes.NewReader(b), Size: int64(n)}
	if !old {
		r.CustomerKey = customer
	}
	v, err := w.Store.Put(w.t.Context(), r)
	if err != nil {
		w.t.Fatalf("put %s: %v", key, err)
	}
	if old { // moved under the customer's key: its stripes stay as they are
		if _, err := w.Store.Copy(w.t.Context(), objects.CopyRequest{Bucket: "b", Key: key, Source: v, CustomerKey: customer}); err != nil {
			w.t.Fatalf("copy %s: %v", key, err)
		}
	}
	return b
}

func (w *world) getUnder(key string) ([]byte, error) {
	v, err := w.Store.Head(w.t.Context(), "b", key, "")
	if err != nil {
		return nil, err
	}
	if v.Encryption.CustomerCheck == nil {
		return nil, errors.New("not under a customer's key")
	}
	if _, err := w.Store.Get(w.t.Context(), objects.GetRequest{Version: v, Length: -1, CustomerKey: bytes.Repeat([]byte{4}, 32)}); !errors.Is(err, hallig.ErrDenied) {
		return nil, fmt.Errorf("another customer's key: %w", err)
	}
	r, err := w.Store.Get(w.t.Context(), objects.GetRequest{Version: v, Length: -1, CustomerKey: customer})
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// TestCustomerKey: what lies under a customer's key moves to another pool
// without it, to fewer and to more drives and with another stripe size, and is
// what it was; also what was written before buckets vouched.
func TestCustomerKey(t *testing.T) {
	for _, old := range []bool{false, true} {
		t.Run(fmt.Sprint("old ", old), func(t *testing.T) {
			w := newWorld(t, 6, nil, nil)
			bodies := map[string][]byte{}
			for i, n := range []int{1, 999, 1001, 64 << 10, 300_000, 4<<20 + 1} {
				key := fmt.Sprint("c", i)
				bodies[key] = w.putUnder(key, n, old)
			}
			check := func() {
				t.Helper()
				for key, want := range bodies {
					if got, err := w.getUnder(key); err != nil || !bytes.Equal(got, want) {
						t.Fatalf("%s: %d of %d bytes, %v", key, len(got), len(want), err)
					}
				}
			}
			check()
			ids := w.Drives.IDs()
			for _, id := range ids[:3] { // 4+2, 3+2, 2+2, copies
				w.lose(id, placement.DriveLost)
				w.rest()
				check()
			}
			w.add()
			w.add()
			w.rest()
			check()
			w.Drives.SetAway(ids[3], true)
			w.Drives.SetAway(ids[4], true)
			check()
		})
	}
}

// forge has a drive hold a shard of a stripe that it made up: its checksums are
// right, and its vouch, though not its MAC, is that of the shard.
func (w *world) forge(h held) {
	w.t.Helper()
	d := w.disks[h.drive]
	header, body, err := d.Get(w.t.Context(), h.id, 0, -1, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	body[7] ^= 1
	hash := seal.HashShard(body)
	header.Vouch = bytes.Clone(header.Vouch)
	copy(header.Vouch[65:], hash[:])
	d.mu.Lock()
	defer d.mu.Unlock()
	d.forged = &forged{header, body}
}

type forged struct {
	header shard.Header
	body   []byte
}

// TestCustomerKeyDisputed: one drive of three that hold copies has made up its copy of an object
// that was written before buckets vouched. Nobody can tell who is right without
// the customer's key, so the object stays where it is and is said to be held
// back, and the customer reads it. Negative control: the first copy is believed,
// and the object is gone for good.
func TestCustomerKeyDisputed(t *testing.T) {
	for _, credulous := range []bool{false, true} {
		w := newWorld(t, 4, func(c *Config) { c.credulous = credulous }, nil)
		want := w.putUnder("c", 900, true)
		first := w.firstRead()
		w.forge(first)
		w.u.force(first.id.Data)
		if r, err := w.u.Reencode(t.Context()); err != nil || credulous != (r.Moved == 1) || !credulous && r.Held != 1 {
			t.Fatalf("credulous %v: %+v %v", credulous, r, err)
		}
		w.pass(time.Hour)
		if _, err := w.u.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		got, err := w.getUnder("c")
		if intact := err == nil && bytes.Equal(got, want); intact == credulous {
			t.Errorf("credulous %v: intact %v, %v", credulous, intact, err)
		}
	}
}

// firstRead is the shard that a re-encoding of the only stripe reads first.
func (w *world) firstRead() held {
	w.t.Helper()
	for _, h := range w.inventory() {
		if h.id.Index == 0 {
			return h
		}
	}
	w.t.Fatal("nothing is stored")
	return held{}
}

// TestCustomerKeyWaits: as long as a drive is away that may contradict, what was
// written before buckets vouched waits for it.
func TestCustomerKeyWaits(t *testing.T) {
	w := newWorld(t, 4, nil, nil)
	old := w.putUnder("old", 300_000, true)
	fresh := w.putUnder("new", 300_000, false)
	ids := w.Drives.IDs()
	w.lose(ids[0], placement.DriveDraining)
	w.compare()
	w.repair()
	w.Drives.SetAway(ids[0], true)
	if r := w.reencode(); r.Moved != 1 || r.Waiting != 1 {
		t.Fatalf("%+v", r)
	}
	w.lose(ids[0], placement.DriveLost)
	w.rest()
	for key, want := range map[string][]byte{"old": old, "new": fresh} {
		if got, err := w.getUnder(key); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%s: %d bytes, %v", key, len(got), err)
		}
	}
}

// An uploading is an open upload in a world.
type uploading struct {
	w     *world
	id    hallig.UploadID
	key   string
	under []byte // customer's key
	parts map[int][]byte
	etags map[int]string
}

func (w *world) upload(key string, under []byte, sizes ...int) *uploading {
	w.t.Helper()
	up, err := w.Store.CreateUpload(w.t.Context(), objects.CreateUploadRequest{Bucket: "b", Key: key, Attributes: catalog.Attributes{Owner: "o"}, CustomerKey: under})
	if err != nil {
		w.t.Fatal(err)
	}
	u := &uploading{w, up.ID, key, under, map[int][]byte{}, map[int]string{}}
	for i, n := range sizes {
		if err := u.put(i+1, n); err != nil {
			w.t.Fatal(err)
		}
	}
	return u
}

func (u *uploading) put(number, n int) error {
	b := u.w.body(n)
	p, err := u.w.Store.PutPart(u.w.t.Context(), objects.PutPartRequest{Bucket: "b", Key: u.key, Upload: u.id, Number: number,
		Body: bytes.NewReader(b), Size: int64(n), CustomerKey: u.under})
	if err == nil {
		u.parts[number], u.etags[number] = b, p.ETag
	}
	return err
}

func (u *uploading) complete() error {
	r := objects.CompleteRequest{Bucket: "b", Key: u.key, Upload: u.id, Size: -1, CustomerKey: u.under}
	for n := 1; n <= len(u.parts); n++ {
		r.Parts = append(r.Parts, objects.CompletePart{Number: n, ETag: u.etags[n]})
	}
	_, err := u.w.Store.Complete(u.w.t.Context(), r)
	return err
}

// check completes the upload and compares every byte.
func (u *uploading) check() {
	u.w.t.Helper()
	if err := u.complete(); err != nil {
		u.w.t.Fatal(err)
	}
	u.compare()
}

func (u *uploading) compare() {
	u.w.t.Helper()
	var want []byte
	for n := 1; n <= len(u.parts); n++ {
		want = append(want, u.parts[n]...)
	}
	v, err := u.w.Store.Head(u.w.t.Context(), "b", u.key, "")
	if err != nil {
		u.w.t.Fatal(err)
	}
	r, err := u.w.Store.Get(u.w.t.Context(), objects.GetRequest{Version: v, Length: -1, CustomerKey: u.under})
	if err != nil {
		u.w.t.Fatal(err)
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(got, want) {
		u.w.t.Fatalf("%s: %d of %d bytes, %v", u.key, len(got), len(want), err)
	}
}

// TestPartsMove: the parts of open uploads move with the pool, under a
// customer's key and without; the drives that are left hold all of it, and the
// uploads are completed afterwards.
func TestPartsMove(t *testing.T) {
	w := newWorld(t, 4, nil, nil)
	w.fill()
	plain := w.upload("plain", nil, 5<<20, 6<<20+3, 700)
	under := w.upload("under", customer, 5<<20, 5<<20, 100_000)
	ids := w.Drives.IDs()
	w.lose(ids[1], placement.DriveDraining)
	w.rest()
	w.Drives.SetAway(ids[1], true)
	w.lose(ids[1], placement.DriveLost)
	w.rest()
	w.Drives.SetAway(ids[2], true)
	plain.check()
	under.check()
	w.mustCheck()
}

// racing runs a function before the first commit that moves a part.
type racing struct {
	catalog.Catalog
	before func()
	ask    bool // strip what the move compares: the negative control
	moves  int
}

func (c *racing) Commit(ctx context.Context, r catalog.Request) ([]catalog.Result, error) {
	if p, ok := r.Ops[0].(catalog.PutPart); ok && p.Was != nil {
		c.moves++
		if f := c.before; f != nil {
			c.before = nil
			f()
		}
		if c.ask {
			p.Was = nil
			r.Ops[0] = p
		}
	}
	return c.Catalog.Commit(ctx, r)
}

// TestPartRaces: what a client does to a part while it is moved wins, and
// nothing of it is lost, nor of the move left. Negative control: a move that
// does not compare brings back the part that was replaced.
func TestPartRaces(t *testing.T) {
	for _, what := range []string{"put again", "complete", "abort", "control"} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t, 4, nil, nil)
			up := w.upload("k", nil, 5<<20, 2000)
			race := &racing{Catalog: w.Catalog, ask: what == "control"}
			race.before = func() {
				err := error(nil)
				switch what {
				case "complete":
					err = up.complete()
				case "abort":
					err = w.Store.Abort(t.Context(), "b", "k", up.id)
				default:
					err = up.put(1, 5<<20)
				}
				if err != nil {
					t.Fatal(what, err)
				}
			}
			w.edit = func(c *Config) { c.Catalog = race }
			w.restart(w.session)
			w.lose(w.Drives.IDs()[0], placement.DriveLost)
			r, err := w.u.Reencode(t.Context())
			if err != nil || r.Failed+r.Held+r.Waiting > 0 || race.moves == 0 {
				t.Fatalf("%+v %v, %d moves", r, err, race.moves)
			}
			if what == "control" {
				if up.complete() == nil {
					t.Fatal("the move compares nothing, and the part of the client is still there")
				}
				return
			}
			w.rest()
			switch what {
			case "put again":
				up.check()
			case "complete":
				up.compare()
			case "abort":
				for _, h := range w.inventory() {
					if h.drive != w.Drives.IDs()[0] { // the lost one
						t.Fatalf("shard %s is left of an upload that was aborted", h.id)
					}
				}
				return
			}
			w.Drives.SetAway(w.Drives.IDs()[1], true)
			up.compare()
		})
	}
}

// TestPartMoveCutShort: as TestReencodeCutShort, for parts; also when the upload
// was completed before the next life of the process looks.
func TestPartMoveCutShort(t *testing.T) {
	for _, applied := range []bool{false, true} {
		for _, completed := range []bool{false, true} {
			w := newWorld(t, 4, nil, nil)
			up := w.upload("k", customer, 5<<20)
			lossy := &lossyCatalog{Catalog: w.Catalog, fail: func(r catalog.Request) (bool, bool) {
				p, ok := r.Ops[0].(catalog.PutPart)
				move := ok && p.Was != nil
				return move && !applied, move && applied
			}}
			w.lose(w.Drives.IDs()[0], placement.DriveLost)
			w.edit = func(c *Config) { c.Catalog = lossy }
			w.restart(w.session)
			if r, err := w.u.Reencode(t.Context()); err != nil || r.Failed != 1 {
				t.Fatalf("%+v %v", r, err)
			}
			if completed {
				if err := up.complete(); err != nil {
					t.Fatal(err)
				}
			}
			w.edit = nil
			w.restart(w.session)
			if err := w.u.resumeReencodings(t.Context()); err != nil {
				t.Fatal(err)
			}
			w.rest()
			if !completed {
				if err := up.complete(); err != nil {
					t.Fatal(err)
				}
			}
			w.Drives.SetAway(w.Drives.IDs()[1], true)
			up.compare()
		}
	}
}

// A blinking catalog does not show versions to re-encodings while it blinks, as
// a walk that an upload's completion overtakes.
type blinking struct {
	catalog.Catalog
	blinks atomic.Bool
}

func (c *blinking) Walk(ctx context.Context, cursor []byte, limit int) ([]catalog.Stored, []byte, error) {
	found, next, err := c.Catalog.Walk(ctx, cursor, limit)
	if limit == reencodePage && c.blinks.Load() {
		found = nil
	}
	return found, next, err
}

// TestChase: what a pass of re-encoding misses is found again as long as a drive
// is to be emptied, without a day's wait for the next comparison.
func TestChase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		blink := &blinking{}
		w := newWorld(t, 4, func(c *Config) {
			c.Now = time.Now
			blink.Catalog, c.Catalog = c.Catalog, blink
		}, nil)
		w.fill()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- w.u.Run(ctx) }()
		defer func() { cancel(); <-ended }()
		time.Sleep(time.Minute)
		blink.blinks.Store(true)
		w.lose(w.Drives.IDs()[2], placement.DriveDraining)
		time.Sleep(2 * time.Hour)
		if w.u.Settled() == w.Drives.Topology().Revision {
			t.Fatal("nothing was re-encoded, and it is settled")
		}
		blink.blinks.Store(false)
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if w.u.Settled() != w.Drives.Topology().Revision {
			t.Errorf("not settled: %+v", w.u.Status())
		}
		w.mustCheck()
	})
}
