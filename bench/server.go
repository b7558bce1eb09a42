package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Server is what the server's process used while it was measured.
type Server struct {
	RSS       int64   `json:"rss"`      // bytes, at the end
	PeakRSS   int64   `json:"peak_rss"` // bytes, the most since the warm-up
	CPU       float64 `json:"cpu_seconds"`
	CPUPerOne float64 `json:"cpu_ms_per_item"` // milliseconds
}

// process follows a server by /proc. Where there is none, it measures nothing.
type process struct {
	pid    int
	exact  bool // the kernel keeps the peak
	cancel context.CancelFunc
	wg     sync.WaitGroup
	peak   int64 // seen by sampling
}

// begin sets the peak back and begins to follow it.
func (p *process) begin() {
	if p.pid == 0 {
		return
	}
	// 5 sets the kernel's own peak back (proc(5)); it may be forbidden for
	// another user's process.
	p.exact = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.pid), []byte("5"), 0) == nil
	if p.exact {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	p.wg.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			if rss, err := statusBytes(p.pid, "VmRSS:"); err == nil {
				p.peak = max(p.peak, rss)
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
}

// end ends following it. It may be called more than once.
func (p *process) end() {
	if p.cancel != nil {
		p.cancel()
		p.wg.Wait()
		p.cancel = nil
	}
}

// cpu is the CPU seconds that the process has used until now; 0 if unknown.
func (p *process) cpu() float64 {
	if p.pid == 0 {
		return 0
	}
	seconds, err := cpuSeconds(p.pid)
	if err != nil {
		return 0
	}
	return seconds
}

// result is nil when nothing could be measured.
func (p *process) result(cpu float64, items int64) *Server {
	p.end()
	if p.pid == 0 {
		return nil
	}
	rss, err := statusBytes(p.pid, "VmRSS:")
	if err != nil {
		return nil
	}
	if hwm, err := statusBytes(p.pid, "VmHWM:"); p.exact && err == nil {
		p.peak = hwm
	}
	return &Server{RSS: rss, PeakRSS: max(p.peak, rss), CPU: cpu, CPUPerOne: ratio(cpu*1000, float64(items))}
}

// statusBytes reads a field of /proc/PID/status that the kernel gives in kB.
func statusBytes(pid int, field string) (int64, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), field); ok {
			kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kb << 10, err
		}
	}
	return 0, errors.New("no " + field)
}

// cpuSeconds reads user and system time; the kernel counts in hundredths.
func cpuSeconds(pid int) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, errors.New("short /proc stat")
	}
	user, uerr := strconv.ParseInt(fields[11], 10, 64)
	system, serr := strconv.ParseInt(fields[12], 10, 64)
	return float64(user+system) / 100, errors.Join(uerr, serr)
}

// ownCPU is the CPU seconds that this process has used until now.
func ownCPU() float64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

// diskUsed adds up the bytes allocated below directories.
func diskUsed(dirs []string) (int64, error) {
	var used int64
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // a file that the server removed meanwhile
			}
			if err != nil || d.IsDir() {
				return err
			}
			info, err := d.Info()
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				used += st.Blocks * 512
			}
			return nil
		})
		if err != nil {
			return 0, fmt.Errorf("measure %s: %w", dir, err)
		}
	}
	return used, nil
}

func diskGrown(dirs []string, before, stored int64) (*Disk, error) {
	if len(dirs) == 0 {
		return nil, nil
	}
	after, err := diskUsed(dirs)
	if err != nil {
		return nil, err
	}
	d := &Disk{Stored: stored, Used: after - before}
	if stored > 0 {
		d.Overhead = float64(d.Used) / float64(stored)
	}
	return d, nil
}
