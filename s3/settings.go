package s3

import (
	"sync"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/access"
	"github.com/hallig-cloud/hallig/objects"
)

// settings are what every request asks of a bucket's documents, parsed. They
// are shared and not to be changed.
type settings struct {
	edit      hallig.Revision // of the bucket that they are of
	ownership access.Ownership
	block     access.PublicAccessBlock
	acl       *access.ACL
	aclErr    error
}

// A settingsCache remembers the settings of buckets, each as of one revision of
// the bucket's record. It is safe for concurrent use.
type settingsCache struct {
	mu sync.RWMutex
	by map[hallig.BucketID]*settings
}

// maxSettings bounds the cache.
const maxSettings = 4096

func newSettingsCache() *settingsCache {
	return &settingsCache{by: make(map[hallig.BucketID]*settings)}
}

// of returns the settings of b as it is, which must have come from the store: a
// bucket that is being changed still has the revision of what it was.
func (c *settingsCache) of(b *objects.Bucket) *settings {
	c.mu.RLock()
	st := c.by[b.ID]
	c.mu.RUnlock()
	if st != nil && st.edit == b.Edit && b.Edit != 0 {
		return st
	}
	st = &settings{edit: b.Edit, ownership: access.Ownership(ownershipOf(b)), block: access.PublicAccessBlock(publicAccessBlock(b))}
	st.acl, st.aclErr = bucketACL(b)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.by) >= maxSettings {
		clear(c.by)
	}
	c.by[b.ID] = st
	return st
}
