package history

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

// put, get and so on make records of key k between two moments.
func put(call, ret int, v string, r Result) Record {
	return rec(call, ret, Op{Kind: Put, Value: v, ETag: "e" + v}, r)
}
func get(call, ret int, r Result) Record { return rec(call, ret, Op{Kind: Get}, r) }
func rec(call, ret int, op Op, r Result) Record {
	op.Key = "k"
	return Record{Op: op, Result: r, Call: time.Duration(call), Return: time.Duration(ret)}
}
func ok(v string) Result { return Result{Outcome: OK, Value: v, ETag: "e" + v} }
func end(o Outcome) Result {
	return Result{Outcome: o}
}

// What cannot be must be found, and what can be must not.
func TestCheck(t *testing.T) {
	for _, c := range []struct {
		name    string
		records []Record
		good    bool
	}{
		{"write then read", []Record{put(1, 2, "a", ok("a")), get(3, 4, ok("a"))}, true},
		{"stale read", []Record{put(1, 2, "a", ok("a")), put(3, 4, "b", ok("b")), get(5, 6, ok("a"))}, false},
		{"the old one while a write runs", []Record{put(1, 2, "a", ok("a")), put(3, 6, "b", ok("b")), get(4, 5, ok("a"))}, true},
		{"back in time while a write runs", []Record{put(1, 2, "a", ok("a")), put(3, 9, "b", ok("b")), get(4, 5, ok("b")), get(6, 7, ok("a"))}, false},
		{"lost write", []Record{put(1, 2, "a", ok("a")), get(3, 4, end(NotFound))}, false},
		{"lost write after a known one", []Record{put(1, 2, "a", ok("a")), put(3, 4, "b", ok("b")), get(5, 6, ok("a")), get(7, 8, ok("a"))}, false},
		{"wrong byte", []Record{put(1, 2, "a", ok("a")), get(3, 4, Result{OK, "x", "ea"})}, false},
		{"wrong etag", []Record{put(1, 2, "a", ok("a")), get(3, 4, Result{OK, "a", "ex"})}, false},
		{"put answers another etag", []Record{put(1, 2, "a", Result{OK, "", "ex"})}, false},
		{"out of nothing", []Record{get(1, 2, ok("a"))}, false},
		{"unknown write seen late", []Record{put(1, 2, "a", end(Unknown)), get(3, 4, end(NotFound)), get(8, 9, ok("a"))}, true},
		{"unknown write never seen", []Record{put(1, 2, "a", end(Unknown)), get(3, 4, end(NotFound))}, true},
		{"unknown write comes and goes", []Record{put(1, 2, "a", end(Unknown)), get(3, 4, ok("a")), get(5, 6, end(NotFound))}, false},
		{"seen before it was sent", []Record{get(1, 2, ok("a")), put(3, 4, "a", end(Unknown))}, false},
		{"a failed write is seen", []Record{put(1, 2, "a", end(Failed)), get(3, 4, ok("a"))}, false},
		{"delete", []Record{put(1, 2, "a", ok("a")), rec(3, 4, Op{Kind: Delete}, end(OK)), get(5, 6, end(NotFound))}, true},
		{"a deleted one comes back", []Record{put(1, 2, "a", ok("a")), rec(3, 4, Op{Kind: Delete}, end(OK)), get(5, 6, ok("a"))}, false},
		{"unknown delete", []Record{put(1, 2, "a", ok("a")), rec(3, 4, Op{Kind: Delete}, end(Unknown)), get(5, 6, ok("a")), get(7, 8, end(NotFound))}, true},
		{"two create if absent", []Record{create(1, 4, "a", ok("a")), create(2, 3, "b", ok("b"))}, false},
		{"one of two creates", []Record{create(1, 4, "a", ok("a")), create(2, 3, "b", end(Refused))}, true},
		{"refused without reason", []Record{create(1, 2, "a", end(Refused))}, false},
		{"refused because of an unknown write", []Record{put(1, 2, "b", end(Unknown)), create(3, 4, "a", end(Refused))}, true},
		{"swap", []Record{put(1, 2, "a", ok("a")), swap(3, 4, "a", "b", ok("b")), get(5, 6, ok("b"))}, true},
		{"two swaps of the same", []Record{put(1, 2, "a", ok("a")), swap(3, 6, "a", "b", ok("b")), swap(4, 5, "a", "c", ok("c"))}, false},
		{"an unknown swap that could not be", []Record{put(1, 2, "a", ok("a")), swap(3, 4, "x", "b", end(Unknown)), get(5, 6, ok("b"))}, false},
		{"swap of nothing", []Record{swap(1, 2, "a", "b", end(NotFound))}, true},
		{"a plain put does not answer 404", []Record{put(1, 2, "a", end(NotFound))}, false},
		{"not modified", []Record{put(1, 2, "a", ok("a")), rec(3, 4, Op{Kind: Get, IfNoneMatch: "ea"}, end(NotModified))}, true},
		{"not modified, but it was", []Record{put(1, 2, "a", ok("a")), put(3, 4, "b", ok("b")), rec(5, 6, Op{Kind: Get, IfNoneMatch: "ea"}, end(NotModified))}, false},
		{"read if match refused", []Record{put(1, 2, "a", ok("a")), rec(3, 4, Op{Kind: Get, IfMatch: "ea"}, end(Refused))}, false},
		{"complete", []Record{rec(1, 2, Op{Kind: Complete, Value: "m", ETag: "em"}, ok("m")), rec(3, 4, Op{Kind: Head}, Result{OK, "", "em"})}, true},
		{"a completed one is lost", []Record{rec(1, 2, Op{Kind: Complete, Value: "m", ETag: "em"}, ok("m")), rec(3, 4, Op{Kind: Head}, end(NotFound))}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := Check(c.records, 0)
			if (v.Err() == nil) != c.good {
				t.Errorf("good should be %v: %v", c.good, v.Err())
			}
			if !c.good && (len(v.Violations) != 1 || len(v.Violations[0].Stuck) == 0 || !strings.Contains(v.Err().Error(), `"k"`)) {
				t.Errorf("not explained: %+v", v)
			}
		})
	}
}

