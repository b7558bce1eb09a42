package mesh

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"fmt"
	"math/big"
	"net/url"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/placement"
)

// Certificates are good from 2000 to 2099, so that no clock has to be agreed:
// revocation and pinning are by topology. Checks are made as of the middle.
func notBefore() time.Time { return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) }
func notAfter() time.Time  { return time.Date(2099, 12, 31, 23, 59, 59, 0, time.UTC) }
func anyTime() time.Time   { return time.Date(2050, 1, 1, 0, 0, 0, 0, time.UTC) }

// A Pin identifies a public key: the SHA-256 of its DER-encoded
// SubjectPublicKeyInfo.
type Pin [sha256.Size]byte

// PinOf returns a certificate's pin.
func PinOf(c *x509.Certificate) Pin { return sha256.Sum256(c.RawSubjectPublicKeyInfo) }

// An Authority makes a mesh's members: it signs certificates and topologies.
// It holds the mesh's most precious key after the root key. It is never stored
// in the clear: the caller seals what Bytes returns. It is safe for concurrent
// use.
type Authority struct {
	mesh hallig.MeshID
	key  ed25519.PrivateKey
	cert *x509.Certificate
}

// authorityRecord is the form of Authority.Bytes.
type authorityRecord struct {
	Version int           `cbor:"1,keyasint"`
	Mesh    hallig.MeshID `cbor:"2,keyasint"`
	Seed    []byte        `cbor:"3,keyasint"` // of the Ed25519 key (RFC 8032)
	Cert    []byte        `cbor:"4,keyasint"` // DER
}

const authorityVersion = 1

// NewAuthority makes the authority of a new mesh: a fresh Ed25519 key and a
// certificate signed by itself.
func NewAuthority(mesh hallig.MeshID) (*Authority, error) {
	if mesh.IsZero() {
		return nil, fmt.Errorf("make an authority: no mesh id: %w", hallig.ErrInvalid)
	}
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the authority's key: %w", err)
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "hallig authority " + mesh.String()},
		URIs:                  []*url.URL{meshURI(mesh, hallig.NodeID{})},
		NotBefore:             notBefore(),
		NotAfter:              notAfter(),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	cert, err := sign(template, template, public, key)
	if err != nil {
		return nil, fmt.Errorf("make the authority's certificate: %w", err)
	}
	return &Authority{mesh: mesh, key: key, cert: cert}, nil
}

