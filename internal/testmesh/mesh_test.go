package testmesh

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hallig-cloud/hallig/internal/testmesh/nemesis"
	"github.com/hallig-cloud/hallig/internal/testmesh/wan"
)

// TestMain serves as the program that the tests start: it echoes.
func TestMain(m *testing.M) {
	if addr := os.Getenv("TESTMESH_ECHO"); addr != "" {
		serveEcho(addr)
		return
	}
	os.Exit(runTests(m))
}

func serveEcho(addr string) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("serving")
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go func() { io.Copy(c, c); c.Close() }()
	}
}

func threeHosts() []Host {
	return []Host{{"a1", "a", "a"}, {"b1", "b", "b"}, {"c1", "c", "c"}}
}

// open returns a mesh over namespaces or, if they cannot be had or
// HALLIG_TEST_LOOPBACK is set, over loopback relays.
func open(t testing.TB, base wan.Link, hosts ...Host) *Mesh {
	var names []string
	for _, h := range hosts {
		names = append(names, h.Name)
	}
	c := wan.Config{Hosts: names, Seed: 1}
	n, err := wan.OpenNamespaces(t.Context(), c)
	if err == nil && os.Getenv("HALLIG_TEST_LOOPBACK") != "" {
		n.Close()
		n, err = wan.OpenLoopback(c)
	}
	if wan.IsUnavailable(err) {
		t.Logf("NO NAMESPACES: %v; tested over loopback relays only", err)
		n, err = wan.OpenLoopback(c)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return newMesh(t, n, base, hosts...)
}

func newMesh(t testing.TB, n wan.Network, base wan.Link, hosts ...Host) *Mesh {
	m, err := NewMesh(n, hosts, Apart(base))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func link(t *testing.T, m *Mesh, from, to string) wan.Link {
	l, err := m.Network().Link(from, to)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestChangesLieOnTopOfEachOther(t *testing.T) {
	n, _ := wan.OpenLoopback(wan.Config{Hosts: []string{"a1", "a2", "b1", "c1"}})
	defer n.Close()
	base := wan.Link{Delay: 20 * time.Millisecond}
	m := newMesh(t, n, base, Host{"a1", "a", "a"}, Host{"a2", "a", "a"}, Host{"b1", "b", "b"}, Host{"c1", "c", "c"})
	slow := base
	slow.Delay += time.Second
	slow.Bandwidth = 1000
	cut, slowCut := base, slow
	cut.Cut, slowCut.Cut = true, true
	check := func(a1a2, a1b1, b1a1, b1c1 wan.Link) {
		t.Helper()
		got := []wan.Link{link(t, m, "a1", "a2"), link(t, m, "a1", "b1"), link(t, m, "b1", "a1"), link(t, m, "b1", "c1")}
		if want := []wan.Link{a1a2, a1b1, b1a1, b1c1}; !reflect.DeepEqual(got, want) {
			t.Errorf("links\n%+v, not\n%+v", got, want)
		}
	}
	check(wan.Link{}, base, base, base)
	undoSlow, _ := m.Apply(SlowDown("a", time.Second, 1000))
	check(wan.Link{}, slow, slow, base)
	undoOneWay, _ := m.Apply(CutBetween("a", "b", false))
	check(wan.Link{}, slowCut, slow, base)
	undoCut, _ := m.Apply(CutOff("b"))
	undoOneWay()
	check(wan.Link{}, slowCut, slowCut, cut)
	undoSlow()
	check(wan.Link{}, cut, cut, cut)
	undoCut()
	check(wan.Link{}, base, base, base)
}

// echoProcess returns a process that echoes at a host, and its port.
func echoProcess(t *testing.T, m *Mesh, host string) (*Process, int) {
	port, err := m.Network().Port(host)
	if err != nil {
		t.Fatal(err)
	}
	addr, _ := m.Network().Listen(host, port)
	p := NewProcess(m.Network(), Spec{
		Name: host + "-" + strconv.Itoa(port), Host: host, Path: os.Args[0], Env: []string{"TESTMESH_ECHO=" + addr},
		Log:   filepath.Join(t.TempDir(), "log"),
		Ready: func(ctx context.Context) error { return say(ctx, m, host, addr) },
	})
	t.Cleanup(func() { p.Kill() })
	return p, port
}

// say sends a word to an address and wants it back.
func say(ctx context.Context, m *Mesh, from, addr string) error {
	c, err := m.Network().Dial(ctx, from, "tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if deadline, ok := ctx.Deadline(); ok {
		c.SetDeadline(deadline)
	}
	io.WriteString(c, "moin")
	b := make([]byte, 4)
	_, err = io.ReadFull(c, b)
	return err
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

const patience = 60 * time.Second

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestProcess(t *testing.T) {
	m := open(t, wan.Link{}, threeHosts()...)
	p, port := echoProcess(t, m, "b1")
	must(t, p.Start(within(t, patience)))
	from, _ := m.Network().Addr("a1", "b1", port)
	must(t, say(within(t, patience), m, "a1", from))
	if p.Start(t.Context()) == nil {
		t.Error("started twice")
	}

	for _, pause := range []func() error{ // with the freezer, if there is one, and without
		func() error { return p.Pause(within(t, patience)) },
		func() error { return p.pauseBySignal(within(t, patience)) },
	} {
		must(t, pause())
		if err := say(within(t, 200*time.Millisecond), m, "a1", from); err == nil {
			t.Error("a paused process answered")
		}
		must(t, p.Resume())
		must(t, say(within(t, patience), m, "a1", from))
	}

	before := p.Pid()
	must(t, p.Pause(within(t, patience)))
	must(t, p.Kill()) // a paused one dies too
	if p.Running() || say(within(t, patience), m, "b1", from) == nil {
		t.Error("a killed process runs")
	}
	must(t, p.Start(within(t, patience)))
	must(t, p.Restart(within(t, patience)))
	if p.Pid() == before || !p.Running() {
		t.Errorf("restarted as %d", p.Pid())
	}
	if got := strings.Count(p.Tail(), "serving"); got != 3 {
		t.Errorf("three starts, the log has %d:\n%s", got, p.Tail())
	}
}

func TestAProcessThatEndsIsNotWaitedFor(t *testing.T) {
	m := open(t, wan.Link{}, threeHosts()...)
	p, _ := echoProcess(t, m, "a1")
	p.spec.Env = []string{"TESTMESH_ECHO=no address"}
	if err := p.Start(within(t, patience)); err == nil || !strings.Contains(err.Error(), "no address") {
		t.Errorf("the error must show the log: %v", err)
	}
}

// Every fault that needs no help of the node does what it says, and undoes it.
func TestFaults(t *testing.T) {
	m := open(t, wan.Link{}, threeHosts()...)
	a, aPort := echoProcess(t, m, "a1")
	b, bPort := echoProcess(t, m, "b1")
	must(t, a.Start(within(t, patience)))
	must(t, b.Start(within(t, patience)))
	faults := Faults(m, []Node{a, b}, FaultConfig{SlowDelay: 300 * time.Millisecond})
	toA, _ := m.Network().Addr("c1", "a1", aPort)
	toB, _ := m.Network().Addr("a1", "b1", bPort)
	hears := func(from, addr string, d time.Duration) bool { return say(within(t, d), m, from, addr) == nil }
	for _, e := range []nemesis.Event{
		{Kind: nemesis.Kill, Target: a.Name()}, {Kind: nemesis.Pause, Target: a.Name()},
		{Kind: nemesis.CutProvider, Target: "a"}, {Kind: nemesis.Partition, Target: "a", Other: "c"},
		{Kind: nemesis.OneWay, Target: "a", Other: "c"}, {Kind: nemesis.SlowProvider, Target: "a"},
	} {
		must(t, faults[e.Kind].Begin(within(t, patience), e))
		if hears("c1", toA, 250*time.Millisecond) {
			t.Errorf("%s did nothing", e)
		}
		if e.Other != "" && !hears("a1", toB, patience) {
			t.Errorf("%s cut a from b", e)
		}
		must(t, faults[e.Kind].End(within(t, patience), e))
		if !hears("c1", toA, patience) {
			t.Errorf("%s is not over", e)
		}
	}
	pid := a.Pid()
	must(t, faults[nemesis.Rolling].Begin(within(t, patience), nemesis.Event{Kind: nemesis.Rolling, Target: nemesis.Everyone}))
	if a.Pid() == pid || !hears("c1", toA, patience) {
		t.Error("rolling did not restart")
	}
	for _, k := range []nemesis.Kind{nemesis.Wipe, nemesis.TornTail, nemesis.BitFlip, nemesis.DiskFull, nemesis.IOError, nemesis.Clock} {
		if faults[k] != nil {
			t.Errorf("%s on nodes that cannot", k)
		}
	}
	for _, e := range []nemesis.Event{{Kind: nemesis.Kill, Target: "x"}, {Kind: nemesis.CutProvider, Target: "x"}} {
		if faults[e.Kind].Begin(t.Context(), e) == nil {
			t.Errorf("%s happened to nobody", e)
		}
	}
}

// A helpful node offers everything.
type helpful struct {
	*Process
	did []string
}

func (h *helpful) note(s string) error { h.did = append(h.did, s); return nil }

func (h *helpful) Name() string                   { return "h" }
func (h *helpful) Kill() error                    { return h.note("kill") }
func (h *helpful) Start(context.Context) error    { return h.note("start") }
func (h *helpful) Wipe(context.Context) error     { return h.note("wipe") }
func (h *helpful) TearTail(context.Context) error { return h.note("tear") }
func (h *helpful) FlipBits(context.Context) error { return h.note("flip") }
func (h *helpful) FillDisk(context.Context) error { return h.note("fill") }
func (h *helpful) FreeDisk(context.Context) error { return h.note("free") }
func (h *helpful) BreakIO(context.Context) error  { return h.note("break") }
func (h *helpful) MendIO(context.Context) error   { return h.note("mend") }
func (h *helpful) ShiftClock(_ context.Context, by time.Duration) error {
	return h.note("clock " + by.String())
}

func TestFaultsThatNodesHelpWith(t *testing.T) {
	n, _ := wan.OpenLoopback(wan.Config{})
	defer n.Close()
	h := &helpful{}
	faults := Faults(newMesh(t, n, wan.Link{}), []Node{h}, FaultConfig{})
	for _, k := range nemesis.Kinds() {
		if faults[k] == nil {
			t.Errorf("no %s", k)
		}
	}
	for _, k := range []nemesis.Kind{nemesis.Wipe, nemesis.TornTail, nemesis.BitFlip, nemesis.DiskFull, nemesis.IOError, nemesis.Clock} {
		e := nemesis.Event{Kind: k, Target: "h"}
		must(t, faults[k].Begin(t.Context(), e))
		must(t, faults[k].End(t.Context(), e))
	}
	want := "kill wipe start kill tear start flip fill free break mend clock 1h0m0s clock 0s"
	if got := strings.Join(h.did, " "); got != want {
		t.Errorf("did %s", got)
	}
}
