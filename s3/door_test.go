package s3_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/hallig-cloud/hallig/access"
	"github.com/hallig-cloud/hallig/objects"
	"github.com/hallig-cloud/hallig/objects/objectstest"
	"github.com/hallig-cloud/hallig/s3"
)

const (
	rootKey    = "HALLIGROOT"
	rootSecret = "hallig-root-secret"
)

// A door is a server over a store in memory, with its clients.
type door struct {
	t      testing.TB
	mesh   *objectstest.Mesh
	access *access.Service
	server *s3.Server
	url    string
	root   *awss3.Client

	mu      sync.Mutex
	events  []objects.Event
	records []s3.Record
}

// openDoor starts a server; edit may change its configuration.
func openDoor(t testing.TB, edit ...func(*s3.Config)) *door {
	t.Helper()
	d := &door{t: t, mesh: objectstest.NewMesh(t, objectstest.Options{Drives: 1})}
	d.access = access.New(d.mesh.Catalog, access.Config{})
	t.Cleanup(d.access.Close)
	if _, _, _, err := d.access.EnsureRoot(context.Background(), rootKey, rootSecret); err != nil {
		t.Fatal(err)
	}
	cfg := s3.Config{
		Store: d.mesh.Store, Access: d.access,
		Events: func(_ context.Context, e ...objects.Event) {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.events = append(d.events, e...)
		},
		Observe: func(r s3.Record) {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.records = append(d.records, r)
		},
	}
	for _, f := range edit {
		f(&cfg)
	}
	d.server = s3.New(cfg)
	h := httptest.NewServer(d.server)
	t.Cleanup(h.Close)
	d.url = h.URL
	d.root = d.client(rootKey, rootSecret)
	return d
}

// client returns a client with a key; without one it is anonymous.
func (d *door) client(key, secret string, edit ...func(*awss3.Options)) *awss3.Client {
	var c aws.CredentialsProvider = aws.AnonymousCredentials{}
	if key != "" {
		c = credentials.NewStaticCredentialsProvider(key, secret, "")
	}
	return awss3.New(awss3.Options{
		Region: "us-east-1", Credentials: c, BaseEndpoint: &d.url, UsePathStyle: true,
		RetryMaxAttempts: 1, HTTPClient: http.DefaultClient,
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenSupported,
	}, edit...)
}

// bucket makes a bucket.
func (d *door) bucket(name string, edit ...func(*awss3.CreateBucketInput)) string {
	d.t.Helper()
	in := &awss3.CreateBucketInput{Bucket: &name}
	for _, f := range edit {
		f(in)
	}
	if _, err := d.root.CreateBucket(context.Background(), in); err != nil {
		d.t.Fatal(err)
	}
	return name
}
