// Package objectstest makes whole object stores over in-memory twins, for the
// tests of whatever stands on package objects.
package objectstest

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
	catalogmem "github.com/hallig-cloud/hallig/catalog/mem"
	"github.com/hallig-cloud/hallig/objects"
	"github.com/hallig-cloud/hallig/placement"
	"github.com/hallig-cloud/hallig/seal"
	"github.com/hallig-cloud/hallig/shard"
	shardmem "github.com/hallig-cloud/hallig/shard/mem"
)

// New returns a Store over an empty catalog and four empty drives in memory.
// It is closed when the test ends.
func New(t testing.TB) *objects.Store {
	t.Helper()
	return NewMesh(t, Options{}).Store
}

// Options say how a Mesh differs from the plain one.
type Options struct {
	Drives int // 0: four
	// Wrap, when set, stands between the Store and each drive.
	Wrap func(index int, drive shard.Store) shard.Store
	// WrapCatalog, when set, stands between the Store and the catalog.
	WrapCatalog func(catalog.Catalog) catalog.Catalog
	// Open makes drive number index; nil: in memory.
	Open func(id hallig.DriveID, index int) shard.Store
	// Config, when set, edits the Store's configuration.
	Config func(*objects.Config)
}

// A Mesh is one node in memory and what it is made of.
type Mesh struct {
	Store   *objects.Store
	Catalog catalog.Catalog
	Keys    *seal.Keyring
	Drives  *Drives

	mu     sync.Mutex
	damage []objects.Damage
}

// NewMesh returns a running Mesh. Its Store is closed when the test ends.
func NewMesh(t testing.TB, o Options) *Mesh {
	t.Helper()
	if o.Drives == 0 {
		o.Drives = 4
	}
	mesh := hallig.NewID()
	secrets, err := seal.NewSecrets(mesh)
	if err != nil {
		t.Fatal(err)
	}
	m := &Mesh{Keys: seal.NewKeyring(mesh), Drives: NewDrives(o.Drives, o.Open)}
	if err := m.Keys.Unlock(secrets); err != nil {
		t.Fatal(err)
	}
	mem := catalogmem.New(catalogmem.Config{})
	t.Cleanup(func() { mem.Close() })
	m.Catalog = mem
	if o.Wrap != nil {
		m.Drives.wrap(o.Wrap)
	}
	config := objects.Config{
		Catalog: m.Catalog, Drives: m.Drives, Keys: m.Keys, Mesh: mesh, Session: hallig.NewID(),
		HedgeAfter: 10 * time.Second, // a loaded test machine is not a slow drive
		Damage:     func(d objects.Damage) { m.mu.Lock(); defer m.mu.Unlock(); m.damage = append(m.damage, d) },
	}
	if o.WrapCatalog != nil {
		config.Catalog = o.WrapCatalog(m.Catalog)
	}
	if o.Config != nil {
		o.Config(&config)
	}
	if m.Store, err = objects.New(config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Store.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// Damage returns what the Store reported so far.
func (m *Mesh) Damage() []objects.Damage {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.damage)
}

// Drives implements objects.Drives over stores that a test can take away.
type Drives struct {
	mu       sync.RWMutex
	topology *placement.Topology
	stores   map[hallig.DriveID]shard.Store
	mem      map[hallig.DriveID]*shardmem.Store
	away     map[hallig.DriveID]bool
	watchers map[int]func()
	next     int
}

var _ objects.Drives = (*Drives)(nil)

// NewDrives returns n drives of one node. open makes them; nil: in memory.
func NewDrives(n int, open func(id hallig.DriveID, index int) shard.Store) *Drives {
	d := &Drives{
		topology: &placement.Topology{Revision: 1},
		stores:   map[hallig.DriveID]shard.Store{},
		mem:      map[hallig.DriveID]*shardmem.Store{},
		away:     map[hallig.DriveID]bool{},
		watchers: map[int]func(){},
	}
	node := hallig.NewID()
	for i := range n {
		id := hallig.NewID()
		d.topology.Drives = append(d.topology.Drives, placement.Drive{
			ID: id, Node: node, Provider: "home", Site: "attic", Weight: 1 << 40, State: placement.DriveActive,
		})
		if open != nil {
			d.stores[id] = open(id, i)
			continue
		}
		m := shardmem.New(shardmem.Config{Drive: id})
		d.stores[id], d.mem[id] = m, m
	}
	return d
}

func (d *Drives) wrap(f func(int, shard.Store) shard.Store) {
	for i, id := range d.IDs() {
		d.stores[id] = f(i, d.stores[id])
	}
}

// IDs returns the drives, in the topology's order.
func (d *Drives) IDs() []hallig.DriveID {
	d.mu.RLock()
	defer d.mu.RUnlock()
	var ids []hallig.DriveID
	for _, x := range d.topology.Drives {
		ids = append(ids, x.ID)
	}
	return ids
}

// Topology implements objects.Drives.
func (d *Drives) Topology() *placement.Topology {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.topology
}

// Drive implements objects.Drives.
func (d *Drives) Drive(id hallig.DriveID) shard.Store {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.away[id] {
		return nil
	}
	return d.stores[id]
}

// Watch implements objects.Drives.
func (d *Drives) Watch(changed func()) (stop func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.next
	d.next++
	d.watchers[n] = changed
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.watchers, n)
	}
}

// Mem returns a drive's twin in memory.
func (d *Drives) Mem(id hallig.DriveID) *shardmem.Store { return d.mem[id] }

// SetAway makes a drive unreachable, or reachable again.
func (d *Drives) SetAway(id hallig.DriveID, away bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.away[id] = away
}

// Change makes a new topology out of the current one's drives.
func (d *Drives) Change(edit func([]placement.Drive) []placement.Drive) {
	d.mu.Lock()
	t := &placement.Topology{Revision: d.topology.Revision + 1, Drives: edit(slices.Clone(d.topology.Drives))}
	d.topology = t
	var told []func()
	for _, f := range d.watchers {
		told = append(told, f)
	}
	d.mu.Unlock()
	for _, f := range told {
		f()
	}
}

// Add adds an empty drive in memory, and changes the topology.
func (d *Drives) Add() hallig.DriveID {
	id := hallig.NewID()
	m := shardmem.New(shardmem.Config{Drive: id})
	d.mu.Lock()
	d.stores[id], d.mem[id] = m, m
	node := d.topology.Drives[0].Node
	d.mu.Unlock()
	d.Change(func(all []placement.Drive) []placement.Drive {
		return append(all, placement.Drive{ID: id, Node: node, Provider: "home", Site: "attic", Weight: 1 << 40, State: placement.DriveActive})
	})
	return id
}

// A Clock is a clock that a test moves.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// NewClock returns a clock that stands at a fixed time.
func NewClock() *Clock { return &Clock{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)} }

// Now returns the clock's time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance moves the clock.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// String names the mesh's size, for subtests.
func (o Options) String() string { return fmt.Sprintf("%d drives", max(o.Drives, 1)) }
