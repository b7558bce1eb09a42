package s3

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/hallig-cloud/hallig/objects"
)

// maxBuckets bounds a page of ListBuckets, as on S3.
const maxBuckets = 10_000

type listBucketsResult struct {
	Owner   ownerXML      `xml:"Owner"`
	Buckets bucketListXML `xml:"Buckets"`
	Token   string        `xml:"ContinuationToken,omitempty"`
	Prefix  string        `xml:"Prefix,omitempty"`
}

type bucketListXML struct {
	Bucket []bucketXML `xml:"Bucket"`
}

type bucketXML struct {
	Name    string `xml:"Name"`
	Created string `xml:"CreationDate"`
	Region  string `xml:"BucketRegion,omitempty"`
	ARN     string `xml:"BucketArn,omitempty"`
}

// listBuckets lists the buckets that the caller owns, and those that the
// caller may list; the root user sees every bucket.
func (s *Server) listBuckets(ctx context.Context, q *request) error {
	limit := maxBuckets
	if v := q.query.Get("max-buckets"); q.query.Has("max-buckets") {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > maxBuckets {
			return invalidArgument("max-buckets", v, "Argument max-buckets must be an integer between 1 and 10000.")
		}
		limit = n
	}
	prefix := q.query.Get("prefix")
	after := q.query.Get("continuation-token")
	if len(after) > 63 {
		return invalidArgument("continuation-token", after[:63], "The continuation token provided is incorrect")
	}
	found, more, err := s.bucketPage(ctx, q, prefix, after, limit)
	if err != nil {
		return err
	}
	res := listBucketsResult{Owner: ownerXML{q.auth.user, s.displayName(ctx, q.auth.user)}, Prefix: prefix}
	for _, b := range found {
		e := bucketXML{Name: b.Name, Created: b.Created.UTC().Format(listTime), Region: s.regionOf(b.Region)}
		res.Buckets.Bucket = append(res.Buckets.Bucket, e)
	}
	if more {
		res.Token = found[len(found)-1].Name
	}
	return q.sendXML("ListAllMyBucketsResult", res)
}

// listTime is the time format of lists.
const listTime = "2006-01-02T15:04:05.000Z"

// bucketPage walks the store's buckets in order and keeps those asked for.
func (s *Server) bucketPage(ctx context.Context, q *request, prefix, after string, limit int) (found []objects.Bucket, more bool, err error) {
	region := q.query.Get("bucket-region")
	if prefix > after {
		after = prefix[:len(prefix)-1] // sorts before every name with the prefix
	}
	for {
		page, err := s.cfg.Store.Buckets(ctx, after, 1000)
		if err != nil {
			return nil, false, fmt.Errorf("list buckets: %w", err)
		}
		for _, b := range page {
			after = b.Name
			if !strings.HasPrefix(b.Name, prefix) {
				if b.Name > prefix {
					return found, false, nil
				}
				continue
			}
			if b.Closing || region != "" && s.regionOf(b.Region) != region || !s.listed(ctx, q, &b) {
				continue
			}
			if len(found) == limit {
				return found, true, nil
			}
			found = append(found, b)
		}
		if len(page) == 0 {
			return found, false, nil
		}
	}
}

// listed reports whether the caller is shown a bucket.
func (s *Server) listed(ctx context.Context, q *request, b *objects.Bucket) bool {
	return b.Owner == q.auth.user || q.auth.root || q.permitOn(ctx, "s3:ListBucket", b, "", "") == nil
}
