package testmesh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/hallig-cloud/hallig/internal/testmesh/wan"
)

// askEvery is how often a state is asked for.
const askEvery = 10 * time.Millisecond

// errEnded is what waiting for a process ends with that ended itself.
var errEnded = errors.New("the process has ended")

// A Spec says what to run.
type Spec struct {
	Name string // unique in the mesh
	Host string
	Path string
	Args []string
	Env  []string // all of it
	Dir  string
	Log  string // file that output is appended to, over all starts
	// Ready is asked until it returns nil: then the process is ready. nil: at once.
	Ready func(ctx context.Context) error
}

// A Process is a program at a host that can be started again and again. Its
// methods may be called by one goroutine at a time, except Running, Pid and
// Tail. The process dies with the test process.
type Process struct {
	spec Spec
	net  wan.Places

	mu     sync.Mutex
	cmd    *exec.Cmd
	exited chan struct{}
	frozen *freezer
}

// NewProcess returns a process that does not run yet.
func NewProcess(net wan.Places, s Spec) *Process { return &Process{spec: s, net: net} }

// Name returns the Spec's.
func (p *Process) Name() string { return p.spec.Name }

// Start starts the process and returns when it is ready, has ended, or ctx has.
func (p *Process) Start(ctx context.Context) error {
	if err := p.launch(ctx); err != nil {
		return err
	}
	return p.WaitReady(ctx)
}

func (p *Process) launch(ctx context.Context) error {
	if p.Running() {
		return fmt.Errorf("start %s: it runs already", p.spec.Name)
	}
	log, err := os.OpenFile(p.spec.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("log of %s: %w", p.spec.Name, err)
	}
	defer log.Close()
	cmd := exec.CommandContext(context.WithoutCancel(ctx), p.spec.Path, p.spec.Args...) // it outlives ctx
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = p.spec.Dir, p.spec.Env, log, log
	cmd.SysProcAttr = attributes()
	if err := p.net.Start(p.spec.Host, cmd); err != nil {
		return fmt.Errorf("start %s at %s: %w", p.spec.Name, p.spec.Host, err)
	}
	exited := make(chan struct{})
	go func() {
		cmd.Wait() //nolint:errcheck // the state is read from cmd.ProcessState
		close(exited)
	}()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cmd, p.exited = cmd, exited
	return nil
}

// WaitReady asks until the process is ready, and returns early if it ends.
func (p *Process) WaitReady(ctx context.Context) error {
	if p.spec.Ready == nil {
		return nil
	}
	err := p.ask(ctx, func() bool { return p.spec.Ready(ctx) == nil })
	if err != nil {
		return fmt.Errorf("%s is not ready: %w\n%s", p.spec.Name, err, p.Tail())
	}
	return nil
}

// ask asks until yes, the process has ended, or ctx has.
func (p *Process) ask(ctx context.Context, yes func() bool) error {
	_, exited := p.now()
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for !yes() {
		select {
		case <-exited:
			return errEnded
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}

func (p *Process) now() (*exec.Cmd, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd, p.exited
}

// Running reports whether the process has been started and not ended, paused
// or not.
func (p *Process) Running() bool {
	cmd, exited := p.now()
	if cmd == nil {
		return false
	}
	select {
	case <-exited:
		return false
	default:
		return true
	}
}

// Pid returns the id of the process that runs or ran last, 0 if none did.
func (p *Process) Pid() int {
	if cmd, _ := p.now(); cmd != nil {
		return cmd.Process.Pid
	}
	return 0
}

// Kill ends the process with SIGKILL, paused or not, and returns when it is
// gone. One that has ended is no error.
func (p *Process) Kill() error {
	cmd, exited := p.now()
	if cmd == nil {
		return nil
	}
	if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill %s: %w", p.spec.Name, err)
	}
	err := p.thaw() // a frozen process does not die
	<-exited
	return errors.Join(err, p.unfreeze())
}

// Stop ends the process with SIGTERM and returns when it is gone; if ctx ends
// first it is killed and an error returned.
func (p *Process) Stop(ctx context.Context) error {
	cmd, exited := p.now()
	if !p.Running() {
		return nil
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop %s: %w", p.spec.Name, err)
	}
	select {
	case <-exited:
		return p.unfreeze()
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("%s did not stop: %w", p.spec.Name, ctx.Err()), p.Kill())
	}
}

// Restart stops the process and starts it.
func (p *Process) Restart(ctx context.Context) error {
	if err := p.Stop(ctx); err != nil {
		return err
	}
	return p.Start(ctx)
}

// Pause stops the process where it is and returns when it stands still: by the
// cgroup freezer where there is one, with SIGSTOP elsewhere.
func (p *Process) Pause(ctx context.Context) error {
	if !p.Running() {
		return fmt.Errorf("pause %s: %w", p.spec.Name, errEnded)
	}
	f, err := freeze(p.Pid(), p.spec.Name, func(yes func() bool) error { return p.ask(ctx, yes) })
	if err == nil {
		p.frozen = f
		return nil
	}
	return p.pauseBySignal(ctx)
}

func (p *Process) pauseBySignal(ctx context.Context) error {
	cmd, _ := p.now()
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return fmt.Errorf("pause %s: %w", p.spec.Name, err)
	}
	pid := p.Pid()
	if err := p.ask(ctx, func() bool { return stopped(pid) }); err != nil {
		return fmt.Errorf("pause %s: %w", p.spec.Name, err)
	}
	return nil
}

// Resume lets a paused process go on.
func (p *Process) Resume() error {
	if err := errors.Join(p.thaw(), p.unfreeze()); err != nil {
		return err
	}
	cmd, _ := p.now()
	if !p.Running() {
		return nil
	}
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("resume %s: %w", p.spec.Name, err)
	}
	return nil
}

func (p *Process) thaw() error {
	if p.frozen == nil {
		return nil
	}
	return p.frozen.thaw()
}

func (p *Process) unfreeze() error {
	if p.frozen == nil {
		return nil
	}
	err := p.frozen.remove()
	p.frozen = nil
	return err
}

// Tail returns the end of the log, up to 16 KiB.
func (p *Process) Tail() string {
	f, err := os.Open(p.spec.Log)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	const most = 16 << 10
	if info, err := f.Stat(); err == nil && info.Size() > most {
		f.Seek(-most, io.SeekEnd) //nolint:errcheck // then all of it is shown
	}
	b, _ := io.ReadAll(f)
	return string(b)
}

// stopped reports whether every thread of a process is stopped by a signal.
func stopped(pid int) bool {
	dir := "/proc/" + strconv.Itoa(pid) + "/task"
	tasks, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	for _, t := range tasks {
		b, err := os.ReadFile(dir + "/" + t.Name() + "/stat")
		if i := bytes.LastIndexByte(b, ')'); err != nil || i < 0 || !bytes.HasPrefix(b[i:], []byte(") T")) {
			return false
		}
	}
	return len(tasks) > 0
}
