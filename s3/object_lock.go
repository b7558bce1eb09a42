package s3

import (
	"context"
	"encoding/xml"
	"time"

	"github.com/hallig-cloud/hallig/catalog"
)

type retentionDocument struct {
	XMLName xml.Name `xml:"Retention"`
	Xmlns   string   `xml:"xmlns,attr,omitempty"`
	Mode    string   `xml:",omitempty"`
	Until   string   `xml:"RetainUntilDate,omitempty"`
}

type legalHoldDocument struct {
	XMLName xml.Name `xml:"LegalHold"`
	Xmlns   string   `xml:"xmlns,attr,omitempty"`
	Status  string
}

// readLock reads a lock document; an absent one is MalformedXML.
func (q *request) readLock(root string, v any) error {
	body, err := q.ReadBody(maxXML)
	if err != nil {
		return err
	}
	return parseXML(body, root, v)
}

// lockedBucket refuses lock operations on a bucket without object lock.
func (q *request) lockedBucket(ctx context.Context) error {
	b, err := q.Bucket(ctx)
	if err != nil {
		return err
	}
	if !b.Lock.Enabled {
		return invalidRequest("Bucket is missing Object Lock Configuration")
	}
	return nil
}

// getObjectRetention is GetObjectRetention.
func (s *Server) getObjectRetention(ctx context.Context, q *request) error {
	v, err := q.findLocked(ctx)
	if err != nil {
		return err
	}
	if v.Retention.Mode == "" {
		return fail("NoSuchObjectLockConfiguration")
	}
	return q.XML(&retentionDocument{Xmlns: Namespace, Mode: v.Retention.Mode, Until: isoTime(v.Retention.Until)})
}

// findLocked finds the version for a read of its lock. S3 looks for the object
// first.
func (q *request) findLocked(ctx context.Context) (*catalog.Version, error) {
	b, err := q.Bucket(ctx)
	if err != nil {
		return nil, err
	}
	v, err := q.find(ctx, b)
	if err != nil {
		return nil, err
	}
	return v, q.lockedBucket(ctx)
}

// putObjectRetention is PutObjectRetention. A retention may always be made
// longer; GOVERNANCE may be changed otherwise with the bypass, COMPLIANCE by
// nobody.
func (s *Server) putObjectRetention(ctx context.Context, q *request) error {
	var doc retentionDocument
	if err := q.readLock("Retention", &doc); err != nil {
		return err
	}
	now := s.cfg.Clock()
	want, malformed := doc.retention(now)
	q.learnRetention(want)
	if err := q.permitLate(ctx); err != nil {
		return err
	}
	if err := q.lockedBucket(ctx); err != nil {
		return err
	}
	if malformed != nil {
		return malformed
	}
	bypass, err := q.bypass(ctx)
	if err != nil {
		return err
	}
	if err := q.change(ctx, "", func(v *catalog.Version) error {
		if err := mayReplace(v.Retention, want, now, bypass); err != nil {
			return err
		}
		v.Retention = want
		return nil
	}); err != nil {
		return err
	}
	return q.OK()
}

// retention checks the document. One without Mode and date removes the
// retention.
func (d *retentionDocument) retention(now time.Time) (catalog.Retention, error) {
	var r catalog.Retention
	if d.Mode == "" && d.Until == "" {
		return r, nil
	}
	if d.Mode != modeGovernance && d.Mode != modeCompliance || d.Until == "" {
		return r, fail("MalformedXML")
	}
	t, err := parseISOTime(d.Until)
	if err != nil {
		return r, fail("MalformedXML")
	}
	if !t.After(now) {
		return r, invalidArgument("RetainUntilDate", d.Until, "The retain until date must be in the future!")
	}
	return catalog.Retention{Mode: d.Mode, Until: t}, nil
}

// mayReplace decides a change of retention.
func mayReplace(have, want catalog.Retention, now time.Time, bypass bool) error {
	if !have.Holds(now, bypass) {
		return nil
	}
	longer := !want.Until.Before(have.Until)
	if longer && want.Mode == have.Mode {
		return nil
	}
	return fail("ObjectLocked")
}

// getObjectLegalHold is GetObjectLegalHold.
func (s *Server) getObjectLegalHold(ctx context.Context, q *request) error {
	v, err := q.findLocked(ctx)
	if err != nil {
		return err
	}
	status := "OFF"
	switch {
	case v.LegalHold:
		status = "ON"
	case !v.LegalHoldStated:
		return fail("NoSuchObjectLockConfiguration")
	}
	return q.XML(&legalHoldDocument{Xmlns: Namespace, Status: status})
}

// putObjectLegalHold is PutObjectLegalHold.
func (s *Server) putObjectLegalHold(ctx context.Context, q *request) error {
	var doc legalHoldDocument
	if err := q.readLock("LegalHold", &doc); err != nil {
		return err
	}
	if doc.Status != "ON" && doc.Status != "OFF" {
		return fail("MalformedXML")
	}
	if err := q.lockedBucket(ctx); err != nil {
		return err
	}
	if err := q.change(ctx, "", func(v *catalog.Version) error {
		v.LegalHold, v.LegalHoldStated = doc.Status == "ON", true
		return nil
	}); err != nil {
		return err
	}
	return q.OK()
}
