package upkeep

import (
	"context"
	"slices"
	"time"

	"github.com/hallig-cloud/hallig/placement"
)

// chase has the drives compared, and versions re-encoded, again and again while
// a drive is to be emptied and something still needs it, and nothing else will:
// a write that began before the topology changed, or an upload that was
// completed behind a pass's back, committed to the old pool after the pass. The
// pauses double up to chaseMost, so that what cannot be moved costs little.
func (u *Upkeep) chase(ctx context.Context) error {
	var revision uint64
	pause := chaseFirst * u.config.RetryAfter
	for {
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
		t := u.config.Drives.Topology()
		if t.Revision != revision {
			revision, pause = t.Revision, chaseFirst*u.config.RetryAfter
			continue // it has just been told, and is given its time
		}
		if u.lags(t) {
			u.kick(taskCompare)
			pause = min(2*pause, chaseMost*u.config.RetryAfter)
		}
	}
}

// Pauses of chase, as multiples of Config.RetryAfter.
const (
	chaseFirst = 3
	chaseMost  = 360
)

// lags reports whether drives are to be emptied, are not yet, and nothing is
// being done about it.
func (u *Upkeep) lags(t *placement.Topology) bool {
	leaving := slices.ContainsFunc(t.Drives, func(d placement.Drive) bool { return d.State != placement.DriveActive })
	if !leaving || u.Settled() >= t.Revision || u.queue.length() > 0 {
		return false
	}
	for _, task := range u.Status() {
		if (task.Name == taskCompare || task.Name == taskReencode) && task.State == TaskRunning {
			return false
		}
	}
	return true
}
