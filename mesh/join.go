package mesh

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/placement"
	"github.com/hallig-cloud/hallig/vfs"
)

// The protocol of hallig-join/1: the client sends one frame (joinWire), the
// server one back (joinReply). The server's certificate is checked against the
// token before anything is sent. The request is bound to its connection by the
// signature over the connection's exported keying material (RFC 9266), so that
// what was sent on one cannot be sent again on another by anyone without the
// private key.
const (
	protoJoin    = "hallig-join/1"
	joinVersion  = 1
	maxJoin      = 16 << 10 // bytes of a request
	maxJoinReply = MaxEnvelope + 1<<20
	joinLabel    = "EXPORTER-hallig-join-v1"
	joinTime     = 10 * time.Second // for the whole exchange, either side
)

// joinWire is a request as it travels.
type joinWire struct {
	Version int      `cbor:"1,keyasint"`
	Token   TokenID  `cbor:"2,keyasint"`
	Secret  [16]byte `cbor:"3,keyasint"`
	CSR     []byte   `cbor:"4,keyasint"`
	Addrs   []string `cbor:"5,keyasint"`
	Proof   []byte   `cbor:"6,keyasint"` // Ed25519 by the CSR's key, over joinProof
}

// joinReply is the answer as it travels: an error or a JoinAnswer.
type joinReply struct {
	Error  *wireError  `cbor:"1,keyasint,omitempty"`
	Answer *JoinAnswer `cbor:"2,keyasint,omitempty"`
}

// A JoinRequest is what a new node asks with; its key is proven.
type JoinRequest struct {
	Token  TokenID
	Secret [16]byte // see Invitation.Use; never log it
	CSR    []byte   // for Authority.Certify
	Pin    Pin      // of the CSR's key
	// Addrs are where the node says that it can be reached; one without a host
	// was completed with the address that it called from.
	Addrs  []string
	Remote string // host:port that the request came from
}

// A JoinAnswer makes a node a member.
type JoinAnswer struct {
	Node        hallig.NodeID `cbor:"1,keyasint"`
	Certificate []byte        `cbor:"2,keyasint"`           // DER
	Authority   []byte        `cbor:"3,keyasint"`           // DER
	Envelope    Envelope      `cbor:"4,keyasint"`           // a topology with the node in it
	KeyFile     []byte        `cbor:"5,keyasint,omitempty"` // for gateways: the key file as it is
}

// joinProof is what the new node signs.
func joinProof(cs tls.ConnectionState) ([]byte, error) {
	material, err := cs.ExportKeyingMaterial(joinLabel, nil, 32)
	if err != nil {
		return nil, err
	}
	return append([]byte("hallig join v1\x00"), material...), nil
}

// request checks what arrived on a connection.
func (w joinWire) request(cs tls.ConnectionState, remote string) (JoinRequest, error) {
	r := JoinRequest{Token: w.Token, Secret: w.Secret, CSR: w.CSR, Remote: remote}
	if w.Version != joinVersion {
		return r, fmt.Errorf("join request of version %d: %w", w.Version, hallig.ErrUnsupported)
	}
	public, pin, err := parseRequest(w.CSR)
	if err != nil {
		return r, err
	}
	r.Pin = pin
	proof, err := joinProof(cs)
	if err != nil {
		return r, fmt.Errorf("join: %w: %w", err, hallig.ErrInvalid)
	}
	if !ed25519.Verify(public, proof, w.Proof) {
		return r, fmt.Errorf("join: the request was not made for this connection by the owner of its key: %w", hallig.ErrDenied)
	}
	if len(w.Addrs) > placement.MaxAddrs {
		return r, fmt.Errorf("join: %d addresses, at most %d: %w", len(w.Addrs), placement.MaxAddrs, hallig.ErrInvalid)
	}
	for _, a := range w.Addrs {
		if strings.HasPrefix(a, ":") {
			host, _, err := net.SplitHostPort(remote)
			if err != nil {
				return r, fmt.Errorf("join: address of the caller: %w: %w", err, hallig.ErrInvalid)
			}
			a = net.JoinHostPort(host, a[1:])
		}
		if err := placement.CheckAddr(a); err != nil {
			return r, fmt.Errorf("join: %w", err)
		}
		r.Addrs = append(r.Addrs, a)
	}
	return r, nil
}

