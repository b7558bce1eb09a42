package raft

import (
	"bytes"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	hraft "github.com/hashicorp/raft"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/vfs"
)

func osFS() vfs.FS { return vfs.OS() }

func ignore(*exportHead, *pebble.Batch) error { return nil }

func FuzzLogEntry(f *testing.F) {
	f.Add(encodeLog(&hraft.Log{Term: 3, Data: []byte("x"), Extensions: []byte("y")}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var l hraft.Log
		if decodeLog(b, &l) == nil && !bytes.Equal(encodeLog(&l), b) {
			t.Fatalf("%x is not what it decodes to", b)
		}
	})
}

func FuzzMirrorRecord(f *testing.F) {
	b, err := encodeRecord(&record{Format: recordFormat, Self: hallig.NewID(), Set: MirrorSet{Epoch: 3, Members: []hallig.ID{hallig.NewID()}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = decodeRecord(b) })
}

func FuzzExport(f *testing.F) {
	var b bytes.Buffer
	x := newExporter(&b)
	_ = x.head(&exportHead{Partitions: []uint16{0, 1}})
	_ = x.row([]byte("\x00\x01row"), []byte("value"))
	_ = x.end()
	f.Add(b.Bytes())
	if err := readExport(bytes.NewReader(b.Bytes()), ignore); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(_ *testing.T, b []byte) { _ = readExport(bytes.NewReader(b), ignore) })
}
