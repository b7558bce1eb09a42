package catalogtest

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
)

func testEpochs(t *testing.T, f *fixture) {
	try := func(epoch uint64, want error, ops ...catalog.Op) {
		t.Helper()
		r := f.request(ops...)
		r.Epoch = epoch
		res, err := f.Commit(f.ctx, r)
		if err == nil {
			err = res[0].Err
		}
		if !errors.Is(err, want) {
			t.Fatalf("epoch %d: got %v, want %v", epoch, err, want)
		}
	}
	put := f.put("k", catalog.Unversioned, 1, "e")
	try(0, hallig.ErrStale, put)
	try(2, hallig.ErrStale, put)
	cond := put
	cond.If.IfMatch = []string{"x"}
	try(2, hallig.ErrStale, cond) // not the precondition's error
	try(1, hallig.ErrInvalid, catalog.SetBucket{Epoch: 1})
	try(0, hallig.ErrStale, catalog.SetBucket{Epoch: 2})
	try(1, nil, catalog.SetBucket{Epoch: 7})
	try(1, hallig.ErrStale, put)
	try(7, nil, put)
	if u := f.usage(); u.Epoch != 7 || u.Current != 1 {
		t.Fatalf("%+v", u)
	}
	r := f.request(put)
	r.Bucket, r.Epoch = hallig.NewID(), 0
	if _, err := f.Commit(f.ctx, r); !errors.Is(err, hallig.ErrNotFound) {
		t.Fatalf("a bucket never opened: %v", err)
	}
	if u, err := f.Usage(f.ctx, r.Bucket); err != nil || u != (catalog.Usage{}) {
		t.Fatal(u, err)
	}
}

func testCloseBucket(t *testing.T, f *fixture) {
	f.ok(f.put("k", catalog.Unversioned, 1, "e"))
	up := catalog.Upload{ID: hallig.NewID(), Key: "u", Initiated: f.now}
	f.ok(catalog.CreateUpload{Upload: up})
	part := catalog.Part{Number: 1, Size: 3, ETag: "p", Extents: []catalog.Extent{extent(3)}}
	f.ok(catalog.PutPart{Key: "u", Upload: up.ID, Part: part})
	f.fails(catalog.SetBucket{Epoch: 2, Close: true}, hallig.ErrNotEmpty)
	f.ok(f.delete("k", catalog.Unversioned))
	f.ok(catalog.SetBucket{Epoch: 2, Close: true})
	f.epoch = 2
	if u := f.usage(); !u.Closed || u.Uploads != 0 || u.Epoch != 2 {
		t.Fatalf("%+v", u)
	}
	if g := f.garbage(); len(g) != 2 || g[1].Extents[0] != part.Extents[0] {
		t.Fatalf("%+v", g)
	}
	for _, op := range []catalog.Op{f.put("k", 0, 1, "e"), catalog.SetBucket{Epoch: 3}} {
		if _, err := f.Commit(f.ctx, f.request(op)); !errors.Is(err, hallig.ErrNotFound) {
			t.Fatalf("%T in a closed bucket: %v", op, err)
		}
	}
	f.ok(catalog.SetBucket{Epoch: 3, Close: true}) // closing again is a retry
}

