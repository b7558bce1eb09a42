package s3

import "slices"

// objectOperations are the rows of operations on objects and their lists.
func objectOperations() []operation {
	return slices.Concat(objectRows(), objectConfigurationRows(), uploadRows(), listRows(), endedRows())
}

// objectRows are the operations on objects themselves.
func objectRows() []operation {
	return []operation{
		{name: "GetObject", method: "GET", scope: scopeObject, action: "s3:GetObject", versionAction: "s3:GetObjectVersion", anonymous: true, handle: (*Server).getObject},
		{name: "HeadObject", method: "HEAD", scope: scopeObject, action: "s3:GetObject", versionAction: "s3:GetObjectVersion", anonymous: true, handle: (*Server).getObject},
		{name: "PutObject", method: "PUT", scope: scopeObject, action: "s3:PutObject", anonymous: true, body: bodyStream, handle: (*Server).putObject},
		{name: "CopyObject", method: "PUT", scope: scopeObject, header: "x-amz-copy-source", action: "s3:PutObject", handle: (*Server).copyObject},
		{name: "DeleteObject", method: "DELETE", scope: scopeObject, action: "s3:DeleteObject", versionAction: "s3:DeleteObjectVersion", anonymous: true, handle: (*Server).deleteObject},
		{name: "DeleteObjects", method: "POST", scope: scopeBucket, query: []string{"delete"}, anonymous: true, body: bodyXML, handle: (*Server).deleteObjects},
		{name: "PostObject", method: "POST", scope: scopeBucket, action: "s3:PutObject", anonymous: true, body: bodyForm, handle: (*Server).postObject},
		{name: "GetObjectAttributes", method: "GET", scope: scopeObject, query: []string{"attributes"}, action: "s3:GetObjectAttributes", versionAction: "s3:GetObjectVersionAttributes", anonymous: true, handle: (*Server).getObjectAttributes},
		{name: "RestoreObject", method: "POST", scope: scopeObject, query: []string{"restore"}, action: "s3:RestoreObject", anonymous: true, body: bodyXML, handle: (*Server).restoreObject},
	}
}

// objectConfigurationRows are the sub-resources of objects.
func objectConfigurationRows() []operation {
	row := func(name, method, sub, action, versionAction string, body bodyKind, h handler) operation {
		return operation{
			name: name, method: method, scope: scopeObject, query: []string{sub},
			action: action, versionAction: versionAction, anonymous: name != "PutObjectAcl", body: body, handle: h,
		}
	}
	return []operation{
		row("GetObjectTagging", "GET", "tagging", "s3:GetObjectTagging", "s3:GetObjectVersionTagging", bodyNone, (*Server).getObjectTagging),
		row("PutObjectTagging", "PUT", "tagging", "s3:PutObjectTagging", "s3:PutObjectVersionTagging", bodyXML, (*Server).putObjectTagging).afterBody(),
		row("DeleteObjectTagging", "DELETE", "tagging", "s3:DeleteObjectTagging", "s3:DeleteObjectVersionTagging", bodyNone, (*Server).deleteObjectTagging),
		row("GetObjectAcl", "GET", "acl", "s3:GetObjectAcl", "s3:GetObjectVersionAcl", bodyNone, (*Server).getObjectAcl),
		row("PutObjectAcl", "PUT", "acl", "s3:PutObjectAcl", "s3:PutObjectVersionAcl", bodyXML, (*Server).putObjectAcl),
		row("GetObjectRetention", "GET", "retention", "s3:GetObjectRetention", "", bodyNone, (*Server).getObjectRetention),
		row("PutObjectRetention", "PUT", "retention", "s3:PutObjectRetention", "", bodyXML, (*Server).putObjectRetention).afterBody(),
		row("GetObjectLegalHold", "GET", "legal-hold", "s3:GetObjectLegalHold", "", bodyNone, (*Server).getObjectLegalHold),
		row("PutObjectLegalHold", "PUT", "legal-hold", "s3:PutObjectLegalHold", "", bodyXML, (*Server).putObjectLegalHold),
	}
}

// uploadRows are the operations of multipart uploads.
func uploadRows() []operation {
	return []operation{
		{name: "CreateMultipartUpload", method: "POST", scope: scopeObject, query: []string{"uploads"}, action: "s3:PutObject", handle: (*Server).createMultipartUpload},
		{name: "UploadPart", method: "PUT", scope: scopeObject, query: []string{"partNumber=*", "uploadId=*"}, action: "s3:PutObject", anonymous: true, body: bodyStream, handle: (*Server).uploadPart},
		{name: "UploadPartCopy", method: "PUT", scope: scopeObject, query: []string{"partNumber=*", "uploadId=*"}, header: "x-amz-copy-source", action: "s3:PutObject", handle: (*Server).uploadPartCopy},
		{name: "CompleteMultipartUpload", method: "POST", scope: scopeObject, query: []string{"uploadId=*"}, action: "s3:PutObject", anonymous: true, body: bodyXML, handle: (*Server).completeMultipartUpload},
		{name: "AbortMultipartUpload", method: "DELETE", scope: scopeObject, query: []string{"uploadId=*"}, action: "s3:AbortMultipartUpload", anonymous: true, handle: (*Server).abortMultipartUpload},
		{name: "ListParts", method: "GET", scope: scopeObject, query: []string{"uploadId=*"}, action: "s3:ListMultipartUploadParts", anonymous: true, handle: (*Server).listParts},
		{name: "ListMultipartUploads", method: "GET", scope: scopeBucket, query: []string{"uploads"}, action: "s3:ListBucketMultipartUploads", anonymous: true, handle: (*Server).listMultipartUploads},
	}
}

// listRows are the lists of a bucket's objects.
func listRows() []operation {
	return []operation{
		{name: "ListObjects", method: "GET", scope: scopeBucket, action: "s3:ListBucket", anonymous: true, handle: (*Server).listObjects},
		{name: "ListObjectsV2", method: "GET", scope: scopeBucket, query: []string{"list-type=2"}, action: "s3:ListBucket", anonymous: true, handle: (*Server).listObjectsV2},
		{name: "ListObjectVersions", method: "GET", scope: scopeBucket, query: []string{"versions"}, action: "s3:ListBucketVersions", anonymous: true, handle: (*Server).listObjectVersions},
	}
}

// endedRows are operations that S3 itself no longer, or not for general
// purpose buckets, offers.
func endedRows() []operation {
	return []operation{
		{name: "SelectObjectContent", method: "POST", scope: scopeObject, query: []string{"select"}, action: "s3:GetObject", body: bodyXML, handle: (*Server).selectObjectContent},
		{name: "GetObjectTorrent", method: "GET", scope: scopeObject, query: []string{"torrent"}, action: "s3:GetObject", handle: (*Server).getObjectTorrent},
		{name: "RenameObject", method: "PUT", scope: scopeObject, query: []string{"renameObject"}, action: "s3:PutObject", handle: (*Server).notOffered},
	}
}
