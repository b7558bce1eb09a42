package raft

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"strconv"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/catalog/machine"
)

// maxRetries bounds how often a request whose compared revisions have changed
// is evaluated anew.
const maxRetries = 64

// partitionOf returns the partition that holds the bucket (its slot 0).
func (n *Catalog) partitionOf(ctx context.Context, b hallig.BucketID) (*partition, error) {
	if n.cfg.Partitions == 1 {
		return n.partitions[1], nil
	}
	if id, ok := n.slots.Load(b); ok {
		return n.partitions[id.(uint16)], nil
	}
	r, err := n.Get(ctx, machine.KindSlot, slotName(b))
	if errors.Is(err, hallig.ErrNotFound) {
		return n.partitions[1], nil // where a bucket is that was opened when there was but one
	}
	if err != nil {
		return nil, err
	}
	id, err := strconv.ParseUint(string(r.Value), 10, 16)
	if err != nil || id == 0 || int(id) >= len(n.partitions) {
		return nil, fmt.Errorf("bucket %s is in partition %q, which this node does not have: %w", b, r.Value, hallig.ErrUnavailable)
	}
	n.slots.Store(b, uint16(id))
	return n.partitions[id], nil
}

func slotName(b hallig.BucketID) string { return b.String() + "/0" }

// place gives a bucket that is opened for the first time a partition.
func (n *Catalog) place(ctx context.Context, r *catalog.Request) error {
	if n.cfg.Partitions == 1 || r.Epoch != 0 {
		return nil
	}
	if _, ok := r.Ops[0].(catalog.SetBucket); !ok {
		return nil
	}
	h := fnv.New32a()
	h.Write(r.Bucket[:]) //nolint:errcheck // never fails
	id := 1 + h.Sum32()%uint32(n.cfg.Partitions)
	err := n.Update(ctx, catalog.Change{Kind: machine.KindSlot, Name: slotName(r.Bucket), Value: strconv.AppendUint(nil, uint64(id), 10)})
	if errors.Is(err, hallig.ErrConflict) {
		return nil // placed before
	}
	return err
}

// Commit implements catalog.Objects.
func (n *Catalog) Commit(ctx context.Context, r catalog.Request) ([]catalog.Result, error) {
	if err := machine.Validate(&r); err != nil {
		return nil, err
	}
	v, err := n.opener.keys()
	if err != nil {
		return nil, err
	}
	if err := n.room(r.Ops); err != nil {
		return nil, err
	}
	if err := n.place(ctx, &r); err != nil {
		return nil, err
	}
	p, err := n.partitionOf(ctx, r.Bucket)
	if err != nil {
		return nil, err
	}
	var out []catalog.Result
	ops := r.Ops
	for part, k := range machine.Cut(r.Ops) {
		res, err := n.commit(ctx, p, v, &r, part, ops[:k])
		if err != nil {
			return nil, err
		}
		if out == nil {
			out = res
		} else {
			out = append(out, res...)
		}
		ops = ops[k:]
	}
	return out, nil
}

// room refuses what adds something when space is short.
func (n *Catalog) room(ops []catalog.Op) error {
	if !n.full.Load() {
		return nil
	}
	for _, op := range ops {
		switch o := op.(type) {
		case catalog.DeleteVersion, catalog.AbortUpload, catalog.SetBucket:
			continue
		case catalog.Delete:
			if o.Versioning == catalog.Unversioned {
				continue
			}
		}
		return fmt.Errorf("a drive that holds the catalog is almost full: free space on it, delete objects, or add a drive: %w", hallig.ErrFull)
	}
	return nil
}

// commit decides one run of a request's operations.
func (n *Catalog) commit(ctx context.Context, p *partition, v machine.Vault, r *catalog.Request, part int, ops []catalog.Op) ([]catalog.Result, error) {
	for i := range maxRetries {
		if err := p.strict(ctx); err != nil {
			return nil, err
		}
		prop, a, found, err := n.evaluate(p, v, r, part, ops, i == 0)
		if err != nil {
			return nil, err
		}
		switch {
		case found:
			return v.Results(machine.Repeated(ops), r, a)
		case !prop.Applies:
			return prop.Refusals(), nil
		}
		if a, err = p.propose(ctx, &prop.Command); err != nil {
			return nil, err
		}
		switch {
		case a.Code == machine.CodeRetry:
			continue
		case a.Repeat:
			return v.Results(machine.Repeated(ops), r, a)
		}
		return v.Results(prop, r, a)
	}
	return nil, fmt.Errorf("bucket %s: its keys changed %d times while the request was decided: %w", r.Bucket, maxRetries, hallig.ErrConflict)
}

