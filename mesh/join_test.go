package mesh_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/mesh"
	"github.com/hallig-cloud/hallig/mesh/meshtest"
	"github.com/hallig-cloud/hallig/placement"
	"github.com/hallig-cloud/hallig/vfs/vfstest"
)

// inn is the deciding side of joining, as a node builds it: invitations with a
// compare-and-swap, and the authority.
type inn struct {
	mu      sync.Mutex
	w       *meshtest.World
	invited map[mesh.TokenID]mesh.Invitation
	now     time.Time
	keyFile []byte
	leak    bool                // give the key file to everyone
	offer   func(mesh.Envelope) // tells the mesh
	asked   []mesh.JoinRequest
}

func (i *inn) token(t *testing.T, roles placement.Roles, addrs ...string) mesh.Token {
	t.Helper()
	token, invitation, err := mesh.NewToken(i.w.Mesh, i.w.Authority.Pin(), addrs, mesh.Invitation{Provider: "b", Site: "b1", Roles: roles, Expires: i.now.Add(time.Hour).Unix()})
	wantErr(t, "make a token", err, nil)
	again, err := mesh.ParseToken(token.Text())
	wantErr(t, "read the token", err, nil)
	i.invited[invitation.Token] = invitation
	return again
}

func (i *inn) decide(_ context.Context, r mesh.JoinRequest) (mesh.JoinAnswer, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.asked = append(i.asked, r)
	invitation, ok := i.invited[r.Token]
	if !ok {
		return mesh.JoinAnswer{}, mesh.ErrNoSuchToken()
	}
	used, again, err := invitation.Use(r, hallig.NewID(), i.now)
	if err != nil {
		return mesh.JoinAnswer{}, err
	}
	i.invited[r.Token] = used
	cert, err := i.w.Authority.Certify(r.CSR, used.Node)
	if err != nil {
		return mesh.JoinAnswer{}, err
	}
	envelope := i.w.Envelope()
	if !again {
		envelope = i.w.Change(func(t *placement.Topology) {
			t.Nodes = append(t.Nodes, placement.Node{ID: used.Node, Provider: used.Provider, Site: used.Site, Addrs: r.Addrs, Key: r.Pin[:], Roles: used.Roles, State: placement.NodeActive})
		})
		i.offer(envelope)
	}
	answer := mesh.JoinAnswer{Node: used.Node, Certificate: cert, Authority: i.w.Authority.Certificate(), Envelope: envelope}
	if used.Roles.Has(placement.RoleGateway) || i.leak {
		answer.KeyFile = i.keyFile
	}
	return answer, nil
}

func openInn(t *testing.T) (*inn, []*meshtest.Node) {
	i := &inn{invited: map[mesh.TokenID]mesh.Invitation{}, now: time.Unix(1e9, 0), keyFile: []byte("the key file, as it is")}
	w, nodes := meshtest.Start(t, 2, func(n int, m *mesh.Mesh) {
		withEcho(n, m)
		if n == 0 {
			m.HandleJoin(i.decide)
			i.offer = func(e mesh.Envelope) {
				if err := m.Offer(e); err != nil {
					t.Error(err)
				}
			}
		}
	})
	i.w = w
	return i, nodes
}

func TestJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i, nodes := openInn(t)
		fs := vfstest.NewDisk(vfstest.DiskConfig{})
		o := mesh.JoinOptions{FS: fs, Dir: meshtest.Dir, Addrs: []string{":9002"}, Dial: i.w.Net.Dialer("new")}
		// The first address is dead, the second's node takes nobody in.
		token := i.token(t, meshtest.Both, "dead:1", "n1:9002", "n0:9002")
		joined, err := mesh.Join(t.Context(), token, o)
		wantErr(t, "join", err, nil)
		if joined.Self.Provider != "b" || joined.Self.Addrs[0] != "new:9002" || !bytes.Equal(joined.KeyFile, i.keyFile) || joined.Mesh != i.w.Mesh {
			t.Fatalf("%+v", joined)
		}
		if _, err := mesh.LoadIdentity(fs, meshtest.Dir); err == nil {
			t.Fatal("it is a member before what it got is stored")
		}
		// The answer was lost: the same again, and no second node.
		again, err := mesh.Join(t.Context(), token, o)
		if wantErr(t, "join again", err, nil); again.Node != joined.Node || len(i.w.Topology().Nodes) != 3 {
			t.Fatalf("it is %s, and was %s", again.Node, joined.Node)
		}
		id, err := again.Save(fs, meshtest.Dir)
		wantErr(t, "save", err, nil)
		n := &meshtest.Node{World: i.w, Host: "new", FS: fs, Identity: id}
		cfg := n.Config()
		cfg.Topology = mesh.Envelope{}
		n.Start(cfg, func(m *mesh.Mesh) { withEcho(2, m) })
		time.Sleep(3 * time.Second) // of the bubble's clock
		for _, other := range nodes {
			for _, pair := range [][2]*meshtest.Node{{n, other}, {other, n}} {
				_, err := call(t.Context(), pair[0].Mesh.Client(pair[1].ID()), "/v1/echo", "")
				wantErr(t, "a call of the new node", err, nil)
			}
		}
		// Another server with the same token.
		o.FS = vfstest.NewDisk(vfstest.DiskConfig{})
		_, err = mesh.Join(t.Context(), token, o)
		wantErr(t, "a used token", err, hallig.ErrDenied)
		late := i.token(t, meshtest.Both, "n0:9002")
		i.now = i.now.Add(2 * time.Hour)
		time.Sleep(10 * time.Second)
		_, err = mesh.Join(t.Context(), late, o)
		wantErr(t, "a late token", err, hallig.ErrDenied)
		_, err = mesh.Join(t.Context(), i.token(t, meshtest.Both, "dead:1"), o)
		wantErr(t, "nobody there", err, hallig.ErrUnavailable)
		_, err = mesh.Join(t.Context(), mesh.Token{}, o)
		wantErr(t, "no token", err, hallig.ErrInvalid)
	})
}