func testUploads(t *testing.T, f *fixture) {
	old := f.ok(f.put("k", catalog.Unversioned, 1, "old"))
	up := catalog.Upload{ID: hallig.NewID(), Key: "k", Initiated: f.now, Initiator: "me",
		DataKey: catalog.SealedKey{Under: "b", Epoch: 2, Wrapped: []byte{1, 2}}}
	up.Owner, up.ContentType, up.Metadata = "me", "text/plain", map[string]string{"a": "b"}
	f.ok(catalog.CreateUpload{Upload: up})
	f.wantUsage(1, 1, 1, 1)
	got, err := f.Upload(f.ctx, f.bucket, "k", up.ID)
	if err != nil || got.Initiator != "me" || got.ContentType != "text/plain" || got.Metadata["a"] != "b" ||
		got.DataKey.Under != "b" || !got.Initiated.Equal(f.now) || got.Bucket != f.bucket {
		t.Fatalf("%+v %v", got, err)
	}
	var parts []catalog.Part
	for n := 1; n <= 5; n++ {
		p := catalog.Part{Number: n, Size: int64(n), ETag: fmt.Sprint(n), Checksum: "c", Modified: f.now, Extents: []catalog.Extent{extent(int64(n))}}
		f.ok(catalog.PutPart{Key: "k", Upload: up.ID, Part: p})
		parts = append(parts, p)
	}
	again := parts[1]
	again.Extents = []catalog.Extent{extent(2)}
	f.ok(catalog.PutPart{Key: "k", Upload: up.ID, Part: again})
	if g := f.garbage(); len(g) != 1 || g[0].Extents[0] != parts[1].Extents[0] {
		t.Fatalf("%+v", g)
	}
	page, more, err := f.Parts(f.ctx, f.bucket, "k", up.ID, 1, 2)
	if err != nil || !more || len(page) != 2 || page[0].Number != 2 || page[1].Number != 3 ||
		page[0].Extents[0] != again.Extents[0] || page[0].Checksum != "c" || !page[0].Modified.Equal(f.now) {
		t.Fatalf("%+v %v %v", page, more, err)
	}
	if page, more, err = f.Parts(f.ctx, f.bucket, "k", up.ID, 3, 2); err != nil || more || len(page) != 2 {
		t.Fatalf("%+v %v %v", page, more, err)
	}
	done := f.put("k", catalog.Unversioned, 6, "done-3")
	done.Upload = up.ID
	// The part that was replaced has left its data to the garbage.
	done.Version.Extents = []catalog.Extent{parts[0].Extents[0], parts[1].Extents[0], parts[2].Extents[0]}
	f.fails(done, hallig.ErrConflict)
	f.wantUsage(1, 1, 1, 1)
	done.Version.Extents = []catalog.Extent{parts[0].Extents[0], again.Extents[0], parts[2].Extents[0]}
	done.Version.Parts = []catalog.PartSum{{Number: 1, Size: 1, ETag: "1"}, {Number: 2, Size: 2, ETag: "2"}, {Number: 3, Size: 3, ETag: "3"}}
	v := f.ok(done)
	f.wantUsage(1, 1, 6, 0)
	g := f.garbage()
	if len(g) != 2 || g[1].Revision != v.Revision || len(g[1].Extents) != 3 {
		t.Fatalf("%+v", g)
	}
	waste := map[hallig.DataID]bool{}
	for _, e := range g[1].Extents {
		waste[e.Data] = true
	}
	if !waste[old.Extents[0].Data] || !waste[parts[3].Extents[0].Data] || !waste[parts[4].Extents[0].Data] {
		t.Fatalf("%+v", g[1])
	}
	if h := f.head("k", ""); len(h.Parts) != 3 || h.Parts[2].ETag != "3" {
		t.Fatalf("%+v", h)
	}
	f.fails(done, hallig.ErrNotFound)
	if _, err := f.Upload(f.ctx, f.bucket, "k", up.ID); !errors.Is(err, hallig.ErrNotFound) {
		t.Fatal(err)
	}
}

