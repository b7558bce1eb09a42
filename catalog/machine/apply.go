package machine

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
)

// A change applies one command's steps.
type change struct {
	m    *Machine
	rows Rows
	c    *Command
}

// step applies one step. An answer's code other than CodeOK means that the
// step changed nothing.
func (t *change) step(st *Step) (StepAnswer, error) {
	if !st.wellFormed() {
		return StepAnswer{Code: CodeInvalid}, nil
	}
	switch st.Kind {
	case StepFail:
		if st.Code == CodeOK {
			return StepAnswer{Code: CodeInvalid}, nil
		}
		return StepAnswer{Code: st.Code}, nil
	case StepPut:
		return t.put(st)
	case StepRemove:
		return t.remove(st)
	case StepUpdate:
		return t.update(st)
	case StepCreateUpload:
		return t.createUpload(st)
	case StepPutPart, StepMovePart:
		return t.putPart(st)
	case StepAbortUpload:
		return t.abortUpload(st)
	case StepBucket:
		return t.setBucket(st)
	}
	return StepAnswer{Code: CodeInvalid}, nil
}

func (st *Step) wellFormed() bool {
	switch st.Kind {
	case StepPut, StepRemove, StepUpdate, StepCreateUpload, StepPutPart, StepMovePart, StepAbortUpload:
		return len(st.Name) > 0 && len(st.Name) <= maxSealedName
	}
	return true
}

// put makes a version, or a delete marker, current.
func (t *change) put(st *Step) (StepAnswer, error) {
	made, _, rest, err := decodeClear(st.Clear)
	if err != nil || len(rest) > 0 {
		return StepAnswer{Code: CodeInvalid}, nil
	}
	h, err := getHead(t.rows, t.c.Bucket, st.Name)
	if err != nil {
		return StepAnswer{}, err
	}
	if made.Null {
		if held, err := t.nullHeld(st, h); err != nil || held {
			return StepAnswer{Code: st.held()}, err
		}
	}
	own := owners{}
	feed := [][]byte{}
	if !st.Upload.IsZero() {
		if code, err := t.usesParts(st.Upload, st.Name, made.Extents); err != nil || code != CodeOK {
			return StepAnswer{Code: code}, err
		}
		code, err := t.closeUpload(st.Upload, st.Name, &own)
		if err != nil || code != CodeOK {
			return StepAnswer{Code: code}, err
		}
		feed = append(feed, uploadKey(t.c.Bucket, st.Upload))
	}
	b, err := t.m.bucket(t.rows, t.c.Bucket)
	if err != nil {
		return StepAnswer{}, err
	}
	if h.Current != 0 && !h.Marker {
		b.Current--
	}
	if made.Null && h.Null != 0 {
		k, _, err := t.drop(st.Name, h.Null, b, &own)
		if err != nil {
			return StepAnswer{}, err
		}
		feed = append(feed, k)
	}
	rev := t.m.next()
	h.Revision, h.Current, h.Marker = rev, rev, made.Marker
	if made.Null {
		h.Null = rev
	}
	b.Versions++
	b.Bytes += made.Size
	if !made.Marker {
		b.Current++
	}
	t.m.touch(t.c.Bucket)
	k := versionKey(t.c.Bucket, st.Name, rev)
	own.add(made.Extents)
	if err := t.rows.Set(k, appendVersionRow(nil, rev, st.Clear, st.Sealed)); err != nil {
		return StepAnswer{}, err
	}
	if err := t.rows.Set(headKey(t.c.Bucket, st.Name), h.append(nil)); err != nil {
		return StepAnswer{}, err
	}
	return StepAnswer{Revision: rev, Edit: rev, Latest: true}, t.finish(rev, own, append(feed, k)...)
}

// held is the answer to a step that an object lock stands against.
func (st *Step) held() Code {
	if st.Presumed {
		return CodeRetry
	}
	return CodeLockHeld
}

