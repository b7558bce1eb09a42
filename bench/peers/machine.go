package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// machine is what results depend on.
type machine struct {
	CPU    string
	Cores  int
	Memory int64 // bytes
	Kernel string
	Files  string // the drives' file system
	Go     string
}

func thisMachine(drives string) (machine, error) {
	m := machine{CPU: "unknown", Cores: runtime.NumCPU(), Go: runtime.Version()}
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if _, rest, ok := strings.Cut(string(text), "model name"); ok {
			line, _, _ := strings.Cut(rest, "\n")
			m.CPU = strings.TrimSpace(strings.TrimLeft(line, "\t :"))
		}
	}
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return m, err
	}
	m.Memory = int64(info.Totalram) * int64(info.Unit)
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return m, err
	}
	m.Kernel, _, _ = strings.Cut(unix.ByteSliceToString(name.Release[:]), "-")
	var fs unix.Statfs_t
	if err := unix.Statfs(drives, &fs); err != nil {
		return m, fmt.Errorf("the drives' file system: %w", err)
	}
	known := map[int64]string{unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "XFS", unix.BTRFS_SUPER_MAGIC: "Btrfs", unix.TMPFS_MAGIC: "tmpfs, in memory", unix.OVERLAYFS_SUPER_MAGIC: "overlayfs"}
	m.Files = known[int64(fs.Type)] //nolint:unconvert // it has 32 bits on other machines
	if m.Files == "" {
		m.Files = fmt.Sprintf("type %#x", fs.Type)
	}
	return m, nil
}

// id is the same for results that can be compared.
func (m machine) id() string { return fmt.Sprintf("%s/%d/%s/%s", m.CPU, m.Cores, m.Files, m.Kernel) }

func (m machine) String() string {
	return fmt.Sprintf("%s, %d cores, %.0f GiB of memory, Linux %s, %s, %s", m.CPU, m.Cores, float64(m.Memory)/(1<<30), m.Kernel, m.Files, m.Go)
}

// loadAverage is that of the last minute; 0 if unknown.
func loadAverage() float64 {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(text), " ")
	v, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return 0
	}
	return v
}

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }
