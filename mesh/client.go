package mesh

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"

	"github.com/hallig-cloud/hallig"
)

// A Client calls the RPC handlers of one node. It is cheap, holds nothing, and
// outlives the node: while the node is no member, calls fail.
type Client struct {
	mesh *Mesh
	node hallig.NodeID
}

// Client returns the client for a node.
func (m *Mesh) Client(node hallig.NodeID) *Client { return &Client{mesh: m, node: node} }

// Node returns the node that the client calls.
func (c *Client) Node() hallig.NodeID { return c.node }

// State returns the node's state; PeerDown for one that is no member.
func (c *Client) State() PeerState {
	p, err := c.mesh.peer(c.node)
	if err != nil {
		return PeerDown
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.health.state
}

type longKey struct{}

// Long marks the calls made with a context as ones whose time says nothing of
// the peer's health: they carry a lot of data, or wait for something to happen.
// They use connections of their own.
func Long(ctx context.Context) context.Context { return context.WithValue(ctx, longKey{}, true) }

// Do sends a request; only method, path, query, header and body of it count.
// The answer's body must be closed. An answer of any status is no error:
// CheckAnswer makes one of it.
//
// Errors are the context's own, hallig.ErrDenied or ErrForeign (what answers
// there is not the node), and otherwise wrap hallig.ErrUnavailable: at once when
// the node is known to be down, and within Config.Bound of its falling silent,
// while the answer's body is read as well. The request may have had its effect
// in spite of an error.
//
// A node that does not know this one yet (it answers 421) is handed the newest
// topology, and asked again if the body can be sent twice (GetBody).
func (c *Client) Do(r *http.Request) (*http.Response, error) {
	answer, err := c.once(r)
	if err != nil || answer.StatusCode != http.StatusMisdirectedRequest {
		return answer, err
	}
	again := r.Clone(r.Context())
	switch {
	case r.GetBody != nil:
		body, err := r.GetBody()
		if err != nil {
			return answer, nil
		}
		again.Body = body
	case r.Body != nil && r.Body != http.NoBody:
		return answer, nil
	}
	if c.mesh.introduce(r.Context(), c.node) != nil {
		return answer, nil
	}
	answer.Body.Close()
	return c.once(again)
}

func (c *Client) once(r *http.Request) (*http.Response, error) {
	p, err := c.mesh.peer(c.node)
	if err != nil {
		return nil, err
	}
	long := r.Context().Value(longKey{}) != nil
	call, err := p.begin(r.Context(), false)
	if err != nil {
		return nil, err
	}
	return p.exchange(call, r, !long)
}

// exchange sends the request of a call and receives the head of the answer.
func (p *peer) exchange(call *call, r *http.Request, measured bool) (*http.Response, error) {
	own := r.Clone(call.ctx)
	own.URL.Scheme, own.URL.Host, own.Host = "https", p.node.String(), ""
	own.RequestURI = ""
	if own.Header == nil {
		own.Header = http.Header{}
	}
	own.Header.Set(revisionHeader, strconv.FormatUint(p.mesh.now.Load().envelope.Revision, 10))
	transport := p.short
	if !measured {
		transport = p.long
	}
	answer, err := transport.RoundTrip(own)
	if err != nil {
		err = call.explain(err)
		call.end(err, false)
		return nil, err
	}
	if measured {
		p.answered(p.mesh.since() - call.start)
	}
	p.mesh.noteRevision(p.node, answer.Header.Get(revisionHeader))
	answer.Body = &answerBody{call: call, under: answer.Body}
	return answer, nil
}

// answerBody ends its call when it is closed, or read to the end.
type answerBody struct {
	call  *call
	under io.ReadCloser
}

// Read implements io.Reader.
func (b *answerBody) Read(p []byte) (int, error) {
	n, err := b.under.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = b.call.explain(err)
		b.call.end(err, false)
	}
	return n, err
}

// Close implements io.Closer.
func (b *answerBody) Close() error {
	err := b.under.Close()
	b.call.end(nil, false)
	return err
}
