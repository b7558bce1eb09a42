package seal

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/hallig-cloud/hallig"
)

func voucher(t testing.TB, key byte, bucket hallig.BucketID) Voucher {
	t.Helper()
	v, err := newVoucher(bytes.Repeat([]byte{key}, 32), testMesh, bucket)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestVoucher: a bucket's vouch is accepted for exactly its stripe, its bucket
// and its data key, and only by a body that trusts the bucket.
func TestVoucher(t *testing.T) {
	v := voucher(t, 5, testBucket)
	plain := body(t, testKey, testMesh, testBucket, testData)
	b := plain.Trusting(v)
	for _, s := range []Stripe{stripe(1, 2), stripe(4, 2), stripe(70, 30)} {
		hashes := make([]Hash, s.Hashes())
		for i := range hashes {
			hashes[i] = HashShard([]byte{byte(i)})
		}
		vouch, err := v.Vouch(s, b.Commitment(), hashes)
		if err != nil {
			t.Fatal(err)
		}
		got, err := b.CheckVouch(s, vouch)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(hashes) {
			t.Fatal(err)
		}
		got, commitment, err := v.CheckVouch(s, vouch)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(hashes) || commitment != b.Commitment() {
			t.Fatal(err)
		}
		if c, err := VouchCommitment(s, vouch); err != nil || c != commitment {
			t.Fatal(err)
		}
		if _, err := plain.CheckVouch(s, vouch); !errors.Is(err, hallig.ErrCorrupt) {
			t.Errorf("a body that trusts no bucket: %v", err)
		}
		for name, other := range map[string]Voucher{"another bucket": voucher(t, 5, hallig.ID{9}), "another key": voucher(t, 6, testBucket)} {
			if _, err := plain.Trusting(other).CheckVouch(s, vouch); !errors.Is(err, hallig.ErrCorrupt) {
				t.Errorf("%s: %v", name, err)
			}
			if _, _, err := other.CheckVouch(s, vouch); !errors.Is(err, hallig.ErrCorrupt) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, err := body(t, DataKey{7}, testMesh, testBucket, testData).Trusting(v).CheckVouch(s, vouch); !errors.Is(err, hallig.ErrKeyUnknown) {
			t.Errorf("another data key: want the commitment to say so, got %v", err)
		}
		for i := range vouch {
			bad := bytes.Clone(vouch)
			bad[i] ^= 3 // turns one version into the other
			if _, err := b.CheckVouch(s, bad); err == nil {
				t.Fatalf("a vouch with byte %d changed passes", i)
			}
			if _, _, err := v.CheckVouch(s, bad); err == nil {
				t.Fatalf("a vouch with byte %d changed passes the bucket", i)
			}
		}
		for name, f := range map[string]func(*Stripe){
			"number": func(s *Stripe) { s.Number++ }, "generation": func(s *Stripe) { s.Generation-- },
			"sealed": func(s *Stripe) { s.Sealed++ }, "data": func(s *Stripe) { s.Data[0]++ },
			"k": func(s *Stripe) { s.K++ }, "m": func(s *Stripe) { s.M++ },
		} {
			x := s
			f(&x)
			if _, err := b.CheckVouch(x, vouch); !errors.Is(err, hallig.ErrCorrupt) {
				t.Errorf("another %s: %v", name, err)
			}
			if _, _, err := v.CheckVouch(x, vouch); !errors.Is(err, hallig.ErrCorrupt) {
				t.Errorf("another %s, to the bucket: %v", name, err)
			}
		}
		own, err := b.Vouch(s, hashes)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := v.CheckVouch(s, own); !errors.Is(err, hallig.ErrKeyUnknown) {
			t.Errorf("made with the data key: %v", err)
		}
	}
	if _, err := v.Vouch(stripe(4, 2), b.Commitment(), make([]Hash, 5)); !errors.Is(err, hallig.ErrInvalid) {
		t.Errorf("too few hashes: %v", err)
	}
}

// TestVoucherKnownAnswer pins the format; the answer is another implementation's.
func TestVoucherKnownAnswer(t *testing.T) {
	vouch, err := voucher(t, 5, testBucket).Vouch(Stripe{Data: testData, Number: 7, Generation: 1, K: 2, M: 1, Sealed: 1000}, [32]byte{1, 2}, []Hash{{1}, {2}, {3}})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := hex.EncodeToString(vouch), "0201020000000000000000000000000000000000000000000000000000000000001e150783a37b4d0f2ef9bba72b6a9f3225f00ad83dc377ff743b666a17f05aca010000000000000000000000000000000200000000000000000000000000000003000000000000000000000000000000"; got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
}

// TestVoucherIsNotPrinted: no way of printing shows its key.
func TestVoucherIsNotPrinted(t *testing.T) {
	v := Voucher{key: [32]byte(bytes.Repeat([]byte{0xf3}, 32))}
	var all strings.Builder
	for _, x := range []any{v, &v, struct{ V Voucher }{v}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%x", "%s", "%q", "%d"} {
			fmt.Fprintf(&all, verb, x)
		}
	}
	for _, bad := range []string{"f3f3", "243", "F3F3", "0xf3", "\xf3\xf3", `\xf3`} {
		if strings.Contains(all.String(), bad) {
			t.Errorf("a key shows as %q in\n%s", bad, all.String())
		}
	}
}
