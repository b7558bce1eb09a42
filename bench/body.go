package bench

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"net"
)

// Bodies are made without work: 24 bytes that say whose body it is, then a run
// of the filler, one MiB of seeded random bytes repeated from a place that the
// object's number decides. So every object differs, any range of it can be
// checked with a comparison at memory speed, and nothing has to be kept.
// (Within one MiB it does not compress; beyond that a compressing server may
// find the repetition.)
const (
	fillerSize = 1 << 20
	stampSize  = 24
)

var errWrongBytes = errors.New("the server answered with other bytes than were put")

// makeFiller returns the filler of a seed.
func makeFiller(seed uint64) []byte {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	f := make([]byte, fillerSize)
	_, _ = rand.NewChaCha8(key).Read(f) // it never fails
	return f
}

// body is a range of an object's bytes, or the bytes raw.
type body struct {
	raw    []byte
	filler []byte
	stamp  [stampSize]byte
	base   int64 // of the filler, where byte 0 of the object lies
	off    int64 // of the range in the object
	size   int64 // of the range
}

// set makes b a range of object n.
func (b *body) set(filler []byte, seed, n uint64, size, off, length int64) {
	b.raw, b.filler, b.off, b.size = nil, filler, off, length
	b.base = int64(mix(seed, n) % fillerSize)
	binary.LittleEndian.PutUint64(b.stamp[0:], seed)
	binary.LittleEndian.PutUint64(b.stamp[8:], n)
	binary.LittleEndian.PutUint64(b.stamp[16:], uint64(size))
}

// setRaw makes b those bytes.
func (b *body) setRaw(p []byte) { b.raw, b.off, b.size = p, 0, int64(len(p)) }

// run returns the bytes from off on, at most limit of them and at least one
// unless the body ends there.
func (b *body) run(off, limit int64) []byte {
	limit = min(limit, b.size-off)
	if limit <= 0 {
		return nil
	}
	if b.raw != nil {
		return b.raw[off : off+limit]
	}
	at := b.off + off
	if at < stampSize {
		return b.stamp[at:min(stampSize, at+limit)]
	}
	from := (b.base + at) % fillerSize
	return b.filler[from:min(fillerSize, from+limit)]
}

// smallBody is copied behind the head, so that a small request is one write.
const smallBody = 64 << 10

// after returns head and body as what is to be written.
func (b *body) after(head []byte) net.Buffers {
	if b.size <= smallBody {
		for off := int64(0); off < b.size; {
			p := b.run(off, b.size)
			head = append(head, p...)
			off += int64(len(p))
		}
		return net.Buffers{head}
	}
	out := net.Buffers{head}
	for off := int64(0); off < b.size; {
		p := b.run(off, b.size)
		out = append(out, p)
		off += int64(len(p))
	}
	return out
}

// hash returns the body's SHA-256 in hexadecimal.
func (b *body) hash() string {
	h := sha256.New()
	for off := int64(0); off < b.size; {
		p := b.run(off, b.size)
		_, _ = h.Write(p) // a hash never fails
		off += int64(len(p))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// read reads r to its end through buf and returns the number of bytes; with
// check, other bytes than the body's are errWrongBytes.
func (b *body) read(r io.Reader, buf []byte, check bool) (int64, error) {
	var got int64
	wrong := false
	for {
		n, err := r.Read(buf)
		if check && !b.equal(got, buf[:n]) {
			wrong = true
		}
		got += int64(n)
		if err == io.EOF {
			break
		}
		if err != nil {
			return got, err
		}
	}
	if wrong || (check && got != b.size) {
		return got, errWrongBytes
	}
	return got, nil
}

func (b *body) equal(off int64, p []byte) bool {
	for len(p) > 0 {
		want := b.run(off, int64(len(p)))
		if len(want) == 0 || !bytes.Equal(want, p[:len(want)]) {
			return false
		}
		off += int64(len(want))
		p = p[len(want):]
	}
	return true
}

// mix hashes two numbers (the finalizer of SplitMix64).
func mix(a, b uint64) uint64 {
	x := a + (b+1)*0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
