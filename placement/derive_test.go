package placement

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/hallig-cloud/hallig"
)

// grid is a topology of providers × nodes × drives of equal weight, one site a
// provider.
func grid(providers, nodes, drives int) *Topology {
	t := &Topology{Revision: 1}
	for p := range providers {
		for n := range nodes {
			for d := range drives {
				t.Drives = append(t.Drives, Drive{
					ID: testID(1+p, n, d), Node: testID(1+p, n, 255), Provider: fmt.Sprint("p", p), Site: "s", Weight: 1 << 40, State: DriveActive,
				})
			}
		}
	}
	return t
}

func testID(b ...int) (id hallig.ID) {
	for i, x := range b {
		id[i] = byte(x)
	}
	return id
}

func TestDerive(t *testing.T) {
	for _, c := range []struct {
		p, n, d      int
		survive      hallig.Survive // "": the default, which must be want
		want         hallig.Survive
		small, large string // "": refused
		ack          int    // of the large pool
	}{
		// One node.
		{1, 1, 1, "", "nothing", "1 copy", "1 copy", 1},
		{1, 1, 2, "", "drive", "2 copies", "2 copies", 2},
		{1, 1, 3, "", "drive", "2 copies", "2 copies", 2},
		{1, 1, 4, "", "2 drives", "3 copies", "2+2", 4},
		{1, 1, 5, "", "2 drives", "3 copies", "3+2", 5},
		{1, 1, 6, "", "2 drives", "3 copies", "4+2", 6},
		{1, 1, 10, "", "2 drives", "3 copies", "8+2", 10},
		{1, 1, 40, "", "2 drives", "3 copies", "10+2", 12},
		{1, 1, 4, "drive", "", "2 copies", "3+1", 4},
		{1, 1, 4, "nothing", "", "1 copy", "1 copy", 1},
		{1, 1, 1, "drive", "", "", "", 0},
		{1, 1, 2, "2 drives", "", "", "", 0},
		{1, 1, 8, "node", "", "", "", 0},
		{1, 1, 8, "provider", "", "", "", 0},
		// Nodes of one provider.
		{1, 2, 1, "node", "", "2 copies", "2 copies", 2},
		{1, 3, 4, "node", "", "2 copies", "4+2", 6},
		{1, 4, 1, "node", "", "2 copies", "3+1", 4},
		// Providers × nodes: durability.md and the table.
		{3, 1, 1, "", "provider+drive", "3 copies", "3 copies", 3},
		{3, 1, 2, "", "provider+drive", "3 copies", "3+3", 6},
		{3, 1, 5, "", "provider+drive", "3 copies", "3+3", 6},
		{3, 2, 1, "", "provider+drive", "3 copies", "3+3", 6},
		{4, 1, 1, "", "provider+drive", "3 copies", "2+2", 4},
		{4, 2, 1, "", "provider+drive", "3 copies", "4+4", 7},
		{5, 1, 1, "", "provider+drive", "3 copies", "3+2", 5},
		{5, 2, 1, "", "provider+drive", "3 copies", "6+4", 9},
		{3, 2, 1, "provider", "", "2 copies", "4+2", 6},
		{3, 2, 1, "provider+node", "", "3 copies", "3+3", 6},
		{4, 2, 1, "2 providers", "", "3 copies", "4+4", 8},
		{2, 1, 1, "provider", "", "2 copies", "2 copies", 2},
		{2, 2, 1, "provider", "", "2 copies", "2+2", 4},
		{2, 1, 2, "provider+drive", "", "4 copies", "4 copies", 4},
		{2, 1, 1, "provider+drive", "", "", "", 0},
		{2, 4, 4, "2 providers", "", "", "", 0},
		{2, 1, 4, "provider+node", "", "", "", 0},
	} {
		name := fmt.Sprintf("%dx%dx%d %s", c.p, c.n, c.d, c.survive)
		top := grid(c.p, c.n, c.d)
		s := c.survive
		if s == "" {
			if s = Default(top); s != c.want {
				t.Errorf("%s: default promise %q, want %q", name, s, c.want)
			}
		}
		for class, want := range map[Class]string{Small: c.small, Large: c.large} {
			p, err := NewPool(1, top, s, class, nil)
			var refusal *Refusal
			if want == "" {
				if !errors.As(err, &refusal) || !errors.Is(err, hallig.ErrInvalid) || !strings.Contains(err.Error(), "leaves") {
					t.Errorf("%s %s: want a refusal with the arithmetic, got %v", name, class, err)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s %s: %v", name, class, err)
				continue
			}
			if got := p.Scheme.String(); got != want {
				t.Errorf("%s %s: %s, want %s", name, class, got, want)
			}
			if class == Large && p.Ack() != c.ack {
				t.Errorf("%s: ack at %d, want %d", name, p.Ack(), c.ack)
			}
			if !p.Survives(top, s) {
				t.Errorf("%s %s: the pool does not survive what it promises", name, class)
			}
		}
	}
}
