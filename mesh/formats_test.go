package mesh

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/placement"
	"github.com/hallig-cloud/hallig/vfs/vfstest"
)

func wantErr(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) || want == nil && err != nil {
		t.Fatalf("%s: error %v, want %v", what, err, want)
	}
}

func testToken() Token {
	t := Token{Addrs: []string{"n0.example:9002", "[2001:db8::1]:9002"}}
	for i := range t.Mesh {
		t.Mesh[i], t.Secret[i], t.Authority[i] = byte(i+1), byte(i+100), byte(i+200)
	}
	copy(t.ID[:], "tokenid!")
	return t
}

// The text is a promise: tokens are written down.
func TestTokenFormat(t *testing.T) {
	const want = "12f3df5029e075eb7afbd4787ded3abd3289b6bbbeaede28190ff7b922be63cf"
	text := testToken().Text()
	if got := fmt.Sprintf("%x", sha256.Sum256([]byte(text))); got != want {
		t.Errorf("the text %s has the hash %s, want %s: make it a new version", text, got, want)
	}
	got, err := ParseToken(" " + text[:20] + "\n  " + text[20:] + "\r\n")
	if err != nil || fmt.Sprintf("%#v%v%v", got.Secret, got.Addrs, got.Authority) != fmt.Sprintf("%#v%v%v", testToken().Secret, testToken().Addrs, testToken().Authority) || got.ID != testToken().ID || got.Mesh != testToken().Mesh {
		t.Fatalf("%v %v", got, err)
	}
	for name, bad := range map[string]string{
		"empty": "", "no prefix": text[1:], "cut": text[:len(text)-1], "long": text + "AAAA", "other case": strings.ToUpper(text),
		"prefix alone": tokenPrefix, "not base64": tokenPrefix + "!!!!", "huge": tokenPrefix + strings.Repeat("A", 1<<20),
	} {
		_, err := ParseToken(bad)
		wantErr(t, name, err, hallig.ErrInvalid)
		if len(bad) > 20 && strings.Contains(err.Error(), bad[10:20]) {
			t.Fatalf("%s: the error repeats the secret: %v", name, err)
		}
	}
	for i := range text {
		flipped := []byte(text)
		flipped[i] ^= 1
		if got, err := ParseToken(string(flipped)); err == nil && got.Text() == text {
			t.Fatalf("byte %d can be changed unnoticed", i)
		}
	}
	// A secret shows up where it is meant to, and nowhere else.
	own := testToken()
	secret := fmt.Sprintf("%x", own.Secret[:4])
	for _, s := range []string{fmt.Sprint(testToken()), fmt.Sprintf("%v %+v %#v %s", testToken(), testToken(), testToken(), testToken()), testToken().LogValue().String()} {
		if strings.Contains(s, secret) || strings.Contains(s, "100 101") || strings.Contains(s, "0x64") {
			t.Fatalf("the secret shows in %s", s)
		}
	}
}

func FuzzToken(f *testing.F) {
	f.Add(testToken().Text())
	f.Add("hallig-")
	f.Fuzz(func(t *testing.T, s string) {
		token, err := ParseToken(s)
		if err != nil {
			wantErr(t, "parse", err, hallig.ErrInvalid)
			return
		}
		if again, err := ParseToken(token.Text()); err != nil || again.Text() != token.Text() {
			t.Fatalf("%v %v", again, err)
		}
	})
}

type fixture struct {
	authority *Authority
	trust     *trust
}

func newFixture(t testing.TB) fixture {
	a, err := NewAuthority(hallig.NewID())
	wantErr(t, "make an authority", err, nil)
	tr, err := newTrust(a.Certificate())
	wantErr(t, "trust it", err, nil)
	return fixture{a, tr}
}

func testTopology(revision uint64) *placement.Topology {
	return &placement.Topology{Revision: revision, Nodes: []placement.Node{{
		ID: hallig.ID{1}, Provider: "p", Site: "s", Addrs: []string{"h:1"}, Key: bytes.Repeat([]byte{7}, 32), Roles: placement.RoleStorage, State: placement.NodeActive,
	}}}
}

