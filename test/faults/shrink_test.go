package faults

import (
	"bytes"
	"crypto/md5" //nolint:gosec // S3 names customer keys by it
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/hallig-cloud/hallig/test/harness"
)

// A shrinking is a node whose drives come and go, and what was stored on it.
type shrinking struct {
	t      *testing.T
	n      *harness.Node
	s3     *s3.Client
	bodies map[string]value
	seed   uint64
	open   []opened
}

// An opened is an upload that stays open while drives come and go.
type opened struct {
	key, id string
	under   customer
	parts   []types.CompletedPart
	body    value
}

// A customer holds the key of objects under SSE-C; the zero value has none.
type customer struct{ algorithm, key, sum *string }

func newCustomer(seed byte) customer {
	key := bytes.Repeat([]byte{seed}, 32)
	sum := md5.Sum(key) //nolint:gosec // S3 names customer keys by it
	return customer{aws.String("AES256"), aws.String(base64.StdEncoding.EncodeToString(key)), aws.String(base64.StdEncoding.EncodeToString(sum[:]))}
}

// keyOf says which keys are under a customer's key.
func keyOf(key string) customer {
	if strings.Contains(key, "-ssec") {
		return newCustomer(7)
	}
	return customer{}
}

func newShrinking(t *testing.T, drives int) *shrinking {
	n := harness.Start(t, harness.Options{Drives: drives, Args: []string{"--lost-after", "3s"}})
	x := &shrinking{t: t, n: n, s3: n.Client(), bodies: map[string]value{}, seed: seed(t)}
	if _, err := x.s3.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("drives")}); err != nil {
		t.Fatal(err)
	}
	return x
}

// fill stores objects of every kind: small, large, of several stripes, uploaded
// in parts, and those under a customer's key; and leaves uploads open.
func (x *shrinking) fill(prefix string) {
	x.t.Helper()
	for i := range 60 {
		size := []int{100, 5000, 300_000, 1 << 20}[i%4]
		if i == 59 {
			size = 9<<20 + 1
		}
		key := fmt.Sprintf("%s-%02d", prefix, i)
		if i%5 == 0 {
			key += "-ssec"
		}
		x.put(key, size)
	}
	x.complete(x.begin(prefix + "-parts"))
	x.complete(x.begin(prefix + "-parts-ssec"))
	x.open = append(x.open, x.begin(prefix+"-open"), x.begin(prefix+"-open-ssec"))
}

// finish completes the uploads that were left open; check then reads them.
func (x *shrinking) finish() {
	x.t.Helper()
	for _, up := range x.open {
		x.complete(up)
	}
	x.open = nil
}

func (x *shrinking) next(size int) value {
	x.seed++
	return value{seed: x.seed, size: size, set: true}
}

func (x *shrinking) put(key string, size int) {
	x.t.Helper()
	v := x.next(size)
	k := keyOf(key)
	_, err := x.s3.PutObject(x.t.Context(), &s3.PutObjectInput{Bucket: aws.String("drives"), Key: aws.String(key), Body: bytes.NewReader(v.bytes()),
		SSECustomerAlgorithm: k.algorithm, SSECustomerKey: k.key, SSECustomerKeyMD5: k.sum})
	if err != nil {
		x.t.Fatalf("put %s: %v", key, err)
	}
	x.bodies[key] = v
}

// begin uploads the parts of an object.
func (x *shrinking) begin(key string) opened {
	x.t.Helper()
	ctx, o := x.t.Context(), opened{key: key, under: keyOf(key), body: x.next(11 << 20)}
	up, err := x.s3.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: aws.String("drives"), Key: aws.String(key),
		SSECustomerAlgorithm: o.under.algorithm, SSECustomerKey: o.under.key, SSECustomerKeyMD5: o.under.sum})
	if err != nil {
		x.t.Fatal(err)
	}
	o.id = *up.UploadId
	for body, n := o.body.bytes(), int32(1); len(body) > 0; n++ {
		part := body[:min(5<<20, len(body))]
		body = body[len(part):]
		out, err := x.s3.UploadPart(ctx, &s3.UploadPartInput{Bucket: aws.String("drives"), Key: aws.String(key), UploadId: up.UploadId, PartNumber: aws.Int32(n), Body: bytes.NewReader(part),
			SSECustomerAlgorithm: o.under.algorithm, SSECustomerKey: o.under.key, SSECustomerKeyMD5: o.under.sum})
		if err != nil {
			x.t.Fatal(err)
		}
		o.parts = append(o.parts, types.CompletedPart{ETag: out.ETag, PartNumber: aws.Int32(n)})
	}
	return o
}

func (x *shrinking) complete(o opened) {
	x.t.Helper()
	_, err := x.s3.CompleteMultipartUpload(x.t.Context(), &s3.CompleteMultipartUploadInput{Bucket: aws.String("drives"), Key: aws.String(o.key), UploadId: aws.String(o.id),
		SSECustomerAlgorithm: o.under.algorithm, SSECustomerKey: o.under.key, SSECustomerKeyMD5: o.under.sum,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: o.parts}})
	if err != nil {
		x.t.Fatalf("complete %s: %v", o.key, err)
	}
	x.bodies[o.key] = o.body
}

