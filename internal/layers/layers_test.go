package layers

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const root = "../.."

func TestModuleKeepsItsLayers(t *testing.T) {
	found, err := CheckModule(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, why := range found {
		t.Error(why)
	}
}

// The negative control: a check that cannot fail checks nothing.
func TestViolationsAreSeen(t *testing.T) {
	for _, c := range []struct{ pkg, imports, want string }{
		{"s3", Module + "/admin", "never import each other"},
		{"admin", Module + "/s3/sigv4", "never import each other"},
		{"objects", Module + "/s3", "lies above"},
		{"shard/disk", Module + "/objects", "lies above"},
		{"shard/disk", Module + "/catalog/mem", "never import each other"},
		{"placement", Module + "/vfs", "lies above"},
		{"shard", Module + "/shard/disk", "lies above"},
		{"seal", "os", "is pure"},
		{"", "golang.org/x/sys/unix", "standard library only"},
		{"", Module + "/shard", "lies above"},
		{"node", Module + "/cmd/hallig", "lies above"},
		{"mesh", Module + "/shard/remote", "lies above"},
		{"mesh", Module + "/catalog/raft", "lies above"},
		{"mesh", Module + "/mesh/meshtest", "for tests"},
		{"shard/remote", Module + "/shard/disk", "never import each other"},
		{"placement", Module + "/mesh", "lies above"},
		{"placement", "net", "is pure"},
		{"util", "fmt", "in no layer"},
		{"objects", Module + "/shard/shardtest", "for tests"},
	} {
		if got := CheckImport(c.pkg, c.imports); !strings.Contains(got, c.want) {
			t.Errorf("%q importing %q: got %q, want %q", c.pkg, c.imports, got, c.want)
		}
	}
	for _, c := range []struct{ pkg, imports string }{
		{"s3", Module + "/s3/sigv4"}, {"s3", Module + "/objects"}, {"node", Module + "/s3"},
		{"upkeep", Module + "/objects"}, {"shard/disk", Module + "/vfs/pebblefs"},
		{"shard/remote", Module + "/mesh"}, {"mesh", Module + "/placement"}, {"mesh", Module + "/vfs"},
		{"shard/shardtest", "testing"}, {"seal", Module}, {"cmd/hallig", Module + "/node"},
	} {
		if got := CheckImport(c.pkg, c.imports); got != "" {
			t.Errorf("%q importing %q: %s", c.pkg, c.imports, got)
		}
	}
}

func TestEngineTypesAreSeen(t *testing.T) {
	const src = `package objects
import "github.com/cockroachdb/pebble/v2"
type Store struct { DB *pebble.DB }
type hidden struct { DB *pebble.DB }
type Half struct { db *pebble.DB }
func (h *hidden) Open(*pebble.Options) {}
func Open(o *pebble.Options) {}
func open(o *pebble.Options) {}
`
	file, err := parser.ParseFile(token.NewFileSet(), "x.go", src, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got := CheckFile("objects", file); len(got) != 2 {
		t.Errorf("in objects: got %q, want the two of Store and Open", got)
	}
	if got := CheckFile("shard/disk", file); len(got) != 0 {
		t.Errorf("in the wrapping package: %q", got)
	}
}

// Every direct dependency has a line in docs/decisions saying why.
func TestDependenciesAreDecided(t *testing.T) {
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	var decided strings.Builder
	names, err := filepath.Glob(filepath.Join(root, "docs/decisions/*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		decided.Write(text)
	}
	seen := 0
	for line := range strings.Lines(string(mod)) {
		line = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "require "))
		path, _, ok := strings.Cut(line, " v")
		if !ok || strings.Contains(line, "// indirect") || !strings.Contains(path, ".") {
			continue
		}
		seen++
		if !strings.Contains(decided.String(), "`"+path+"`") {
			t.Errorf("%s is a direct dependency without a line in docs/decisions: say why it, and not another", path)
		}
	}
	if seen < 10 {
		t.Errorf("found only %d direct dependencies in go.mod: the test reads it wrongly", seen)
	}
}
