package mesh

import (
	"bytes"
	"crypto/ed25519"
	"crypto/tls"
	"io"

	"github.com/hallig-cloud/hallig"
)

// Protections that a test switches off, to see that it notices.

func (m *Mesh) SkipPin()       { m.hooks.skipPin = true }
func (m *Mesh) SkipSignature() { m.hooks.skipSignature = true }
func (m *Mesh) SkipClose()     { m.hooks.skipClose = true }
func (m *Mesh) SkipRoles()     { m.hooks.skipRoles = true }

// Certificate is what the node shows to others.
func (i *Identity) Certificate() tls.Certificate { return i.certificate() }

// What tests of the wire need to know.
const (
	ProtoJoin     = protoJoin
	ProtoStream   = protoStream
	JoinTime      = joinTime
	HandshakeTime = handshakeTime
	MaxHandshakes = maxHandshakes
	MaxInbound    = maxInbound
	JoinsAtOnce   = joinsPerSourceAtOnce
	TopologyPath  = topologyPath
)

// JoinFrame is the request to join that a node would send on the connection.
func JoinFrame(t Token, k *Key, addrs []string, cs tls.ConnectionState) ([]byte, error) {
	csr, err := k.Request()
	if err != nil {
		return nil, err
	}
	proof, err := joinProof(cs)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = writeFrame(&b, joinWire{joinVersion, t.ID, t.Secret, csr, addrs, ed25519.Sign(k.private, proof)})
	return b.Bytes(), err
}

// ReadReply reads the answer to a request to join; it returns its error.
func ReadReply(r io.Reader) error {
	var reply joinReply
	if err := readFrame(r, maxJoinReply, &reply); err != nil {
		return err
	}
	if reply.Error != nil {
		return reply.Error.remote(hallig.NodeID{})
	}
	return nil
}

// OpenStream sends a preface and reads the reply.
func OpenStream(rw io.ReadWriter, name string) error {
	if err := writeFrame(rw, streamPreface{Name: name}); err != nil {
		return err
	}
	var reply streamReply
	if err := readFrame(rw, maxReply, &reply); err != nil {
		return err
	}
	if reply.Error != nil {
		return reply.Error.remote(hallig.NodeID{})
	}
	return nil
}

// Live counts the authenticated connections.
func (m *Mesh) Live() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.conns)
}
