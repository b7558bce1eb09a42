package machine

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
)

// The opened index holds plaintext names in order, for lists. It is local to a
// node that holds keys, and is made from the state: by following the feed, or
// in full. Its tables:
const (
	openedVersion = 'v' // bucket, slot, escaped key, ^revision → summary
	openedUpload  = 'u' // bucket, escaped key, initiated, upload → upload summary
	openedID      = 'i' // bucket, upload → its openedUpload key
	openedRecord  = 'k' // kind, name → nothing
)

// appendEscaped writes a name so that the order of the written forms is the
// names', whatever follows: NUL becomes 00 FF, and 00 01 ends it.
func appendEscaped(b []byte, name string) []byte {
	return append(appendPrefix(b, name), 0, 1)
}

// appendPrefix writes the beginning of a name.
func appendPrefix(b []byte, name string) []byte {
	for {
		i := strings.IndexByte(name, 0)
		if i < 0 {
			return append(b, name...)
		}
		b = append(append(b, name[:i]...), 0, 0xff)
		name = name[i+1:]
	}
}

// cutEscaped reads a name off the front of b.
func cutEscaped(b []byte) (name, rest []byte, err error) {
	i := bytes.IndexByte(b, 0)
	if i >= 0 && i+1 < len(b) && b[i+1] == 1 {
		return b[:i], b[i+2:], nil
	}
	for j := 0; ; {
		i := bytes.IndexByte(b[j:], 0)
		if i < 0 || j+i+1 >= len(b) {
			return nil, nil, corrupt("opened key")
		}
		name = append(name, b[j:j+i]...)
		switch b[j+i+1] {
		case 1:
			return name, b[j+i+2:], nil
		case 0xff:
			name = append(name, 0)
			j += i + 2
		default:
			return nil, nil, corrupt("opened key")
		}
	}
}

func openedBucket(table byte, b hallig.BucketID) []byte {
	k := idKey(table, b)
	if table == openedVersion {
		k = binary.BigEndian.AppendUint16(k, slotZero)
	}
	return k
}

func openedVersionKey(b hallig.BucketID, key string, r hallig.Revision) []byte {
	return binary.BigEndian.AppendUint64(appendEscaped(openedBucket(openedVersion, b), key), ^uint64(r))
}

func openedUploadKey(u *catalog.Upload) []byte {
	k := appendEscaped(openedBucket(openedUpload, u.Bucket), u.Key)
	k = binary.BigEndian.AppendUint64(k, uint64(millis(u.Initiated))^1<<63)
	return append(k, u.ID[:]...)
}

func openedRecordKey(kind catalog.Kind, name string) []byte {
	k := append([]byte{openedRecord, byte(len(kind))}, kind...)
	return append(k, name...)
}

// Changed returns the keys of the rows that a feed row says have changed.
func Changed(feed []byte) ([][]byte, error) { return decodeFeed(feed) }

// Refresh makes the opened index say of one row what the state says now.
func (s Vault) Refresh(state Reader, opened Rows, key []byte) error {
	if len(key) == 0 {
		return corrupt("feed row")
	}
	value, err := state.Get(key)
	if err != nil {
		return err
	}
	return s.Reflect(opened, key, value)
}

// Reflect makes the opened index say of one row that it has the value, nil
// when it is gone.
func (s Vault) Reflect(opened Rows, key, value []byte) error {
	switch key[0] {
	case tableVersion:
		return s.reflectVersion(opened, key, value)
	case tableUpload:
		return s.reflectUpload(opened, key, value)
	case tableRecord:
		return s.reflectRecord(opened, key, value)
	}
	return corrupt("feed row")
}

// Shown returns the ranges of the state that the opened index is made from.
func Shown() [][2][]byte {
	var out [][2][]byte
	for _, t := range []byte{tableRecord, tableUpload, tableVersion} {
		out = append(out, [2][]byte{{t}, {t + 1}})
	}
	return out
}

func (s Vault) reflectVersion(opened Rows, k, value []byte) error {
	b, name, r, err := parseVersionKey(k)
	if err != nil {
		return err
	}
	key, err := s.openName(b, name)
	if err != nil {
		return err
	}
	ok := openedVersionKey(b, key, r)
	if value == nil {
		return opened.Delete(ok)
	}
	row, err := decodeVersionRow(value)
	if err != nil {
		return err
	}
	v, err := s.openVersion(b, name, key, r, row)
	if err != nil {
		return err
	}
	sum := Summarize(&v)
	return opened.Set(ok, appendSummary(nil, &sum))
}

func (s Vault) reflectUpload(opened Rows, k, value []byte) error {
	if len(k) != 33 {
		return corrupt("upload key")
	}
	b, id := hallig.BucketID(k[1:17]), hallig.UploadID(k[17:])
	ik := idKey(openedID, b, id)
	if value == nil {
		ok, err := opened.Get(ik)
		if err != nil || ok == nil {
			return err
		}
		if err := opened.Delete(ok); err != nil {
			return err
		}
		return opened.Delete(ik)
	}
	row, err := decodeUploadRow(value)
	if err != nil {
		return err
	}
	u, err := s.openUpload(b, id, row)
	if err != nil {
		return err
	}
	sum, err := marshal(&openedRest{Initiator: u.Initiator, Owner: u.Owner, StorageClass: u.StorageClass,
		ChecksumAlgorithm: u.Checksum.Algorithm, ChecksumType: u.Checksum.Type})
	if err != nil {
		return err
	}
	ok := openedUploadKey(&u)
	if err := opened.Set(ok, sum); err != nil {
		return err
	}
	return opened.Set(ik, ok)
}

