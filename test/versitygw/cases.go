package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// A testCase is one case of the suite.
type testCase struct {
	name string
	// plain runs it as for a gateway without versioning; the suite has such
	// cases beside those for one with it.
	plain bool
}

func (c testCase) String() string { return c.name }

// suiteCases reads the cases of the full flow from the suite's source, in its
// order: the functions that TestFullFlow comes to run.
func suiteCases(ctx context.Context) ([]testCase, error) {
	get := exec.CommandContext(ctx, "go", "mod", "download", "-json", suiteModule+"@"+suiteVersion)
	out, err := get.Output()
	if err != nil {
		return nil, fmt.Errorf("download the suite's source: %w", err)
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(out, &module); err != nil {
		return nil, fmt.Errorf("download the suite's source: %w", err)
	}
	path := filepath.Join(module.Dir, "tests", "integration", "group-tests.go")
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		return nil, err
	}
	w := walker{groups: make(map[string]*ast.FuncDecl), seen: make(map[string]bool)}
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok {
			w.groups[f.Name.Name] = f
		}
	}
	w.group("TestFullFlow", false)
	if len(w.cases) < 500 {
		return nil, fmt.Errorf("found only %d cases in %s", len(w.cases), path)
	}
	return w.cases, nil
}

type walker struct {
	groups map[string]*ast.FuncDecl
	seen   map[string]bool
	cases  []testCase
}

func (w *walker) group(name string, plain bool) {
	f := w.groups[name]
	if f == nil || w.seen[name] {
		return
	}
	w.seen[name] = true
	// Object lock brings versioning, so that only this tidies up after it.
	w.block(f.Body, plain && name != "TestWORMProtection")
}

func (w *walker) block(b ast.Node, plain bool) {
	ast.Inspect(b, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.IfStmt:
			without := withoutVersioning(n.Cond)
			w.block(n.Body, plain || without)
			if n.Else != nil {
				w.block(n.Else, plain || !without && withVersioning(n.Cond))
			}
			return false
		case *ast.CallExpr:
			w.call(n, plain)
		}
		return true
	})
}

// call takes ts.Run(Case), ts.Sync(Case) and TestGroup(ts).
func (w *walker) call(c *ast.CallExpr, plain bool) {
	if group, ok := c.Fun.(*ast.Ident); ok {
		w.group(group.Name, plain)
		return
	}
	method, ok := c.Fun.(*ast.SelectorExpr)
	if !ok || method.Sel.Name != "Run" && method.Sel.Name != "Sync" || len(c.Args) != 1 {
		return
	}
	name, ok := c.Args[0].(*ast.Ident)
	if !ok || slices.ContainsFunc(w.cases, func(t testCase) bool { return t.name == name.Name }) {
		return
	}
	w.cases = append(w.cases, testCase{name.Name, plain})
}

// withoutVersioning and withVersioning look for versioningEnabled in a
// condition, negated or not.
func withoutVersioning(cond ast.Expr) (found bool) {
	ast.Inspect(cond, func(n ast.Node) bool {
		u, ok := n.(*ast.UnaryExpr)
		found = found || ok && u.Op == token.NOT && withVersioning(u.X)
		return true
	})
	return found
}

func withVersioning(cond ast.Expr) (found bool) {
	ast.Inspect(cond, func(n ast.Node) bool {
		s, ok := n.(*ast.SelectorExpr)
		found = found || ok && s.Sel.Name == "versioningEnabled"
		return true
	})
	return found
}

// leftOut maps the cases that are not run to why.
type leftOut map[string]string

// readLeftOut reads left-out.txt: lines of a case, a tab or spaces, and the
// reason; # begins a comment.
func readLeftOut() (leftOut, error) {
	f, err := os.Open(filepath.Join(here(), "left-out.txt"))
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read from
	left := make(leftOut)
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		name, reason, _ := strings.Cut(line, " ")
		if reason = strings.TrimSpace(reason); reason == "" {
			return nil, fmt.Errorf("left-out.txt: %s has no reason", name)
		}
		left[name] = reason
	}
	return left, lines.Err()
}

// check refuses names that the suite does not have.
func (l leftOut) check(cases []testCase) error {
	for name := range l {
		if !slices.ContainsFunc(cases, func(c testCase) bool { return c.name == name }) {
			return fmt.Errorf("left-out.txt: the suite has no case %s", name)
		}
	}
	return nil
}
