package machine

import (
	"bytes"
	"testing"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
)

// table is an unordered Rows, scanned in full: enough for a fuzz target.
type table map[string][]byte

func (m table) Get(k []byte) ([]byte, error) { return m[string(k)], nil }
func (m table) Set(k, v []byte) error        { m[string(k)] = append([]byte{}, v...); return nil }
func (m table) Delete(k []byte) error        { delete(m, string(k)); return nil }
func (m table) Scan(lo, hi []byte, fn func(k, v []byte) bool) error {
	for k, v := range m {
		if k >= string(lo) && (hi == nil || k < string(hi)) && !fn([]byte(k), v) {
			return nil
		}
	}
	return nil
}

func seedEntry(t testing.TB) []byte {
	t.Helper()
	b := hallig.BucketID{1}
	set, err := EncodeCommand(&Command{Kind: CommandObjects, ID: hallig.ID{2}, Bucket: b, Steps: []Step{{Kind: StepBucket, Epoch: 1}}})
	if err != nil {
		t.Fatal(err)
	}
	c := clearPart{Null: true, Size: 5, Extents: []catalog.Extent{{Data: hallig.ID{3}, Count: 1}}}.append(nil)
	put, err := EncodeCommand(&Command{Kind: CommandObjects, ID: hallig.ID{4}, Bucket: b, Epoch: 1, Steps: []Step{
		{Kind: StepPut, Name: []byte("n"), Clear: c, Sealed: []byte("s")}, {Kind: StepRemove, Name: []byte("n"), TargetNull: true},
		{Kind: StepCreateUpload, Name: []byte("n"), Upload: hallig.ID{5}}, {Kind: StepPutPart, Name: []byte("n"), Upload: hallig.ID{5}, Number: 1, Clear: c}, {Kind: StepMovePart, Name: []byte("n"), Upload: hallig.ID{5}, Number: 1, Clear: c, Was: c}}})
	if err != nil {
		t.Fatal(err)
	}
	return JoinCommands([][]byte{set, put})
}

