package s3

import (
	"github.com/hallig-cloud/hallig/objects"
	"github.com/hallig-cloud/hallig/s3/subresource"
)

// What follows waits for package access.

func (q *request) newBucketACL(b *objects.Bucket, ownership string) error { return nil }
func aclGrantsOthers(b *objects.Bucket) bool                              { return false }
func (s *Server) listed(q *request, b *objects.Bucket) bool               { return true }
func (q *request) becomeAnonymous()                                       { q.auth = credentials{anonymous: true} }

type ownerXML struct {
	ID          string `xml:"ID"`
	DisplayName string `xml:"DisplayName,omitempty"`
}

func (q *request) ownerElement() ownerXML { return ownerXML{ID: q.auth.user} }

var _ = subresource.Malformed
