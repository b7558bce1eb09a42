package s3

import "net/http"

// A response counts what is sent; it is the http.ResponseWriter of handlers.
type response struct {
	http.ResponseWriter
	status int   // 0: nothing was sent
	bytes  int64 // of the body
	wait   *patience
}

// WriteHeader sends the status line and the headers, once.
func (w *response) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write sends a part of the body.
func (w *response) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	total := 0
	for {
		part := p[total:min(total+maxWrite, len(p))]
		w.wait.beforeWrite()
		n, err := w.ResponseWriter.Write(part)
		total += n
		w.bytes += int64(n)
		if err != nil || total == len(p) {
			return total, err
		}
	}
}

// Unwrap is for http.ResponseController.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }
