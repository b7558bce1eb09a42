package floor

import (
	"context"
	"errors"
	"testing"
	"time"
)

// BenchmarkFloor is the limit of this machine, work by work.
func BenchmarkFloor(b *testing.B) {
	for _, w := range Works() {
		b.Run(string(w.Name), func(b *testing.B) {
			do, stop, err := w.Start(b.TempDir())
			if err != nil {
				b.Fatal(err)
			}
			defer stop()
			b.SetBytes(w.Bytes)
			for b.Loop() {
				if err := do(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestEveryWorkIsMeasured(t *testing.T) {
	seen := map[Name]bool{}
	for _, w := range Works() {
		c, err := Measure(t.Context(), w, t.TempDir(), time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		if c.Name != w.Name || c.Clock <= 0 || (c.Unit == "MiB") != (w.Bytes > 0) || seen[w.Name] {
			t.Errorf("%s: got %+v", w.Name, c)
		}
		seen[w.Name] = true
	}
}

func TestMeasureEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, w := range Works() {
		if _, err := Measure(ctx, w, t.TempDir(), time.Hour); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v", w.Name, err)
		}
	}
}

func TestMeasureSaysWhatFailed(t *testing.T) {
	gone := t.TempDir() + "/gone"
	for _, w := range Works() {
		if w.Name != Write && w.Name != Read && w.Name != FDataSync {
			continue
		}
		if _, err := Measure(t.Context(), w, gone, time.Millisecond); err == nil {
			t.Errorf("%s in a directory that is not there: no error", w.Name)
		}
	}
}
