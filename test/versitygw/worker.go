package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/hallig-cloud/hallig/admin"
)

const (
	rootAccess = "versitygwroot"
	rootSecret = "versitygwrootsecretkey0123456789"
)

// A worker runs cases, one at a time, against a Hallig of its own.
type worker struct {
	o   *options
	dir string

	n       int // servers started so far
	process *exec.Cmd
	done    chan error
	control control
	s3      *minio.Client
}

// control tells the stand-in for `versitygw admin` where to go.
type control struct {
	Admin string `json:"admin"`
	Token string `json:"token"`
	S3    string `json:"s3"`
	Key   string `json:"key"` // an access key of root that is its canonical id
}

const controlFile = "control.json"

// do runs one case. A server that is not clean afterwards is replaced.
func (w *worker) do(ctx context.Context, c testCase) (ok bool, output string, err error) {
	if w.process == nil {
		if err := w.start(ctx); err != nil {
			return false, "", fmt.Errorf("start hallig: %w", err)
		}
	}
	caseCtx, cancel := context.WithTimeout(ctx, w.o.timeout)
	defer cancel()
	args := []string{"test", "--access", w.control.Key, "--secret", rootSecret, "--endpoint", "http://" + w.control.S3, c.name}
	if !c.plain {
		args = append(args, "--versioning-enabled")
	}
	cmd := exec.CommandContext(caseCtx, w.o.suite, args...)
	cmd.Dir = w.dir
	cmd.Env = append(environment(), "AWS_REGION=us-east-1", "AWS_EC2_METADATA_DISABLED=true", "NO_PROXY=*")
	out, runErr := cmd.CombinedOutput()
	output = plain(string(out))
	if caseCtx.Err() != nil {
		output += "\nFAIL timed out"
	}
	ok = runErr == nil && caseCtx.Err() == nil && strings.Contains(output, "PASS ") && !strings.Contains(output, "FAIL ")
	if !w.clean(ctx) {
		w.stop()
	}
	return ok, output, nil
}

// start starts a Hallig on a fresh directory and free ports.
func (w *worker) start(ctx context.Context) error {
	w.n++
	data := filepath.Join(w.dir, fmt.Sprint("data", w.n))
	if err := os.MkdirAll(data, 0o700); err != nil {
		return err
	}
	s3Addr, adminAddr, err := freeAddresses()
	if err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(w.dir, fmt.Sprint("hallig", w.n, ".log")))
	if err != nil {
		return err
	}
	defer log.Close() //nolint:errcheck // the process has its own
	w.process = exec.Command(w.o.hallig, "start", "--data", data, "--s3-addr", s3Addr, "--admin-addr", adminAddr)
	w.process.Env = append(os.Environ(), "HALLIG_ROOT_ACCESS_KEY="+rootAccess, "HALLIG_ROOT_SECRET_KEY="+rootSecret)
	w.process.Stdout, w.process.Stderr = log, log
	if err := w.process.Start(); err != nil {
		w.process = nil
		return err
	}
	w.done = make(chan error, 1)
	go func(p *exec.Cmd, done chan error) { done <- p.Wait() }(w.process, w.done)
	if err := w.ready(ctx, adminAddr); err != nil {
		w.stop()
		text, _ := os.ReadFile(log.Name())
		return fmt.Errorf("%w\n%s", err, text)
	}
	return w.prepare(ctx, data, s3Addr, adminAddr)
}

func (w *worker) ready(ctx context.Context, adminAddr string) error {
	deadline := time.Now().Add(30 * time.Second)
	for time.Now().Before(deadline) {
		select {
		case err := <-w.done:
			w.done <- err
			return fmt.Errorf("it ended: %w", err)
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
		res, err := http.Get("http://" + adminAddr + "/readyz")
		if err != nil {
			continue
		}
		res.Body.Close() //nolint:errcheck // nothing was written
		if res.StatusCode == http.StatusOK {
			return nil
		}
	}
	return errors.New("not ready after 30 s")
}

// prepare gives root an access key that is its canonical id, which the suite
// takes to be the same, and leaves the stand-in for `versitygw admin`.
func (w *worker) prepare(ctx context.Context, data, s3Addr, adminAddr string) error {
	token, err := os.ReadFile(filepath.Join(data, "admin.token"))
	if err != nil {
		return err
	}
	w.control = control{Admin: adminAddr, Token: strings.TrimSpace(string(token)), S3: s3Addr}
	cl := w.control.client()
	var users []admin.User
	if err := cl.Do(ctx, http.MethodGet, "/users", nil, &users); err != nil {
		return err
	}
	for _, u := range users {
		if u.Root {
			w.control.Key = u.ID
			if err := cl.Do(ctx, http.MethodPost, "/keys", admin.NewKey{User: u.Name, AccessKey: u.ID, Secret: rootSecret}, nil); err != nil {
				return fmt.Errorf("give root a key: %w", err)
			}
		}
	}
	text, err := json.Marshal(w.control)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(w.dir, controlFile), text, 0o600); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	stand := filepath.Join(w.dir, "versitygw")
	if err := os.Symlink(self, stand); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	w.s3, err = minio.New(s3Addr, &minio.Options{Creds: credentials.NewStaticV4(rootAccess, rootSecret, "")})
	return err
}

func (w *worker) stop() {
	if w.process == nil {
		return
	}
	_ = w.process.Process.Signal(syscall.SIGTERM)
	select {
	case <-w.done:
	case <-time.After(10 * time.Second):
		_ = w.process.Process.Kill()
		<-w.done
	}
	w.process = nil
	_ = os.RemoveAll(filepath.Join(w.dir, fmt.Sprint("data", w.n)))
}

// clean empties and removes the buckets that a case left, and says whether all
// are gone.
func (w *worker) clean(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	buckets, err := w.s3.ListBuckets(ctx)
	if err != nil {
		return false
	}
	for _, b := range buckets {
		for u := range w.s3.ListIncompleteUploads(ctx, b.Name, "", true) {
			if u.Err != nil || w.s3.RemoveIncompleteUpload(ctx, b.Name, u.Key) != nil {
				return false
			}
		}
		for o := range w.s3.ListObjects(ctx, b.Name, minio.ListObjectsOptions{WithVersions: true, Recursive: true}) {
			if o.Err != nil {
				return false
			}
			err := w.s3.RemoveObject(ctx, b.Name, o.Key, minio.RemoveObjectOptions{VersionID: o.VersionID, GovernanceBypass: true})
			if err != nil {
				return false
			}
		}
		if w.s3.RemoveBucket(ctx, b.Name) != nil {
			return false
		}
	}
	return true
}

func freeAddresses() (a, b string, err error) {
	var addrs [2]string
	for i := range addrs {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", "", err
		}
		defer l.Close() //nolint:errcheck // only held until both are chosen
		addrs[i] = l.Addr().String()
	}
	return addrs[0], addrs[1], nil
}

// environment is this process's without settings of AWS clients, which the
// suite trips over.
func environment() []string {
	return slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, "AWS_") })
}

var colours = regexp.MustCompile("\x1b\\[[0-9;]*m")

// plain removes colours.
func plain(s string) string { return colours.ReplaceAllString(s, "") }

// summary is the line that says why a case failed.
func summary(out string) string {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	for _, l := range lines {
		if strings.HasPrefix(l, "FAIL ") || strings.HasPrefix(l, "panic:") {
			return strings.TrimPrefix(l, "FAIL ")
		}
	}
	return lines[len(lines)-1]
}
