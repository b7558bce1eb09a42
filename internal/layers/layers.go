// Package layers checks the module's imports against its layers: arrows point
// down only. Its test is the check; nothing else imports it.
//
// From the top:
//
//	cmd/hallig   flags and subcommands
//	node         the only wiring
//	doors        s3, console, admin (never each other); bench
//	core         objects, upkeep, access, ledger
//	stores       shard/{disk,remote,mem}, catalog/{raft,mem}, seal/keyfile
//	ground       vfs, mesh
//	pure         placement, erasure, seal, shard, catalog: no I/O
//	words        the root package: the standard library only
package layers

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Module is the module's path.
const Module = "github.com/hallig-cloud/hallig"

// A Layer is a height; a package imports packages of lower layers, and of its
// own layer as same says.
type Layer int

// The layers, lowest first.
const (
	Words Layer = iota
	Pure
	Ground
	Stores
	Core
	Doors
	Wiring
	Command
)

// A rule places the packages under a path (relative to the module) in a layer.
type rule struct {
	under string
	layer Layer
}

// rules are tried in order; the longest paths stand first.
func rules() []rule {
	return []rule{
		{"cmd", Command},
		{"node", Wiring},
		{"s3", Doors}, {"console", Doors}, {"admin", Doors}, {"bench", Doors},
		{"objects", Core}, {"upkeep", Core}, {"access", Core}, {"ledger", Core},
		{"shard/disk", Stores}, {"shard/remote", Stores}, {"shard/mem", Stores},
		{"catalog/raft", Stores}, {"catalog/mem", Stores}, {"seal/keyfile", Stores},
		{"vfs", Ground}, {"mesh", Ground},
		{"placement", Pure}, {"erasure", Pure}, {"seal", Pure}, {"shard", Pure}, {"catalog", Pure},
	}
}

// engines maps an engine's import path to the packages (and what lies under
// them) that wrap it: nowhere else may its types stand in an exported
// declaration.
func engines() map[string][]string {
	return map[string][]string{
		"github.com/hashicorp/raft":           {"catalog/raft"},
		"github.com/cockroachdb/pebble":       {"catalog/raft", "shard/disk", "vfs/pebblefs"},
		"github.com/klauspost/reedsolomon":    {"erasure"},
		"github.com/tink-crypto":              {"seal"},
		"github.com/cloudflare/circl":         {"seal"},
		"filippo.io/age":                      {"seal"},
		"github.com/zeebo/blake3":             {},
		"github.com/minio/crc64nvme":          {},
		"github.com/prometheus":               {},
		"github.com/alecthomas/kong":          {"cmd"},
		"github.com/schollz/progressbar":      {"cmd"},
		"github.com/anishathalye/porcupine":   {},
		"github.com/fxamacker/cbor":           {},
		"github.com/minio/minio-go":           {},
		"github.com/aws/aws-sdk-go-v2":        {},
		"github.com/rogpeppe/go-internal":     {},
		"github.com/jotaen/kong-completion":   {"cmd"},
		"golang.org/x/crypto/chacha20poly305": {},
	}
}

// within reports whether pkg is dir or lies under it.
func within(pkg, dir string) bool { return pkg == dir || strings.HasPrefix(pkg, dir+"/") }

// place returns a package's layer and the path that placed it, its family. ok
// is false for a package that no rule knows.
func place(pkg string) (layer Layer, family string, ok bool) {
	if pkg == "" {
		return Words, "", true
	}
	best := rule{}
	for _, r := range rules() {
		if within(pkg, r.under) && len(r.under) > len(best.under) {
			best = r
		}
	}
	return best.layer, best.under, best.under != ""
}

// testOnly reports whether only tests may import the package: conformance
// suites and test twins are called …test, end-to-end tests lie under test,
// checks under internal.
func testOnly(pkg string) bool {
	return strings.HasSuffix(path.Base(pkg), "test") || within(pkg, "test") || within(pkg, "internal")
}

// CheckImport returns why the package from (relative to the module, "" is the
// root) must not import the path imported, or "". Test files are not checked
// with it: they may use what they like.
func CheckImport(from, imported string) string {
	if from != "" && testOnly(from) {
		return ""
	}
	layer, family, ok := place(from)
	if !ok {
		return fmt.Sprintf("package %s is in no layer: add it to internal/layers", from)
	}
	to, own := strings.CutPrefix(imported, Module)
	to = strings.TrimPrefix(to, "/")
	if !own {
		return checkForeign(from, layer, imported)
	}
	if testOnly(to) {
		return fmt.Sprintf("%s imports %s, which is for tests", from, to)
	}
	toLayer, toFamily, ok := place(to)
	switch {
	case !ok:
		return fmt.Sprintf("%s imports %s, which is in no layer", from, to)
	case toLayer > layer:
		return fmt.Sprintf("%s imports %s, which lies above it", from, to)
	case toLayer == layer && (layer == Doors || layer == Stores) && family != toFamily:
		return fmt.Sprintf("%s imports %s: packages of that layer never import each other", from, to)
	}
	return ""
}

