package mesh

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"log/slog"
	"strings"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/placement"
)

// A TokenID names a token; it is no secret.
type TokenID [8]byte

// String returns the ID as 16 hexadecimal digits.
func (id TokenID) String() string { return hex.EncodeToString(id[:]) }

// ParseTokenID reads what String writes.
func ParseTokenID(s string) (TokenID, error) {
	var id TokenID
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(id) {
		return id, fmt.Errorf("token id %q: want %d hexadecimal digits: %w", s, 2*len(id), hallig.ErrInvalid)
	}
	return TokenID(b), nil
}

// A Token is what a new node is given to join a mesh, once. Its String is a
// secret: fmt and slog show the ID alone.
type Token struct {
	Mesh   hallig.MeshID
	ID     TokenID
	Secret [16]byte
	// Authority is the start of the authority's Pin: by it the new node knows
	// the mesh before it sends the secret. 128 bits suffice against another key
	// with the same pin.
	Authority [16]byte
	Addrs     []string // host:port of members, tried in order; 1..placement.MaxAddrs
}

const (
	tokenPrefix  = "hallig-"
	tokenVersion = 1
	tokenFixed   = 1 + 16 + 8 + 16 + 16 + 1 // bytes before the addresses
	maxToken     = 8 << 10                  // bytes of a token's text
)

// Text returns the token's one line of text, to be pasted: "hallig-" and
// base64url, without padding, of version, mesh, id, secret, authority, the
// number of addresses, each with its length before it, and the CRC32C of all
// that, big-endian.
func (t Token) Text() string {
	b := append([]byte{tokenVersion}, t.Mesh[:]...)
	b = append(b, t.ID[:]...)
	b = append(b, t.Secret[:]...)
	b = append(b, t.Authority[:]...)
	b = append(b, byte(len(t.Addrs)))
	for _, a := range t.Addrs {
		b = append(b, byte(len(a)))
		b = append(b, a...)
	}
	b = binary.BigEndian.AppendUint32(b, tokenSum(b))
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(b)
}

func tokenSum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// String names the token without its secret.
func (t Token) String() string { return "token " + t.ID.String() }

// GoString is String.
func (t Token) GoString() string { return t.String() }

// LogValue implements slog.LogValuer.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.String()) }

// ParseToken reads a token's text; white space around it and line breaks in it
// are overlooked. hallig.ErrInvalid says what is wrong, and never repeats the
// text.
func ParseToken(text string) (Token, error) {
	t, err := parseToken(text)
	if err != nil {
		return Token{}, fmt.Errorf("token: %w: %w", err, hallig.ErrInvalid)
	}
	return t, nil
}

func parseToken(text string) (Token, error) {
	if len(text) > 2*maxToken {
		return Token{}, fmt.Errorf("%d bytes long", len(text))
	}
	text = strings.Join(strings.Fields(text), "")
	encoded, ok := strings.CutPrefix(text, tokenPrefix)
	if !ok || len(text) > maxToken {
		return Token{}, fmt.Errorf("it does not begin with %q: copy the whole line that `hallig token create` printed", tokenPrefix)
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return Token{}, fmt.Errorf("it holds a character that does not belong there, or its end is missing")
	}
	if len(b) < tokenFixed+4 || binary.BigEndian.Uint32(b[len(b)-4:]) != tokenSum(b[:len(b)-4]) {
		return Token{}, fmt.Errorf("its checksum is wrong: copy the whole line that `hallig token create` printed")
	}
	if b[0] != tokenVersion {
		return Token{}, fmt.Errorf("version %d is unknown: install the version of hallig that the mesh runs", b[0])
	}
	var t Token
	rest := b[1 : len(b)-4]
	for _, field := range [][]byte{t.Mesh[:], t.ID[:], t.Secret[:], t.Authority[:]} {
		rest = rest[copy(field, rest):]
	}
	n := int(rest[0])
	rest = rest[1:]
	for range n {
		if len(rest) == 0 || len(rest) < 1+int(rest[0]) {
			return Token{}, fmt.Errorf("an address is cut off")
		}
		size := 1 + int(rest[0])
		t.Addrs = append(t.Addrs, string(rest[1:size]))
		rest = rest[size:]
	}
	if len(rest) != 0 {
		return Token{}, fmt.Errorf("%d bytes too many", len(rest))
	}
	return t, t.check()
}

// check reports whether the token can be used.
func (t Token) check() error {
	if t.Mesh.IsZero() || len(t.Addrs) == 0 || len(t.Addrs) > placement.MaxAddrs {
		return fmt.Errorf("a mesh and 1 to %d addresses are needed, it has %d", placement.MaxAddrs, len(t.Addrs))
	}
	for _, a := range t.Addrs {
		if err := placement.CheckAddr(a); err != nil {
			return err
		}
	}
	return nil
}

// NewToken makes a token for a mesh, and the record of it that the mesh keeps.
// template says provider, site, roles and expiry of the node to come.
// authority is the authority's pin; addrs are where members listen.
func NewToken(mesh hallig.MeshID, authority Pin, addrs []string, template Invitation) (Token, Invitation, error) {
	t := Token{Mesh: mesh, Addrs: addrs, Authority: [16]byte(authority[:16])}
	rand.Read(t.ID[:])     //nolint:errcheck // never fails
	rand.Read(t.Secret[:]) //nolint:errcheck // never fails
	if err := t.check(); err != nil {
		return Token{}, Invitation{}, fmt.Errorf("make a token: %w: %w", err, hallig.ErrInvalid)
	}
	i := template
	i.Token, i.Secret = t.ID, sha256.Sum256(t.Secret[:])
	i.Node, i.UsedBy = hallig.NodeID{}, Pin{}
	if i.Provider == "" || i.Roles == 0 || i.Expires <= 0 {
		return Token{}, Invitation{}, fmt.Errorf("make a token: provider, roles and expiry are needed: %w", hallig.ErrInvalid)
	}
	return t, i, nil
}
