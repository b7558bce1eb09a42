package mesh

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/placement"
	"github.com/hallig-cloud/hallig/vfs"
)

// The files of an identity in its directory (DATA/mesh), all in PEM.
const (
	keyFile       = "node.key"      // the private key, PKCS #8, mode 0600; written once
	certFile      = "node.crt"      // the certificate; its presence is what makes the node a member
	authorityFile = "authority.crt" // the authority's certificate
)

// maxPEM bounds a file of an identity, in bytes.
const maxPEM = 64 << 10

// A Key is a node's own Ed25519 key pair. The private key never leaves its
// file and this process.
type Key struct {
	private ed25519.PrivateKey
	pin     Pin
}

func newKey(private ed25519.PrivateKey) (*Key, error) {
	der, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		return nil, err
	}
	return &Key{private: private, pin: sha256.Sum256(der)}, nil
}

// OpenKey reads the node's key from dir, or makes one, and the directory; it is
// durable on return. hallig.ErrCorrupt says that a file is there and is not a
// key: it is never replaced.
func OpenKey(fsys vfs.FS, dir string) (*Key, error) {
	name := path.Join(dir, keyFile)
	der, err := readPEM(fsys, name, "PRIVATE KEY")
	if errors.Is(err, fs.ErrNotExist) {
		return makeKey(fsys, dir, name)
	}
	if err != nil {
		return nil, fmt.Errorf("open the node's key: %w", err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	private, ok := parsed.(ed25519.PrivateKey)
	if err != nil || !ok {
		return nil, fmt.Errorf("open the node's key: %s holds no Ed25519 key: %w", name, hallig.ErrCorrupt)
	}
	return newKey(private)
}

func makeKey(fsys vfs.FS, dir, name string) (*Key, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the node's key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, fmt.Errorf("make the node's key: %w", err)
	}
	if err := vfs.MkdirAllSync(fsys, dir); err != nil {
		return nil, fmt.Errorf("make the node's key: %w", err)
	}
	if err := writePEM(fsys, name, "PRIVATE KEY", der); err != nil {
		return nil, fmt.Errorf("make the node's key: %w", err)
	}
	return newKey(private)
}

// Pin identifies the key: what the topology says in placement.Node.Key.
func (k *Key) Pin() Pin { return k.pin }

// String names the key by its pin; the private part is kept out of logs.
func (k *Key) String() string { return fmt.Sprintf("key %x", k.pin[:8]) }

// Request returns a certificate signing request (PKCS #10, DER) for the key.
func (k *Key) Request() ([]byte, error) {
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, k.private)
	if err != nil {
		return nil, fmt.Errorf("make a signing request: %w", err)
	}
	return csr, nil
}

// An Identity is a node's membership: its key, its certificate and the
// authority's certificate. It is immutable.
type Identity struct {
	key   *Key
	node  hallig.NodeID
	cert  []byte // DER
	trust *trust
}

// NewIdentity joins a key and certificates (DER) without storing anything.
// hallig.ErrInvalid or ErrForeign says why they do not belong together.
func NewIdentity(key *Key, cert, authority []byte) (*Identity, error) {
	t, err := newTrust(authority)
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	leaf, err := x509.ParseCertificate(cert)
	if err != nil {
		return nil, fmt.Errorf("identity: node's certificate: %w: %w", err, hallig.ErrInvalid)
	}
	who, err := t.check([]*x509.Certificate{leaf})
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	if who.pin != key.pin {
		return nil, fmt.Errorf("identity: the certificate is for another key than %s: %w", keyFile, hallig.ErrForeign)
	}
	return &Identity{key: key, node: who.node, cert: cert, trust: t}, nil
}

