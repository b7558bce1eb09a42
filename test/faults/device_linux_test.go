package faults

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/hallig-cloud/hallig/test/harness"
)

// TestDeviceDiesWhileServing takes a whole device from under a drive of a node
// with four while it serves: unmounted lazily, so that open files still work;
// and shut down, so that every access fails with EIO. No request fails, nothing
// is lost, and the process lives.
func TestDeviceDiesWhileServing(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED, NOT TESTED: a device of one's own needs root")
	}
	t.Run("unmounted", func(t *testing.T) {
		n := onDevice(t, "ext4", 1)
		loseDrive(t, n, 1, func() error { return syscall.Unmount(n.Drives[1], syscall.MNT_DETACH) })
	})
	t.Run("eio", func(t *testing.T) {
		n := onDevice(t, "ext4", 0)
		loseDrive(t, n, 0, func() error { return shutdown(n.Drives[0]) })
	})
}

// onDevice starts a node with four drives, one of them on a loop device.
func onDevice(t *testing.T, kind string, drive int) *harness.Node {
	n := harness.Prepare(t, harness.Options{Drives: 4})
	image := filepath.Join(n.Dir, "image")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 1<<30); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(n.Drives[drive], 0o755); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"mkfs." + kind, "-q", image}, {"mount", "-o", "loop", image, n.Drives[drive]}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Skipf("SKIPPED, NOT TESTED: %s: %v %s", args[0], err, out)
		}
	}
	t.Cleanup(func() {
		n.Kill()
		syscall.Unmount(n.Drives[drive], syscall.MNT_DETACH) //nolint:errcheck // it may be unmounted
	})
	if err := n.Launch(); err != nil {
		t.Fatal(err)
	}
	if err := n.WaitReady(time.Minute); err != nil {
		t.Fatal(err)
	}
	return n
}

// shutdown ends all input and output of a file system (EXT4_IOC_SHUTDOWN, the
// same for XFS), without writing its log.
func shutdown(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	const request, noLogFlush = 0x8004587d, 2
	flag := uint32(noLogFlush)
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), request, uintptr(unsafe.Pointer(&flag))); errno != 0 {
		return errno
	}
	return nil
}