func TestEnvelope(t *testing.T) {
	f, other := newFixture(t), newFixture(t)
	e, err := f.authority.SignTopology(testTopology(5))
	wantErr(t, "sign", err, nil)
	b, err := e.Bytes()
	wantErr(t, "encode", err, nil)
	e, err = ParseEnvelope(b)
	wantErr(t, "parse", err, nil)
	top, err := f.trust.open(e)
	if wantErr(t, "open", err, nil); top.Revision != 5 || len(top.Nodes) != 1 {
		t.Fatalf("%+v", top)
	}
	_, err = other.trust.open(e)
	wantErr(t, "with another mesh's authority", err, hallig.ErrDenied)
	for name, change := range map[string]func(*Envelope){
		"a newer revision": func(e *Envelope) { e.Revision++ },
		"another topology": func(e *Envelope) { e.Topology = slices.Clone(e.Topology); e.Topology[9] ^= 1 },
		"a cut signature":  func(e *Envelope) { e.Signature = e.Signature[:63] },
	} {
		x := e
		change(&x)
		_, err := f.trust.open(x)
		wantErr(t, name, err, hallig.ErrDenied)
	}
	// An old, unsigned record is told from an envelope.
	unsigned, err := marshal(testTopology(5))
	wantErr(t, "encode", err, nil)
	_, err = ParseEnvelope(unsigned)
	wantErr(t, "an unsigned topology", err, hallig.ErrInvalid)
	// What the authority signs by mistake is refused all the same.
	inner, err := marshal(testTopology(4))
	wantErr(t, "encode", err, nil)
	wrong := Envelope{Topology: inner, Revision: 5}
	wrong.Signature = ed25519.Sign(f.authority.key, wrong.signed(f.trust.mesh))
	_, err = f.trust.open(wrong)
	wantErr(t, "revisions that differ", err, hallig.ErrInvalid)
	_, err = f.authority.SignTopology(&placement.Topology{})
	wantErr(t, "no revision", err, hallig.ErrInvalid)
	bad := testTopology(5)
	bad.Nodes[0].Key = nil
	_, err = f.authority.SignTopology(bad)
	wantErr(t, "a node without a pin", err, hallig.ErrInvalid)
}

func FuzzEnvelope(f *testing.F) {
	fix := newFixture(f)
	e, err := fix.authority.SignTopology(testTopology(5))
	wantErr(f, "sign", err, nil)
	b, err := e.Bytes()
	wantErr(f, "encode", err, nil)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := ParseEnvelope(b)
		if err != nil {
			return
		}
		if again, err := e.Bytes(); err != nil || len(again) == 0 {
			t.Fatal(err)
		}
		if top, err := e.decode(); err == nil && top.CheckNodes() != nil {
			t.Fatal("a topology with a malformed node")
		}
		if _, err := fix.trust.open(e); err == nil && !bytes.Equal(e.Topology, mustTopology(t)) {
			t.Fatal("the signature of something else holds")
		}
	})
}

func mustTopology(t *testing.T) []byte {
	b, err := marshal(testTopology(5))
	wantErr(t, "encode", err, nil)
	return b
}

