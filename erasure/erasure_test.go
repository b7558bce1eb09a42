package erasure

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/shard"
)

// newRand returns a source whose seed is logged; set the constant to replay.
func newRand(t *testing.T) *rand.Rand {
	const replay = 0
	seed := uint64(replay)
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 1))
}

func randomBytes(r *rand.Rand, n int64) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// encode lays a stripe out and returns all its shards.
func encode(t testing.TB, c *Code, l Layout, stripe []byte) [][]byte {
	t.Helper()
	data, err := l.Split(stripe)
	if err != nil {
		t.Fatal(err)
	}
	parity := make([][]byte, c.M())
	for i := range parity {
		parity[i] = bytes.Repeat([]byte{0xaa}, int(l.ShardLength(c.K()+i)))
	}
	if err := c.Encode(data, parity); err != nil {
		t.Fatal(err)
	}
	return append(data, parity...)
}

// lose drops n shards at random and returns what is left.
func lose(r *rand.Rand, shards [][]byte, n int) [][]byte {
	left := append([][]byte(nil), shards...)
	for _, i := range r.Perm(len(shards))[:n] {
		left[i] = nil
	}
	return left
}

// TestAnyMGone: whatever m shards are gone, the stripe comes back, identical,
// and so does the parity. 70+30 is the widest code promised.
func TestAnyMGone(t *testing.T) {
	r := newRand(t)
	for _, s := range []struct{ k, m, rounds int }{{70, 30, 12}, {1, 2, 20}, {1, 0, 2}, {3, 0, 2}, {2, 1, 40}, {2, 2, 40}, {4, 2, 60}, {6, 4, 40}, {10, 2, 30}, {200, 56, 2}} {
		c, err := New(s.k, s.m)
		if err != nil {
			t.Fatal(err)
		}
		for round := range s.rounds {
			size := r.Int64N(int64(3*s.k) * shard.BlockSize)
			if s.k >= 70 {
				size = r.Int64N(int64(s.k) * shard.BlockSize * 5 / 4)
			}
			if round == 0 {
				size = int64(s.k) * shard.BlockSize // a full, even stripe
			}
			l, err := NewLayout(s.k, s.m, size)
			if err != nil {
				t.Fatal(err)
			}
			stripe := randomBytes(r, size)
			shards := encode(t, c, l, stripe)
			left := lose(r, shards, s.m)
			if err := c.Reconstruct(left, l.Lengths(), nil); err != nil {
				t.Fatalf("%d+%d, %d bytes: %v", s.k, s.m, size, err)
			}
			for i := range shards {
				if !bytes.Equal(left[i], shards[i]) {
					t.Fatalf("%d+%d, %d bytes: shard %d differs", s.k, s.m, size, i)
				}
			}
			if got := bytes.Join(left[:s.k], nil); s.k > 1 && !bytes.Equal(got, stripe) {
				t.Fatalf("%d+%d, %d bytes: the stripe differs", s.k, s.m, size)
			}
			if ok, err := c.Verify(left[:s.k], left[s.k:]); err != nil || !ok {
				t.Fatalf("verify: %v %v", ok, err)
			}
		}
	}
}

// TestTooManyGone is the negative control: one shard more, and it says so.
func TestTooManyGone(t *testing.T) {
	r := newRand(t)
	for _, s := range [][2]int{{70, 30}, {4, 2}, {1, 2}, {3, 0}} {
		c, err := New(s[0], s[1])
		if err != nil {
			t.Fatal(err)
		}
		l, err := NewLayout(s[0], s[1], int64(s[0])*shard.BlockSize)
		if err != nil {
			t.Fatal(err)
		}
		left := lose(r, encode(t, c, l, randomBytes(r, l.Sealed)), s[1]+1)
		before := append([][]byte(nil), left...)
		if err := c.Reconstruct(left, l.Lengths(), nil); !errors.Is(err, hallig.ErrLost) {
			t.Fatalf("%v: want ErrLost, got %v", s, err)
		}
		for i := range left {
			if (left[i] == nil) != (before[i] == nil) {
				t.Fatalf("%v: shard %d was filled in", s, i)
			}
		}
	}
}

