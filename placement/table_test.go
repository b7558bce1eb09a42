package placement

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/hallig-cloud/hallig"
)

// newRand returns a source whose seed is logged; set the constant to replay.
func newRand(t *testing.T) *rand.Rand {
	const replay = 0
	seed := uint64(replay)
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 1))
}

// randomTopology has up to 5 providers with up to 4 nodes of up to 6 drives,
// and weights that differ by up to 4.
func randomTopology(r *rand.Rand) *Topology {
	t := &Topology{Revision: r.Uint64()}
	for p := range 1 + r.IntN(5) {
		for n := range 1 + r.IntN(4) {
			for d := range 1 + r.IntN(6) {
				t.Drives = append(t.Drives, Drive{
					ID: testID(r.IntN(256), p+1, n, d), Node: testID(p+1, n, 255),
					Provider: fmt.Sprint("p", p), Site: fmt.Sprint("s", n%2), Weight: (1 + r.Int64N(4)) << 40, State: DriveActive,
				})
			}
		}
	}
	return t
}

func places(p *Pool) map[hallig.DriveID]int {
	out := map[hallig.DriveID]int{}
	for _, row := range p.Groups {
		for _, id := range row {
			out[id]++
		}
	}
	return out
}

// checkRows sees to it that rows are full of distinct active drives within the caps.
func checkRows(t *testing.T, top *Topology, p *Pool) {
	t.Helper()
	for g, row := range p.Groups {
		sum := newTally(p.Caps)
		seen := map[hallig.DriveID]bool{}
		for i, id := range row {
			d, ok := top.Drive(id)
			if !ok || d.State != DriveActive || seen[id] {
				t.Fatalf("%v: group %d, place %d: drive %s (known %v, again %v)", p.Scheme, g, i, id, ok, seen[id])
			}
			if !sum.fits(domainsOf(d)) {
				t.Fatalf("%v: group %d breaks the caps %+v", p.Scheme, g, p.Caps)
			}
			seen[id] = true
			sum.add(domainsOf(d), 1)
		}
	}
}

// imbalance is the greatest distance of a drive's places from its quota, as a
// fraction of the quota.
func imbalance(top *Topology, p *Pool) float64 {
	active, have, most := top.Active(), places(p), 0.0
	for i, q := range quotas(active, p.Caps, p.Scheme.Width(), len(p.Groups)) {
		most = max(most, math.Abs(float64(have[active[i].ID]-q))/float64(max(1, q)))
	}
	return most
}

// TestTable: for random topologies every policy that can be kept gives a table
// that keeps it, within the caps, balanced by weight.
func TestTable(t *testing.T) {
	r := newRand(t)
	policies := []hallig.Survive{"drive", "2 drives", "node", "site", "provider", "provider+drive", "provider+node", "2 providers"}
	made := 0
	for range 25 {
		top := randomTopology(r)
		for _, s := range policies {
			for _, class := range []Class{Small, Large} {
				p, err := NewPool(hallig.PoolID(r.Uint32()), top, s, class, nil)
				if err != nil {
					continue
				}
				made++
				if err := p.Check(); err != nil {
					t.Fatal(err)
				}
				checkRows(t, top, p)
				if !p.Survives(top, s) {
					t.Fatalf("%d drives: %v does not survive %q", len(top.Drives), p.Scheme, s)
				}
				if x := imbalance(top, p); x > 0.05 {
					t.Errorf("%d drives, %v, %q: a drive is %.0f%% off its share", len(top.Drives), p.Scheme, s, 100*x)
				}
			}
		}
	}
	if made < 100 {
		t.Fatalf("only %d pools were made: the test tests nothing", made)
	}
}

// TestBalanceByWeight: drives of twice the weight hold twice the shards, where
// the width leaves a choice.
func TestBalanceByWeight(t *testing.T) {
	top := grid(1, 1, 16)
	for i := range 8 {
		top.Drives[i].Weight *= 2
	}
	p, err := NewPoolScheme(1, top, Scheme{4, 2}, Large, nil)
	if err != nil {
		t.Fatal(err)
	}
	have := places(p)
	for i, d := range top.Drives {
		share := float64(have[d.ID]) / float64(6*len(p.Groups))
		want := 1.0 / 24
		if i < 8 {
			want = 2.0 / 24
		}
		if math.Abs(share-want) > want*0.03 {
			t.Errorf("drive %d holds %.4f, want %.4f", i, share, want)
		}
	}
}

