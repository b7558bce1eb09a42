// Package test holds the end-to-end tests: the real binary, real processes,
// real clients, real faults.
package test

import (
	"os"
	"testing"

	"github.com/hallig-cloud/hallig/test/harness"
)

func TestMain(m *testing.M) {
	code := m.Run()
	harness.Cleanup()
	os.Exit(code)
}