// nullHeld reports whether the key's null version carries an object lock other
// than one that the step's evaluator has found to hold no more.
func (t *change) nullHeld(st *Step, h head) (bool, error) {
	if h.Null == 0 || t.m.NoCompare {
		return false, nil
	}
	row, err := getVersion(t.rows, t.c.Bucket, st.Name, h.Null)
	if err != nil || row == nil {
		return false, err
	}
	return row.Clear.Locked && row.Edit != st.Unlock, nil
}

// drop removes a version's row and what it counts; the head is the caller's.
func (t *change) drop(name []byte, r hallig.Revision, b *bucketRow, own *owners) (key, value []byte, err error) {
	key = versionKey(t.c.Bucket, name, r)
	if value, err = t.rows.Get(key); err != nil {
		return nil, nil, err
	}
	if value == nil {
		return nil, nil, corrupt("head row names a missing version")
	}
	row, err := decodeVersionRow(value)
	if err != nil {
		return nil, nil, err
	}
	b.Versions--
	b.Bytes -= row.Clear.Size
	t.m.touch(t.c.Bucket)
	own.drop(row.Clear.Extents)
	return key, value, t.rows.Delete(key)
}

// remove deletes one version; the next older one becomes current.
func (t *change) remove(st *Step) (StepAnswer, error) {
	h, err := getHead(t.rows, t.c.Bucket, st.Name)
	if err != nil || h.Current == 0 {
		return StepAnswer{}, err
	}
	target := st.Target
	if st.TargetNull {
		target = h.Null
	}
	if target == 0 {
		return StepAnswer{}, nil
	}
	if v, err := t.rows.Get(versionKey(t.c.Bucket, st.Name, target)); err != nil || v == nil {
		return StepAnswer{}, err
	}
	if st.Compare != CompareEdit { // else the evaluator saw this very version
		if held, err := t.nullHeld(st, h); err != nil || held {
			return StepAnswer{Code: st.held()}, err
		}
	}
	b, err := t.m.bucket(t.rows, t.c.Bucket)
	if err != nil {
		return StepAnswer{}, err
	}
	own := owners{}
	k, value, err := t.drop(st.Name, target, b, &own)
	if err != nil {
		return StepAnswer{}, err
	}
	was := h
	rev := t.m.next()
	h.Revision = rev
	if h.Null == target {
		h.Null = 0
	}
	if h.Current == target {
		if h.Current, h.Marker, err = t.newest(st.Name); err != nil {
			return StepAnswer{}, err
		}
		if !was.Marker {
			b.Current--
		}
		if h.Current != 0 && !h.Marker {
			b.Current++
		}
	}
	if h.Current == 0 {
		err = t.rows.Delete(headKey(t.c.Bucket, st.Name))
	} else {
		err = t.rows.Set(headKey(t.c.Bucket, st.Name), h.append(nil))
	}
	if err != nil {
		return StepAnswer{}, err
	}
	return StepAnswer{Revision: target, Row: value, Latest: was.Current == target}, t.finish(rev, own, k)
}

// newest finds the newest version that is left of a key.
func (t *change) newest(name []byte) (r hallig.Revision, marker bool, err error) {
	p := versionPrefix(t.c.Bucket, name)
	var inner error
	err = t.rows.Scan(p, after(p), func(k, v []byte) bool {
		// The prefix fixes the name's length: its rows are exactly 8 bytes longer.
		if len(k) != len(p)+8 {
			inner = corrupt("version key")
			return false
		}
		var row *versionRow
		if row, inner = decodeVersionRow(v); inner == nil {
			r, marker = hallig.Revision(^binary.BigEndian.Uint64(k[len(p):])), row.Clear.Marker
		}
		return false
	})
	if err == nil {
		err = inner
	}
	return r, marker, err
}

