// Package testmesh runs several real processes on one machine as if they stood
// at different providers, does them harm, and lets clients work on them:
//
//   - wan: the network between hosts, in namespaces or over loopback
//   - Mesh: hosts at providers, what changes between them, bytes that cross
//   - Process: one process at a host: kill, pause, restart, readiness, log
//   - nemesis: seeded schedules of faults; Faults makes them from a Mesh and
//     its nodes
//   - Client and history: S3 clients whose history is checked
//
// docs/decisions/0012-testmesh.md says why it is made this way.
package testmesh

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hallig-cloud/hallig/internal/testmesh/wan"
)

// A Host is a place in the network and whose it is.
type Host struct{ Name, Provider, Site string }

// A Change changes the link from one host to another.
type Change func(from, to Host, l *wan.Link)

// A Mesh is a network whose hosts belong to providers. Changes to its links
// are put on top of each other and may be taken back in any order.
type Mesh struct {
	net   wan.Network
	hosts []Host

	mu      sync.Mutex
	changes []*Change
}

// NewMesh returns a mesh over a network that has all the hosts; base is how
// links are without any trouble. Closing the network is up to the caller.
func NewMesh(net wan.Network, hosts []Host, base Change) (*Mesh, error) {
	m := &Mesh{net: net, hosts: slices.Clone(hosts)}
	_, err := m.Apply(base)
	return m, err
}

// Network returns the network.
func (m *Mesh) Network() wan.Network { return m.net }

// Hosts returns the hosts.
func (m *Mesh) Hosts() []Host { return slices.Clone(m.hosts) }

// Apply puts a change on top of all others; undo takes it back. Both hold for
// every link when they return.
func (m *Mesh) Apply(c Change) (undo func() error, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.changes = append(m.changes, &c)
	return func() error {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.changes = slices.DeleteFunc(m.changes, func(other *Change) bool { return other == &c })
		return m.set()
	}, m.set()
}

// set computes every link anew.
func (m *Mesh) set() error {
	for _, from := range m.hosts {
		for _, to := range m.hosts {
			if from.Name == to.Name {
				continue
			}
			var l wan.Link
			for _, c := range m.changes {
				(*c)(from, to, &l)
			}
			if err := m.net.Set(from.Name, to.Name, l); err != nil {
				return fmt.Errorf("set the link from %s to %s: %w", from.Name, to.Name, err)
			}
		}
	}
	return nil
}

// Crossed returns what was sent from one provider to another; "" is any, and
// never counts what stays within a provider.
func (m *Mesh) Crossed(from, to string) (wan.Counters, error) {
	var sum wan.Counters
	for _, a := range m.hosts {
		for _, b := range m.hosts {
			if a.Provider == b.Provider || cmp.Or(from, a.Provider) != a.Provider || cmp.Or(to, b.Provider) != b.Provider {
				continue
			}
			c, err := m.net.Counters(a.Name, b.Name)
			if err != nil {
				return sum, err
			}
			sum = sum.Plus(c)
		}
	}
	return sum, nil
}

// Apart is a base: between providers the given link, inside one none.
func Apart(l wan.Link) Change {
	return func(from, to Host, out *wan.Link) {
		if from.Provider != to.Provider {
			*out = l
		}
	}
}

// CutOff cuts a provider off from all others.
func CutOff(provider string) Change {
	return func(from, to Host, l *wan.Link) {
		if (from.Provider == provider) != (to.Provider == provider) {
			l.Cut = true
		}
	}
}

// CutBetween cuts what goes from one provider to another, and back if both.
func CutBetween(one, other string, both bool) Change {
	return func(from, to Host, l *wan.Link) {
		if from.Provider == one && to.Provider == other || both && from.Provider == other && to.Provider == one {
			l.Cut = true
		}
	}
}

// SlowDown adds a delay to everything to and from a provider, and limits it to
// so many bytes a second for each link (0 does not).
func SlowDown(provider string, more time.Duration, bandwidth int64) Change {
	return func(from, to Host, l *wan.Link) {
		if (from.Provider == provider) != (to.Provider == provider) {
			l.Delay += more
			if bandwidth > 0 {
				l.Bandwidth = bandwidth
			}
		}
	}
}
