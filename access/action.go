package access

import (
	"slices"
	"strings"
)

// A Scope is what an action applies to.
type Scope uint8

// The scopes.
const (
	OnService Scope = iota // no resource but "*"
	OnBucket
	OnObject
)

// Actions returns every S3 action that a policy can name, with its scope.
// Source: Service Authorization Reference, "Actions, resources, and condition
// keys for Amazon S3".
func Actions() map[string]Scope {
	m := make(map[string]Scope, 128)
	for name := range strings.FieldsSeq(`ListAllMyBuckets GetAccountPublicAccessBlock PutAccountPublicAccessBlock`) {
		m["s3:"+name] = OnService
	}
	for name := range strings.FieldsSeq(`CreateBucket DeleteBucket ListBucket ListBucketVersions ListBucketMultipartUploads
		GetBucketLocation GetBucketVersioning PutBucketVersioning GetBucketTagging PutBucketTagging GetBucketCORS PutBucketCORS
		GetBucketPolicy PutBucketPolicy DeleteBucketPolicy GetBucketPolicyStatus GetBucketPublicAccessBlock PutBucketPublicAccessBlock
		GetBucketOwnershipControls PutBucketOwnershipControls GetBucketAcl PutBucketAcl GetBucketObjectLockConfiguration
		PutBucketObjectLockConfiguration GetEncryptionConfiguration PutEncryptionConfiguration GetLifecycleConfiguration
		PutLifecycleConfiguration GetBucketWebsite PutBucketWebsite DeleteBucketWebsite GetBucketNotification PutBucketNotification
		GetBucketLogging PutBucketLogging GetBucketRequestPayment PutBucketRequestPayment GetAccelerateConfiguration
		PutAccelerateConfiguration GetAnalyticsConfiguration PutAnalyticsConfiguration GetInventoryConfiguration
		PutInventoryConfiguration GetMetricsConfiguration PutMetricsConfiguration GetIntelligentTieringConfiguration
		PutIntelligentTieringConfiguration GetReplicationConfiguration PutReplicationConfiguration
		GetBucketMetadataTableConfiguration CreateBucketMetadataTableConfiguration DeleteBucketMetadataTableConfiguration
		UpdateBucketMetadataInventoryTableConfiguration UpdateBucketMetadataJournalTableConfiguration
		GetBucketAbac PutBucketAbac CreateSession`) {
		m["s3:"+name] = OnBucket
	}
	for name := range strings.FieldsSeq(`GetObject GetObjectVersion PutObject DeleteObject DeleteObjectVersion AbortMultipartUpload
		ListMultipartUploadParts GetObjectAcl GetObjectVersionAcl PutObjectAcl PutObjectVersionAcl GetObjectTagging
		GetObjectVersionTagging PutObjectTagging PutObjectVersionTagging DeleteObjectTagging DeleteObjectVersionTagging
		GetObjectAttributes GetObjectVersionAttributes GetObjectRetention PutObjectRetention GetObjectLegalHold PutObjectLegalHold
		BypassGovernanceRetention RestoreObject GetObjectTorrent GetObjectVersionTorrent GetObjectVersionForReplication
		ReplicateObject ReplicateDelete ReplicateTags InitiateReplication
		UpdateObjectEncryption`) {
		m["s3:"+name] = OnObject
	}
	return m
}

// matching returns the known actions that a pattern names.
func matching(known map[string]Scope, pattern string) []string {
	var found []string
	for name := range known {
		if matchFold(pattern, name) {
			found = append(found, name)
		}
	}
	return found
}

// reads reports whether an action reads an object's bytes or what belongs to
// them: what a bucket's owner may not do to another's object without a grant.
func reads(action string) bool {
	return strings.HasPrefix(action, "s3:GetObject") || slices.Contains([]string{
		"s3:PutObjectAcl", "s3:PutObjectVersionAcl", "s3:PutObjectTagging", "s3:PutObjectVersionTagging", "s3:RestoreObject"}, action)
}

// aclPermission returns the ACL permission that covers an action, and whether
// it stands in the object's ACL rather than in the bucket's. Source: S3 User
// Guide, "Mapping of ACL permissions and access policy permissions".
func aclPermission(action string) (p Permission, object bool) {
	switch action {
	case "s3:ListBucket", "s3:ListBucketVersions", "s3:ListBucketMultipartUploads":
		return Read, false
	case "s3:PutObject", "s3:DeleteObject":
		return Write, false
	case "s3:GetBucketAcl":
		return ReadACP, false
	case "s3:PutBucketAcl":
		return WriteACP, false
	case "s3:GetObject", "s3:GetObjectVersion", "s3:GetObjectAttributes", "s3:GetObjectVersionAttributes":
		return Read, true
	case "s3:GetObjectAcl", "s3:GetObjectVersionAcl":
		return ReadACP, true
	case "s3:PutObjectAcl", "s3:PutObjectVersionAcl":
		return WriteACP, true
	}
	return "", false
}
