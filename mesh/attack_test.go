package mesh_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/mesh"
	"github.com/hallig-cloud/hallig/mesh/meshtest"
	"github.com/hallig-cloud/hallig/placement"
)

// raw connects to the node "n0" as anyone could, with or without a certificate.
func raw(w *meshtest.World, certs []tls.Certificate, proto ...string) (*tls.Conn, error) {
	c, err := w.Net.Dialer("attacker")(context.Background(), "tcp", "n0:9002")
	if err != nil {
		return nil, err
	}
	secured := tls.Client(c, &tls.Config{
		InsecureSkipVerify: true, Certificates: certs, NextProtos: proto, MinVersion: tls.VersionTLS13,
		Time: func() time.Time { return time.Date(2050, 1, 1, 0, 0, 0, 0, time.UTC) },
	})
	if err := secured.Handshake(); err != nil {
		c.Close()
		return nil, err
	}
	return secured, nil
}

// rpc sends one request over a raw connection.
func rpc(w *meshtest.World, certs []tls.Certificate, method, path string, body io.Reader, header http.Header) (*http.Response, error) {
	var http2 http.Protocols
	http2.SetHTTP2(true)
	tr := &http.Transport{
		Protocols: &http2,
		DialTLSContext: func(context.Context, string, string) (net.Conn, error) {
			c, err := raw(w, certs, "h2")
			if err != nil {
				return nil, err
			}
			return c, nil
		},
	}
	defer tr.CloseIdleConnections()
	r, err := http.NewRequest(method, "https://n0"+path, body)
	if err != nil {
		return nil, err
	}
	for k, v := range header {
		r.Header[k] = v
	}
	answer, err := tr.RoundTrip(r)
	if err == nil {
		b, _ := io.ReadAll(answer.Body)
		answer.Body.Close()
		answer.Body = io.NopCloser(bytes.NewReader(b))
	}
	return answer, err
}

// victim starts one node whose handlers count who reaches them.
func victim(t *testing.T) (w *meshtest.World, n *meshtest.Node, reached *atomic.Int64, gateway *mesh.Identity) {
	w = meshtest.New(t)
	n, _ = w.Add(meshtest.Both)
	other, _ := w.Add(meshtest.Both)
	reached = new(atomic.Int64)
	n.Start(n.Config(), func(m *mesh.Mesh) {
		count := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { reached.Add(1); echo(w, r) })
		m.Handle("POST /v1/any/{x}", mesh.AnyMember, count)
		m.Handle("/v1/gateways/", placement.RoleGateway, count)
		stream := func(_ context.Context, _ mesh.Peer, c net.Conn) { reached.Add(1); io.WriteString(c, "in") }
		m.HandleStream("any", mesh.AnyMember, stream)
		m.HandleStream("gateways", placement.RoleGateway, stream)
		m.HandleJoin(func(context.Context, mesh.JoinRequest) (mesh.JoinAnswer, error) {
			reached.Add(1)
			return mesh.JoinAnswer{}, mesh.ErrNoSuchToken()
		})
	})
	return w, n, reached, other.Identity
}

// attackers are those who come without being a member, or with less than the
// role that they would need.
func attackers(t *testing.T, w *meshtest.World, n *meshtest.Node, member *mesh.Identity) map[string][]tls.Certificate {
	other := meshtest.New(t) // another mesh, with a node of the same id
	foreign, _ := other.Certified(member.Node())
	authority, err := mesh.NewAuthority(w.Mesh) // says that it is of this mesh
	wantErr(t, "a forged authority", err, nil)
	forger := meshtest.World{T: t, Authority: authority}
	forged, _ := forger.Certified(member.Node())
	reissued, _ := w.Certified(member.Node()) // by the right authority, for another key
	unknown, _ := w.Certified(hallig.NewID())
	own, _ := w.Certified(n.ID())
	revoked, _ := w.Add(meshtest.Both)
	storage, _ := w.Add(placement.RoleStorage)
	e := w.Change(func(top *placement.Topology) {
		for i := range top.Nodes {
			if top.Nodes[i].ID == revoked.ID() {
				top.Nodes[i].State = placement.NodeRevoked
			}
		}
	})
	wantErr(t, "offer", n.Mesh.Offer(e), nil)
	show := func(i *mesh.Identity) []tls.Certificate { return []tls.Certificate{i.Certificate()} }
	return map[string][]tls.Certificate{
		"no certificate": nil, "another mesh's": show(foreign), "forged": show(forged), "re-issued": show(reissued),
		"revoked": show(revoked.Identity), "its own": show(own), "unknown": show(unknown), "storage": show(storage.Identity), "gateway": show(member),
	}
}

