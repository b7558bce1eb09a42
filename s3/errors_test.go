package s3

import (
	"fmt"
	"testing"

	"github.com/hallig-cloud/hallig"
)

// TestLostIsNotAbsent: an object whose shards cannot be found exists, and the
// answer must not say otherwise; a client would take it for deleted.
func TestLostIsNotAbsent(t *testing.T) {
	for _, c := range []struct {
		err  error
		code string
	}{
		{fmt.Errorf("read: %w: %w", hallig.ErrLost, hallig.ErrNotFound), "InternalError"},
		{fmt.Errorf("read: %w: %w", hallig.ErrNotFound, hallig.ErrCorrupt), "InternalError"},
		{fmt.Errorf("read: %w: %w", hallig.ErrNotFound, hallig.ErrUnavailable), "ServiceUnavailable"},
		{fmt.Errorf("head: %w", hallig.ErrNotFound), "NoSuchKey"},
	} {
		if got := fromError(c.err).Code; got != c.code {
			t.Errorf("%v: %s, want %s", c.err, got, c.code)
		}
	}
}
