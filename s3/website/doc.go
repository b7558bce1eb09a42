// Package website holds a bucket's website configuration and decides, from a
// request's path and from what reading an object gave, whether to serve, to
// redirect or to show an error page. It is pure; package s3 reads the objects.
//
// Source: "Hosting a static website using Amazon S3", Amazon S3 user guide.
package website
