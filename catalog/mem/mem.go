// Package mem is the catalog in memory: the twin of catalog/raft for tests. It
// runs the same state machine and lists over plain ordered maps, with nothing
// sealed and nothing durable.
package mem

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/catalog/machine"
)

// Config configures a Catalog. The zero value is ready to use.
type Config struct {
	Now func() time.Time // the proposer's clock; nil: time.Now
}

// A Catalog implements catalog.Catalog. All methods may be called concurrently.
type Catalog struct {
	now      func() time.Time
	vault    machine.Vault
	watchers machine.Watchers

	mu     sync.Mutex
	state  *rows
	opened *rows
	m      *machine.Machine
}

var _ catalog.Catalog = (*Catalog)(nil)

// New returns an empty catalog.
func New(c Config) *Catalog {
	if c.Now == nil {
		c.Now = time.Now
	}
	state := &rows{}
	m, err := machine.Load(state, 1)
	if err != nil {
		panic(err) // empty rows cannot be malformed
	}
	return &Catalog{now: c.Now, vault: machine.Vault{Sealer: machine.Clear{}}, state: state, opened: &rows{}, m: m}
}

// Close ends the watches. The contents are gone with the value.
func (c *Catalog) Close() error {
	c.watchers.Close()
	return nil
}

// Commit implements catalog.Objects.
func (c *Catalog) Commit(ctx context.Context, r catalog.Request) ([]catalog.Result, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := machine.Validate(&r); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []catalog.Result
	ops := r.Ops
	for part, n := range machine.Cut(r.Ops) {
		res, err := c.commit(&r, part, ops[:n])
		if err != nil {
			return nil, err
		}
		out, ops = append(out, res...), ops[n:]
	}
	return out, nil
}

func (c *Catalog) commit(r *catalog.Request, part int, ops []catalog.Op) ([]catalog.Result, error) {
	if a, ok, err := machine.FindAnswer(c.state, r.ID, uint16(part)); err != nil {
		return nil, err
	} else if ok {
		return c.vault.Results(machine.Repeated(ops), r, a)
	}
	p, err := c.vault.Evaluate(c.state, r, part, ops, c.now())
	if err != nil {
		return nil, err
	}
	if !p.Applies {
		return p.Refusals(), nil
	}
	a, err := c.apply(&p.Command)
	if err != nil {
		return nil, err
	}
	return c.vault.Results(p, r, a)
}

// apply runs a command through its encoding, as the log would carry it.
func (c *Catalog) apply(cmd *machine.Command) (machine.Answer, error) {
	b, err := machine.EncodeCommand(cmd)
	if err != nil {
		return machine.Answer{}, err
	}
	cmds, err := machine.DecodeEntry(machine.JoinCommands([][]byte{b}))
	if err != nil {
		return machine.Answer{}, err
	}
	before := c.m.Revision()
	a, err := c.m.Apply(c.state, &cmds[0])
	if err != nil {
		return machine.Answer{}, err
	}
	if err := c.m.Flush(c.state); err != nil {
		return machine.Answer{}, err
	}
	return a, c.follow(before, c.m.Revision())
}

// follow brings the opened index up to date and drops the feed.
func (c *Catalog) follow(from, to hallig.Revision) error {
	const counter = 1<<48 - 1
	for n := from&counter + 1; n <= to&counter; n++ {
		k := machine.FeedKey(uint64(n))
		feed, err := c.state.Get(k)
		if err != nil {
			return err
		}
		changed, err := machine.Changed(feed)
		if err != nil {
			return err
		}
		for _, key := range changed {
			if err := c.vault.Refresh(c.state, c.opened, key); err != nil {
				return err
			}
		}
		if err := c.state.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

// Head implements catalog.Objects.
func (c *Catalog) Head(ctx context.Context, b hallig.BucketID, key string, v catalog.VersionID) (catalog.Version, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return catalog.Version{}, err
	}
	return c.vault.Head(c.state, b, key, v)
}

// List implements catalog.Objects.
func (c *Catalog) List(ctx context.Context, q catalog.Query) (catalog.Page, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return catalog.Page{}, err
	}
	return machine.List(c.opened.iterator(), q)
}

// Upload implements catalog.Objects.
func (c *Catalog) Upload(ctx context.Context, b hallig.BucketID, key string, id hallig.UploadID) (catalog.Upload, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return catalog.Upload{}, err
	}
	return c.vault.Upload(c.state, b, key, id)
}

// Parts implements catalog.Objects.
func (c *Catalog) Parts(ctx context.Context, b hallig.BucketID, key string, id hallig.UploadID, after, limit int) ([]catalog.Part, bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, false, err
	}
	return c.vault.Parts(c.state, b, key, id, after, limit)
}

// Usage implements catalog.Objects.
func (c *Catalog) Usage(ctx context.Context, b hallig.BucketID) (catalog.Usage, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return catalog.Usage{}, err
	}
	return machine.Usage(c.state, b)
}

// Get implements catalog.Records.
func (c *Catalog) Get(ctx context.Context, kind catalog.Kind, name string) (catalog.Record, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return catalog.Record{}, err
	}
	return c.vault.Record(c.state, kind, name)
}

// Scan implements catalog.Records.
func (c *Catalog) Scan(ctx context.Context, kind catalog.Kind, after string, limit int) ([]catalog.Record, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return c.vault.Scan(c.state, c.opened, kind, after, limit)
}

// Update implements catalog.Records.
func (c *Catalog) Update(ctx context.Context, changes ...catalog.Change) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	cmd, err := c.vault.RecordsCommand(changes)
	if err != nil {
		return err
	}
	c.mu.Lock()
	a, err := c.apply(cmd)
	c.mu.Unlock()
	if err != nil {
		return err
	}
	if err := a.Code.Err(); err != nil {
		return fmt.Errorf("update %d records: %w", len(changes), err)
	}
	for i := range changes {
		c.watchers.Notify(changes[i].Kind)
	}
	return nil
}

// Watch implements catalog.Records.
func (c *Catalog) Watch(kind catalog.Kind, changed func()) (stop func()) {
	return c.watchers.Watch(kind, changed)
}

// Garbage implements catalog.Upkeep.
func (c *Catalog) Garbage(ctx context.Context, after hallig.Revision, limit int) ([]catalog.Garbage, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return machine.Garbage(c.state, after, limit)
}

// Collected implements catalog.Upkeep.
func (c *Catalog) Collected(ctx context.Context, revisions ...hallig.Revision) error {
	return c.command(ctx, &machine.Command{Kind: machine.CommandCollected, Revisions: revisions})
}

// Fence implements catalog.Upkeep.
func (c *Catalog) Fence(ctx context.Context, session hallig.SessionID) error {
	return c.command(ctx, &machine.Command{Kind: machine.CommandFence, Session: session})
}

func (c *Catalog) command(ctx context.Context, cmd *machine.Command) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	a, err := c.apply(cmd)
	if err != nil {
		return err
	}
	return a.Code.Err()
}

// Referenced implements catalog.Upkeep.
func (c *Catalog) Referenced(ctx context.Context, ids []hallig.DataID) ([]bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]bool, len(ids))
	for i, id := range ids {
		var err error
		if out[i], err = machine.Referenced(c.state, id); err != nil {
			return nil, err
		}
	}
	return out, ctx.Err()
}

// Walk implements catalog.Upkeep.
func (c *Catalog) Walk(ctx context.Context, cursor []byte, limit int) ([]catalog.Stored, []byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	return c.vault.Walk(c.state, cursor, limit)
}
