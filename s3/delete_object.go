package s3

import (
	"context"
	"errors"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
	"github.com/hallig-cloud/hallig/objects"
)

// deleteObject is DeleteObject.
func (s *Server) deleteObject(ctx context.Context, q *request) error {
	b, err := q.Bucket(ctx)
	if err != nil {
		return err
	}
	cond, err := deletePrecondition(q.r.Header)
	if err != nil {
		return err
	}
	d := objects.DeleteRequest{Key: q.key, Version: q.version, If: cond, Owner: q.auth.user}
	if d.Bypass, err = q.bypass(ctx); err != nil {
		return err
	}
	results, err := s.cfg.Store.Delete(ctx, q.bucketName, d)
	if err != nil {
		return q.writeError(err, catalog.Precondition{})
	}
	res := results[0]
	if res.Err != nil {
		return deleteError(res.Err, d)
	}
	q.emitAll(ctx, q.deleted(d, res.Version)...)
	if v := &res.Version; v.DeleteMarker {
		q.set("X-Amz-Delete-Marker", "true")
		q.setVersion(b, v)
	} else if q.versioned && b.Versioning != catalog.Unversioned {
		q.set("X-Amz-Version-Id", q.query.Get("versionId"))
	}
	return q.NoContent()
}

// bypass reports whether GOVERNANCE retention is to be waived: the request
// must ask for it and the caller be allowed to.
func (q *request) bypass(ctx context.Context) (bool, error) {
	if !bypassAsked(q.r.Header) {
		return false, nil
	}
	return true, q.permit(ctx, "s3:BypassGovernanceRetention")
}

// deleteError names what can go wrong with one deletion.
func deleteError(err error, d objects.DeleteRequest) error {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, hallig.ErrPrecondition):
		return preconditionFailed(deleteCondition(d.If)).Because(err)
	case errors.Is(err, hallig.ErrConflict) && !d.If.IsZero():
		return fail("ConditionalRequestConflict").Because(err)
	case errors.Is(err, hallig.ErrNotFound):
		return fail("NoSuchKey").With("Key", d.Key).Because(err)
	}
	return err
}

func deleteCondition(p catalog.Precondition) string {
	switch {
	case p.IfMatch != nil:
		return "If-Match"
	case p.IfSize != nil:
		return "If-Match-Size"
	}
	return "If-Match-Last-Mod-Time"
}

// deleted returns what to tell of a deletion: nothing if it changed nothing.
func (q *request) deleted(d objects.DeleteRequest, v catalog.Version) []objects.Event {
	e := objects.Event{Name: "ObjectRemoved:Delete", Bucket: q.bucketName, Version: v, At: q.s.cfg.Clock()}
	switch {
	case v.Key == "":
		return nil
	case d.Version == catalog.CurrentVersion && v.DeleteMarker:
		e.Name = "ObjectRemoved:DeleteMarkerCreated"
	}
	return []objects.Event{e}
}
