package catalogtest

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
)

// model is the naive catalog of one bucket: a list of versions for each key,
// oldest first.
type model struct {
	keys    map[string][]catalog.Version
	uploads map[hallig.UploadID]catalog.Upload
	parts   map[hallig.UploadID]map[int]catalog.Part
	garbage map[written]bool
}

// written names what one writing of data left: a re-encoding is another one.
type written struct {
	data       hallig.DataID
	generation uint16
}

// testModel runs random operations against the catalog and the model and
// compares every answer, and every list now and then.
func testModel(t *testing.T, f *fixture) {
	seed := rand.Uint64()
	steps := 3000
	if testing.Short() {
		steps = 500
	}
	t.Logf("seed %d", seed)
	Model(t, f.Catalog, seed, steps)
}

// Model runs the random comparison with a stated seed.
func Model(t testing.TB, c catalog.Catalog, seed uint64, steps int) {
	f := newFixture(t, c)
	r := &runner{fixture: f, rng: rand.New(rand.NewPCG(seed, 1)), m: &model{keys: map[string][]catalog.Version{},
		uploads: map[hallig.UploadID]catalog.Upload{}, parts: map[hallig.UploadID]map[int]catalog.Part{}, garbage: map[written]bool{}}}
	for i := range steps {
		r.step(i)
		if i%50 == 49 {
			r.compareLists()
		}
	}
	r.compareAll()
}

type runner struct {
	*fixture
	rng *rand.Rand
	m   *model
}

func (r *runner) key() string {
	return []string{"a", "a/", "a/b", "a/b/c", "a/c", "a0", "b//", "b//x", "b\x00", "b\x00\x01", "b\x00ÿ", "c", "c/d/e", "ü"}[r.rng.IntN(14)]
}

func (m *model) current(key string) *catalog.Version {
	if vs := m.keys[key]; len(vs) > 0 {
		return &vs[len(vs)-1]
	}
	return nil
}

func (r *runner) step(i int) {
	r.Helper()
	key := r.key()
	versioning := catalog.Versioning(r.rng.IntN(3))
	cur := r.m.current(key)
	switch p := r.rng.IntN(100); {
	case p < 40:
		op := r.put(key, versioning, int64(r.rng.IntN(100)), fmt.Sprint("e", r.rng.IntN(3)))
		op.If = r.precondition()
		r.expect(i, op, op.If.Check(cur), func(v catalog.Version) { r.m.put(v) })
	case p < 60:
		op := r.delete(key, versioning)
		op.If = r.precondition()
		r.expect(i, op, op.If.Check(cur), func(v catalog.Version) { r.m.delete(key, versioning, v) })
	case p < 75:
		r.deleteVersion(i, key)
	case p < 85:
		if vs := r.m.keys[key]; len(vs) > 0 {
			n := r.rng.IntN(len(vs))
			v := vs[n]
			var want error
			if v.DeleteMarker {
				want = hallig.ErrInvalid
			}
			v.Tags = []catalog.Tag{{Key: "t", Value: fmt.Sprint(i)}}
			r.expect(i, catalog.Update{Version: v}, want, func(u catalog.Version) { v.Edit = u.Edit; r.m.keys[key][n] = v })
		}
	default:
		r.upload(i, key, versioning)
	}
}

func (r *runner) precondition() (p catalog.Precondition) {
	switch r.rng.IntN(6) {
	case 0:
		p.IfMatch = []string{fmt.Sprint("e", r.rng.IntN(3))}
	case 1:
		p.IfNoneMatch = []string{"*"}
	case 2:
		p.IfNoneMatch = []string{fmt.Sprint("e", r.rng.IntN(3))}
	}
	return p
}

// expect commits op, compares its error with want's kind, and has the model
// follow a success.
func (r *runner) expect(i int, op catalog.Op, want error, follow func(catalog.Version)) {
	r.Helper()
	res := r.do(op)
	for _, kind := range []error{hallig.ErrPrecondition, hallig.ErrNotFound, hallig.ErrInvalid, hallig.ErrConflict, hallig.ErrExists} {
		if errors.Is(res.Err, kind) != errors.Is(want, kind) {
			r.Fatalf("step %d: %+v: got %v, want %v", i, op, res.Err, want)
		}
	}
	if (res.Err == nil) != (want == nil) {
		r.Fatalf("step %d: %+v: got %v, want %v", i, op, res.Err, want)
	}
	if want == nil {
		follow(res.Version)
	}
}

func (m *model) waste(v catalog.Version) {
	for _, e := range v.Extents {
		m.garbage[written{e.Data, e.Generation}] = true
	}
}

func (m *model) dropNull(key string) (dropped catalog.Version) {
	m.keys[key] = slices.DeleteFunc(m.keys[key], func(v catalog.Version) bool {
		if v.Null {
			dropped = v
			m.waste(v)
		}
		return v.Null
	})
	return dropped
}

