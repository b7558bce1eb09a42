package floor

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// loopback is the server's half of exchanges over TCP on 127.0.0.1 by plain
// system calls: in bytes are received, then out bytes sent. The other half
// runs on a thread of its own.
func loopback(in, out int) (func() error, func(), error) {
	server, peer, err := pair()
	if err != nil {
		return nil, nil, err
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		p := make([]byte, max(in, out))
		for full(unix.Write, peer, p[:in]) == nil && full(unix.Read, peer, p[:out]) == nil {
		}
		_ = unix.Shutdown(peer, unix.SHUT_RDWR) // the server's half has gone
	})
	p := make([]byte, max(in, out))
	do := func() error {
		if err := full(unix.Read, server, p[:in]); err != nil {
			return err
		}
		return full(unix.Write, server, p[:out])
	}
	stop := func() {
		// Both: a peer that waits for room to write is not woken by the end of
		// the other side alone.
		_ = errors.Join(unix.Shutdown(server, unix.SHUT_RDWR), unix.Shutdown(peer, unix.SHUT_RDWR))
		wg.Wait()
		_ = errors.Join(unix.Close(server), unix.Close(peer))
	}
	return do, stop, nil
}

// full reads or writes all of p.
func full(f func(int, []byte) (int, error), fd int, p []byte) error {
	for len(p) > 0 {
		n, err := f(fd, p)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return err
		case n == 0:
			return io.EOF
		}
		p = p[n:]
	}
	return nil
}

// pair returns two connected TCP sockets on loopback, blocking ones.
func pair() (server, peer int, err error) {
	l, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, unix.Close(l)) }()
	if err := unix.Bind(l, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return 0, 0, err
	}
	if err := unix.Listen(l, 1); err != nil {
		return 0, 0, err
	}
	addr, err := unix.Getsockname(l)
	if err != nil {
		return 0, 0, err
	}
	if peer, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return 0, 0, err
	}
	if err := unix.Connect(peer, addr); err != nil {
		return 0, 0, errors.Join(err, unix.Close(peer))
	}
	if server, _, err = unix.Accept4(l, unix.SOCK_CLOEXEC); err != nil {
		return 0, 0, errors.Join(err, unix.Close(peer))
	}
	for _, fd := range []int{server, peer} {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
			return 0, 0, errors.Join(err, unix.Close(server), unix.Close(peer))
		}
	}
	return server, peer, nil
}

// fileSize bounds the files that are written and read.
const fileSize = 64 * MiB

func temporary(dir string) (*os.File, func(), error) {
	f, err := os.CreateTemp(dir, "floor-")
	if err != nil {
		return nil, nil, fmt.Errorf("a file to measure with: %w", err)
	}
	return f, func() { _ = errors.Join(f.Close(), os.Remove(f.Name())) }, nil
}

// writing appends a MiB to a file, which begins anew at fileSize.
func writing(dir string) (func() error, func(), error) {
	f, stop, err := temporary(dir)
	if err != nil {
		return nil, nil, err
	}
	p, off := buffer(), int64(0)
	return func() error {
		if off == fileSize {
			if err := f.Truncate(0); err != nil {
				return err
			}
			off = 0
		}
		_, err := f.WriteAt(p, off)
		off += MiB
		return err
	}, stop, nil
}

// reading reads a file that lies in the page cache, a MiB at a time.
func reading(dir string) (func() error, func(), error) {
	f, stop, err := temporary(dir)
	if err != nil {
		return nil, nil, err
	}
	p, off := buffer(), int64(0)
	for ; off < fileSize; off += MiB {
		if _, err := f.WriteAt(p, off); err != nil {
			stop()
			return nil, nil, err
		}
	}
	return func() error {
		off = (off + MiB) % fileSize
		_, err := f.ReadAt(p, off)
		return err
	}, stop, nil
}

// syncing appends 4 KiB and makes them durable.
func syncing(dir string) (func() error, func(), error) {
	const group = 4 << 10
	f, stop, err := temporary(dir)
	if err != nil {
		return nil, nil, err
	}
	p, off := buffer()[:group], int64(0)
	return func() error {
		if off == fileSize {
			if err := f.Truncate(0); err != nil {
				return err
			}
			off = 0
		}
		if _, err := f.WriteAt(p, off); err != nil {
			return err
		}
		off += group
		return unix.Fdatasync(int(f.Fd()))
	}, stop, nil
}
