package node

import (
	"context"

	"github.com/hallig-cloud/hallig/admin"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/catalog/mem"
)

// openCatalog is the catalog with what ends it.
type openCatalog struct {
	catalog.Catalog
	closer func() error
}

// Close ends the catalog.
func (c *openCatalog) Close() error { return c.closer() }

// openCatalog opens the catalog on its mirrors.
func (n *Node) openCatalog(ctx context.Context) (*openCatalog, error) {
	c := mem.New(mem.Config{})
	return &openCatalog{Catalog: c, closer: func() error { return nil }}, nil
}

// mirrors describes the copies of the catalog.
func (n *Node) mirrors() []admin.Mirror { return nil }
