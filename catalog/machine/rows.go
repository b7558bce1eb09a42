package machine

import (
	"encoding/binary"
	"fmt"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
)

// The tables: the first byte of every row's key.
const (
	tableAnswer  = 'a' // id, part → Answer
	tableBucket  = 'b' // bucket → bucketRow
	tableFeed    = 'f' // counter → keys of rows that lists show and that changed
	tableGarbage = 'g' // revision → garbage
	tableHead    = 'h' // bucket, slot, name → head
	tableRecord  = 'k' // kind, name → mesh record
	tableMeta    = 'm' // → meta
	tablePart    = 'p' // bucket, upload, number → part
	tableQueue   = 'q' // sequence → an answer's key and length
	tableRef     = 'r' // data id, generation → owners
	tableSession = 's' // session → fenced
	tableUpload  = 'u' // bucket, upload → upload
	tableVersion = 'v' // bucket, slot, name, ^revision → version
)

// maxSealedName bounds a sealed name in bytes: a key and the synthetic IV.
const maxSealedName = catalog.MaxKey + 256

var metaKey = []byte{tableMeta}

func corrupt(what string) error {
	return fmt.Errorf("catalog %s: malformed: %w", what, hallig.ErrCorrupt)
}

func idKey(table byte, ids ...hallig.ID) []byte {
	k := make([]byte, 1, 1+16*len(ids)+2)
	k[0] = table
	for i := range ids {
		k = append(k, ids[i][:]...)
	}
	return k
}

func bucketKey(b hallig.BucketID) []byte   { return idKey(tableBucket, b) }
func sessionKey(s hallig.SessionID) []byte { return idKey(tableSession, s) }

func answerKey(id hallig.ProposalID, part uint16) []byte {
	return binary.BigEndian.AppendUint16(idKey(tableAnswer, id), part)
}

func queueKey(seq uint64) []byte { return binary.BigEndian.AppendUint64([]byte{tableQueue}, seq) }

// FeedKey is the key of the feed row of the operation with the counter.
func FeedKey(counter uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{tableFeed}, counter)
}

func garbageKey(r hallig.Revision) []byte {
	return binary.BigEndian.AppendUint64([]byte{tableGarbage}, uint64(r))
}

func refKey(d hallig.DataID, generation uint16) []byte {
	return binary.BigEndian.AppendUint16(idKey(tableRef, d), generation)
}

func uploadKey(b hallig.BucketID, u hallig.UploadID) []byte { return idKey(tableUpload, b, u) }

func partKey(b hallig.BucketID, u hallig.UploadID, number uint16) []byte {
	return binary.BigEndian.AppendUint16(idKey(tablePart, b, u), number)
}

// slotZero is the only slot of a bucket without spread.
const slotZero uint16 = 0

func headKey(b hallig.BucketID, name []byte) []byte {
	k := make([]byte, 0, 1+16+2+len(name))
	k = append(append(k, tableHead), b[:]...)
	return append(binary.BigEndian.AppendUint16(k, slotZero), name...)
}

// versionPrefix is what the keys of all versions of a name begin with. The
// length keeps one name's rows apart from those of a name that it begins.
func versionPrefix(b hallig.BucketID, name []byte) []byte {
	k := make([]byte, 0, 1+16+2+2+len(name)+8)
	k = append(append(k, tableVersion), b[:]...)
	k = binary.BigEndian.AppendUint16(k, slotZero)
	return append(binary.BigEndian.AppendUint16(k, uint16(len(name))), name...)
}

func versionKey(b hallig.BucketID, name []byte, r hallig.Revision) []byte {
	return binary.BigEndian.AppendUint64(versionPrefix(b, name), ^uint64(r))
}

func parseVersionKey(k []byte) (b hallig.BucketID, name []byte, r hallig.Revision, err error) {
	const fixed = 1 + 16 + 2 + 2
	if len(k) < fixed+8 || k[0] != tableVersion {
		return b, nil, 0, corrupt("version key")
	}
	copy(b[:], k[1:])
	n := int(binary.BigEndian.Uint16(k[19:]))
	if len(k) != fixed+n+8 {
		return b, nil, 0, corrupt("version key")
	}
	return b, k[fixed : fixed+n], hallig.Revision(^binary.BigEndian.Uint64(k[fixed+n:])), nil
}

func recordKey(kind catalog.Kind, name []byte) []byte {
	k := append([]byte{tableRecord, byte(len(kind))}, kind...)
	return append(k, name...)
}

