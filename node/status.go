package node

import (
	"context"

	"github.com/hallig-cloud/hallig/admin"
	"github.com/hallig-cloud/hallig/placement"
	"github.com/hallig-cloud/hallig/shard"
)

// info is what the operator is told at the start; s is nil while the keyring
// is locked.
func (n *Node) info(s *services) Info {
	survive, _, says := n.promise()
	i := Info{
		S3: n.s3.addr(), Admin: n.admin.addr(), Region: n.cfg.Region, Data: n.cfg.Data,
		KeyFiles: n.keyPaths(), Promise: says, Safe: survive != "nothing", Locked: n.keys.ring.Locked(),
	}
	for _, d := range n.fleet.snapshot() {
		i.Drives = append(i.Drives, d.path)
	}
	if s == nil {
		i.Promise, i.Safe = "what is promised is known once the keyring is open", true
		return i
	}
	if s.first {
		i.First, i.AccessKey, i.SecretKey = true, s.accessKey, s.secret
		if n.cfg.RootSecretKey == "" {
			i.Credentials = n.data.file(CredentialsFile)
		}
	}
	return i
}

// state is the node's state in one word.
func (n *Node) state() string {
	_, holds, _ := n.promise()
	switch {
	case n.draining.Load():
		return "draining"
	case n.keys.ring.Locked():
		return "locked"
	case n.store.Load() == nil:
		return "starting"
	case !holds, n.refusing() != "":
		return "degraded"
	}
	return "ready"
}

// refusing says why new data is refused; "" if it is not.
func (n *Node) refusing() string {
	s := n.store.Load()
	if s == nil || !s.catalog.Status().Full {
		return ""
	}
	return "WRITES ARE REFUSED: a drive that holds the catalog is almost full. Free space on it, delete objects, or add a drive."
}

// Status implements admin.Work.
func (n *Node) Status(ctx context.Context) (admin.Status, error) {
	id := n.identity.get()
	survive, holds, says := n.promise()
	st := admin.Status{
		Version: n.cfg.Version, State: n.state(), Mesh: id.Mesh.String(), Node: id.Node.String(),
		Provider: id.Provider, Site: id.Site, Data: n.cfg.Data, S3: n.s3.addr(), Admin: n.admin.addr(), Started: n.started.UTC(),
		Refusing: n.refusing(), Promise: admin.Promise{Survive: string(survive), Holds: holds, Says: says},
		Drives: n.driveList(), Mirrors: n.mirrors(), Tasks: n.tasks(), Events: n.events.newest(), Export: n.lastExport.Load(),
	}
	var err error
	if st.Keyring, err = n.Keyring(ctx); err != nil {
		return st, err
	}
	if s := n.store.Load(); s != nil {
		buckets, err := n.Buckets(ctx)
		if err != nil {
			return st, err
		}
		for _, b := range buckets {
			st.Totals.Buckets++
			st.Totals.Objects += b.Objects
			st.Totals.Versions += b.Versions
			st.Totals.Bytes += b.Bytes
		}
	}
	return st, nil
}

// driveList describes the drives, by path.
func (n *Node) driveList() []admin.Drive {
	t := n.fleet.Topology()
	mirrors := map[string]bool{}
	for _, m := range n.mirrors() {
		mirrors[m.Drive] = true
	}
	out := []admin.Drive{}
	for _, d := range n.fleet.snapshot() {
		out = append(out, describeDrive(d, t, mirrors[d.id.String()]))
	}
	return out
}

func describeDrive(d drive, t *placement.Topology, mirror bool) admin.Drive {
	st := d.status()
	x := admin.Drive{
		ID: d.id.String(), Path: d.path, State: string(st.State), Reason: st.Reason, Since: d.since.UTC(),
		Shards: st.Shards, Live: st.Live, Dead: st.Dead, Free: st.Free, Total: st.Total, Quarantined: st.Quarantined,
		Catalog: mirror,
	}
	if p, ok := t.Drive(d.id); ok && p.State == placement.DriveLost {
		x.State = string(placement.DriveLost)
		x.Reason = "declared lost; `hallig drive replace` puts a new one in its place"
	} else if ok && p.State == placement.DriveDraining && st.State == shard.StateOnline {
		x.State = string(placement.DriveDraining)
	}
	return x
}
