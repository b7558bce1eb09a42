package s3

import (
	"context"
	"slices"
)

type handler func(s *Server, ctx context.Context, q *request) error

// bucketOperations are the rows of operations on buckets and their
// configuration.
func bucketOperations() []operation {
	return slices.Concat(bucketRows(), configurationRows(), unusedRows())
}

func bucketRows() []operation {
	return []operation{
		{name: "ListBuckets", method: "GET", scope: scopeService, action: "s3:ListAllMyBuckets", anonymous: true, handle: (*Server).listBuckets},
		{name: "CreateBucket", method: "PUT", scope: scopeBucket, action: "s3:CreateBucket", body: bodyXML, handle: (*Server).createBucket},
		{name: "HeadBucket", method: "HEAD", scope: scopeBucket, action: "s3:ListBucket", anonymous: true, handle: (*Server).headBucket},
		{name: "DeleteBucket", method: "DELETE", scope: scopeBucket, action: "s3:DeleteBucket", anonymous: true, handle: (*Server).deleteBucket},
	}
}

// configurationRows are the sub-resources that are kept with a bucket.
func configurationRows() []operation {
	get := func(name, sub, action string, h handler) operation {
		return operation{name: name, method: "GET", scope: scopeBucket, query: []string{sub}, action: action, anonymous: true, handle: h}
	}
	put := func(name, sub, action string, h handler) operation {
		return operation{name: name, method: "PUT", scope: scopeBucket, query: []string{sub}, action: action, body: bodyXML, anonymous: true, handle: h}
	}
	del := func(name, sub, action string, h handler) operation {
		return operation{name: name, method: "DELETE", scope: scopeBucket, query: []string{sub}, action: action, anonymous: true, handle: h}
	}
	rows := []operation{
		get("GetBucketLocation", "location", "s3:GetBucketLocation", (*Server).getBucketLocation),
		get("GetBucketVersioning", "versioning", "s3:GetBucketVersioning", (*Server).getBucketVersioning),
		put("PutBucketVersioning", "versioning", "s3:PutBucketVersioning", (*Server).putBucketVersioning),
		get("GetBucketTagging", "tagging", "s3:GetBucketTagging", (*Server).getBucketTagging),
		put("PutBucketTagging", "tagging", "s3:PutBucketTagging", (*Server).putBucketTagging),
		del("DeleteBucketTagging", "tagging", "s3:PutBucketTagging", (*Server).deleteBucketTagging),
		get("GetBucketCors", "cors", "s3:GetBucketCORS", (*Server).getBucketCors),
		put("PutBucketCors", "cors", "s3:PutBucketCORS", (*Server).putBucketCors),
		del("DeleteBucketCors", "cors", "s3:PutBucketCORS", (*Server).deleteBucketCors),
		get("GetBucketPolicy", "policy", "s3:GetBucketPolicy", (*Server).getBucketPolicy),
		put("PutBucketPolicy", "policy", "s3:PutBucketPolicy", (*Server).putBucketPolicy),
		del("DeleteBucketPolicy", "policy", "s3:DeleteBucketPolicy", (*Server).deleteBucketPolicy),
		get("GetBucketPolicyStatus", "policyStatus", "s3:GetBucketPolicyStatus", (*Server).getBucketPolicyStatus),
		get("GetPublicAccessBlock", "publicAccessBlock", "s3:GetBucketPublicAccessBlock", (*Server).getPublicAccessBlock),
		put("PutPublicAccessBlock", "publicAccessBlock", "s3:PutBucketPublicAccessBlock", (*Server).putPublicAccessBlock),
		del("DeletePublicAccessBlock", "publicAccessBlock", "s3:PutBucketPublicAccessBlock", (*Server).deletePublicAccessBlock),
		get("GetBucketOwnershipControls", "ownershipControls", "s3:GetBucketOwnershipControls", (*Server).getBucketOwnershipControls),
		put("PutBucketOwnershipControls", "ownershipControls", "s3:PutBucketOwnershipControls", (*Server).putBucketOwnershipControls),
		del("DeleteBucketOwnershipControls", "ownershipControls", "s3:PutBucketOwnershipControls", (*Server).deleteBucketOwnershipControls),
		get("GetBucketAcl", "acl", "s3:GetBucketAcl", (*Server).getBucketAcl),
		put("PutBucketAcl", "acl", "s3:PutBucketAcl", (*Server).putBucketAcl),
		get("GetObjectLockConfiguration", "object-lock", "s3:GetBucketObjectLockConfiguration", (*Server).getObjectLockConfiguration),
		put("PutObjectLockConfiguration", "object-lock", "s3:PutBucketObjectLockConfiguration", (*Server).putObjectLockConfiguration),
		get("GetBucketEncryption", "encryption", "s3:GetEncryptionConfiguration", (*Server).getBucketEncryption),
		put("PutBucketEncryption", "encryption", "s3:PutEncryptionConfiguration", (*Server).putBucketEncryption),
		del("DeleteBucketEncryption", "encryption", "s3:PutEncryptionConfiguration", (*Server).deleteBucketEncryption),
		get("GetBucketLifecycleConfiguration", "lifecycle", "s3:GetLifecycleConfiguration", (*Server).getBucketLifecycle),
		put("PutBucketLifecycleConfiguration", "lifecycle", "s3:PutLifecycleConfiguration", (*Server).putBucketLifecycle),
		del("DeleteBucketLifecycle", "lifecycle", "s3:PutLifecycleConfiguration", (*Server).deleteBucketLifecycle),
		get("GetBucketWebsite", "website", "s3:GetBucketWebsite", (*Server).getBucketWebsite),
		put("PutBucketWebsite", "website", "s3:PutBucketWebsite", (*Server).putBucketWebsite),
		del("DeleteBucketWebsite", "website", "s3:DeleteBucketWebsite", (*Server).deleteBucketWebsite),
		get("GetBucketNotificationConfiguration", "notification", "s3:GetBucketNotification", (*Server).getBucketNotification),
		put("PutBucketNotificationConfiguration", "notification", "s3:PutBucketNotification", (*Server).putBucketNotification),
		get("GetBucketLogging", "logging", "s3:GetBucketLogging", (*Server).getBucketLogging),
		put("PutBucketLogging", "logging", "s3:PutBucketLogging", (*Server).putBucketLogging),
		get("GetBucketRequestPayment", "requestPayment", "s3:GetBucketRequestPayment", (*Server).getBucketRequestPayment),
		put("PutBucketRequestPayment", "requestPayment", "s3:PutBucketRequestPayment", (*Server).putBucketRequestPayment),
		get("GetBucketAccelerateConfiguration", "accelerate", "s3:GetAccelerateConfiguration", (*Server).getBucketAccelerateConfiguration),
		put("PutBucketAccelerateConfiguration", "accelerate", "s3:PutAccelerateConfiguration", (*Server).putBucketAccelerateConfiguration),
	}
	for i, op := range rows { // what no policy opens to everybody
		switch op.name {
		case "PutBucketAcl", "GetBucketOwnershipControls", "PutBucketOwnershipControls", "DeleteBucketOwnershipControls":
			rows[i].anonymous = false
		}
	}
	return rows
}

