package s3_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/objects"
)

// TestLockedNullVersion: a null version under object lock withstands every
// request that could take it away, whatever the bucket's versioning says. A
// bucket with object lock cannot be suspended, so the test suspends it behind
// the door's back: the lock must be kept where versions are committed, not only
// where buckets are configured. The negative control is the same bucket's key
// without a lock: every request does its work there.
func TestLockedNullVersion(t *testing.T) {
	for _, versioning := range []catalog.Versioning{catalog.Unversioned, catalog.Suspended} {
		for name, lock := range map[string]func(v *catalog.Version){
			"hold":       func(v *catalog.Version) { v.LegalHold, v.LegalHoldStated = true, true },
			"compliance": func(v *catalog.Version) { v.Retention = catalog.Retention{Mode: "COMPLIANCE", Until: later()} },
			"governance": func(v *catalog.Version) { v.Retention = catalog.Retention{Mode: "GOVERNANCE", Until: later()} },
			"":           func(*catalog.Version) {},
		} {
			d := openDoor(t)
			d.bucket("attacked")
			d.put("attacked", "source", "other bytes")
			for what, attempt := range d.takers() {
				if what == "delete by id" && name == "governance" || versioning == catalog.Unversioned && what == "form" {
					continue // the bypass may; the form is tried once
				}
				key := "key " + what
				d.setVersioning("attacked", catalog.Unversioned, false)
				d.put("attacked", key, "locked")
				d.setVersioning("attacked", catalog.Enabled, true)
				if _, err := d.mesh.Store.Change(ctx, "attacked", key, catalog.NullVersion, func(v *catalog.Version) error { lock(v); return nil }); err != nil {
					t.Fatal(err)
				}
				if versioning == catalog.Suspended {
					d.put("attacked", key, "above") // the null version need not be the newest
				}
				d.setVersioning("attacked", versioning, true)
				code := attempt(key)
				v, err := d.mesh.Store.Head(ctx, "attacked", key, catalog.NullVersion)
				kept := err == nil && v.Size == int64(len("locked"))
				if name == "" && (kept && what != "copy onto itself" || code != "") {
					t.Errorf("negative control: %s (%v): %q, kept %v", what, versioning, code, kept)
				}
				if name != "" && (!kept || code != "AccessDenied") {
					t.Errorf("%s of a version under %s (%v): %q, kept %v", what, name, versioning, code, kept)
				}
			}
		}
	}
}

// sentCode is the S3 code of an error, "" of none.
func sentCode(err error) string {
	var api smithy.APIError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &api):
		return api.ErrorCode()
	}
	return err.Error()
}

func later() time.Time { return time.Now().Add(time.Hour).UTC().Truncate(time.Millisecond) }

func (d *door) setVersioning(bucket string, v catalog.Versioning, lock bool) {
	d.t.Helper()
	_, err := d.mesh.Store.UpdateBucket(ctx, bucket, func(b *objects.Bucket) error {
		b.Versioning, b.Lock.Enabled = v, lock
		return nil
	})
	if err != nil {
		d.t.Fatal(err)
	}
}

// takers are the requests that take a key's null version away, by name. Each
// returns the code of its refusal.
func (d *door) takers() map[string]func(key string) string {
	b := aws.String("attacked")
	remove := func(key string, version *string) string {
		yes := true
		out, err := d.root.DeleteObjects(ctx, &awss3.DeleteObjectsInput{Bucket: b, BypassGovernanceRetention: &yes,
			Delete: &types.Delete{Objects: []types.ObjectIdentifier{{Key: &key, VersionId: version}}}})
		if err == nil && len(out.Errors) > 0 {
			return aws.ToString(out.Errors[0].Code)
		}
		return sentCode(err)
	}
	return map[string]func(key string) string{
		"put": func(key string) string {
			_, err := d.root.PutObject(ctx, &awss3.PutObjectInput{Bucket: b, Key: &key, Body: strings.NewReader("other bytes")})
			return sentCode(err)
		},
		"conditional put": func(key string) string {
			_, err := d.root.PutObject(ctx, &awss3.PutObjectInput{Bucket: b, Key: &key, Body: strings.NewReader("other bytes"), IfMatch: aws.String("*")})
			return sentCode(err)
		},
		"copy": func(key string) string {
			_, err := d.root.CopyObject(ctx, &awss3.CopyObjectInput{Bucket: b, Key: &key, CopySource: aws.String("attacked/source?versionId=null"),
				MetadataDirective: types.MetadataDirectiveReplace, ContentType: aws.String("text/other")})
			return sentCode(err)
		},
		"copy onto itself": func(key string) string {
			_, err := d.root.CopyObject(ctx, &awss3.CopyObjectInput{Bucket: b, Key: &key, CopySource: aws.String("attacked/" + url.PathEscape(key) + "?versionId=null"),
				MetadataDirective: types.MetadataDirectiveReplace, ContentType: aws.String("text/other")})
			return sentCode(err)
		},
		"completion": func(key string) string {
			u, err := d.root.CreateMultipartUpload(ctx, &awss3.CreateMultipartUploadInput{Bucket: b, Key: &key})
			if err != nil {
				return sentCode(err)
			}
			p, err := d.root.UploadPart(ctx, &awss3.UploadPartInput{Bucket: b, Key: &key, UploadId: u.UploadId, PartNumber: aws.Int32(1), Body: strings.NewReader("other bytes")})
			if err != nil {
				return sentCode(err)
			}
			_, err = d.root.CompleteMultipartUpload(ctx, &awss3.CompleteMultipartUploadInput{Bucket: b, Key: &key, UploadId: u.UploadId,
				MultipartUpload: &types.CompletedMultipartUpload{Parts: []types.CompletedPart{{PartNumber: aws.Int32(1), ETag: p.ETag}}}})
			return sentCode(err)
		},
		"form": func(key string) string {
			c := call{method: "POST", path: "/attacked", body: postForm(caller{rootKey, rootSecret}, time.Now(), map[string]string{"key": key}, "other bytes"),
				headers: []string{"Content-Type", "multipart/form-data; boundary=x"}}
			return d.attack(d.t, c.request(d.t)).code
		},
		"delete": func(key string) string {
			_, err := d.root.DeleteObject(ctx, &awss3.DeleteObjectInput{Bucket: b, Key: &key, BypassGovernanceRetention: aws.Bool(true)})
			return sentCode(err)
		},
		"delete by id": func(key string) string {
			_, err := d.root.DeleteObject(ctx, &awss3.DeleteObjectInput{Bucket: b, Key: &key, VersionId: aws.String("null"), BypassGovernanceRetention: aws.Bool(true)})
			return sentCode(err)
		},
		"delete many": func(key string) string { return remove(key, nil) },
	}
}