// moves counts the places that changed, as a fraction.
func moves(a, b *Pool) float64 {
	n := 0
	for g := range a.Groups {
		for i := range a.Groups[g] {
			if a.Groups[g][i] != b.Groups[g][i] {
				n++
			}
		}
	}
	return float64(n) / float64(len(a.Groups)*a.Scheme.Width())
}

// TestFewMoves: a change of the topology moves little more than the share of
// the drives that came or went.
func TestFewMoves(t *testing.T) {
	scheme := Scheme{4, 2}
	top := grid(1, 1, 12)
	p, err := NewPoolScheme(1, top, scheme, Large, nil)
	if err != nil {
		t.Fatal(err)
	}
	grown := grid(1, 1, 13)
	lost := grid(1, 1, 12)
	lost.Drives[5].State = DriveLost
	same := grid(1, 1, 12)
	for name, c := range map[string]struct {
		top  *Topology
		most float64
	}{
		"a 13th drive": {grown, 1.0/13 + 0.002},
		"one lost":     {lost, 1.0/12 + 0.002},
		"nothing new":  {same, 0},
	} {
		next, err := NewPoolScheme(1, c.top, scheme, Large, p)
		if err != nil {
			t.Fatal(err)
		}
		checkRows(t, c.top, next)
		if x := imbalance(c.top, next); x > 0.05 {
			t.Errorf("%s: %.0f%% off balance", name, 100*x)
		}
		if f := moves(p, next); f > c.most {
			t.Errorf("%s: %.4f of the places moved, want at most %.4f", name, f, c.most)
		}
	}
	// Negative control: without the old table far more moves.
	fresh, err := NewPoolScheme(2, grown, scheme, Large, nil)
	if err != nil {
		t.Fatal(err)
	}
	fresh.Groups = fresh.Groups[:len(p.Groups)]
	if f := moves(p, fresh); f < 0.3 {
		t.Errorf("a fresh table moved only %.4f: the test tests nothing", f)
	}
}

