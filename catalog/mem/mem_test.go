package mem_test

import (
	"testing"

	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/catalog/catalogtest"
	"github.com/hallig-cloud/hallig/catalog/mem"
)

func TestConformance(t *testing.T) {
	catalogtest.Run(t, func(t testing.TB) catalog.Catalog {
		c := mem.New(mem.Config{})
		t.Cleanup(func() { c.Close() })
		return c
	})
}
