package wan

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// An eventSleeper sleeps in ppoll on an eventfd: to the microsecond, where
// Go's own timers may be late by a millisecond on an idle process.
type eventSleeper struct{ fd int }

func newSleeper() (sleeper, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	return &eventSleeper{fd}, nil
}

func (s *eventSleeper) sleep(d time.Duration) {
	var timeout *unix.Timespec
	if d >= 0 {
		t := unix.NsecToTimespec(int64(d))
		timeout = &t
	}
	fds := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}
	if n, err := unix.Ppoll(fds, timeout, nil); err == nil && n > 0 {
		var count [8]byte
		unix.Read(s.fd, count[:]) //nolint:errcheck // sets it back; nothing to read is as good
	}
}

func (s *eventSleeper) wake() {
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	unix.Write(s.fd, one[:]) //nolint:errcheck // full means woken already
}

func (s *eventSleeper) close() { unix.Close(s.fd) } //nolint:errcheck // nothing is kept in it

// deliver runs the queue on a thread of its own which, as far as allowed, the
// kernel prefers, and whose sleep it does not stretch.
func (f *fabric) deliver() {
	runtime.LockOSThread()                                  // never unlocked: the thread ends with the goroutine
	unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), -20) //nolint:errcheck // only more precise
	unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)          //nolint:errcheck // only more precise
	f.queue.run()
}
