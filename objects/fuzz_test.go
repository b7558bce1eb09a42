package objects

import (
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/placement"
)

// Bucket records of any bytes are refused or come back the same.
func FuzzDecodeBucket(f *testing.F) {
	good, err := encodeBucket(&Bucket{ID: hallig.ID{9}, Name: "b", Created: time.Unix(1, 5e6), Epoch: 3, Survive: hallig.SurviveDrive,
		Lock: Lock{Enabled: true, Mode: "GOVERNANCE", Years: 1}, Documents: map[Document][]byte{DocPolicy: []byte("{}")}, Key: []byte{1}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte{0xa0})
	f.Add([]byte("\xbf\xff"))
	f.Fuzz(func(t *testing.T, value []byte) {
		b, err := decodeBucket(catalog.Record{Name: "b", Value: value})
		if err != nil {
			return
		}
		again, err := encodeBucket(b)
		if err != nil {
			return // a year that has no RFC 3339 form
		}
		c, err := decodeBucket(catalog.Record{Name: "b", Value: again})
		if err != nil || c.ID != b.ID || c.Name != b.Name || c.Epoch != b.Epoch || c.Lock != b.Lock || len(c.Documents) != len(b.Documents) {
			t.Fatalf("%+v became %+v: %v", b, c, err)
		}
	})
}

// Pool records of any bytes are refused, or are pools that can be used.
func FuzzDecodePool(f *testing.F) {
	t := &placement.Topology{Revision: 1}
	for i := range 5 {
		t.Drives = append(t.Drives, placement.Drive{ID: hallig.ID{byte(i + 1)}, Node: hallig.ID{1}, State: placement.DriveActive})
	}
	for _, class := range []placement.Class{placement.Small, placement.Large} {
		p, err := placement.NewPool(1, t, hallig.SurviveDrive, class, nil)
		if err != nil {
			f.Fatal(err)
		}
		p.Groups = p.Groups[:2] // long seeds take the engine for ever to minimize
		value, err := cbor.Marshal(PoolRecord{Pool: *p, Over: activeIDs(t)})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(value)
	}
	f.Fuzz(func(_ *testing.T, value []byte) {
		p, err := DecodePool(catalog.Record{Name: PoolName(1), Value: value})
		if err != nil {
			return
		}
		p.Pool.Drives(t, p.Pool.Group(hallig.ID{8}, 7))
		_, _, _ = p.Pool.StripeSize(), p.Pool.Ack(), p.Pool.Fits(t)
	})
}

// Extents of any shape are refused or planned within their bounds.
func FuzzPlan(f *testing.F) {
	f.Add(int64(100), uint32(0), uint32(1), int64(0), int64(100))
	f.Add(int64(5<<20), uint32(3), uint32(2), int64(1<<20), int64(4<<20))
	f.Fuzz(func(t *testing.T, length int64, first, count uint32, offset, n int64) {
		pool := &placement.Pool{ID: 1, Scheme: placement.Scheme{K: 2, M: 1}, Segments: 4, Groups: [][]hallig.DriveID{make([]hallig.DriveID, 3)}}
		s := &Store{pools: newPoolBook(nil, nil)}
		s.pools.byID[1] = pool
		n, err := rangeOf(length, offset, n)
		if err != nil || length > 1<<30 {
			return
		}
		p, err := s.planRead(t.Context(), []catalog.Extent{{Data: hallig.ID{1}, First: first, Count: count, Length: length, Last: true, Pool: 1}}, opening{bucket: hallig.ID{2}}, offset, n)
		if err != nil {
			return
		}
		total := 0
		for st, err := range p.stripes() {
			if err != nil {
				return
			}
			if st.from < 0 || st.to > st.segments() || st.from >= st.to || st.plain <= 0 || st.take <= 0 {
				t.Fatalf("%+v", st)
			}
			total += st.take
		}
		if int64(total) != n {
			t.Fatalf("%d bytes planned of %d", total, n)
		}
	})
}