// Every handler × every attacker. A handler that is registered anywhere in the
// mesh is in the matrix by itself; one whose pattern has no request fails it.
func TestAttackMatrix(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, n, reached, member := victim(t)
		requests := map[string]string{
			"GET /v1/mesh/ping": "/v1/mesh/ping", "GET /v1/mesh/topology": "/v1/mesh/topology?known=1", "PUT /v1/mesh/topology": "/v1/mesh/topology",
			"POST /v1/any/{x}": "/v1/any/thing", "/v1/gateways/": "/v1/gateways/thing",
		}
		for who, certs := range attackers(t, w, n, member) {
			for pattern, roles := range n.Mesh.Routes() {
				path, ok := requests[pattern]
				if !ok {
					t.Fatalf("no request for the handler %q: add one", pattern)
				}
				method, _, found := strings.Cut(pattern, " ")
				if !found {
					method = "POST"
				}
				before := reached.Load()
				answer, err := rpc(w, certs, method, path, strings.NewReader("x"), http.Header{"X-Forwarded-For": {"127.0.0.1"}, "Hallig-Topology": {"999"}})
				status := 0
				if err == nil {
					status = answer.StatusCode
				}
				want := map[string][]int{
					"unknown": {421}, "storage": {200, 204, 400}, "gateway": {200, 204, 400},
				}[who]
				topology := strings.Contains(pattern, "topology")
				switch {
				case want == nil:
					want = []int{0} // no connection
				case who == "unknown" && topology:
					want = []int{200, 400}
				case who == "storage" && roles == placement.RoleGateway:
					want = []int{403}
				}
				if !contains(want, status) {
					t.Errorf("%s × %s: status %d (%v), want %v", who, pattern, status, err, want)
				}
				inside := strings.Contains(pattern, "any") || strings.Contains(pattern, "gateways")
				if let := reached.Load() > before; let != (inside && (status == 200)) {
					t.Errorf("%s × %s: status %d, and the handler was reached: %v", who, pattern, status, let)
				}
			}
			for name, roles := range n.Mesh.Streams() {
				before := reached.Load()
				allowed := who == "gateway" || who == "storage" && roles == mesh.AnyMember
				c, err := raw(w, certs, mesh.ProtoStream)
				if err == nil {
					err = mesh.OpenStream(c, name)
					c.Close()
				}
				synctest.Wait()
				if (err == nil) != allowed || (reached.Load() > before) != allowed {
					t.Errorf("%s × stream %s: %v", who, name, err)
				}
			}
			// The door for those without a certificate leads nowhere else.
			if c, err := raw(w, certs, mesh.ProtoJoin, "h2"); err == nil && c.ConnectionState().NegotiatedProtocol != "h2" {
				t.Errorf("%s: %s beside h2", who, c.ConnectionState().NegotiatedProtocol)
			}
			if _, err := rpcOver(w, certs, mesh.ProtoJoin); err == nil {
				t.Errorf("%s: an RPC over the protocol of joining", who)
			}
			for _, proto := range []string{"http/1.1", "hallig-stream/2", ""} {
				if c, err := raw(w, certs, proto); err == nil {
					io.WriteString(c, "GET /v1/mesh/topology?known=0 HTTP/1.1\r\nHost: n0\r\n\r\n")
					if b, _ := io.ReadAll(c); len(b) > 0 {
						t.Errorf("%s × %q: %q", who, proto, b)
					}
					c.Close()
				}
			}
		}
	})
}

func contains(all []int, x int) bool {
	for _, a := range all {
		if a == x {
			return true
		}
	}
	return false
}