func testUploadErrors(t *testing.T, f *fixture) {
	up := catalog.Upload{ID: hallig.NewID(), Key: "k", Initiated: f.now}
	part := catalog.Part{Number: 1, Size: 1, Extents: []catalog.Extent{extent(1)}}
	f.fails(catalog.PutPart{Key: "k", Upload: up.ID, Part: part}, hallig.ErrNotFound)
	f.fails(catalog.AbortUpload{Key: "k", Upload: up.ID}, hallig.ErrNotFound)
	f.ok(catalog.CreateUpload{Upload: up})
	f.fails(catalog.CreateUpload{Upload: up}, hallig.ErrExists)
	f.fails(catalog.PutPart{Key: "other", Upload: up.ID, Part: part}, hallig.ErrNotFound)
	for _, n := range []int{0, -1, catalog.MaxParts + 1, 1 << 17} {
		p := part
		p.Number = n
		f.fails(catalog.PutPart{Key: "k", Upload: up.ID, Part: p}, hallig.ErrInvalid)
	}
	f.ok(catalog.PutPart{Key: "k", Upload: up.ID, Part: part})
	// A refused completion leaves the upload open.
	done := f.put("k", catalog.Unversioned, 1, "e")
	done.Upload, done.If.IfMatch = up.ID, []string{"x"}
	f.fails(done, hallig.ErrNotFound)
	f.fails(catalog.AbortUpload{Key: "other", Upload: up.ID}, hallig.ErrNotFound)
	if _, _, err := f.Parts(f.ctx, f.bucket, "other", up.ID, 0, 10); !errors.Is(err, hallig.ErrNotFound) {
		t.Fatal(err)
	}
	f.wantUsage(0, 0, 0, 1)
	f.ok(catalog.AbortUpload{Key: "k", Upload: up.ID})
	f.wantUsage(0, 0, 0, 0)
	if g := f.garbage(); len(g) != 1 || g[0].Extents[0] != part.Extents[0] {
		t.Fatalf("%+v", g)
	}
}

// testMovePart: a part's extents change only if they are those that the mover
// read. Whatever else became of the part, the upload or the bucket meanwhile
// wins, and nothing that is in use becomes garbage.
func testMovePart(t *testing.T, f *fixture) {
	up := catalog.Upload{ID: hallig.NewID(), Key: "k", Initiated: f.now}
	f.ok(catalog.CreateUpload{Upload: up})
	first := catalog.Part{Number: 1, Size: 3, ETag: "one", Checksum: "c", Modified: f.now, Extents: []catalog.Extent{extent(1), extent(2)}}
	f.ok(catalog.PutPart{Key: "k", Upload: up.ID, Part: first})
	move := func(p catalog.Part) catalog.PutPart {
		op := catalog.PutPart{Key: "k", Upload: up.ID, Part: p, Was: p.Extents}
		op.Part.Extents = slices.Clone(p.Extents)
		op.Part.Extents[1].Pool++
		op.Part.Extents[1].Generation++
		return op
	}
	wrong := move(first)
	wrong.Was = first.Extents[:1]
	f.fails(wrong, hallig.ErrConflict)
	wrong = move(first)
	wrong.Part.Size = 4
	f.fails(wrong, hallig.ErrConflict)
	wrong = move(first)
	wrong.Part.Number = 2
	f.fails(wrong, hallig.ErrConflict)
	wrong = move(first)
	wrong.Key = "other"
	f.fails(wrong, hallig.ErrNotFound)

	op := move(first)
	f.ok(op)
	f.fails(op, hallig.ErrConflict) // it is elsewhere now
	page, _, err := f.Parts(f.ctx, f.bucket, "k", up.ID, 0, 2)
	if err != nil || len(page) != 1 || page[0].ETag != "one" || page[0].Checksum != "c" || !page[0].Modified.Equal(f.now) ||
		!slices.Equal(page[0].Extents, op.Part.Extents) {
		t.Fatalf("%+v %v", page, err)
	}
	g := f.garbage()
	if len(g) != 1 || !slices.Equal(g[0].Extents, first.Extents[1:]) {
		t.Fatalf("%+v", g) // what did not move is no garbage
	}
	again := first
	again.Extents = []catalog.Extent{extent(3)}
	f.ok(catalog.PutPart{Key: "k", Upload: up.ID, Part: again})
	f.fails(move(op.Part), hallig.ErrConflict) // the client put it anew

	// A completion that read the parts before a move is to read them again.
	again.Extents = []catalog.Extent{extent(1), extent(2)}
	f.ok(catalog.PutPart{Key: "k", Upload: up.ID, Part: again})
	done := f.put("k", catalog.Unversioned, 3, "done")
	done.Upload, done.Version.Extents = up.ID, again.Extents
	op = move(again)
	f.ok(op)
	f.fails(done, hallig.ErrConflict)
	done.Version.Extents = op.Part.Extents
	f.ok(done)
	f.fails(move(op.Part), hallig.ErrNotFound) // it is a version now
	if h := f.head("k", ""); !slices.Equal(h.Extents, op.Part.Extents) {
		t.Fatalf("%+v", h)
	}
	other := catalog.Upload{ID: hallig.NewID(), Key: "k", Initiated: f.now}
	f.ok(catalog.CreateUpload{Upload: other})
	gone := catalog.Part{Number: 1, Size: 3, Extents: []catalog.Extent{extent(1), extent(2)}}
	f.ok(catalog.PutPart{Key: "k", Upload: other.ID, Part: gone})
	f.ok(catalog.AbortUpload{Key: "k", Upload: other.ID})
	late := move(gone)
	late.Upload = other.ID
	f.fails(late, hallig.ErrNotFound)
}

