package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/mesh"
	"github.com/hallig-cloud/hallig/mesh/meshtest"
	"github.com/hallig-cloud/hallig/placement"
	"github.com/hallig-cloud/hallig/shard"
	"github.com/hallig-cloud/hallig/shard/disk"
	"github.com/hallig-cloud/hallig/shard/mem"
	"github.com/hallig-cloud/hallig/shard/shardtest"
	"github.com/hallig-cloud/hallig/vfs/vfstest"
)

// drives is a node's drives.
type drives struct {
	mu  sync.Mutex
	all map[hallig.DriveID]shard.Store
}

func (d *drives) find(id hallig.DriveID) (shard.Store, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s, ok := d.all[id]
	return s, ok
}

func (d *drives) add(s shard.Store) hallig.DriveID {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.all == nil {
		d.all = map[hallig.DriveID]shard.Store{}
	}
	id := hallig.NewID()
	d.all[id] = s
	return id
}

// loopback replaces a world's network by TCP on 127.0.0.1.
type loopback struct {
	mu    sync.Mutex
	addrs map[string]string
}

func (l *loopback) listen(ctx context.Context, network, addr string) (net.Listener, error) {
	n, err := new(net.ListenConfig).Listen(ctx, network, "127.0.0.1:0")
	if err == nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.addrs[addr] = n.Addr().String()
	}
	return n, err
}

func (l *loopback) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	l.mu.Lock()
	real := l.addrs[addr]
	l.mu.Unlock()
	return new(net.Dialer).DialContext(ctx, network, real)
}

// pair starts two nodes; the second serves drives to gateways.
func pair(t testing.TB, tcp bool, change func(*mesh.Config)) (*meshtest.World, []*meshtest.Node, *drives) {
	w := meshtest.New(t)
	lo := &loopback{addrs: map[string]string{}}
	served := &drives{}
	var nodes []*meshtest.Node
	for range 2 {
		n, _ := w.Add(meshtest.Both)
		nodes = append(nodes, n)
	}
	for _, n := range nodes {
		cfg := n.Config()
		cfg.Bound = 20 * time.Second // nothing here is about how soon
		if tcp {
			cfg.Listen, cfg.Dial = lo.listen, lo.dial
		}
		if change != nil {
			change(&cfg)
		}
		n.Prepare(cfg, func(m *mesh.Mesh) {
			m.Handle(Prefix, placement.RoleGateway, Handler(HandlerConfig{Drives: served.find}))
		})
	}
	for _, n := range nodes {
		n.Run()
	}
	return w, nodes, served
}

// corruptible lets the suite damage the drive behind a remote one.
type corruptible struct {
	*Store
	under *mem.Store
}

func (c corruptible) CorruptShard(id shard.ID, off int64) error { return c.under.CorruptShard(id, off) }

func closing(t testing.TB, s *Store) *Store {
	t.Cleanup(func() { s.Close() })
	return s
}

func TestSuiteOverLoopback(t *testing.T) {
	_, nodes, served := pair(t, true, nil)
	client := nodes[0].Mesh.Client(nodes[1].ID())
	shardtest.Run(t, func(t *testing.T) shard.Store {
		under := mem.New(mem.Config{})
		s := closing(t, New(Config{Node: client, Drive: served.add(under)}))
		return corruptible{s, under}
	})
}

func TestSuiteOverADriveOnDisk(t *testing.T) {
	if testing.Short() {
		t.Skip("the suite over memory runs as well")
	}
	_, nodes, served := pair(t, false, nil)
	client := nodes[0].Mesh.Client(nodes[1].ID())
	shardtest.Run(t, func(t *testing.T) shard.Store {
		d, err := openDisk(t)
		if err != nil {
			t.Fatal(err)
		}
		return closing(t, New(Config{Node: client, Drive: served.add(d)}))
	})
}

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) || want == nil && err != nil {
		t.Fatalf("%s: error %v, want %v", what, err, want)
	}
}

// Connections that break in the middle of frames, bytes that change on their
// way, and answers that come late cost errors, and never wrong bytes, a lost
// write or a listing with holes.
func TestFaultyConnections(t *testing.T) {
	seeds := uint64(4)
	if testing.Short() {
		seeds = 2
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testFaulty(t, seed) })
		})
	}
}

