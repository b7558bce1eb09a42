package s3

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// readCompatibility returns the operations of docs/s3-compatibility.md and the
// state that it gives each.
func readCompatibility(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../docs/s3-compatibility.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := make(map[string]string)
	for _, m := range regexp.MustCompile("(?m)^\\| `([A-Za-z0-9]+)` \\| ([a-z]+) \\|").FindAllStringSubmatch(string(text), -1) {
		if rows[m[1]] != "" {
			t.Errorf("%s stands twice in the table", m[1])
		}
		rows[m[1]] = m[2]
	}
	return rows
}

// The document lists exactly what the routing table has, and says of an
// operation that it is answered as unused or refused only if its handler is
// one of those that do nothing else.
func TestCompatibilityTable(t *testing.T) {
	rows := readCompatibility(t)
	routed := make(map[string]bool)
	for _, op := range operations() {
		routed[op.name] = true
		switch state := rows[op.name]; state {
		case "":
			t.Errorf("docs/s3-compatibility.md lacks %s", op.name)
		case "yes", "partly", "unused", "no":
		default:
			t.Errorf("%s: unknown state %q", op.name, state)
		}
	}
	for name, state := range rows {
		if !routed[name] && state != "no" {
			t.Errorf("docs/s3-compatibility.md says %q of %s, which is not routed", state, name)
		}
	}
	unused := make(map[string]bool)
	for _, op := range unusedRows() {
		unused[op.name] = true
	}
	for name, state := range rows {
		if (state == "unused") != unused[name] {
			t.Errorf("%s: the table says %q, the routes say unused=%v", name, state, unused[name])
		}
	}
}

// No two rows take the same request, and each has what a row needs.
func TestRoutingTable(t *testing.T) {
	seen := make(map[string]string)
	for _, op := range operations() {
		sel := slices.Sorted(slices.Values(op.query))
		id := op.method + " " + op.scope.String() + " " + strings.Join(sel, "&") + " " + op.header
		if other, dup := seen[id]; dup {
			t.Errorf("%s and %s are selected alike: %s", op.name, other, id)
		}
		seen[id] = op.name
		if op.handle == nil {
			t.Errorf("%s has no handler", op.name)
		}
		if op.action != "" && !strings.HasPrefix(op.action, "s3:") {
			t.Errorf("%s: action %q", op.name, op.action)
		}
	}
}
