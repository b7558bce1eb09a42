package s3_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/hallig-cloud/hallig/objects"
	"github.com/hallig-cloud/hallig/s3"
	"github.com/hallig-cloud/hallig/s3/accesslog"
	"github.com/hallig-cloud/hallig/s3/notify"
)

// runs runs a service until the test ends, or until stop is called.
func runs(t *testing.T, run func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

func TestNotifications(t *testing.T) {
	messages := make(chan string, 100)
	refuse := make(chan bool, 1)
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-refuse:
			w.WriteHeader(http.StatusForbidden)
			return
		default:
		}
		b, _ := io.ReadAll(r.Body)
		messages <- string(b)
	}))
	defer hook.Close()
	var running atomic.Pointer[notify.Notifier]
	d := openDoor(t, func(c *s3.Config) {
		c.Notifications = delegate(func(ctx context.Context, w string, e notify.Event) error { return running.Load().Test(ctx, w, e) })
		c.Events = func(ctx context.Context, e ...objects.Event) {
			if err := running.Load().Objects(ctx, c.Store, e...); err != nil {
				t.Error(err)
			}
		}
	})
	n := notify.New(notify.Config{Records: d.mesh.Catalog, Node: "n"})
	running.Store(n)
	runs(t, n.Run)
	ctx := t.Context()
	b := d.bucket("bucket")
	put := func(arn string, edit ...func(*awss3.PutBucketNotificationConfigurationInput)) error {
		in := &awss3.PutBucketNotificationConfigurationInput{Bucket: &b, NotificationConfiguration: &types.NotificationConfiguration{
			QueueConfigurations: []types.QueueConfiguration{{
				QueueArn: &arn, Events: []types.Event{"s3:ObjectCreated:*", "s3:ObjectRemoved:*"},
				Filter: &types.NotificationConfigurationFilter{Key: &types.S3KeyFilter{FilterRules: []types.FilterRule{{Name: "prefix", Value: aws.String("in/")}}}},
			}}}}
		for _, f := range edit {
			f(in)
		}
		_, err := d.root.PutBucketNotificationConfiguration(ctx, in)
		return err
	}
	arn := notify.ARNPrefix + "hook"
	wantCode(t, "a URL", put(hook.URL), "InvalidArgument")
	wantCode(t, "no such webhook", put(arn), "InvalidArgument")
	if err := n.Webhooks().Put(ctx, notify.Webhook{Name: "hook", URL: hook.URL}); err != nil {
		t.Fatal(err)
	}
	refuse <- true
	wantCode(t, "it refuses the test event", put(arn), "InvalidArgument")
	got, err := d.root.GetBucketNotificationConfiguration(ctx, &awss3.GetBucketNotificationConfigurationInput{Bucket: &b})
	if err != nil || len(got.QueueConfigurations) != 0 {
		t.Errorf("after refusals: %+v %v", got, err)
	}
	wantCode(t, "put", put(arn), "")
	if m := <-messages; !strings.Contains(m, "s3:TestEvent") {
		t.Errorf("first message %s", m)
	}
	got, err = d.root.GetBucketNotificationConfiguration(ctx, &awss3.GetBucketNotificationConfigurationInput{Bucket: &b})
	if err != nil || len(got.QueueConfigurations) != 1 || aws.ToString(got.QueueConfigurations[0].Id) == "" {
		t.Errorf("%+v %v", got, err)
	}
	for _, key := range []string{"out/1", "in/a b"} {
		if _, err := d.root.PutObject(ctx, &awss3.PutObjectInput{Bucket: &b, Key: &key, Body: strings.NewReader("body")}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := d.root.DeleteObject(ctx, &awss3.DeleteObjectInput{Bucket: &b, Key: aws.String("in/a b")}); err != nil {
		t.Fatal(err)
	}
	events := map[string]string{}
	for range 2 {
		var m struct {
			Records []struct {
				EventName         string
				RequestParameters struct{ SourceIPAddress string }
				UserIdentity      struct{ PrincipalID string }
				S3                struct{ Object struct{ Key string } }
			}
		}
		if err := json.Unmarshal([]byte(<-messages), &m); err != nil {
			t.Fatal(err)
		}
		r := m.Records[0]
		events[r.EventName] = r.S3.Object.Key
		if r.RequestParameters.SourceIPAddress != "127.0.0.1" || len(r.UserIdentity.PrincipalID) != 64 {
			t.Errorf("%+v", r)
		}
	}
	if events["ObjectCreated:Put"] != "in/a+b" || events["ObjectRemoved:Delete"] != "in/a+b" {
		t.Errorf("events %v", events)
	}
}

type delegate func(context.Context, string, notify.Event) error

func (f delegate) Test(ctx context.Context, w string, e notify.Event) error { return f(ctx, w, e) }

func TestAccessLogDelivery(t *testing.T) {
	var l *accesslog.Log
	observed := make(chan string, 100)
	d := openDoor(t, func(c *s3.Config) {
		l = accesslog.New(accesslog.Config{Store: c.Store, Every: time.Hour})
		c.Observe = func(r s3.Record) {
			l.Observe(r)
			observed <- r.Operation
		}
	})
	wait := func(operation string) { // the client may be ahead of the server here
		for <-observed != operation {
		}
	}
	ctx := t.Context()
	b, logs := d.bucket("bucket"), d.bucket("logs")
	if _, err := d.root.PutBucketLogging(ctx, &awss3.PutBucketLoggingInput{Bucket: &b, BucketLoggingStatus: &types.BucketLoggingStatus{
		LoggingEnabled: &types.LoggingEnabled{TargetBucket: &logs, TargetPrefix: aws.String("p/")}}}); err != nil {
		t.Fatal(err)
	}
	wait("PutBucketLogging")
	stop := runs(t, l.Run)
	if _, err := d.root.PutObject(ctx, &awss3.PutObjectInput{Bucket: &b, Key: aws.String("k"), Body: strings.NewReader("x")}); err != nil {
		t.Fatal(err)
	}
	_, err := d.client("", "").GetObject(ctx, &awss3.GetObjectInput{Bucket: &b, Key: aws.String("k")})
	wantCode(t, "anonymous", err, "AccessDenied")
	wait("PutObject")
	wait("GetObject")
	stop()
	list, err := d.root.ListObjectsV2(ctx, &awss3.ListObjectsV2Input{Bucket: &logs, Prefix: aws.String("p/")})
	if err != nil || len(list.Contents) != 1 {
		t.Fatalf("%+v %v", list, err)
	}
	out, err := d.root.GetObject(ctx, &awss3.GetObjectInput{Bucket: &logs, Key: list.Contents[0].Key})
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(out.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{" REST.PUT.OBJECT k \"PUT /bucket/k?x-id=PutObject HTTP/1.1\" 200 - ", " SigV4 - AuthHeader ", " REST.GET.OBJECT k ", " 403 AccessDenied ", " - - - 127.0.0.1:"} {
		if !strings.Contains(string(text), part) {
			t.Errorf("%q is not in\n%s", part, text)
		}
	}
	// The request that switched logging on was observed before Run looked.
	if n := strings.Count(string(text), "\n"); n != 4 {
		t.Errorf("%d lines in\n%s", n, text)
	}
}