// rpcOver speaks HTTP/2 over a connection that was opened for something else.
func rpcOver(w *meshtest.World, certs []tls.Certificate, proto string) (string, error) {
	c, err := raw(w, certs, proto)
	if err != nil {
		return "", err
	}
	defer c.Close()
	io.WriteString(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
	b, err := io.ReadAll(io.LimitReader(c, 9))
	if err == nil && (len(b) < 9 || b[3] != 4) { // not a SETTINGS frame
		err = errors.New("no HTTP/2")
	}
	return string(b), err
}

// Paths that are not what they seem reach nothing.
func TestOddPaths(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _, reached, member := victim(t)
		certs := []tls.Certificate{member.Certificate()}
		for _, path := range []string{"/v1/any/../gateways/x", "/v1//any/x", "/v1/any/%2e%2e/x", "/v1/any/a%2Fb", "//", "/v1/gateways/..", "/v1/any/%00/", "/v1/any", "/"} {
			answer, err := rpc(w, certs, "POST", path, nil, nil)
			if err != nil || answer.StatusCode < 400 {
				t.Errorf("%s: %v %v", path, answer, err)
			}
		}
		if reached.Load() != 0 {
			t.Fatal("a handler was reached")
		}
		for _, method := range []string{"GET", "CONNECT", "OPTIONS", "ODD"} {
			if answer, err := rpc(w, certs, method, "/v1/any/x", nil, nil); err == nil && answer.StatusCode < 400 {
				t.Errorf("%s: %d", method, answer.StatusCode)
			}
		}
	})
}

// What is too long is refused with bounded memory; what is too slow is ended.
func TestOversizeAndSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, n, reached, member := victim(t)
		certs := []tls.Certificate{member.Certificate()}
		zeros := func(n int64) io.Reader { return io.LimitReader(zero{}, n) }
		answer, err := rpc(w, certs, "POST", "/v1/any/x", zeros(mesh.DefaultMaxBody+1), nil)
		if err == nil {
			wantErr(t, "a long body", mesh.CheckAnswer(n.ID(), answer), hallig.ErrTooLarge)
		}
		answer, err = rpc(w, certs, "PUT", "/v1/mesh/topology", zeros(mesh.MaxEnvelope+1), nil)
		if err == nil {
			wantErr(t, "a long topology", mesh.CheckAnswer(n.ID(), answer), hallig.ErrTooLarge)
		}
		answer, err = rpc(w, certs, "POST", "/v1/any/x", nil, http.Header{"X": {strings.Repeat("x", 64<<10)}})
		if err == nil && answer.StatusCode < 400 {
			t.Fatalf("long headers: %d", answer.StatusCode)
		}
		before := reached.Load()
		long := append([]byte{0, 0, 0x40, 1}, make([]byte, 0x4001)...)
		c, err := raw(w, nil, mesh.ProtoJoin)
		wantErr(t, "connect", err, nil)
		c.Write(long)
		wantErr(t, "a long request to join", mesh.ReadReply(c), hallig.ErrTooLarge)
		c, err = raw(w, certs, mesh.ProtoStream)
		wantErr(t, "connect", err, nil)
		wantErr(t, "a long name of a stream", mesh.OpenStream(c, strings.Repeat("x", 2000)), hallig.ErrTooLarge)

		// Slow ones: nothing sent, or only a part.
		ends := func(what string, c net.Conn, within time.Duration) {
			t.Helper()
			start := time.Now()
			io.Copy(io.Discard, c)
			if took := time.Since(start); took > within {
				t.Errorf("%s: ended after %v, want %v", what, took, within)
			}
		}
		plain, err := w.Net.Dialer("attacker")(context.Background(), "tcp", "n0:9002")
		wantErr(t, "connect", err, nil)
		plain.Write([]byte{22, 3, 1})
		ends("a handshake", plain, mesh.HandshakeTime)
		c, err = raw(w, nil, mesh.ProtoJoin)
		wantErr(t, "connect", err, nil)
		c.Write([]byte{0, 0, 1})
		ends("a request to join", c, mesh.JoinTime)
		c, err = raw(w, certs, mesh.ProtoStream)
		wantErr(t, "connect", err, nil)
		c.Write([]byte{0})
		ends("a preface", c, mesh.JoinTime)
		if reached.Load() != before {
			t.Fatal("a handler was reached")
		}
		// Who floods the port with handshakes is turned away beyond a number.
		var held []net.Conn
		for range mesh.MaxHandshakes + 20 {
			c, err := w.Net.Dialer("attacker")(context.Background(), "tcp", "n0:9002")
			wantErr(t, "connect", err, nil)
			held = append(held, c)
			synctest.Wait()
		}
		closed := 0
		for _, c := range held {
			c.SetReadDeadline(time.Now().Add(time.Millisecond))
			if _, err := c.Read(make([]byte, 1)); errors.Is(err, io.EOF) {
				closed++
			}
		}
		if closed != 20 {
			t.Fatalf("%d of the handshakes were turned away, want 20", closed)
		}
		time.Sleep(mesh.HandshakeTime + time.Second) // of the bubble's clock
		if answer, err := rpc(w, certs, "POST", "/v1/any/x", nil, nil); err != nil || answer.StatusCode != 200 {
			t.Fatalf("after the flood: %v", err)
		}
		// A member that opens connections without end.
		for i := range mesh.MaxInbound + 5 {
			c, err := raw(w, certs, mesh.ProtoStream)
			wantErr(t, "connect", err, nil)
			if err := mesh.OpenStream(c, "nothing"); errors.Is(err, hallig.ErrUnsupported) {
				continue // ended with its answer
			}
			t.Fatalf("connection %d: %v", i, err)
		}
	})
}