// check reports why an answer must not be sent, or taken, for a key: it is the
// last guard before a storage node gets a key file.
func (a *JoinAnswer) check(t *trust, pin Pin) (*placement.Topology, error) {
	leaf, err := x509.ParseCertificate(a.Certificate)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w: %w", err, hallig.ErrInvalid)
	}
	who, err := t.check([]*x509.Certificate{leaf})
	if err != nil {
		return nil, err
	}
	if who.node != a.Node || who.pin != pin {
		return nil, fmt.Errorf("certificate of node %s with another key: %w", who.node, hallig.ErrInvalid)
	}
	top, err := t.open(a.Envelope)
	if err != nil {
		return nil, err
	}
	node, ok := top.Node(a.Node)
	switch {
	case !ok || !node.State.Member() || string(node.Key) != string(pin[:]):
		return nil, fmt.Errorf("topology %d does not let node %s in: %w", top.Revision, a.Node, hallig.ErrInvalid)
	case len(a.KeyFile) > 0 && !node.Roles.Has(placement.RoleGateway):
		return nil, fmt.Errorf("a key file for node %s, which is no gateway: %w", a.Node, hallig.ErrDenied)
	}
	return top, nil
}

// JoinOptions say how a node joins. FS and Dir are required.
type JoinOptions struct {
	FS  vfs.FS
	Dir string // of the identity (DATA/mesh); the node's key is made there
	// Addrs are the host:port at which other nodes reach this one, at most
	// placement.MaxAddrs; ":port" stands for the address that the mesh sees the
	// request come from.
	Addrs []string
	// Dial makes connections; nil: TCP.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Joined is the answer to a node that joined. Everything in it is verified.
type Joined struct {
	Node        hallig.NodeID
	Mesh        hallig.MeshID
	Certificate []byte // DER
	Authority   []byte // DER
	Envelope    Envelope
	Topology    *placement.Topology // what is in the envelope
	Self        placement.Node      // what it says of the new node
	KeyFile     []byte              // for gateways; a secret
}

// Save makes the node a member for good: it stores the topology and the
// identity in dir. What else the node must have by then (its key file) is
// stored before.
func (j *Joined) Save(fsys vfs.FS, dir string) (*Identity, error) {
	if err := saveEnvelope(fsys, dir, j.Envelope); err != nil {
		return nil, err
	}
	return CreateIdentity(fsys, dir, j.Certificate, j.Authority)
}

// Join asks the members named in the token, in turn, to let this node in, and
// stores nothing but its key. Sent again with the same key, after a lost
// answer or a crash before Joined.Save, the token gives the same answer.
//
// The first member's answer counts. hallig.ErrDenied: the token is unknown,
// used up, or expired; hallig.ErrForeign: nobody there belongs to the token's
// mesh, and nothing was told to them; hallig.ErrUnavailable: nobody could be
// reached; hallig.ErrInvalid: the answer is malformed.
func Join(ctx context.Context, t Token, o JoinOptions) (*Joined, error) {
	if err := t.check(); err != nil {
		return nil, fmt.Errorf("join: %w: %w", err, hallig.ErrInvalid)
	}
	key, err := OpenKey(o.FS, o.Dir)
	if err != nil {
		return nil, fmt.Errorf("join: %w", err)
	}
	old, err := LoadIdentity(o.FS, o.Dir)
	if err == nil && old.Mesh() != t.Mesh {
		return nil, fmt.Errorf("join: this node is a member of mesh %s already: %w", old.Mesh(), hallig.ErrForeign)
	}
	csr, err := key.Request()
	if err != nil {
		return nil, fmt.Errorf("join: %w", err)
	}
	if o.Dial == nil {
		o.Dial = (&net.Dialer{}).DialContext
	}
	var failed []error
	for _, addr := range t.Addrs {
		j, err := joinAt(ctx, addr, t, key, csr, o)
		var answered *RemoteError
		if err == nil {
			return j, nil
		}
		err = fmt.Errorf("join at %s: %w", addr, err)
		if errors.As(err, &answered) && !errors.Is(err, hallig.ErrUnavailable) || ctx.Err() != nil {
			return nil, err
		}
		failed = append(failed, err)
	}
	return nil, errors.Join(failed...)
}

func joinAt(ctx context.Context, addr string, t Token, key *Key, csr []byte, o JoinOptions) (*Joined, error) {
	ctx, cancel := context.WithTimeout(ctx, joinTime)
	defer cancel()
	raw, err := o.Dial(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, hallig.ErrUnavailable)
	}
	defer raw.Close()
	defer context.AfterFunc(ctx, func() { raw.Close() })()
	trusted := new(trust)
	conn := tls.Client(raw, joinConfig(t, trusted))
	if err := conn.HandshakeContext(ctx); err != nil {
		if errors.Is(err, hallig.ErrForeign) {
			return nil, err
		}
		return nil, fmt.Errorf("%w: %w", err, hallig.ErrUnavailable)
	}
	cs := conn.ConnectionState()
	proof, err := joinProof(cs)
	if err != nil {
		return nil, err
	}
	w := joinWire{Version: joinVersion, Token: t.ID, Secret: t.Secret, CSR: csr, Addrs: o.Addrs, Proof: ed25519.Sign(key.private, proof)}
	var reply joinReply
	err = writeFrame(conn, w)
	if err == nil {
		err = readFrame(conn, maxJoinReply, &reply)
	}
	switch {
	case errors.Is(err, hallig.ErrInvalid) || errors.Is(err, hallig.ErrTooLarge):
		return nil, fmt.Errorf("answer: %w", err)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", err, hallig.ErrUnavailable)
	case reply.Error != nil:
		return nil, reply.Error.remote(hallig.NodeID{})
	case reply.Answer == nil:
		return nil, fmt.Errorf("the answer is empty: %w", hallig.ErrInvalid)
	}
	return reply.Answer.joined(trusted, key.pin)
}

