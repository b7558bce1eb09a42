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
	RSS     int64   `json:"rss"`      // bytes, at the end
	PeakRSS int64   `json:"peak_rss"` // bytes, the most that was seen
	CPU     float64 `json:"cpu_seconds"`
}

// watched follows a process by /proc.
type watched struct {
	pid    int
	cancel context.CancelFunc
	wg     sync.WaitGroup
	cpu    float64
	peak   int64
}

// watchServer begins to follow a process; 0 follows none.
func watchServer(pid int) *watched {
	ctx, cancel := context.WithCancel(context.Background())
	w := &watched{pid: pid, cancel: cancel}
	if pid == 0 {
		return w
	}
	w.cpu, _ = cpuSeconds(pid) // not measured where there is no /proc
	w.wg.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			if rss, err := residentBytes(pid); err == nil {
				w.peak = max(w.peak, rss)
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
	return w
}

// stop ends it; nil when nothing could be measured.
func (w *watched) stop() *Server {
	w.cancel()
	w.wg.Wait()
	if w.pid == 0 {
		return nil
	}
	rss, err := residentBytes(w.pid)
	if err != nil {
		return nil
	}
	cpu, err := cpuSeconds(w.pid)
	if err != nil {
		return nil
	}
	return &Server{RSS: rss, PeakRSS: max(w.peak, rss), CPU: cpu - w.cpu}
}

func residentBytes(pid int) (int64, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), "VmRSS:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kb << 10, err
		}
	}
	return 0, errors.New("no VmRSS")
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
