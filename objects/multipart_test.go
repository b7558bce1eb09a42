package objects_test

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"
	"testing"

	"github.com/minio/crc64nvme"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/objects"
	"github.com/hallig-cloud/hallig/objects/objectstest"
)

var ctx = context.Background()

func upload(t testing.TB, s *objects.Store, a catalog.Attributes, customer []byte) catalog.Upload {
	t.Helper()
	u, err := s.CreateUpload(ctx, objects.CreateUploadRequest{Bucket: "b", Key: "k", Attributes: a, CustomerKey: customer})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func part(t testing.TB, s *objects.Store, u catalog.Upload, n int, data, customer []byte) objects.CompletePart {
	t.Helper()
	p, err := s.PutPart(ctx, objects.PutPartRequest{Bucket: "b", Key: "k", Upload: u.ID, Number: n, Body: bytes.NewReader(data), Size: int64(len(data)), CustomerKey: customer})
	if err != nil {
		t.Fatal(err)
	}
	return objects.CompletePart{Number: n, ETag: p.ETag, Checksum: p.Checksum}
}

func complete(s *objects.Store, u catalog.Upload, parts ...objects.CompletePart) (catalog.Version, error) {
	return s.Complete(ctx, objects.CompleteRequest{Bucket: "b", Key: "k", Upload: u.ID, Parts: parts, Size: -1})
}

func TestMultipart(t *testing.T) {
	m := objectstest.NewMesh(t, objectstest.Options{})
	s := m.Store
	bucket(t, s, objects.Bucket{Name: "b"})
	a, b, c := body(1, 5<<20), body(2, 6<<20+5), body(3, 70)
	whole := bytes.Join([][]byte{a, b, c}, nil)
	crc64 := crc64nvme.New()
	crc64.Write(whole)
	full := base64.StdEncoding.EncodeToString(crc64.Sum(nil))
	u := upload(t, s, catalog.Attributes{ContentType: "x/y", Checksum: catalog.Checksum{Algorithm: objects.CRC64NVME}}, nil)
	if u.Checksum.Type != objects.FullObject {
		t.Errorf("type %q", u.Checksum.Type)
	}
	p3 := part(t, s, u, 9, c, nil)
	part(t, s, u, 1, b, nil)
	p1 := part(t, s, u, 1, a, nil) // replaces
	p2 := part(t, s, u, 4, b, nil)
	part(t, s, u, 5, c, nil) // not chosen
	parts, more, err := s.Parts(ctx, "b", "k", u.ID, 1, 2)
	if err != nil || !more || len(parts) != 2 || parts[0].Number != 4 {
		t.Fatalf("parts: %v %v %v", parts, more, err)
	}
	v, err := s.Complete(ctx, objects.CompleteRequest{Bucket: "b", Key: "k", Upload: u.ID, Parts: []objects.CompletePart{p1, p2, p3},
		Checksum: full, Type: objects.FullObject, Size: int64(len(whole))})
	if err != nil {
		t.Fatal(err)
	}
	sums := md5.New()
	for _, p := range [][]byte{a, b, c} {
		x := md5.Sum(p)
		sums.Write(x[:])
	}
	if want := hex.EncodeToString(sums.Sum(nil)) + "-3"; v.ETag != want {
		t.Errorf("etag %s, want %s", v.ETag, want)
	}
	if v.ContentType != "x/y" || v.Checksum.Value != full || len(v.Parts) != 3 || v.Parts[1].Number != 4 || v.Parts[1].Size != int64(len(b)) {
		t.Errorf("%+v", v)
	}
	v, err = s.Head(ctx, "b", "k", "")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range [][2]int64{{0, -1}, {0, 1}, {5<<20 - 1, 2}, {5 << 20, 6<<20 + 5}, {11<<20 + 4, 3}, {int64(len(whole)) - 1, 1}, {int64(len(whole)), -1}} {
		want := whole[r[0]:]
		if r[1] >= 0 {
			want = want[:r[1]]
		}
		if got, err := get(s, v, r[0], r[1]); err != nil || !bytes.Equal(got, want) {
			t.Errorf("range %v: %v", r, err)
		}
	}
	if _, err := s.Upload(ctx, "b", "k", u.ID); !errors.Is(err, hallig.ErrNotFound) {
		t.Errorf("the upload is still there: %v", err)
	}
}

func TestCompositeChecksum(t *testing.T) {
	s := objectstest.New(t)
	bucket(t, s, objects.Bucket{Name: "b"})
	u := upload(t, s, catalog.Attributes{Checksum: catalog.Checksum{Algorithm: objects.CRC32C}}, nil)
	a, b := body(1, 5<<20), body(2, 99)
	pa, pb := part(t, s, u, 1, a, nil), part(t, s, u, 2, b, nil)
	table := crc32.MakeTable(crc32.Castagnoli)
	var raw []byte
	for _, p := range [][]byte{a, b} {
		raw = binary.BigEndian.AppendUint32(raw, crc32.Checksum(p, table))
	}
	want := base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc32.Checksum(raw, table))) + "-2"
	req := objects.CompleteRequest{Bucket: "b", Key: "k", Upload: u.ID, Parts: []objects.CompletePart{pa, pb}, Checksum: "AAAAAA==-2", Size: -1}
	var wrong *objects.ChecksumError
	if _, err := s.Complete(ctx, req); !errors.As(err, &wrong) || wrong.Got != want {
		t.Errorf("%v", err)
	}
	req.Checksum, req.Type = want, objects.FullObject
	if _, err := s.Complete(ctx, req); !errors.Is(err, hallig.ErrInvalid) {
		t.Errorf("%v", err)
	}
	req.Type = objects.Composite
	v, err := s.Complete(ctx, req)
	if err != nil || v.Checksum.Value != want || v.Checksum.Type != objects.Composite {
		t.Errorf("%+v %v", v.Checksum, err)
	}
	if _, err := s.PutPart(ctx, objects.PutPartRequest{Bucket: "b", Key: "k", Upload: u.ID, Number: 1, Body: bytes.NewReader(a), Size: -1}); !errors.Is(err, hallig.ErrNotFound) {
		t.Errorf("a part of a completed upload: %v", err)
	}
}

