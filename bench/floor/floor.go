// Package floor measures what the work of a store cannot go below on a
// machine: the CPU time of the hashes, the cipher, the code, the sums, of
// moving bytes through loopback and the page cache, and of an fdatasync. It
// calls the libraries with nothing around them, on one thread, and takes that
// thread's own CPU time from the kernel, so that other work on the machine
// disturbs it little.
//
// `go test -bench . ./bench/floor` runs the same works as Go benchmarks.
package floor

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/md5"
	"crypto/sha256"
	"fmt"
	"hash/crc32"
	"runtime"
	"time"

	"github.com/klauspost/reedsolomon"
	"github.com/zeebo/blake3"
	"golang.org/x/sys/unix"
)

// Name is a work's.
type Name string

// The works. Those with a size are measured by the MiB, the others by the call.
const (
	MD5       Name = "MD5"
	SHA256    Name = "SHA-256"
	BLAKE3    Name = "BLAKE3"
	Seal      Name = "AES-256-GCM seal, 64 KiB"
	Open      Name = "AES-256-GCM open, 64 KiB"
	Code22    Name = "Reed-Solomon 2+2"
	Code42    Name = "Reed-Solomon 4+2"
	CRC32C    Name = "CRC32C"
	Receive   Name = "loopback, receive"
	Send      Name = "loopback, send"
	Exchange  Name = "loopback, 512 bytes there and back"
	Write     Name = "write to the page cache"
	Read      Name = "read from the page cache"
	FDataSync Name = "append 4 KiB and fdatasync"
)

// MiB is the unit of works with a size.
const MiB = 1 << 20

// A Work is something to measure. Do is called many times on one thread.
type Work struct {
	Name  Name
	Bytes int64 // that one call of Do works through; 0: it is measured by the call
	// Start prepares it; dir is a directory on the drives in question. stop
	// ends what was begun.
	Start func(dir string) (do func() error, stop func(), err error)
}

// Cost is what a work takes: of a MiB, or of a call.
type Cost struct {
	Name  Name          `json:"name"`
	Unit  string        `json:"unit"` // MiB or call
	CPU   time.Duration `json:"cpu_ns"`
	Clock time.Duration `json:"clock_ns"`
}

// Works are all works.
func Works() []Work {
	return []Work{
		pure(MD5, func(p []byte) { _ = md5.Sum(p) }),
		pure(SHA256, func(p []byte) { _ = sha256.Sum256(p) }),
		pure(BLAKE3, func(p []byte) { _ = blake3.Sum256(p) }),
		{Seal, MiB, func(string) (func() error, func(), error) { return sealing(false) }},
		{Open, MiB, func(string) (func() error, func(), error) { return sealing(true) }},
		{Code22, MiB, func(string) (func() error, func(), error) { return coding(2, 2) }},
		{Code42, MiB, func(string) (func() error, func(), error) { return coding(4, 2) }},
		pure(CRC32C, func(p []byte) { _ = crc32.Checksum(p, castagnoli) }),
		{Receive, MiB, func(string) (func() error, func(), error) { return loopback(MiB, 0) }},
		{Send, MiB, func(string) (func() error, func(), error) { return loopback(0, MiB) }},
		{Exchange, 0, func(string) (func() error, func(), error) { return loopback(512, 512) }},
		{Write, MiB, writing},
		{Read, MiB, reading},
		{FDataSync, 0, syncing},
	}
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func nothing() {}

// buffer is a MiB that is no run of zeros.
func buffer() []byte {
	p := make([]byte, MiB)
	for i := range p {
		p[i] = byte(i*7 + i>>8)
	}
	return p
}

func pure(name Name, f func(p []byte)) Work {
	return Work{name, MiB, func(string) (func() error, func(), error) {
		p := buffer()
		return func() error { f(p); return nil }, nothing, nil
	}}
}

// sealing seals or opens a MiB in segments of 64 KiB, in place.
func sealing(open bool) (func() error, func(), error) {
	const segment = 64 << 10
	block, err := aes.NewCipher(make([]byte, 32))
	if err != nil {
		return nil, nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, nil, err
	}
	nonce := make([]byte, aead.NonceSize())
	plain := buffer()
	sealed := aead.Seal(nil, nonce, plain[:segment], nil)
	out := make([]byte, 0, segment+aead.Overhead())
	return func() error {
		for off := 0; off < MiB; off += segment {
			if !open {
				aead.Seal(out, nonce, plain[off:off+segment], nil)
			} else if _, err := aead.Open(out, nonce, sealed, nil); err != nil {
				return err
			}
		}
		return nil
	}, nothing, nil
}

// coding makes m parity shards of a MiB in k data shards.
func coding(k, m int) (func() error, func(), error) {
	enc, err := reedsolomon.New(k, m, reedsolomon.WithMaxGoroutines(1))
	if err != nil {
		return nil, nil, err
	}
	shards, err := enc.Split(buffer())
	if err != nil {
		return nil, nil, err
	}
	return func() error { return enc.Encode(shards) }, nothing, nil
}

// Measure does a work again and again for about that long and returns what it
// takes. ctx is looked at between two calls.
func Measure(ctx context.Context, w Work, dir string, d time.Duration) (Cost, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	do, stop, err := w.Start(dir)
	if err != nil {
		return Cost{}, fmt.Errorf("measure %s: %w", w.Name, err)
	}
	defer stop()
	if err := do(); err != nil { // what only the first call takes does not count
		return Cost{}, fmt.Errorf("measure %s: %w", w.Name, err)
	}
	var least Cost
	for i := range stretches {
		c, err := stretch(ctx, w, do, d/stretches)
		if err != nil {
			return Cost{}, fmt.Errorf("measure %s: %w", w.Name, err)
		}
		if i == 0 || c.CPU < least.CPU {
			least = c
		}
	}
	return least, nil
}

// stretches is how many times a work is measured; the least counts, since
// whatever else the machine does only adds to it.
const stretches = 5

func stretch(ctx context.Context, w Work, do func() error, d time.Duration) (Cost, error) {
	cpu, began := threadCPU(), time.Now()
	n := 0
	for ; n == 0 || time.Since(began) < d; n++ {
		if err := do(); err != nil {
			return Cost{}, err
		}
		if ctx.Err() != nil {
			return Cost{}, ctx.Err()
		}
	}
	c := Cost{Name: w.Name, Unit: "call", CPU: threadCPU() - cpu, Clock: time.Since(began)}
	per := time.Duration(n)
	if w.Bytes > 0 {
		c.Unit = "MiB"
		per = time.Duration(max(1, int64(n)*w.Bytes/MiB))
	}
	c.CPU, c.Clock = c.CPU/per, c.Clock/per
	return c, nil
}

// threadCPU is what this thread has used until now.
func threadCPU() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_THREAD, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
