package faults

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/hallig-cloud/hallig/test/harness"
)

func TestMain(m *testing.M) {
	code := m.Run()
	harness.Cleanup()
	os.Exit(code)
}

// number reads an environment variable, or takes the default.
func number(name string, def uint64) uint64 {
	if n, err := strconv.ParseUint(os.Getenv(name), 10, 64); err == nil {
		return n
	}
	return def
}

// seed returns HALLIG_TEST_SEED or a fresh one, and logs it.
func seed(t *testing.T) uint64 {
	s := number("HALLIG_TEST_SEED", uint64(time.Now().UnixNano()))
	t.Logf("replay with HALLIG_TEST_SEED=%d", s)
	return s
}

// TestKill ends the process with SIGKILL at random moments under a mixed load
// (HALLIG_TEST_KILLS times, by default 8) and reads everything back.
func TestKill(t *testing.T) {
	kills := number("HALLIG_TEST_KILLS", 8)
	if testing.Short() {
		kills = 2
	}
	for _, drives := range []int{1, 4} {
		t.Run(strconv.Itoa(drives)+" drives", func(t *testing.T) { killUnderLoad(t, drives, (kills+1)/2) })
	}
}

func killUnderLoad(t *testing.T, drives int, kills uint64) {
	sd := seed(t)
	rng := rand.New(rand.NewPCG(sd, 0))
	n := harness.Start(t, harness.Options{Drives: drives})
	ctx := context.Background()
	if _, err := n.Client().CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String("kill")}); err != nil {
		t.Fatal(err)
	}
	l := newLoad(n.Client(), "kill", sd, 8, 12)
	for i := range kills {
		// The moment of the kill is a number of operations, and a little time
		// beyond it, so that it falls anywhere within one.
		before, want := l.ops.Load(), int64(5+rng.IntN(120))
		running, stop := context.WithCancel(ctx)
		ended := make(chan []error, 1)
		go func() { ended <- l.run(running) }()
		for l.ops.Load() < before+want {
			select {
			case errs := <-ended:
				t.Fatalf("kill %d: the load ended by itself: %v", i, errors.Join(errs...))
			case <-time.After(time.Millisecond):
			}
		}
		time.Sleep(time.Duration(rng.IntN(3000)) * time.Microsecond)
		n.Kill()
		stop()
		for _, err := range <-ended {
			if errors.Is(err, errWrong) {
				t.Fatal(err)
			}
		}
		if err := n.Restart(); err != nil {
			t.Fatalf("kill %d: %v", i, err)
		}
		if err := l.verify(ctx); err != nil {
			t.Fatalf("after kill %d: %v", i, err)
		}
	}
	t.Logf("%d kills, %d operations acknowledged, nothing lost", kills, l.ops.Load())
}

// TestDrain stops the process with SIGTERM under load: it ends with 0, and
// what was acknowledged is there.
func TestDrain(t *testing.T) {
	sd := seed(t)
	n := harness.Start(t, harness.Options{Drives: 2})
	ctx := context.Background()
	if _, err := n.Client().CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String("drain")}); err != nil {
		t.Fatal(err)
	}
	l := newLoad(n.Client(), "drain", sd, 4, 10)
	ended := make(chan []error, 1)
	go func() { ended <- l.run(ctx) }()
	for l.ops.Load() < 100 {
		time.Sleep(time.Millisecond)
	}
	code, err := n.Stop()
	if err != nil || code != 0 {
		t.Fatalf("SIGTERM: exit code %d, %v", code, err)
	}
	for _, err := range <-ended {
		if errors.Is(err, errWrong) {
			t.Fatal(err)
		}
	}
	if err := n.Restart(); err != nil {
		t.Fatal(err)
	}
	if err := l.verify(ctx); err != nil {
		t.Fatal(err)
	}
}
