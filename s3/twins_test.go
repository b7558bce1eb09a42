package s3_test

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// TestCompleteTwins sends the same completion several times at once: whichever
// of them makes the object, all are told that it was made.
func TestCompleteTwins(t *testing.T) {
	d := openDoor(t)
	ctx, bucket := context.Background(), d.bucket("twins")
	for range 30 {
		up, err := d.root.CreateMultipartUpload(ctx, &awss3.CreateMultipartUploadInput{Bucket: &bucket, Key: aws.String("key")})
		if err != nil {
			t.Fatal(err)
		}
		part, err := d.root.UploadPart(ctx, &awss3.UploadPartInput{Bucket: &bucket, Key: aws.String("key"), UploadId: up.UploadId, PartNumber: aws.Int32(1), Body: strings.NewReader(*up.UploadId)})
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		errs := make([]error, 6)
		for i := range errs {
			wg.Go(func() {
				_, errs[i] = d.root.CompleteMultipartUpload(ctx, &awss3.CompleteMultipartUploadInput{Bucket: &bucket, Key: aws.String("key"), UploadId: up.UploadId,
					MultipartUpload: &types.CompletedMultipartUpload{Parts: []types.CompletedPart{{ETag: part.ETag, PartNumber: aws.Int32(1)}}}})
			})
		}
		wg.Wait()
		for _, err := range errs {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}
