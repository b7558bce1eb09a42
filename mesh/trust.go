package mesh

import (
	"crypto/ed25519"
	"crypto/x509"
	"fmt"
	"net/url"
	"strings"

	"github.com/hallig-cloud/hallig"
)

// meshURI is how a certificate names a mesh (node is zero) or a node of it.
func meshURI(mesh hallig.MeshID, node hallig.NodeID) *url.URL {
	u := &url.URL{Scheme: "hallig", Host: mesh.String()}
	if !node.IsZero() {
		u.Path = "/" + node.String()
	}
	return u
}

// trust is what certificates and topologies are checked against: one mesh's
// authority, without its private key.
type trust struct {
	mesh  hallig.MeshID
	cert  *x509.Certificate
	key   ed25519.PublicKey
	roots *x509.CertPool
}

// newTrust reads an authority's certificate.
func newTrust(der []byte) (*trust, error) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("authority's certificate: %w", err)
	}
	key, ok := cert.PublicKey.(ed25519.PublicKey)
	if !ok || !cert.IsCA {
		return nil, fmt.Errorf("authority's certificate: not an Ed25519 authority: %w", hallig.ErrInvalid)
	}
	if len(cert.URIs) != 1 {
		return nil, fmt.Errorf("authority's certificate: it names no mesh: %w", hallig.ErrInvalid)
	}
	mesh, err := hallig.ParseID(cert.URIs[0].Host)
	if err != nil || cert.URIs[0].String() != meshURI(mesh, hallig.NodeID{}).String() {
		return nil, fmt.Errorf("authority's certificate: it names no mesh: %w", hallig.ErrInvalid)
	}
	if err := cert.CheckSignatureFrom(cert); err != nil {
		return nil, fmt.Errorf("authority's certificate: %w", err)
	}
	t := &trust{mesh: mesh, cert: cert, key: key, roots: x509.NewCertPool()}
	t.roots.AddCert(cert)
	return t, nil
}

// A holder is who a certificate says that it belongs to.
type holder struct {
	node hallig.NodeID
	pin  Pin
}

// check verifies a peer's certificate, the first of those that it sent: signed
// by the authority, of this mesh, an Ed25519 key, and naming a node. Errors
// wrap hallig.ErrForeign (another mesh's) or hallig.ErrDenied. Whether the node
// is a member, and has that key, is for the topology to say.
func (t *trust) check(certs []*x509.Certificate) (holder, error) {
	if len(certs) == 0 {
		return holder{}, fmt.Errorf("no certificate: %w", hallig.ErrDenied)
	}
	leaf := certs[0]
	if _, err := leaf.Verify(x509.VerifyOptions{
		Roots: t.roots, CurrentTime: anyTime(),
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}); err != nil {
		return holder{}, fmt.Errorf("certificate is not from this mesh's authority: %v: %w", err, hallig.ErrForeign)
	}
	if _, ok := leaf.PublicKey.(ed25519.PublicKey); !ok || leaf.IsCA {
		return holder{}, fmt.Errorf("certificate is not a node's: %w", hallig.ErrDenied)
	}
	if len(leaf.URIs) != 1 {
		return holder{}, fmt.Errorf("certificate names no node: %w", hallig.ErrDenied)
	}
	node, err := hallig.ParseID(strings.TrimPrefix(leaf.URIs[0].Path, "/"))
	if err != nil || node.IsZero() || leaf.URIs[0].String() != meshURI(t.mesh, node).String() {
		return holder{}, fmt.Errorf("certificate names no node of this mesh: %w", hallig.ErrForeign)
	}
	return holder{node: node, pin: PinOf(leaf)}, nil
}