func (m *model) put(v catalog.Version) {
	if v.Null {
		m.dropNull(v.Key)
	}
	m.keys[v.Key] = append(m.keys[v.Key], v)
}

func (m *model) delete(key string, versioning catalog.Versioning, v catalog.Version) {
	if versioning == catalog.Unversioned {
		m.dropNull(key)
		return
	}
	m.put(v)
}

func (r *runner) deleteVersion(i int, key string) {
	id := catalog.RevisionID(hallig.Revision(1<<48 + r.rng.Uint64N(1000)))
	vs := r.m.keys[key]
	if len(vs) > 0 && r.rng.IntN(4) > 0 {
		id = vs[r.rng.IntN(len(vs))].ID()
	}
	at := slices.IndexFunc(vs, func(v catalog.Version) bool { return v.ID() == id })
	r.expect(i, catalog.DeleteVersion{Key: key, Version: id, At: r.now}, nil, func(got catalog.Version) {
		if at < 0 {
			if got.Revision != 0 {
				r.Fatalf("step %d: removed %+v, which was not there", i, got)
			}
			return
		}
		if got.Revision != vs[at].Revision || got.ETag != vs[at].ETag || got.Latest != (at == len(vs)-1) {
			r.Fatalf("step %d: removed %+v, want %+v", i, got, vs[at])
		}
		r.m.waste(vs[at])
		r.m.keys[key] = slices.Delete(slices.Clone(vs), at, at+1)
	})
}

func (r *runner) upload(i int, key string, versioning catalog.Versioning) {
	var ids []hallig.UploadID
	for id := range r.m.uploads {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b hallig.UploadID) int { return slices.Compare(a[:], b[:]) })
	if len(ids) < 3 || r.rng.IntN(5) == 0 {
		u := catalog.Upload{ID: hallig.NewID(), Key: key, Initiated: r.now.Add(-1e9 * 3600 * 24 * 365 * 60)}
		r.expect(i, catalog.CreateUpload{Upload: u}, nil, func(catalog.Version) {
			r.m.uploads[u.ID], r.m.parts[u.ID] = u, map[int]catalog.Part{}
		})
		return
	}
	u := r.m.uploads[ids[r.rng.IntN(len(ids))]]
	parts := r.m.parts[u.ID]
	switch r.rng.IntN(5) {
	case 4:
		r.movePart(i, u, parts)
	case 0:
		r.expect(i, catalog.AbortUpload{Key: u.Key, Upload: u.ID}, nil, func(catalog.Version) { r.closeUpload(u.ID, nil) })
	case 1:
		op := r.put(u.Key, versioning, 0, "done")
		op.Upload, op.Version.Extents = u.ID, nil
		for n, p := range parts {
			if n%2 == 0 {
				op.Version.Extents = append(op.Version.Extents, p.Extents...)
				op.Version.Size += p.Size
			}
		}
		r.expect(i, op, nil, func(v catalog.Version) { r.m.put(v); r.closeUpload(u.ID, v.Extents) })
	default:
		p := catalog.Part{Number: 1 + r.rng.IntN(6), Size: 5, ETag: "p", Extents: []catalog.Extent{extent(5)}}
		r.expect(i, catalog.PutPart{Key: u.Key, Upload: u.ID, Part: p}, nil, func(catalog.Version) {
			r.m.waste(catalog.Version{Extents: parts[p.Number].Extents})
			parts[p.Number] = p
		})
	}
}

// movePart moves a part as it is, as it was never, or one that is not there.
func (r *runner) movePart(i int, u catalog.Upload, parts map[int]catalog.Part) {
	n := 1 + r.rng.IntN(6)
	p, there := parts[n]
	was := slices.Clone(p.Extents)
	if !there {
		p, was = catalog.Part{Number: n, Size: 5}, []catalog.Extent{extent(5)}
	}
	var want error
	if r.rng.IntN(3) == 0 {
		was[0].Generation++
	}
	if !there || was[0] != p.Extents[0] {
		want = hallig.ErrConflict
	}
	p.Extents = slices.Clone(was)
	p.Extents[0].Pool++
	p.Extents[0].Generation++
	r.expect(i, catalog.PutPart{Key: u.Key, Upload: u.ID, Part: p, Was: was}, want, func(catalog.Version) {
		r.m.waste(catalog.Version{Extents: parts[n].Extents})
		parts[n] = p
	})
}

func (r *runner) closeUpload(id hallig.UploadID, used []catalog.Extent) {
	for _, p := range r.m.parts[id] {
		if !slices.Contains(used, p.Extents[0]) {
			r.m.waste(catalog.Version{Extents: p.Extents})
		}
	}
	delete(r.m.uploads, id)
	delete(r.m.parts, id)
}

