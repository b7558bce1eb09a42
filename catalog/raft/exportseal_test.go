package raft

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/zeebo/blake3"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog/machine"
)

// keyed seals records under a key that others do not have; the names are in
// the clear.
type keyed struct {
	machine.Clear
	key  [32]byte
	lock bool
}

func (k keyed) mac(aad, plain []byte) []byte {
	h, err := blake3.NewKeyed(k.key[:])
	if err != nil {
		panic(err)
	}
	_, _ = h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(aad))))
	_, _ = h.Write(append(slices.Clone(aad), plain...))
	return h.Sum(nil)
}

func (k keyed) SealRecord(_ hallig.BucketID, aad, plain []byte) ([]byte, error) {
	if k.lock {
		return nil, hallig.ErrKeyLocked
	}
	return append(k.mac(aad, plain), plain...), nil
}

func (k keyed) OpenRecord(_ hallig.BucketID, aad, sealed []byte) ([]byte, error) {
	if k.lock {
		return nil, hallig.ErrKeyLocked
	}
	if len(sealed) < 32 || !bytes.Equal(k.mac(aad, sealed[32:]), sealed[:32]) {
		return nil, hallig.ErrCorrupt
	}
	return slices.Clone(sealed[32:]), nil
}

// spliced makes an export of the rows of several that keep says, well formed
// and with a right hash, under the seal that lay behind the first.
func spliced(t *testing.T, keep func(export, row int) bool, exports ...[]byte) []byte {
	t.Helper()
	var out bytes.Buffer
	x := newExporter(&out)
	var head *exportHead
	var seal []byte
	for i, e := range exports {
		in, row := bytes.NewReader(e), 0
		err := readExport(in, func(h *exportHead, b *pebble.Batch) error {
			if head == nil {
				head = h
				if err := x.head(h); err != nil {
					return err
				}
			}
			r := b.Reader()
			for {
				_, k, v, ok, err := r.Next()
				if !ok || err != nil {
					return err
				}
				if keep(i, row) {
					if err := x.row(k, v); err != nil {
						return err
					}
				}
				row++
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			seal = e[len(e)-in.Len():]
		}
	}
	if err := x.end(); err != nil {
		t.Fatal(err)
	}
	return append(out.Bytes(), seal...)
}

// TestExportForged lets somebody without the key change an export and make
// every checksum of it right again.
func TestExportForged(t *testing.T) {
	c := config(t, 1)
	c.Sealer = keyed{key: [32]byte{1}}
	n := open(t, c)
	b := benchBucket(t, n)
	puts(t, n, b, 0, 5)
	first := exported(t, n)
	puts(t, n, b, 5, 10)
	second := exported(t, n)
	all := func(int, int) bool { return true }
	if same := spliced(t, all, first); !bytes.Equal(same, first) {
		t.Fatal("putting all rows together again must give the same export")
	}
	if when, err := CheckExport(c, bytes.NewReader(first)); err != nil || when.IsZero() {
		t.Fatal(when, err)
	}
	locked, other := c, c
	locked.Sealer, other.Sealer = keyed{lock: true}, keyed{key: [32]byte{2}}
	for _, x := range []struct {
		name string
		c    Config
		data []byte
		want error
	}{
		{"a row taken out", c, spliced(t, func(_, row int) bool { return row != 3 }, first), hallig.ErrCorrupt},
		{"rows of two", c, spliced(t, func(i, row int) bool { return i == 0 || row > 7 }, second, first), hallig.ErrCorrupt},
		{"the seal of another", c, append(slices.Clone(first[:len(first)-66]), second[len(second)-66:]...), hallig.ErrCorrupt},
		{"cut before the seal", c, first[:len(first)-66], hallig.ErrCorrupt},
		{"something behind", c, append(slices.Clone(first), 0), hallig.ErrCorrupt},
		{"no seal", c, append(slices.Clone(first[:len(first)-66]), 0, 0), hallig.ErrDenied},
		{"another key", other, first, hallig.ErrCorrupt},
		{"a locked keyring", locked, first, hallig.ErrKeyLocked},
	} {
		if _, err := CheckExport(x.c, bytes.NewReader(x.data)); !errors.Is(err, x.want) {
			t.Errorf("%s: %v, want %v", x.name, err, x.want)
		}
		x.c.Dirs = []string{t.TempDir()}
		if err := Restore(context.Background(), x.c, bytes.NewReader(x.data)); !errors.Is(err, x.want) {
			t.Errorf("%s: restored: %v, want %v", x.name, err, x.want)
		}
	}
}
