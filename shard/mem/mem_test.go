package mem_test

import (
	"testing"

	"github.com/hallig-cloud/hallig/shard"
	"github.com/hallig-cloud/hallig/shard/mem"
	"github.com/hallig-cloud/hallig/shard/shardtest"
)

func TestConformance(t *testing.T) {
	shardtest.Run(t, func(t *testing.T) shard.Store { return mem.New(mem.Config{}) })
}