// entries lists what a query covers, naively: every entry with its marker.
func (m *model) entries(q catalog.Query) (out []string, markers []catalog.Marker) {
	var keys []string
	for k, vs := range m.keys {
		if len(vs) > 0 && strings.HasPrefix(k, q.Prefix) {
			keys = append(keys, k)
		}
	}
	if q.What == catalog.ListUploads {
		keys = nil
		for _, u := range m.uploads {
			if strings.HasPrefix(u.Key, q.Prefix) && !slices.Contains(keys, u.Key) {
				keys = append(keys, u.Key)
			}
		}
	}
	slices.Sort(keys)
	last := ""
	add := func(s string, mk catalog.Marker) { out, markers = append(out, s), append(markers, mk) }
	for _, k := range keys {
		if q.What == catalog.ListCurrent && m.current(k).DeleteMarker {
			continue
		}
		if i := strings.Index(k[len(q.Prefix):], q.Delimiter); q.Delimiter != "" && i >= 0 {
			if cp := k[:len(q.Prefix)+i+len(q.Delimiter)]; cp != last {
				last = cp
				add("["+cp+"]", catalog.Marker{Key: cp})
			}
			continue
		}
		m.entriesOf(k, q.What, add)
	}
	return out, markers
}

func (m *model) entriesOf(k string, what catalog.What, add func(string, catalog.Marker)) {
	switch what {
	case catalog.ListUploads:
		var us []catalog.Upload
		for _, u := range m.uploads {
			if u.Key == k {
				us = append(us, u)
			}
		}
		slices.SortFunc(us, func(a, b catalog.Upload) int {
			return cmp.Or(a.Initiated.Compare(b.Initiated), slices.Compare(a.ID[:], b.ID[:]))
		})
		for _, u := range us {
			add(k+u.ID.String(), catalog.Marker{Key: k, Upload: u.ID})
		}
	case catalog.ListCurrent:
		add(fmt.Sprint(k, m.current(k).Revision, true), catalog.Marker{Key: k})
	case catalog.ListVersions:
		vs := m.keys[k]
		for i := len(vs) - 1; i >= 0; i-- {
			add(fmt.Sprint(k, vs[i].Revision, i == len(vs)-1), catalog.Marker{Key: k, Version: vs[i].ID()})
		}
	}
}

func (r *runner) compareLists() {
	r.Helper()
	for range 12 {
		q := catalog.Query{What: catalog.What(r.rng.IntN(3)), Limit: 1 + r.rng.IntN(6)}
		q.Delimiter = []string{"", "/", "//", "b", "\x00", "ü"}[r.rng.IntN(6)]
		if k := r.key(); r.rng.IntN(2) == 0 {
			q.Prefix = k[:1]
		}
		want, markers := r.m.entries(q)
		from := 0
		if len(markers) > 0 && r.rng.IntN(2) == 0 {
			from = 1 + r.rng.IntN(len(markers))
			q.After = markers[from-1]
		}
		want, markers = want[from:], markers[from:]
		page := r.list(q)
		n := min(q.Limit, len(want))
		if got := render(page); !slices.Equal(got, want[:n]) || page.Truncated != (n < len(want)) {
			r.Fatalf("list %+v:\ngot  %q truncated %v\nwant %q of %d", q, got, page.Truncated, want[:n], len(want))
		}
		if page.Truncated && page.Next != markers[n-1] {
			r.Fatalf("list %+v: next %+v, want %+v", q, page.Next, markers[n-1])
		}
	}
}

func render(p catalog.Page) (out []string) {
	for _, i := range p.Items {
		switch {
		case i.Prefix != "":
			out = append(out, "["+i.Prefix+"]")
		case i.Upload != nil:
			out = append(out, i.Upload.Key+i.Upload.ID.String())
		default:
			out = append(out, fmt.Sprint(i.Version.Key, i.Version.Revision, i.Version.Latest))
		}
	}
	return out
}

func (r *runner) compareAll() {
	r.Helper()
	want := catalog.Usage{Epoch: r.epoch, Uploads: int64(len(r.m.uploads))}
	live := map[written]bool{}
	for k, vs := range r.m.keys {
		for _, v := range vs {
			want.Versions++
			want.Bytes += v.Size
			got := r.head(k, v.ID())
			if got.Revision != v.Revision || got.Edit != v.Edit || fmt.Sprint(got.Tags) != fmt.Sprint(v.Tags) {
				r.Fatalf("head: got %+v, want %+v", got, v)
			}
			for _, e := range v.Extents {
				live[written{e.Data, e.Generation}] = true
			}
		}
		if c := r.m.current(k); c != nil && !c.DeleteMarker {
			want.Current++
		}
	}
	equal(r.TB, want, r.usage())
	got := map[written]bool{}
	for _, g := range r.garbage() {
		for _, e := range g.Extents {
			got[written{e.Data, e.Generation}] = true
			if live[written{e.Data, e.Generation}] {
				r.Fatalf("live data %s is garbage", e.Data)
			}
		}
	}
	equal(r.TB, r.m.garbage, got)
	for id := range live {
		if !r.referenced(id.data) {
			r.Fatalf("live data %s is not referenced", id.data)
		}
	}
}
