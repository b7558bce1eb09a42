// Package objects is the path of an object: from a reader to sealed, coded
// and durable shards and a catalog commit, and back. Memory per request is a
// few stripes, whatever the object's size.
package objects

import (
	"context"
	"errors"
	"io"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
)

// Store implements API.
type Store struct{}

var _ API = (*Store)(nil)

var errUnbuilt = errors.New("not built")

// CreateBucket makes a bucket; see API.
func (s *Store) CreateBucket(ctx context.Context, b Bucket) (Bucket, error) { return b, errUnbuilt }

// Bucket returns a bucket; see API.
func (s *Store) Bucket(ctx context.Context, name string) (Bucket, error) { return Bucket{}, errUnbuilt }

// Buckets lists buckets; see API.
func (s *Store) Buckets(ctx context.Context, after string, limit int) ([]Bucket, error) {
	return nil, errUnbuilt
}

// UpdateBucket changes a bucket; see API.
func (s *Store) UpdateBucket(ctx context.Context, name string, change func(*Bucket) error) (Bucket, error) {
	return Bucket{}, errUnbuilt
}

// DeleteBucket removes an empty bucket; see API.
func (s *Store) DeleteBucket(ctx context.Context, name string) error { return errUnbuilt }

// Put stores an object; see API.
func (s *Store) Put(ctx context.Context, r PutRequest) (catalog.Version, error) {
	return catalog.Version{}, errUnbuilt
}

// Head finds a version; see API.
func (s *Store) Head(ctx context.Context, bucket, key string, v catalog.VersionID) (catalog.Version, error) {
	return catalog.Version{}, errUnbuilt
}

// Get opens a version's bytes; see API.
func (s *Store) Get(ctx context.Context, r GetRequest) (io.ReadCloser, error) {
	return nil, errUnbuilt
}

// Copy copies a version; see API.
func (s *Store) Copy(ctx context.Context, r CopyRequest) (catalog.Version, error) {
	return catalog.Version{}, errUnbuilt
}

// Delete deletes keys or versions; see API.
func (s *Store) Delete(ctx context.Context, bucket string, r ...DeleteRequest) ([]catalog.Result, error) {
	return nil, errUnbuilt
}

// Change edits attributes; see API.
func (s *Store) Change(ctx context.Context, bucket, key string, v catalog.VersionID, change func(*catalog.Version) error) (catalog.Version, error) {
	return catalog.Version{}, errUnbuilt
}

// List lists a bucket; see API.
func (s *Store) List(ctx context.Context, bucket string, q catalog.Query) (catalog.Page, error) {
	return catalog.Page{}, errUnbuilt
}

// CreateUpload opens a multipart upload; see API.
func (s *Store) CreateUpload(ctx context.Context, bucket, key string, a catalog.Attributes, customerKey []byte) (catalog.Upload, error) {
	return catalog.Upload{}, errUnbuilt
}

// PutPart stores a part; see API.
func (s *Store) PutPart(ctx context.Context, r PutPartRequest) (catalog.Part, error) {
	return catalog.Part{}, errUnbuilt
}

// CopyPart copies a part; see API.
func (s *Store) CopyPart(ctx context.Context, r CopyPartRequest) (catalog.Part, error) {
	return catalog.Part{}, errUnbuilt
}

// Complete completes an upload; see API.
func (s *Store) Complete(ctx context.Context, r CompleteRequest) (catalog.Version, error) {
	return catalog.Version{}, errUnbuilt
}

// Abort drops an upload; see API.
func (s *Store) Abort(ctx context.Context, bucket, key string, id hallig.UploadID) error {
	return errUnbuilt
}

// Upload returns an open upload; see API.
func (s *Store) Upload(ctx context.Context, bucket, key string, id hallig.UploadID) (catalog.Upload, error) {
	return catalog.Upload{}, errUnbuilt
}

// Parts lists an upload's parts; see API.
func (s *Store) Parts(ctx context.Context, bucket, key string, id hallig.UploadID, after, limit int) ([]catalog.Part, bool, error) {
	return nil, false, errUnbuilt
}
