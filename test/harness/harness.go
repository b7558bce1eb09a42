// Package harness starts the real binary for the tests under test/: one
// process, its own directories and free loopback ports, known credentials.
package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// The first credentials of every node the harness starts.
const (
	AccessKey = "HALLIGTESTACCESSKEY0"
	SecretKey = "hallig-test-secret-key-0123456789abcdef"
	Region    = "us-east-1"
)

// readyWithin bounds a start. It is a bound on a hang, not an expectation.
const readyWithin = 60 * time.Second

// builds holds the one binary that a test process builds.
type builds struct {
	once sync.Once
	path string
	err  error
}

var built builds

// Binary returns the path of the hallig binary: HALLIG_TEST_BINARY, or one
// built from this module, once for each test process.
func Binary(t testing.TB) string {
	t.Helper()
	if p := os.Getenv("HALLIG_TEST_BINARY"); p != "" {
		return p
	}
	built.once.Do(func() {
		dir, err := os.MkdirTemp("", "hallig-binary-")
		if err != nil {
			built.err = err
			return
		}
		built.path = filepath.Join(dir, "hallig")
		out, err := exec.Command("go", "build", "-o", built.path, "github.com/hallig-cloud/hallig/cmd/hallig").CombinedOutput()
		if err != nil {
			built.err = fmt.Errorf("build cmd/hallig: %w\n%s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.path
}

// Cleanup removes the binary that Binary built; call it at the end of TestMain.
func Cleanup() {
	if built.path != "" {
		os.RemoveAll(filepath.Dir(built.path))
	}
}

// Options say how to start a node.
type Options struct {
	Dir    string   // parent of the data directory and drives; "" makes one
	Drives int      // drive directories; 0 is one
	Args   []string // further arguments of hallig start
	Env    []string // further environment
}

// A Node is one process of the real binary and what it needs to start again.
type Node struct {
	Dir      string
	Data     string
	Drives   []string
	S3Addr   string
	Admin    string
	Endpoint string // http://S3Addr

	binary string
	args   []string
	env    []string
	cmd    *exec.Cmd
	exited chan struct{}
	log    *logBuffer
}

// Start starts a node and waits until it is ready. It is stopped, and its log
// shown if the test failed, when the test ends.
func Start(t testing.TB, o Options) *Node {
	t.Helper()
	n := Prepare(t, o)
	if err := n.Launch(); err != nil {
		t.Fatal(err)
	}
	if err := n.WaitReady(readyWithin); err != nil {
		t.Fatal(err)
	}
	return n
}

// Prepare lays out a node without starting it.
func Prepare(t testing.TB, o Options) *Node {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	n := &Node{Dir: o.Dir, Data: filepath.Join(o.Dir, "data"), binary: Binary(t), log: &logBuffer{}}
	for i := range max(o.Drives, 1) {
		n.Drives = append(n.Drives, filepath.Join(o.Dir, "drive"+strconv.Itoa(i+1)))
	}
	ports := FreePorts(t, 2)
	n.S3Addr, n.Admin = ports[0], ports[1]
	n.Endpoint = "http://" + n.S3Addr
	n.args = []string{"start", "--data", n.Data, "--s3-addr", n.S3Addr, "--admin-addr", n.Admin}
	for _, d := range n.Drives {
		n.args = append(n.args, "--drive", strings.ReplaceAll(d, ",", `\,`)) // names of subtests are in it
	}
	n.args = append(n.args, o.Args...)
	n.env = append(without(os.Environ(), "HALLIG_"), "HALLIG_ROOT_ACCESS_KEY="+AccessKey, "HALLIG_ROOT_SECRET_KEY="+SecretKey)
	n.env = append(n.env, o.Env...)
	t.Cleanup(func() {
		n.Kill()
		if t.Failed() {
			t.Logf("log of the node:\n%s", n.Log())
		}
	})
	return n
}

// Launch starts the process without waiting for it to be ready.
func (n *Node) Launch() error {
	n.cmd = exec.Command(n.binary, n.args...)
	n.cmd.Dir, n.cmd.Env = n.Dir, n.env
	n.cmd.Stdout, n.cmd.Stderr = n.log, n.log
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := n.cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", n.binary, err)
	}
	n.exited = make(chan struct{})
	go func(cmd *exec.Cmd, exited chan struct{}) {
		cmd.Wait() //nolint:errcheck // the state is read from cmd.ProcessState
		close(exited)
	}(n.cmd, n.exited)
	return nil
}

// WaitReady polls /readyz until it answers 200, the process ends, or the bound
// has passed.
func (n *Node) WaitReady(bound time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), bound)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.Admin+"/readyz", nil)
		if err != nil {
			return err
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-n.exited:
			return fmt.Errorf("the node ended while starting: %s\n%s", n.cmd.ProcessState, n.Log())
		case <-ctx.Done():
			return fmt.Errorf("the node was not ready within %s\n%s", bound, n.Log())
		case <-tick.C:
		}
	}
}