// unusedRows are the configurations that are answered as S3 answers when they
// are not used.
func unusedRows() []operation {
	rows := []operation{
		{name: "GetBucketReplication", method: "GET", scope: scopeBucket, query: []string{"replication"}, action: "s3:GetReplicationConfiguration", handle: (*Server).noReplication},
		{name: "PutBucketReplication", method: "PUT", scope: scopeBucket, query: []string{"replication"}, action: "s3:PutReplicationConfiguration", body: bodyXML, handle: (*Server).notImplemented},
		{name: "DeleteBucketReplication", method: "DELETE", scope: scopeBucket, query: []string{"replication"}, action: "s3:PutReplicationConfiguration", handle: (*Server).deleteNothing},
	}
	for _, u := range []struct{ sub, noun, list, root, action string }{
		{"analytics", "AnalyticsConfiguration", "ListBucketAnalyticsConfigurations", "ListBucketAnalyticsConfigurationResult", "AnalyticsConfiguration"},
		{"inventory", "InventoryConfiguration", "ListBucketInventoryConfigurations", "ListInventoryConfigurationsResult", "InventoryConfiguration"},
		{"metrics", "MetricsConfiguration", "ListBucketMetricsConfigurations", "ListMetricsConfigurationsResult", "MetricsConfiguration"},
		{"intelligent-tiering", "IntelligentTieringConfiguration", "ListBucketIntelligentTieringConfigurations", "ListBucketIntelligentTieringConfigurationsOutput", "IntelligentTieringConfiguration"},
	} {
		read, write := "s3:Get"+u.action, "s3:Put"+u.action
		rows = append(rows,
			operation{name: u.list, method: "GET", scope: scopeBucket, query: []string{u.sub}, action: read, handle: emptyList(u.root)},
			operation{name: "GetBucket" + u.noun, method: "GET", scope: scopeBucket, query: []string{u.sub, "id=*"}, action: read, handle: (*Server).noConfiguration},
			operation{name: "PutBucket" + u.noun, method: "PUT", scope: scopeBucket, query: []string{u.sub}, action: write, body: bodyXML, handle: (*Server).notImplemented},
			operation{name: "DeleteBucket" + u.noun, method: "DELETE", scope: scopeBucket, query: []string{u.sub}, action: write, handle: (*Server).noConfiguration},
		)
	}
	return rows
}
