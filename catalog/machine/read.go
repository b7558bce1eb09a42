package machine

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
)

// Head reads one version; see catalog.Objects.
func (s Vault) Head(rows Reader, b hallig.BucketID, key string, id catalog.VersionID) (catalog.Version, error) {
	missing := func() (catalog.Version, error) {
		return catalog.Version{}, fmt.Errorf("version %q of key %q: %w", string(id), key, hallig.ErrNotFound)
	}
	if checkKey(key) != nil {
		return missing()
	}
	name, err := s.name(b, key)
	if err != nil {
		return catalog.Version{}, err
	}
	h, err := getHead(rows, b, name)
	if err != nil {
		return catalog.Version{}, err
	}
	var r hallig.Revision
	switch id {
	case catalog.CurrentVersion:
		r = h.Current
	case catalog.NullVersion:
		r = h.Null
	default:
		if r, err = id.Revision(); err != nil {
			return catalog.Version{}, fmt.Errorf("version %q of key %q: %w: %w", string(id), key, err, hallig.ErrNotFound)
		}
	}
	if r == 0 {
		return missing()
	}
	row, err := getVersion(rows, b, name, r)
	if err != nil {
		return catalog.Version{}, err
	}
	if row == nil || id != catalog.CurrentVersion && row.Clear.Null != (id == catalog.NullVersion) {
		return missing()
	}
	v, err := s.openVersion(b, name, key, r, row)
	v.Latest = h.Current == r
	return v, err
}

// Upload reads an open upload; see catalog.Objects.
func (s Vault) Upload(rows Reader, b hallig.BucketID, key string, id hallig.UploadID) (catalog.Upload, error) {
	v, err := rows.Get(uploadKey(b, id))
	if err != nil {
		return catalog.Upload{}, err
	}
	if v != nil {
		row, err := decodeUploadRow(v)
		if err != nil {
			return catalog.Upload{}, err
		}
		u, err := s.openUpload(b, id, row)
		if err != nil || u.Key == key {
			return u, err
		}
	}
	return catalog.Upload{}, fmt.Errorf("upload %s of key %q: %w", id, key, hallig.ErrNotFound)
}

// Parts reads an upload's parts; see catalog.Objects.
func (s Vault) Parts(rows Reader, b hallig.BucketID, key string, id hallig.UploadID, above, limit int) (parts []catalog.Part, more bool, err error) {
	if _, err := s.Upload(rows, b, key, id); err != nil {
		return nil, false, err
	}
	if limit <= 0 || limit > catalog.MaxParts {
		limit = catalog.MaxParts
	}
	if above >= catalog.MaxParts {
		return nil, false, nil
	}
	p := idKey(tablePart, b, id)
	var inner error
	err = rows.Scan(partKey(b, id, uint16(max(above, 0)+1)), after(p), func(k, v []byte) bool {
		if len(parts) == limit {
			more = true
			return false
		}
		var part catalog.Part
		part, inner = s.partAt(k, v)
		parts = append(parts, part)
		return inner == nil
	})
	return parts, more, errors.Join(err, inner)
}

// partAt opens a part's row.
func (s Vault) partAt(k, v []byte) (catalog.Part, error) {
	if len(k) != 1+16+16+2 {
		return catalog.Part{}, corrupt("part key")
	}
	row, err := decodePartRow(append([]byte{}, v...))
	if err != nil {
		return catalog.Part{}, err
	}
	return s.openPart(hallig.BucketID(k[1:17]), hallig.UploadID(k[17:33]), binary.BigEndian.Uint16(k[33:]), row)
}

// Usage reads a bucket's counters.
func Usage(rows Reader, b hallig.BucketID) (catalog.Usage, error) {
	v, err := rows.Get(bucketKey(b))
	if err != nil || v == nil {
		return catalog.Usage{}, err
	}
	r, err := decodeBucket(v)
	return catalog.Usage(r), err
}

// Record reads one mesh record; see catalog.Records.
func (s Vault) Record(rows Reader, kind catalog.Kind, name string) (catalog.Record, error) {
	if err := checkRecord(kind, name); err != nil {
		return catalog.Record{}, err
	}
	n, err := s.recordName(kind, name)
	if err != nil {
		return catalog.Record{}, err
	}
	v, err := rows.Get(recordKey(kind, n))
	if err != nil {
		return catalog.Record{}, err
	}
	if v == nil {
		return catalog.Record{}, fmt.Errorf("record %s %q: %w", kind, name, hallig.ErrNotFound)
	}
	r, value, err := decodeRecordRow(v)
	if err != nil {
		return catalog.Record{}, err
	}
	value, err = s.openRecord(kind, n, value)
	if err != nil {
		return catalog.Record{}, fmt.Errorf("record %s %q: %w", kind, name, err)
	}
	return catalog.Record{Kind: kind, Name: name, Value: value, Revision: r}, nil
}

// ClearRecords reads the records of a clear kind, in order of their names, which
// a blind node can.
func ClearRecords(rows Reader, kind catalog.Kind, above string, limit int) (out []catalog.Record, err error) {
	p := recordKey(kind, nil)
	lo := append(recordKey(kind, []byte(above)), 0)
	if above == "" {
		lo = p
	}
	var inner error
	err = rows.Scan(lo, after(p), func(k, v []byte) bool {
		if len(out) == limit {
			return false
		}
		_, name, err := parseRecordKey(k)
		if err != nil {
			inner = err
			return false
		}
		r, value, err := decodeRecordRow(v)
		if err != nil {
			inner = err
			return false
		}
		out = append(out, catalog.Record{Kind: kind, Name: string(name), Value: append([]byte{}, value...), Revision: r})
		return true
	})
	return out, errors.Join(err, inner)
}