// TestWant rebuilds only what is asked for.
func TestWant(t *testing.T) {
	r := newRand(t)
	c, _ := New(4, 2)
	l, _ := NewLayout(4, 2, 3*shard.BlockSize+100) // the last data shard is short
	shards := encode(t, c, l, randomBytes(r, l.Sealed))
	left := append([][]byte(nil), shards...)
	left[1], left[5] = nil, nil
	if err := c.Reconstruct(left, l.Lengths(), []int{1}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(left[1], shards[1]) || left[5] != nil {
		t.Fatal("want shard 1 rebuilt and shard 5 left alone")
	}
}

// TestEmptyShardsAreNeverMissing: a stripe shorter than its width can lose its
// empty shards and m others.
func TestEmptyShardsAreNeverMissing(t *testing.T) {
	c, _ := New(4, 2)
	l, _ := NewLayout(4, 2, 100)
	stripe := bytes.Repeat([]byte{7}, 100)
	shards := encode(t, c, l, stripe)
	left := [][]byte{nil, nil, nil, nil, nil, shards[5]}
	if err := c.Reconstruct(left, l.Lengths(), nil); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(left[0], stripe) || !bytes.Equal(left[4], shards[4]) {
		t.Fatal("a stripe of one segment must come back from any one shard")
	}
}

// TestLayout: segments never straddle shards, every byte lies in one place, and
// lengths fall.
func TestLayout(t *testing.T) {
	r := newRand(t)
	for range 2000 {
		k, m := 1+r.IntN(20), r.IntN(8)
		sealed := r.Int64N(int64(k) * 5 * shard.BlockSize)
		l, err := NewLayout(k, m, sealed)
		if err != nil {
			t.Fatal(err)
		}
		var sum int64
		for i := range l.K {
			sum += l.DataLength(i)
			if l.DataLength(i) > l.DataLength(0) {
				t.Fatalf("%+v: shard %d is longer than the first", l, i)
			}
		}
		if sum != sealed {
			t.Fatalf("%+v: data shards have %d bytes", l, sum)
		}
		var at int64
		for n := range l.Segments() {
			i, off, length, ok := l.Locate(n)
			if !ok || off+length > l.DataLength(i) || int64(i)*l.DataLength(0)+off != at || off%shard.BlockSize != 0 {
				t.Fatalf("%+v: segment %d at %d+%d of shard %d", l, n, off, length, i)
			}
			at += length
		}
		if at != sealed {
			t.Fatalf("%+v: segments have %d bytes", l, at)
		}
		if _, _, _, ok := l.Locate(l.Segments()); ok {
			t.Fatal("a segment past the end")
		}
	}
}

func TestRefusals(t *testing.T) {
	for _, s := range [][2]int{{0, 1}, {-1, 2}, {1, -1}, {200, 57}, {257, 0}} {
		if _, err := New(s[0], s[1]); !errors.Is(err, hallig.ErrInvalid) {
			t.Errorf("New%v: %v", s, err)
		}
	}
	if _, err := NewLayout(2, 1, 2*shard.MaxLength+1); !errors.Is(err, hallig.ErrInvalid) {
		t.Errorf("too long a stripe: %v", err)
	}
	c, _ := New(2, 1)
	for name, err := range map[string]error{
		"too few data":    c.Encode([][]byte{{1}}, [][]byte{{1}}),
		"growing data":    c.Encode([][]byte{{1}, {1, 2}}, [][]byte{{1}}),
		"short parity":    c.Encode([][]byte{{1}, {1}}, [][]byte{{}}),
		"wrong length":    c.Reconstruct([][]byte{{1}, {1, 2}, nil}, []int{1, 1, 1}, nil),
		"parity length":   c.Reconstruct([][]byte{{1}, {1}, nil}, []int{1, 1, 0}, nil),
		"index too great": c.Reconstruct([][]byte{{1}, {1}, nil}, []int{1, 1, 1}, []int{3}),
		"too few lengths": c.Reconstruct([][]byte{{1}, {1}, nil}, []int{1, 1}, nil),
	} {
		if !errors.Is(err, hallig.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzReconstruct: no choice of sizes and losses panics or gives another stripe.
func FuzzReconstruct(f *testing.F) {
	f.Add([]byte("a stripe"), uint8(4), uint8(2), uint16(0b11))
	f.Add(bytes.Repeat([]byte{1}, 3*shard.BlockSize), uint8(2), uint8(1), uint16(1))
	f.Fuzz(func(t *testing.T, stripe []byte, k, m uint8, gone uint16) {
		k, m = 1+k%12, m%6
		c, err := New(int(k), int(m))
		if err != nil {
			t.Fatal(err)
		}
		l, err := NewLayout(int(k), int(m), int64(len(stripe)))
		if err != nil {
			t.Skip()
		}
		var shards [][]byte
		if k == 1 {
			for range 1 + m {
				shards = append(shards, stripe)
			}
		} else {
			shards = encode(t, c, l, stripe)
		}
		left := make([][]byte, len(shards))
		lost := 0
		for i := range left {
			if gone>>(i%16)&1 == 0 {
				left[i] = shards[i]
			} else if l.ShardLength(i) > 0 {
				lost++
			}
		}
		err = c.Reconstruct(left, l.Lengths(), nil)
		if lost > int(m) {
			if !errors.Is(err, hallig.ErrLost) {
				t.Fatalf("%d of %d+%d lost: %v", lost, k, m, err)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		for i := range shards {
			if !bytes.Equal(left[i], shards[i]) {
				t.Fatalf("shard %d differs", i)
			}
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	for _, s := range [][2]int{{4, 2}, {8, 2}, {10, 4}} {
		c, _ := New(s[0], s[1])
		l, _ := NewLayout(s[0], s[1], 64*shard.BlockSize)
		stripe := make([]byte, l.Sealed)
		data, _ := l.Split(stripe)
		parity := make([][]byte, s[1])
		for i := range parity {
			parity[i] = make([]byte, l.ShardLength(s[0]+i))
		}
		b.Run(string(rune('0'+s[0]%10))+"+"+string(rune('0'+s[1])), func(b *testing.B) {
			b.SetBytes(l.Sealed)
			for b.Loop() {
				if err := c.Encode(data, parity); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestCodes(t *testing.T) {
	var c Codes
	a, err := c.Get(4, 2)
	if err != nil || a.K() != 4 || a.M() != 2 {
		t.Fatal(err)
	}
	if b, _ := c.Get(4, 2); a != b {
		t.Error("a code is made once")
	}
	if _, err := c.Get(0, 2); !errors.Is(err, hallig.ErrInvalid) {
		t.Error(err)
	}
}

// TestReconstructInPlace: given the room, nothing is allocated for bytes, what
// lies behind the room's end is not touched, and the shards are the same.
func TestReconstructInPlace(t *testing.T) {
	r := newRand(t)
	c, _ := New(4, 2)
	for range 200 {
		l, err := NewLayout(4, 2, 1+r.Int64N(9*shard.BlockSize))
		if err != nil {
			t.Fatal(err)
		}
		shards := encode(t, c, l, randomBytes(r, l.Sealed))
		lengths := l.Lengths()
		rooms, left := make([][]byte, 6), make([][]byte, 6)
		zero := bytes.Repeat([]byte{0xee}, lengths[0]) // shared by the empty ones
		for i := range left {
			rooms[i] = bytes.Repeat([]byte{0xaa}, lengths[0]+1)
			left[i] = rooms[i][:copy(rooms[i], shards[i]):lengths[0]]
			if lengths[i] == 0 {
				left[i] = zero[:0]
			}
		}
		for _, i := range r.Perm(6)[:2] {
			left[i] = left[i][:0]
		}
		if err := c.Reconstruct(left, lengths, nil); err != nil {
			t.Fatal(err)
		}
		for i := range left {
			if !bytes.Equal(left[i], shards[i]) {
				t.Fatalf("%d bytes: shard %d differs", l.Sealed, i)
			}
			if lengths[i] > 0 && &left[i][0] != &rooms[i][0] {
				t.Fatalf("%d bytes: shard %d is not where its room was", l.Sealed, i)
			}
			if rooms[i][lengths[0]] != 0xaa {
				t.Fatalf("%d bytes: the room of shard %d was left", l.Sealed, i)
			}
		}
	}
}
