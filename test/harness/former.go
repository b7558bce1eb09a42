//go:build ignore

// Package nodetest runs real nodes for end-to-end tests: the real binary,
// built once, in a process of its own, on free loopback ports.
package nodetest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hallig-cloud/hallig/admin"
	"github.com/hallig-cloud/hallig/node"
)

// startWithin bounds how long a node may take to answer, on a busy machine.
const startWithin = 60 * time.Second

var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "hallig-test-")
	if err != nil {
		return "", err
	}
	name := filepath.Join(dir, "hallig")
	_, file, _, _ := runtime.Caller(0)
	cmd := exec.Command("go", "build", "-o", name, "./cmd/hallig")
	cmd.Dir = filepath.Join(filepath.Dir(file), "../..")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build hallig: %w\n%s", err, out)
	}
	return name, nil
})

// Binary returns the path of the built binary.
func Binary(t testing.TB) string {
	t.Helper()
	name, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// Clean removes what Binary built. Call it at the end of TestMain.
func Clean() {
	if name, err := build(); err == nil {
		os.RemoveAll(filepath.Dir(name))
	}
}

// Node is a running node. S3, Admin and PID change with every start.
type Node struct {
	Data      string
	Drives    []string
	S3        string // host:port
	Admin     string // host:port
	AccessKey string
	SecretKey string
	PID       int

	t    testing.TB
	args []string
	env  []string
	cmd  *exec.Cmd
	out  *output
	done chan struct{}
	err  error // of the process; read after done
}

// output collects what a node prints.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// Options are a node's beginnings.
type Options struct {
	Drives int      // drives beside the data directory; 0: the one inside it
	Args   []string // further arguments of start
	Env    []string // further environment
}

// Start makes and starts a node in temporary directories. It is stopped, if it
// still runs, at the end of the test.
func Start(t testing.TB, o Options) *Node {
	t.Helper()
	dir := t.TempDir()
	n := &Node{t: t, Data: filepath.Join(dir, "data"), AccessKey: "HALLIGTESTACCESSKEY0", SecretKey: "secret/of+the/tests0123456789", args: o.Args, env: o.Env}
	for i := range o.Drives {
		n.Drives = append(n.Drives, filepath.Join(dir, fmt.Sprintf("d%d", i+1)))
	}
	n.Restart()
	t.Cleanup(func() {
		if n.running() {
			n.Kill()
		}
		if t.Failed() {
			t.Logf("output of the node:\n%s", tail(n.out.String(), 8000))
		}
	})
	return n
}

func tail(s string, n int) string {
	if len(s) > n {
		return "…" + s[len(s)-n:]
	}
	return s
}

// Restart starts the node anew and waits until it is ready.
func (n *Node) Restart(args ...string) {
	n.t.Helper()
	n.Launch(args...)
	if err := n.WaitReady(); err != nil {
		n.t.Fatalf("%v; its output:\n%s", err, tail(n.out.String(), 8000))
	}
}

// Launch starts the process without waiting.
func (n *Node) Launch(args ...string) {
	n.t.Helper()
	os.Remove(filepath.Join(n.Data, node.EndpointsFile))
	all := []string{"start", "--data", n.Data, "--s3-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0"}
	for _, d := range n.Drives {
		all = append(all, "--drive", d)
	}
	all = append(append(all, n.args...), args...)
	n.cmd = exec.Command(Binary(n.t), all...)
	n.cmd.Env = append(append(os.Environ(), "HALLIG_ROOT_ACCESS_KEY="+n.AccessKey, "HALLIG_ROOT_SECRET_KEY="+n.SecretKey), n.env...)
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	n.out = &output{}
	n.cmd.Stdout, n.cmd.Stderr = n.out, n.out
	if err := n.cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.PID = n.cmd.Process.Pid
	cmd, done := n.cmd, make(chan struct{})
	n.done = done
	go func() {
		n.err = cmd.Wait()
		close(done)
	}()
}

func (n *Node) running() bool {
	select {
	case <-n.done:
		return false
	default:
		return true
	}
}

// WaitReady waits until the node answers S3 requests.
func (n *Node) WaitReady() error {
	return n.wait("ready", func() bool {
		st, err := n.Status()
		return err == nil && (st.State == "ready" || st.State == "degraded")
	})
}

// WaitEndpoints waits until the admin address answers, locked or not.
func (n *Node) WaitEndpoints() error {
	return n.wait("answering", func() bool {
		_, err := n.Status()
		return err == nil
	})
}

// WaitStatus waits until the status is as wanted, at most a minute.
func (n *Node) WaitStatus(what string, ok func(admin.Status) bool) {
	n.t.Helper()
	var last admin.Status
	err := n.wait(what, func() bool {
		st, err := n.Status()
		last = st
		return err == nil && ok(st)
	})
	if err != nil {
		text, _ := json.MarshalIndent(last, "", " ")
		n.t.Fatalf("%v; the last status:\n%s", err, text)
	}
}

// wait polls: what is waited for happens in another process.
func (n *Node) wait(what string, ok func() bool) error {
	deadline := time.Now().Add(startWithin)
	for {
		if e, err := node.ReadEndpoints(n.Data); err == nil {
			n.S3, n.Admin = e.S3, e.Admin
			if ok() {
				return nil
			}
		}
		select {
		case <-n.done:
			return fmt.Errorf("the node ended before it was %s: %v", what, n.err)
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the node was not %s within %v", what, startWithin)
		}
	}
}

// Client returns a client of the admin address.
func (n *Node) Client() *admin.Client {
	token, err := os.ReadFile(filepath.Join(n.Data, node.TokenFile))
	if err != nil {
		return &admin.Client{Address: n.Admin, Token: "none yet"}
	}
	return &admin.Client{Address: n.Admin, Token: strings.TrimSpace(string(token))}
}

// Status asks for the node's status.
func (n *Node) Status() (admin.Status, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var st admin.Status
	err := n.Client().Do(ctx, "GET", "/status", nil, &st)
	return st, err
}

// Kill ends the node at once, as a crash does, and waits for its end.
func (n *Node) Kill() {
	_ = n.cmd.Process.Kill() // it may have ended by itself
	<-n.done
}

// Stop asks the node to drain and returns its exit code.
func (n *Node) Stop() int {
	n.t.Helper()
	if err := n.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		n.t.Fatal(err)
	}
	return n.Wait()
}

// Wait waits for the node's end and returns its exit code, -1 for a signal.
func (n *Node) Wait() int {
	n.t.Helper()
	select {
	case <-n.done:
	case <-time.After(startWithin):
		n.Kill()
		n.t.Fatalf("the node did not end; its output:\n%s", tail(n.out.String(), 8000))
	}
	return n.cmd.ProcessState.ExitCode()
}

// Output returns what the node printed since its last start.
func (n *Node) Output() string { return n.out.String() }

// Run runs the binary with arguments and the node's data directory, and
// returns what it prints; a non-zero exit code is an error.
func (n *Node) Run(args ...string) (string, error) {
	cmd := exec.Command(Binary(n.t), append([]string{"--data", n.Data}, args...)...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}
