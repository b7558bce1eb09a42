// Package cors decides cross-origin requests by a bucket's CORS
// configuration: which rule applies to a preflight or to an actual request,
// and which headers the answer carries. It is pure.
//
// Sources: "Using cross-origin resource sharing", Amazon S3 user guide;
// the Fetch standard, section "CORS protocol".
package cors