func testFaulty(t *testing.T, seed uint64) {
	w, nodes, served := pair(t, false, func(c *mesh.Config) { c.Bound = time.Second })
	var mu sync.Mutex
	r := rand.New(rand.NewPCG(seed, 1))
	broken, mangled := 0, 0
	w.Net.Delay("n0", "n1", 3*time.Millisecond)
	w.Net.Mangle(func(_, _ string, b []byte) []byte {
		mu.Lock()
		defer mu.Unlock()
		switch r.IntN(150) {
		case 0:
			broken++
			return nil
		case 1:
			mangled++
			b[r.IntN(len(b))] ^= 1 << r.IntN(8)
		case 2:
			b = b[:1+r.IntN(len(b))] // the rest is lost: what follows is garbage
			mangled++
		}
		return b
	})
	s := closing(t, New(Config{Node: nodes[0].Mesh.Client(nodes[1].ID()), Drive: served.add(mem.New(mem.Config{}))}))
	// again repeats what fails for the network's sake.
	failures := 0
	again := func(call func() error) error {
		for {
			err := call()
			if !errors.Is(err, hallig.ErrUnavailable) {
				return err
			}
			failures++
			time.Sleep(100 * time.Millisecond) // of the bubble's clock
		}
	}
	ops := rand.New(rand.NewPCG(seed, 2))
	body := func(n int) []byte { return shardtest.Body(uint64(n), n*7919%300000) }
	have, gone := map[int]bool{}, map[int]bool{}
	for step := range 250 {
		n := ops.IntN(40)
		h := shardtest.Header(5, n, body(n))
		switch ops.IntN(5) {
		case 0, 1:
			var want error
			if gone[n] {
				want = hallig.ErrStale
			}
			wantErr(t, fmt.Sprintf("seed %d, step %d: put", seed, step), again(func() error { return s.Put(t.Context(), h, body(n)) }), want)
			have[n] = !gone[n]
		case 2, 3:
			var got []byte
			err := again(func() (err error) { _, got, err = s.Get(t.Context(), h.ID, 0, -1, []byte("x")); return err })
			var want error
			if !have[n] {
				want = hallig.ErrNotFound
			}
			wantErr(t, fmt.Sprintf("seed %d, step %d: get", seed, step), err, want)
			if err == nil && !bytes.Equal(got[1:], body(n)) {
				t.Fatalf("seed %d, step %d: wrong bytes", seed, step)
			}
		case 4:
			if ops.IntN(4) == 0 {
				wantErr(t, fmt.Sprintf("seed %d, step %d: delete", seed, step), again(func() error { return s.Delete(t.Context(), h.ID) }), nil)
				have[n], gone[n] = false, true
			}
		}
	}
	var listed []shard.ID
	wantErr(t, "walk", again(func() error {
		listed = nil
		return s.Walk(t.Context(), shard.ID{}, func(i shard.Info) error { listed = append(listed, i.ID); return nil })
	}), nil)
	var want []shard.ID
	for n := range have {
		if have[n] {
			want = append(want, shardtest.Header(5, n, nil).ID)
		}
	}
	slices.SortFunc(want, shard.ID.Compare)
	if !slices.Equal(listed, want) {
		t.Fatalf("seed %d: %d shards are listed, want %d", seed, len(listed), len(want))
	}
	mu.Lock()
	defer mu.Unlock()
	if broken == 0 || mangled == 0 {
		t.Fatalf("seed %d: %d connections were broken and %d packets mangled: the test tests nothing", seed, broken, mangled)
	}
	t.Logf("seed %d: %d connections broken, %d packets mangled, %d calls failed", seed, broken, mangled, failures)
}

// A store that lies: it answers for one shard with another, an older
// generation, or fewer bytes.
type liar struct {
	shard.Store
	header func(shard.Header) shard.Header
	body   func([]byte) []byte
}

func (l liar) Get(ctx context.Context, id shard.ID, off, n int64, dst []byte) (shard.Header, []byte, error) {
	h, b, err := l.Store.Get(ctx, id, off, n, dst)
	return l.header(h), l.body(b), err
}

