package mesh

import (
	"encoding/binary"
	"fmt"
	"io"
	"sync"

	"github.com/fxamacker/cbor/v2"

	"github.com/hallig-cloud/hallig"
)

// codec holds the CBOR modes (RFC 8949, core deterministic encoding).
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
		MaxArrayElements: 1 << 16,
		MaxMapPairs:      64,
		UTF8:             cbor.UTF8RejectInvalid,
	}.DecMode()
	if err != nil {
		panic(err) // constant options
	}
	return codec{enc, dec}
})

func marshal(v any) ([]byte, error) {
	b, err := modes().enc.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w: %w", v, err, hallig.ErrInvalid)
	}
	return b, nil
}

// unmarshal reads one CBOR item that is all of b. Its errors wrap kind.
func unmarshal(b []byte, v any, kind error) error {
	if err := modes().dec.Unmarshal(b, v); err != nil {
		return fmt.Errorf("decode %T: %w: %w", v, err, kind)
	}
	return nil
}

// A frame is a big-endian uint32 length and that many bytes of CBOR.
const frameHead = 4

// writeFrame writes v as one frame, in one Write.
func writeFrame(w io.Writer, v any) error {
	body, err := marshal(v)
	if err != nil {
		return err
	}
	b := binary.BigEndian.AppendUint32(make([]byte, 0, frameHead+len(body)), uint32(len(body)))
	_, err = w.Write(append(b, body...))
	return err
}

// readFrame reads one frame of at most limit bytes into v: hallig.ErrTooLarge
// if it says that it is longer (nothing more is read then), hallig.ErrInvalid
// if it is malformed, else the reader's error. Memory grows with what has
// arrived, not with what was announced.
func readFrame(r io.Reader, limit int, v any) error {
	var head [frameHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > uint32(limit) {
		return fmt.Errorf("frame of %d bytes, at most %d: %w", n, limit, hallig.ErrTooLarge)
	}
	body, err := io.ReadAll(io.LimitReader(r, int64(n)))
	if err != nil {
		return err
	}
	if len(body) < int(n) {
		return fmt.Errorf("frame of %d bytes ends after %d: %w", n, len(body), io.ErrUnexpectedEOF)
	}
	return unmarshal(body, v, hallig.ErrInvalid)
}
