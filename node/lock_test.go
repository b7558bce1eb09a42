package node

import (
	"errors"
	"syscall"
	"testing"
)

// A lock that a killed process is about to give back is waited for; one that
// stays is an error, and so is anything else at once.
func TestWhileLocked(t *testing.T) {
	tries := 0
	if err := whileLocked(func() error {
		if tries++; tries < 4 {
			return syscall.EWOULDBLOCK
		}
		return nil
	}); err != nil || tries != 4 {
		t.Fatal(tries, err)
	}
	if err := whileLocked(func() error { return syscall.EWOULDBLOCK }); !errors.Is(err, syscall.EWOULDBLOCK) {
		t.Fatal(err)
	}
	tries = 0
	if err := whileLocked(func() error { tries++; return syscall.EACCES }); !errors.Is(err, syscall.EACCES) || tries != 1 {
		t.Fatal(tries, err)
	}
}
