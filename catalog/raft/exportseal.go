package raft

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/zeebo/blake3"

	"github.com/hallig-cloud/hallig"
)

// Behind an export stands its seal: length (2) and the BLAKE3 hash of the whole
// export as a sealed record of no bucket. Rows are sealed one by one; only this
// tells an export that was put together from others, or from which rows were
// taken, by somebody without the catalog key. Length 0 is a blind node's.

// exportSealLabel is what a seal is bound to, with the mesh.
const exportSealLabel = "hallig catalog export v1 "

const maxExportSeal = 1 << 10

func exportSealContext(mesh hallig.MeshID) []byte { return []byte(exportSealLabel + mesh.String()) }

// writeExportSeal writes the seal of an export with this hash.
func writeExportSeal(w io.Writer, c *Config, sum []byte) error {
	sealed, err := c.Sealer.SealRecord(hallig.BucketID{}, exportSealContext(c.Mesh), sum)
	if errors.Is(err, hallig.ErrKeyLocked) {
		sealed, err = nil, nil
	}
	if err != nil {
		return fmt.Errorf("seal the export: %w", err)
	}
	_, err = w.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(sealed))), sealed...))
	return err
}

// readSealedExport is readExport for an export with its seal.
func readSealedExport(c *Config, r io.Reader, fn func(*exportHead, *pebble.Batch) error) error {
	in, h := bufio.NewReaderSize(r, exportFrame), blake3.New()
	if err := readExport(io.TeeReader(in, h), fn); err != nil {
		return err
	}
	var n [2]byte
	if _, err := io.ReadFull(in, n[:]); err != nil {
		return broken("it is cut short before its seal", nil)
	}
	size := int64(binary.BigEndian.Uint16(n[:]))
	switch {
	case size == 0:
		return fmt.Errorf("catalog export: it was made by a node without its keys, and nothing says that it is whole: %w", hallig.ErrDenied)
	case size > maxExportSeal:
		return broken("its seal", nil)
	}
	sealed, err := io.ReadAll(io.LimitReader(in, size+1))
	if err != nil || int64(len(sealed)) != size {
		return broken("its seal, or what follows it", err)
	}
	got, err := c.Sealer.OpenRecord(hallig.BucketID{}, exportSealContext(c.Mesh), sealed)
	if errors.Is(err, hallig.ErrKeyLocked) {
		return fmt.Errorf("catalog export: check its seal: %w", err)
	}
	if err != nil || !bytes.Equal(got, h.Sum(nil)) {
		return broken("its seal is not that of what it holds: it was changed, or put together from several", nil)
	}
	return nil
}

// CheckExport reads an export to its end and says when it was made, if it is
// whole, of c.Mesh, and as the mesh's own key sealed it: ErrCorrupt, ErrForeign,
// ErrDenied (nobody sealed it), ErrKeyLocked, ErrUnsupported (a newer format).
// It needs c.Mesh and c.Sealer only.
func CheckExport(c Config, r io.Reader) (time.Time, error) {
	var head *exportHead
	err := readSealedExport(&c, r, func(h *exportHead, _ *pebble.Batch) error {
		if head = h; h.Mesh != c.Mesh {
			return fmt.Errorf("the export is of mesh %s: %w", h.Mesh, hallig.ErrForeign)
		}
		return nil
	})
	if err == nil && head == nil {
		err = broken("it has no rows", nil)
	}
	if err != nil {
		return time.Time{}, err
	}
	return time.UnixMilli(head.When).UTC(), nil
}