// joined verifies an answer.
func (a *JoinAnswer) joined(t *trust, pin Pin) (*Joined, error) {
	if string(a.Authority) != string(t.cert.Raw) {
		return nil, fmt.Errorf("the answer names another authority than the connection's: %w", hallig.ErrInvalid)
	}
	top, err := a.check(t, pin)
	if err != nil {
		return nil, fmt.Errorf("answer: %w", err)
	}
	self, _ := top.Node(a.Node)
	return &Joined{
		Node: a.Node, Mesh: t.mesh, Certificate: a.Certificate, Authority: a.Authority,
		Envelope: a.Envelope, Topology: top, Self: self, KeyFile: a.KeyFile,
	}, nil
}

// joinConfig is the TLS configuration of a node that joins: the server must
// show a certificate of the token's mesh by the authority whose key the token
// names. trusted receives that authority.
func joinConfig(t Token, trusted *trust) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		NextProtos:         []string{protoJoin},
		Time:               anyTime,
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection does it, by the token
		VerifyConnection: func(cs tls.ConnectionState) error {
			for _, c := range cs.PeerCertificates[1:] {
				pin := PinOf(c)
				if string(pin[:len(t.Authority)]) != string(t.Authority[:]) {
					continue
				}
				own, err := newTrust(c.Raw)
				if err != nil {
					return err
				}
				if own.mesh != t.Mesh {
					break
				}
				if _, err := own.check(cs.PeerCertificates); err != nil {
					return err
				}
				if cs.NegotiatedProtocol != protoJoin {
					return fmt.Errorf("it does not take nodes in: %w", hallig.ErrForeign)
				}
				*trusted = *own
				return nil
			}
			return fmt.Errorf("it is no member of the token's mesh: %w", hallig.ErrForeign)
		},
	}
}
