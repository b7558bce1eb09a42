// Package faults breaks the real binary under load: kills, lost drives,
// flipped bytes, full disks; and checks that nothing acknowledged is lost and
// no wrong byte is served.
package faults

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/hallig-cloud/hallig/test/harness"
)

// A value is a body by its seed and size; absent is the zero value.
type value struct {
	seed uint64
	size int
	set  bool
}

func (v value) bytes() []byte { return harness.Bytes(v.seed, v.size) }

func (v value) String() string {
	if !v.set {
		return "absent"
	}
	return fmt.Sprintf("seed %d, %d bytes", v.seed, v.size)
}

// A slot is what is known of one key: the acknowledged value, and values that
// operations without an answer may have left.
type slot struct {
	acked   value
	unknown []value
}

// A load writes, overwrites, reads and deletes keys, each worker its own, and
// remembers what was acknowledged.
type load struct {
	client  *s3.Client
	bucket  string
	workers []*worker
	ops     atomic.Int64
}

type worker struct {
	l     *load
	rng   *rand.Rand
	seed  uint64
	keys  []string
	slots map[string]*slot
}

func newLoad(client *s3.Client, bucket string, seed uint64, workers, keys int) *load {
	l := &load{client: client, bucket: bucket}
	for i := range workers {
		w := &worker{l: l, rng: rand.New(rand.NewPCG(seed, uint64(i))), seed: seed&(1<<16-1)<<40 + uint64(i)<<32, slots: map[string]*slot{}}
		for k := range keys {
			key := fmt.Sprintf("w%02d/dir%d/key %03d", i, k%3, k)
			w.keys = append(w.keys, key)
			w.slots[key] = &slot{}
		}
		l.workers = append(l.workers, w)
	}
	return l
}

// run works until ctx ends; a worker ends at its first failed request. The
// errors by which they ended are returned, nil for those that ctx ended.
func (l *load) run(ctx context.Context) []error {
	errs := make([]error, len(l.workers))
	var wg sync.WaitGroup
	for i, w := range l.workers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for ctx.Err() == nil {
				if errs[i] = w.step(); errs[i] != nil {
					return
				}
				l.ops.Add(1)
			}
		}()
	}
	wg.Wait()
	return errs
}

// step makes one operation. It is not cancelled, so that only a fault leaves
// its outcome unknown.
func (w *worker) step() error {
	ctx := context.Background()
	key := w.keys[w.rng.IntN(len(w.keys))]
	s := w.slots[key]
	switch p := w.rng.IntN(100); {
	case p < 45:
		return w.put(ctx, key, s)
	case p < 52:
		return w.multipart(ctx, key, s)
	case p < 65:
		s.unknown = append(s.unknown, value{})
		_, err := w.l.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &w.l.bucket, Key: &key})
		if err != nil {
			return fmt.Errorf("delete %q: %w", key, err)
		}
		s.acked, s.unknown = value{}, nil
		return nil
	default:
		return w.check(ctx, key, s)
	}
}

func (w *worker) next() value {
	w.seed++
	size := w.rng.IntN(20_000)
	switch w.rng.IntN(10) {
	case 0:
		size = 0
	case 1:
		size = 64<<10 + w.rng.IntN(3) - 1
	case 2:
		size = w.rng.IntN(3 << 20)
	}
	return value{seed: w.seed, size: size, set: true}
}

func (w *worker) put(ctx context.Context, key string, s *slot) error {
	v := w.next()
	s.unknown = append(s.unknown, v)
	in := &s3.PutObjectInput{Bucket: &w.l.bucket, Key: &key, Body: bytes.NewReader(v.bytes())}
	conditional := !s.acked.set && len(s.unknown) == 1
	if conditional {
		in.IfNoneMatch = aws.String("*")
	}
	if _, err := w.l.client.PutObject(ctx, in); err != nil {
		return fmt.Errorf("put %q (%s): %w", key, v, err)
	}
	s.acked, s.unknown = v, nil
	return nil
}