// update replaces a version's rest, and its extents.
func (t *change) update(st *Step) (StepAnswer, error) {
	made, _, rest, err := decodeClear(st.Clear)
	if err != nil || len(rest) > 0 {
		return StepAnswer{Code: CodeInvalid}, nil
	}
	row, err := getVersion(t.rows, t.c.Bucket, st.Name, st.Target)
	if err != nil {
		return StepAnswer{}, err
	}
	switch {
	case row == nil:
		return StepAnswer{Code: CodeNotFound}, nil
	case row.Edit != st.Want && !t.m.NoCompare:
		return StepAnswer{Code: CodeConflict}, nil
	case row.Clear.Size != made.Size, row.Clear.Null != made.Null, row.Clear.Marker != made.Marker:
		return StepAnswer{Code: CodeInvalid}, nil
	}
	h, err := getHead(t.rows, t.c.Bucket, st.Name)
	if err != nil {
		return StepAnswer{}, err
	}
	own := owners{}
	own.drop(row.Clear.Extents)
	own.add(made.Extents)
	rev := t.m.next()
	h.Revision = rev
	k := versionKey(t.c.Bucket, st.Name, st.Target)
	if err := t.rows.Set(k, appendVersionRow(nil, rev, st.Clear, st.Sealed)); err != nil {
		return StepAnswer{}, err
	}
	if err := t.rows.Set(headKey(t.c.Bucket, st.Name), h.append(nil)); err != nil {
		return StepAnswer{}, err
	}
	return StepAnswer{Revision: st.Target, Edit: rev, Latest: h.Current == st.Target}, t.finish(rev, own, k)
}

// finish writes an operation's references, garbage and feed.
func (t *change) finish(rev hallig.Revision, own owners, changed ...[]byte) error {
	garbage, err := own.settle(t.rows)
	if err != nil {
		return err
	}
	if len(garbage) > 0 {
		g := garbageRow{When: t.c.When, Bucket: t.c.Bucket, Extents: garbage}
		if err := t.rows.Set(garbageKey(rev), g.append(nil)); err != nil {
			return err
		}
	}
	if len(changed) == 0 {
		return nil
	}
	return t.rows.Set(FeedKey(t.m.meta.Counter), appendFeed(nil, changed))
}

func (t *change) createUpload(st *Step) (StepAnswer, error) {
	if st.Upload.IsZero() {
		return StepAnswer{Code: CodeInvalid}, nil
	}
	k := uploadKey(t.c.Bucket, st.Upload)
	if v, err := t.rows.Get(k); err != nil || v != nil {
		return StepAnswer{Code: CodeExists}, err
	}
	b, err := t.m.bucket(t.rows, t.c.Bucket)
	if err != nil {
		return StepAnswer{}, err
	}
	b.Uploads++
	t.m.touch(t.c.Bucket)
	if err := t.rows.Set(k, appendUploadRow(nil, st.Name, st.Sealed)); err != nil {
		return StepAnswer{}, err
	}
	rev := t.m.next()
	return StepAnswer{Revision: rev}, t.finish(rev, owners{}, k)
}

// openUpload reports whether the upload is open under the name.
func (t *change) openUpload(id hallig.UploadID, name []byte) (bool, error) {
	v, err := t.rows.Get(uploadKey(t.c.Bucket, id))
	if err != nil || v == nil {
		return false, err
	}
	row, err := decodeUploadRow(v)
	return err == nil && bytes.Equal(row.Name, name), err
}

func (t *change) putPart(st *Step) (StepAnswer, error) {
	made, _, _, err := decodeClear(st.Clear)
	if err != nil || st.Number == 0 || st.Number > catalog.MaxParts {
		return StepAnswer{Code: CodeInvalid}, nil
	}
	open, err := t.openUpload(st.Upload, st.Name)
	if err != nil || !open {
		return StepAnswer{Code: CodeNotFound}, err
	}
	k := partKey(t.c.Bucket, st.Upload, st.Number)
	old, err := t.rows.Get(k)
	if err != nil {
		return StepAnswer{}, err
	}
	var row partRow
	if old != nil {
		if row, err = decodePartRow(old); err != nil {
			return StepAnswer{}, err
		}
	}
	if st.Kind == StepMovePart && !t.m.NoCompare {
		if code := moves(st, old != nil, &row.Clear, &made); code != CodeOK {
			return StepAnswer{Code: code}, nil
		}
	}
	own := owners{}
	own.drop(row.Clear.Extents)
	own.add(made.Extents)
	if err := t.rows.Set(k, append(append([]byte{}, st.Clear...), st.Sealed...)); err != nil {
		return StepAnswer{}, err
	}
	rev := t.m.next()
	return StepAnswer{Revision: rev}, t.finish(rev, own)
}

