package machine

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
)

func isNotFound(err error) bool { return errors.Is(err, hallig.ErrNotFound) }

// An Iterator walks rows in order. Key and Value are valid until the next
// move. Err is the storage's.
type Iterator interface {
	// SeekGE moves to the first row at or behind key, and reports whether there
	// is one.
	SeekGE(key []byte) bool
	Next() bool
	Key() []byte
	Value() []byte
	Err() error
}

// List makes one page of a list from the opened index.
func List(it Iterator, q catalog.Query) (catalog.Page, error) {
	if q.Limit < 1 {
		return catalog.Page{}, fmt.Errorf("list of %d items: %w", q.Limit, hallig.ErrInvalid)
	}
	if q.What > catalog.ListUploads {
		return catalog.Page{}, fmt.Errorf("list of kind %d: %w", q.What, hallig.ErrInvalid)
	}
	l := &lister{it: it, q: q}
	table := byte(openedVersion)
	if q.What == catalog.ListUploads {
		table = openedUpload
	}
	l.base = openedBucket(table, q.Bucket)
	l.prefix = appendPrefix(bytes.Clone(l.base), q.Prefix)
	if err := l.run(); err != nil {
		return catalog.Page{}, err
	}
	if err := it.Err(); err != nil {
		return catalog.Page{}, err
	}
	return l.page, nil
}

type lister struct {
	it     Iterator
	q      catalog.Query
	base   []byte // what the keys of the bucket's rows begin with
	prefix []byte // and those of the rows wanted
	seek   []byte // scratch
	last   []byte // the name of the row before, escaped or not as cut
	latest hallig.Revision
	page   catalog.Page
}

// start moves to the first row behind the marker.
func (l *lister) start() (bool, error) {
	from := l.prefix
	if l.q.After.Key != "" {
		behind, err := l.behind()
		if err != nil {
			return false, err
		}
		if bytes.Compare(behind, from) > 0 {
			from = behind
		}
	}
	return l.it.SeekGE(from), nil
}

// behind returns the first possible key behind the marker.
func (l *lister) behind() ([]byte, error) {
	name := appendEscaped(bytes.Clone(l.base), l.q.After.Key)
	all := after(name)
	switch {
	case l.q.What == catalog.ListVersions && l.q.After.Version != "":
		r, ok, err := l.markerRevision(name)
		if err != nil || !ok {
			return all, err
		}
		return binary.BigEndian.AppendUint64(name, ^uint64(r)+1), nil
	case l.q.What == catalog.ListUploads && !l.q.After.Upload.IsZero():
		ik := idKey(openedID, l.q.Bucket, l.q.After.Upload)
		if l.it.SeekGE(ik) && bytes.Equal(l.it.Key(), ik) {
			if k := bytes.Clone(l.it.Value()); bytes.HasPrefix(k, name) {
				return append(k, 0), nil
			}
		}
		// Closed since it was listed, or another key's: its id says when it was begun.
		u := &catalog.Upload{ID: l.q.After.Upload, Bucket: l.q.Bucket, Key: l.q.After.Key, Initiated: catalog.UploadBegun(l.q.After.Upload)}
		return append(openedUploadKey(u), 0), nil
	}
	return all, nil
}

// markerRevision finds the revision that the marker's version stands for, and
// notes which version of the key is its latest.
func (l *lister) markerRevision(name []byte) (hallig.Revision, bool, error) {
	if !l.it.SeekGE(name) || !bytes.HasPrefix(l.it.Key(), name) {
		return 0, false, nil
	}
	r, err := rowRevision(l.it.Key(), len(name))
	if err != nil {
		return 0, false, err
	}
	l.latest = r
	l.last = []byte(l.q.After.Key)
	if l.q.After.Version != catalog.NullVersion {
		r, err := l.q.After.Version.Revision()
		return r, err == nil && r != 0, nil
	}
	for ok := true; ok && bytes.HasPrefix(l.it.Key(), name); ok = l.it.Next() {
		if v := l.it.Value(); len(v) > 0 && v[0]&clearNull != 0 {
			r, err := rowRevision(l.it.Key(), len(name))
			return r, true, err
		}
	}
	return 0, false, nil
}

func rowRevision(k []byte, at int) (hallig.Revision, error) {
	if len(k) != at+8 {
		return 0, corrupt("opened key")
	}
	return hallig.Revision(^binary.BigEndian.Uint64(k[at:])), nil
}

func (l *lister) run() error {
	ok, err := l.start()
	for err == nil && ok && bytes.HasPrefix(l.it.Key(), l.prefix) && !l.page.Truncated {
		var name, rest []byte
		if name, rest, err = cutEscaped(l.it.Key()[len(l.base):]); err != nil {
			return err
		}
		if cp := l.common(name); cp != "" {
			ok = l.rollUp(cp, name)
			continue
		}
		switch l.q.What {
		case catalog.ListCurrent:
			ok, err = l.current(name, rest)
		case catalog.ListVersions:
			ok, err = l.version(name, rest)
		case catalog.ListUploads:
			ok, err = l.upload(name, rest)
		}
	}
	return err
}