// FuzzEntry applies log entries of any content: an error or an answer, never a
// panic.
func FuzzEntry(f *testing.F) {
	f.Add(seedEntry(f))
	f.Fuzz(func(t *testing.T, b []byte) {
		commands, err := DecodeEntry(b)
		if err != nil {
			return
		}
		rows := table{}
		m, err := Load(rows, 1)
		if err != nil {
			t.Fatal(err)
		}
		for i := range commands {
			if _, err := m.Apply(rows, &commands[i]); err != nil {
				t.Fatalf("the storage works, and yet: %v", err)
			}
		}
		if err := m.Flush(rows); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzRows decodes rows of any content.
func FuzzRows(f *testing.F) {
	f.Add(byte(0), clearPart{Size: 7, Extents: []catalog.Extent{{Count: 1}}}.append(nil))
	f.Add(byte(1), head{Revision: 1, Current: 1}.append(nil))
	f.Add(byte(2), (&bucketRow{Epoch: 1}).append(nil))
	f.Add(byte(3), meta{Epoch: 1}.append(nil))
	f.Add(byte(4), appendFeed(nil, [][]byte{[]byte("vk")}))
	f.Add(byte(5), garbageRow{When: 1, Extents: []catalog.Extent{{Count: 1}}}.append(nil))
	f.Add(byte(6), appendUploadRow(nil, []byte("n"), []byte("s")))
	f.Add(byte(7), appendSummary(nil, &catalog.Summary{ETag: "e", Size: 3, Modified: 4}))
	f.Add(byte(8), appendQueue(nil, []byte("akey"), 3))
	f.Add(byte(9), appendEscaped(nil, "a\x00b"))
	f.Fuzz(func(t *testing.T, kind byte, b []byte) {
		switch kind % 13 {
		case 0:
			if c, raw, rest, err := decodeClear(b); err == nil && (len(raw)+len(rest) != len(b) || len(c.Extents) > len(b)) {
				t.Fatal("clear part")
			}
		case 1:
			same(t, b, decodeHead, func(h head) []byte { return h.append(nil) })
		case 2:
			same(t, b, decodeBucket, func(r bucketRow) []byte { return r.append(nil) })
		case 3:
			same(t, b, decodeMeta, func(m meta) []byte { return m.append(nil) })
		case 4:
			_, _ = decodeFeed(b)
		case 5:
			same(t, b, decodeGarbage, func(g garbageRow) []byte { return g.append(nil) })
		case 6:
			same(t, b, decodeUploadRow, func(u uploadRow) []byte { return appendUploadRow(nil, u.Name, u.Sealed) })
		case 7:
			_ = decodeSummary(b, &catalog.Summary{})
		case 8:
			_, _, _ = decodeQueue(b)
		case 9:
			_, _, _ = cutEscaped(b)
		case 10:
			_, _, _, _ = parseVersionKey(b)
		case 11:
			_, _, _ = parseRecordKey(b)
			_, _ = decodePartRow(b)
			_, _ = decodeVersionRow(b)
			_, _ = decodeRef(b)
			_, _, _ = decodeRecordRow(b)
		case 12:
			_, _ = DecodeAnswer(b)
			var v versionRest
			if unmarshal(b, &v) == nil {
				v.fill(&catalog.Version{})
			}
			_ = unmarshal(b, &uploadRest{})
			_ = unmarshal(b, &partRest{})
			_ = unmarshal(b, &openedRest{})
		}
	})
}

// same checks that what decodes encodes to the same bytes.
func same[T any](t *testing.T, b []byte, decode func([]byte) (T, error), encode func(T) []byte) {
	t.Helper()
	if v, err := decode(b); err == nil && !bytes.Equal(encode(v), b) {
		t.Fatalf("%x decodes to %+v, which encodes to %x", b, v, encode(v))
	}
}

// FuzzEscape checks that escaped names order as names do.
func FuzzEscape(f *testing.F) {
	f.Add("a", "a\x00")
	f.Add("a\x00\x01", "a\x00ÿ")
	f.Fuzz(func(t *testing.T, a, b string) {
		x, y := appendEscaped(nil, a), appendEscaped(nil, b)
		if (a < b) != (bytes.Compare(append(x, 0xff), append(y, 0)) < 0) && a != b {
			t.Fatalf("%q %q", a, b)
		}
		name, rest, err := cutEscaped(append(x[:len(x):len(x)], "rest"...))
		if err != nil || string(name) != a || string(rest) != "rest" {
			t.Fatalf("%q: %q %q %v", a, name, rest, err)
		}
	})
}

// FuzzCut checks that no run holds an operation that reads a key after one that
// changes it.
func FuzzCut(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4})
	f.Fuzz(func(t *testing.T, b []byte) {
		var ops []catalog.Op
		for _, c := range b {
			key := string('a' + rune(c>>4&3))
			switch c & 3 {
			case 0:
				ops = append(ops, catalog.Put{Version: catalog.Version{Key: key}})
			case 1:
				ops = append(ops, catalog.Put{Version: catalog.Version{Key: key}, If: catalog.Precondition{IfMatch: []string{"*"}}})
			case 2:
				ops = append(ops, catalog.DeleteVersion{Key: key, Version: catalog.RevisionID(hallig.Revision(c >> 6))})
			case 3:
				ops = append(ops, catalog.CreateUpload{Upload: catalog.Upload{Key: key}})
			}
		}
		total := 0
		for _, n := range Cut(ops) {
			changed := map[string][]catalog.Op{}
			for _, op := range ops[total : total+n] {
				key, changes := keyOf(op)
				for _, before := range changed[key] {
					x, ok1 := op.(catalog.DeleteVersion)
					y, ok2 := before.(catalog.DeleteVersion)
					if reads(op) && (!ok1 || !ok2 || x.Version == y.Version) {
						t.Fatalf("%+v after %+v in one run", op, before)
					}
				}
				if changes {
					changed[key] = append(changed[key], op)
				}
			}
			total += n
		}
		if total != len(ops) {
			t.Fatalf("%d of %d operations", total, len(ops))
		}
	})
}
