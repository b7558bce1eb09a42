package objects_test

import (
	"bytes"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/objects"
	"github.com/hallig-cloud/hallig/objects/objectstest"
	"github.com/hallig-cloud/hallig/shard"
)

// A stripe fails while two behind it are on their way: all three are sent anew,
// in their order, and what was taken back is deleted.
func TestStripeFailsBeforeOthers(t *testing.T) {
	var armed atomic.Bool
	var once sync.Once
	behind := make(chan struct{}) // closed when the third stripe is on its way
	m := objectstest.NewMesh(t, objectstest.Options{Drives: 4, Wrap: func(i int, d shard.Store) shard.Store {
		return &hooked{Store: d, before: func(call string, id shard.ID) error {
			if call != "put" || !armed.Load() {
				return nil
			}
			if id.Stripe == 3 {
				once.Do(func() { close(behind) })
			}
			if i == 1 && id.Stripe == 1 {
				<-behind
				return fmt.Errorf("injected: %w", hallig.ErrUnavailable)
			}
			return nil
		}}
	}})
	bucket(t, m.Store, objects.Bucket{Name: "b"})
	data := body(6, 22<<20+99)
	armed.Store(true)
	v := put(t, m.Store, "b", "k", data)
	if len(v.Extents) != 2 || v.Extents[0].Count != 1 || v.Extents[0].Last {
		t.Errorf("one stripe was durable before the failure: %+v", v.Extents)
	}
	if got, err := get(m.Store, v, 0, -1); err != nil || !bytes.Equal(got, data) {
		t.Error(err)
	}
	settled(t, m.Store)
	for i, id := range m.Drives.IDs() {
		if i == 1 {
			continue // it is kept away from: what it has is the sweep's
		}
		err := m.Drives.Mem(id).Walk(t.Context(), shard.ID{}, func(x shard.Info) error {
			if x.ID.Data == v.Extents[0].Data && x.ID.Stripe > 0 {
				t.Errorf("drive %d still has %s", i, x.ID)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}
