package placement

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/hallig-cloud/hallig"
)

func testNode(n int) Node {
	key := make([]byte, PinSize)
	key[0] = byte(n)
	return Node{ID: testID(1, n), Provider: "p", Site: "s", Addrs: []string{"a.example:9002"}, Key: key, Roles: RoleGateway | RoleStorage, State: NodeActive}
}

// A topology written before there were nodes is read, and one without nodes is
// written as before.
func TestTopologyWithoutNodesStaysReadable(t *testing.T) {
	type before struct {
		Revision uint64  `cbor:"1,keyasint"`
		Drives   []Drive `cbor:"2,keyasint"`
	}
	old := before{Revision: 7, Drives: grid(1, 1, 2).Drives}
	b, err := cbor.Marshal(old)
	if err != nil {
		t.Fatal(err)
	}
	var now Topology
	if err := cbor.Unmarshal(b, &now); err != nil || now.Revision != 7 || len(now.Drives) != 2 || len(now.Nodes) != 0 {
		t.Fatalf("%+v %v", now, err)
	}
	again, err := cbor.Marshal(now)
	if err != nil || !slices.Equal(again, b) {
		t.Fatalf("written anew it is %x, was %x (%v)", again, b, err)
	}
	now.Nodes = []Node{testNode(1)}
	if b, err = cbor.Marshal(now); err != nil {
		t.Fatal(err)
	}
	var ignorant before
	if err := cbor.Unmarshal(b, &ignorant); err != nil || len(ignorant.Drives) != 2 {
		t.Fatalf("a reader that knows no nodes: %+v %v", ignorant, err)
	}
}

func TestNodeCheck(t *testing.T) {
	good := testNode(1)
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Node){
		"no id":          func(n *Node) { n.ID = hallig.ID{} },
		"short key":      func(n *Node) { n.Key = n.Key[:31] },
		"no provider":    func(n *Node) { n.Provider = "" },
		"long site":      func(n *Node) { n.Site = strings.Repeat("x", 256) },
		"no port":        func(n *Node) { n.Addrs = []string{"host"} },
		"port 0":         func(n *Node) { n.Addrs = []string{"host:0"} },
		"no host":        func(n *Node) { n.Addrs = []string{":9002"} },
		"a URL":          func(n *Node) { n.Addrs = []string{"user@host:9002"} },
		"many addresses": func(n *Node) { n.Addrs = slices.Repeat([]string{"a:1"}, MaxAddrs+1) },
	} {
		n := testNode(1)
		change(&n)
		if err := n.Check(); !errors.Is(err, hallig.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	top := &Topology{Nodes: []Node{testNode(1), testNode(2)}}
	if err := top.CheckNodes(); err != nil {
		t.Fatal(err)
	}
	top.Nodes[1].Key = top.Nodes[0].Key
	if err := top.CheckNodes(); !errors.Is(err, hallig.ErrInvalid) {
		t.Fatalf("two nodes with one key: %v", err)
	}
	if _, ok := top.Node(testID(1, 2)); !ok {
		t.Fatal("node 2 is not found")
	}
	if _, ok := top.Node(testID(9)); ok {
		t.Fatal("a node that is not there is found")
	}
}

func TestCheckAddr(t *testing.T) {
	for _, a := range []string{"a:1", "127.0.0.1:65535", "[::1]:9002", "node-1.example.net:9002"} {
		if err := CheckAddr(a); err != nil {
			t.Error(err)
		}
	}
	for _, a := range []string{"", ":", "a", ":1", "a:", "a:0", "a:65536", "a:-1", "::1:9002", "[::1]", "[::1:9002", "::1]:9002", "[a]:1", "[]:1", "a b:1", "a:1 ", "http://a:1", strings.Repeat("a", 256) + ":1"} {
		if err := CheckAddr(a); !errors.Is(err, hallig.ErrInvalid) {
			t.Errorf("%q: %v", a, err)
		}
	}
}

func TestRoles(t *testing.T) {
	for s, want := range map[string]Roles{"none": 0, "gateway": RoleGateway, "storage": RoleStorage, "storage, gateway": RoleGateway | RoleStorage} {
		r, err := ParseRoles(s)
		if err != nil || r != want {
			t.Errorf("%q: %v %v", s, r, err)
		}
		if again, err := ParseRoles(r.String()); err != nil || again != r {
			t.Errorf("%q written and read: %v %v", s, again, err)
		}
	}
	for _, s := range []string{"", "admin", "gateway,", "Gateway"} {
		if _, err := ParseRoles(s); !errors.Is(err, hallig.ErrInvalid) {
			t.Errorf("%q: %v", s, err)
		}
	}
	b, err := json.Marshal(testNode(1))
	if err != nil || !strings.Contains(string(b), `"roles":"gateway,storage"`) {
		t.Fatalf("%s %v", b, err)
	}
	for s, member := range map[NodeState]bool{NodeActive: true, NodeDraining: true, NodeRevoked: false, "": false, "odd": false} {
		if s.Member() != member {
			t.Errorf("state %q", s)
		}
	}
}
