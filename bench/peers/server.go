package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/hallig-cloud/hallig/bench"
)

// server is a system that is running.
type server struct {
	name string
	addr string
	root string // directory of everything it keeps
	log  string // file with what it says
	cmd  *exec.Cmd
	done chan error
}

// Bounds of a server's coming and going.
const (
	readyWithin = 2 * time.Minute
	stopWithin  = 30 * time.Second
)

// start runs a system's binary on the drives below root and waits until it
// answers. The process dies with this one.
func start(ctx context.Context, sys system, binary, root string, drives int) (*server, error) {
	if sys.single {
		drives = 1
	}
	home, dirs, err := layout(root, drives)
	if err != nil {
		return nil, err
	}
	addrs, err := freeAddresses(2)
	if err != nil {
		return nil, err
	}
	args, env := sys.command(addrs[0], addrs[1], home, dirs)
	s := &server{name: sys.name, addr: addrs[0], root: root, log: filepath.Join(home, "log"), done: make(chan error, 1)}
	out, err := os.OpenFile(s.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	s.cmd = exec.Command(binary, args...) //nolint:noctx // it is stopped with SIGTERM, by stop
	s.cmd.Dir, s.cmd.Stdout, s.cmd.Stderr = home, out, out
	s.cmd.Env = append(os.Environ(), env...)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", sys.name, err)
	}
	go func() { s.done <- s.cmd.Wait() }()
	if err := s.ready(ctx); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

// ready waits until requests are answered.
func (s *server) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.addr+"/", nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode < 500 { // refused without a signature, so it serves
				return nil
			}
		}
		select {
		case err := <-s.done:
			s.done <- err
			return fmt.Errorf("%s ended before it was ready (%v), it said: %s", s.name, err, s.said())
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer, it said: %s", s.name, s.said())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (s *server) said() string {
	text, err := os.ReadFile(s.log)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-2000):])
}

// stop ends the process and waits for it.
func (s *server) stop() error {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", s.name, err)
	}
	select {
	case <-s.done:
	case <-time.After(stopWithin):
		if err := s.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("kill %s: %w", s.name, err)
		}
		<-s.done
	}
	return nil
}

// endpoint is how the load finds it.
func (s *server) endpoint() bench.Endpoint {
	return bench.Endpoint{
		Name: s.name, URL: "http://" + s.addr, AccessKey: accessKey, SecretKey: secretKey,
		Bucket: "peers", PID: s.cmd.Process.Pid,
	}
}

// freeAddresses returns addresses on loopback that nobody listens on.
func freeAddresses(n int) ([]string, error) {
	var out []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it is closed at once
		if err != nil {
			return nil, err
		}
		defer l.Close()
		out = append(out, l.Addr().String())
	}
	return out, nil
}
