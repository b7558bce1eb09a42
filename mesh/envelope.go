package mesh

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/placement"
	"github.com/hallig-cloud/hallig/vfs"
)

// MaxEnvelope bounds an envelope, in bytes.
const MaxEnvelope = 4 << 20

// envelopeRoom is what an envelope adds to its topology, at most, in bytes.
const envelopeRoom = 256

// An Envelope is a topology that the mesh's authority signed. Its zero value
// holds none.
type Envelope struct {
	Topology  []byte `cbor:"1,keyasint"` // placement.Topology in CBOR
	Revision  uint64 `cbor:"2,keyasint"` // the topology's own
	Signature []byte `cbor:"3,keyasint"` // Ed25519, by the authority
}

// IsZero reports whether the envelope holds nothing.
func (e Envelope) IsZero() bool { return e.Revision == 0 && len(e.Topology) == 0 }

// Bytes returns the envelope in CBOR, the form of the catalog's record, of the
// wire and of the file in the data directory.
func (e Envelope) Bytes() ([]byte, error) { return marshal(e) }

// ParseEnvelope reads what Bytes returned. It does not check the signature:
// only Identity.Open and Mesh.Offer do. hallig.ErrInvalid says that it is no
// envelope, as a topology without a signature is not.
func ParseEnvelope(b []byte) (Envelope, error) {
	if len(b) > MaxEnvelope {
		return Envelope{}, fmt.Errorf("envelope of %d bytes, at most %d: %w", len(b), MaxEnvelope, hallig.ErrTooLarge)
	}
	var e Envelope
	if err := unmarshal(b, &e, hallig.ErrInvalid); err != nil {
		return Envelope{}, err
	}
	if e.Revision == 0 || len(e.Topology) == 0 || len(e.Signature) != ed25519.SignatureSize {
		return Envelope{}, fmt.Errorf("envelope without a topology, a revision or a signature: %w", hallig.ErrInvalid)
	}
	return e, nil
}

// open checks the signature and returns the topology. Errors wrap
// hallig.ErrDenied (not signed by this mesh's authority) or hallig.ErrInvalid
// (signed, and malformed).
func (t *trust) open(e Envelope) (*placement.Topology, error) {
	if !ed25519.Verify(t.key, e.signed(t.mesh), e.Signature) {
		return nil, fmt.Errorf("topology %d is not signed by this mesh's authority: %w", e.Revision, hallig.ErrDenied)
	}
	return e.decode()
}

// decode reads the topology without checking the signature.
func (e Envelope) decode() (*placement.Topology, error) {
	top := &placement.Topology{}
	if err := unmarshal(e.Topology, top, hallig.ErrInvalid); err != nil {
		return nil, fmt.Errorf("topology %d: %w", e.Revision, err)
	}
	if top.Revision != e.Revision {
		return nil, fmt.Errorf("topology %d in an envelope of revision %d: %w", top.Revision, e.Revision, hallig.ErrInvalid)
	}
	if err := top.CheckNodes(); err != nil {
		return nil, fmt.Errorf("topology %d: %w", e.Revision, err)
	}
	return top, nil
}

// topologyFile is where a node keeps the newest envelope that it has seen, so
// that it knows its peers when it starts and takes no older one.
const topologyFile = "topology.cbor"

func saveEnvelope(fsys vfs.FS, dir string, e Envelope) error {
	b, err := e.Bytes()
	if err == nil {
		err = vfs.WriteFileSync(fsys, path.Join(dir, topologyFile), b)
	}
	if err != nil {
		return fmt.Errorf("keep topology %d: %w", e.Revision, err)
	}
	return nil
}

// loadEnvelope returns the envelope that is kept in dir, the zero one if there
// is none.
func loadEnvelope(fsys vfs.FS, dir string) (Envelope, error) {
	name := path.Join(dir, topologyFile)
	b, err := vfs.ReadFile(fsys, name, MaxEnvelope)
	if errors.Is(err, fs.ErrNotExist) {
		return Envelope{}, nil
	}
	if err != nil {
		return Envelope{}, fmt.Errorf("read the kept topology: %w", err)
	}
	e, err := ParseEnvelope(b)
	if err != nil {
		return Envelope{}, fmt.Errorf("read the kept topology %s: %w: %w", name, err, hallig.ErrCorrupt)
	}
	return e, nil
}
