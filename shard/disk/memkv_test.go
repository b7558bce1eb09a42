package disk

import (
	"bytes"
	"slices"

	"github.com/hallig-cloud/hallig/vfs"
	"github.com/hallig-cloud/hallig/vfs/vfstest"
)

// memKV is a kv that can lose its last batches, as a crash makes Pebble do.
// Pebble itself runs over the model disk in TestCrashPebble; this makes the
// many states of TestCrash cheap.
type memKV struct {
	disk *vfstest.Disk
	m    map[string][]byte
	log  *kvLog // nil: not kept
}

// kvLog is what was applied, and when.
type kvLog struct{ batches []loggedBatch }

type loggedBatch struct {
	ops    []kvOp
	at     int  // disk operations before it
	synced bool // with all before it durable from then on
	fresh  bool // the store was made anew before this batch
}

func newMemKV(disk *vfstest.Disk, log *kvLog) *memKV {
	if log != nil {
		log.batches = append(log.batches, loggedBatch{at: disk.Ops(), fresh: true})
	}
	return &memKV{disk: disk, m: map[string][]byte{}, log: log}
}

// restore returns the store as a crash after ops disk operations leaves it:
// pick(floor, n) says how many batches of n are kept, at least floor.
func (l *kvLog) restore(disk *vfstest.Disk, ops int, pick func(floor, n int) int) *memKV {
	floor, n := 0, 0
	for ; n < len(l.batches) && l.batches[n].at <= ops; n++ {
		if l.batches[n].synced {
			floor = n + 1
		}
	}
	kv := &memKV{disk: disk, m: map[string][]byte{}}
	for _, b := range l.batches[:pick(floor, n)] {
		if b.fresh {
			clear(kv.m)
		}
		kv.put(b.ops)
	}
	return kv
}

func (k *memKV) put(ops []kvOp) {
	for _, o := range ops {
		if o.value == nil {
			delete(k.m, string(o.key))
		} else {
			k.m[string(o.key)] = bytes.Clone(o.value)
		}
	}
}

func (k *memKV) get(key []byte) ([]byte, bool, error) {
	v, ok := k.m[string(key)]
	return v, ok, nil
}

func (k *memKV) scan(from, to []byte, fn func(key, value []byte) error) error {
	var keys []string
	for key := range k.m {
		if key >= string(from) && key < string(to) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		if err := fn([]byte(key), k.m[key]); err != nil {
			return err
		}
	}
	return nil
}

func (k *memKV) apply(b *kvBatch, sync bool) error {
	k.put(b.ops)
	if k.log != nil {
		if sync { // a boundary of its own, so that it is before or behind a crash
			if err := k.disk.SyncDir("/"); err != nil {
				return err
			}
		}
		k.log.batches = append(k.log.batches, loggedBatch{ops: cloned(b.ops), at: k.disk.Ops(), synced: sync})
	}
	return nil
}

func cloned(ops []kvOp) []kvOp {
	out := make([]kvOp, len(ops))
	for i, o := range ops {
		out[i] = kvOp{bytes.Clone(o.key), bytes.Clone(o.value)}
	}
	return out
}

func (k *memKV) probe() (kvProbe, error) { return memProbe{k}, nil }

func (k *memKV) flush(bool) error { return nil }

type memProbe struct{ k *memKV }

func (p memProbe) get(key []byte) ([]byte, bool, error) { return p.k.get(key) }

func (p memProbe) close() error { return nil }

func (k *memKV) broken() error { return nil }

func (k *memKV) damaged() error { return nil }

func (k *memKV) close() error { return nil }

// dump returns what the index says of shards and deletions.
func (d *Drive) dump() map[string]string {
	out := map[string]string{}
	_ = d.index.scan([]byte{keyShard}, []byte{keyShard + 1}, func(k, v []byte) error {
		out[string(k)] = string(v)
		return nil
	})
	return out
}

// memIndex opens an empty index in memory.
func memIndex(disk *vfstest.Disk) func(vfs.FS, string) (kv, error) {
	return func(vfs.FS, string) (kv, error) { return newMemKV(disk, nil), nil }
}
