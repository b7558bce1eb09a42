// Package remote is a drive of another node: a shard.Store whose calls travel
// over package mesh to that node's Handler, which serves them from its own
// drives.
//
// A shard's bytes carry a CRC32C of their own from store to store, over the
// header as well; the client checks that what it got is what it asked for, so
// that a node that answers with another shard, an older generation or other
// lengths is told from one that serves (hallig.ErrCorrupt). That the bytes are
// the right ones is for the stripe's vouch to say (package seal).
//
// Both sides' memory is bounded: bodies by shard.MaxLength, what the handler
// holds at a time by HandlerConfig. Every call may be sent twice: a store's
// methods are idempotent, and the client does so once when a connection breaks.
//
// docs/decisions/0011-mesh.md has the routes and formats.
package remote

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"io"
	"sync"

	"github.com/fxamacker/cbor/v2"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/shard"
)

// Prefix is the path under which a Handler is registered:
//
//	PUT  /v1/shard/{drive}/{id}          preface, body, CRC32C → 204 when on stable storage
//	GET  /v1/shard/{drive}/{id}?off&n    → preface, runs of bytes, CRC32C
//	GET  /v1/shard/{drive}/{id}/header   → preface
//	POST /v1/shard/{drive}/{id}/verify   → 204
//	POST /v1/shard/{drive}/delete        IDs, CRC32C → 204
//	GET  /v1/shard/{drive}/walk?after    → page of infos
//	GET  /v1/shard/{drive}/quarantined?after → page of IDs
//	POST /v1/shard/{drive}/scrub?limit   cursor → findings
//	GET  /v1/shard/{drive}/status        → 204, the status in a header
const Prefix = "/v1/shard/"

const (
	maxPreface = 4 << 10              // bytes of a header in CBOR
	window     = 16 * shard.BlockSize // bytes that a GET has in memory at a time
	pageInfos  = 8192                 // entries of a page
	batchIDs   = 4096                 // IDs of one delete
	maxCursor  = 4 << 10              // bytes of a scrub's cursor
	maxStatus  = 2 << 10              // bytes of a status in its header
	maxReason  = 256                  // bytes of Status.Reason that travel
	maxError   = 4 << 10              // bytes of an error within an answer
	infoSize   = shard.IDSize + 16 + 4 + 4
)

// statusHeader carries the drive's status, as of the end of the call, on the
// answers to all but successful GETs.
const statusHeader = "Hallig-Drive"

// endOfBody and failedBody stand where the length of a run of bytes would.
const (
	endOfBody  uint32 = 0
	failedBody uint32 = 1<<32 - 1
)

type codec struct {
	enc cbor.EncMode
	dec cbor.DecMode
}

var modes = sync.OnceValue(func() codec {
	enc, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		panic(err) // constant options
	}
	dec, err := cbor.DecOptions{
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		IndefLength:      cbor.IndefLengthForbidden,
		TagsMd:           cbor.TagsForbidden,
		MaxNestedLevels:  8,
		MaxArrayElements: 1 << 17,
		MaxMapPairs:      64,
	}.DecMode()
	if err != nil {
		panic(err) // constant options
	}
	return codec{enc, dec}
})