func (l liar) Stat(ctx context.Context, id shard.ID) (shard.Header, error) {
	h, err := l.Store.Stat(ctx, id)
	return l.header(h), err
}

func TestLies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, nodes, served := pair(t, false, nil)
		same := func(b []byte) []byte { return b }
		body := shardtest.Body(1, 3*shard.BlockSize)
		h := shardtest.Header(1, 0, body)
		h.ID.Generation = 3
		for name, lie := range map[string]liar{
			"another shard":    {header: func(h shard.Header) shard.Header { h.ID.Index++; return h }, body: same},
			"another data id":  {header: func(h shard.Header) shard.Header { h.ID.Data[3]++; return h }, body: same},
			"an old one":       {header: func(h shard.Header) shard.Header { h.ID.Generation--; return h }, body: same},
			"a longer header":  {header: func(h shard.Header) shard.Header { h.Length++; return h }, body: same},
			"a shorter header": {header: func(h shard.Header) shard.Header { h.Length--; return h }, body: same},
			"too few bytes":    {header: func(h shard.Header) shard.Header { return h }, body: func([]byte) []byte { return nil }},
			"too many bytes":   {header: func(h shard.Header) shard.Header { return h }, body: func(b []byte) []byte { return append(b, 1) }},
		} {
			under := mem.New(mem.Config{})
			wantErr(t, "put", under.Put(t.Context(), h, body), nil)
			lie.Store = under
			s := closing(t, New(Config{Node: nodes[0].Mesh.Client(nodes[1].ID()), Drive: served.add(lie)}))
			_, got, err := s.Get(t.Context(), h.ID, 0, -1, []byte("dst"))
			wantErr(t, name, err, hallig.ErrCorrupt)
			if string(got) != "dst" {
				t.Fatalf("%s: bytes came with the error", name)
			}
			if _, err = s.Stat(t.Context(), h.ID); err == nil != (lie.header(h).ID == h.ID) {
				t.Fatalf("%s: stat: %v", name, err)
			}
		}
		// The negative control: the honest one passes.
		s := closing(t, New(Config{Node: nodes[0].Mesh.Client(nodes[1].ID()), Drive: served.add(liar{mem.New(mem.Config{}), func(h shard.Header) shard.Header { return h }, same})}))
		wantErr(t, "put", s.Put(t.Context(), h, body), nil)
		_, got, err := s.Get(t.Context(), h.ID, 0, -1, nil)
		if wantErr(t, "get", err, nil); !bytes.Equal(got, body) {
			t.Fatal("wrong bytes")
		}
	})
}

// A block that decays in the middle of a long answer ends it with the error.
func TestCorruptLaterWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, nodes, served := pair(t, false, nil)
		under := mem.New(mem.Config{})
		s := closing(t, New(Config{Node: nodes[0].Mesh.Client(nodes[1].ID()), Drive: served.add(under)}))
		body := shardtest.Body(1, 40*shard.BlockSize)
		h := shardtest.Header(1, 0, body)
		wantErr(t, "put", s.Put(t.Context(), h, body), nil)
		wantErr(t, "corrupt", under.CorruptShard(h.ID, 35*shard.BlockSize), nil)
		_, got, err := s.Get(t.Context(), h.ID, 5, 1000, nil)
		if wantErr(t, "a good part", err, nil); !bytes.Equal(got, body[5:1005]) {
			t.Fatal("wrong bytes")
		}
		_, got, err = s.Get(t.Context(), h.ID, 0, -1, []byte("dst"))
		if wantErr(t, "the whole", err, hallig.ErrCorrupt); string(got) != "dst" {
			t.Fatal("bytes came with the error")
		}
		synctest.Wait()
		if st := s.Status(); st.Quarantined != 1 {
			t.Fatalf("%+v", st)
		}
	})
}