// moves decides whether a part that is there may give way to the same part in
// another place.
func moves(st *Step, there bool, now, made *clearPart) Code {
	was, _, rest, err := decodeClear(st.Was)
	switch {
	case err != nil || len(rest) > 0 || len(was.Extents) == 0:
		return CodeInvalid
	case !there || !slices.Equal(was.Extents, now.Extents) || now.Size != was.Size || now.Size != made.Size:
		return CodeConflict
	}
	return CodeOK
}

// usesParts reports whether the extents of a completion are those of the
// upload's parts as they are now: a part that was replaced since the caller read
// it has left its data to the garbage.
func (t *change) usesParts(id hallig.UploadID, name []byte, extents []catalog.Extent) (Code, error) {
	open, err := t.openUpload(id, name)
	if err != nil || !open {
		return CodeNotFound, err
	}
	p := idKey(tablePart, t.c.Bucket, id)
	have := map[catalog.Extent]bool{}
	var inner error
	err = t.rows.Scan(p, after(p), func(_, v []byte) bool {
		var row partRow
		if row, inner = decodePartRow(v); inner != nil {
			return false
		}
		for _, e := range row.Clear.Extents {
			have[e] = true
		}
		return true
	})
	if err = cmp.Or(err, inner); err != nil {
		return CodeOK, err
	}
	for _, e := range extents {
		if !have[e] {
			return CodeConflict, nil
		}
	}
	return CodeOK, nil
}

// closeUpload removes an open upload and its parts; their extents are dropped.
func (t *change) closeUpload(id hallig.UploadID, name []byte, own *owners) (Code, error) {
	open, err := t.openUpload(id, name)
	if err != nil || !open {
		return CodeNotFound, err
	}
	return CodeOK, t.dropUpload(id, own)
}

func (t *change) dropUpload(id hallig.UploadID, own *owners) error {
	p := idKey(tablePart, t.c.Bucket, id)
	var keys [][]byte
	var inner error
	err := t.rows.Scan(p, after(p), func(k, v []byte) bool {
		var row partRow
		if row, inner = decodePartRow(v); inner != nil {
			return false
		}
		own.drop(row.Clear.Extents)
		keys = append(keys, append([]byte{}, k...))
		return true
	})
	if err == nil {
		err = inner
	}
	if err != nil {
		return err
	}
	for _, k := range append(keys, uploadKey(t.c.Bucket, id)) {
		if err := t.rows.Delete(k); err != nil {
			return err
		}
	}
	b, err := t.m.bucket(t.rows, t.c.Bucket)
	if err != nil {
		return err
	}
	b.Uploads--
	t.m.touch(t.c.Bucket)
	return nil
}

func (t *change) abortUpload(st *Step) (StepAnswer, error) {
	own := owners{}
	code, err := t.closeUpload(st.Upload, st.Name, &own)
	if err != nil || code != CodeOK {
		return StepAnswer{Code: code}, err
	}
	rev := t.m.next()
	return StepAnswer{Revision: rev}, t.finish(rev, own, uploadKey(t.c.Bucket, st.Upload))
}