func FuzzJoinRequest(f *testing.F) {
	disk := vfstest.NewDisk(vfstest.DiskConfig{})
	key, err := OpenKey(disk, "/mesh")
	wantErr(f, "key", err, nil)
	csr, err := key.Request()
	wantErr(f, "request", err, nil)
	var b bytes.Buffer
	wantErr(f, "frame", writeFrame(&b, joinWire{Version: joinVersion, CSR: csr, Addrs: []string{":9002"}, Proof: make([]byte, 64)}), nil)
	f.Add(b.Bytes())
	f.Add([]byte{0, 0, 0, 1, 0xa0})
	f.Fuzz(func(t *testing.T, b []byte) {
		var w joinWire
		if readFrame(bytes.NewReader(b), maxJoin, &w) != nil {
			return
		}
		if _, _, err := parseRequest(w.CSR); err != nil && !errors.Is(err, hallig.ErrInvalid) && !errors.Is(err, hallig.ErrTooLarge) {
			t.Fatal(err)
		}
		i := Invitation{Token: w.Token, Secret: sha256.Sum256(w.Secret[:]), Expires: 10}
		if _, _, err := i.Use(JoinRequest{Token: w.Token, Secret: w.Secret, Pin: Pin{1}}, hallig.ID{1}, time.Unix(5, 0)); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzPreface(f *testing.F) {
	var b bytes.Buffer
	wantErr(f, "frame", writeFrame(&b, streamPreface{Name: "raft", Revision: 7}), nil)
	f.Add(b.Bytes())
	b.Reset()
	e := encodeError(hallig.ErrDenied)
	wantErr(f, "frame", writeFrame(&b, streamReply{Error: &e, Revision: 7}), nil)
	f.Add(b.Bytes())
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		var p streamPreface
		if err := readFrame(bytes.NewReader(b), maxPreface, &p); err == nil && len(p.Name) > maxPreface {
			t.Fatal("a name longer than the frame")
		}
		var reply streamReply
		if readFrame(bytes.NewReader(b), maxReply, &reply) == nil && reply.Error != nil {
			if text := reply.Error.remote(hallig.ID{}).Error(); len(text) > 2*maxErrorText {
				t.Fatalf("an error of %d bytes", len(text))
			}
		}
	})
}

func FuzzError(f *testing.F) {
	f.Add(AppendError(nil, fmt.Errorf("put: %w: %w", hallig.ErrFull, hallig.ErrConflict)))
	f.Add([]byte{0xa0})
	f.Fuzz(func(t *testing.T, b []byte) {
		err := ParseError(hallig.ID{1}, b)
		if err == nil || err.Error() == "" {
			t.Fatal("a failure that is no error")
		}
		if again := ParseError(hallig.ID{1}, AppendError(nil, err)); errors.Is(again, hallig.ErrFull) != errors.Is(err, hallig.ErrFull) {
			t.Fatalf("%v became %v", err, again)
		}
		for _, r := range err.Error() {
			if r < ' ' {
				t.Fatalf("control characters in %q", err.Error())
			}
		}
	})
}

func FuzzFrameTopology(f *testing.F) {
	disk := vfstest.NewDisk(vfstest.DiskConfig{})
	key, err := OpenKey(disk, "/mesh")
	wantErr(f, "key", err, nil)
	fix := newFixture(f)
	csr, _ := key.Request()
	cert, err := fix.authority.Certify(csr, hallig.ID{1})
	wantErr(f, "certify", err, nil)
	e, err := fix.authority.SignTopology(testTopology(5))
	wantErr(f, "sign", err, nil)
	var b bytes.Buffer
	wantErr(f, "frame", writeFrame(&b, joinReply{Answer: &JoinAnswer{Node: hallig.ID{1}, Certificate: cert, Authority: fix.trust.cert.Raw, Envelope: e}}), nil)
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		var reply joinReply
		if readFrame(bytes.NewReader(b), maxJoinReply, &reply) == nil && reply.Answer != nil {
			if _, err := reply.Answer.joined(fix.trust, key.Pin()); err == nil {
				t.Fatal("an answer whose topology does not pin the key")
			}
		}
	})
}