// A walk of many pages is in order and whole; the walker may take its time.
func TestManyPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, nodes, served := pair(t, false, nil)
		under := mem.New(mem.Config{})
		for n := range 2*pageInfos + 10 {
			h := shardtest.Header(1, n, nil)
			wantErr(t, "put", under.Put(t.Context(), h, nil), nil)
		}
		s := closing(t, New(Config{Node: nodes[0].Mesh.Client(nodes[1].ID()), Drive: served.add(under)}))
		seen, last := 0, shard.ID{}
		wantErr(t, "walk", s.Walk(t.Context(), shard.ID{}, func(i shard.Info) error {
			if i.ID.Compare(last) <= 0 {
				return errors.New("out of order")
			}
			seen, last = seen+1, i.ID
			return nil
		}), nil)
		if seen != 2*pageInfos+10 {
			t.Fatalf("%d of %d", seen, 2*pageInfos+10)
		}
		ids := make([]shard.ID, batchIDs+3)
		for n := range ids {
			ids[n] = shardtest.Header(1, n, nil).ID
		}
		wantErr(t, "delete", s.Delete(t.Context(), ids...), nil)
		if st := s.Status(); st.Shards != int64(seen-len(ids)) {
			t.Fatalf("%+v", st)
		}
	})
}

// Who calls is cancelled at the other side too.
type stuck struct {
	shard.Store
	entered chan struct{}
	left    chan error
}

func (s stuck) Verify(ctx context.Context, _ shard.ID) error {
	close(s.entered)
	<-ctx.Done()
	s.left <- ctx.Err()
	return ctx.Err()
}

func TestCancellationTravels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, nodes, served := pair(t, false, nil)
		drive := stuck{mem.New(mem.Config{}), make(chan struct{}), make(chan error, 1)}
		s := closing(t, New(Config{Node: nodes[0].Mesh.Client(nodes[1].ID()), Drive: served.add(drive)}))
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-drive.entered; cancel() }()
		wantErr(t, "verify", s.Verify(ctx, shardtest.Header(1, 0, nil).ID), context.Canceled)
		wantErr(t, "at the drive", <-drive.left, context.Canceled)
	})
}

// What a drive of a node that hangs costs, and what its status says.
func TestUnreachable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, nodes, served := pair(t, false, func(c *mesh.Config) { c.Bound = time.Second })
		s := closing(t, New(Config{Node: nodes[0].Mesh.Client(nodes[1].ID()), Drive: served.add(mem.New(mem.Config{}))}))
		h := shardtest.Header(1, 0, []byte("tide"))
		wantErr(t, "put", s.Put(t.Context(), h, []byte("tide")), nil)
		if st := s.Status(); st.State != shard.StateOnline || st.Shards != 1 {
			t.Fatalf("%+v", st)
		}
		w.Net.Silence("n0", "n1", true)
		w.Net.Silence("n1", "n0", true)
		start := time.Now()
		_, _, err := s.Get(t.Context(), h.ID, 0, -1, nil)
		wantErr(t, "get from a node that hangs", err, hallig.ErrUnavailable)
		if took := time.Since(start); took > 1100*time.Millisecond {
			t.Fatalf("it took %v", took)
		}
		start = time.Now()
		_, _, err = s.Get(t.Context(), h.ID, 0, -1, nil)
		wantErr(t, "get again", err, hallig.ErrUnavailable)
		if took := time.Since(start); took != 0 {
			t.Fatalf("it took %v", took)
		}
		if st := s.Status(); st.State != shard.StateUnreachable || st.Reason == "" {
			t.Fatalf("%+v", st)
		}
		w.Net.Silence("n0", "n1", false)
		w.Net.Silence("n1", "n0", false)
		time.Sleep(5 * time.Second) // of the bubble's clock
		if st := s.Status(); st.State != shard.StateOnline {
			t.Fatalf("%+v", st)
		}
		_, got, err := s.Get(t.Context(), h.ID, 0, -1, nil)
		if wantErr(t, "get", err, nil); string(got) != "tide" {
			t.Fatal(got)
		}
		other := closing(t, New(Config{Node: nodes[0].Mesh.Client(nodes[1].ID()), Drive: hallig.NewID()}))
		wantErr(t, "a drive that is not there", other.Refresh(t.Context()), hallig.ErrUnavailable)
	})
}

// ask calls a handler without a mesh.
func ask(h http.Handler, method, path string, body []byte) error {
	r := httptest.NewRequest(method, path, bytes.NewReader(body))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	answer := w.Result()
	err := mesh.CheckAnswer(hallig.ID{}, answer)
	io.Copy(io.Discard, answer.Body)
	return err
}

