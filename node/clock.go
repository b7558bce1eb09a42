package node

import "time"

// How far the clock may be from where it was when the node last ran. Locks,
// retention and signatures go by the clock, so a node with a wrong one must
// not serve.
const (
	clockBack    = 15 * time.Minute // S3 refuses signatures that are this far off
	clockForward = 5 * 365 * 24 * time.Hour
)

// checkClock compares the clock with the last time that the node ran (zero:
// never).
func checkClock(now, seen time.Time, trust bool) error {
	if trust {
		return nil
	}
	const do = "set the clock right (ntpd, chrony or `timedatectl set-ntp true`) and start again, or start with --trust-clock if it is right now"
	earliest := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	switch {
	case now.Before(earliest):
		return startf(errClock, "the clock says %s, which cannot be: %s", stamp(now), do)
	case seen.IsZero():
		return nil
	case now.Before(seen.Add(-clockBack)):
		return startf(errClock, "the clock says %s, but this node already ran at %s: %s", stamp(now), stamp(seen), do)
	case now.After(seen.Add(clockForward)):
		return startf(errClock, "the clock says %s, years after this node last ran at %s: %s", stamp(now), stamp(seen), do)
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
