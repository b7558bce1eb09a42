package mem_test

import (
	"context"
	"errors"
	"testing"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/catalog/mem"
)

func TestPutHeadList(t *testing.T) {
	c := mem.New(mem.Config{})
	defer c.Close()
	ctx, b := context.Background(), hallig.NewID()
	commit := func(epoch uint64, op catalog.Op) catalog.Result {
		t.Helper()
		res, err := c.Commit(ctx, catalog.Request{ID: hallig.NewID(), Bucket: b, Epoch: epoch, Ops: []catalog.Op{op}})
		if err != nil {
			t.Fatal(err)
		}
		return res[0]
	}
	commit(0, catalog.SetBucket{Epoch: 1})
	put := catalog.Put{Version: catalog.Version{Key: "a/b", Size: 3, ETag: "x"}}
	put.If.IfNoneMatch = []string{"*"}
	if r := commit(1, put); r.Err != nil || !r.Version.Null {
		t.Fatal(r)
	}
	if r := commit(1, put); !errors.Is(r.Err, hallig.ErrPrecondition) {
		t.Fatal(r)
	}
	v, err := c.Head(ctx, b, "a/b", catalog.CurrentVersion)
	if err != nil || v.Size != 3 || v.ETag != "x" || !v.Latest {
		t.Fatal(v, err)
	}
	page, err := c.List(ctx, catalog.Query{Bucket: b, Limit: 10, Delimiter: "/"})
	if err != nil || len(page.Items) != 1 || page.Items[0].Prefix != "a/" {
		t.Fatal(page, err)
	}
}
