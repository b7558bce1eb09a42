package node

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/placement"
	"github.com/hallig-cloud/hallig/upkeep"
)

// openDrives finds out who this node is, makes a first identity if it is
// nobody yet, and opens the drives.
func (n *Node) openDrives(ctx context.Context) error {
	id, ok, err := n.findIdentity()
	if err != nil {
		return err
	}
	if err := checkClock(n.cfg.Now(), id.Seen, n.cfg.TrustClock); err != nil {
		return err
	}
	given := slices.Clone(n.cfg.Drives)
	if !ok {
		id = Identity{Format: identityFormat, Mesh: hallig.NewID(), Node: hallig.NewID(), Provider: "local", Site: "default", Drives: map[hallig.DriveID]string{}}
		if err := n.adoptDrives(&id, given); err != nil {
			return err
		}
	}
	if len(given) == 0 && len(id.Drives) == 0 {
		given = []string{n.data.file(firstDrive)}
	}
	if n.cfg.Provider != "" {
		id.Provider = n.cfg.Provider
	}
	if n.cfg.Site != "" {
		id.Site = n.cfg.Site
	}
	id.Seen = n.cfg.Now().UTC()
	n.identity.id = id
	n.fleet = newFleet(n.cfg.FS, n.cfg.Log, n.cfg.Now, id)
	if err := n.fleet.gather(ctx, given, id.Drives); err != nil {
		n.fleet.close()
		return err
	}
	id = n.identity.change(func(id *Identity) { id.Drives = n.fleet.paths() })
	if err := writeIdentity(n.cfg.FS, n.data.file(IdentityFile), id); err != nil {
		n.fleet.close()
		return startIO("the data directory", n.cfg.Data, err)
	}
	return nil
}

// adoptDrives recognises, at a start without an identity, drives that already
// belong to a mesh: a data directory was lost or a wrong one was named.
func (n *Node) adoptDrives(_ *Identity, given []string) error {
	for _, x := range scan(n.cfg.FS, given) {
		if x.err == nil {
			return startf(hallig.ErrForeign, "the drive %s already belongs to node %s, but %s is a new data directory: name the data directory of that node with --data, or put a copy of its %s there", x.path, x.identity.Node, n.cfg.Data, IdentityFile)
		}
	}
	return nil
}

// missingDrives lists the drives that could not be opened.
func (n *Node) missingDrives() []drive {
	var out []drive
	for _, d := range n.fleet.snapshot() {
		if d.store == nil {
			out = append(out, d)
		}
	}
	return out
}

// checkMissing refuses a start when more drives are missing than the mesh's
// default promise covers, unless that is what the operator asked for.
func (n *Node) checkMissing() error {
	missing := n.missingDrives()
	all := len(n.fleet.snapshot())
	var words []string
	for _, d := range missing {
		words = append(words, d.path+" ("+d.reason+")")
	}
	text := strings.Join(words, "; ")
	switch covered := losses(all); {
	case len(missing) == 0:
		return nil
	case len(missing) == all:
		return startf(hallig.ErrUnavailable, "none of the %d drives can be used: %s", all, text)
	case len(missing) > covered && !n.cfg.AllowMissing:
		return startf(hallig.ErrUnavailable, "%d of %d drives cannot be used, and what is stored survives the loss of %d: %s. Bring them back, or start with --allow-missing to serve what is left", len(missing), all, covered, text)
	default:
		n.cfg.Log.Warn("started without a drive; nothing is lost, and its contents are rebuilt on the others unless it comes back", "missing", len(missing), "covered", covered, "err", text, "after", n.cfg.LostAfter.String())
		n.events.add("warning", "started without "+text)
		return nil
	}
}

// losses is how many drives of n the mesh's default promise covers.
func losses(n int) int {
	switch {
	case n <= 1:
		return 0
	case n <= 3:
		return 1
	}
	return 2
}

// mirrorCount is how many drives hold the catalog and the key file, so that
// one is left after the promised loss.
func mirrorCount(drives int) int { return min(losses(drives)+1, max(drives, 1)) }