// Malformed requests are refused, touch nothing and do not panic.
func TestMalformedRequests(t *testing.T) {
	served := &drives{}
	under := mem.New(mem.Config{})
	drive := served.add(under)
	h := Handler(HandlerConfig{Drives: served.find, PutMemory: 1})
	id := shardtest.Header(1, 0, nil)
	path := Prefix + drive.String() + "/" + formatID(id.ID)
	preface, _ := appendPreface(nil, id)
	whole := func(b []byte) []byte {
		return append(bytes.Clone(b), byte(sum(0, b)>>24), byte(sum(0, b)>>16), byte(sum(0, b)>>8), byte(sum(0, b)))
	}
	other := id
	other.ID.Index++
	mismatch, _ := appendPreface(nil, other)
	for name, c := range map[string]struct {
		method, path string
		body         []byte
		want         error
	}{
		"no drive":            {"GET", Prefix + "zz/status", nil, hallig.ErrInvalid},
		"another drive":       {"GET", Prefix + hallig.NewID().String() + "/status", nil, hallig.ErrUnavailable},
		"no id":               {"PUT", Prefix + drive.String() + "/abc", whole(preface), hallig.ErrInvalid},
		"long id":             {"GET", path + "00", nil, hallig.ErrInvalid},
		"no call":             {"GET", Prefix, nil, hallig.ErrUnsupported},
		"no method":           {"PATCH", path, nil, hallig.ErrUnsupported},
		"empty put":           {"PUT", path, nil, hallig.ErrTooLarge},
		"put of garbage":      {"PUT", path, make([]byte, 100), hallig.ErrInvalid},
		"put, wrong sum":      {"PUT", path, append(bytes.Clone(preface), 0, 0, 0, 0), hallig.ErrInvalid},
		"put, header cut":     {"PUT", path, whole(preface[:len(preface)-3]), hallig.ErrInvalid},
		"put, other id":       {"PUT", path, whole(mismatch), hallig.ErrInvalid},
		"put, wrong length":   {"PUT", path, whole(append(bytes.Clone(preface), 1, 2, 3)), hallig.ErrInvalid},
		"put, oversize":       {"PUT", path, make([]byte, maxPut+1), hallig.ErrTooLarge},
		"get, bad range":      {"GET", path + "?off=x", nil, hallig.ErrInvalid},
		"get, negative range": {"GET", path + "?off=-1", nil, hallig.ErrInvalid},
		"delete, cut":         {"POST", Prefix + drive.String() + "/delete", make([]byte, 27), hallig.ErrTooLarge},
		"delete, wrong sum":   {"POST", Prefix + drive.String() + "/delete", make([]byte, 28), hallig.ErrInvalid},
		"delete, oversize":    {"POST", Prefix + drive.String() + "/delete", make([]byte, (batchIDs+1)*shard.IDSize+4), hallig.ErrTooLarge},
		"walk, bad start":     {"GET", Prefix + drive.String() + "/walk?after=12", nil, hallig.ErrInvalid},
		"scrub, long cursor":  {"POST", Prefix + drive.String() + "/scrub", make([]byte, maxCursor+1), hallig.ErrTooLarge},
		"scrub, bad cursor":   {"POST", Prefix + drive.String() + "/scrub", []byte("odd"), hallig.ErrInvalid},
	} {
		wantErr(t, name, ask(h, c.method, c.path, c.body), c.want)
	}
	if st := under.Status(); st.Shards != 0 {
		t.Fatalf("%+v", st)
	}
	wantErr(t, "a good one", ask(h, "PUT", path, whole(preface)), nil)
}

// slowDrive counts how many puts hold their bodies at a time.
type slowDrive struct {
	shard.Store
	mu       sync.Mutex
	now, max int64
	total    int
}

func (s *slowDrive) Put(ctx context.Context, h shard.Header, body []byte) error {
	s.mu.Lock()
	s.now += int64(len(body))
	s.max = max(s.max, s.now)
	s.total++
	s.mu.Unlock()
	time.Sleep(time.Second) // of the bubble's clock
	s.mu.Lock()
	s.now -= int64(len(body))
	s.mu.Unlock()
	return nil
}

