package s3

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"os"

	"github.com/hallig-cloud/hallig"
)

// An Error is an S3 error response. Values are immutable; With returns a copy.
type Error struct {
	Code    string
	Message string
	Status  int
	Fields  []Field // further elements, in order, between Message and RequestId
	cause   error   // for the log; never sent
}

// A Field is one further element of an error's body.
type Field struct{ Name, Value string }

// Error describes the error for logs.
func (e *Error) Error() string {
	if e.cause != nil {
		return e.Code + ": " + e.cause.Error()
	}
	return e.Code + ": " + e.Message
}

// Unwrap returns what caused the error, if anything did.
func (e *Error) Unwrap() error { return e.cause }

// With returns a copy of e with one more element in its body.
func (e *Error) With(name, value string) *Error {
	c := *e
	c.Fields = append(append([]Field(nil), e.Fields...), Field{name, value})
	return &c
}

// Because returns a copy of e that remembers its cause.
func (e *Error) Because(err error) *Error {
	c := *e
	c.cause = err
	return &c
}

// fail returns the error of a code with its usual message and status.
func fail(code string) *Error {
	row, ok := errorTable[code]
	if !ok {
		row = errorTable["InternalError"]
	}
	return &Error{Code: code, Message: row.message, Status: row.status}
}

// failMessage is fail with another message, for the codes that have several.
func failMessage(code, message string) *Error {
	e := fail(code)
	e.Message = message
	return e
}

func invalidArgument(name, value, message string) *Error {
	return failMessage("InvalidArgument", message).With("ArgumentName", name).With("ArgumentValue", value)
}

func invalidRequest(message string) *Error { return failMessage("InvalidRequest", message) }

// fromError turns any error into the S3 error that is sent for it. It is the
// only place where sentinels become codes; handlers that know better (which
// resource was missing, which condition failed) return an *Error themselves.
func fromError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	if e, ok := fromDocument(err); ok {
		return e
	}
	if e, ok := fromAccess(err); ok {
		return e
	}
	if e, ok := fromProof(err); ok {
		return e
	}
	var tooLong *http.MaxBytesError
	if errors.As(err, &tooLong) {
		return fail("MaxMessageLengthExceeded").Because(err)
	}
	for _, row := range sentinelTable {
		if errors.Is(err, row.sentinel) {
			return fail(row.code).Because(err)
		}
	}
	return fail("InternalError").Because(err)
}

var sentinelTable = []struct {
	sentinel error
	code     string
}{
	// First what went wrong below, whatever it went wrong with: an object whose
	// shards are not found is not an object that does not exist.
	{hallig.ErrLost, "InternalError"},
	{hallig.ErrCorrupt, "InternalError"},
	{hallig.ErrUnavailable, "ServiceUnavailable"},
	{hallig.ErrNotFound, "NoSuchKey"},
	{hallig.ErrPrecondition, "PreconditionFailed"},
	{hallig.ErrNotModified, "NotModified"},
	{hallig.ErrLockHeld, "ObjectLocked"},
	{hallig.ErrDenied, "AccessDenied"},
	{hallig.ErrStale, "OperationAborted"},
	{hallig.ErrConflict, "OperationAborted"},
	{hallig.ErrFenced, "ServiceUnavailable"},
	{hallig.ErrNotEmpty, "BucketNotEmpty"},
	{hallig.ErrTooLarge, "EntityTooLarge"},
	{hallig.ErrUnsupported, "NotImplemented"},
	{hallig.ErrKeyLocked, "ServiceUnavailable"},
	{hallig.ErrKeyUnknown, "KMS.NotFoundException"},
	{hallig.ErrFull, "ServiceUnavailable"},
	{hallig.ErrReadOnly, "ServiceUnavailable"},
	{io.ErrUnexpectedEOF, "IncompleteBody"},
	{context.DeadlineExceeded, "RequestTimeout"},
	{os.ErrDeadlineExceeded, "RequestTimeout"},
	{context.Canceled, "RequestTimeout"},
	{hallig.ErrInvalid, "InvalidRequest"},
}

type errorRow struct {
	status  int
	message string
}

