package wan

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// patience bounds a hang; it is no expectation.
const patience = 30 * time.Second

func openNamespaces(t testing.TB, hosts ...string) Network {
	n, err := OpenNamespaces(t.Context(), Config{Hosts: hosts, Seed: 1})
	if IsUnavailable(err) {
		t.Skipf("SKIPPED, NOT TESTED: %v (run as root on Linux with /dev/net/tun and ip)", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

func openLoopback(t testing.TB, hosts ...string) Network {
	n, err := OpenLoopback(Config{Hosts: hosts, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

// echo starts an echo server at a host.
func echo(t testing.TB, n Network, host string) int {
	return serve(t, n, host, func(c net.Conn) { io.Copy(c, c) })
}

// serve starts a server at a host and returns its port.
func serve(t testing.TB, n Network, host string, handle func(net.Conn)) int {
	port, err := n.Port(host)
	if err != nil {
		t.Fatal(err)
	}
	addr, _ := n.Listen(host, port)
	var ln net.Listener
	listen := func() (err error) { ln, err = net.Listen("tcp", addr); return err }
	if ns, ok := n.(interface {
		within(string, func() error) error
	}); ok {
		err = ns.within(host, listen)
	} else {
		err = listen()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { handle(c); c.Close() }()
		}
	}()
	return port
}

func dial(t testing.TB, n Network, from, to string, port int) net.Conn {
	addr, err := n.Addr(from, to, port)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := n.Dial(ctx, from, "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c
}

func roundTrip(t testing.TB, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != text {
		t.Fatalf("%.20q came back as %.20q, %v", text, got, err)
	}
}

// Both networks do the same.
func TestNetworks(t *testing.T) {
	for name, open := range networks() {
		t.Run(name, func(t *testing.T) {
			n := open(t, "a", "b", "c")
			t.Run("carries", func(t *testing.T) { carries(t, n) })
			t.Run("delays", func(t *testing.T) { delays(t, n) })
			t.Run("cuts", func(t *testing.T) { cuts(t, n) })
			t.Run("ends", func(t *testing.T) { ends(t, n) })
		})
	}
}

func carries(t *testing.T, n Network) {
	port := echo(t, n, "b")
	roundTrip(t, dial(t, n, "a", "b", port), strings.Repeat("over the sea ", 100_000))
	roundTrip(t, dial(t, n, "b", "b", port), "at home")
	ab, _ := n.Counters("a", "b")
	ba, _ := n.Counters("b", "a")
	cb, _ := n.Counters("c", "b")
	if ab.Bytes < 1_300_000 || ba.Bytes < 1_300_000 || cb.Bytes != 0 {
		t.Errorf("1.3 MB went there and back; counted a to b %+v, b to a %+v, c to b %+v", ab, ba, cb)
	}
}

// delays asserts the least time only: more is the machine's.
func delays(t *testing.T, n Network) {
	c := dial(t, n, "a", "b", echo(t, n, "b"))
	roundTrip(t, c, "first")
	must(t, n.Set("a", "b", Link{Delay: 30 * time.Millisecond}), n.Set("b", "a", Link{Delay: 20 * time.Millisecond}))
	begun := time.Now()
	roundTrip(t, c, "slow")
	if d := time.Since(begun); d < 50*time.Millisecond {
		t.Errorf("there in 30 ms and back in 20 ms took %s", d)
	}
	must(t, n.Set("a", "b", Link{}), n.Set("b", "a", Link{}))
}

func cuts(t *testing.T, n Network) {
	c := dial(t, n, "a", "b", echo(t, n, "b"))
	other := dial(t, n, "c", "b", echo(t, n, "b"))
	roundTrip(t, c, "before")
	must(t, n.Set("b", "a", Link{Cut: true})) // one way: it arrives, the answer does not
	before, _ := n.Counters("a", "b")
	if _, err := io.WriteString(c, "held"); err != nil {
		t.Fatal(err)
	}
	c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("over a cut link: %v", err)
	}
	roundTrip(t, other, "the others talk on")
	if after, _ := n.Counters("a", "b"); after.Arrived <= before.Arrived {
		t.Error("the direction that is not cut carried nothing")
	}
	must(t, n.Set("b", "a", Link{}))
	c.SetDeadline(time.Now().Add(patience))
	got := make([]byte, 4)
	if _, err := io.ReadFull(c, got); err != nil || string(got) != "held" {
		t.Fatalf("after the cut %q, %v", got, err)
	}
}

// ends: an end of one direction is passed on, the other goes on.
func ends(t *testing.T, n Network) {
	c := dial(t, n, "a", "b", echo(t, n, "b"))
	io.WriteString(c, "last words")
	c.(*net.TCPConn).CloseWrite()
	if got, err := io.ReadAll(c); err != nil || string(got) != "last words" {
		t.Errorf("got %q, %v", got, err)
	}
}

func must(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// Loss is seen by the counters, and TCP gets its bytes over nevertheless.
func TestLossyNamespaces(t *testing.T) {
	n := openNamespaces(t, "a", "b")
	must(t, n.Set("a", "b", Link{Loss: 0.02, Duplicate: 0.02, Delay: time.Millisecond, Jitter: time.Millisecond, Reorder: true}))
	roundTrip(t, dial(t, n, "a", "b", echo(t, n, "b")), strings.Repeat("wind and rain ", 30_000))
	c, _ := n.Counters("a", "b")
	if c.Lost == 0 || c.Duplicated == 0 {
		t.Errorf("of a lossy link: %+v", c)
	}
}

func TestProcessesStartInTheirNamespace(t *testing.T) {
	n := openNamespaces(t, "a", "b")
	var out strings.Builder
	cmd := exec.Command("ip", "-o", "-4", "addr", "show", "wan0")
	cmd.Stdout = &out
	must(t, n.Start("b", cmd), cmd.Wait())
	if !strings.Contains(out.String(), "10.77.0.2/24") {
		t.Errorf("at b: %q", out.String())
	}
	if err := n.Start("nobody", exec.Command("true")); !errors.Is(err, ErrNoHost) {
		t.Errorf("at nobody: %v", err)
	}
}

// What a process left behind that was killed is removed by the next one: its
// namespaces, and what runs in them. Those of the living stay.
func TestSweep(t *testing.T) {
	n := openNamespaces(t, "a")
	dead := exec.Command("true")
	must(t, dead.Run())
	left := &namespaces{stem: prefix + "-" + strconv.Itoa(dead.Process.Pid) + "-0-"}
	must(t, ip(t.Context(), "", "netns", "add", left.stem+"x"))
	defer left.remove([]string{"x"})
	orphan := exec.Command("sleep", "600")
	must(t, left.within("x", orphan.Start))
	must(t, Sweep(t.Context(), slog.New(slog.DiscardHandler)))
	if err := orphan.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("the orphan ended with %v", err)
	}
	entries, err := os.ReadDir(netnsDir)
	must(t, err)
	has := func(name string) bool {
		return slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.Name() == name })
	}
	if has(left.stem+"x") || !has(n.(*namespaces).stem+"a") {
		t.Errorf("after the sweep there are %v", entries)
	}
}

func TestCloseRemovesEverything(t *testing.T) {
	n, err := OpenNamespaces(t.Context(), Config{Hosts: []string{"x", "y"}})
	if IsUnavailable(err) {
		t.Skipf("SKIPPED, NOT TESTED: %v", err)
	}
	must(t, err, n.Close())
	entries, err := os.ReadDir(netnsDir)
	must(t, err)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), n.(*namespaces).stem) {
			t.Errorf("left behind: %s", e.Name())
		}
	}
}

func TestHostNames(t *testing.T) {
	for _, hosts := range [][]string{{"a", "a"}, {""}, {"../x"}, {"a b"}} {
		if checkHosts(hosts) == nil {
			t.Errorf("%q were taken", hosts)
		}
	}
}
