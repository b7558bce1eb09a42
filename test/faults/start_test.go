package faults

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hallig-cloud/hallig/test/harness"
)

// refuses starts a node that cannot start: it ends with the exit code for
// that, and says in one sentence what is wrong and what to do.
func refuses(t *testing.T, n *harness.Node, says ...string) {
	t.Helper()
	if err := n.Launch(); err != nil {
		t.Fatal(err)
	}
	code, err := n.Wait(30 * time.Second)
	if err != nil {
		t.Fatalf("%v\n%s", err, n.Log())
	}
	if code != 9 {
		t.Errorf("exit code %d, want 9", code)
	}
	for _, s := range says {
		if !strings.Contains(n.Log(), s) {
			t.Errorf("the message does not say %q:\n%s", s, n.Log())
		}
	}
	if strings.Contains(n.Log(), "goroutine ") {
		t.Errorf("a stack trace:\n%s", n.Log())
	}
}

func TestStartPortInUse(t *testing.T) {
	n := harness.Prepare(t, harness.Options{})
	l, err := net.Listen("tcp", n.S3Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	refuses(t, n, n.S3Addr, "--s3-addr")
}

func TestStartDataIsAFile(t *testing.T) {
	n := harness.Prepare(t, harness.Options{})
	if err := os.WriteFile(n.Data, []byte("not a directory"), 0o600); err != nil {
		t.Fatal(err)
	}
	refuses(t, n, n.Data)
}

func TestStartTwice(t *testing.T) {
	n := harness.Start(t, harness.Options{})
	second := harness.Prepare(t, harness.Options{Dir: n.Dir})
	refuses(t, second, n.Data)
}

// TestStartForeignDrive gives a node another node's drive.
func TestStartForeignDrive(t *testing.T) {
	a := harness.Start(t, harness.Options{Drives: 2})
	a.Kill()
	b := harness.Start(t, harness.Options{Drives: 2})
	b.Kill()
	if err := os.RemoveAll(b.Drives[1]); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(a.Drives[1], b.Drives[1]); err != nil {
		t.Fatal(err)
	}
	refuses(t, b, b.Drives[1], "another node")
}

// TestStartDiskFull starts on a file system without room.
func TestStartDiskFull(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED, NOT TESTED: a small file system needs root")
	}
	n := harness.Prepare(t, harness.Options{})
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", n.Dir).CombinedOutput(); err != nil {
		t.Skipf("SKIPPED, NOT TESTED: mount: %v %s", err, out)
	}
	t.Cleanup(func() { exec.Command("umount", "-l", n.Dir).Run() }) //nolint:errcheck // best effort
	if err := os.WriteFile(filepath.Join(n.Dir, "filler"), make([]byte, 240<<10), 0o600); err != nil {
		t.Logf("filler: %v", err)
	}
	refuses(t, n, "space")
}

// TestStartReadOnly starts on a data directory that takes no writes.
func TestStartReadOnly(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED, NOT TESTED: a read-only mount needs root")
	}
	n := harness.Prepare(t, harness.Options{})
	if err := os.MkdirAll(n.Data, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "ro,size=1m", "tmpfs", n.Data).CombinedOutput(); err != nil {
		t.Skipf("SKIPPED, NOT TESTED: mount: %v %s", err, out)
	}
	t.Cleanup(func() { exec.Command("umount", "-l", n.Data).Run() }) //nolint:errcheck // best effort
	refuses(t, n, n.Data)
}
