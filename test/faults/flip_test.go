package faults

import (
	"context"
	"encoding/json"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/hallig-cloud/hallig/admin"
	"github.com/hallig-cloud/hallig/test/harness"
)

// TestFlipBytes damages stored shards of a serving node with four drives, on
// one drive and then on another, as a bad disk does: every read is served
// right, a scrub finds the damage, and it is healed. That it was healed, and
// not only worked around, shows when two other drives are then taken away.
func TestFlipBytes(t *testing.T) {
	sd := seed(t)
	rng := rand.New(rand.NewPCG(sd, 1))
	n := harness.Start(t, harness.Options{Drives: 4})
	ctx := context.Background()
	if _, err := n.Client().CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String("flip")}); err != nil {
		t.Fatal(err)
	}
	l := newLoad(n.Client(), "flip", sd, 4, 12)
	running, stop := context.WithCancel(ctx)
	ended := make(chan []error, 1)
	go func() { ended <- l.run(running) }()
	for l.ops.Load() < 300 {
		select {
		case errs := <-ended:
			t.Fatalf("the load ended by itself: %v", errs)
		case <-time.After(time.Millisecond):
		}
	}
	stop()
	for _, err := range <-ended {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, drive := range []int{1, 0} {
		flips := flip(t, rng, n.Drives[drive], 200)
		if flips == 0 {
			t.Fatalf("no shard bytes found below %s", n.Drives[drive])
		}
		t.Logf("%d bytes flipped on %s", flips, n.Drives[drive])
		if err := l.verify(ctx); err != nil {
			t.Fatal(err)
		}
		if out, err := n.Hallig("scrub", "start", "--wait"); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		// What stays quarantined is data that was replaced, until it is swept.
		eventually(t, "what the scrub found is repaired", 60*time.Second, func() (bool, string) {
			out, err := n.Hallig("status", "--json")
			var st admin.Status
			if err != nil || json.Unmarshal([]byte(out), &st) != nil {
				return false, out
			}
			i := slices.IndexFunc(st.Tasks, func(k admin.Task) bool { return k.Name == "repair" })
			if i < 0 {
				return false, out
			}
			repair := st.Tasks[i]
			return repair.State == "waiting" && repair.Done >= repair.Total && repair.Fixed > 0 && repair.Failed == 0, out
		})
	}
	for _, drive := range []int{2, 3} {
		os.RemoveAll(n.Drives[drive]) //nolint:errcheck // what matters is checked below
	}
	if err := l.verify(ctx); err != nil {
		t.Fatalf("after the loss of the two undamaged drives: %v", err)
	}
}

// flip inverts one random bit of up to count random places in a drive's shard
// segments, in place, and returns how many it did.
func flip(t *testing.T, rng *rand.Rand, drive string, count int) int {
	t.Helper()
	var files []string
	var sizes []int64
	err := filepath.WalkDir(drive, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.Contains(p, "segment") {
			return err
		}
		if info, err := e.Info(); err == nil && info.Size() > 0 {
			files, sizes = append(files, p), append(sizes, info.Size())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	done := 0
	for range count {
		if len(files) == 0 {
			return 0
		}
		i := rng.IntN(len(files))
		f, err := os.OpenFile(files[i], os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		var b [1]byte
		off := rng.Int64N(sizes[i])
		if _, err := f.ReadAt(b[:], off); err == nil && b[0] != 0 {
			b[0] ^= 1 << rng.IntN(8)
			if _, err := f.WriteAt(b[:], off); err == nil {
				done++
			}
		}
		f.Close()
	}
	return done
}