// TestSubstitutes: what a lost drive held goes to others in proportion, within
// the caps, everything else stays; and comes back when the drive does.
func TestSubstitutes(t *testing.T) {
	top := grid(3, 2, 3)
	p, err := NewPool(7, top, hallig.SurviveProviderDrive, Large, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, state := range []DriveState{DriveLost, DriveDraining} {
		after := grid(3, 2, 3)
		gone := after.Drives[4].ID
		after.Drives[4].State = state
		took := map[hallig.DriveID]int{}
		for g, row := range p.Groups {
			now := p.Drives(after, g)
			sum := newTally(p.Caps)
			for i, id := range now {
				if id.IsZero() {
					t.Fatalf("group %d: no substitute though there are spare drives", g)
				}
				if row[i] == gone {
					took[id]++
					if h := p.Holders(after, g, i); (state == DriveDraining) != slices.Contains(h, gone) || h[0] != id {
						t.Fatalf("%s: holders %v", state, h)
					}
				} else if id != row[i] {
					t.Fatalf("group %d: place %d moved for no reason", g, i)
				}
				d, _ := after.Drive(id)
				if !sum.fits(domainsOf(d)) {
					t.Fatalf("group %d: substitute breaks the caps", g)
				}
				sum.add(domainsOf(d), 1)
			}
			if slices.Contains(now, gone) {
				t.Fatalf("group %d still has the drive", g)
			}
		}
		if len(took) != 2 { // the caps leave the two other drives of its node
			t.Errorf("%s: substitutes fell on %d drives, want 2", state, len(took))
		}
		if !p.Survives(after, hallig.SurviveProviderDrive) {
			t.Error("the promise does not hold after the repair")
		}
	}
	for g, row := range p.Groups {
		if !slices.Equal(row, p.Drives(top, g)) {
			t.Fatal("without a loss the table stands")
		}
	}
}

// TestNoSubstitute: with as many drives as shards a lost one leaves a hole, and
// the pool no longer fits.
func TestNoSubstitute(t *testing.T) {
	top := grid(1, 1, 4)
	p, err := NewPool(1, top, hallig.SurviveTwoDrives, Large, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !p.Fits(top) {
		t.Fatal("a fresh pool fits")
	}
	after := grid(1, 1, 4)
	after.Drives[0].State = DriveLost
	holes := 0
	for _, id := range p.Drives(after, 3) {
		if id.IsZero() {
			holes++
		}
	}
	if holes != 1 || p.Fits(after) {
		t.Fatalf("%d holes, fits %v", holes, p.Fits(after))
	}
	if h := p.Health(after, nil); h.Degraded != h.Groups || h.Spare != 1 {
		t.Fatalf("health %+v", h)
	}
	if p.Survives(after, hallig.SurviveTwoDrives) || !p.Survives(after, hallig.SurviveDrive) {
		t.Fatal("one drive gone of 2+2: one more may go, two may not")
	}
	h := p.Health(top, func(id hallig.DriveID) bool { return id == top.Drives[1].ID || id == top.Drives[2].ID })
	if h.Bare != h.Groups || h.Spare != 0 {
		t.Fatalf("health %+v", h)
	}
}

// TestGroup is a known answer: the hash must never change, and it spreads.
func TestGroup(t *testing.T) {
	p := &Pool{Groups: make([][]hallig.DriveID, 100)}
	if g := p.Group(testID(1, 2, 3), 4); g != 58 {
		t.Errorf("group %d: the hash changed, and every stored stripe is lost", g)
	}
	r := newRand(t)
	n := make([]int, 100)
	for range 100_000 {
		var id hallig.ID
		for i := range id {
			id[i] = byte(r.Uint32())
		}
		n[p.Group(id, r.Uint32N(3))]++
	}
	if least, most := slices.Min(n), slices.Max(n); least < 850 || most > 1150 {
		t.Errorf("groups get between %d and %d of 1000", least, most)
	}
}

func TestAckOf(t *testing.T) {
	p, err := NewPool(1, grid(1, 1, 6), hallig.SurviveTwoDrives, Large, nil) // 4+2
	if err != nil {
		t.Fatal(err)
	}
	for left, want := range map[int]struct {
		need       int
		kept, fail bool
	}{6: {6, true, false}, 5: {5, false, false}, 4: {4, false, false}, 3: {0, false, true}} {
		need, kept, err := p.AckOf(left)
		if need != want.need || kept != want.kept || (err != nil) != want.fail {
			t.Errorf("%d left: %d %v %v", left, need, kept, err)
		}
	}
}

// TestWideScheme: 70+30 over 120 drives.
func TestWideScheme(t *testing.T) {
	top := grid(4, 5, 6)
	p, err := NewPoolScheme(1, top, Scheme{70, 30}, Large, nil)
	if err != nil {
		t.Fatal(err)
	}
	checkRows(t, top, p)
	if p.Ack() != 100 || p.StripeSize() != 70*64<<10 {
		t.Fatalf("ack %d, stripe %d", p.Ack(), p.StripeSize())
	}
	if x := imbalance(top, p); x > 0.05 {
		t.Errorf("%.0f%% off balance", 100*x)
	}
}

// FuzzDrives: no sequence of losses panics, names a drive twice, or uses a drive
// that is not active.
func FuzzDrives(f *testing.F) {
	f.Add(uint64(1), []byte{1, 2, 3})
	f.Add(uint64(99), []byte{0, 0, 130, 7})
	f.Fuzz(func(t *testing.T, seed uint64, events []byte) {
		r := rand.New(rand.NewPCG(seed, 2))
		top := randomTopology(r)
		p, err := NewPool(1, top, Default(top), Large, nil)
		if err != nil {
			t.Skip()
		}
		for _, e := range events[:min(len(events), 30)] {
			i := int(e&0x7f) % len(top.Drives)
			top.Drives[i].State = DriveLost
			if e&0x80 != 0 {
				top.Drives[i].State = DriveDraining
			}
			g := i % len(p.Groups)
			seen := map[hallig.DriveID]bool{}
			for _, id := range p.Drives(top, g) {
				if id.IsZero() {
					continue
				}
				if d, _ := top.Drive(id); d.State != DriveActive || seen[id] {
					t.Fatalf("drive %s, state %s, again %v", id, d.State, seen[id])
				}
				seen[id] = true
			}
			if next, err := NewPool(2, top, hallig.SurviveDrive, Large, p); err == nil {
				checkRows(t, top, next)
			}
		}
	})
}