func TestRefusedCompletions(t *testing.T) {
	m := objectstest.NewMesh(t, objectstest.Options{})
	s := m.Store
	bucket(t, s, objects.Bucket{Name: "b"})
	u := upload(t, s, catalog.Attributes{Checksum: catalog.Checksum{Algorithm: objects.CRC32}}, nil)
	p1, p2, p3 := part(t, s, u, 1, body(1, 5<<20), nil), part(t, s, u, 2, body(2, 5<<20-1), nil), part(t, s, u, 3, body(3, 10), nil)
	bad := func(p objects.CompletePart, etag, sum string) objects.CompletePart {
		if etag != "" {
			p.ETag = etag
		}
		if sum != "" {
			p.Checksum = sum
		}
		return p
	}
	for name, c := range map[string]struct {
		parts   []objects.CompletePart
		problem objects.PartProblem
	}{
		"order":    {[]objects.CompletePart{p3, p1}, objects.PartOrder},
		"twice":    {[]objects.CompletePart{p1, p1}, objects.PartOrder},
		"small":    {[]objects.CompletePart{p1, p2, p3}, objects.PartTooSmall},
		"etag":     {[]objects.CompletePart{bad(p1, p2.ETag, "")}, objects.PartMissing},
		"checksum": {[]objects.CompletePart{bad(p1, "", p2.Checksum)}, objects.PartMissing},
		"missing":  {[]objects.CompletePart{p1, {Number: 10_000, ETag: p1.ETag}}, objects.PartMissing},
		"number 0": {[]objects.CompletePart{{Number: 0, ETag: p1.ETag}}, objects.PartMissing},
	} {
		var e *objects.PartError
		if _, err := complete(s, u, c.parts...); !errors.As(err, &e) || e.Problem != c.problem || !errors.Is(err, hallig.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := complete(s, u); !errors.Is(err, hallig.ErrInvalid) {
		t.Errorf("no parts: %v", err)
	}
	if _, err := complete(s, catalog.Upload{ID: hallig.NewID()}, p1); !errors.Is(err, hallig.ErrNotFound) {
		t.Errorf("no upload: %v", err)
	}
	for _, n := range []int{0, -1, 10_001} {
		_, err := s.PutPart(ctx, objects.PutPartRequest{Bucket: "b", Key: "k", Upload: u.ID, Number: n, Body: failing{io.EOF}, Size: -1})
		if !errors.Is(err, hallig.ErrInvalid) {
			t.Errorf("part %d: %v", n, err)
		}
	}
	if _, err := s.PutPart(ctx, objects.PutPartRequest{Bucket: "b", Key: "k", Upload: u.ID, Number: 1, Algorithm: objects.SHA1, Body: failing{io.EOF}, Size: -1}); !errors.Is(err, hallig.ErrInvalid) {
		t.Errorf("another algorithm: %v", err)
	}
	if _, err := complete(s, u, p1, p3); err != nil { // still open after all that
		t.Error(err)
	}
	if err := s.Abort(ctx, "b", "k", u.ID); !errors.Is(err, hallig.ErrNotFound) {
		t.Errorf("abort of a completed upload: %v", err)
	}
}

// Of a completion and an abort at once exactly one happens, and with it every
// part that was being put.
func TestCompleteRacesAbort(t *testing.T) {
	m := objectstest.NewMesh(t, objectstest.Options{})
	s := m.Store
	bucket(t, s, objects.Bucket{Name: "b"})
	for i := range 20 {
		key := fmt.Sprint(i)
		u, err := s.CreateUpload(ctx, objects.CreateUploadRequest{Bucket: "b", Key: key})
		if err != nil {
			t.Fatal(err)
		}
		p, err := s.PutPart(ctx, objects.PutPartRequest{Bucket: "b", Key: key, Upload: u.ID, Number: 1, Body: bytes.NewReader(body(1, 500)), Size: -1})
		if err != nil {
			t.Fatal(err)
		}
		var completed, aborted error
		var wg sync.WaitGroup
		wg.Go(func() {
			_, completed = s.Complete(ctx, objects.CompleteRequest{Bucket: "b", Key: key, Upload: u.ID, Size: -1, Parts: []objects.CompletePart{{Number: 1, ETag: p.ETag}}})
		})
		wg.Go(func() { aborted = s.Abort(ctx, "b", key, u.ID) })
		wg.Go(func() {
			_, err := s.PutPart(ctx, objects.PutPartRequest{Bucket: "b", Key: key, Upload: u.ID, Number: 2, Body: bytes.NewReader(body(2, 500)), Size: -1})
			if err != nil && !errors.Is(err, hallig.ErrNotFound) {
				t.Error(err)
			}
		})
		wg.Wait()
		if (completed == nil) == (aborted == nil) {
			t.Fatalf("completed: %v, aborted: %v", completed, aborted)
		}
		v, err := s.Head(ctx, "b", key, "")
		if (err == nil) != (completed == nil) {
			t.Fatalf("head: %v, completed: %v", err, completed)
		}
		if err == nil {
			if got, err := get(s, v, 0, -1); err != nil || !bytes.Equal(got, body(1, 500)) {
				t.Fatal(err)
			}
		}
	}
}

// A part that is put again while its upload is completed: the object is made of
// what the client named or not at all, and never of garbage.
func TestPartReplacedDuringCompletion(t *testing.T) {
	for _, same := range []bool{true, false} {
		h := &hookedCatalog{}
		m := hook(t, h)
		s := m.Store
		bucket(t, s, objects.Bucket{Name: "b"})
		u := upload(t, s, catalog.Attributes{}, nil)
		data := body(1, 500)
		p := part(t, s, u, 1, data, nil)
		other := gateway(t, m, nil)
		var once sync.Once
		h.before = func(r catalog.Request) error {
			if isPut(r) {
				once.Do(func() {
					again := data
					if !same {
						again = body(2, 500)
					}
					part(t, other, u, 1, again, nil)
				})
			}
			return nil
		}
		v, err := complete(s, u, p)
		var gone *objects.PartError
		switch {
		case !same && (!errors.As(err, &gone) || gone.Problem != objects.PartMissing):
			t.Errorf("another part in its place: %v", err)
		case same && err != nil:
			t.Errorf("the same part again: %v", err)
		}
		if !same {
			continue
		}
		garbage, err := m.Catalog.Garbage(ctx, 0, 10)
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range garbage {
			for _, e := range g.Extents {
				if e.Data == v.Extents[0].Data {
					t.Error("the object's data is garbage")
				}
			}
		}
		if got, err := get(s, v, 0, -1); err != nil || !bytes.Equal(got, data) {
			t.Error(err)
		}
	}
}

func TestCopy(t *testing.T) {
	m := objectstest.NewMesh(t, objectstest.Options{})
	s := m.Store
	bucket(t, s, objects.Bucket{Name: "b"})
	bucket(t, s, objects.Bucket{Name: "c", Versioning: catalog.Enabled})
	data := body(1, 6<<20)
	src := put(t, s, "b", "k", data)
	v, err := s.Copy(ctx, objects.CopyRequest{Source: src, Bucket: "c", Key: "k", Attributes: catalog.Attributes{ContentType: "t", Checksum: catalog.Checksum{Algorithm: objects.SHA256}}})
	if err != nil || v.ETag != src.ETag || v.Checksum.Value == "" || v.Extents[0].Data == src.Extents[0].Data {
		t.Fatalf("%+v %v", v, err)
	}
	if got, err := get(s, v, 0, -1); err != nil || !bytes.Equal(got, data) {
		t.Fatal(err)
	}
	// Onto itself without versions: the data moves, nothing is written.
	before := stored(m)
	src, _ = s.Head(ctx, "b", "k", "")
	moved, err := s.Copy(ctx, objects.CopyRequest{Source: src, Bucket: "b", Key: "k", Attributes: catalog.Attributes{ContentType: "new"}})
	if err != nil || moved.Extents[0].Data != src.Extents[0].Data || moved.ContentType != "new" {
		t.Fatalf("%+v %v", moved, err)
	}
	if n := stored(m); n != before {
		t.Errorf("%d shards became %d", before, n)
	}
	if g, err := m.Catalog.Garbage(ctx, 0, 10); err != nil || len(g) != 0 {
		t.Errorf("garbage %+v %v", g, err)
	}
	if got, err := get(s, moved, 0, -1); err != nil || !bytes.Equal(got, data) {
		t.Fatal(err)
	}
	// The source that it was read from is gone by now: no second copy from it.
	if _, err := s.Copy(ctx, objects.CopyRequest{Source: src, Bucket: "b", Key: "k"}); !errors.Is(err, hallig.ErrConflict) {
		t.Errorf("copy of a source that changed: %v", err)
	}
	// Onto itself with versions: two versions, each with its own data.
	head, _ := s.Head(ctx, "c", "k", "")
	again, err := s.Copy(ctx, objects.CopyRequest{Source: head, Bucket: "c", Key: "k", Attributes: catalog.Attributes{ContentType: "new"}})
	if err != nil || again.Extents[0].Data == head.Extents[0].Data || again.ID() == head.ID() {
		t.Fatalf("%+v %v", again, err)
	}
	// Parts from ranges.
	u := upload(t, s, catalog.Attributes{Checksum: catalog.Checksum{Algorithm: objects.CRC32, Type: objects.FullObject}}, nil)
	var parts []objects.CompletePart
	for i, r := range [][2]int64{{0, 5<<20 + 3}, {5<<20 + 3, -1}} {
		p, err := s.CopyPart(ctx, objects.CopyPartRequest{Source: moved, Offset: r[0], Length: r[1], Bucket: "b", Key: "k", Upload: u.ID, Number: i + 1})
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, objects.CompletePart{Number: i + 1, ETag: p.ETag})
	}
	if _, err := s.CopyPart(ctx, objects.CopyPartRequest{Source: moved, Offset: 5, Length: 6 << 20, Bucket: "b", Key: "k", Upload: u.ID, Number: 3}); !errors.Is(err, hallig.ErrInvalid) {
		t.Errorf("a range over the end: %v", err)
	}
	v, err = complete(s, u, parts...)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := get(s, v, 0, -1); err != nil || !bytes.Equal(got, data) {
		t.Fatal(err)
	}
	sum := crc32.ChecksumIEEE(data)
	if want := base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, sum)); v.Checksum.Value != want {
		t.Errorf("full-object checksum %s, want %s", v.Checksum.Value, want)
	}
}