// CreateIdentity stores a node's certificates (DER) beside the key that OpenKey
// made in dir; on return they are durable. The node's own certificate is
// written last: until it is there, LoadIdentity says hallig.ErrNotFound, so
// that whatever else the node needs is stored before. Doing it again with the
// same mesh and node is a success; with others it is hallig.ErrForeign.
func CreateIdentity(fsys vfs.FS, dir string, cert, authority []byte) (*Identity, error) {
	key, err := OpenKey(fsys, dir)
	if err != nil {
		return nil, err
	}
	id, err := NewIdentity(key, cert, authority)
	if err != nil {
		return nil, err
	}
	old, err := LoadIdentity(fsys, dir)
	switch {
	case errors.Is(err, hallig.ErrNotFound):
	case err != nil:
		return nil, err
	case old.node != id.node || !bytes.Equal(old.trust.cert.Raw, id.trust.cert.Raw):
		return nil, fmt.Errorf("%s holds the identity of node %s of mesh %s: %w", dir, old.node, old.trust.mesh, hallig.ErrForeign)
	}
	if err := writePEM(fsys, path.Join(dir, authorityFile), "CERTIFICATE", authority); err != nil {
		return nil, fmt.Errorf("store the authority's certificate: %w", err)
	}
	if err := writePEM(fsys, path.Join(dir, certFile), "CERTIFICATE", cert); err != nil {
		return nil, fmt.Errorf("store the node's certificate: %w", err)
	}
	return id, nil
}

// LoadIdentity reads a node's identity: hallig.ErrNotFound if the node is no
// member of a mesh yet, hallig.ErrCorrupt or ErrForeign if files are damaged or
// do not belong together.
func LoadIdentity(fsys vfs.FS, dir string) (*Identity, error) {
	cert, err := readPEM(fsys, path.Join(dir, certFile), "CERTIFICATE")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no node's certificate in %s: %w", dir, hallig.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("load the identity: %w", err)
	}
	authority, err := readPEM(fsys, path.Join(dir, authorityFile), "CERTIFICATE")
	if err != nil {
		return nil, fmt.Errorf("load the identity: %w: %w", err, hallig.ErrCorrupt)
	}
	if _, err := fsys.Stat(path.Join(dir, keyFile)); err != nil {
		return nil, fmt.Errorf("load the identity: a certificate without its key: %w: %w", err, hallig.ErrCorrupt)
	}
	key, err := OpenKey(fsys, dir)
	if err != nil {
		return nil, err
	}
	id, err := NewIdentity(key, cert, authority)
	if err != nil {
		return nil, fmt.Errorf("load the identity from %s: %w", dir, err)
	}
	return id, nil
}

// Mesh returns the mesh that the node is a member of.
func (i *Identity) Mesh() hallig.MeshID { return i.trust.mesh }

// Node returns the node's ID.
func (i *Identity) Node() hallig.NodeID { return i.node }

// Pin identifies the node's key.
func (i *Identity) Pin() Pin { return i.key.pin }

// Authority returns the authority's certificate, in DER.
func (i *Identity) Authority() []byte { return i.trust.cert.Raw }

// String names node and mesh; the private key is kept out of logs.
func (i *Identity) String() string {
	return fmt.Sprintf("node %s of mesh %s", i.node, i.trust.mesh)
}

// Open checks an envelope's signature and returns its topology:
// hallig.ErrDenied if the mesh's authority has not signed it, hallig.ErrInvalid
// if what it signed is malformed. Whether it is the newest is for Mesh.Offer.
func (i *Identity) Open(e Envelope) (*placement.Topology, error) { return i.trust.open(e) }

// certificate is what the node shows to others: its certificate, and the
// authority's, by which one that joins knows the mesh.
func (i *Identity) certificate() tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{i.cert, i.trust.cert.Raw}, PrivateKey: i.key.private}
}

func readPEM(fsys vfs.FS, name, kind string) ([]byte, error) {
	b, err := vfs.ReadFile(fsys, name, maxPEM)
	if err != nil {
		return nil, err
	}
	block, rest := pem.Decode(b)
	if block == nil || block.Type != kind || len(bytes.TrimSpace(rest)) != 0 {
		return nil, fmt.Errorf("%s holds no %s in PEM: %w", name, kind, hallig.ErrCorrupt)
	}
	return block.Bytes, nil
}

func writePEM(fsys vfs.FS, name, kind string, der []byte) error {
	return vfs.WriteFileSync(fsys, name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}