// Every sentinel of the root package travels, wrapped as it was; a remote end's
// cancellation does not become the caller's.
func TestErrorsTravel(t *testing.T) {
	send := func(err error) error {
		w := httptest.NewRecorder()
		WriteError(w, err)
		return CheckAnswer(hallig.ID{1}, w.Result())
	}
	seen := 0
	for _, sentinel := range kinds() {
		if sentinel == nil {
			continue
		}
		seen++
		got := send(fmt.Errorf("write drive: %w", sentinel))
		if wantErr(t, "travelled", got, sentinel); !strings.Contains(got.Error(), "write drive") {
			t.Fatal(got)
		}
		for _, other := range kinds() {
			if other != nil && other != sentinel && errors.Is(got, other) {
				t.Fatalf("%v became %v as well", sentinel, other)
			}
		}
	}
	if seen != 21 {
		t.Fatalf("%d sentinels travel, the root package has 21: add the new one at the end of kinds", seen)
	}
	both := send(fmt.Errorf("%w: %w", hallig.ErrFull, hallig.ErrConflict))
	wantErr(t, "two", both, hallig.ErrFull)
	wantErr(t, "two", both, hallig.ErrConflict)
	for _, err := range []error{context.Canceled, context.DeadlineExceeded} {
		got := send(err)
		if wantErr(t, "the other's context", got, hallig.ErrUnavailable); errors.Is(got, err) {
			t.Fatalf("%v became the caller's", err)
		}
	}
	got := send(errors.New("plain\x1b[31m\n" + strings.Repeat("x", 1<<20)))
	var said *RemoteError
	if !errors.As(got, &said) || len(said.Text) > maxErrorText || strings.ContainsAny(said.Text, "\x1b\n") {
		t.Fatal(got)
	}
	w := httptest.NewRecorder()
	w.WriteHeader(500)
	wantErr(t, "no body", CheckAnswer(hallig.ID{1}, w.Result()), hallig.ErrUnavailable)
}

func TestAuthority(t *testing.T) {
	f := newFixture(t)
	b, err := f.authority.Bytes()
	wantErr(t, "bytes", err, nil)
	again, err := OpenAuthority(b)
	wantErr(t, "open", err, nil)
	e, err := again.SignTopology(testTopology(1))
	wantErr(t, "sign", err, nil)
	_, err = f.trust.open(e)
	wantErr(t, "the opened authority is the same", err, nil)
	for _, bad := range [][]byte{nil, {0xa0}, b[:len(b)-1]} {
		if _, err := OpenAuthority(bad); err == nil {
			t.Fatalf("%x is an authority", bad)
		}
	}
	var r authorityRecord
	wantErr(t, "decode", unmarshal(b, &r, hallig.ErrCorrupt), nil)
	r.Seed[0] ^= 1
	b, _ = marshal(r)
	_, err = OpenAuthority(b)
	wantErr(t, "another key", err, hallig.ErrCorrupt)
	if s := fmt.Sprintf("%v %+v %s", f.authority, f.authority, f.authority); !strings.HasPrefix(s, "authority of mesh") || strings.Count(s, "authority of mesh") != 3 {
		t.Fatal(s)
	}
	_, err = f.authority.Certify([]byte("no request"), hallig.ID{1})
	wantErr(t, "certify garbage", err, hallig.ErrInvalid)
	_, err = f.authority.Certify(make([]byte, maxRequest+1), hallig.ID{1})
	wantErr(t, "certify a long request", err, hallig.ErrTooLarge)
}

// A power cut at any moment leaves the key as it was, and an identity or none.
func TestIdentityThroughPowerCuts(t *testing.T) {
	f := newFixture(t)
	disk := vfstest.NewDisk(vfstest.DiskConfig{Record: true})
	key, err := OpenKey(disk, "/data/mesh")
	wantErr(t, "key", err, nil)
	_, err = LoadIdentity(disk, "/data/mesh")
	wantErr(t, "before it joined", err, hallig.ErrNotFound)
	durable := disk.Ops()
	csr, _ := key.Request()
	cert, err := f.authority.Certify(csr, hallig.ID{9})
	wantErr(t, "certify", err, nil)
	_, err = CreateIdentity(disk, "/data/mesh", cert, f.authority.Certificate())
	wantErr(t, "create", err, nil)
	members := 0
	_, err = disk.EachCrash(vfstest.CrashConfig{Seed: 1}, func(c vfstest.Crash) error {
		id, err := LoadIdentity(c.Disk, "/data/mesh")
		switch {
		case err == nil && id.Node() == hallig.ID{9} && id.Pin() == key.Pin():
			members++
			return nil
		case !errors.Is(err, hallig.ErrNotFound):
			return fmt.Errorf("load: %w", err)
		}
		if c.Ops < durable {
			return nil
		}
		again, err := OpenKey(c.Disk, "/data/mesh")
		if err == nil && again.Pin() != key.Pin() {
			err = errors.New("the key was made anew")
		}
		return err
	})
	wantErr(t, "power cuts", err, nil)
	if members == 0 {
		t.Fatal("no cut leaves a member: the test tests nothing")
	}
}

func TestIdentityBelongsTogether(t *testing.T) {
	f, other := newFixture(t), newFixture(t)
	disk := vfstest.NewDisk(vfstest.DiskConfig{})
	key, err := OpenKey(disk, "/m")
	wantErr(t, "key", err, nil)
	csr, _ := key.Request()
	cert, _ := f.authority.Certify(csr, hallig.ID{9})
	foreign, _ := other.authority.Certify(csr, hallig.ID{9})
	_, err = CreateIdentity(disk, "/m", foreign, f.authority.Certificate())
	wantErr(t, "another mesh's certificate", err, hallig.ErrForeign)
	stranger := vfstest.NewDisk(vfstest.DiskConfig{})
	_, err = CreateIdentity(stranger, "/m", cert, f.authority.Certificate())
	wantErr(t, "a certificate for another key", err, hallig.ErrForeign)
	_, err = CreateIdentity(disk, "/m", cert, f.authority.Certificate())
	wantErr(t, "create", err, nil)
	_, err = CreateIdentity(disk, "/m", cert, f.authority.Certificate())
	wantErr(t, "create again", err, nil)
	_, err = CreateIdentity(disk, "/m", foreign, other.authority.Certificate())
	wantErr(t, "join another mesh", err, hallig.ErrForeign)
	wantErr(t, "damage", disk.Corrupt("/m/node.key", 40, 0xff), nil)
	if _, err = LoadIdentity(disk, "/m"); err == nil {
		t.Fatal("a damaged key is taken")
	}
}

func TestInvitation(t *testing.T) {
	now := time.Unix(1000, 0)
	token, i, err := NewToken(hallig.ID{1}, Pin{2}, []string{"h:1"}, Invitation{Provider: "p", Roles: placement.RoleStorage, Expires: 2000})
	wantErr(t, "make", err, nil)
	r := JoinRequest{Token: token.ID, Secret: token.Secret, Pin: Pin{3}}
	used, again, err := i.Use(r, hallig.ID{7}, now)
	if wantErr(t, "use", err, nil); again || !used.Used() || used.Node != (hallig.ID{7}) {
		t.Fatalf("%+v %v", used, again)
	}
	b, err := used.Bytes()
	wantErr(t, "encode", err, nil)
	used, err = ParseInvitation(b)
	wantErr(t, "parse", err, nil)
	same, again, err := used.Use(r, hallig.ID{8}, time.Unix(1e9, 0))
	if wantErr(t, "the same key, later", err, nil); !again || same != used {
		t.Fatalf("%+v %v", same, again)
	}
	thief := r
	thief.Pin = Pin{4}
	_, _, err = used.Use(thief, hallig.ID{8}, now)
	wantErr(t, "another key", err, hallig.ErrDenied)
	_, _, err = i.Use(r, hallig.ID{8}, time.Unix(2000, 0))
	wantErr(t, "too late", err, hallig.ErrDenied)
	guess := r
	guess.Secret[0] ^= 1
	_, _, wrong := i.Use(guess, hallig.ID{8}, now)
	wantErr(t, "a wrong secret", wrong, hallig.ErrDenied)
	if wrong.Error() != ErrNoSuchToken().Error() {
		t.Fatal("a wrong secret and an unknown token are told apart")
	}
	if bytes.Contains(b, token.Secret[:]) {
		t.Fatal("the record holds the secret")
	}
	for name, bad := range map[string]Invitation{"no roles": {Provider: "p", Expires: 1}, "no provider": {Roles: 1, Expires: 1}, "no expiry": {Provider: "p", Roles: 1}} {
		_, _, err := NewToken(hallig.ID{1}, Pin{}, []string{"h:1"}, bad)
		wantErr(t, name, err, hallig.ErrInvalid)
	}
	_, _, err = NewToken(hallig.ID{1}, Pin{}, nil, i)
	wantErr(t, "no address", err, hallig.ErrInvalid)
}