func unmarshal(b []byte, v any) error {
	if err := modes().dec.Unmarshal(b, v); err != nil {
		return fmt.Errorf("decode %T: %w: %w", v, err, hallig.ErrInvalid)
	}
	return nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func sum(crc uint32, b []byte) uint32 { return crc32.Update(crc, castagnoli, b) }

// wireHeader is shard.Header as it travels.
type wireHeader struct {
	ID      []byte           `cbor:"1,keyasint"`
	Session hallig.SessionID `cbor:"2,keyasint"`
	Pool    hallig.PoolID    `cbor:"3,keyasint"`
	K       uint16           `cbor:"4,keyasint"`
	M       uint16           `cbor:"5,keyasint"`
	Length  uint32           `cbor:"6,keyasint"`
	Stripe  uint32           `cbor:"7,keyasint"`
	Vouch   []byte           `cbor:"8,keyasint"`
}

// appendPreface appends a header with its length before it.
func appendPreface(dst []byte, h shard.Header) ([]byte, error) {
	id, err := h.ID.AppendBinary(nil)
	if err != nil {
		return nil, err
	}
	b, err := modes().enc.Marshal(wireHeader{id, h.Session, h.Pool, h.K, h.M, h.Length, h.Stripe, h.Vouch})
	if err != nil {
		return nil, fmt.Errorf("encode the header of shard %s: %w", h.ID, err)
	}
	return append(binary.BigEndian.AppendUint32(dst, uint32(len(b))), b...), nil
}

// parseHeader reads a header without its length.
func parseHeader(b []byte) (shard.Header, error) {
	var w wireHeader
	if err := unmarshal(b, &w); err != nil {
		return shard.Header{}, err
	}
	id, err := shard.ParseID(w.ID)
	if err != nil {
		return shard.Header{}, err
	}
	if len(w.Vouch) > shard.MaxVouch || w.Length > shard.MaxLength {
		return shard.Header{}, fmt.Errorf("header of shard %s: vouch of %d bytes, body of %d: %w", id, len(w.Vouch), w.Length, hallig.ErrInvalid)
	}
	if len(w.Vouch) == 0 {
		w.Vouch = nil
	}
	return shard.Header{ID: id, Session: w.Session, Pool: w.Pool, K: w.K, M: w.M, Length: w.Length, Stripe: w.Stripe, Vouch: w.Vouch}, nil
}

// readPreface reads a header and returns the CRC32C of its bytes.
func readPreface(r io.Reader) (shard.Header, uint32, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return shard.Header{}, 0, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxPreface {
		return shard.Header{}, 0, fmt.Errorf("header of %d bytes, at most %d: %w", n, maxPreface, hallig.ErrTooLarge)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return shard.Header{}, 0, err
	}
	h, err := parseHeader(b)
	return h, sum(sum(0, head[:]), b), err
}

// parsePut takes the body of a PUT apart.
func parsePut(b []byte) (shard.Header, []byte, error) {
	if len(b) < 8 {
		return shard.Header{}, nil, fmt.Errorf("%d bytes: %w", len(b), hallig.ErrInvalid)
	}
	if sum(0, b[:len(b)-4]) != binary.BigEndian.Uint32(b[len(b)-4:]) {
		return shard.Header{}, nil, fmt.Errorf("the checksum is wrong: something changed it on its way: %w", hallig.ErrInvalid)
	}
	n := binary.BigEndian.Uint32(b)
	if n > maxPreface || int(n) > len(b)-8 {
		return shard.Header{}, nil, fmt.Errorf("header of %d bytes in %d: %w", n, len(b), hallig.ErrInvalid)
	}
	h, err := parseHeader(b[4 : 4+n])
	return h, b[4+n : len(b)-4], err
}

// formatID and parseID are the path's form of an ID.
func formatID(id shard.ID) string {
	b, err := id.AppendBinary(nil)
	if err != nil {
		return "" // it has no way to fail
	}
	return hex.EncodeToString(b)
}

func parseID(s string) (shard.ID, error) {
	b, err := hex.DecodeString(s)
	if err != nil {
		return shard.ID{}, fmt.Errorf("shard id %q: %w", s[:min(len(s), 2*shard.IDSize)], hallig.ErrInvalid)
	}
	return shard.ParseID(b)
}

// A page is one flag byte (1: more follow), the number of entries, the
// entries, and the CRC32C of all that.
func appendPage(dst []byte, entries []byte, size int, more bool) []byte {
	start := len(dst)
	flag := byte(0)
	if more {
		flag = 1
	}
	dst = binary.BigEndian.AppendUint32(append(dst, flag), uint32(len(entries)/size))
	dst = append(dst, entries...)
	return binary.BigEndian.AppendUint32(dst, sum(0, dst[start:]))
}

// maxPage bounds a page of entries of a size, in bytes.
func maxPage(size int) int { return 1 + 4 + pageInfos*size + 4 }

// parsePage returns the entries of a page.
func parsePage(b []byte, size int) (entries []byte, more bool, err error) {
	if len(b) < 9 || len(b) > maxPage(size) || b[0] > 1 {
		return nil, false, fmt.Errorf("page of %d bytes: %w", len(b), hallig.ErrCorrupt)
	}
	entries = b[5 : len(b)-4]
	if int64(binary.BigEndian.Uint32(b[1:]))*int64(size) != int64(len(entries)) {
		return nil, false, fmt.Errorf("page of %d bytes says that it has %d entries: %w", len(b), binary.BigEndian.Uint32(b[1:]), hallig.ErrCorrupt)
	}
	if sum(0, b[:len(b)-4]) != binary.BigEndian.Uint32(b[len(b)-4:]) {
		return nil, false, fmt.Errorf("page: the checksum is wrong: %w", hallig.ErrCorrupt)
	}
	more = b[0] == 1
	if more && len(entries) == 0 {
		return nil, false, fmt.Errorf("empty page that says there are more: %w", hallig.ErrCorrupt)
	}
	return entries, more, nil
}

func appendInfo(dst []byte, i shard.Info) ([]byte, error) {
	dst, err := i.ID.AppendBinary(dst)
	dst = append(dst, i.Session[:]...)
	dst = binary.BigEndian.AppendUint32(dst, i.Length)
	return binary.BigEndian.AppendUint32(dst, i.Sum), err
}

// parseInfo reads one entry, of infoSize bytes.
func parseInfo(b []byte) (shard.Info, error) {
	id, err := shard.ParseID(b[:shard.IDSize])
	i := shard.Info{ID: id}
	copy(i.Session[:], b[shard.IDSize:])
	i.Length = binary.BigEndian.Uint32(b[shard.IDSize+16:])
	i.Sum = binary.BigEndian.Uint32(b[shard.IDSize+20:])
	return i, err
}

// wireStatus is a drive's status. Order numbers those of one life (Epoch) of a
// handler: a greater one was taken after all calls that a lesser one counts.
type wireStatus struct {
	Epoch       hallig.ID   `cbor:"1,keyasint"`
	Order       uint64      `cbor:"2,keyasint"`
	State       shard.State `cbor:"3,keyasint"`
	Reason      string      `cbor:"4,keyasint,omitempty"`
	Shards      int64       `cbor:"5,keyasint"`
	Live        int64       `cbor:"6,keyasint"`
	Dead        int64       `cbor:"7,keyasint"`
	Free        int64       `cbor:"8,keyasint"`
	Total       int64       `cbor:"9,keyasint"`
	Quarantined int64       `cbor:"10,keyasint"`
}

func (w wireStatus) text() string {
	b, err := modes().enc.Marshal(w)
	if err != nil {
		return "" // the client asks again
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func parseStatus(s string) (wireStatus, error) {
	var w wireStatus
	if len(s) > maxStatus {
		return w, fmt.Errorf("status of %d bytes: %w", len(s), hallig.ErrTooLarge)
	}
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return w, fmt.Errorf("status: %w: %w", err, hallig.ErrInvalid)
	}
	err = unmarshal(b, &w)
	return w, err
}

func (w wireStatus) status(drive hallig.DriveID) shard.Status {
	return shard.Status{
		Drive: drive, State: w.State, Reason: w.Reason, Shards: w.Shards, Live: w.Live, Dead: w.Dead,
		Free: w.Free, Total: w.Total, Quarantined: w.Quarantined,
	}
}

// wireFindings is the answer to a scrub.
type wireFindings struct {
	Shards  int64    `cbor:"1,keyasint"`
	Bytes   int64    `cbor:"2,keyasint"`
	Bad     [][]byte `cbor:"3,keyasint,omitempty"`
	Unnamed int64    `cbor:"4,keyasint"`
	Next    []byte   `cbor:"5,keyasint,omitempty"`
	More    bool     `cbor:"6,keyasint"` // Next is a cursor, if an empty one
}

const maxFindings = 4 << 20 // bytes of a wireFindings

func (w wireFindings) findings() (shard.Findings, []byte, error) {
	f := shard.Findings{Shards: w.Shards, Bytes: w.Bytes, Unnamed: w.Unnamed}
	for _, b := range w.Bad {
		id, err := shard.ParseID(b)
		if err != nil {
			return f, nil, err
		}
		f.Bad = append(f.Bad, id)
	}
	if !w.More {
		return f, nil, nil
	}
	if len(w.Next) > maxCursor {
		return f, nil, fmt.Errorf("cursor of %d bytes: %w", len(w.Next), hallig.ErrTooLarge)
	}
	return f, append([]byte{}, w.Next...), nil
}