func create(call, ret int, v string, r Result) Record {
	return rec(call, ret, Op{Kind: Put, Value: v, ETag: "e" + v, IfNoneMatch: "*"}, r)
}

func swap(call, ret int, old, v string, r Result) Record {
	return rec(call, ret, Op{Kind: Put, Value: v, ETag: "e" + v, IfMatch: "e" + old}, r)
}

// A history that cannot be decided in time is a failure, not a pass.
func TestUndecidedIsAFailure(t *testing.T) {
	var records []Record
	for i := range 60 { // all at once, seen in no possible order until all were tried
		records = append(records, put(1, 1000, fmt.Sprint(i), ok(fmt.Sprint(i))))
	}
	records = append(records, get(2001, 2002, ok("x")))
	v := Check(records, time.Millisecond)
	if v.Err() == nil || len(v.Undecided) != 1 {
		t.Errorf("undecided %d, violations %d", len(v.Undecided), len(v.Violations))
	}
}

// Many unknown writes that nobody saw must not make the check slow.
func TestUnknownWritesArePruned(t *testing.T) {
	var records []Record
	for i := range 500 {
		v := fmt.Sprint(i)
		records = append(records, put(10*i, 10*i+2, "u"+v, end(Unknown)), put(10*i+3, 10*i+4, v, ok(v)), get(10*i+5, 10*i+6, ok(v)))
	}
	if got := len(prune(records)); got != 1000 {
		t.Errorf("%d of 1,500 records are left, 1,000 tell something", got)
	}
	if err := Check(records, 0).Err(); err != nil {
		t.Error(err)
	}
	refused := append(records, rec(6000, 6001, Op{Kind: Put, Value: "z", ETag: "ez", IfMatch: "e499"}, end(Refused)))
	if len(prune(refused)) != len(refused) {
		t.Error("pruned what may explain a refusal")
	}
}