// Wait waits for the process to end by itself and returns its exit code.
func (n *Node) Wait(bound time.Duration) (int, error) {
	select {
	case <-n.exited:
		return n.cmd.ProcessState.ExitCode(), nil
	case <-time.After(bound):
		return 0, fmt.Errorf("the node still ran after %s", bound)
	}
}

// Kill ends the process with SIGKILL and waits for it.
func (n *Node) Kill() {
	if n.cmd == nil || n.cmd.Process == nil {
		return
	}
	n.cmd.Process.Kill() //nolint:errcheck // it may have ended already
	<-n.exited
}

// Stop ends the process with SIGTERM and returns its exit code.
func (n *Node) Stop() (int, error) {
	if err := n.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return 0, err
	}
	return n.Wait(readyWithin)
}

// Restart starts the ended process anew and waits until it is ready.
func (n *Node) Restart() error {
	if err := n.Launch(); err != nil {
		return err
	}
	return n.WaitReady(readyWithin)
}

// Pid returns the process id.
func (n *Node) Pid() int { return n.cmd.Process.Pid }

// Log returns what the process has printed.
func (n *Node) Log() string { return n.log.String() }

// Hallig runs a subcommand against this node and returns its output.
func (n *Node) Hallig(args ...string) (string, error) {
	cmd := exec.Command(n.binary, append(args, "--data", n.Data, "--admin-addr", n.Admin)...)
	cmd.Env, cmd.Dir = n.env, n.Dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("hallig %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// Client returns an SDK client of the first user. Retries are off, so that a
// test sees every failure.
func (n *Node) Client() *s3.Client { return n.ClientRetrying(1) }

// ClientRetrying returns an SDK client that makes at most the given attempts.
func (n *Node) ClientRetrying(attempts int) *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint:     aws.String(n.Endpoint),
		Region:           Region,
		UsePathStyle:     true,
		Credentials:      credentials.NewStaticCredentialsProvider(AccessKey, SecretKey, ""),
		RetryMaxAttempts: attempts,
	})
}

// FreePorts returns loopback addresses that nobody listens on.
func FreePorts(t testing.TB, count int) []string {
	t.Helper()
	var addrs []string
	for range count {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		addrs = append(addrs, l.Addr().String())
	}
	return addrs
}

// Tool returns the path of a program, or skips the test with one loud line.
// Dirs named in HALLIG_TEST_TOOLS (a path list) are searched first.
func Tool(t testing.TB, name string) string {
	t.Helper()
	for _, dir := range filepath.SplitList(os.Getenv("HALLIG_TEST_TOOLS")) {
		if p := filepath.Join(dir, name); exists(p) {
			return p
		}
	}
	p, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("SKIPPED, NOT TESTED: %s is not on this machine (install it, or name its directory in HALLIG_TEST_TOOLS)", name)
	}
	return p
}

func exists(p string) bool { _, err := os.Stat(p); return err == nil }

// Run runs a program with the node's credentials in the environment of the AWS
// tools and an empty home, and returns its standard output.
func (n *Node) Run(t testing.TB, dir, name string, args ...string) string {
	t.Helper()
	out, err := n.Try(t, dir, name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Try is Run for commands that may fail.
func (n *Node) Try(t testing.TB, dir, name string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(without(os.Environ(), "AWS_"),
		"HOME="+dir, "AWS_ACCESS_KEY_ID="+AccessKey, "AWS_SECRET_ACCESS_KEY="+SecretKey,
		"AWS_DEFAULT_REGION="+Region, "AWS_REGION="+Region, "AWS_ENDPOINT_URL="+n.Endpoint,
		"AWS_EC2_METADATA_DISABLED=true", "AWS_PAGER=", "AWS_CONFIG_FILE="+filepath.Join(dir, "aws-config"),
	)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w\n%s%s", filepath.Base(name), strings.Join(args, " "), err, out.String(), errs.String())
	}
	return out.String(), nil
}

// without drops the settings of a program that a developer's own environment
// may hold.
func without(env []string, prefix string) []string {
	return slices.DeleteFunc(env, func(kv string) bool { return strings.HasPrefix(kv, prefix) })
}

// Bytes returns n deterministic bytes for a seed; they do not repeat or compress.
func Bytes(seed uint64, n int) []byte {
	b := make([]byte, n)
	x := seed*0x9e3779b97f4a7c15 + 1
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x >> 32)
	}
	return b
}

// WriteFile writes a file for a client to upload and returns its path.
func WriteFile(t testing.TB, dir, name string, body []byte) string {
	t.Helper()
	p := filepath.Join(dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, body, 0o644)); err != nil {
		t.Fatal(err)
	}
	return p
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

var _ io.Writer = (*logBuffer)(nil)

// Write keeps what came last, within a few MiB.
func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.b.Len() > 4<<20 {
		l.b.Reset()
		l.b.WriteString("… earlier log dropped …\n")
	}
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// With returns the same node with further arguments of hallig start. Only one
// of the two may run at a time.
func (n *Node) With(args ...string) *Node {
	x := *n
	x.args = append(slices.Clone(n.args), args...)
	return &x
}
