package s3

import (
	"net/http"
	"strings"
	"time"

	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/objects"
)

const (
	modeGovernance = "GOVERNANCE"
	modeCompliance = "COMPLIANCE"
)

// A lockRequest is what the object-lock headers of a write ask for.
type lockRequest struct {
	retention catalog.Retention
	hold      bool // x-amz-object-lock-legal-hold: ON
	stated    bool // ON or OFF
	given     bool // any of the headers is there
}

// parseLockHeaders reads x-amz-object-lock-* for a write at now.
func parseLockHeaders(h http.Header, now time.Time) (lockRequest, error) {
	var l lockRequest
	mode, until, hold := h.Get("X-Amz-Object-Lock-Mode"), h.Get("X-Amz-Object-Lock-Retain-Until-Date"), h.Get("X-Amz-Object-Lock-Legal-Hold")
	l.given = mode != "" || until != "" || hold != ""
	l.hold, l.stated = hold == "ON", hold != ""
	switch hold {
	case "", "OFF", "ON":
	default:
		return l, invalidArgument("x-amz-object-lock-legal-hold", hold, "Legal Hold must be either of 'ON' or 'OFF'")
	}
	const both = "x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both be supplied."
	switch {
	case mode == "" && until == "":
		return l, nil
	case until == "":
		return l, invalidArgument("x-amz-object-lock-retain-until-date", "", both)
	case mode == "":
		return l, invalidArgument("x-amz-object-lock-mode", "", both)
	case mode != modeGovernance && mode != modeCompliance:
		return l, invalidArgument("x-amz-object-lock-mode", mode, "Unknown wormMode directive.")
	}
	t, err := parseISOTime(until)
	if err != nil {
		return l, invalidArgument("x-amz-object-lock-retain-until-date", until, "The retain until date must be provided in ISO 8601 format")
	}
	if !t.After(now) {
		return l, invalidArgument("x-amz-object-lock-retain-until-date", until, "The retain until date must be in the future!")
	}
	l.retention = catalog.Retention{Mode: mode, Until: t}
	return l, nil
}

// allowed refuses lock headers on a bucket without object lock.
func (l lockRequest) allowed(b *objects.Bucket) error {
	if l.given && !b.Lock.Enabled {
		return invalidRequest("Bucket is missing ObjectLockConfiguration")
	}
	return nil
}

// parseISOTime reads the ISO 8601 forms that S3 takes.
func parseISOTime(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		t, err = time.Parse("20060102T150405Z", s)
	}
	return t.UTC(), err
}

// isoTime writes a time as S3's documents do.
func isoTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// bypassAsked reports whether x-amz-bypass-governance-retention is true.
func bypassAsked(h http.Header) bool {
	return strings.EqualFold(h.Get("X-Amz-Bypass-Governance-Retention"), "true")
}