// errorTable holds every code that Hallig sends, as AWS's list of error codes
// words it (which ends sentences with a period where some of its servers do
// not). Read only.
var errorTable = map[string]errorRow{
	"AccessControlListNotSupported":                  {400, "The bucket does not allow ACLs."},
	"AccessDenied":                                   {403, "Access Denied."},
	"AccessForbidden":                                {403, "CORSResponse: CORS is not enabled for this bucket."},
	"AuthorizationHeaderMalformed":                   {400, "The authorization header you provided is invalid."},
	"AuthorizationQueryParametersError":              {400, "The authorization query parameters that you provided are not valid."},
	"BadDigest":                                      {400, "The Content-MD5 you specified did not match what we received."},
	"BadRequest":                                     {400, "Bad Request"},
	"BucketAlreadyExists":                            {409, "The requested bucket name is not available. The bucket name can not be an existing collection, and the bucket namespace is shared by all users of the system. Please select a different name and try again."},
	"BucketAlreadyOwnedByYou":                        {409, "Your previous request to create the named bucket succeeded and you already own it."},
	"BucketNotEmpty":                                 {409, "The bucket you tried to delete is not empty."},
	"ConditionalRequestConflict":                     {409, "The conditional request cannot succeed due to a conflicting operation against this resource."},
	"EntityTooLarge":                                 {400, "Your proposed upload exceeds the maximum allowed object size."},
	"EntityTooSmall":                                 {400, "Your proposed upload is smaller than the minimum allowed size"},
	"ExpiredToken":                                   {400, "The provided token has expired."},
	"IllegalLocationConstraintException":             {400, "The unspecified location constraint is incompatible for the region specific endpoint this request was sent to."},
	"IllegalVersioningConfigurationException":        {400, "The Versioning element must be specified"},
	"IncompleteBody":                                 {400, "You did not provide the number of bytes specified by the Content-Length HTTP header"},
	"InternalError":                                  {500, "We encountered an internal error. Please try again."},
	"InvalidAccessKeyId":                             {403, "The AWS Access Key Id you provided does not exist in our records."},
	"InvalidArgument":                                {400, "Invalid Argument"},
	"InvalidBucketAclWithBlockPublicAccessError":     {400, "Bucket cannot have public ACLs set with BlockPublicAccess enabled"},
	"InvalidBucketAclWithObjectOwnership":            {400, "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting"},
	"InvalidBucketName":                              {400, "The specified bucket is not valid."},
	"InvalidBucketState":                             {409, "The request is not valid for the current state of the bucket."},
	"InvalidChunkSizeError":                          {403, "Only the last chunk is allowed to have a size less than 8192 bytes"},
	"InvalidDigest":                                  {400, "The Content-Md5 you specified is not valid."},
	"InvalidEncryptionAlgorithmError":                {400, "The encryption request you specified is not valid. The valid value is AES256."},
	"InvalidLocationConstraint":                      {400, "The specified location-constraint is not valid"},
	"InvalidObjectState":                             {403, "The operation is not valid for the object's storage class"},
	"InvalidPart":                                    {400, "One or more of the specified parts could not be found.  The part may not have been uploaded, or the specified entity tag may not match the part's entity tag."},
	"InvalidPartNumber":                              {416, "The requested partnumber is not satisfiable."},
	"InvalidPartOrder":                               {400, "The list of parts was not in ascending order. Parts must be ordered by part number."},
	"InvalidPolicyDocument":                          {400, "Invalid Policy: Invalid JSON."},
	"InvalidRange":                                   {416, "The requested range is not satisfiable"},
	"InvalidRedirectLocation":                        {400, "The website redirect location must have a prefix of 'http://' or 'https://' or '/'."},
	"InvalidRequest":                                 {400, "Invalid Request."},
	"InvalidStorageClass":                            {400, "The storage class you specified is not valid"},
	"InvalidTag":                                     {400, "The tag provided was not a valid tag. This error can occur if the tag did not pass input validation."},
	"InvalidTargetBucketForLogging":                  {400, "The target bucket for logging does not exist, is not owned by you, or does not have the appropriate grants for the log-delivery group."},
	"InvalidToken":                                   {400, "The provided token is malformed or otherwise invalid."},
	"InvalidURI":                                     {400, "The specified URI couldn't be parsed."},
	"KMS.NotFoundException":                          {400, "The specified KMS key does not exist"},
	"KeyTooLongError":                                {400, "Your key is too long."},
	"MalformedACLError":                              {400, "The XML you provided was not well-formed or did not validate against our published schema."},
	"MalformedPOSTRequest":                           {400, "The body of your POST request is not well-formed multipart/form-data."},
	"MalformedPolicy":                                {400, "Policies must be valid JSON and the first byte must be '{'"},
	"MalformedTrailerError":                          {400, "The request contained trailing data that was not well-formed or did not conform to our published schema."},
	"MalformedXML":                                   {400, "The XML you provided was not well-formed or did not validate against our published schema."},
	"MaxMessageLengthExceeded":                       {400, "Your request was too big."},
	"MaxPostPreDataLengthExceeded":                   {400, "Your POST request fields preceding the upload file were too large."},
	"MetadataTooLarge":                               {400, "Your metadata headers exceed the maximum allowed metadata size"},
	"MethodNotAllowed":                               {405, "The specified method is not allowed against this resource."},
	"MissingContentLength":                           {411, "You must provide the Content-Length HTTP header."},
	"MissingRequestBodyError":                        {400, "Request Body is empty"},
	"MissingSecurityHeader":                          {400, "Your request was missing a required header."},
	"NoSuchBucket":                                   {404, "The specified bucket does not exist."},
	"NoSuchBucketPolicy":                             {404, "The bucket policy does not exist."},
	"NoSuchConfiguration":                            {404, "The specified configuration does not exist."},
	"NoSuchCORSConfiguration":                        {404, "The CORS configuration does not exist"},
	"NoSuchKey":                                      {404, "The specified key does not exist."},
	"NoSuchLifecycleConfiguration":                   {404, "The lifecycle configuration does not exist"},
	"NoSuchObjectLockConfiguration":                  {404, "The specified object does not have a ObjectLock configuration."},
	"NoSuchPublicAccessBlockConfiguration":           {404, "The public access block configuration was not found"},
	"NoSuchTagSet":                                   {404, "The TagSet does not exist."},
	"NoSuchUpload":                                   {404, "The specified multipart upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed."},
	"NoSuchVersion":                                  {404, "The specified version does not exist."},
	"NoSuchWebsiteConfiguration":                     {404, "The specified bucket does not have a website configuration"},
	"NotImplemented":                                 {501, "A header you provided implies functionality that is not implemented."},
	"NotModified":                                    {304, "Not Modified"},
	"ObjectLockConfigurationNotFoundError":           {404, "Object Lock configuration does not exist for this bucket."},
	"ObjectLocked":                                   {403, "Access Denied because object protected by object lock."},
	"OperationAborted":                               {409, "A conflicting conditional operation is currently in progress against this resource. Please try again."},
	"OwnershipControlsNotFoundError":                 {404, "The bucket ownership controls were not found."},
	"PermanentRedirect":                              {301, "The bucket you are attempting to access must be addressed using the specified endpoint. Please send all future requests to this endpoint."},
	"PreconditionFailed":                             {412, "At least one of the pre-conditions you specified did not hold."},
	"ReplicationConfigurationNotFoundError":          {404, "The replication configuration was not found"},
	"RequestHeaderSectionTooLarge":                   {400, "Your request header section exceeds the maximum allowed size."},
	"RequestTimeTooSkewed":                           {403, "The difference between the request time and the current time is too large."},
	"RequestTimeout":                                 {400, "Your socket connection to the server was not read from or written to within the timeout period. Idle connections will be closed."},
	"ServerSideEncryptionConfigurationNotFoundError": {404, "The server side encryption configuration was not found"},
	"ServiceUnavailable":                             {503, "Service is unable to handle request."},
	"SignatureDoesNotMatch":                          {403, "The request signature we calculated does not match the signature you provided. Check your key and signing method."},
	"SlowDown":                                       {503, "Please reduce your request rate."},
	"TooManyBuckets":                                 {400, "You have attempted to create more buckets than allowed"},
	"UnexpectedContent":                              {400, "This request does not support content."},
	"UnresolvableGrantByEmailAddress":                {400, "The email address you provided does not match any account on record."},
	"UserKeyMustBeSpecified":                         {400, "The bucket POST must contain the specified field name.  If it is specified, please check the order of the fields."},
	"XAmzContentSHA256Mismatch":                      {400, "The provided 'x-amz-content-sha256' header does not match what was computed."},
}

// body renders the error document.
func (e *Error) body(requestID, hostID string) []byte {
	var b bytes.Buffer
	b.WriteString(xml.Header)
	b.WriteString("<Error>")
	element(&b, "Code", e.sentCode())
	element(&b, "Message", e.Message)
	for _, f := range e.Fields {
		element(&b, f.Name, f.Value)
	}
	element(&b, "RequestId", requestID)
	element(&b, "HostId", hostID)
	b.WriteString("</Error>")
	return b.Bytes()
}

func element(b *bytes.Buffer, name, value string) {
	b.WriteString("<" + name + ">")
	xml.EscapeText(b, []byte(value)) //nolint:errcheck // a bytes.Buffer takes every write
	b.WriteString("</" + name + ">")
}
