package main

import "testing"

func TestSizes(t *testing.T) {
	for s, want := range map[string]int64{"0": 0, "4096": 4096, "4KiB": 4096, "4k": 4096, "64MiB": 64 << 20, "5GiB": 5 << 30, "12b": 12} {
		if got, err := parseSize(s); err != nil || got != want {
			t.Errorf("%s: got %d, %v, want %d", s, got, err, want)
		}
	}
	for _, s := range []string{"", "x", "-1", "6GiB", "4 KiB x", "1e3", "4.5MiB", "99999999999999999999"} {
		if got, err := parseSize(s); err == nil {
			t.Errorf("%s: got %d, want an error", s, got)
		}
	}
}
