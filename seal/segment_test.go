package seal

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
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

var (
	testKey    = DataKey{1, 2, 3}
	testMesh   = hallig.MeshID{0xaa}
	testBucket = hallig.BucketID{0xbb}
	testData   = hallig.DataID{0xcc}
)

func body(t testing.TB, key DataKey, mesh, bucket, data hallig.ID) *Body {
	t.Helper()
	b, err := NewBody(key, mesh, bucket, data)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// sealAll seals a whole body.
func sealAll(b *Body, plain []byte) [][]byte {
	var out [][]byte
	for n := uint64(0); ; n++ {
		cut := min(len(plain), SegmentSize)
		last := len(plain) <= SegmentSize
		out = append(out, b.Seal(nil, plain[:cut], n, last))
		if plain = plain[cut:]; last {
			return out
		}
	}
}

// openAll opens segments as a body of that many segments.
func openAll(b *Body, segments [][]byte) ([]byte, error) {
	var out []byte
	for n, s := range segments {
		var err error
		if out, err = b.Open(out, s, uint64(n), n == len(segments)-1); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func TestSizes(t *testing.T) {
	if SealedSegment != shard.BlockSize {
		t.Fatalf("a sealed segment has %d bytes, a block %d", SealedSegment, shard.BlockSize)
	}
	for plain, want := range map[int64]int64{0: 16, 1: 17, SegmentSize: SealedSegment, SegmentSize + 1: SealedSegment + 17, 5 << 40: 5<<40 + 16*(5<<24)} {
		if got := SealedLength(plain); got != want {
			t.Errorf("SealedLength(%d) = %d, want %d", plain, got, want)
		}
		if got, err := PlainLength(want); err != nil || got != plain {
			t.Errorf("PlainLength(%d) = %d, %v", want, got, err)
		}
	}
	for _, sealed := range []int64{-1, 0, 15, SealedSegment + 1, SealedSegment + 16} {
		if _, err := PlainLength(sealed); !errors.Is(err, hallig.ErrCorrupt) {
			t.Errorf("PlainLength(%d): %v", sealed, err)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	b := body(t, testKey, testMesh, testBucket, testData)
	for _, n := range []int{0, 1, 15, SegmentSize - 1, SegmentSize, SegmentSize + 1, 3*SegmentSize + 7} {
		plain := bytes.Repeat([]byte{0x5a}, n)
		segments := sealAll(b, plain)
		if got := int64(len(bytes.Join(segments, nil))); got != SealedLength(int64(n)) {
			t.Fatalf("%d bytes sealed to %d", n, got)
		}
		got, err := openAll(body(t, testKey, testMesh, testBucket, testData), segments)
		if err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
}

// TestTamper: whatever is done to a sealed body, it does not open. Each case is
// paired with the untouched body, which does: the negative control.
func TestTamper(t *testing.T) {
	r := newRand(t)
	plain := make([]byte, 2*SegmentSize+100)
	b := body(t, testKey, testMesh, testBucket, testData)
	good := sealAll(b, plain)
	clone := func() [][]byte {
		out := make([][]byte, len(good))
		for i := range good {
			out[i] = bytes.Clone(good[i])
		}
		return out
	}
	other := DataKey{9}
	cases := map[string]func() (*Body, [][]byte){
		"swapped":       func() (*Body, [][]byte) { s := clone(); s[0], s[1] = s[1], s[0]; return b, s },
		"repeated":      func() (*Body, [][]byte) { s := clone(); s[1] = s[0]; return b, s },
		"cut":           func() (*Body, [][]byte) { return b, clone()[:2] },
		"grown":         func() (*Body, [][]byte) { s := clone(); return b, append(s, s[2]) },
		"first missing": func() (*Body, [][]byte) { return b, clone()[1:] },
		"short":         func() (*Body, [][]byte) { s := clone(); s[2] = s[2][:50]; return b, s },
		"byte more":     func() (*Body, [][]byte) { s := clone(); s[2] = append(s[2], 0); return b, s },
		"empty":         func() (*Body, [][]byte) { s := clone(); s[2] = nil; return b, s },
		"other key":     func() (*Body, [][]byte) { return body(t, other, testMesh, testBucket, testData), clone() },
		"other mesh":    func() (*Body, [][]byte) { return body(t, testKey, hallig.ID{1}, testBucket, testData), clone() },
		"other bucket":  func() (*Body, [][]byte) { return body(t, testKey, testMesh, hallig.ID{1}, testData), clone() },
		"other data":    func() (*Body, [][]byte) { return body(t, testKey, testMesh, testBucket, hallig.ID{1}), clone() },
		"last made inner": func() (*Body, [][]byte) {
			full := sealAll(b, plain[:SegmentSize]) // a full last segment, followed by another
			return b, append(full, good[1:]...)
		},
	}
	for name, f := range cases {
		if _, err := openAll(f()); !errors.Is(err, hallig.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for range 300 {
		s := clone()
		i := r.IntN(len(s))
		s[i][r.IntN(len(s[i]))] ^= 1 << r.IntN(8)
		if _, err := openAll(b, s); !errors.Is(err, hallig.ErrCorrupt) {
			t.Fatalf("a flipped bit in segment %d opened: %v", i, err)
		}
	}
	if _, err := openAll(b, clone()); err != nil {
		t.Fatalf("the untouched body: %v", err)
	}
}

// TestOpenKeepsDst: a failure leaves what was there.
func TestOpenKeepsDst(t *testing.T) {
	b := body(t, testKey, testMesh, testBucket, testData)
	dst := []byte("before")
	got, err := b.Open(dst, make([]byte, 40), 0, true)
	if err == nil || string(got) != "before" {
		t.Fatalf("%q %v", got, err)
	}
}

// TestKnownAnswers pins the formats: if one of these changes, nothing that was
// ever stored can be read.
func TestKnownAnswers(t *testing.T) {
	b := body(t, testKey, testMesh, testBucket, testData)
	c := b.Commitment()
	vouch, err := b.Vouch(Stripe{Data: testData, Number: 7, Generation: 1, K: 2, M: 1, Sealed: 1000}, []Hash{{1}, {2}, HashShard([]byte("abc"))})
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string][2]string{
		"segment":    {hex.EncodeToString(b.Seal(nil, []byte("hallig"), 3, true)), "3e49fb1702d18b83f82d735d77e4ac8dc2969bc0a94b"},
		"commitment": {hex.EncodeToString(c[:]), "f02fb34ea2207bbb4cff2d5615dd925e11383d87b76a4231223c52d31d5d0614"},
		"vouch":      {hex.EncodeToString(vouch), "01f02fb34ea2207bbb4cff2d5615dd925e11383d87b76a4231223c52d31d5d06146f71adfd092f1b3a7ce50f20d7b2dbd7e2ca37ac6ea3194a05f5d22be799838001000000000000000000000000000000020000000000000000000000000000006437b3ac38465133ffb63b75273a8db5"},
	} {
		if v[0] != v[1] {
			t.Errorf("%s:\n got %s\nwant %s", name, v[0], v[1])
		}
	}
}

func stripe(k, m int) Stripe {
	return Stripe{Data: testData, Number: 3, Generation: 2, K: uint16(k), M: uint16(m), Sealed: 4711}
}

func TestVouch(t *testing.T) {
	b := body(t, testKey, testMesh, testBucket, testData)
	for _, s := range []Stripe{stripe(1, 2), stripe(4, 2), stripe(70, 30), stripe(1, 0)} {
		hashes := make([]Hash, s.Hashes())
		for i := range hashes {
			hashes[i] = HashShard([]byte{byte(i)})
		}
		v, err := b.Vouch(s, hashes)
		if err != nil || len(v) > shard.MaxVouch {
			t.Fatalf("%d bytes, %v", len(v), err)
		}
		got, err := b.CheckVouch(s, v)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(hashes) {
			t.Fatal(err)
		}
		h := shard.Header{ID: shard.ID{Data: s.Data, Stripe: s.Number, Generation: s.Generation}, K: s.K, M: s.M, Stripe: s.Sealed}
		if StripeOf(h) != s {
			t.Fatal("StripeOf")
		}
		for i := range v {
			bad := bytes.Clone(v)
			bad[i] ^= 4
			if _, err := b.CheckVouch(s, bad); err == nil {
				t.Fatalf("a vouch with byte %d changed passes", i)
			}
		}
		for name, f := range map[string]func(*Stripe){
			"number": func(s *Stripe) { s.Number++ }, "generation": func(s *Stripe) { s.Generation-- },
			"sealed": func(s *Stripe) { s.Sealed++ }, "data": func(s *Stripe) { s.Data[0]++ },
			"k": func(s *Stripe) { s.K++ }, "m": func(s *Stripe) { s.M++ },
		} {
			x := s
			f(&x)
			if _, err := b.CheckVouch(x, v); !errors.Is(err, hallig.ErrCorrupt) {
				t.Errorf("another %s: %v", name, err)
			}
		}
		if _, err := body(t, DataKey{7}, testMesh, testBucket, testData).CheckVouch(s, v); !errors.Is(err, hallig.ErrKeyUnknown) {
			t.Errorf("another key: want the commitment to say so, got %v", err)
		}
	}
	// k+m the other way round has as many hashes: the MAC must tell.
	v, _ := b.Vouch(stripe(4, 2), make([]Hash, 6))
	if _, err := b.CheckVouch(stripe(2, 4), v); !errors.Is(err, hallig.ErrCorrupt) {
		t.Errorf("4+2 as 2+4: %v", err)
	}
	if _, err := b.Vouch(stripe(4, 2), make([]Hash, 5)); !errors.Is(err, hallig.ErrInvalid) {
		t.Errorf("too few hashes: %v", err)
	}
	if _, err := b.Vouch(stripe(100, 100), make([]Hash, 200)); !errors.Is(err, hallig.ErrInvalid) {
		t.Errorf("too wide: %v", err)
	}
}

// TestNothingIsPrinted: no way of printing shows a key.
func TestNothingIsPrinted(t *testing.T) {
	var key DataKey
	for i := range key {
		key[i] = 0xf3
	}
	secrets, err := NewSecrets(testMesh)
	if err != nil {
		t.Fatal(err)
	}
	for i := range secrets.Roots[0].Key {
		secrets.Roots[0].Key[i] = 0xf3
	}
	ring := ring(t)
	var log bytes.Buffer
	l := slog.New(slog.NewJSONHandler(&log, nil))
	l.Info("x", "key", key, "pointer", &key, "secrets", secrets, "root", secrets.Roots[0])
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "key", key, "secrets", secrets, "root", secrets.Roots[0], "ring", ring)
	js, _ := json.Marshal(map[string]any{"k": key, "p": &key, "s": secrets, "r": secrets.Roots})
	all := log.String() + string(js)
	b, _ := bucket(t, ring, testBucket)
	for i := range b.key {
		b.key[i] = 0xf3
	}
	for _, v := range []any{key, &key, secrets, *secrets, secrets.Roots, ring, b} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%x", "%s", "%q", "%d"} {
			all += fmt.Sprintf(verb, v)
		}
	}
	for _, bad := range []string{"f3f3f3", "243", "8/Pz", "F3F3", "0xf3", "\xf3\xf3", `\xf3`} {
		if strings.Contains(all, bad) {
			t.Errorf("a key shows as %q in\n%s", bad, all)
		}
	}
}

// FuzzOpen: nothing that was not sealed opens, and nothing panics.
func FuzzOpen(f *testing.F) {
	v := voucher(f, 5, testBucket)
	b := body(f, testKey, testMesh, testBucket, testData).Trusting(v)
	f.Add(b.Seal(nil, []byte("x"), 0, true), uint64(1), true)
	f.Add([]byte{}, uint64(0), false)
	f.Fuzz(func(t *testing.T, sealed []byte, segment uint64, last bool) {
		if out, err := b.Open(nil, sealed, segment, last); err == nil && (segment != 0 || !last || string(out) != "x") {
			t.Fatalf("forged %x", sealed)
		}
		if _, err := b.CheckVouch(stripe(2, 1), sealed); err == nil {
			t.Fatalf("forged a vouch %x", sealed)
		}
		if _, _, err := v.CheckVouch(stripe(2, 1), sealed); err == nil {
			t.Fatalf("forged a bucket's vouch %x", sealed)
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	x := body(b, testKey, testMesh, testBucket, testData)
	plain, dst := make([]byte, SegmentSize), make([]byte, 0, SealedSegment)
	b.SetBytes(SegmentSize)
	for b.Loop() {
		x.Seal(dst, plain, 1, false)
	}
}

func BenchmarkNewBody(b *testing.B) {
	for b.Loop() {
		body(b, testKey, testMesh, testBucket, testData)
	}
}

func BenchmarkHashShard(b *testing.B) {
	x := make([]byte, 1<<20)
	b.SetBytes(1 << 20)
	for b.Loop() {
		HashShard(x)
	}
}
