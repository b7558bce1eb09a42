package objects_test

import (
	"bytes"
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/objects"
	"github.com/hallig-cloud/hallig/objects/objectstest"
	"github.com/hallig-cloud/hallig/placement"
	"github.com/hallig-cloud/hallig/shard"
)

// lossAtAck puts an object while two of four drives are slow, stops the world
// when the Put is acknowledged or can go no further without them, takes any two
// drives away at that moment, and says whether an acknowledged object was lost.
func lossAtAck(t *testing.T, size int, rule func(*placement.Pool) int) (lost bool) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		m := objectstest.NewMesh(t, objectstest.Options{Drives: 4, Wrap: func(i int, d shard.Store) shard.Store {
			if i < 2 {
				return d
			}
			return &hooked{Store: d, before: func(call string, _ shard.ID) error {
				if call == "put" {
					<-gate
					// What was on its way when the power went is not there.
					if lost {
						return hallig.ErrUnavailable
					}
				}
				return nil
			}}
		}})
		m.Store.SetAckRule(rule)
		bucket(t, m.Store, objects.Bucket{Name: "b"})
		data := body(1, size)
		acked := make(chan catalog.Version, 1)
		go func() {
			v, err := m.Store.Put(context.Background(), objects.PutRequest{Bucket: "b", Key: "k", Body: bytes.NewReader(data), Size: int64(size)})
			if err != nil {
				t.Error(err)
			}
			acked <- v
		}()
		time.Sleep(2 * time.Second) // of the bubble's time: past StragglerAfter, not past ShardTimeout
		synctest.Wait()
		early := len(acked) == 1
		if early {
			lost = true // unless the reads below say otherwise
		}
		released := false
		release := func() {
			if !released {
				released = true
				close(gate)
			}
		}
		if !early {
			release()
		}
		v := <-acked
		ids := m.Drives.IDs()
		gone := 0
		for a := range ids {
			for b := range a {
				m.Drives.SetAway(ids[a], true)
				m.Drives.SetAway(ids[b], true)
				if got, err := get(m.Store, v, 0, -1); err != nil || !bytes.Equal(got, data) {
					gone++
				}
				m.Drives.SetAway(ids[a], false)
				m.Drives.SetAway(ids[b], false)
			}
		}
		lost = gone > 0
		release()
		m.Store.WaitBackground()
	})
	return lost
}

// An acknowledged write is never lost to what was promised, from the moment of
// the acknowledgement; acknowledging earlier loses it.
func TestAcknowledgedMeansSafe(t *testing.T) {
	for _, size := range []int{1000, 300_000} {
		if lossAtAck(t, size, nil) {
			t.Errorf("%d bytes: an acknowledged object was lost with two drives", size)
		}
		if !lossAtAck(t, size, func(p *placement.Pool) int { return p.Scheme.K }) {
			t.Errorf("%d bytes: acknowledging at k loses nothing: the test cannot fail", size)
		}
	}
}

// A slow drive delays no read: another shard is asked for after HedgeAfter.
func TestHedgedRead(t *testing.T) {
	for _, size := range []int{1000, 1 << 20, 9 << 20} {
		synctest.Test(t, func(t *testing.T) {
			gate := make(chan struct{})
			var stuck atomic.Int64
			m := objectstest.NewMesh(t, objectstest.Options{Drives: 4, Wrap: func(i int, d shard.Store) shard.Store {
				return &hooked{Store: d, before: func(call string, _ shard.ID) error {
					if call == "get" && i == int(stuck.Load()) {
						<-gate
					}
					return nil
				}}
			}})
			bucket(t, m.Store, objects.Bucket{Name: "b"})
			data := body(2, size)
			v := put(t, m.Store, "b", "k", data)
			for i := range 4 {
				stuck.Store(int64(i))
				time.Sleep(time.Hour) // of the bubble's time: old faults are forgiven
				if got, err := get(m.Store, v, 0, -1); err != nil || !bytes.Equal(got, data) {
					t.Fatalf("%d bytes, drive %d stuck: %v", size, i, err)
				}
				// Known to be slow, the drive is not waited for again.
				begun := time.Now()
				if _, err := get(m.Store, v, 0, -1); err != nil || time.Since(begun) != 0 {
					t.Errorf("%d bytes: a read waited %s for a drive that is known to be slow: %v", size, time.Since(begun), err)
				}
			}
			close(gate)
			synctest.Wait()
			m.Store.WaitBackground()
			if n := m.Store.MemoryInUse(); n != 0 {
				t.Errorf("%d bytes of memory are not returned", n)
			}
		})
	}
}

// A drive that hangs in a write is given up in the end, and the write goes on
// without it.
func TestHungDriveInAWrite(t *testing.T) {
	for _, size := range []int{1000, 9 << 20} {
		synctest.Test(t, func(t *testing.T) {
			gate := make(chan struct{})
			m := objectstest.NewMesh(t, objectstest.Options{Drives: 4, Wrap: func(i int, d shard.Store) shard.Store {
				if i != 1 {
					return d
				}
				return &hooked{Store: d, before: func(call string, _ shard.ID) error {
					if call == "put" {
						<-gate
					}
					return nil
				}}
			}})
			bucket(t, m.Store, objects.Bucket{Name: "b"})
			data := body(2, size)
			v := put(t, m.Store, "b", "k", data)
			close(gate)
			m.Store.WaitBackground()
			if got, err := get(m.Store, v, 0, -1); err != nil || !bytes.Equal(got, data) {
				t.Fatalf("%d bytes: %v", size, err)
			}
			m.Store.WaitBackground()
			if n := m.Store.MemoryInUse(); n != 0 {
				t.Errorf("%d bytes of memory are not returned", n)
			}
		})
	}
}