type zero struct{}

func (zero) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// Requests to join are limited for each source, and what was said on one
// connection is worth nothing on another.
func TestJoinFloodAndReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, n, reached, _ := victim(t)
		joined := meshtest.New(t)
		_, fs := joined.Certified(hallig.NewID())
		key, err := mesh.OpenKey(fs, meshtest.Dir)
		wantErr(t, "key", err, nil)
		token, _, err := mesh.NewToken(w.Mesh, w.Authority.Pin(), []string{"n0:9002"}, mesh.Invitation{Provider: "p", Roles: 1, Expires: 1})
		wantErr(t, "token", err, nil)

		first, err := raw(w, nil, mesh.ProtoJoin)
		wantErr(t, "connect", err, nil)
		frame, err := mesh.JoinFrame(token, key, nil, first.ConnectionState())
		wantErr(t, "frame", err, nil)
		first.Write(frame)
		if wantErr(t, "the first", mesh.ReadReply(first), hallig.ErrDenied); reached.Load() != 1 {
			t.Fatal("a good request does not reach the handler")
		}
		second, err := raw(w, nil, mesh.ProtoJoin)
		wantErr(t, "connect", err, nil)
		second.Write(frame)
		if wantErr(t, "the same again", mesh.ReadReply(second), hallig.ErrDenied); reached.Load() != 1 {
			t.Fatal("a replayed request reaches the handler")
		}
		let := 2
		for range 50 {
			if c, err := raw(w, nil, mesh.ProtoJoin); err == nil {
				let++
				c.Close()
			}
		}
		if let != mesh.JoinsAtOnce {
			t.Fatalf("%d requests at once from one source, want %d", let, mesh.JoinsAtOnce)
		}
		time.Sleep(3 * time.Second) // of the bubble's clock
		if c, err := raw(w, nil, mesh.ProtoJoin); err != nil {
			t.Fatal("nobody can join any more")
		} else {
			c.Close()
		}
		_ = n
	})
}

// The negative controls of the matrix: with a check off, the attacker whom it
// keeps out is in.
func TestMatrixNotices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, n, reached, member := victim(t)
		who := attackers(t, w, n, member)
		let := func(name string) bool {
			before := reached.Load()
			answer, err := rpc(w, who[name], "POST", "/v1/gateways/x", nil, nil)
			return err == nil && answer.StatusCode == 200 && reached.Load() > before
		}
		if let("re-issued") || let("storage") || !let("gateway") {
			t.Fatal("with all checks on")
		}
		n.Mesh.SkipPin()
		if !let("re-issued") {
			t.Error("without the pin a re-issued certificate stays out: what keeps it out is not the pin")
		}
		n.Mesh.SkipRoles()
		if !let("storage") {
			t.Error("without the roles a storage node stays out: what keeps it out is not its role")
		}
		if let("revoked") || let("another mesh's") || let("forged") || let("no certificate") || let("unknown") {
			t.Error("the other checks went as well")
		}
	})
}

func certificates(i *mesh.Identity) []tls.Certificate { return []tls.Certificate{i.Certificate()} }