// setBucket opens a bucket, raises its epoch, or closes it with its uploads.
func (t *change) setBucket(st *Step) (StepAnswer, error) {
	b, err := t.m.bucket(t.rows, t.c.Bucket)
	if err != nil {
		return StepAnswer{}, err
	}
	switch {
	case st.Epoch <= b.Epoch:
		return StepAnswer{Code: CodeInvalid}, nil
	case st.Close && b.Versions > 0:
		return StepAnswer{Code: CodeNotEmpty}, nil
	}
	if st.Close && b.Uploads > 0 {
		if err := t.abortAll(); err != nil {
			return StepAnswer{}, err
		}
	}
	b.Epoch, b.Closed = st.Epoch, st.Close
	t.m.touch(t.c.Bucket)
	return StepAnswer{Revision: t.m.next()}, nil
}

// abortAll aborts every upload of the bucket, each under a revision of its own
// so that no garbage row grows with the bucket.
func (t *change) abortAll() error {
	p := idKey(tableUpload, t.c.Bucket)
	var ids []hallig.UploadID
	err := t.rows.Scan(p, after(p), func(k, _ []byte) bool {
		ids = append(ids, hallig.UploadID(k[len(p):len(p)+16]))
		return true
	})
	if err != nil {
		return err
	}
	for _, id := range ids {
		own := owners{}
		if err := t.dropUpload(id, &own); err != nil {
			return err
		}
		if err := t.finish(t.m.next(), own, uploadKey(t.c.Bucket, id)); err != nil {
			return err
		}
	}
	return nil
}

func (m *Machine) applyRecords(rows Rows, c *Command) (Answer, error) {
	if len(c.Records) == 0 || len(c.Records) > catalog.MaxOps {
		return Answer{Code: CodeInvalid}, nil
	}
	for i := range c.Records {
		r := &c.Records[i]
		if len(r.Kind) == 0 || len(r.Kind) > 64 || len(r.Name) == 0 || len(r.Name) > maxSealedName {
			return Answer{Code: CodeInvalid}, nil
		}
		if r.Expect == catalog.AnyRevision || m.NoCompare {
			continue
		}
		v, err := rows.Get(recordKey(catalog.Kind(r.Kind), r.Name))
		if err != nil {
			return Answer{}, err
		}
		var have hallig.Revision
		if v != nil {
			if have, _, err = decodeRecordRow(v); err != nil {
				return Answer{}, err
			}
		}
		if have != r.Expect {
			return Answer{Code: CodeConflict}, nil
		}
	}
	a := Answer{Steps: make([]StepAnswer, len(c.Records))}
	for i := range c.Records {
		r := &c.Records[i]
		rev := m.next()
		k := recordKey(catalog.Kind(r.Kind), r.Name)
		var err error
		if r.Delete {
			err = rows.Delete(k)
		} else {
			err = rows.Set(k, appendRecordRow(nil, rev, r.Value))
		}
		if err == nil {
			err = rows.Set(FeedKey(m.meta.Counter), appendFeed(nil, [][]byte{k}))
		}
		if err != nil {
			return Answer{}, err
		}
		a.Steps[i] = StepAnswer{Revision: rev, Edit: rev}
	}
	return a, nil
}

func appendRecordRow(b []byte, r hallig.Revision, value []byte) []byte {
	return append(binary.BigEndian.AppendUint64(b, uint64(r)), value...)
}

func decodeRecordRow(b []byte) (hallig.Revision, []byte, error) {
	if len(b) < 8 {
		return 0, nil, corrupt("mesh record row")
	}
	return hallig.Revision(binary.BigEndian.Uint64(b)), b[8:], nil
}

func (m *Machine) applyCollected(rows Rows, c *Command) (Answer, error) {
	for _, r := range c.Revisions {
		k := garbageKey(r)
		v, err := rows.Get(k)
		if err != nil {
			return Answer{}, err
		}
		if v == nil {
			continue
		}
		g, err := decodeGarbage(v)
		if err != nil {
			return Answer{}, err
		}
		if err := rows.Delete(k); err != nil {
			return Answer{}, err
		}
		if err := forget(rows, g.Extents); err != nil {
			return Answer{}, err
		}
	}
	return Answer{}, nil
}