func testRepeats(t *testing.T, f *fixture) {
	none := f.put("k", catalog.Unversioned, 1, "e")
	none.If.IfNoneMatch = []string{"*"}
	r := f.request(none, none)
	first, err := f.Commit(f.ctx, r)
	if err != nil || first[0].Err != nil || !errors.Is(first[1].Err, hallig.ErrPrecondition) {
		t.Fatal(first, err)
	}
	del := f.request(f.delete("k", catalog.Unversioned))
	firstDel, err := f.Commit(f.ctx, del)
	if err != nil || firstDel[0].Version.ETag != "e" {
		t.Fatal(firstDel, err)
	}
	f.ok(catalog.SetBucket{Epoch: 9}) // repeats are answered whatever came since
	if err := f.Fence(f.ctx, f.session); err != nil {
		t.Fatal(err)
	}
	again, err := f.Commit(f.ctx, r)
	if err != nil || again[0].Err != nil || again[0].Version.Revision != first[0].Version.Revision {
		t.Fatal(again, err)
	}
	againDel, err := f.Commit(f.ctx, del)
	if err != nil || againDel[0].Err != nil || againDel[0].Version.Revision != firstDel[0].Version.Revision ||
		againDel[0].Version.ETag != "e" || againDel[0].Version.Extents[0] != firstDel[0].Version.Extents[0] {
		t.Fatal(againDel, err)
	}
	if u := f.usage(); u.Versions != 0 || len(f.garbage()) != 1 {
		t.Fatalf("a repeat was applied: %+v", u)
	}
	// Many at once: one application.
	f.epoch, f.session = 9, hallig.NewID()
	many := f.request(f.put("m", catalog.Enabled, 1, "e"))
	revisions := make(chan hallig.Revision, 16)
	for range cap(revisions) {
		go func() {
			res, err := f.Commit(f.ctx, many)
			if err != nil || res[0].Err != nil {
				t.Errorf("repeat: %v %v", res, err)
				revisions <- 0
				return
			}
			revisions <- res[0].Version.Revision
		}()
	}
	want := <-revisions
	for range cap(revisions) - 1 {
		if r := <-revisions; r != want {
			t.Fatalf("answers %d and %d to one proposal", r, want)
		}
	}
	if u := f.usage(); u.Versions != 1 {
		t.Fatalf("%+v", u)
	}
}

func testFence(t *testing.T, f *fixture) {
	dead := f.session
	f.ok(f.put("k", catalog.Unversioned, 1, "e"))
	if err := f.Fence(f.ctx, dead); err != nil {
		t.Fatal(err)
	}
	if err := f.Fence(f.ctx, dead); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Commit(f.ctx, f.request(f.put("k", 0, 1, "x"))); !errors.Is(err, hallig.ErrFenced) {
		t.Fatal(err)
	}
	f.session = hallig.NewID()
	f.ok(f.put("k", catalog.Unversioned, 2, "e"))
}