func (s Vault) reflectRecord(opened Rows, k, value []byte) error {
	kind, sealed, err := parseRecordKey(k)
	if err != nil || ClearKind(kind) {
		return err
	}
	name, err := s.openRecordName(kind, sealed)
	if err != nil {
		return err
	}
	if value == nil {
		return opened.Delete(openedRecordKey(kind, name))
	}
	return opened.Set(openedRecordKey(kind, name), []byte{1})
}

type openedRest struct {
	_                 struct{} `cbor:",toarray"`
	Initiator         string
	Owner             string
	StorageClass      string
	ChecksumAlgorithm string
	ChecksumType      string
}

// Summarize returns what lists show of a version.
func Summarize(v *catalog.Version) catalog.Summary {
	enc := v.Encryption.Algorithm
	if enc == "" && v.Encryption.CustomerMD5 != "" {
		enc = "SSE-C"
	}
	return catalog.Summary{Key: v.Key, ID: v.ID(), Revision: v.Revision, Latest: v.Latest, DeleteMarker: v.DeleteMarker,
		Modified: millis(v.Modified), Size: v.Size, ETag: v.ETag, StorageClass: v.StorageClass, Owner: v.Owner,
		ChecksumAlgorithm: v.Checksum.Algorithm, ChecksumType: v.Checksum.Type, Encryption: enc}
}

// appendSummary writes a summary without key, revision and latest, which the
// row's key and place say.
func appendSummary(b []byte, s *catalog.Summary) []byte {
	b = append(b, flag(s.ID == catalog.NullVersion, clearNull)|flag(s.DeleteMarker, clearMarker))
	b = binary.AppendVarint(b, s.Modified)
	b = binary.AppendUvarint(b, uint64(s.Size))
	for _, t := range []string{s.ETag, s.StorageClass, s.Owner, s.ChecksumAlgorithm, s.ChecksumType, s.Encryption} {
		b = append(binary.AppendUvarint(b, uint64(len(t))), t...)
	}
	return b
}

func decodeSummary(v []byte, s *catalog.Summary) error {
	if len(v) < 3 {
		return corrupt("summary")
	}
	s.DeleteMarker = v[0]&clearMarker != 0
	s.ID = catalog.NullVersion
	if v[0]&clearNull == 0 {
		s.ID = catalog.RevisionID(s.Revision)
	}
	v = v[1:]
	var n int
	if s.Modified, n = binary.Varint(v); n <= 0 {
		return corrupt("summary")
	}
	v = v[n:]
	size, n := binary.Uvarint(v)
	if n <= 0 {
		return corrupt("summary")
	}
	s.Size = int64(size)
	text := string(v[n:]) // one allocation for all
	for _, t := range []*string{&s.ETag, &s.StorageClass, &s.Owner, &s.ChecksumAlgorithm, &s.ChecksumType, &s.Encryption} {
		l, n := uvarint(text)
		if n <= 0 || l > uint64(len(text)-n) {
			return corrupt("summary")
		}
		*t, text = text[n:n+int(l)], text[n+int(l):]
	}
	return nil
}

func uvarint(s string) (v uint64, n int) {
	for i := 0; i < len(s) && i < binary.MaxVarintLen64; i++ {
		v |= uint64(s[i]&0x7f) << (7 * i)
		if s[i] < 0x80 {
			return v, i + 1
		}
	}
	return 0, 0
}

// RecordNames reads the names of a kind's records in order from the opened index.
func RecordNames(opened Reader, kind catalog.Kind, above string, limit int) (names []string, err error) {
	p := openedRecordKey(kind, "")
	lo := append(openedRecordKey(kind, above), 0)
	if above == "" {
		lo = p
	}
	err = opened.Scan(lo, after(p), func(k, _ []byte) bool {
		if len(names) == limit {
			return false
		}
		names = append(names, string(k[len(p):]))
		return true
	})
	return names, err
}

// Scan reads mesh records; see catalog.Records. Sealed kinds need the opened
// index.
func (s Vault) Scan(state, opened Reader, kind catalog.Kind, above string, limit int) (out []catalog.Record, err error) {
	if len(kind) == 0 || len(kind) > 64 {
		return nil, fmt.Errorf("record kind %q: %w", string(kind), hallig.ErrInvalid)
	}
	if limit <= 0 {
		limit = 1000
	}
	if ClearKind(kind) {
		return ClearRecords(state, kind, above, limit)
	}
	for len(out) < limit {
		names, err := RecordNames(opened, kind, above, limit-len(out))
		if err != nil || len(names) == 0 {
			return out, err
		}
		for _, n := range names {
			above = n
			r, err := s.Record(state, kind, n)
			if isNotFound(err) {
				continue // deleted since the index was read
			}
			if err != nil {
				return nil, err
			}
			out = append(out, r)
		}
	}
	return out, nil
}