// A node without the gateway's role never gets the key file, whatever the
// deciding side would do.
func TestJoinAsStorage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i, _ := openInn(t)
		o := mesh.JoinOptions{FS: vfstest.NewDisk(vfstest.DiskConfig{}), Dir: meshtest.Dir, Addrs: []string{"new:9002"}, Dial: i.w.Net.Dialer("new")}
		var mu sync.Mutex
		joined, err := mesh.Join(t.Context(), i.token(t, placement.RoleStorage, "n0:9002"), o)
		if wantErr(t, "join", err, nil); joined.KeyFile != nil || joined.Self.Roles != placement.RoleStorage {
			t.Fatalf("%+v", joined)
		}
		mu.Lock()
		defer mu.Unlock()
		i.leak = true
		o.FS = vfstest.NewDisk(vfstest.DiskConfig{})
		_, err = mesh.Join(t.Context(), i.token(t, placement.RoleStorage, "n0:9002"), o)
		wantErr(t, "an answer with a key file for a storage node", err, hallig.ErrUnavailable)
	})
}

// Whoever is not of the token's mesh learns nothing: the secret is sent after
// the certificate is checked.
func TestJoinTellsStrangersNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i, _ := openInn(t)
		other := meshtest.New(t)
		foreign, _ := other.Certified(hallig.NewID())
		sameMesh, err := mesh.NewAuthority(i.w.Mesh)
		wantErr(t, "an authority that says that it is of the mesh", err, nil)
		forger := meshtest.World{T: t, Authority: sameMesh}
		forged, _ := forger.Certified(hallig.NewID())
		leafOnly := forged.Certificate()
		leafOnly.Certificate = leafOnly.Certificate[:1]
		mixed := forged.Certificate() // the right authority's certificate beside a wrong node's
		mixed.Certificate = [][]byte{mixed.Certificate[0], i.w.Authority.Certificate()}
		for name, cert := range map[string]tls.Certificate{"another mesh's": foreign.Certificate(), "forged": forged.Certificate(), "alone": leafOnly, "mixed": mixed} {
			l, err := i.w.Net.Listen(t.Context(), "tcp", "fake:0")
			wantErr(t, "listen", err, nil)
			got := make(chan []byte, 1)
			go func() {
				c, err := l.Accept()
				if err != nil {
					return
				}
				defer c.Close()
				s := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{mesh.ProtoJoin}})
				b := make([]byte, 100)
				n, _ := s.Read(b)
				got <- b[:n]
			}()
			token := i.token(t, meshtest.Both, l.Addr().String())
			_, err = mesh.Join(t.Context(), token, mesh.JoinOptions{FS: vfstest.NewDisk(vfstest.DiskConfig{}), Dir: meshtest.Dir, Dial: i.w.Net.Dialer("new")})
			wantErr(t, name, err, hallig.ErrForeign)
			if b := <-got; len(b) > 0 {
				t.Fatalf("%s: %d bytes were told", name, len(b))
			}
			l.Close()
		}
	})
}

// One that accepts and says nothing costs 10 s.
func TestJoinIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i, _ := openInn(t)
		l, err := i.w.Net.Listen(t.Context(), "tcp", "mute:0")
		wantErr(t, "listen", err, nil)
		defer l.Close()
		start := time.Now()
		_, err = mesh.Join(t.Context(), i.token(t, meshtest.Both, l.Addr().String()), mesh.JoinOptions{FS: vfstest.NewDisk(vfstest.DiskConfig{}), Dir: meshtest.Dir, Dial: func(ctx context.Context, n, a string) (net.Conn, error) {
			return i.w.Net.Dialer("new")(ctx, n, a)
		}})
		wantErr(t, "join", err, hallig.ErrUnavailable)
		if took := time.Since(start); took > mesh.JoinTime {
			t.Fatalf("it took %v", took)
		}
	})
}
