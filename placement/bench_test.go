package placement

import (
	"testing"

	"github.com/hallig-cloud/hallig"
)

func BenchmarkDrives(b *testing.B) {
	top := grid(3, 2, 4)
	p, err := NewPool(1, top, hallig.SurviveProviderDrive, Large, nil)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		p.Drives(top, 5)
	}
}

func BenchmarkNewPool(b *testing.B) {
	top := grid(3, 4, 4)
	for b.Loop() {
		if _, err := NewPool(1, top, hallig.SurviveProviderDrive, Large, nil); err != nil {
			b.Fatal(err)
		}
	}
}
