package objects

import (
	"bytes"
	"encoding/hex"
	"math/rand/v2"
	"testing"

	"github.com/hallig-cloud/hallig/catalog"
)

// The sums of "123456789": of the CRCs as the CRC RevEng catalogue gives them.
func TestChecksumVectors(t *testing.T) {
	for algorithm, want := range map[string]string{
		CRC32:     "cbf43926",
		CRC32C:    "e3069283",
		CRC64NVME: "ae8b14860a799888",
		SHA1:      "f7c3bc1d808e04732adf679965ccc34ca7ae3441",
		SHA256:    "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
	} {
		d, err := newDigest(algorithm)
		if err != nil {
			t.Fatal(err)
		}
		d.checksum.Write([]byte("1234"))
		d.checksum.Write([]byte("56789"))
		raw, err := rawChecksum(algorithm, d.sums().Checksum)
		if got := hex.EncodeToString(raw); err != nil || got != want {
			t.Errorf("%s of 123456789 is %s, want %s: %v", algorithm, got, want, err)
		}
	}
	if _, err := newDigest("MD4"); err == nil {
		t.Error("an unknown algorithm is accepted")
	}
}

// A full-object CRC joined from parts is the CRC of the whole.
func TestJoinedCRC(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for _, algorithm := range []string{CRC32, CRC32C, CRC64NVME} {
		for range 50 {
			whole, _ := newDigest(algorithm)
			var parts []catalog.Part
			for n := range 1 + r.IntN(6) {
				data := make([]byte, r.IntN(1<<uint(r.IntN(14))))
				for i := range data {
					data[i] = byte(r.Uint32())
				}
				whole.checksum.Write(data)
				d, _ := newDigest(algorithm)
				d.checksum.Write(data)
				s := d.sums()
				parts = append(parts, catalog.Part{Number: n + 1, Size: int64(len(data)), Checksum: s.Checksum})
			}
			got, err := joinChecksums(algorithm, FullObject, parts)
			if want := whole.sums().Checksum; err != nil || got != want {
				t.Fatalf("%s over %d parts: %s, want %s: %v", algorithm, len(parts), got, want, err)
			}
			if len(parts) > 1 && parts[0].Size > 0 { // negative control: the lengths matter
				parts[1].Size++
				if wrong, _ := joinChecksums(algorithm, FullObject, parts); wrong == got {
					t.Fatalf("%s: a wrong length gives the same sum", algorithm)
				}
			}
		}
	}
}

// A CRC over 5 TiB of parts is combined without reading them.
func TestJoinedCRCOfHugeParts(t *testing.T) {
	k, _ := crcOf(CRC64NVME)
	a := k.combine(1, 2, 5<<40)
	if b := k.combine(k.combine(1, 0, 1<<40), 2, 4<<40); a != b {
		t.Fatalf("shifting by 5 TiB at once and in two steps: %x, %x", a, b)
	}
}

func TestChecksumTypes(t *testing.T) {
	for _, c := range []struct{ algorithm, kind, want string }{
		{"", "", ""}, {CRC32, "", Composite}, {CRC64NVME, "", FullObject}, {SHA256, "", Composite},
		{CRC32, FullObject, FullObject}, {CRC32C, Composite, Composite}, {CRC64NVME, FullObject, FullObject},
		{CRC64NVME, Composite, "!"}, {SHA1, FullObject, "!"}, {"", FullObject, "!"}, {"X", "", "!"}, {CRC32, "X", "!"},
	} {
		got, err := checksumType(c.algorithm, c.kind)
		if err != nil {
			got = "!"
		}
		if got != c.want {
			t.Errorf("%q %q: %q, want %q (%v)", c.algorithm, c.kind, got, c.want, err)
		}
	}
}

func TestRawChecksumRefusesForms(t *testing.T) {
	for _, bad := range []string{"", "AAAA", "AAAAAA=", "AAAAAA==\n", "AAAAAAAA", "!!!!!!=="} {
		if _, err := rawChecksum(CRC32, bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func FuzzJoinChecksums(f *testing.F) {
	f.Add("CRC32", "FULL_OBJECT", "AAAAAA==", int64(5))
	f.Add("SHA256", "COMPOSITE", "x", int64(-1))
	f.Fuzz(func(t *testing.T, algorithm, kind, sum string, size int64) {
		joinChecksums(algorithm, kind, []catalog.Part{{Number: 1, Size: 3, Checksum: sum}, {Number: 2, Size: size, Checksum: sum}})
	})
}

func TestBufferClasses(t *testing.T) {
	m := newMemory(1<<20, 0)
	for _, n := range []int{1, 16, 1023, 1024, 1040, 4096, 4112, 65536, 65552, 65553, 131104, 4 << 20, 64 * 65552, 16*65552 + 1} {
		b := m.buffer(n)
		if len(b) != n || cap(b) < n {
			t.Errorf("buffer(%d): length %d, capacity %d", n, len(b), cap(b))
		}
		if cap(b) > 2*n+2048 {
			t.Errorf("buffer(%d) wastes memory: capacity %d", n, cap(b))
		}
		m.recycle(b)
	}
	if c := cap(m.buffer(64 * 65552)); c != 64*65552 {
		t.Errorf("64 sealed segments do not fill their class: %d", c)
	}
}

func TestReadFullKeepsTheReadersError(t *testing.T) {
	p := make([]byte, 8)
	if n, err := readFull(bytes.NewReader([]byte("abc")), p); n != 3 || err == nil || err.Error() != "EOF" {
		t.Errorf("%d %v", n, err)
	}
	if n, err := readFull(stuck{}, p); n != 0 || err == nil {
		t.Errorf("%d %v", n, err)
	}
}

type stuck struct{}

func (stuck) Read([]byte) (int, error) { return 0, nil }
