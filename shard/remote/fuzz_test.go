package remote

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/mesh"
	"github.com/hallig-cloud/hallig/shard"
	"github.com/hallig-cloud/hallig/shard/mem"
	"github.com/hallig-cloud/hallig/shard/shardtest"
)

// goodPut is the body of a PUT.
func goodPut(body []byte) []byte {
	b, err := appendPreface(nil, shardtest.Header(1, 0, body))
	if err != nil {
		panic(err)
	}
	b = append(b, body...)
	return binary.BigEndian.AppendUint32(b, sum(0, b))
}

// goodGet is the answer to a GET of the whole.
func goodGet(body []byte) []byte {
	b, err := appendPreface(nil, shardtest.Header(1, 0, body))
	if err != nil {
		panic(err)
	}
	crc := sum(sum(0, b), body)
	b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
	b = append(b, body...)
	b = binary.BigEndian.AppendUint32(b, endOfBody)
	return binary.BigEndian.AppendUint32(b, crc)
}

// A PUT is taken whole or not at all.
func FuzzPut(f *testing.F) {
	f.Add(goodPut([]byte("tide")))
	f.Add(goodPut(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, body, err := parsePut(b)
		if err != nil {
			if !errors.Is(err, hallig.ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		again, err := appendPreface(nil, h)
		if err != nil {
			t.Fatal(err)
		}
		again = append(again, body...)
		again = binary.BigEndian.AppendUint32(again, sum(0, again))
		if h2, body2, err := parsePut(again); err != nil || h2.ID != h.ID || !bytes.Equal(body, body2) || !bytes.Equal(h.Vouch, h2.Vouch) {
			t.Fatalf("%+v %v", h2, err)
		}
	})
}

// Whatever a node answers to a GET, what is returned was asked for and has the
// right length and checksum.
func FuzzGetAnswer(f *testing.F) {
	f.Add(goodGet([]byte("tide")), int64(0), int64(-1))
	f.Add(goodGet([]byte("tide"))[:20], int64(1), int64(2))
	f.Add(goodGet(nil), int64(0), int64(0))
	f.Fuzz(func(t *testing.T, b []byte, off, n int64) {
		if off < 0 {
			return
		}
		id := shardtest.Header(1, 0, nil).ID
		h, got, err := readRange(bytes.NewReader(b), hallig.ID{1}, id, off, n, []byte("dst"))
		if err != nil {
			return
		}
		if h.ID != id || string(got[:3]) != "dst" || int64(len(got)-3) != clip(int64(h.Length), off, n) {
			t.Fatalf("%+v, %d bytes", h, len(got))
		}
	})
}

func FuzzPage(f *testing.F) {
	info, _ := appendInfo(nil, shard.Info{ID: shardtest.Header(1, 0, nil).ID, Length: 7})
	f.Add(appendPage(nil, info, infoSize, true), true)
	f.Add(appendPage(nil, info[:shard.IDSize], shard.IDSize, false), false)
	f.Add(appendPage(nil, nil, infoSize, false), true)
	f.Fuzz(func(t *testing.T, b []byte, infos bool) {
		size := shard.IDSize
		if infos {
			size = infoSize
		}
		entries, more, err := parsePage(b, size)
		if err != nil {
			if !errors.Is(err, hallig.ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		if !bytes.Equal(appendPage(nil, entries, size, more), b) || more && len(entries) == 0 {
			t.Fatalf("%d bytes of entries, more: %v", len(entries), more)
		}
		for ; infos && len(entries) > 0; entries = entries[infoSize:] {
			i, err := parseInfo(entries)
			if err != nil {
				t.Fatal(err)
			}
			if again, _ := appendInfo(nil, i); !bytes.Equal(again, entries[:infoSize]) {
				t.Fatalf("%+v", i)
			}
		}
	})
}

func FuzzStatusAndFindings(f *testing.F) {
	f.Add(wireStatus{Order: 7, State: shard.StateOnline}.text(), []byte{0xa0})
	f.Fuzz(func(t *testing.T, s string, b []byte) {
		if w, err := parseStatus(s); err == nil {
			if again, err := parseStatus(w.text()); err != nil || again != w {
				t.Fatalf("%+v %+v %v", w, again, err)
			}
		}
		if _, next, err := parseFindings(b); err == nil && len(next) > maxCursor {
			t.Fatalf("a cursor of %d bytes", len(next))
		}
	})
}

// Any request may be sent to the handler; it never panics, and what it stores
// is what a whole PUT said.
func FuzzRequest(f *testing.F) {
	id := formatID(shardtest.Header(1, 0, nil).ID)
	for _, path := range []string{id, id + "?off=1&n=2", id + "/header", id + "/verify", "delete", "walk?after=" + id, "quarantined", "scrub?limit=9", "status"} {
		f.Add("PUT", path, goodPut([]byte("tide")))
		f.Add("GET", path, []byte(nil))
		f.Add("POST", path, []byte("x"))
	}
	f.Fuzz(func(t *testing.T, method, path string, b []byte) {
		served := &drives{}
		under := mem.New(mem.Config{})
		drive := served.add(under)
		r, err := http.NewRequest(method, "https://mesh"+Prefix+drive.String()+"/"+path, bytes.NewReader(b))
		if err != nil {
			return
		}
		w := httptest.NewRecorder()
		Handler(HandlerConfig{Drives: served.find}).ServeHTTP(w, r)
		_, body, perr := parsePut(b)
		if n := under.Status().Shards; n > 1 || n == 1 && (perr != nil || int64(len(body)) != under.Status().Live) {
			t.Fatalf("%d shards from %q %q", n, method, path)
		}
		_ = mesh.CheckAnswer(hallig.ID{}, w.Result())
	})
}
