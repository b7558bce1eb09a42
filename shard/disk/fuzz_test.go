package disk

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/shard"
	"github.com/hallig-cloud/hallig/shard/shardtest"
	"github.com/hallig-cloud/hallig/vfs/vfstest"
)

var fuzzSegment = segmentID{num: 5, epoch: 77}

// sampleSegment returns a segment with a few records.
func sampleSegment() []byte {
	b := appendSegmentHeader(nil, hallig.DriveID{3}, fuzzSegment)
	add := func(kind recordKind, h shard.Header, body []byte) {
		h.Length = uint32(len(body))
		head := appendRecordHeader(nil, kind, h, body)
		place(head, fuzzSegment, uint32(len(b)), segmentHeader)
		b = append(append(b, head...), body...)
		b = append(b, make([]byte, align(int64(len(b)), recordAlign)-int64(len(b)))...)
	}
	for n, size := range []int{0, 100, 3000} {
		body := shardtest.Body(uint64(n), size)
		add(kindShard, shardtest.Header(1, n, body), body)
	}
	add(kindDelete, shard.Header{}, appendDeletion(nil, deletion{shard.ID{Stripe: 4}, 3, 1e9}))
	b = append(b, make([]byte, align(int64(len(b)), groupAlign)-int64(len(b)))...)
	add(kindEnd, shard.Header{}, appendSegmentEnd(nil, segmentEnd{segmentID{4, 66}, 1024}))
	add(kindSeal, shard.Header{}, nil)
	return append(b, make([]byte, align(int64(len(b)), groupAlign)-int64(len(b)))...)
}

// FuzzRecord: any bytes are a valid record or errBadRecord; a valid one has
// consistent lengths and says what encoding it again says.
func FuzzRecord(f *testing.F) {
	seg := sampleSegment()
	f.Add(seg[segmentHeader:], uint32(segmentHeader))
	f.Add(seg[segmentHeader:segmentHeader+60], uint32(segmentHeader))
	f.Fuzz(func(t *testing.T, b []byte, off uint32) {
		_, _, _ = parseSegmentHeader(b)
		_, _ = parseDeletions(b)
		_, _ = parseSegmentEnd(b)
		r, err := parseRecord(b, fuzzSegment, off)
		if err != nil {
			if !errors.Is(err, errBadRecord) && !errors.Is(err, hallig.ErrUnsupported) {
				t.Fatal(err)
			}
			return
		}
		if r.hlen > len(b) || r.hlen != headerSize(len(r.header.Vouch), int(r.header.Length)) || len(r.sums) != 4*shard.Blocks(int64(r.header.Length)) {
			t.Fatalf("%+v", r)
		}
	})
}

// FuzzRoundTrip: what is written is what is read.
func FuzzRoundTrip(f *testing.F) {
	f.Add([]byte("body"), []byte("vouch"), uint32(1), uint16(2), uint16(3), uint32(512))
	f.Fuzz(func(t *testing.T, body, vouch []byte, stripe uint32, k, m uint16, off uint32) {
		if len(vouch) > shard.MaxVouch || len(body) > shard.MaxLength {
			return
		}
		h := shardtest.Header(1, 1, body)
		h.Vouch, h.Stripe, h.K, h.M = vouch, stripe, k, m
		b := appendRecordHeader(nil, kindShard, h, body)
		place(b, fuzzSegment, off, off/2)
		r, err := parseRecord(b, fuzzSegment, off)
		if err != nil {
			t.Fatal(err)
		}
		g := r.header
		if !bytes.Equal(g.Vouch, h.Vouch) || g.ID != h.ID || g.Session != h.Session || g.K != k || g.M != m || g.Stripe != stripe || g.Pool != h.Pool || g.Length != h.Length {
			t.Fatalf("%+v, want %+v", g, h)
		}
		if err := checkBlocks(r.sums, body, 0); err != nil {
			t.Fatal(err)
		}
		for _, wrong := range []segmentID{{6, 77}, {5, 78}} {
			if _, err := parseRecord(b, wrong, off); err == nil {
				t.Fatal("a record of another segment was accepted")
			}
		}
		if _, err := parseRecord(b, fuzzSegment, off+8); err == nil {
			t.Fatal("a record of another place was accepted")
		}
	})
}

// FuzzSegment: a drive opens over any damaged segment, serves no wrong byte,
// and a damaged record never takes others with it further than it reaches.
func FuzzSegment(f *testing.F) {
	f.Add(sampleSegment(), uint16(0), byte(0))
	f.Add(sampleSegment(), uint16(600), byte(255))
	f.Add(sampleSegment()[:1500], uint16(700), byte(1))
	f.Fuzz(func(t *testing.T, b []byte, at uint16, x byte) {
		if len(b) > 1<<20 {
			return
		}
		if len(b) > 0 {
			b = bytes.Clone(b)
			b[int(at)%len(b)] ^= x
		}
		disk := vfstest.NewDisk(vfstest.DiskConfig{})
		cfg := create(t, Config{FS: disk, Dir: "drive", MinFree: -1})
		cfg.openIndex = memIndex(disk)
		file, err := disk.Create("drive/segments/" + segmentName(5))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.Write(b); err != nil {
			t.Fatal(err)
		}
		d, err := Open(context.Background(), cfg)
		if err != nil {
			if !errors.Is(err, hallig.ErrForeign) && !errors.Is(err, hallig.ErrUnsupported) {
				t.Fatal(err)
			}
			return
		}
		defer d.Close()
		for n, size := range []int{0, 100, 3000} {
			body := shardtest.Body(uint64(n), size)
			_, got, err := d.Get(context.Background(), shardtest.Header(1, n, body).ID, 0, -1, nil)
			if err == nil && !bytes.Equal(got, body) && bytes.Contains(b, body) {
				t.Fatalf("shard %d: wrong bytes", n)
			}
		}
		if _, _, err := d.Scrub(context.Background(), nil, 1<<30); err != nil {
			t.Fatal(err)
		}
		body := shardtest.Body(9, 50)
		if err := d.Put(context.Background(), shardtest.Header(2, 9, body), body); err != nil {
			t.Fatal(err)
		}
	})
}
