// Package accesslog writes a bucket's server access log into a bucket: lines
// in Amazon's format, gathered into objects under the target prefix.
//
// Delivery is best effort, as Amazon's is: lines wait in memory for at most
// Config.Every and Config.Size, and are lost if the process dies meanwhile or
// if the log cannot keep up; what is lost that way is counted. An orderly end
// of Run delivers everything.
//
// Source: "Amazon S3 server access log format", Amazon S3 user guide.
package accesslog
