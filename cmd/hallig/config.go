package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/hallig-cloud/hallig"
)

// errUsage marks errors of the caller's own making that kong cannot see.
var errUsage = errors.New("usage")

var errNotFound = hallig.ErrNotFound

// configFlag names a configuration file. Unlike kong.ConfigFlag, a file that
// cannot be read is an error.
type configFlag string

// BeforeResolve reads the file before flags take their values.
func (configFlag) BeforeResolve(app *kong.Kong, ctx *kong.Context, trace *kong.Path) error {
	path := string(ctx.FlagValue(trace.Flag).(configFlag)) //nolint:errcheck // it is this type
	if path == "" {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("configuration file: %w", err)
	}
	defer f.Close()
	resolver, err := loadConfig(f)
	if err != nil {
		return fmt.Errorf("configuration file %s: %w", path, err)
	}
	if err := resolver.Validate(app.Model); err != nil {
		return fmt.Errorf("configuration file %s: %w", path, err)
	}
	ctx.AddResolver(resolver)
	return nil
}

// config is a configuration file: one JSON object of flags by their names.
// Names may be written with - or _. A name that no command has is an error.
type config map[string]any

// loadConfig reads a configuration file.
func loadConfig(r io.Reader) (kong.Resolver, error) {
	d := json.NewDecoder(r)
	d.UseNumber()
	var raw map[string]any
	if err := d.Decode(&raw); err != nil {
		return nil, fmt.Errorf("not a JSON object: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("not a JSON object: there is more behind it")
	}
	c := config{}
	for name, v := range raw {
		c[strings.ReplaceAll(name, "_", "-")] = v
	}
	return c, nil
}

// Validate implements kong.Resolver.
func (c config) Validate(app *kong.Application) error {
	known := map[string]bool{}
	var walk func(n *kong.Node)
	walk = func(n *kong.Node) {
		for _, f := range n.Flags {
			known[f.Name] = true
		}
		for _, child := range n.Children {
			walk(child)
		}
	}
	walk(app.Node)
	for name := range c {
		if !known[name] {
			return fmt.Errorf("%q is no flag of any command%s", name, meant(name, known))
		}
	}
	return nil
}

// reserved are beginnings of variables that are not hallig's own.
var reserved = []string{"HALLIG_TEST_", "HALLIG_CI_"}

// checkEnvironment refuses HALLIG_ variables that no command knows: a setting
// that is mistyped would otherwise silently not hold.
func checkEnvironment(app *kong.Application, environ []string) error {
	known := map[string]bool{}
	var walk func(n *kong.Node)
	walk = func(n *kong.Node) {
		for _, f := range n.Flags {
			for _, name := range f.Envs {
				known[name] = true
			}
		}
		for _, child := range n.Children {
			walk(child)
		}
	}
	walk(app.Node)
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		if value == "" || !strings.HasPrefix(name, "HALLIG_") || known[name] || slices.ContainsFunc(reserved, func(p string) bool { return strings.HasPrefix(name, p) }) {
			continue
		}
		return fmt.Errorf("the environment variable %s is no setting of any command%s; unset it", name, meant(name, known))
	}
	return nil
}

// meant suggests the known name that is most like a mistyped one.
func meant(name string, known map[string]bool) string {
	best, least := "", len(name)/3+2
	for _, k := range slices.Sorted(maps.Keys(known)) {
		if d := distance(name, k); d < least {
			best, least = k, d
		}
	}
	if best == "" {
		return ""
	}
	return ", did you mean " + best + "?"
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// Resolve implements kong.Resolver.
func (c config) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	v, ok := c[flag.Name]
	if !ok {
		return nil, nil
	}
	for _, name := range flag.Envs {
		if _, set := os.LookupEnv(name); set {
			return nil, nil // the environment beats the file
		}
	}
	switch v := v.(type) {
	case []any:
		words := make([]string, len(v))
		for i, w := range v {
			words[i] = fmt.Sprint(w)
		}
		return kong.JoinEscaped(words, ','), nil
	case json.Number:
		return v.String(), nil
	}
	return v, nil
}
