package raft

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/catalog/catalogtest"
	"github.com/hallig-cloud/hallig/seal"
)

// keyring returns an unlocked keyring.
func keyring(t testing.TB, mesh hallig.MeshID) *seal.Keyring {
	t.Helper()
	s, err := seal.NewSecrets(mesh)
	if err != nil {
		t.Fatal(err)
	}
	k := seal.NewKeyring(mesh)
	if err := k.Unlock(s); err != nil {
		t.Fatal(err)
	}
	return k
}

// config returns a Config with n mirrors below a temporary directory.
func config(t testing.TB, n int) Config {
	t.Helper()
	c := Config{Mesh: hallig.NewID(), Node: hallig.NewID(), Log: slog.New(slog.NewTextHandler(testLog{t}, nil))}
	c.Sealer = keyring(t, c.Mesh)
	root := t.TempDir()
	for i := range n {
		drive := filepath.Join(root, fmt.Sprint("drive", i))
		if err := os.Mkdir(drive, 0o700); err != nil {
			t.Fatal(err)
		}
		c.Dirs = append(c.Dirs, filepath.Join(drive, "catalog"))
	}
	return c
}

// testLog shows what is logged when a test fails.
type testLog struct{ t testing.TB }

func (l testLog) Write(b []byte) (n int, err error) {
	defer func() { _ = recover() }() // after the test's end
	l.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

func open(t testing.TB, c Config) *Catalog {
	t.Helper()
	n, err := Open(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

func TestConformance(t *testing.T) {
	catalogtest.Run(t, func(t testing.TB) catalog.Catalog { return open(t, config(t, 1)) })
}

func TestConformanceThreeMirrors(t *testing.T) {
	catalogtest.Run(t, func(t testing.TB) catalog.Catalog { return open(t, config(t, 3)) })
}

func TestConformanceThreePartitions(t *testing.T) {
	catalogtest.Run(t, func(t testing.TB) catalog.Catalog {
		c := config(t, 1)
		c.Partitions = 3
		return open(t, c)
	})
}
