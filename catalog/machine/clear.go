package machine

import (
	"encoding/binary"
	"math"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
)

// A clear is what replicas see of a version or a part: enough to keep counters,
// references and garbage without a key. Its bytes are authenticated with the
// sealed rest, so that a data id cannot be given to another version.
type clearPart struct {
	Null, Marker bool
	Locked       bool // a retention or a legal hold is on it, or was when it was last written
	Size         int64
	Extents      []catalog.Extent
}

const (
	clearNull   = 1
	clearMarker = 2
	clearLocked = 4
	extentSize  = 16 + 4 + 4 + 8 + 1 + 4 + 2
	maxExtents  = 1 << 20
)

func (c clearPart) append(b []byte) []byte {
	b = append(b, flag(c.Null, clearNull)|flag(c.Marker, clearMarker)|flag(c.Locked, clearLocked))
	b = binary.AppendUvarint(b, uint64(c.Size))
	b = binary.AppendUvarint(b, uint64(len(c.Extents)))
	return appendExtents(b, c.Extents)
}

func appendExtents(b []byte, extents []catalog.Extent) []byte {
	for i := range extents {
		e := &extents[i]
		b = append(b, e.Data[:]...)
		b = binary.BigEndian.AppendUint32(b, e.First)
		b = binary.BigEndian.AppendUint32(b, e.Count)
		b = binary.BigEndian.AppendUint64(b, uint64(e.Length))
		b = append(b, flag(e.Last, 1))
		b = binary.BigEndian.AppendUint32(b, uint32(e.Pool))
		b = binary.BigEndian.AppendUint16(b, e.Generation)
	}
	return b
}

// decodeClear reads a clear part off the front of b.
func decodeClear(b []byte) (c clearPart, raw, rest []byte, err error) {
	fail := func() (clearPart, []byte, []byte, error) { return clearPart{}, nil, nil, corrupt("clear part") }
	if len(b) < 3 || b[0] > clearNull|clearMarker|clearLocked {
		return fail()
	}
	c.Null, c.Marker, c.Locked = b[0]&clearNull != 0, b[0]&clearMarker != 0, b[0]&clearLocked != 0
	rest = b[1:]
	size, n := binary.Uvarint(rest)
	if n <= 0 || size > math.MaxInt64 {
		return fail()
	}
	c.Size, rest = int64(size), rest[n:]
	count, n := binary.Uvarint(rest)
	if n <= 0 || count > maxExtents || count*extentSize > uint64(len(rest)-n) {
		return fail()
	}
	rest = rest[n:]
	if c.Extents, err = decodeExtents(rest[:count*extentSize]); err != nil {
		return fail()
	}
	rest = rest[count*extentSize:]
	return c, b[:len(b)-len(rest)], rest, nil
}

func decodeExtents(b []byte) ([]catalog.Extent, error) {
	if len(b) == 0 {
		return nil, nil
	}
	if len(b)%extentSize != 0 {
		return nil, corrupt("extents")
	}
	out := make([]catalog.Extent, len(b)/extentSize)
	for i := range out {
		e, p := &out[i], b[i*extentSize:]
		copy(e.Data[:], p)
		e.First = binary.BigEndian.Uint32(p[16:])
		e.Count = binary.BigEndian.Uint32(p[20:])
		e.Length = int64(binary.BigEndian.Uint64(p[24:]))
		if p[32] > 1 {
			return nil, corrupt("extents")
		}
		e.Last = p[32] == 1
		e.Pool = hallig.PoolID(binary.BigEndian.Uint32(p[33:]))
		e.Generation = binary.BigEndian.Uint16(p[37:])
	}
	return out, nil
}

// versionRow is a version's row. Its key holds bucket, name and revision.
type versionRow struct {
	Edit   hallig.Revision
	Clear  clearPart
	raw    []byte // Clear as written
	Sealed []byte
}

func appendVersionRow(b []byte, edit hallig.Revision, clear, sealed []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(edit))
	return append(append(b, clear...), sealed...)
}

func decodeVersionRow(b []byte) (*versionRow, error) {
	if len(b) < 8 {
		return nil, corrupt("version row")
	}
	r := &versionRow{Edit: hallig.Revision(binary.BigEndian.Uint64(b))}
	var err error
	r.Clear, r.raw, r.Sealed, err = decodeClear(b[8:])
	return r, err
}

func getVersion(rows Reader, b hallig.BucketID, name []byte, r hallig.Revision) (*versionRow, error) {
	v, err := rows.Get(versionKey(b, name, r))
	if err != nil || v == nil {
		return nil, err
	}
	return decodeVersionRow(v)
}

// partRow is an uploaded part's row.
type partRow struct {
	Clear  clearPart
	raw    []byte
	Sealed []byte
}

func decodePartRow(b []byte) (r partRow, err error) {
	r.Clear, r.raw, r.Sealed, err = decodeClear(b)
	return r, err
}

// uploadRow is an upload's row: the sealed name, and the sealed rest.
type uploadRow struct {
	Name   []byte
	Sealed []byte
}

func appendUploadRow(b, name, sealed []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(name)))
	return append(append(b, name...), sealed...)
}

func decodeUploadRow(b []byte) (uploadRow, error) {
	if len(b) < 2 {
		return uploadRow{}, corrupt("upload row")
	}
	n := int(binary.BigEndian.Uint16(b))
	if len(b) < 2+n {
		return uploadRow{}, corrupt("upload row")
	}
	return uploadRow{Name: b[2 : 2+n], Sealed: b[2+n:]}, nil
}

// garbageRow is data that waits to be deleted.
type garbageRow struct {
	When    int64
	Bucket  hallig.BucketID
	Extents []catalog.Extent
}

func (g garbageRow) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(g.When))
	b = append(b, g.Bucket[:]...)
	return appendExtents(b, g.Extents)
}

func decodeGarbage(b []byte) (g garbageRow, err error) {
	if len(b) < 24 {
		return g, corrupt("garbage row")
	}
	g.When = int64(binary.BigEndian.Uint64(b))
	copy(g.Bucket[:], b[8:])
	g.Extents, err = decodeExtents(b[24:])
	return g, err
}

// refRow counts the owners of one generation of a data id.
type refRow struct {
	Live    uint32 // versions and parts
	Waiting uint32 // garbage rows
}

func (r refRow) append(b []byte) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, r.Live), r.Waiting)
}

func decodeRef(b []byte) (refRow, error) {
	if len(b) != 8 {
		return refRow{}, corrupt("reference row")
	}
	return refRow{binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])}, nil
}

// appendFeed and decodeFeed write the keys of the rows that an operation changed.
func appendFeed(b []byte, keys [][]byte) []byte {
	for _, k := range keys {
		b = append(binary.AppendUvarint(b, uint64(len(k))), k...)
	}
	return b
}

func decodeFeed(b []byte) (keys [][]byte, err error) {
	for len(b) > 0 {
		n, w := binary.Uvarint(b)
		if w <= 0 || n > uint64(len(b)-w) {
			return nil, corrupt("feed row")
		}
		keys = append(keys, b[w:w+int(n)])
		b = b[w+int(n):]
	}
	return keys, nil
}