// common returns the common prefix that the name rolls up into, or "".
func (l *lister) common(name []byte) string {
	if l.q.Delimiter == "" {
		return ""
	}
	i := bytes.Index(name[len(l.q.Prefix):], []byte(l.q.Delimiter))
	if i < 0 {
		return ""
	}
	return string(name[:len(l.q.Prefix)+i+len(l.q.Delimiter)])
}

// rollUp lists a common prefix once and moves behind all that it covers. A key
// whose current version is a delete marker does not make one in ListCurrent.
func (l *lister) rollUp(cp string, name []byte) bool {
	if cp > l.q.After.Key {
		if v := l.it.Value(); l.q.What == catalog.ListCurrent && len(v) > 0 && v[0]&clearMarker != 0 {
			return l.skip()
		}
		l.emit(catalog.Item{Prefix: cp}, catalog.Marker{Key: cp})
	}
	l.seek = appendPrefix(append(l.seek[:0], l.base...), cp)
	return l.it.SeekGE(after(l.seek))
}

// skip moves behind every row of the current name: by a step when it has but one.
func (l *lister) skip() bool {
	l.seek = append(l.seek[:0], l.it.Key()[:len(l.it.Key())-8]...)
	if !l.it.Next() {
		return false
	}
	if !bytes.HasPrefix(l.it.Key(), l.seek) {
		return true
	}
	return l.it.SeekGE(after(l.seek))
}

func (l *lister) current(name, rest []byte) (bool, error) {
	if len(rest) != 8 {
		return false, corrupt("opened key")
	}
	if v := l.it.Value(); len(v) > 0 && v[0]&clearMarker != 0 {
		return l.skip(), nil
	}
	if l.full() {
		return true, nil
	}
	item := catalog.Item{Version: catalog.Summary{Key: string(name), Latest: true,
		Revision: hallig.Revision(^binary.BigEndian.Uint64(rest))}}
	if err := decodeSummary(l.it.Value(), &item.Version); err != nil {
		return false, err
	}
	l.emit(item, catalog.Marker{Key: item.Version.Key})
	return l.skip(), nil
}

func (l *lister) version(name, rest []byte) (bool, error) {
	if len(rest) != 8 {
		return false, corrupt("opened key")
	}
	if l.full() {
		return true, nil
	}
	r := hallig.Revision(^binary.BigEndian.Uint64(rest))
	if l.last == nil || !bytes.Equal(l.last, name) {
		l.last, l.latest = append(l.last[:0], name...), r
	}
	item := catalog.Item{Version: catalog.Summary{Key: string(name), Revision: r, Latest: r == l.latest}}
	if err := decodeSummary(l.it.Value(), &item.Version); err != nil {
		return false, err
	}
	l.emit(item, catalog.Marker{Key: item.Version.Key, Version: item.Version.ID})
	return l.it.Next(), nil
}

func (l *lister) upload(name, rest []byte) (bool, error) {
	if len(rest) != 8+16 {
		return false, corrupt("opened key")
	}
	var o openedRest
	if err := unmarshal(l.it.Value(), &o); err != nil {
		return false, err
	}
	u := &catalog.Upload{ID: hallig.UploadID(rest[8:]), Bucket: l.q.Bucket, Key: strings.Clone(string(name)),
		Initiated: fromMillis(int64(binary.BigEndian.Uint64(rest) ^ 1<<63)), Initiator: o.Initiator}
	u.Owner, u.StorageClass = o.Owner, o.StorageClass
	u.Checksum = catalog.Checksum{Algorithm: o.ChecksumAlgorithm, Type: o.ChecksumType}
	l.emit(catalog.Item{Upload: u}, catalog.Marker{Key: u.Key, Upload: u.ID})
	return l.it.Next(), nil
}

// full notes that there is more than the page holds.
func (l *lister) full() bool {
	l.page.Truncated = l.page.Truncated || len(l.page.Items) == l.q.Limit
	return l.page.Truncated
}

// maxPage is how many items are made room for at once: a page of S3.
const maxPage = 1000

func (l *lister) emit(item catalog.Item, m catalog.Marker) {
	if l.full() {
		return
	}
	if n, all := len(l.page.Items), min(l.q.Limit, maxPage); n == cap(l.page.Items) && n >= 16 && n < all {
		l.page.Items = slices.Grow(l.page.Items, all-n) // it will be a whole page
	}
	l.page.Items = append(l.page.Items, item)
	l.page.Next = m
}
