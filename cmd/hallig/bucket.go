package main

import (
	"context"
	"net/url"

	"github.com/hallig-cloud/hallig/admin"
)

type bucketCmd struct {
	List    bucketListCmd    `cmd:"" help:"List buckets."`
	Create  bucketCreateCmd  `cmd:"" help:"Make a bucket."`
	Show    bucketShowCmd    `cmd:"" help:"Show a bucket."`
	Remove  bucketRemoveCmd  `cmd:"" aliases:"delete" help:"Remove an empty bucket."`
	Survive bucketSurviveCmd `cmd:"" help:"Say what a bucket must live through without loss."`
}

type bucketListCmd struct{}

// Run lists buckets.
func (bucketListCmd) Run(ctx context.Context, c *cli, std *stdio) error {
	buckets, err := call[[]admin.Bucket](ctx, c, "GET", "/buckets", nil)
	if err != nil {
		return err
	}
	return show(c, std, buckets, func(t *table) {
		t.row("NAME", "SURVIVES", "OBJECTS", "VERSIONS", "SIZE", "VERSIONING", "CREATED")
		for _, b := range buckets {
			t.row(b.Name, b.Survive, b.Objects, b.Versions, bytes(b.Bytes), b.Versioning, when(b.Created))
		}
	})
}

type bucketCreateCmd struct {
	Name       string `arg:"" help:"Name of the bucket."`
	Owner      string `help:"User who owns it; the root user if not given." placeholder:"USER"`
	Survive    string `help:"What it must live through: drive, \"2 drives\", …; the mesh's default if not given." placeholder:"WHAT"`
	Versioning bool   `help:"Keep every version."`
	ObjectLock bool   `help:"Allow retention and legal holds; implies versioning."`
}

// Run makes a bucket.
func (b *bucketCreateCmd) Run(ctx context.Context, c *cli, std *stdio) error {
	made, err := call[admin.Bucket](ctx, c, "POST", "/buckets", admin.NewBucket{
		Name: b.Name, Owner: b.Owner, Survive: b.Survive, Versioning: b.Versioning, ObjectLock: b.ObjectLock,
	})
	if err != nil {
		return err
	}
	return show(c, std, made, func(t *table) { t.line("Bucket %s made; it survives: %s.", made.Name, made.Survive) })
}

type bucketShowCmd struct {
	Name string `arg:"" help:"Name of the bucket."`
}

// Run shows a bucket.
func (b *bucketShowCmd) Run(ctx context.Context, c *cli, std *stdio) error {
	x, err := call[admin.Bucket](ctx, c, "GET", "/buckets/"+url.PathEscape(b.Name), nil)
	if err != nil {
		return err
	}
	return show(c, std, x, func(t *table) { bucketTable(t, x) })
}

func bucketTable(t *table, x admin.Bucket) {
	survive := x.Survive
	if x.Default {
		survive += " (the default)"
	}
	t.row("name", x.Name)
	t.row("id", x.ID)
	t.row("owner", x.Owner)
	t.row("created", when(x.Created))
	t.row("survives", survive)
	t.row("versioning", x.Versioning)
	t.row("object lock", yes(x.ObjectLock))
	t.row("objects", x.Objects)
	t.row("versions", x.Versions)
	t.row("size", bytes(x.Bytes))
	t.row("open uploads", x.Uploads)
}

type bucketRemoveCmd struct {
	Name string `arg:"" help:"Name of the bucket."`
}

// Run removes a bucket.
func (b *bucketRemoveCmd) Run(ctx context.Context, c *cli, std *stdio) error {
	return change(ctx, c, std, "DELETE", "/buckets/"+url.PathEscape(b.Name), nil, "Bucket %s removed.", b.Name)
}

type bucketSurviveCmd struct {
	Name    string `arg:"" help:"Name of the bucket."`
	Survive string `arg:"" help:"nothing, drive, \"2 drives\", …; default goes back to the mesh's."`
}

// Run sets a bucket's policy.
func (b *bucketSurviveCmd) Run(ctx context.Context, c *cli, std *stdio) error {
	in := admin.Survives{Survive: b.Survive}
	if in.Survive == "default" {
		in.Survive = ""
	}
	x, err := call[admin.Bucket](ctx, c, "PUT", "/buckets/"+url.PathEscape(b.Name)+"/survive", in)
	if err != nil {
		return err
	}
	return show(c, std, x, func(t *table) {
		t.line("Bucket %s is to survive: %s. What is stored already is brought to it in the background.", x.Name, x.Survive)
	})
}
