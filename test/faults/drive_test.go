package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/hallig-cloud/hallig/test/harness"
)

// eventually polls a condition that the node reaches by itself.
func eventually(t *testing.T, what string, bound time.Duration, ok func() (bool, string)) {
	t.Helper()
	deadline := time.Now().Add(bound)
	for {
		done, seen := ok()
		if done {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s; last seen:\n%s", what, bound, seen)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// TestRemoveDriveWhileServing removes each drive directory of a node with four
// while it serves, the one with the catalog's log and the key file included:
// no request fails (the SDK's retries are off), nothing is lost, status says
// what happened; and after a restart everything is still there.
func TestRemoveDriveWhileServing(t *testing.T) {
	for gone := range 4 {
		t.Run(fmt.Sprintf("drive%d", gone+1), func(t *testing.T) { removeDrive(t, gone) })
		if testing.Short() {
			return
		}
	}
}

func removeDrive(t *testing.T, gone int) {
	n := harness.Start(t, harness.Options{Drives: 4})
	loseDrive(t, n, gone, func() error {
		// The node may be writing into it: what is left is removed again.
		if os.RemoveAll(n.Drives[gone]) == nil {
			return nil
		}
		return os.RemoveAll(n.Drives[gone])
	})
}

// loseDrive takes a drive away from a node that serves, by the given means.
func loseDrive(t *testing.T, n *harness.Node, gone int, take func() error) {
	sd := seed(t)
	ctx := context.Background()
	if _, err := n.Client().CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String("drives")}); err != nil {
		t.Fatal(err)
	}
	l := newLoad(n.Client(), "drives", sd, 6, 12)
	running, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan []error, 1)
	go func() { ended <- l.run(running) }()
	reach := func(ops int64) {
		t.Helper()
		for want := l.ops.Load() + ops; l.ops.Load() < want; {
			select {
			case errs := <-ended:
				t.Fatalf("a request failed: %v", errors.Join(errs...))
			case <-time.After(time.Millisecond):
			}
		}
	}
	reach(200)
	if err := take(); err != nil {
		t.Fatal(err)
	}
	reach(400)
	eventually(t, "status names the lost drive", 30*time.Second, func() (bool, string) {
		out, err := n.Hallig("drive", "list")
		for line := range strings.Lines(out) {
			if strings.Contains(line, n.Drives[gone]) && !strings.Contains(line, "online") {
				return err == nil, out
			}
		}
		return false, out
	})
	reach(100)
	stop()
	if err := errors.Join(<-ended...); err != nil {
		t.Fatalf("a request failed: %v", err)
	}
	if err := l.verify(ctx); err != nil {
		t.Fatal(err)
	}
	n.Kill()
	if err := n.Restart(); err != nil {
		t.Fatalf("restart without %s: %v", n.Drives[gone], err)
	}
	if err := l.verify(ctx); err != nil {
		t.Fatal(err)
	}
}
