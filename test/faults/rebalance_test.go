package faults

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/hallig-cloud/hallig/test/harness"
)

// A balance is what status says of a rebalancing.
type balance struct {
	Drives []struct {
		Path, State string
		Shards      int64
	}
	Tasks []struct {
		Name, State, Detail string
		Done, Total, Failed int64
		Last                time.Time
	}
}

func (x *shrinking) balance() (b balance, out string, err error) {
	if out, err = x.n.Hallig("status", "--json"); err == nil {
		err = json.Unmarshal([]byte(out), &b)
	}
	return b, out, err
}

// TestRebalance: a drive is added to five, and what is stored begins to move to
// it. The process is killed in the midst of that, twice; clients overwrite and
// delete what moves. In the end the new drive holds its share, everything is
// read back byte by byte, and two of the old drives may go at once.
func TestRebalance(t *testing.T) {
	n := harness.Start(t, harness.Options{Drives: 5, Args: []string{"--rebalance-rate", "1"}})
	x := &shrinking{t: t, n: n, s3: n.Client(), bodies: map[string]value{}, seed: seed(t)}
	if _, err := x.s3.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("drives")}); err != nil {
		t.Fatal(err)
	}
	const objects = 240
	for i := range objects {
		key := fmt.Sprintf("o-%03d", i)
		if i%6 == 0 {
			key += "-ssec"
		}
		x.put(key, 90_000+i*100)
	}
	x.open = append(x.open, x.begin("open"), x.begin("open-ssec"))
	if out, err := n.Hallig("drive", "add", filepath.Join(n.Dir, "added")); err != nil {
		t.Fatal(out, err)
	}
	moving := func(done int64) {
		t.Helper()
		eventually(t, fmt.Sprintf("%d bytes have moved", done), 120*time.Second, func() (bool, string) {
			b, out, err := x.balance()
			if err != nil {
				return false, err.Error()
			}
			for _, task := range b.Tasks {
				if task.Name == "rebalance" && task.State == "running" && task.Done >= done {
					return task.Total > task.Done, out
				}
			}
			return false, out
		})
	}
	for life := range 2 {
		moving(5 << 20)
		for i := range 10 {
			x.put(fmt.Sprintf("o-%03d", life*100+7+6*i), 80_000)
		}
		gone := fmt.Sprintf("o-%03d", life*100+3)
		if _, err := x.s3.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String("drives"), Key: aws.String(gone)}); err != nil {
			t.Fatal(err)
		}
		delete(x.bodies, gone)
		x.n.Kill()
		if err := x.n.Restart(); err != nil {
			t.Fatal(err)
		}
		x.s3 = x.n.Client()
		x.check(fmt.Sprintf("killed %d times", life+1))
	}
	x.rebalanced(objects / 3)
	x.finish()
	x.keeps(x.n.Drives[0], x.n.Drives[3])
}

// rebalanced waits until the rebalancing has ended with so many shards on the
// drive that was added.
func (x *shrinking) rebalanced(shards int64) {
	x.t.Helper()
	eventually(x.t, "shards are rebalanced", 180*time.Second, func() (bool, string) {
		b, out, err := x.balance()
		if err != nil {
			return false, err.Error()
		}
		ended, share := false, false
		for _, task := range b.Tasks {
			if task.Failed > 0 {
				x.t.Fatalf("task %s: %d failed: %s", task.Name, task.Failed, task.Detail)
			}
			ended = ended || task.Name == "rebalance" && task.State == "waiting" && !task.Last.IsZero()
		}
		for _, d := range b.Drives {
			share = share || filepath.Base(d.Path) == "added" && d.Shards >= shards
		}
		return ended && share, out
	})
}