func testGarbage(t *testing.T, f *fixture) {
	var data []hallig.DataID
	for i := range 5 {
		v := f.ok(f.put(fmt.Sprint(i), catalog.Unversioned, 1, "e"))
		data = append(data, v.Extents[0].Data)
	}
	for i := range 5 {
		f.ok(f.delete(fmt.Sprint(i), catalog.Unversioned))
	}
	g := f.garbage()
	if len(g) != 5 {
		t.Fatalf("%+v", g)
	}
	for i := range g {
		if g[i].Extents[0].Data != data[i] || g[i].When == 0 || i > 0 && g[i].Revision <= g[i-1].Revision {
			t.Fatalf("%d: %+v", i, g[i])
		}
	}
	page, err := f.Garbage(f.ctx, g[1].Revision, 2)
	if err != nil || len(page) != 2 || page[0].Revision != g[2].Revision {
		t.Fatal(page, err)
	}
	if !f.referenced(data[0]) || f.referenced(hallig.NewID()) {
		t.Fatal("waiting garbage is a reference; an unknown id is not")
	}
	if err := f.Collected(f.ctx, g[0].Revision, g[3].Revision, g[3].Revision+1000); err != nil {
		t.Fatal(err)
	}
	if f.referenced(data[0]) || !f.referenced(data[1]) || len(f.garbage()) != 3 {
		t.Fatal("collected garbage")
	}
	if err := f.Collected(f.ctx, g[0].Revision); err != nil {
		t.Fatal(err)
	}
}

func testReencode(t *testing.T, f *fixture) {
	v := f.ok(f.put("k", catalog.Enabled, 100, "e"))
	v.Extents[0].Count, v.Extents[0].Length = 10, 100
	e := v.Extents[0]
	v = f.ok(catalog.Put{Version: v, Versioning: catalog.Enabled, Moved: true, IfEdit: v.Edit}) // same id, 10 stripes
	head, tail := e, e
	head.Count, head.Length, head.Last, head.Generation, head.Pool = 4, 40, false, 1, 9
	tail.First, tail.Count, tail.Length = 4, 6, 60
	v.Extents = []catalog.Extent{head, tail}
	was := len(f.garbage())
	v = f.ok(catalog.Update{Version: v})
	if len(f.garbage()) != was {
		t.Fatal("stripes of another version became garbage")
	}
	p := f.list(catalog.Query{What: catalog.ListVersions})
	f.ok(catalog.DeleteVersion{Key: "k", Version: p.Items[1].Version.ID, At: f.now})
	for _, g := range f.garbage() {
		if err := f.Collected(f.ctx, g.Revision); err != nil {
			t.Fatal(err)
		}
	}
	// Now the version is alone: re-encoding the rest makes exactly it garbage.
	tail2 := tail
	tail2.Count, tail2.Length, tail2.Last, tail2.Generation = 2, 20, false, 1
	rest := tail
	rest.First, rest.Count, rest.Length = 6, 4, 40
	v.Extents = []catalog.Extent{head, tail2, rest}
	v = f.ok(catalog.Update{Version: v})
	g := f.garbage()
	if len(g) != 1 || len(g[0].Extents) != 1 || g[0].Extents[0].First != 4 || g[0].Extents[0].Count != 2 ||
		g[0].Extents[0].Generation != 0 || g[0].Extents[0].Last {
		t.Fatalf("%+v", g)
	}
	f.ok(catalog.DeleteVersion{Key: "k", Version: v.ID(), At: f.now})
	if g = f.garbage(); len(g) != 2 || len(g[1].Extents) != 3 {
		t.Fatalf("%+v", g)
	}
	for _, x := range g {
		if err := f.Collected(f.ctx, x.Revision); err != nil {
			t.Fatal(err)
		}
	}
	if f.referenced(e.Data) {
		t.Fatal("a reference is left")
	}
}

