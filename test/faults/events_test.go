package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/hallig-cloud/hallig/test/harness"
)

// A hook is a webhook's receiver: it remembers which keys it was told of while
// it takes messages, and refuses them else.
type hook struct {
	takes atomic.Bool
	mu    sync.Mutex
	keys  map[string]int
}

func (h *hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var m struct {
		Records []struct {
			S3 struct{ Object struct{ Key string } }
		}
	}
	if err := json.NewDecoder(r.Body).Decode(&m); err != nil || !h.takes.Load() {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, rec := range m.Records {
		h.keys[rec.S3.Object.Key]++
	}
}

// missing returns how many of the keys it was not told of.
func (h *hook) missing(keys []string) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, k := range keys {
		if h.keys[k] == 0 {
			n++
		}
	}
	return n
}

// TestEventsOutliveKill ends the process with SIGKILL while clients write to a
// bucket with a webhook, that takes messages in some lives of the process and
// refuses them in others: in the end it was told of every acknowledged write.
// (The negative control is s3/notify's TestRecorded.)
func TestEventsOutliveKill(t *testing.T) {
	sd := seed(t)
	rng := rand.New(rand.NewPCG(sd, 0))
	h := &hook{keys: make(map[string]int)}
	h.takes.Store(true)
	server := httptest.NewServer(h)
	defer server.Close()
	n := harness.Start(t, harness.Options{Drives: 2})
	ctx, b := context.Background(), aws.String("events")
	if out, err := n.Hallig("webhook", "add", "hook", server.URL); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if _, err := n.Client().CreateBucket(ctx, &s3.CreateBucketInput{Bucket: b}); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Client().PutBucketNotificationConfiguration(ctx, &s3.PutBucketNotificationConfigurationInput{Bucket: b,
		NotificationConfiguration: &types.NotificationConfiguration{QueueConfigurations: []types.QueueConfiguration{{
			QueueArn: aws.String("arn:hallig:webhook:::hook"), Events: []types.Event{"s3:ObjectCreated:*"}}}}}); err != nil {
		t.Fatal(err)
	}
	var acknowledged []string
	for life := range 4 {
		h.takes.Store(life%2 == 1)
		acknowledged = append(acknowledged, writeAndKill(t, n, fmt.Sprint(life), 20+rng.IntN(60))...)
		if err := n.Restart(); err != nil {
			t.Fatal(err)
		}
	}
	h.takes.Store(true)
	// The last life may be in the pause after a refusal, 1 s at first.
	for deadline := time.Now().Add(time.Minute); h.missing(acknowledged) > 0 && time.Now().Before(deadline); {
		time.Sleep(20 * time.Millisecond)
	}
	if missing := h.missing(acknowledged); missing > 0 || len(acknowledged) == 0 {
		t.Errorf("never told of %d of %d acknowledged writes", missing, len(acknowledged))
	}
	t.Logf("%d acknowledged writes, told of each", len(acknowledged))
}

// writeAndKill writes from eight clients until want writes were acknowledged,
// kills the process among the rest, and returns the acknowledged keys.
func writeAndKill(t *testing.T, n *harness.Node, life string, want int) (keys []string) {
	t.Helper()
	ctx, c := context.Background(), n.Client()
	var mu sync.Mutex
	var clients sync.WaitGroup
	enough := make(chan struct{})
	for i := range 8 {
		clients.Go(func() {
			for j := 0; ; j++ {
				key := fmt.Sprintf("%s/%d/%d", life, i, j)
				if _, err := c.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String("events"), Key: &key, Body: strings.NewReader("x")}); err != nil {
					return // killed
				}
				mu.Lock()
				if keys = append(keys, key); len(keys) == want {
					close(enough)
				}
				mu.Unlock()
			}
		})
	}
	ended := make(chan struct{})
	go func() { clients.Wait(); close(ended) }()
	select {
	case <-enough:
	case <-ended:
		t.Fatalf("the clients failed before the kill, after %d writes", len(keys))
	}
	n.Kill()
	<-ended
	return keys
}
