package s3

import (
	"net/http"
	"time"
)

// httpTime writes a time as HTTP headers do, in whole seconds.
func httpTime(t time.Time) string { return t.UTC().Format(http.TimeFormat) }
