package testmesh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/hallig-cloud/hallig/internal/testmesh/history"
	"github.com/hallig-cloud/hallig/internal/testmesh/nemesis"
	"github.com/hallig-cloud/hallig/internal/testmesh/wan"
	"github.com/hallig-cloud/hallig/test/harness"
)

func runTests(m *testing.M) int {
	defer harness.Cleanup()
	return m.Run()
}

// A store is one independent one-node hallig.
type store struct {
	*Process
	host string
	port int
}

func newStore(t *testing.T, m *Mesh, host string) *store {
	net := m.Network()
	dir := filepath.Join(t.TempDir(), host)
	must(t, os.MkdirAll(dir, 0o755))
	port, err := net.Port(host)
	must(t, err)
	adminPort, err := net.Port(host)
	must(t, err)
	s3Addr, err := net.Listen(host, port)
	must(t, err)
	admin := "127.0.0.1:" + strconv.Itoa(adminPort)
	s := &store{host: host, port: port}
	s.Process = NewProcess(net, Spec{
		Name: host, Host: host, Path: harness.Binary(t), Dir: dir, Log: filepath.Join(dir, "log"),
		Args: []string{
			"start", "--data", filepath.Join(dir, "data"), "--drive", filepath.Join(dir, "drive1"), "--drive", filepath.Join(dir, "drive2"),
			"--s3-addr", s3Addr, "--admin-addr", admin,
		},
		Env:   []string{"HALLIG_ROOT_ACCESS_KEY=" + harness.AccessKey, "HALLIG_ROOT_SECRET_KEY=" + harness.SecretKey, "HOME=" + dir},
		Ready: func(ctx context.Context) error { return askReady(ctx, m, host, admin) },
	})
	t.Cleanup(func() {
		if err := s.Kill(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("log of %s:\n%s", host, s.Tail())
		}
	})
	return s
}

// askReady asks a node's /readyz from its own host.
func askReady(ctx context.Context, m *Mesh, host, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/readyz", nil)
	if err != nil {
		return err
	}
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		return m.Network().Dial(ctx, host, network, addr)
	}}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}

// client returns an S3 client at one host of the store at another.
func client(t *testing.T, m *Mesh, id int, host string, s *store, h *history.History) *Client {
	addr, err := m.Network().Addr(host, s.host, s.port)
	must(t, err)
	c := NewClient(ClientConfig{
		ID: id, Endpoint: "http://" + addr, AccessKey: harness.AccessKey, SecretKey: harness.SecretKey,
		Bucket: "island", Space: s.host + "/", History: h, Timeout: 3 * time.Second,
		Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return m.Network().Dial(ctx, host, network, addr)
		},
	})
	t.Cleanup(c.Close)
	return c
}

// Three stores that know nothing of each other, one at each provider, clients
// of each at each provider, and every fault that today's nodes can take. With
// HALLIG_NEMESIS_EVENTS more events; HALLIG_SEED repeats a run's plan.
func TestStoresOverTheWAN(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED, NOT TESTED: real processes under a nemesis (-short)")
	}
	events := 7
	if s := os.Getenv("HALLIG_NEMESIS_EVENTS"); s != "" {
		var err error
		events, err = strconv.Atoi(s)
		must(t, err)
	}
	seed, err := nemesis.Seed()
	must(t, err)
	t.Logf("HALLIG_SEED=%d", seed)
	m := open(t, wan.Link{Delay: 5 * time.Millisecond, Jitter: time.Millisecond, Loss: 0.001}, threeHosts()...)
	stores, nodes := startStores(t, m)
	kinds := map[nemesis.Kind]int{}
	faults := Faults(m, nodes, FaultConfig{SlowDelay: 100 * time.Millisecond})
	for k := range faults {
		kinds[k] = 1
	}
	plan, err := nemesis.Plan(nemesis.Config{
		Seed: seed, Kinds: kinds, Events: events, Rest: 200 * time.Millisecond, For: 400 * time.Millisecond,
		Nodes: []nemesis.Node{{Name: "a1", Provider: "a"}, {Name: "b1", Provider: "b"}, {Name: "c1", Provider: "c"}},
	})
	must(t, err)
	t.Logf("%s", plan)

	h := history.New()
	keys := make([]string, 40)
	for i := range keys {
		keys[i] = fmt.Sprint("k", i)
	}
	stopWork := work(t, m, stores, h, seed, keys)
	runner := nemesis.Runner{Faults: faults, Settle: func(ctx context.Context, _ nemesis.Event) error {
		for _, s := range stores {
			if err := s.WaitReady(ctx); err != nil {
				return err
			}
		}
		return nil
	}}
	report, err := runner.Run(t.Context(), plan)
	done := stopWork()
	must(t, err)
	readAll(t, m, stores, h, keys)
	t.Logf("%d operations; %s", done, report)
	judge(t, m, h, report, kinds, events/len(kinds))
}

