package s3

import (
	"io"
	"net/http"
	"time"
)

// maxWrite is what one write deadline covers, in bytes.
const maxWrite = 256 << 10

// A patience gives up on a connection whose client neither sends nor takes
// anything for a while. Any progress renews it, so that slow clients are
// served and stalled ones cannot hold memory.
type patience struct {
	control *http.ResponseController
	idle    time.Duration
	read    time.Time // when the read deadline was last set
	written time.Time // when the write deadline was last set
}

// renew says whether a deadline that was set at last is to be set again at now.
func (p *patience) renew(last *time.Time, now time.Time) bool {
	if now.Sub(*last) < p.idle/4 {
		return false
	}
	*last = now
	return true
}

func (p *patience) beforeRead() {
	if now := time.Now(); p.renew(&p.read, now) {
		p.control.SetReadDeadline(now.Add(p.idle)) //nolint:errcheck // a connection without deadlines has none
	}
}

// afterBody lifts the deadline: from here on the server only watches the
// connection, and the handler takes the time it needs.
func (p *patience) afterBody() {
	p.control.SetReadDeadline(time.Time{}) //nolint:errcheck // as above
}

func (p *patience) beforeWrite() {
	if now := time.Now(); p.renew(&p.written, now) {
		p.control.SetWriteDeadline(now.Add(p.idle)) //nolint:errcheck // as above
	}
}

// A patientBody is a request's body under a patience.
type patientBody struct {
	io.ReadCloser
	p *patience
}

// Read reads on, or fails with os.ErrDeadlineExceeded when nothing came.
func (b *patientBody) Read(buf []byte) (int, error) {
	b.p.beforeRead()
	n, err := b.ReadCloser.Read(buf)
	if err == io.EOF { //nolint:errorlint // a Reader's own end
		b.p.afterBody()
	}
	return n, err
}
