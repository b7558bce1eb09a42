package machine

import (
	"errors"
	"testing"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
)

// TestLockPlacedMeanwhile: a write is decided while its key's null version is
// free; before it is applied a retention is placed there. The negative control
// applies without comparing, and the locked version goes.
func TestLockPlacedMeanwhile(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	put := func(etag string) catalog.Op {
		return catalog.Put{Versioning: catalog.Suspended, Version: catalog.Version{Key: "k", ETag: etag, Modified: now}}
	}
	for name, late := range map[string]catalog.Op{
		"put":    put("late"),
		"delete": catalog.Delete{Key: "k", Versioning: catalog.Suspended, At: now},
		"remove": catalog.Delete{Key: "k", Versioning: catalog.Unversioned, At: now},
	} {
		for _, control := range []bool{false, true} {
			m := newOneBucket(t)
			locked := m.ok(put("locked"))
			p := m.evaluate(late)
			locked.Retention = catalog.Retention{Mode: "COMPLIANCE", Until: now.Add(time.Hour)}
			m.ok(catalog.Update{Version: locked})
			m.machine.NoCompare = control
			res := m.apply(p)
			_, err := m.vault.Head(m.rows, m.bucket, "k", catalog.RevisionID(locked.Revision))
			v, nerr := m.vault.Head(m.rows, m.bucket, "k", catalog.NullVersion)
			kept := nerr == nil && v.Revision == locked.Revision && errors.Is(err, hallig.ErrNotFound)
			if kept == control || errors.Is(res.Err, hallig.ErrLockHeld) == control {
				t.Errorf("%s, negative control %v: result %v, locked version kept: %v", name, control, res.Err, kept)
			}
		}
	}
}

// oneBucket is a machine over rows in memory with one open bucket.
type oneBucket struct {
	t       *testing.T
	rows    table
	machine *Machine
	vault   Vault
	bucket  hallig.BucketID
	request catalog.Request
}

func newOneBucket(t *testing.T) *oneBucket {
	m := &oneBucket{t: t, rows: table{}, vault: Vault{Sealer: Clear{}}, bucket: hallig.BucketID{1}}
	var err error
	if m.machine, err = Load(m.rows, 1); err != nil {
		t.Fatal(err)
	}
	m.request = catalog.Request{Bucket: m.bucket}
	m.ok(catalog.SetBucket{Epoch: 1})
	m.request.Epoch = 1
	return m
}

func (m *oneBucket) evaluate(op catalog.Op) *Proposal {
	m.t.Helper()
	r := m.request
	r.ID, r.Ops = hallig.NewID(), []catalog.Op{op}
	p, err := m.vault.Evaluate(m.rows, &r, 0, r.Ops, time.Now())
	if err != nil {
		m.t.Fatal(err)
	}
	return p
}

func (m *oneBucket) apply(p *Proposal) catalog.Result {
	m.t.Helper()
	a, err := m.machine.Apply(m.rows, &p.Command)
	if err != nil {
		m.t.Fatal(err)
	}
	if err := m.machine.Flush(m.rows); err != nil {
		m.t.Fatal(err)
	}
	res, err := m.vault.Results(p, &m.request, a)
	if err != nil {
		m.t.Fatal(err)
	}
	return res[0]
}

func (m *oneBucket) ok(op catalog.Op) catalog.Version {
	m.t.Helper()
	res := m.apply(m.evaluate(op))
	if res.Err != nil {
		m.t.Fatal(res.Err)
	}
	return res.Version
}

// TestPresume: an evaluation that did not look for a lock is sent back by one,
// and leaves nothing behind; in a command with others it counts as one that did.
func TestPresume(t *testing.T) {
	for name, change := range map[string]catalog.Op{
		"put":    catalog.Put{Version: catalog.Version{Key: "k", ETag: "new"}},
		"delete": catalog.Delete{Key: "k", At: time.Now()},
	} {
		t.Run(name, func(t *testing.T) {
			m := newOneBucket(t)
			locked := catalog.Version{Key: "k", ETag: "old"}
			locked.LegalHold = true
			m.ok(catalog.Put{Version: locked})
			before := m.machine.Revision()
			r := m.request
			r.ID, r.Ops = hallig.NewID(), []catalog.Op{change}
			p, err := m.vault.Presume(m.rows, &r, 0, r.Ops, time.Now())
			if err != nil || !p.Command.Steps[0].Presumed {
				t.Fatal(p, err)
			}
			a, err := m.machine.Apply(m.rows, &p.Command)
			if err != nil || a.Code != CodeRetry || m.machine.Revision() != before {
				t.Fatal(a, err, m.machine.Revision())
			}
			if _, ok, err := FindAnswer(m.rows, r.ID, 0); ok || err != nil {
				t.Fatal("the answer was kept", err)
			}
			p.Command.Steps = append(p.Command.Steps, Step{Kind: StepFail, Code: CodeInvalid})
			a, err = m.machine.Apply(m.rows, &p.Command)
			if err != nil || a.Code != CodeOK || a.Steps[0].Code != CodeLockHeld || m.machine.Revision() != before {
				t.Fatal(a, err, m.machine.Revision())
			}
			if res := m.evaluate(change).Refusals()[0]; !errors.Is(res.Err, hallig.ErrLockHeld) {
				t.Fatal(res)
			}
		})
	}
}
