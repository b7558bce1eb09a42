package testmesh

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

const (
	freezerRoot   = "/sys/fs/cgroup/freezer" // cgroup v1
	freezerPrefix = "halligmesh"             // of groups: halligmesh-PID-NAME
)

// A freezer is a cgroup that one process is frozen in.
type freezer struct{ dir string }

// freeze freezes a process and returns when it is frozen; wait asks until yes.
// Where there is no freezer, an error.
func freeze(pid int, name string, wait func(yes func() bool) error) (*freezer, error) {
	sweepFreezers()
	f := &freezer{filepath.Join(freezerRoot, fmt.Sprintf("%s-%d-%s", freezerPrefix, os.Getpid(), name))}
	if _, err := os.Stat(filepath.Join(freezerRoot, "cgroup.procs")); err != nil {
		return nil, err
	}
	if err := os.Mkdir(f.dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	err := errors.Join(f.write("cgroup.procs", strconv.Itoa(pid)), f.write("freezer.state", "FROZEN"))
	if err == nil {
		err = wait(func() bool {
			b, err := os.ReadFile(filepath.Join(f.dir, "freezer.state"))
			return err == nil && string(bytes.TrimSpace(b)) == "FROZEN"
		})
	}
	if err != nil {
		return nil, errors.Join(err, f.thaw(), f.remove())
	}
	return f, nil
}

func (f *freezer) write(file, text string) error {
	return os.WriteFile(filepath.Join(f.dir, file), []byte(text), 0o644)
}

func (f *freezer) thaw() error { return f.write("freezer.state", "THAWED") }

// remove moves what is left out of the group and removes it.
func (f *freezer) remove() error {
	b, err := os.ReadFile(filepath.Join(f.dir, "cgroup.procs"))
	if err != nil {
		return err
	}
	for _, pid := range strings.Fields(string(b)) {
		os.WriteFile(filepath.Join(freezerRoot, "cgroup.procs"), []byte(pid), 0o644) //nolint:errcheck // it may have ended
	}
	return os.Remove(f.dir)
}

// sweepFreezers thaws and removes what test processes left behind that were
// killed; what was frozen in it dies of the signal that waits for it.
func sweepFreezers() {
	dirs, _ := filepath.Glob(filepath.Join(freezerRoot, freezerPrefix+"-*"))
	for _, dir := range dirs {
		parts := strings.SplitN(filepath.Base(dir), "-", 3)
		if len(parts) != 3 {
			continue
		}
		pid, err := strconv.Atoi(parts[1])
		if err != nil || pid < 2 || syscall.Kill(pid, 0) == nil {
			continue
		}
		f := &freezer{dir}
		f.thaw()   //nolint:errcheck // another may sweep at once
		f.remove() //nolint:errcheck // another may sweep at once
	}
}