func testWalk(t *testing.T, f *fixture) {
	want := map[string]bool{}
	for i := range 20 {
		v := f.ok(f.put(fmt.Sprint(i%7), catalog.Enabled, 1, "e"))
		want[fmt.Sprint(v.Key, v.Revision)] = true
	}
	for i := range 3 {
		up := catalog.Upload{ID: hallig.NewID(), Key: "up", Initiated: f.now}
		f.ok(catalog.CreateUpload{Upload: up})
		for n := 1; n <= i; n++ {
			f.ok(catalog.PutPart{Key: "up", Upload: up.ID, Part: catalog.Part{Number: n, Extents: []catalog.Extent{extent(1)}}})
			want[fmt.Sprint(up.ID, n)] = true
		}
	}
	var cursor []byte
	for {
		found, next, err := f.Walk(f.ctx, cursor, 4)
		if err != nil || len(found) > 4 {
			t.Fatal(len(found), err)
		}
		for _, s := range found {
			var k string
			switch {
			case s.Version != nil && s.Part == nil:
				k = fmt.Sprint(s.Version.Key, s.Version.Revision)
			case s.Version == nil && s.Part != nil && s.Upload != nil && s.Upload.Key == "up":
				k = fmt.Sprint(s.Upload.ID, s.Part.Number)
			}
			if !want[k] {
				t.Fatalf("found %q %+v", k, s)
			}
			delete(want, k)
		}
		if next == nil {
			break
		}
		cursor = next
	}
	if len(want) > 0 {
		t.Fatalf("not found: %v", want)
	}
}

func testFields(t *testing.T, f *fixture) {
	v := catalog.Version{Key: "k\x00/ü", Size: 7, ETag: "e-2", Modified: f.now, Inline: []byte{1, 2, 3},
		Parts:   []catalog.PartSum{{Number: 1, Size: 7, ETag: "p", Checksum: "c"}},
		Extents: []catalog.Extent{{Data: hallig.NewID(), First: 1, Count: 2, Length: 3, Last: true, Pool: 4, Generation: 5}, extent(4)},
		DataKey: catalog.SealedKey{Under: "bucket", Epoch: 3, Wrapped: []byte("w")},
		Attributes: catalog.Attributes{Owner: "o", ContentType: "ct", CacheControl: "cc", ContentDisposition: "cd",
			ContentEncoding: "ce", ContentLanguage: "cl", Expires: "ex", WebsiteRedirect: "/", StorageClass: "STANDARD_IA",
			Metadata: map[string]string{"a": "b", "bad": "\xff\xfe"}, Tags: []catalog.Tag{{Key: "z", Value: "1"}, {Key: "a", Value: ""}}, ACL: []byte{9},
			Checksum: catalog.Checksum{Algorithm: "CRC32", Type: "COMPOSITE", Value: "v-2"},
			Encryption: catalog.Encryption{Algorithm: "aws:kms", KeyID: "id", Context: "e30=", BucketKey: true,
				CustomerMD5: "md5", CustomerCheck: []byte{7}},
			Retention: catalog.Retention{Mode: "COMPLIANCE", Until: f.now.Add(time.Hour)}, LegalHold: true}}
	f.ok(catalog.Put{Version: v, Versioning: catalog.Enabled})
	got := f.head(v.Key, "")
	v.Bucket, v.Revision, v.Edit, v.Latest = f.bucket, got.Revision, got.Edit, true
	equal(t, v, got)
	s := f.list(catalog.Query{}).Items[0].Version
	if s.ETag != "e-2" || s.Size != 7 || s.Modified != f.now.UnixMilli() || s.StorageClass != "STANDARD_IA" || s.Owner != "o" ||
		s.ChecksumAlgorithm != "CRC32" || s.ChecksumType != "COMPOSITE" || s.Encryption != "aws:kms" || s.Key != v.Key || !s.Latest || s.ID != got.ID() {
		t.Fatalf("%+v", s)
	}
}
