package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/shard"
)

// The format of a segment file, version 1, is described byte by byte in
// docs/decisions/0002-shard-format.md. All numbers are big-endian.

const (
	formatVersion = 1

	segmentMagic  = 0x484c4753_45473031 // "HLGSEG01"
	segmentHeader = 512                 // bytes before the first record

	recordMagic = 0x484c4772 // "HLGr"
	recordFixed = 92         // bytes of a record's header before vouch and checksums
	crcSize     = 4

	recordAlign = 8   // records start at multiples of this
	groupAlign  = 512 // groups that were written and synced as one start at multiples of this

	maxHeader  = recordFixed + shard.MaxVouch + 4*(shard.MaxLength/shard.BlockSize) + crcSize
	maxSegment = 3 << 30 // bytes; offsets are 32 bits wide
)

// recordKind says what a record is.
type recordKind uint8

const (
	kindShard  recordKind = 1 // a shard
	kindDelete recordKind = 2 // shards that are deleted, for good
	kindEnd    recordKind = 3 // an earlier segment ends sooner than its file: a write to it failed
	kindSeal   recordKind = 4 // the last record of a segment that was finished in order
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errBadRecord says that bytes are not a record, or not one of this segment.
var errBadRecord = errors.New("not a valid record")

// segmentID is what ties a record to the one segment that it was written to.
type segmentID struct {
	num   uint64
	epoch uint64 // random for each segment file
}

// record is a record's header in parsed form.
type record struct {
	kind    recordKind
	segment segmentID
	off     uint32       // where in the segment it starts
	settled uint32       // the segment was on stable storage up to here before this was written
	header  shard.Header // of a kindShard; of others only Length. Vouch aliases the parsed bytes
	sums    []byte       // CRC32C of each block of the body; aliases the parsed bytes
	hlen    int          // bytes of header, with vouch, sums and CRC
}

func align(n, to int64) int64 { return (n + to - 1) / to * to }

// recordSize returns the bytes that a record takes in its segment.
func recordSize(hlen, length int) int64 { return align(int64(hlen)+int64(length), recordAlign) }

func (r *record) size() int64 { return recordSize(r.hlen, int(r.header.Length)) }

// headerSize returns the length of a record's header.
func headerSize(vouch, length int) int {
	return recordFixed + vouch + 4*shard.Blocks(int64(length)) + crcSize
}

// appendRecordHeader appends a header for a record with this body. It is not
// valid until place has been called on it.
func appendRecordHeader(dst []byte, kind recordKind, h shard.Header, body []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, recordMagic)
	dst = append(dst, byte(kind), formatVersion)
	dst = binary.BigEndian.AppendUint16(dst, uint16(headerSize(len(h.Vouch), len(body))))
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(body)))
	dst = append(dst, make([]byte, 4+8+8+4)...) // settled, segment, epoch, offset: see place
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(h.Vouch)))
	dst = binary.BigEndian.AppendUint16(dst, h.K)
	dst = binary.BigEndian.AppendUint16(dst, h.M)
	dst = append(dst, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, uint32(h.Pool))
	dst = binary.BigEndian.AppendUint32(dst, h.Stripe)
	dst, _ = h.ID.AppendBinary(dst) // never fails
	dst = append(dst, h.Session[:]...)
	dst = append(dst, h.Vouch...)
	dst = shard.AppendSums(dst, body)
	return append(dst, 0, 0, 0, 0)
}

// place completes a header for the place that it is written to.
func place(head []byte, seg segmentID, off, settled uint32) {
	binary.BigEndian.PutUint32(head[12:], settled)
	binary.BigEndian.PutUint64(head[16:], seg.num)
	binary.BigEndian.PutUint64(head[24:], seg.epoch)
	binary.BigEndian.PutUint32(head[32:], off)
	n := len(head) - crcSize
	binary.BigEndian.PutUint32(head[n:], crc32.Checksum(head[:n], castagnoli))
}

// parseRecord reads a record's header at the start of b, which may go on
// behind it. The record must say that it lies at off in segment seg; an epoch
// of 0 accepts any. It returns errBadRecord for anything else, and never reads
// beyond b.
func parseRecord(b []byte, seg segmentID, off uint32) (record, error) {
	var r record
	if len(b) < recordFixed+crcSize || binary.BigEndian.Uint32(b) != recordMagic {
		return r, errBadRecord
	}
	hlen := int(binary.BigEndian.Uint16(b[6:]))
	if hlen < recordFixed+crcSize || hlen > maxHeader || hlen > len(b) {
		return r, errBadRecord
	}
	if binary.BigEndian.Uint32(b[hlen-crcSize:]) != crc32.Checksum(b[:hlen-crcSize], castagnoli) {
		return r, errBadRecord
	}
	if b[5] != formatVersion {
		return r, fmt.Errorf("record format %d: %w", b[5], hallig.ErrUnsupported)
	}
	r = record{
		kind:    recordKind(b[4]),
		settled: binary.BigEndian.Uint32(b[12:]),
		segment: segmentID{binary.BigEndian.Uint64(b[16:]), binary.BigEndian.Uint64(b[24:])},
		off:     binary.BigEndian.Uint32(b[32:]),
		hlen:    hlen,
	}
	vouch := int(binary.BigEndian.Uint16(b[36:]))
	h := &r.header
	h.Length = binary.BigEndian.Uint32(b[8:])
	if r.segment.num != seg.num || seg.epoch != 0 && r.segment.epoch != seg.epoch || r.off != off || r.settled > r.off ||
		h.Length > shard.MaxLength || vouch > shard.MaxVouch || hlen != headerSize(vouch, int(h.Length)) {
		return record{}, errBadRecord
	}
	h.K, h.M = binary.BigEndian.Uint16(b[38:]), binary.BigEndian.Uint16(b[40:])
	h.Pool = hallig.PoolID(binary.BigEndian.Uint32(b[44:]))
	h.Stripe = binary.BigEndian.Uint32(b[48:])
	h.ID, _ = shard.ParseID(b[52 : 52+shard.IDSize])
	copy(h.Session[:], b[76:])
	h.Vouch = b[recordFixed : recordFixed+vouch : recordFixed+vouch]
	r.sums = b[recordFixed+vouch : hlen-crcSize : hlen-crcSize]
	return r, nil
}