func checkRecord(kind catalog.Kind, name string) error {
	if len(kind) == 0 || len(kind) > 64 {
		return invalid("record kind %q", string(kind))
	}
	if len(name) == 0 || len(name) > 512 {
		return invalid("record name of %d bytes, want 1 to 512", len(name))
	}
	for i := range len(name) {
		if name[i] == 0 {
			return invalid("record name %q holds a NUL", name)
		}
	}
	return nil
}

// RecordsCommand seals changes of mesh records.
func (s Vault) RecordsCommand(changes []catalog.Change) (*Command, error) {
	if len(changes) == 0 || len(changes) > catalog.MaxOps {
		return nil, invalid("%d changes of records, want 1 to %d", len(changes), catalog.MaxOps)
	}
	type id struct {
		kind catalog.Kind
		name string
	}
	seen := map[id]bool{}
	c := &Command{Kind: CommandRecords}
	for _, ch := range changes {
		if err := checkRecord(ch.Kind, ch.Name); err != nil {
			return nil, err
		}
		if len(ch.Value) > catalog.MaxRecord {
			return nil, fmt.Errorf("record %s %q of %d bytes, at most %d: %w", ch.Kind, ch.Name, len(ch.Value), catalog.MaxRecord, hallig.ErrTooLarge)
		}
		if seen[id{ch.Kind, ch.Name}] {
			return nil, invalid("record %s %q is changed twice", ch.Kind, ch.Name)
		}
		seen[id{ch.Kind, ch.Name}] = true
		n, err := s.recordName(ch.Kind, ch.Name)
		if err != nil {
			return nil, err
		}
		st := RecordStep{Kind: string(ch.Kind), Name: n, Delete: ch.Delete, Expect: ch.Expect}
		if !ch.Delete {
			if st.Value, err = s.sealRecord(ch.Kind, n, ch.Value); err != nil {
				return nil, err
			}
		}
		c.Records = append(c.Records, st)
	}
	return c, nil
}

// Garbage reads waiting garbage of one partition; see catalog.Upkeep.
func Garbage(rows Reader, above hallig.Revision, limit int) (out []catalog.Garbage, err error) {
	if above == ^hallig.Revision(0) {
		return nil, nil
	}
	var inner error
	err = rows.Scan(garbageKey(above+1), []byte{tableGarbage + 1}, func(k, v []byte) bool {
		if len(out) == limit {
			return false
		}
		if len(k) != 9 {
			inner = corrupt("garbage key")
			return false
		}
		var g garbageRow
		if g, inner = decodeGarbage(v); inner != nil {
			return false
		}
		out = append(out, catalog.Garbage{Revision: hallig.Revision(binary.BigEndian.Uint64(k[1:])), When: g.When, Bucket: g.Bucket, Extents: g.Extents})
		return true
	})
	return out, errors.Join(err, inner)
}

// Referenced reports whether anything refers to the data id.
func Referenced(rows Reader, id hallig.DataID) (found bool, err error) {
	p := idKey(tableRef, id)
	err = rows.Scan(p, after(p), func(_, _ []byte) bool { found = true; return false })
	return found, err
}

// Walk reads versions, then parts, of one partition from cursor, a row's key;
// see catalog.Upkeep.
func (s Vault) Walk(rows Reader, cursor []byte, limit int) (found []catalog.Stored, next []byte, err error) {
	if limit <= 0 {
		limit = 1000
	}
	var inner error
	full := func(k []byte) bool {
		if len(found) == limit {
			next = append([]byte{}, k...)
		}
		return len(found) == limit
	}
	if len(cursor) == 0 || cursor[0] == tableVersion {
		lo := cursor
		if len(lo) == 0 {
			lo = []byte{tableVersion}
		}
		err = rows.Scan(lo, []byte{tableVersion + 1}, func(k, v []byte) bool {
			if full(k) {
				return false
			}
			var ver catalog.Version
			ver, inner = s.versionAt(k, v)
			found = append(found, catalog.Stored{Version: &ver})
			return inner == nil
		})
		if err != nil || inner != nil || next != nil {
			return found, next, errors.Join(err, inner)
		}
		cursor = []byte{tablePart}
	}
	if cursor[0] != tablePart {
		return nil, nil, invalid("cursor")
	}
	var u *catalog.Upload
	err = rows.Scan(cursor, []byte{tablePart + 1}, func(k, v []byte) bool {
		if full(k) {
			return false
		}
		var p catalog.Part
		if p, inner = s.partAt(k, v); inner != nil {
			return false
		}
		if id := hallig.UploadID(k[17:33]); u == nil || u.ID != id {
			var up catalog.Upload
			if up, inner = s.uploadAt(rows, hallig.BucketID(k[1:17]), id); inner != nil {
				return false
			}
			u = &up
		}
		found = append(found, catalog.Stored{Upload: u, Part: &p})
		return true
	})
	return found, next, errors.Join(err, inner)
}

func (s Vault) uploadAt(rows Reader, b hallig.BucketID, id hallig.UploadID) (catalog.Upload, error) {
	v, err := rows.Get(uploadKey(b, id))
	if err != nil {
		return catalog.Upload{}, err
	}
	row, err := decodeUploadRow(v)
	if err != nil {
		return catalog.Upload{}, err
	}
	return s.openUpload(b, id, row)
}

// versionAt opens a version's row, without Latest.
func (s Vault) versionAt(k, v []byte) (catalog.Version, error) {
	b, name, r, err := parseVersionKey(k)
	if err != nil {
		return catalog.Version{}, err
	}
	row, err := decodeVersionRow(append([]byte{}, v...))
	if err != nil {
		return catalog.Version{}, err
	}
	key, err := s.openName(b, name)
	if err != nil {
		return catalog.Version{}, err
	}
	return s.openVersion(b, name, key, r, row)
}
