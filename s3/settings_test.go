package s3

import (
	"testing"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/access"
	"github.com/hallig-cloud/hallig/objects"
)

// TestSettingsCache: settings are parsed once for each revision of a bucket's
// record, and never taken for another revision's or for an unstored record's.
func TestSettingsCache(t *testing.T) {
	c := newSettingsCache()
	b := &objects.Bucket{ID: hallig.NewID(), Owner: "owner", Edit: 7}
	first := c.of(b)
	if c.of(b) != first || !first.ownership.ACLsDisabled() || first.aclErr != nil {
		t.Errorf("%+v", first)
	}
	b.Documents = map[objects.Document][]byte{objects.DocOwnership: {}}
	b.Edit = 8
	second := c.of(b)
	if second == first || second.ownership.ACLsDisabled() {
		t.Error("the settings of an earlier revision were used")
	}
	b.Edit = 0
	if c.of(b) == c.of(b) {
		t.Error("a record that is not stored was remembered")
	}
	for range maxSettings + 10 {
		c.of(&objects.Bucket{ID: hallig.NewID(), Edit: 1})
	}
	if len(c.by) > maxSettings {
		t.Error("the cache grows without bound")
	}
	broken := &objects.Bucket{ID: hallig.NewID(), Edit: 1, Documents: map[objects.Document][]byte{
		objects.DocPublicAccessBlock: []byte("<"), objects.DocOwnership: []byte("<"), objects.DocACL: []byte("<")}}
	st := c.of(broken)
	all := access.PublicAccessBlock{BlockPublicAcls: true, IgnorePublicAcls: true, BlockPublicPolicy: true, RestrictPublicBuckets: true}
	if st.block != all || !st.ownership.ACLsDisabled() || st.aclErr == nil {
		t.Errorf("documents that cannot be read open the bucket: %+v", st)
	}
}
