package wan

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	prefix     = "halligwan" // of every namespace: halligwan-PID-RANDOM-HOST
	device     = "wan0"
	netnsDir   = "/run/netns"
	firstPort  = 20000
	defaultMTU = 1500
	within     = 30 * time.Second // for one call of ip
)

// ErrUnavailable is wrapped by errors of OpenNamespaces that mean that this
// machine or user cannot have namespaces.
var ErrUnavailable = errors.New("network namespaces are not available")

// IsUnavailable reports whether an error of OpenNamespaces means that this
// machine or user cannot have namespaces.
func IsUnavailable(err error) bool { return errors.Is(err, ErrUnavailable) }

// namespaces is the Network of OpenNamespaces.
type namespaces struct {
	*fabric
	stem string // prefix-PID-RANDOM-
	log  *slog.Logger

	mu   sync.Mutex
	port int
}

// OpenNamespaces makes a namespace for every host, with one TAP device, fixed
// addresses and neighbours. Namespaces of processes that have ended without
// Close are removed first, with what still runs in them. A TAP device exists
// as long as the process that opened it.
func OpenNamespaces(ctx context.Context, c Config) (Network, error) {
	if err := checkHosts(c.Hosts); err != nil {
		return nil, err
	}
	if err := available(); err != nil {
		return nil, err
	}
	log := c.logger()
	if err := Sweep(ctx, log); err != nil {
		log.Warn("cannot remove namespaces that a former run left behind", "err", err)
	}
	if c.MTU == 0 {
		c.MTU = defaultMTU
	}
	var salt [4]byte
	rand.Read(salt[:]) //nolint:errcheck // never fails
	n := &namespaces{stem: fmt.Sprintf("%s-%d-%x-", prefix, os.Getpid(), salt), log: log, port: firstPort}
	devices, err := n.build(ctx, c)
	var sl sleeper
	if err == nil {
		sl, err = newSleeper()
	}
	if err != nil {
		for _, d := range devices {
			d.Close() //nolint:errcheck // the first error tells more
		}
		return nil, errors.Join(err, n.remove(c.Hosts))
	}
	n.fabric = newFabric(c.Seed, slices.Clone(c.Hosts), c.MTU, devices, sl)
	return n, nil
}

func checkHosts(hosts []string) error {
	valid := regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	for i, h := range hosts {
		if !valid.MatchString(h) {
			return fmt.Errorf("host %q: a name has 1 to 64 letters, digits, '-' and '_'", h)
		}
		if slices.Contains(hosts[:i], h) {
			return fmt.Errorf("host %q is named twice", h)
		}
	}
	if len(hosts) > 250 {
		return fmt.Errorf("%d hosts: at most 250", len(hosts))
	}
	return nil
}

// available says why namespaces cannot be had.
func available() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("%w: not root", ErrUnavailable)
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if _, err := exec.LookPath("ip"); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return nil
}

// build makes namespaces and devices; on an error it returns the devices so
// far.
func (n *namespaces) build(ctx context.Context, c Config) ([]io.ReadWriteCloser, error) {
	var devices []io.ReadWriteCloser
	for i, h := range c.Hosts {
		if err := ip(ctx, "", "netns", "add", n.stem+h); err != nil {
			return devices, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		err := n.within(h, func() error {
			d, err := openTAP()
			if err == nil {
				devices = append(devices, d)
			}
			return err
		})
		if err != nil {
			return devices, fmt.Errorf("%w: TAP device of %q: %w", ErrUnavailable, h, err)
		}
		if err := ip(ctx, setup(i, len(c.Hosts), c.MTU), "-n", n.stem+h, "-batch", "-"); err != nil {
			return devices, fmt.Errorf("set up %q: %w", h, err)
		}
	}
	return devices, nil
}

// setup returns the commands of ip for the ith of so many hosts.
func setup(i, hosts, mtu int) string {
	var b strings.Builder
	fmt.Fprintln(&b, "link set lo up")
	fmt.Fprintf(&b, "link set %s address %s mtu %d txqueuelen 10000 addrgenmode none up\n", device, hardware(i), mtu)
	fmt.Fprintf(&b, "addr add %s/24 dev %s\n", address(i), device)
	for j := range hosts {
		if j != i {
			fmt.Fprintf(&b, "neigh add %s lladdr %s dev %s nud permanent\n", address(j), hardware(j), device)
		}
	}
	return b.String()
}

func address(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 77, 0, byte(i + 1)}) }

func hardware(i int) net.HardwareAddr { m := mac(i); return m[:] }

// openTAP makes a TAP device in the namespace of this thread.
func openTAP() (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	req, err := unix.NewIfreq(device)
	if err == nil {
		req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	}
	if err != nil {
		unix.Close(fd) //nolint:errcheck // the first error tells more
		return nil, fmt.Errorf("TUNSETIFF: %w", err)
	}
	return os.NewFile(uintptr(fd), device), nil
}