func (w *worker) multipart(ctx context.Context, key string, s *slot) error {
	first, second := w.next(), w.next()
	first.size = 5<<20 + w.rng.IntN(100_000)
	body := append(first.bytes(), second.bytes()...)
	c, b := w.l.client, &w.l.bucket
	up, err := c.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: b, Key: &key})
	if err != nil {
		return fmt.Errorf("create upload %q: %w", key, err)
	}
	var done []types.CompletedPart
	for i, part := range [][]byte{body[:first.size], body[first.size:]} {
		out, err := c.UploadPart(ctx, &s3.UploadPartInput{Bucket: b, Key: &key, UploadId: up.UploadId, PartNumber: aws.Int32(int32(i + 1)), Body: bytes.NewReader(part)})
		if err != nil {
			return fmt.Errorf("upload part of %q: %w", key, err)
		}
		done = append(done, types.CompletedPart{ETag: out.ETag, PartNumber: aws.Int32(int32(i + 1))})
	}
	v := joined(first, second)
	s.unknown = append(s.unknown, v)
	if _, err := c.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{Bucket: b, Key: &key, UploadId: up.UploadId, MultipartUpload: &types.CompletedMultipartUpload{Parts: done}}); err != nil {
		return fmt.Errorf("complete upload %q: %w", key, err)
	}
	s.acked, s.unknown = v, nil
	return nil
}

// bodies of multipart objects are two seeds; they are kept whole.
var (
	joinedMu sync.Mutex
	joinedOf = map[uint64][2]value{}
)

func joined(a, b value) value {
	joinedMu.Lock()
	defer joinedMu.Unlock()
	id := a.seed | 1<<63
	joinedOf[id] = [2]value{a, b}
	return value{seed: id, size: a.size + b.size, set: true}
}

func (v value) content() []byte {
	if v.seed>>63 == 0 {
		return v.bytes()
	}
	joinedMu.Lock()
	p := joinedOf[v.seed]
	joinedMu.Unlock()
	return append(p[0].bytes(), p[1].bytes()...)
}

// check reads a key and compares it with what it may be. What is seen settles
// what was unknown.
func (w *worker) check(ctx context.Context, key string, s *slot) error {
	out, err := w.l.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &w.l.bucket, Key: &key})
	var re *awshttp.ResponseError
	if errors.As(err, &re) && re.HTTPStatusCode() == http.StatusNotFound {
		return s.settle(key, nil, false)
	}
	if err != nil {
		return fmt.Errorf("get %q: %w", key, err)
	}
	defer out.Body.Close()
	body, err := io.ReadAll(out.Body)
	if err != nil {
		return fmt.Errorf("read %q: %w", key, err)
	}
	return s.settle(key, body, true)
}

// errWrong marks a lost acknowledged write or a wrong byte.
var errWrong = errors.New("LOST OR WRONG")

func (s *slot) settle(key string, body []byte, present bool) error {
	for _, v := range append([]value{s.acked}, s.unknown...) {
		if v.set == present && (!present || bytes.Equal(body, v.content())) {
			s.acked, s.unknown = v, nil
			return nil
		}
	}
	return fmt.Errorf("%w: %q is present=%v with %d bytes; acknowledged: %s; without answer: %v", errWrong, key, present, len(body), s.acked, s.unknown)
}

// verify reads every key and every listed key.
func (l *load) verify(ctx context.Context) error {
	var all []error
	want := map[string]bool{}
	for _, w := range l.workers {
		for _, key := range w.keys {
			if err := w.check(ctx, key, w.slots[key]); err != nil {
				all = append(all, err)
			}
			if w.slots[key].acked.set {
				want[key] = true
			}
		}
	}
	pages := s3.NewListObjectsV2Paginator(l.client, &s3.ListObjectsV2Input{Bucket: &l.bucket, MaxKeys: aws.Int32(50)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return errors.Join(append(all, err)...)
		}
		for _, o := range page.Contents {
			if !want[*o.Key] {
				all = append(all, fmt.Errorf("%w: %q is listed and must not be", errWrong, *o.Key))
			}
			delete(want, *o.Key)
		}
	}
	for key := range want {
		all = append(all, fmt.Errorf("%w: %q is not listed", errWrong, key))
	}
	return errors.Join(all...)
}