// The memory of concurrent puts is bounded: more of them wait.
func TestPutMemoryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drive := &slowDrive{Store: mem.New(mem.Config{})}
		served := &drives{}
		id := served.add(drive)
		h := Handler(HandlerConfig{Drives: served.find, PutMemory: maxPut})
		var wg sync.WaitGroup
		for n := range 12 {
			wg.Go(func() {
				body := make([]byte, 4<<20)
				header := shardtest.Header(1, n, body)
				b, _ := appendPreface(nil, header)
				b = append(b, body...)
				crc := sum(0, b)
				b = append(b, byte(crc>>24), byte(crc>>16), byte(crc>>8), byte(crc))
				if err := ask(h, "PUT", Prefix+id.String()+"/"+formatID(header.ID), b); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if drive.total != 12 || drive.max > maxPut || drive.max < 8<<20 {
			t.Fatalf("%d puts, at most %d bytes at a time", drive.total, drive.max)
		}
	})
}

func openDisk(t *testing.T) (shard.Store, error) {
	fs := vfstest.NewDisk(vfstest.DiskConfig{})
	if err := disk.Create(fs, "/drive", disk.Identity{Mesh: hallig.NewID(), Node: hallig.NewID(), Drive: hallig.NewID()}); err != nil {
		return nil, err
	}
	d, err := disk.Open(t.Context(), disk.Config{FS: fs, Dir: "/drive", Log: slog.New(slog.DiscardHandler)})
	if err == nil {
		t.Cleanup(func() { d.Close() })
	}
	return d, err
}

// Who stalls in the middle of a body, or does not take an answer, is given up
// after a time, and what was held for it is free again.
func TestStallingCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := meshtest.New(t)
		served := &drives{}
		under := mem.New(mem.Config{})
		drive := served.add(under)
		var nodes []*meshtest.Node
		for range 2 {
			n, _ := w.Add(meshtest.Both)
			nodes = append(nodes, n)
		}
		h := Handler(HandlerConfig{Drives: served.find, PutMemory: 1, GetMemory: 1}) // one largest shard, one window
		for _, n := range nodes {
			n.Prepare(n.Config(), func(m *mesh.Mesh) { m.Handle(Prefix, placement.RoleGateway, h) })
		}
		for _, n := range nodes {
			n.Run()
		}
		time.Sleep(time.Second) // of the bubble's clock
		client := nodes[0].Mesh.Client(nodes[1].ID())
		s := closing(t, New(Config{Node: client, Drive: drive}))
		body := shardtest.Body(1, shard.MaxLength)
		big := shardtest.Header(1, 0, body)
		wantErr(t, "put", s.Put(t.Context(), big, body), nil)

		stalled, writer := io.Pipe()
		defer writer.Close()
		r, _ := http.NewRequestWithContext(mesh.Long(t.Context()), "PUT", Prefix+drive.String()+"/"+formatID(shardtest.Header(2, 0, nil).ID), stalled)
		r.ContentLength = maxPut
		go writer.Write(make([]byte, 300<<10))
		start := time.Now()
		answer, err := client.Do(r)
		if err == nil {
			wantErr(t, "a body that stalls", mesh.CheckAnswer(client.Node(), answer), hallig.ErrInvalid)
		}
		if took := time.Since(start); took < DefaultPatience || took > 2*DefaultPatience {
			t.Fatalf("given up after %v", took)
		}
		next := shardtest.Header(3, 0, body)
		wantErr(t, "the next put", s.Put(t.Context(), next, body), nil)

		r, _ = http.NewRequestWithContext(mesh.Long(t.Context()), "GET", Prefix+drive.String()+"/"+formatID(big.ID), nil)
		answer, err = client.Do(r)
		wantErr(t, "get", err, nil)
		defer answer.Body.Close() // nothing is read: the windows fill up
		start = time.Now()
		_, _, err = s.Get(t.Context(), big.ID, 0, 100, nil)
		wantErr(t, "the next get", err, nil)
		if took := time.Since(start); took > 2*DefaultPatience {
			t.Fatalf("it waited %v for one who does not read", took)
		}
	})
}