// promise says what the topology survives, and whether it does so now: kept
// says how far what is stored has followed the topology, copies how many drives
// have the catalog and the key file.
func promise(t *placement.Topology, gone func(hallig.DriveID) bool, kept upkeep.Kept, copies int) (survive hallig.Survive, holds bool, says string) {
	survive = placement.Default(t)
	active, away, lost := 0, 0, 0
	for _, d := range t.Drives {
		switch {
		case d.State == placement.DriveActive:
			active++
			if gone(d.ID) {
				away++
			}
		case d.State == placement.DriveLost || gone(d.ID): // still to be rebuilt
			lost++
		}
	}
	full := losses(active)
	// Old data lives through what it did when it was last in order, less what
	// was lost since; what was written since, through what the drives that were
	// there then allowed.
	data := min(full-away, losses(min(kept.Drives, active+lost))-lost-away, losses(kept.Least))
	left := min(data, max(copies, 1)-1) // without a catalog nothing answers anyway
	switch {
	case survive == hallig.SurviveNothing && away > 0:
		return survive, false, "the only drive is gone: nothing can be read or written"
	case survive == hallig.SurviveNothing && lost == 0:
		return survive, true, "NOTHING SURVIVES THE LOSS OF THIS DRIVE: every object is on one drive only. Add a second one: hallig drive add DIR"
	case away == 0 && lost == 0 && left >= full:
		return survive, true, fmt.Sprintf("any %s may be lost with everything on %s: nothing stored is lost", drives(full), themOrIt(full))
	case away == 0:
		return survive, false, behind(full, left, lost, data >= full)
	case left > 0:
		return survive, false, fmt.Sprintf("%s gone; nothing is lost, and %s more may be lost", isAre(away), drives(left))
	case left == 0:
		return survive, false, fmt.Sprintf("%s gone; nothing is lost, but THE NEXT LOSS WOULD LOSE DATA until repair is done", isAre(away))
	default:
		return survive, false, fmt.Sprintf("%s gone, MORE THAN THE PROMISE COVERS: objects with too few shards left cannot be read until a drive is back", isAre(away))
	}
}

// behind words what holds while old data is brought under the promise of the
// drives that there are.
func behind(full, left, lost int, catalog bool) string {
	what := "what was stored before is being re-encoded"
	switch {
	case lost > 0:
		what = "what was on " + drives(lost) + " is being rebuilt on the others"
	case catalog:
		what = "the catalog and the key file are being copied to another drive"
	}
	switch {
	case left > 0:
		return fmt.Sprintf("%s: until that is done %s may be lost, then %d", what, drives(left), full)
	case left == 0:
		return what + ": until that is done THE NEXT LOSS WOULD LOSE DATA"
	}
	return what + ": MORE WAS LOST THAN THE PROMISE COVERS, and objects with too few shards left cannot be read"
}

// promise is promise of this node, now.
func (n *Node) promise() (hallig.Survive, bool, string) {
	t := n.fleet.Topology()
	kept := upkeep.Kept{Drives: len(t.Drives), Least: len(t.Drives)} // until it is known
	if s := n.store.Load(); s != nil {
		if u := s.upkeep.Load(); u != nil {
			kept = u.Kept()
		}
	}
	return promise(t, n.fleet.isGone, kept, n.copies())
}

// copies is how many drives have a current mirror of the catalog and the key
// file; as many as there should be, until the catalog is open.
func (n *Node) copies() int {
	if n.store.Load() == nil {
		return mirrorCount(len(n.fleet.Topology().Active()))
	}
	count := 0
	for _, m := range n.mirrors() {
		if m.State == "current" && m.KeyFile {
			count++
		}
	}
	return count
}

func drives(n int) string {
	if n == 1 {
		return "one drive"
	}
	return fmt.Sprintf("%d drives", n)
}

func themOrIt(n int) string {
	if n == 1 {
		return "it"
	}
	return "them"
}

func isAre(n int) string {
	if n == 1 {
		return "one drive is"
	}
	return fmt.Sprintf("%d drives are", n)
}
