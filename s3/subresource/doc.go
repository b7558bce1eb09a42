// Package subresource holds the documents by which S3 clients configure a
// bucket: their XML shapes, the checks that Amazon S3 makes when they are put,
// and nothing else. It is pure; it neither reads nor stores a bucket.
//
// Every Parse function takes a whole document of at most MaxDocument bytes and
// returns either a valid value or an *Error with the S3 code and message that
// a client is to see. Parsing is strict as Amazon's is: an element that the
// published schema does not know is MalformedXML.
//
// Source: the Amazon S3 API reference, version 2006-03-01.
package subresource
