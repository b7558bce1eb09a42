// Package s3 is the S3 door: Amazon's REST API on net/http over objects.API.
//
// One file holds one operation; operations (route.go) is the one table that
// routes requests, names the permissions they need and says which may come
// unsigned; errors.go is the one table of error codes. A request passes, in
// this order: address (bucket and key, taken literally), route, CORS,
// authentication, authorization, handler. The body is not read, and so
// "100 Continue" is not sent, before authorization has succeeded.
//
// Source for shapes, codes and messages: Amazon S3 API Reference (2006-03-01).
package s3