// evaluate decides a run of operations against the state. A repeat is found out
// by Apply, which has the first answer; only when the evaluation fails, as it may
// because the request was applied before, is the answer looked for here. With presume, see machine.Vault.Presume.
func (n *Catalog) evaluate(p *partition, v machine.Vault, r *catalog.Request, part int, ops []catalog.Op, presume bool) (prop *machine.Proposal, a machine.Answer, found bool, err error) {
	evaluate := v.Evaluate
	if presume {
		evaluate = v.Presume
	}
	err = n.set.read(func(m *mirror) error {
		prop, err = evaluate(newReader(m, m.state, p.id), r, part, ops, n.cfg.Now())
		if err != nil || refuses(prop) {
			// Rows were read one after the other: only what one moment shows is refused.
			snap := m.state.NewSnapshot()
			defer snap.Close() //nolint:errcheck // frees memory only
			rows := newReader(m, snap, p.id)
			prop, err = v.Evaluate(rows, r, part, ops, n.cfg.Now())
			again, ok, ferr := machine.FindAnswer(rows, r.ID, uint16(part))
			if ferr == nil && ok {
				a, found, err = again, true, nil
			}
		}
		return err
	})
	return prop, a, found, err
}

func refuses(p *machine.Proposal) bool {
	for _, err := range p.Errs {
		if err != nil {
			return true
		}
	}
	return false
}

// view runs fn on the rows of the bucket's partition, strictly read.
func (n *Catalog) view(ctx context.Context, b hallig.BucketID, fn func(v machine.Vault, r *reader) error) error {
	v, err := n.opener.keys()
	if err != nil {
		return err
	}
	p, err := n.partitionOf(ctx, b)
	if err != nil {
		return err
	}
	if err := p.strict(ctx); err != nil {
		return err
	}
	return n.set.read(func(m *mirror) error { return fn(v, newReader(m, m.state, p.id)) })
}

// consistent runs fn on a snapshot of the rows, for reads of several rows.
func (n *Catalog) consistent(ctx context.Context, b hallig.BucketID, fn func(v machine.Vault, r *reader) error) error {
	return n.view(ctx, b, func(v machine.Vault, r *reader) error {
		snap := r.m.state.NewSnapshot()
		defer snap.Close() //nolint:errcheck // frees memory only
		r.db = snap
		return fn(v, r)
	})
}

// Head implements catalog.Objects.
func (n *Catalog) Head(ctx context.Context, b hallig.BucketID, key string, id catalog.VersionID) (out catalog.Version, err error) {
	read := func(v machine.Vault, r *reader) error {
		out, err = v.Head(r, b, key, id)
		return err
	}
	err = n.view(ctx, b, read)
	if id == catalog.CurrentVersion && errors.Is(err, hallig.ErrNotFound) {
		// The head row and the version row were read one after the other: a
		// version replaced in between must not look like an absent key.
		err = n.consistent(ctx, b, read)
	}
	return out, err
}

// List implements catalog.Objects.
func (n *Catalog) List(ctx context.Context, q catalog.Query) (page catalog.Page, err error) {
	if _, err := n.opener.keys(); err != nil {
		return page, err
	}
	p, err := n.partitionOf(ctx, q.Bucket)
	if err != nil {
		return page, err
	}
	if err := p.strict(ctx); err != nil {
		return page, err
	}
	err = n.openedRead(ctx, p, func(r *reader) error {
		it, err := r.iterator(nil, nil)
		if err != nil {
			return err
		}
		page, err = machine.List(it, q)
		return errors.Join(err, it.close())
	})
	return page, err
}

// openedRead runs fn on an opened index that has followed the state.
func (n *Catalog) openedRead(ctx context.Context, p *partition, fn func(*reader) error) error {
	for {
		m, err := n.opener.wait(ctx, p)
		if err != nil {
			return err
		}
		m.use.RLock()
		switch {
		case m.ok() && m.shut:
			err = closed()
		case m.ok():
			err = fn(newReader(m, m.opened, p.id))
		}
		m.use.RUnlock()
		if m.ok() {
			return err
		}
		if err := n.set.drop(); err != nil {
			return err
		}
	}
}

// Upload implements catalog.Objects.
func (n *Catalog) Upload(ctx context.Context, b hallig.BucketID, key string, id hallig.UploadID) (out catalog.Upload, err error) {
	err = n.view(ctx, b, func(v machine.Vault, r *reader) error {
		out, err = v.Upload(r, b, key, id)
		return err
	})
	return out, err
}

// Parts implements catalog.Objects.
func (n *Catalog) Parts(ctx context.Context, b hallig.BucketID, key string, id hallig.UploadID, after, limit int) (parts []catalog.Part, more bool, err error) {
	err = n.consistent(ctx, b, func(v machine.Vault, r *reader) error {
		parts, more, err = v.Parts(r, b, key, id, after, limit)
		return err
	})
	return parts, more, err
}

// Usage implements catalog.Objects.
func (n *Catalog) Usage(ctx context.Context, b hallig.BucketID) (u catalog.Usage, err error) {
	err = n.view(ctx, b, func(_ machine.Vault, r *reader) error {
		u, err = machine.Usage(r, b)
		return err
	})
	return u, err
}