// Negative control: a store that forgets everything it acknowledged is found
// out, on real processes over the real path.
func TestAForgetfulStoreIsFoundOut(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED, NOT TESTED: real processes (-short)")
	}
	m := open(t, wan.Link{}, threeHosts()...)
	s := newStore(t, m, "a1")
	h := history.New()
	c := client(t, m, 1, "b1", s, h)
	c.c.Timeout = patience
	must(t, s.Start(within(t, patience)))
	must(t, c.MakeBucket(t.Context()))
	for _, key := range []string{"x", "y"} {
		if r := c.Put(t.Context(), key, []byte(key), Condition{}); r.Outcome != history.OK {
			t.Fatalf("put %s: %s", key, r.Outcome)
		}
		c.Get(t.Context(), key, Condition{})
	}
	must(t, history.Check(h.Records(), 0).Err())
	must(t, s.Kill())
	for _, dir := range []string{"data", "drive1", "drive2"} {
		must(t, os.RemoveAll(filepath.Join(s.spec.Dir, dir)))
	}
	must(t, s.Start(within(t, patience)))
	must(t, c.MakeBucket(t.Context()))
	if r := c.Get(t.Context(), "x", Condition{}); r.Outcome != history.NotFound || !c.List(t.Context(), []string{"x", "y"}) {
		t.Fatalf("after the loss get x: %s", r.Outcome)
	}
	if v := history.Check(h.Records(), 0); len(v.Violations) != 2 {
		t.Errorf("two keys were lost, found %+v", v)
	}
}

func startStores(t *testing.T, m *Mesh) (stores []*store, nodes []Node) {
	for _, host := range m.Hosts() {
		s := newStore(t, m, host.Name)
		must(t, s.launch(t.Context()))
		stores, nodes = append(stores, s), append(nodes, s)
	}
	for _, s := range stores {
		must(t, s.WaitReady(within(t, patience)))
		must(t, client(t, m, 0, s.host, s, history.New()).MakeBucket(within(t, patience)))
	}
	return stores, nodes
}

// work lets a client at every host work on every store.
func work(t *testing.T, m *Mesh, stores []*store, h *history.History, seed uint64, keys []string) (stop func() int) {
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	var wg sync.WaitGroup
	var mu sync.Mutex
	sum, id := 0, 0
	for _, host := range m.Hosts() {
		for _, s := range stores {
			id++
			c := client(t, m, id, host.Name, s, h)
			wg.Go(func() {
				n := c.Work(ctx, seed, keys, 32<<10)
				mu.Lock()
				defer mu.Unlock()
				sum += n
			})
		}
	}
	return func() int { cancel(); wg.Wait(); return sum }
}

// readAll reads every key once more: nothing acknowledged may be missing.
func readAll(t *testing.T, m *Mesh, stores []*store, h *history.History, keys []string) {
	for i, s := range stores {
		c := client(t, m, 100+i, s.host, s, h)
		c.c.Timeout = patience
		for _, key := range keys {
			if r := c.Get(t.Context(), key, Condition{}); r.Outcome != history.OK && r.Outcome != history.NotFound {
				t.Errorf("at the end, %s of %s: %s", key, s.host, r.Outcome)
			}
		}
		if !c.List(t.Context(), keys) {
			t.Errorf("at the end, the listing of %s failed", s.host)
		}
	}
}

// judge checks the history and that what was planned happened.
func judge(t *testing.T, m *Mesh, h *history.History, report nemesis.Report, kinds map[nemesis.Kind]int, each int) {
	records := h.Records()
	v := history.Check(records, 0)
	t.Logf("%d keys, outcomes %v", v.Keys, v.Outcomes)
	least := map[nemesis.Kind]int{}
	for k := range kinds {
		least[k] = each
	}
	must(t, report.Require(least))
	for kind, want := range map[history.Outcome]int{history.OK: 100, history.Refused: 1, history.NotFound: 1} {
		if v.Outcomes[kind] < want {
			t.Errorf("%d operations ended with %q: the load did not test it", v.Outcomes[kind], kind)
		}
	}
	crossed, err := m.Crossed("", "")
	must(t, err)
	t.Logf("crossed between providers: %+v", crossed)
	if crossed.Bytes == 0 {
		t.Error("no bytes crossed between providers")
	}
	if m.Network().Isolated() && crossed.Cut == 0 {
		t.Error("the cuts met no frame")
	}
	if err := v.Err(); err != nil {
		keep(t, records)
		t.Error(err)
	}
}

// keep writes the history where it survives the test.
func keep(t *testing.T, records []history.Record) {
	f, err := os.CreateTemp("", "hallig-history-*.jsonl")
	must(t, err)
	defer f.Close()
	must(t, history.Write(f, records))
	t.Logf("the history is in %s", f.Name())
}