func parseRecordKey(k []byte) (catalog.Kind, []byte, error) {
	if len(k) < 2 || k[0] != tableRecord || len(k) < 2+int(k[1]) {
		return "", nil, corrupt("record key")
	}
	n := 2 + int(k[1])
	return catalog.Kind(k[2:n]), k[n:], nil
}

// after returns the first key behind all keys that begin with prefix.
func after(prefix []byte) []byte {
	k := append([]byte{}, prefix...)
	for i := len(k) - 1; i >= 0; i-- {
		if k[i]++; k[i] != 0 {
			return k[:i+1]
		}
	}
	return nil
}

// meta is the partition's own row.
type meta struct {
	Epoch        uint16
	Counter      uint64 // of the last operation
	AnswersHead  uint64 // sequence of the oldest answer kept
	AnswersTail  uint64 // of the next
	AnswersBytes uint64
}

const metaSize = 1 + 2 + 4*8

func (m meta) append(b []byte) []byte {
	b = append(b, 1)
	b = binary.BigEndian.AppendUint16(b, m.Epoch)
	for _, v := range []uint64{m.Counter, m.AnswersHead, m.AnswersTail, m.AnswersBytes} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	return b
}

func decodeMeta(b []byte) (meta, error) {
	if len(b) != metaSize {
		return meta{}, corrupt("partition row")
	}
	if b[0] != 1 {
		return meta{}, fmt.Errorf("catalog partition row of format %d: %w", b[0], hallig.ErrUnsupported)
	}
	u := func(i int) uint64 { return binary.BigEndian.Uint64(b[3+8*i:]) }
	m := meta{Epoch: binary.BigEndian.Uint16(b[1:]), Counter: u(0), AnswersHead: u(1), AnswersTail: u(2), AnswersBytes: u(3)}
	if m.AnswersHead > m.AnswersTail {
		return meta{}, corrupt("partition row")
	}
	return m, nil
}

func appendQueue(b, key []byte, n int) []byte {
	return append(binary.AppendUvarint(b, uint64(n)), key...)
}

func decodeQueue(b []byte) (key []byte, n int, err error) {
	v, w := binary.Uvarint(b)
	if w <= 0 || v > maxAnswerBytes || len(b) == w {
		return nil, 0, corrupt("answer queue row")
	}
	return b[w:], int(v), nil
}

// bucketRow holds a bucket's epoch and counters.
type bucketRow struct {
	Epoch                             uint64
	Closed                            bool
	Current, Versions, Bytes, Uploads int64
}

const bucketSize = 8 + 1 + 4*8

func (r *bucketRow) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, r.Epoch)
	b = append(b, flag(r.Closed, 1))
	for _, v := range []int64{r.Current, r.Versions, r.Bytes, r.Uploads} {
		b = binary.BigEndian.AppendUint64(b, uint64(v))
	}
	return b
}

func decodeBucket(b []byte) (bucketRow, error) {
	if len(b) != bucketSize || b[8] > 1 {
		return bucketRow{}, corrupt("bucket row")
	}
	n := func(i int) int64 { return int64(binary.BigEndian.Uint64(b[9+8*i:])) }
	return bucketRow{Epoch: binary.BigEndian.Uint64(b), Closed: b[8] == 1,
		Current: n(0), Versions: n(1), Bytes: n(2), Uploads: n(3)}, nil
}

func flag(on bool, bit byte) byte {
	if on {
		return bit
	}
	return 0
}

// head is a key's row: present while the key has versions.
type head struct {
	Revision hallig.Revision // the last operation on the key
	Current  hallig.Revision // newest version
	Null     hallig.Revision // null version, 0: none
	Marker   bool            // the current version is a delete marker
}

const headSize = 3*8 + 1

func (h head) append(b []byte) []byte {
	for _, r := range []hallig.Revision{h.Revision, h.Current, h.Null} {
		b = binary.BigEndian.AppendUint64(b, uint64(r))
	}
	return append(b, flag(h.Marker, 1))
}

func decodeHead(b []byte) (head, error) {
	if len(b) != headSize || b[24] > 1 {
		return head{}, corrupt("head row")
	}
	r := func(i int) hallig.Revision { return hallig.Revision(binary.BigEndian.Uint64(b[8*i:])) }
	return head{r(0), r(1), r(2), b[24] == 1}, nil
}

func getHead(rows Reader, b hallig.BucketID, name []byte) (head, error) {
	v, err := rows.Get(headKey(b, name))
	if err != nil || v == nil {
		return head{}, err
	}
	return decodeHead(v)
}