// store is a correct register store, unless told to lie.
type store struct {
	mu     sync.Mutex
	keys   map[string]state
	before map[string]state
	stale  bool // reads answer what was there before
	forget bool // some writes are acknowledged only
}

func (s *store) do(r *rand.Rand, op Op) Result {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.keys[op.Key]
	if !op.Kind.Writes() {
		if s.stale && r.IntN(20) == 0 {
			now = s.before[op.Key]
		}
		switch {
		case !now.present:
			return end(NotFound)
		case op.Kind == Get:
			return Result{OK, now.value, now.etag}
		}
		return Result{OK, "", now.etag}
	}
	if !now.holds(op) {
		return end(Refused)
	}
	answer := Result{OK, "", op.ETag}
	if s.forget && r.IntN(20) == 0 {
		return answer
	}
	s.before[op.Key] = now
	s.keys[op.Key] = state{op.Kind != Delete, op.Value, op.ETag}
	if r.IntN(10) == 0 {
		return end(Unknown)
	}
	return answer
}

// run lets clients work on a store and returns their history.
func run(s *store, seed uint64) []Record {
	s.keys, s.before = map[string]state{}, map[string]state{}
	h := New()
	var wg sync.WaitGroup
	for client := range 4 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(client)))
			for i := range 500 {
				op := Op{Kind: []Kind{Put, Complete, Delete, Get, Get, Head}[r.IntN(6)], Key: fmt.Sprint("k", r.IntN(20))}
				if op.Kind == Put || op.Kind == Complete {
					op.Value = fmt.Sprint(client, "-", i)
					op.ETag = "e" + op.Value
					if r.IntN(4) == 0 {
						op.IfNoneMatch = "*"
					}
				}
				p := h.Begin(client, op)
				p.End(s.do(r, op))
				if i%50 == 0 {
					p := h.Begin(client, Op{Kind: List})
					p.EndList(s.list())
				}
			}
		})
	}
	wg.Wait()
	return h.Records()
}

func (s *store) list() ([]string, map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var keys []string
	shown := map[string]string{}
	for i := range 20 {
		k := fmt.Sprint("k", i)
		keys = append(keys, k)
		if now := s.keys[k]; now.present {
			shown[k] = now.etag
		}
	}
	return keys, shown
}

func TestWholeHistories(t *testing.T) {
	for seed := range uint64(3) {
		if err := Check(run(&store{}, seed), 0).Err(); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
		if Check(run(&store{stale: true}, seed), 0).Err() == nil {
			t.Errorf("seed %d: stale reads were not found", seed)
		}
		if Check(run(&store{forget: true}, seed), 0).Err() == nil {
			t.Errorf("seed %d: lost writes were not found", seed)
		}
	}
}

func TestRecordsAreKept(t *testing.T) {
	h := New()
	h.Begin(1, Op{Kind: Put, Key: "left open", Value: "v", ETag: "e"})
	h.Begin(2, Op{Kind: Get, Key: "b"}).End(ok("x"))
	h.Begin(3, Op{Kind: List}).EndList([]string{"a", "b"}, map[string]string{"b": "eb"})
	want := h.Records()
	if len(want) != 4 || want[3].Result.Outcome != Unknown || want[1].Result.Outcome != NotFound || want[2].Result.ETag != "eb" {
		t.Fatalf("recorded %+v", want)
	}
	var b bytes.Buffer
	if err := Write(&b, want); err != nil {
		t.Fatal(err)
	}
	got, err := Read(&b)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("read back %+v, %v", got, err)
	}
	if _, err := Read(strings.NewReader(`{"client": "x"}`)); err == nil {
		t.Error("nonsense was read")
	}
}
