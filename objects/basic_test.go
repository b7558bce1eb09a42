package objects_test

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/objects"
	"github.com/hallig-cloud/hallig/objects/objectstest"
)

// body returns n reproducible bytes.
func body(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)})
	r.Read(b)
	return b
}

func bucket(t testing.TB, s *objects.Store, b objects.Bucket) objects.Bucket {
	t.Helper()
	b, err := s.CreateBucket(context.Background(), b)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func put(t testing.TB, s *objects.Store, bucket, key string, data []byte) catalog.Version {
	t.Helper()
	v, err := s.Put(context.Background(), objects.PutRequest{Bucket: bucket, Key: key, Body: bytes.NewReader(data), Size: int64(len(data))})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func get(s *objects.Store, v catalog.Version, offset, length int64) ([]byte, error) {
	r, err := s.Get(context.Background(), objects.GetRequest{Version: v, Offset: offset, Length: length})
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func TestPutGet(t *testing.T) {
	for _, drives := range []int{1, 2, 3, 4, 6, 12} {
		m := objectstest.NewMesh(t, objectstest.Options{Drives: drives})
		s := m.Store
		bucket(t, s, objects.Bucket{Name: "b"})
		for _, n := range []int{0, 1, 100, 65535, 65536, 65537, 131072, 131073, 200_000, 1 << 20, 4 << 20, 4<<20 + 1, 9_000_000} {
			data := body(1, n)
			for _, size := range []int64{int64(n), -1} {
				v, err := s.Put(context.Background(), objects.PutRequest{Bucket: "b", Key: "k", Body: bytes.NewReader(data), Size: size})
				if err != nil {
					t.Fatalf("%d drives, %d bytes: %v", drives, n, err)
				}
				sum := md5.Sum(data)
				if v.ETag != hex.EncodeToString(sum[:]) || v.Size != int64(n) {
					t.Fatalf("etag %s, size %d", v.ETag, v.Size)
				}
				v, err = s.Head(context.Background(), "b", "k", "")
				if err != nil {
					t.Fatal(err)
				}
				got, err := get(s, v, 0, -1)
				if err != nil || !bytes.Equal(got, data) {
					t.Fatalf("%d drives, %d bytes: %d other bytes: %v", drives, n, len(got), err)
				}
			}
		}
		s.WaitBackground()
		if in := s.MemoryInUse(); in != 0 {
			t.Errorf("%d drives: %d bytes of memory are not returned", drives, in)
		}
		if d := m.Damage(); len(d) != 0 {
			t.Errorf("%d drives: damage reported: %v", drives, d[0])
		}
	}
}

func TestDelete(t *testing.T) {
	s := objectstest.New(t)
	ctx := context.Background()
	bucket(t, s, objects.Bucket{Name: "b"})
	put(t, s, "b", "k", body(1, 10))
	if err := s.DeleteBucket(ctx, "b"); !errors.Is(err, hallig.ErrNotEmpty) {
		t.Fatalf("delete of a full bucket: %v", err)
	}
	page, err := s.List(ctx, "b", catalog.Query{Limit: 10})
	if err != nil || len(page.Items) != 1 || page.Items[0].Version.Key != "k" {
		t.Fatalf("list: %v %v", page, err)
	}
	res, err := s.Delete(ctx, "b", objects.DeleteRequest{Key: "k"}, objects.DeleteRequest{Key: "absent"})
	if err != nil || res[0].Err != nil || res[1].Err != nil {
		t.Fatal(res, err)
	}
	if _, err := s.Head(ctx, "b", "k", ""); !errors.Is(err, hallig.ErrNotFound) {
		t.Fatal(err)
	}
	if err := s.DeleteBucket(ctx, "b"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Bucket(ctx, "b"); !errors.Is(err, hallig.ErrNotFound) {
		t.Fatal(err)
	}
	first := bucket(t, s, objects.Bucket{Name: "c"})
	if _, err := s.CreateBucket(ctx, objects.Bucket{Name: "c"}); !errors.Is(err, hallig.ErrExists) {
		t.Fatal(err)
	}
	if err := s.DeleteBucket(ctx, "c"); err != nil {
		t.Fatal(err)
	}
	if second := bucket(t, s, objects.Bucket{Name: "c"}); second.ID == first.ID {
		t.Fatal("a bucket made anew has the old one's id")
	}
}

// What is streamed counts as being read until the stream is closed, however it
// ends; a failed attempt does not stay.
func TestReading(t *testing.T) {
	m := objectstest.NewMesh(t, objectstest.Options{Drives: 4})
	s := m.Store
	bucket(t, s, objects.Bucket{Name: "b"})
	v := put(t, s, "b", "k", body(1, 9_000_000))
	data := v.Extents[0].Data
	if s.Reading(data) {
		t.Fatal("nobody reads it")
	}
	var streams []io.ReadCloser
	for range 2 {
		r, err := s.Get(t.Context(), objects.GetRequest{Version: v, Length: -1})
		if err != nil {
			t.Fatal(err)
		}
		streams = append(streams, r)
	}
	for i, r := range streams {
		if !s.Reading(data) {
			t.Fatalf("%d streams are open", len(streams)-i)
		}
		if i == 0 {
			if _, err := io.Copy(io.Discard, r); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if s.Reading(data) {
		t.Fatal("both streams are closed")
	}
	for _, id := range m.Drives.IDs() {
		m.Drives.SetAway(id, true)
	}
	if _, err := s.Get(t.Context(), objects.GetRequest{Version: v, Length: -1}); err == nil {
		t.Fatal("read without drives")
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Get(canceled, objects.GetRequest{Version: v, Length: -1}); err == nil {
		t.Fatal("read after the end")
	}
	if s.Reading(data) {
		t.Fatal("a failed read stays")
	}
}
