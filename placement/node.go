package placement

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/hallig-cloud/hallig"
)

// Roles is the set of what a node does for the mesh, and so of what it may ask
// of others. Bits that this version does not know grant nothing.
type Roles uint8

// The roles.
const (
	RoleGateway Roles = 1 << iota // holds keys, and speaks S3
	RoleStorage                   // holds shards and replicas of the catalog; never a key by this role alone
)

// Has reports whether r includes every role of x.
func (r Roles) Has(x Roles) bool { return r&x == x }

// String writes "gateway,storage", or "none".
func (r Roles) String() string {
	var names []string
	if r.Has(RoleGateway) {
		names = append(names, "gateway")
	}
	if r.Has(RoleStorage) {
		names = append(names, "storage")
	}
	if rest := r &^ (RoleGateway | RoleStorage); rest != 0 {
		names = append(names, fmt.Sprintf("unknown(%#x)", uint8(rest)))
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ",")
}

// ParseRoles reads a comma-separated list of "gateway" and "storage", or "none".
func ParseRoles(s string) (Roles, error) {
	var r Roles
	if s == "none" {
		return 0, nil
	}
	for name := range strings.SplitSeq(s, ",") {
		switch strings.TrimSpace(name) {
		case "gateway":
			r |= RoleGateway
		case "storage":
			r |= RoleStorage
		default:
			return 0, fmt.Errorf("role %q: want gateway or storage, or both with a comma: %w", name, hallig.ErrInvalid)
		}
	}
	return r, nil
}

// MarshalText implements encoding.TextMarshaler, for JSON; CBOR keeps the number.
func (r Roles) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (r *Roles) UnmarshalText(b []byte) error {
	v, err := ParseRoles(string(b))
	if err == nil {
		*r = v
	}
	return err
}

// NodeState is what the mesh has decided about a node. (Whether it answers just
// now is mesh.PeerState.)
type NodeState string

// The states of a node in the topology. Any other one counts as revoked.
const (
	NodeActive   NodeState = "active"
	NodeDraining NodeState = "draining" // a member in full, that is to be emptied
	NodeRevoked  NodeState = "revoked"  // locked out for good: its ID is never used again
)

// Member reports whether a node in the state is let in.
func (s NodeState) Member() bool { return s == NodeActive || s == NodeDraining }

// PinSize is the length of Node.Key, in bytes.
const PinSize = 32

// Bounds of what a topology may say of a node.
const (
	MaxAddrs    = 16  // addresses of one node
	maxAddrSize = 255 // bytes of one address
	maxName     = 255 // bytes of a provider's or a site's name
)

// A Node is one running hallig, as the topology knows it.
type Node struct {
	ID       hallig.NodeID `cbor:"1,keyasint" json:"id"`
	Provider string        `cbor:"2,keyasint" json:"provider"`
	Site     string        `cbor:"3,keyasint" json:"site"`
	// Addrs are host:port, tried in order; empty for a node that only dials.
	Addrs []string `cbor:"4,keyasint" json:"addrs"`
	// Key is the pin: the SHA-256 of the node's public key (its DER-encoded
	// SubjectPublicKeyInfo). No other key is let in under the node's ID.
	Key   []byte    `cbor:"5,keyasint" json:"key"`
	Roles Roles     `cbor:"6,keyasint" json:"roles"`
	State NodeState `cbor:"7,keyasint" json:"state"`
}

// Check reports with hallig.ErrInvalid what is malformed about a node.
func (n Node) Check() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("node %s: %s: %w", n.ID, fmt.Sprintf(format, args...), hallig.ErrInvalid)
	}
	switch {
	case n.ID.IsZero():
		return bad("it has no id")
	case len(n.Key) != PinSize:
		return bad("its key's hash has %d bytes, want %d", len(n.Key), PinSize)
	case n.Provider == "" || len(n.Provider) > maxName || len(n.Site) > maxName:
		return bad("provider and site want names of 1 to %d bytes", maxName)
	case len(n.Addrs) > MaxAddrs:
		return bad("%d addresses, at most %d", len(n.Addrs), MaxAddrs)
	}
	for _, a := range n.Addrs {
		if err := CheckAddr(a); err != nil {
			return bad("%v", err)
		}
	}
	return nil
}

// CheckAddr reports with hallig.ErrInvalid whether an address is not a
// host:port that a node can be reached at: a name, an IPv4 address or an IPv6
// address in brackets, and a port from 1 to 65535.
func CheckAddr(addr string) error {
	colon := strings.LastIndexByte(addr, ':')
	host, port := addr[:max(colon, 0)], addr[colon+1:]
	number, err := strconv.ParseUint(port, 10, 16)
	inner := strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	bracketed := len(inner) == len(host)-2
	if colon < 0 || err != nil || number == 0 || inner == "" || len(addr) > maxAddrSize || strings.ContainsAny(inner, "[]") ||
		len(inner) != len(host) && !bracketed || strings.Contains(inner, ":") != bracketed || strings.ContainsAny(addr, " \t\r\n/@") {
		return fmt.Errorf("address %q: want host:port of at most %d bytes: %w", addr, maxAddrSize, hallig.ErrInvalid)
	}
	return nil
}

// Node returns the node with the given ID, revoked ones included.
func (t *Topology) Node(id hallig.NodeID) (Node, bool) {
	for _, n := range t.Nodes {
		if n.ID == id {
			return n, true
		}
	}
	return Node{}, false
}

// CheckNodes reports with hallig.ErrInvalid what is malformed about the nodes:
// one of them (Node.Check), or two with the same ID or the same key.
func (t *Topology) CheckNodes() error {
	ids, keys := map[hallig.NodeID]bool{}, map[string]bool{}
	for _, n := range t.Nodes {
		if err := n.Check(); err != nil {
			return err
		}
		if ids[n.ID] || keys[string(n.Key)] {
			return fmt.Errorf("node %s: its id or its key stands there twice: %w", n.ID, hallig.ErrInvalid)
		}
		ids[n.ID], keys[string(n.Key)] = true, true
	}
	return nil
}