// checkBlocks verifies whole blocks of a body: data starts with block first.
func checkBlocks(sums, data []byte, first int) error {
	for b := first; len(data) > 0; b++ {
		n := min(len(data), shard.BlockSize)
		if crc32.Checksum(data[:n], castagnoli) != binary.BigEndian.Uint32(sums[4*b:]) {
			return fmt.Errorf("block %d's checksum is wrong: %w", b, hallig.ErrCorrupt)
		}
		data = data[n:]
	}
	return nil
}

// appendSegmentHeader appends the first segmentHeader bytes of a segment.
func appendSegmentHeader(dst []byte, drive hallig.DriveID, seg segmentID) []byte {
	start := len(dst)
	dst = binary.BigEndian.AppendUint64(dst, segmentMagic)
	dst = binary.BigEndian.AppendUint64(dst, formatVersion)
	dst = append(dst, drive[:]...)
	dst = binary.BigEndian.AppendUint64(dst, seg.num)
	dst = binary.BigEndian.AppendUint64(dst, seg.epoch)
	dst = binary.BigEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
	return append(dst, make([]byte, segmentHeader-(len(dst)-start))...)
}

// parseSegmentHeader reads a segment's header.
func parseSegmentHeader(b []byte) (drive hallig.DriveID, seg segmentID, err error) {
	if len(b) < segmentHeader || binary.BigEndian.Uint64(b) != segmentMagic ||
		crc32.Checksum(b[:48], castagnoli) != binary.BigEndian.Uint32(b[48:]) {
		return drive, seg, fmt.Errorf("segment header: %w", hallig.ErrCorrupt)
	}
	if v := binary.BigEndian.Uint64(b[8:]); v != formatVersion {
		return drive, seg, fmt.Errorf("segment format %d: this version of hallig reads format %d: %w", v, formatVersion, hallig.ErrUnsupported)
	}
	copy(drive[:], b[16:])
	return drive, segmentID{binary.BigEndian.Uint64(b[32:]), binary.BigEndian.Uint64(b[40:])}, nil
}

// deletion is one entry of a kindDelete record.
type deletion struct {
	id shard.ID
	// horizon is the segment that the deletion was first written to. The shard
	// can only be in segments up to that one.
	horizon uint64
	when    int64 // Unix seconds
}

const (
	deletionSize  = shard.IDSize + 8 + 8
	maxDeletions  = 1500 // in one record
	endRecordBody = 8 + 8 + 4
)

func appendDeletion(dst []byte, d deletion) []byte {
	dst, _ = d.id.AppendBinary(dst)
	dst = binary.BigEndian.AppendUint64(dst, d.horizon)
	return binary.BigEndian.AppendUint64(dst, uint64(d.when))
}

// parseDeletions reads the body of a kindDelete record.
func parseDeletions(body []byte) ([]deletion, error) {
	if len(body)%deletionSize != 0 || len(body) > maxDeletions*deletionSize {
		return nil, errBadRecord
	}
	ds := make([]deletion, 0, len(body)/deletionSize)
	for ; len(body) > 0; body = body[deletionSize:] {
		id, err := shard.ParseID(body[:shard.IDSize])
		if err != nil {
			return nil, err
		}
		ds = append(ds, deletion{id, binary.BigEndian.Uint64(body[24:]), int64(binary.BigEndian.Uint64(body[32:]))})
	}
	return ds, nil
}

// segmentEnd is the body of a kindEnd record: what lies in that segment at or
// behind end was never acknowledged and must not be believed.
type segmentEnd struct {
	segment segmentID
	end     uint32
}

func appendSegmentEnd(dst []byte, e segmentEnd) []byte {
	dst = binary.BigEndian.AppendUint64(dst, e.segment.num)
	dst = binary.BigEndian.AppendUint64(dst, e.segment.epoch)
	return binary.BigEndian.AppendUint32(dst, e.end)
}

func parseSegmentEnd(body []byte) (segmentEnd, error) {
	if len(body) != endRecordBody {
		return segmentEnd{}, errBadRecord
	}
	return segmentEnd{segmentID{binary.BigEndian.Uint64(body), binary.BigEndian.Uint64(body[8:])}, binary.BigEndian.Uint32(body[16:])}, nil
}