// within runs f on a thread that is in the host's namespace.
func (n *namespaces) within(host string, f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		back, err := enter(filepath.Join(netnsDir, n.stem+host))
		if err != nil {
			runtime.UnlockOSThread()
			result <- fmt.Errorf("enter the namespace of %q: %w", host, err)
			return
		}
		err = f()
		if back() == nil { // else the thread must end with this goroutine
			runtime.UnlockOSThread()
		}
		result <- err
	}()
	return <-result
}

// enter moves this thread into a namespace; back moves it out again.
func enter(path string) (back func() error, err error) {
	old, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err
	}
	ns, err := os.Open(path)
	if err == nil {
		err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
		ns.Close()
	}
	if err != nil {
		old.Close()
		return nil, err
	}
	return func() error {
		defer old.Close()
		return unix.Setns(int(old.Fd()), unix.CLONE_NEWNET)
	}, nil
}

// Isolated implements Places.
func (n *namespaces) Isolated() bool { return true }

func (n *namespaces) index(host string) (int, error) {
	i := slices.Index(n.names, host)
	if i < 0 {
		return 0, fmt.Errorf("host %q: %w", host, ErrNoHost)
	}
	return i, nil
}

// Port implements Places: a namespace is empty, so counting is enough.
func (n *namespaces) Port(host string) (int, error) {
	if _, err := n.index(host); err != nil {
		return 0, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.port++
	return n.port - 1, nil
}

// Listen implements Places.
func (n *namespaces) Listen(host string, port int) (string, error) {
	i, err := n.index(host)
	if err != nil {
		return "", err
	}
	return net.JoinHostPort(address(i).String(), strconv.Itoa(port)), nil
}

// Addr implements Places.
func (n *namespaces) Addr(from, to string, port int) (string, error) {
	if _, err := n.index(from); err != nil {
		return "", err
	}
	return n.Listen(to, port)
}

// Dial implements Places.
func (n *namespaces) Dial(ctx context.Context, from, network, addr string) (net.Conn, error) {
	if _, err := n.index(from); err != nil {
		return nil, err
	}
	if _, err := netip.ParseAddrPort(addr); err != nil {
		return nil, fmt.Errorf("dial from %q: a numeric address is needed: %w", from, err) // a resolver would leave the thread
	}
	var conn net.Conn
	err := n.within(from, func() (err error) {
		conn, err = (&net.Dialer{}).DialContext(ctx, network, addr)
		return err
	})
	return conn, err
}

// Start implements Places.
func (n *namespaces) Start(host string, cmd *exec.Cmd) error {
	if _, err := n.index(host); err != nil {
		return err
	}
	return n.within(host, cmd.Start)
}

// Close implements Network.
func (n *namespaces) Close() error {
	n.fabric.close()
	return n.remove(n.names)
}

func (n *namespaces) remove(hosts []string) error {
	var errs []error
	for _, h := range hosts {
		if _, err := os.Stat(filepath.Join(netnsDir, n.stem+h)); err == nil {
			errs = append(errs, ip(context.Background(), "", "netns", "del", n.stem+h))
		}
	}
	return errors.Join(errs...)
}

// Sweep removes namespaces whose process has ended without removing them, and
// ends with SIGKILL what still runs in them.
func Sweep(ctx context.Context, log *slog.Logger) error {
	entries, err := os.ReadDir(netnsDir)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	}
	var errs []error
	for _, e := range entries {
		pid, ok := owner(e.Name())
		if !ok || syscall.Kill(pid, 0) == nil {
			continue
		}
		log.Info("removing a namespace that a former run left behind", "namespace", e.Name())
		out, err := exec.CommandContext(ctx, "ip", "netns", "pids", e.Name()).Output()
		errs = append(errs, err)
		for _, f := range strings.Fields(string(out)) {
			if p, err := strconv.Atoi(f); err == nil && p > 1 {
				syscall.Kill(p, syscall.SIGKILL) //nolint:errcheck // it may have ended
			}
		}
		errs = append(errs, ip(ctx, "", "netns", "del", e.Name()))
	}
	return errors.Join(errs...)
}

// owner returns the process that made a namespace of this package.
func owner(name string) (int, bool) {
	parts := strings.SplitN(name, "-", 4)
	if len(parts) != 4 || parts[0] != prefix {
		return 0, false
	}
	pid, err := strconv.Atoi(parts[1])
	return pid, err == nil && pid > 1
}

// ip runs the program ip with an input.
func ip(ctx context.Context, input string, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	cmd := exec.CommandContext(ctx, "ip", args...)
	cmd.Stdin = strings.NewReader(input)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out.Bytes()))
	}
	return nil
}