func TestEncryption(t *testing.T) {
	m := objectstest.NewMesh(t, objectstest.Options{})
	s := m.Store
	if _, err := m.Keys.NewNamedKey("alias/payroll"); err != nil {
		t.Fatal(err)
	}
	bucket(t, s, objects.Bucket{Name: "b", Encryption: objects.DefaultEncryption{Algorithm: objects.AWSKMS, KeyID: "alias/payroll"}})
	data := body(1, 300_000)
	customer, other := body(2, 32), body(3, 32)
	putWith := func(e catalog.Encryption, customer []byte) catalog.Version {
		t.Helper()
		v, err := s.Put(ctx, objects.PutRequest{Bucket: "b", Key: "k", Body: bytes.NewReader(data), Size: -1, Attributes: catalog.Attributes{Encryption: e}, CustomerKey: customer})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	read := func(v catalog.Version, customer []byte) error {
		r, err := s.Get(ctx, objects.GetRequest{Version: v, Length: -1, CustomerKey: customer})
		if err != nil {
			return err
		}
		defer r.Close()
		got, err := io.ReadAll(r)
		if err == nil && !bytes.Equal(got, data) {
			t.Error("other bytes")
		}
		return err
	}
	byDefault := putWith(catalog.Encryption{}, nil)
	if byDefault.Encryption.Algorithm != objects.AWSKMS || byDefault.Encryption.KeyID != "alias/payroll" {
		t.Errorf("%+v", byDefault.Encryption)
	}
	if err := read(byDefault, nil); err != nil {
		t.Error(err)
	}
	plain := putWith(catalog.Encryption{Algorithm: objects.AES256}, nil)
	if err := read(plain, nil); err != nil {
		t.Error(err)
	}
	if err := read(plain, customer); !errors.Is(err, hallig.ErrDenied) {
		t.Errorf("a customer key for an object without: %v", err)
	}
	withContext := putWith(catalog.Encryption{Algorithm: objects.AWSKMS, KeyID: "alias/payroll", Context: "e30="}, nil)
	if err := read(withContext, nil); err != nil {
		t.Error(err)
	}
	c := putWith(catalog.Encryption{}, customer)
	if c.Encryption.Algorithm != "" || c.Encryption.CustomerMD5 == "" || len(c.Encryption.CustomerCheck) == 0 {
		t.Errorf("%+v", c.Encryption)
	}
	if err := read(c, customer); err != nil {
		t.Error(err)
	}
	for _, k := range [][]byte{nil, other, customer[:31]} {
		if err := read(c, k); !errors.Is(err, hallig.ErrDenied) {
			t.Errorf("customer key of %d bytes: %v", len(k), err)
		}
	}
	// A copy onto itself re-wraps the key and moves the data.
	head, _ := s.Head(ctx, "b", "k", "")
	v, err := s.Copy(ctx, objects.CopyRequest{Source: head, SourceCustomerKey: customer, Bucket: "b", Key: "k", CustomerKey: other})
	if err != nil || v.Extents[0].Data != head.Extents[0].Data {
		t.Fatal(err)
	}
	if err := read(v, other); err != nil {
		t.Error(err)
	}
	if err := read(v, customer); !errors.Is(err, hallig.ErrDenied) {
		t.Errorf("the old customer key: %v", err)
	}
	// Multipart under a customer key.
	u := upload(t, s, catalog.Attributes{}, customer)
	if _, err := s.PutPart(ctx, objects.PutPartRequest{Bucket: "b", Key: "k", Upload: u.ID, Number: 1, Body: failing{io.EOF}, Size: -1, CustomerKey: other}); !errors.Is(err, hallig.ErrDenied) {
		t.Errorf("a part under another key: %v", err)
	}
	v, err = complete(s, u, part(t, s, u, 1, data, customer))
	if err != nil {
		t.Fatal(err)
	}
	if err := read(v, customer); err != nil {
		t.Error(err)
	}
	// The named key is gone: a clear error.
	m.Keys.ForgetNamedKey("alias/payroll")
	if err := read(byDefault, nil); !errors.Is(err, hallig.ErrKeyUnknown) {
		t.Errorf("%v", err)
	}
	m.Keys.Lock()
	if err := read(plain, nil); !errors.Is(err, hallig.ErrKeyLocked) {
		t.Errorf("%v", err)
	}
}