// check reads everything back.
func (x *shrinking) check(when string) {
	x.t.Helper()
	for key, v := range x.bodies {
		k := keyOf(key)
		out, err := x.s3.GetObject(x.t.Context(), &s3.GetObjectInput{Bucket: aws.String("drives"), Key: aws.String(key),
			SSECustomerAlgorithm: k.algorithm, SSECustomerKey: k.key, SSECustomerKeyMD5: k.sum})
		if err != nil {
			x.t.Fatalf("%s: get %s: %v", when, key, err)
		}
		got, err := io.ReadAll(out.Body)
		out.Body.Close()
		if err != nil || !bytes.Equal(got, v.bytes()) {
			x.t.Fatalf("%s: %s: %d of %d bytes are right or it fails: %v", when, key, len(got), v.size, err)
		}
	}
}

// destroy removes a drive's directory while the node may write into it.
func (x *shrinking) destroy(drive string) {
	x.t.Helper()
	if err := os.RemoveAll(drive); err != nil {
		if err := os.RemoveAll(drive); err != nil {
			x.t.Fatal(err)
		}
	}
}

// A shown is what `hallig status --json` says.
type shown struct {
	Promise struct {
		Survive string
		Holds   bool
		Says    string
	}
	Drives []struct{ Path, State string }
	Tasks  []struct {
		Name, State, Detail string
		Failed              int64
	}
}

func (x *shrinking) status() (shown, string, error) {
	var s shown
	out, err := x.n.Hallig("status", "--json")
	if err == nil {
		err = json.Unmarshal([]byte(out), &s)
	}
	return s, out, err
}

// settle waits until the node has so many drives, all of them online, and says
// what it promises then; no task may have failed on the way.
func (x *shrinking) settle(drives int, promise string) {
	x.t.Helper()
	eventually(x.t, fmt.Sprintf("%d drives are left and hold everything", drives), 90*time.Second, func() (bool, string) {
		s, out, err := x.status()
		if err != nil {
			return false, err.Error()
		}
		for _, d := range s.Drives {
			if d.State != "online" {
				return false, out
			}
		}
		return len(s.Drives) == drives && s.Promise.Holds && strings.Contains(s.Promise.Says, promise), out
	})
	s, _, err := x.status()
	if err != nil {
		x.t.Fatal(err)
	}
	for _, task := range s.Tasks {
		if task.Failed > 0 || task.State == "failed" {
			x.t.Errorf("task %s: %d failed: %s", task.Name, task.Failed, task.Detail)
		}
	}
}

// promised says how many drives a node with so many can lose.
func promised(drives int) (int, string) {
	if drives >= 4 {
		return 2, "any 2 drives may be lost"
	}
	if drives > 1 {
		return 1, "any one drive may be lost"
	}
	return 0, "NOTHING SURVIVES"
}

// keeps destroys as many drives at once as the node says may go, and reads
// everything back.
func (x *shrinking) keeps(drives ...string) {
	x.t.Helper()
	for _, d := range drives {
		x.destroy(d)
	}
	x.check(fmt.Sprintf("%d drives less", len(drives)))
}

// TestShrink: a drive is destroyed for good while clients write. Once it is
// declared lost everything ends in pools that the drives that are left can
// hold, no task fails on the way, and what status promises then holds: as many
// drives may go at once. With new drives in their places the wider promise is
// back, and holds.
func TestShrink(t *testing.T) {
	begin := func(t *testing.T, drives int) *shrinking {
		x := newShrinking(t, drives)
		x.fill("before")
		x.destroy(x.n.Drives[1])
		x.fill("while")
		_, says := promised(drives - 1)
		x.settle(drives-1, says)
		x.check("after the loss")
		return x
	}
	t.Run("4 to 3 to 2 to 4", func(t *testing.T) {
		x := begin(t, 4)
		x.keeps(x.n.Drives[2])
		_, says := promised(2)
		x.settle(2, says)
		for _, name := range []string{"new1", "new2"} {
			if out, err := x.n.Hallig("drive", "add", filepath.Join(x.n.Dir, name)); err != nil {
				t.Fatal(out, err)
			}
		}
		_, says = promised(4)
		x.settle(4, says)
		x.finish()
		x.keeps(x.n.Drives[0], x.n.Drives[3]) // all that ever held the old stripes
	})
	if testing.Short() {
		return
	}
	t.Run("3 to 2", func(t *testing.T) {
		x := begin(t, 3)
		x.finish()
		x.keeps(x.n.Drives[0])
	})
	t.Run("5 to 4", func(t *testing.T) {
		x := begin(t, 5)
		x.keeps(x.n.Drives[0], x.n.Drives[3])
	})
	t.Run("4 replaced", func(t *testing.T) {
		x := newShrinking(t, 4)
		x.fill("before")
		x.destroy(x.n.Drives[1])
		eventually(t, "the drive is missing", 30*time.Second, func() (bool, string) {
			out, err := x.n.Hallig("drive", "replace", x.n.Drives[1], filepath.Join(x.n.Dir, "new"))
			return err == nil, out
		})
		_, says := promised(4)
		x.settle(4, says)
		x.keeps(x.n.Drives[0], x.n.Drives[2])
	})
}

// TestDrainHealthy: one of four drives that works is emptied and taken out;
// everything is readable all the time, and afterwards without one more.
func TestDrainHealthy(t *testing.T) {
	x := newShrinking(t, 4)
	x.fill("before")
	if out, err := x.n.Hallig("drive", "remove", x.n.Drives[1]); err != nil {
		t.Fatal(out, err)
	}
	x.fill("while")
	x.check("while it is drained")
	_, says := promised(3)
	x.settle(3, says)
	x.destroy(x.n.Drives[1]) // nothing needs it any more
	x.check("without the drained drive")
	x.finish()
	x.check("completed afterwards")
	x.keeps(x.n.Drives[0])
}
