package raft

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/catalog/machine"
)

// Get implements catalog.Records. A blind node answers for the clear kinds.
func (n *Catalog) Get(ctx context.Context, kind catalog.Kind, name string) (out catalog.Record, err error) {
	v, err := n.recordKeys(kind)
	if err != nil {
		return out, err
	}
	if err := n.partitions[0].strict(ctx); err != nil {
		return out, err
	}
	err = n.set.read(func(m *mirror) error {
		out, err = v.Record(newReader(m, m.state, 0), kind, name)
		return err
	})
	return out, err
}

// recordKeys returns the keys, which the clear kinds do without.
func (n *Catalog) recordKeys(kind catalog.Kind) (machine.Vault, error) {
	v, err := n.opener.keys()
	if machine.ClearKind(kind) {
		return v, nil
	}
	return v, err
}

// Scan implements catalog.Records. A blind node answers for the clear kinds.
func (n *Catalog) Scan(ctx context.Context, kind catalog.Kind, after string, limit int) (out []catalog.Record, err error) {
	v, err := n.recordKeys(kind)
	if err != nil {
		return nil, err
	}
	p := n.partitions[0]
	if err := p.strict(ctx); err != nil {
		return nil, err
	}
	if machine.ClearKind(kind) {
		err = n.set.read(func(m *mirror) error {
			out, err = v.Scan(newReader(m, m.state, 0), nil, kind, after, limit)
			return err
		})
		return out, err
	}
	err = n.openedRead(ctx, p, func(r *reader) error {
		out, err = v.Scan(newReader(r.m, r.m.state, 0), r, kind, after, limit)
		return err
	})
	return out, err
}

// Update implements catalog.Records.
func (n *Catalog) Update(ctx context.Context, changes ...catalog.Change) error {
	v, err := n.opener.keys()
	if err != nil {
		return err
	}
	if n.full.Load() && slices.ContainsFunc(changes, func(c catalog.Change) bool { return !c.Delete }) {
		return fmt.Errorf("a drive that holds the catalog is almost full: free space on it, delete objects, or add a drive: %w", hallig.ErrFull)
	}
	c, err := v.RecordsCommand(changes)
	if err != nil {
		return err
	}
	return n.command(ctx, n.partitions[0], c, fmt.Sprintf("update %s %q", changes[0].Kind, changes[0].Name))
}

// command proposes a command that has no results.
func (n *Catalog) command(ctx context.Context, p *partition, c *machine.Command, what string) error {
	if err := p.strict(ctx); err != nil {
		return err
	}
	a, err := p.propose(ctx, c)
	if err == nil {
		err = a.Code.Err()
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// Watch implements catalog.Records.
func (n *Catalog) Watch(kind catalog.Kind, changed func()) (stop func()) {
	return n.watchers.Watch(kind, changed)
}

// data returns the partitions that hold buckets.
func (n *Catalog) data() []*partition { return n.partitions[1:] }

// Garbage implements catalog.Upkeep. Partitions have disjoint epochs, so that
// revisions order garbage by partition, then by time.
func (n *Catalog) Garbage(ctx context.Context, after hallig.Revision, limit int) (out []catalog.Garbage, err error) {
	if limit <= 0 {
		limit = 1000
	}
	for _, p := range n.data() {
		if err := p.strict(ctx); err != nil {
			return nil, err
		}
		err = n.set.read(func(m *mirror) error {
			g, err := machine.Garbage(newReader(m, m.state, p.id), after, limit)
			out = append(out, g...)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	slices.SortFunc(out, func(a, b catalog.Garbage) int {
		if a.Revision < b.Revision {
			return -1
		}
		return 1
	})
	return out[:min(limit, len(out))], nil
}

// Collected implements catalog.Upkeep.
func (n *Catalog) Collected(ctx context.Context, revisions ...hallig.Revision) error {
	for _, p := range n.data() {
		for part := range slices.Chunk(revisions, 10_000) {
			c := &machine.Command{Kind: machine.CommandCollected, Revisions: part}
			if err := n.command(ctx, p, c, "collect garbage"); err != nil {
				return err
			}
		}
	}
	return nil
}

// Referenced implements catalog.Upkeep.
func (n *Catalog) Referenced(ctx context.Context, ids []hallig.DataID) ([]bool, error) {
	out := make([]bool, len(ids))
	for _, p := range n.data() {
		if err := p.strict(ctx); err != nil {
			return nil, err
		}
		err := n.set.read(func(m *mirror) error {
			r := newReader(m, m.state, p.id)
			for i, id := range ids {
				found, err := machine.Referenced(r, id)
				if err != nil {
					return err
				}
				out[i] = out[i] || found
			}
			return ctx.Err()
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Fence implements catalog.Upkeep.
func (n *Catalog) Fence(ctx context.Context, session hallig.SessionID) error {
	for _, p := range n.data() {
		c := &machine.Command{Kind: machine.CommandFence, Session: session}
		if err := n.command(ctx, p, c, fmt.Sprintf("fence session %s", session)); err != nil {
			return err
		}
	}
	return nil
}

// Walk implements catalog.Upkeep. A cursor is the partition and a row's key.
func (n *Catalog) Walk(ctx context.Context, cursor []byte, limit int) (found []catalog.Stored, next []byte, err error) {
	v, err := n.opener.keys()
	if err != nil {
		return nil, nil, err
	}
	id, key := uint16(1), []byte(nil)
	if cursor != nil {
		if len(cursor) < 2 {
			return nil, nil, fmt.Errorf("walk's cursor: %w", hallig.ErrInvalid)
		}
		id, key = binary.BigEndian.Uint16(cursor), cursor[2:]
	}
	if id == 0 || int(id) >= len(n.partitions) {
		return nil, nil, fmt.Errorf("walk's cursor: %w", hallig.ErrInvalid)
	}
	p := n.partitions[id]
	if err := p.strict(ctx); err != nil {
		return nil, nil, err
	}
	err = n.set.read(func(m *mirror) error {
		snap := m.state.NewSnapshot()
		defer snap.Close() //nolint:errcheck // frees memory only
		var k []byte
		if found, k, err = v.Walk(newReader(m, snap, id), key, limit); err != nil {
			return err
		}
		switch {
		case k != nil:
			next = append(binary.BigEndian.AppendUint16(nil, id), k...)
		case int(id)+1 < len(n.partitions):
			next = binary.BigEndian.AppendUint16(nil, id+1)
		default:
			next = nil
		}
		return nil
	})
	return found, next, err
}