func checkForeign(from string, layer Layer, imported string) string {
	standard := !strings.Contains(strings.Split(imported, "/")[0], ".")
	switch {
	case layer == Words && !standard:
		return fmt.Sprintf("the root package imports %s: the standard library only", imported)
	case layer <= Pure && slices.Contains([]string{"os", "os/exec", "net", "net/http", "syscall", "log"}, imported):
		return fmt.Sprintf("%s is pure and imports %s", from, imported)
	}
	return ""
}

// CheckModule walks the module at root and returns every violation, sorted.
func CheckModule(root string) ([]string, error) {
	var found []string
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := d.Name()
		if d.IsDir() {
			if name != root && (strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") || base == "testdata") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(base, ".go") || strings.HasSuffix(base, "_test.go") {
			return nil
		}
		rel, err := filepath.Rel(root, filepath.Dir(name))
		if err != nil {
			return err
		}
		pkg := filepath.ToSlash(rel)
		if pkg == "." {
			pkg = ""
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		found = append(found, CheckFile(pkg, file)...)
		return nil
	})
	slices.Sort(found)
	return slices.Compact(found), err
}

// CheckFile returns the violations of one file of a package.
func CheckFile(pkg string, file *ast.File) []string {
	var found []string
	foreign := map[string]string{} // local name → engine, for engines that this package does not wrap
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue
		}
		if why := CheckImport(pkg, imported); why != "" {
			found = append(found, why)
		}
		for engine, wrappers := range engines() {
			wrapped := slices.ContainsFunc(wrappers, func(w string) bool { return within(pkg, w) })
			if within(imported, engine) && !wrapped && !testOnly(pkg) {
				foreign[localName(spec, imported)] = imported
			}
		}
	}
	if file.Name.Name == "main" || len(foreign) == 0 {
		return found
	}
	for _, decl := range file.Decls {
		for _, part := range exported(decl) {
			ast.Inspect(part, func(n ast.Node) bool {
				sel, ok := n.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				if id, ok := sel.X.(*ast.Ident); ok && foreign[id.Name] != "" {
					found = append(found, fmt.Sprintf("%s exports %s.%s of the engine %s", pkg, id.Name, sel.Sel.Name, foreign[id.Name]))
				}
				return true
			})
		}
	}
	return found
}

// localName is the name by which a file calls an import. The last element of
// the path stands for the package's name; a version element is skipped.
func localName(spec *ast.ImportSpec, imported string) string {
	if spec.Name != nil {
		return spec.Name.Name
	}
	base := path.Base(imported)
	if len(base) > 1 && base[0] == 'v' && strings.Trim(base[1:], "0123456789") == "" {
		base = path.Base(path.Dir(imported))
	}
	return strings.TrimPrefix(base, "go-")
}

// exported returns the parts of a declaration that other packages see.
func exported(decl ast.Decl) []ast.Node {
	switch d := decl.(type) {
	case *ast.FuncDecl:
		if !d.Name.IsExported() || (d.Recv != nil && !exportedReceiver(d.Recv)) {
			return nil
		}
		return []ast.Node{d.Type}
	case *ast.GenDecl:
		var parts []ast.Node
		for _, s := range d.Specs {
			switch s := s.(type) {
			case *ast.TypeSpec:
				if s.Name.IsExported() {
					parts = append(parts, exportedType(s.Type)...)
				}
			case *ast.ValueSpec:
				if s.Type != nil && slices.ContainsFunc(s.Names, (*ast.Ident).IsExported) {
					parts = append(parts, s.Type)
				}
			}
		}
		return parts
	}
	return nil
}

func exportedReceiver(recv *ast.FieldList) bool {
	t := recv.List[0].Type
	if s, ok := t.(*ast.StarExpr); ok {
		t = s.X
	}
	id, ok := t.(*ast.Ident)
	return !ok || id.IsExported()
}

// exportedType leaves out the unexported fields of a struct.
func exportedType(t ast.Expr) []ast.Node {
	s, ok := t.(*ast.StructType)
	if !ok {
		return []ast.Node{t}
	}
	var parts []ast.Node
	for _, f := range s.Fields.List {
		if len(f.Names) == 0 || slices.ContainsFunc(f.Names, (*ast.Ident).IsExported) {
			parts = append(parts, f.Type)
		}
	}
	return parts
}