// sign makes a certificate with a random serial number.
func sign(template, parent *x509.Certificate, public ed25519.PublicKey, key ed25519.PrivateKey) (*x509.Certificate, error) {
	serial := make([]byte, 16)
	rand.Read(serial) //nolint:errcheck // never fails
	serial[0] &= 0x7f // positive
	serial[15] |= 1   // not 0
	template.SerialNumber = new(big.Int).SetBytes(serial)
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// OpenAuthority reads what Bytes returned: hallig.ErrCorrupt if it is
// malformed, hallig.ErrUnsupported if a newer version wrote it.
func OpenAuthority(b []byte) (*Authority, error) {
	var r authorityRecord
	if err := unmarshal(b, &r, hallig.ErrCorrupt); err != nil {
		return nil, fmt.Errorf("open the authority: %w", err)
	}
	if r.Version != authorityVersion {
		return nil, fmt.Errorf("open the authority: version %d: %w", r.Version, hallig.ErrUnsupported)
	}
	t, err := newTrust(r.Cert)
	if err != nil {
		return nil, fmt.Errorf("open the authority: %w: %w", err, hallig.ErrCorrupt)
	}
	if len(r.Seed) != ed25519.SeedSize || t.mesh != r.Mesh {
		return nil, fmt.Errorf("open the authority: key or mesh id does not fit: %w", hallig.ErrCorrupt)
	}
	a := &Authority{mesh: r.Mesh, key: ed25519.NewKeyFromSeed(r.Seed), cert: t.cert}
	if !t.key.Equal(a.key.Public()) {
		return nil, fmt.Errorf("open the authority: the key is not the certificate's: %w", hallig.ErrCorrupt)
	}
	return a, nil
}

// Bytes returns the authority with its private key. Whoever has it can make
// members: seal it before it is stored anywhere, and never log it.
func (a *Authority) Bytes() ([]byte, error) {
	return marshal(authorityRecord{Version: authorityVersion, Mesh: a.mesh, Seed: a.key.Seed(), Cert: a.cert.Raw})
}

// Mesh returns the mesh whose authority it is.
func (a *Authority) Mesh() hallig.MeshID { return a.mesh }

// Certificate returns the authority's certificate, in DER. It is no secret.
func (a *Authority) Certificate() []byte { return a.cert.Raw }

// Pin identifies the authority's key.
func (a *Authority) Pin() Pin { return PinOf(a.cert) }

// String names the mesh; the key is kept out of logs.
func (a *Authority) String() string { return "authority of mesh " + a.mesh.String() }

// Certify makes the certificate, in DER, of a node for the key of a
// certificate signing request (PKCS #10, DER; Key.Request makes one), which
// must be an Ed25519 key that signed the request. Nothing else of the request
// is taken over. hallig.ErrInvalid says what is wrong with it.
//
// The certificate alone lets nobody in: the node must stand in the topology
// with the same key.
func (a *Authority) Certify(csr []byte, node hallig.NodeID) ([]byte, error) {
	if node.IsZero() {
		return nil, fmt.Errorf("certify: no node id: %w", hallig.ErrInvalid)
	}
	public, _, err := parseRequest(csr)
	if err != nil {
		return nil, fmt.Errorf("certify node %s: %w", node, err)
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: node.String()},
		URIs:                  []*url.URL{meshURI(a.mesh, node)},
		NotBefore:             notBefore(),
		NotAfter:              notAfter(),
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	cert, err := sign(template, a.cert, public, a.key)
	if err != nil {
		return nil, fmt.Errorf("certify node %s: %w", node, err)
	}
	return cert.Raw, nil
}

// maxRequest bounds a certificate signing request, in bytes.
const maxRequest = 4 << 10

// parseRequest returns the key of a certificate signing request, and its pin.
func parseRequest(csr []byte) (ed25519.PublicKey, Pin, error) {
	if len(csr) > maxRequest {
		return nil, Pin{}, fmt.Errorf("signing request of %d bytes, at most %d: %w", len(csr), maxRequest, hallig.ErrTooLarge)
	}
	r, err := x509.ParseCertificateRequest(csr)
	if err != nil {
		return nil, Pin{}, fmt.Errorf("signing request: %w: %w", err, hallig.ErrInvalid)
	}
	public, ok := r.PublicKey.(ed25519.PublicKey)
	if !ok {
		return nil, Pin{}, fmt.Errorf("signing request: the key is of %v, want Ed25519: %w", r.PublicKeyAlgorithm, hallig.ErrInvalid)
	}
	if err := r.CheckSignature(); err != nil {
		return nil, Pin{}, fmt.Errorf("signing request: %w: %w", err, hallig.ErrInvalid)
	}
	return public, sha256.Sum256(r.RawSubjectPublicKeyInfo), nil
}

// SignTopology puts a topology into an envelope. The caller has given it a
// revision greater than every one signed before: two envelopes of one revision
// that differ are refused by whoever has the other.
func (a *Authority) SignTopology(t *placement.Topology) (Envelope, error) {
	if err := t.CheckNodes(); err != nil {
		return Envelope{}, fmt.Errorf("sign the topology: %w", err)
	}
	if t.Revision == 0 {
		return Envelope{}, fmt.Errorf("sign the topology: it has no revision: %w", hallig.ErrInvalid)
	}
	b, err := marshal(t)
	if err != nil {
		return Envelope{}, fmt.Errorf("sign the topology: %w", err)
	}
	if len(b) > MaxEnvelope-envelopeRoom {
		return Envelope{}, fmt.Errorf("sign the topology: %d bytes, at most %d: %w", len(b), MaxEnvelope-envelopeRoom, hallig.ErrTooLarge)
	}
	e := Envelope{Topology: b, Revision: t.Revision}
	e.Signature = ed25519.Sign(a.key, e.signed(a.mesh))
	return e, nil
}

// signed returns what the signature is over: a label, so that it can stand for
// nothing else, the mesh, the revision and the topology.
func (e Envelope) signed(mesh hallig.MeshID) []byte {
	b := append([]byte("hallig topology v1\x00"), mesh[:]...)
	b = binary.BigEndian.AppendUint64(b, e.Revision)
	return append(b, e.Topology...)
}
