package machine

import (
	"errors"
	"fmt"
	"math"
	"time"
	"unicode/utf8"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
)

// maxRest bounds a version's sealed rest in bytes: 10,000 parts with checksums
// and every attribute.
const maxRest = 4 << 20

// Validate refuses requests that are malformed as a whole.
func Validate(r *catalog.Request) error {
	switch {
	case r.ID.IsZero():
		return fmt.Errorf("catalog request without an id: %w", hallig.ErrInvalid)
	case r.Bucket.IsZero():
		return fmt.Errorf("catalog request without a bucket: %w", hallig.ErrInvalid)
	case len(r.Ops) == 0 || len(r.Ops) > catalog.MaxOps:
		return fmt.Errorf("catalog request with %d operations, want 1 to %d: %w", len(r.Ops), catalog.MaxOps, hallig.ErrInvalid)
	}
	for _, op := range r.Ops {
		if _, ok := op.(catalog.SetBucket); ok && len(r.Ops) > 1 {
			return fmt.Errorf("catalog request with SetBucket and other operations: %w", hallig.ErrInvalid)
		}
	}
	return nil
}

// Cut returns the lengths of the runs of operations that can be evaluated
// against one state: an operation that must read a key comes in a later run
// than one that changes it. It depends on the request alone, so that a repeat
// is cut alike.
func Cut(ops []catalog.Op) []int {
	type removals map[catalog.VersionID]bool
	touched := map[string]removals{} // nil: changed by something else
	var runs []int
	n := 0
	for _, op := range ops {
		key, changes := keyOf(op)
		dv, isRemoval := op.(catalog.DeleteVersion)
		done, seen := touched[key]
		if changes && seen && reads(op) && (done == nil || !isRemoval || done[dv.Version]) {
			runs = append(runs, n)
			n = 0
			clear(touched)
			done, seen = nil, false
		}
		if changes {
			switch {
			case !isRemoval:
				touched[key] = nil
			case !seen:
				touched[key] = removals{dv.Version: true}
			case done != nil:
				done[dv.Version] = true
			}
		}
		n++
	}
	return append(runs, n)
}

// keyOf returns an operation's key, and whether it changes the key's versions.
func keyOf(op catalog.Op) (key string, changes bool) {
	switch o := op.(type) {
	case catalog.Put:
		return o.Version.Key, true
	case catalog.Delete:
		return o.Key, true
	case catalog.DeleteVersion:
		return o.Key, true
	case catalog.Update:
		return o.Version.Key, true
	case catalog.CreateUpload:
		return o.Upload.Key, false
	case catalog.PutPart:
		return o.Key, false
	case catalog.AbortUpload:
		return o.Key, false
	}
	return "", false
}

// reads reports whether evaluating the operation depends on the key's state.
func reads(op catalog.Op) bool {
	switch o := op.(type) {
	case catalog.Put:
		return !o.If.IsZero() || o.IfEdit != 0
	case catalog.Delete:
		return !o.If.IsZero()
	case catalog.DeleteVersion, catalog.Update:
		return true
	}
	return false
}

// A Proposal is a command together with what only its evaluator knows.
type Proposal struct {
	Command Command
	Errs    []error // per step: the text of what failed
	Applies bool    // to be proposed: a step is not a failure, or the request has other runs
	ops     []catalog.Op
}

// Evaluate decides ops (one run of the request, the part'th) against rows and
// seals them. The error is about the request as a whole.
//
// A request all of whose operations are refused need not be proposed (Applies
// is false): it leaves no trace, and a repeat of it is decided anew.
func (s Vault) Evaluate(rows Reader, r *catalog.Request, part int, ops []catalog.Op, now time.Time) (*Proposal, error) {
	return s.evaluate(rows, r, part, ops, now, false)
}

// Presume is Evaluate without the look at the key's null version that a single
// operation may replace: it presumes that no object lock is on it. If one is,
// Apply answers CodeRetry and the request is to be evaluated.
func (s Vault) Presume(rows Reader, r *catalog.Request, part int, ops []catalog.Op, now time.Time) (*Proposal, error) {
	return s.evaluate(rows, r, part, ops, now, len(ops) == 1)
}

func (s Vault) evaluate(rows Reader, r *catalog.Request, part int, ops []catalog.Op, now time.Time, presume bool) (*Proposal, error) {
	v, err := rows.Get(bucketKey(r.Bucket))
	if err != nil {
		return nil, err
	}
	var b bucketRow
	if v != nil {
		if b, err = decodeBucket(v); err != nil {
			return nil, err
		}
	}
	set, isSet := ops[0].(catalog.SetBucket)
	if err := codeError(b.admits(r.Epoch, isSet, set.Close), r, b.Epoch); err != nil {
		return nil, err
	}
	p := &Proposal{ops: ops, Applies: len(ops) < len(r.Ops), Errs: make([]error, len(ops)), Command: Command{
		Kind: CommandObjects, ID: r.ID, Part: uint16(part), Session: r.Session, Bucket: r.Bucket, Epoch: r.Epoch,
		When: millis(now), Steps: make([]Step, len(ops))}}
	for i, op := range ops {
		st := &p.Command.Steps[i]
		e := evaluation{Vault: s, rows: rows, bucket: r.Bucket, st: st, presume: presume}
		refused, err := e.op(op)
		if err != nil {
			return nil, err
		}
		if refused != nil {
			*st = Step{Kind: StepFail, Code: codeOf(refused)}
			p.Errs[i] = refused
			continue
		}
		p.Applies = true
	}
	return p, nil
}

// codeError is the error of an answer as a whole.
func codeError(c Code, r *catalog.Request, epoch uint64) error {
	switch c {
	case CodeOK:
		return nil
	case CodeStale:
		return fmt.Errorf("bucket %s: request acts on epoch %d, the bucket is at %d: %w", r.Bucket, r.Epoch, epoch, hallig.ErrStale)
	case CodeNotFound:
		return fmt.Errorf("bucket %s is closed or was never opened: %w", r.Bucket, hallig.ErrNotFound)
	case CodeFenced:
		return fmt.Errorf("session %s: %w", r.Session, hallig.ErrFenced)
	}
	return fmt.Errorf("bucket %s: %w", r.Bucket, c.Err())
}

// Results makes the results of a proposal that was answered. The error is
// about the request as a whole; CodeRetry is ErrConflict.
func (s Vault) Results(p *Proposal, r *catalog.Request, a Answer) ([]catalog.Result, error) {
	if a.Code != CodeOK {
		return nil, codeError(a.Code, r, 0)
	}
	if len(a.Steps) != len(p.ops) {
		return nil, fmt.Errorf("request %s was answered with %d results for %d operations: its id was used twice: %w",
			r.ID, len(a.Steps), len(p.ops), hallig.ErrInvalid)
	}
	out := make([]catalog.Result, len(p.ops))
	for i := range p.ops {
		var err error
		if out[i], err = s.result(r.Bucket, p.ops[i], &a.Steps[i]); err != nil {
			return nil, err
		}
		if out[i].Err != nil && p.Errs != nil && p.Errs[i] != nil && errors.Is(p.Errs[i], a.Steps[i].Code.Err()) {
			out[i].Err = p.Errs[i]
		}
	}
	return out, nil
}

// Refusals are the results of a proposal of which nothing applies.
func (p *Proposal) Refusals() []catalog.Result {
	out := make([]catalog.Result, len(p.Errs))
	for i := range out {
		out[i].Err = p.Errs[i]
	}
	return out
}

// Repeated returns a proposal that can only render an answer found.
func Repeated(ops []catalog.Op) *Proposal { return &Proposal{ops: ops} }

func (s Vault) result(b hallig.BucketID, op catalog.Op, a *StepAnswer) (res catalog.Result, err error) {
	if a.Code != CodeOK {
		key, _ := keyOf(op)
		return catalog.Result{Err: fmt.Errorf("%T of %q: %w", op, key, a.Code.Err())}, nil
	}
	switch o := op.(type) {
	case catalog.Put:
		res.Version = o.Version
		res.Version.Bucket, res.Version.Null = b, o.Versioning != catalog.Enabled
		res.Version.Revision, res.Version.Edit, res.Version.Latest = a.Revision, a.Edit, a.Latest
	case catalog.Delete:
		if o.Versioning == catalog.Unversioned {
			res.Version, err = s.removed(b, o.Key, a)
			break
		}
		res.Version = marker(b, &o)
		res.Version.Revision, res.Version.Edit, res.Version.Latest = a.Revision, a.Edit, a.Latest
	case catalog.DeleteVersion:
		res.Version, err = s.removed(b, o.Key, a)
	case catalog.Update:
		res.Version = o.Version
		res.Version.Bucket, res.Version.Edit, res.Version.Latest = b, a.Edit, a.Latest
	}
	return res, err
}

// removed opens the row of a version that a step removed.
func (s Vault) removed(b hallig.BucketID, key string, a *StepAnswer) (catalog.Version, error) {
	if a.Row == nil {
		return catalog.Version{}, nil
	}
	row, err := decodeVersionRow(a.Row)
	if err != nil {
		return catalog.Version{}, err
	}
	name, err := s.name(b, key)
	if err != nil {
		return catalog.Version{}, err
	}
	v, err := s.openVersion(b, name, key, a.Revision, row)
	v.Latest = a.Latest
	return v, err
}

func marker(b hallig.BucketID, o *catalog.Delete) catalog.Version {
	v := catalog.Version{Bucket: b, Key: o.Key, DeleteMarker: true, Null: o.Versioning != catalog.Enabled,
		Modified: o.At.UTC().Truncate(time.Millisecond)}
	v.Owner = o.Owner
	return v
}

// An evaluation decides one operation.
type evaluation struct {
	Vault
	rows   Reader
	bucket hallig.BucketID
	st     *Step

	presume bool // see Presume
}

// op returns in refused why the operation fails, and in err why it could not
// be decided.
func (e *evaluation) op(op catalog.Op) (refused, err error) {
	if set, ok := op.(catalog.SetBucket); ok {
		*e.st = Step{Kind: StepBucket, Epoch: set.Epoch, Close: set.Close}
		return nil, nil
	}
	key, _ := keyOf(op)
	if refused := checkKey(key); refused != nil {
		return refused, nil
	}
	if e.st.Name, err = e.name(e.bucket, key); err != nil {
		return nil, err
	}
	switch o := op.(type) {
	case catalog.Put:
		return e.put(&o)
	case catalog.Delete:
		return e.delete(&o)
	case catalog.DeleteVersion:
		return e.deleteVersion(&o)
	case catalog.Update:
		return e.update(&o)
	case catalog.CreateUpload:
		e.st.Kind, e.st.Upload = StepCreateUpload, o.Upload.ID
		if o.Upload.ID.IsZero() {
			return invalid("an upload without an id"), nil
		}
		return e.bounded(e.sealUpload(e.st, e.bucket, &o.Upload))
	case catalog.PutPart:
		e.st.Kind, e.st.Upload, e.st.Number = StepPutPart, o.Upload, uint16(o.Part.Number)
		if o.Part.Number < 1 || o.Part.Number > catalog.MaxParts {
			return invalid("part number %d, want 1 to %d", o.Part.Number, catalog.MaxParts), nil
		}
		if refused := checkExtents(o.Part.Size, o.Part.Extents); refused != nil {
			return refused, nil
		}
		if len(o.Was) > 0 {
			if refused := checkExtents(o.Part.Size, o.Was); refused != nil {
				return refused, nil
			}
			e.st.Kind, e.st.Was = StepMovePart, clearPart{Size: o.Part.Size, Extents: o.Was}.append(nil)
		}
		return e.bounded(e.sealPart(e.st, e.bucket, &o.Part))
	case catalog.AbortUpload:
		e.st.Kind, e.st.Upload = StepAbortUpload, o.Upload
		return nil, nil
	}
	return invalid("unknown operation %T", op), nil
}

func invalid(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, hallig.ErrInvalid)...)
}

func (e *evaluation) bounded(err error) (error, error) {
	if err == nil && len(e.st.Sealed) > maxRest {
		return invalid("attributes of %d bytes, at most %d", len(e.st.Sealed), maxRest), nil
	}
	return nil, err
}

func checkKey(key string) error {
	switch {
	case len(key) == 0 || len(key) > catalog.MaxKey:
		return invalid("key of %d bytes, want 1 to %d", len(key), catalog.MaxKey)
	case !utf8.ValidString(key):
		return invalid("key %q is not UTF-8", key)
	}
	return nil
}

func checkExtents(size int64, extents []catalog.Extent) error {
	if size < 0 || len(extents) > maxExtents {
		return invalid("size %d with %d extents", size, len(extents))
	}
	for i := range extents {
		e := &extents[i]
		if e.Data.IsZero() || e.Length < 0 || uint64(e.First)+uint64(e.Count) > math.MaxUint32 {
			return invalid("extent %d is malformed", i)
		}
	}
	return nil
}

// current reads the key's newest version, nil when there is none, and has
// Apply compare that the key is still as it was seen.
func (e *evaluation) current() (head, *catalog.Version, error) {
	h, err := getHead(e.rows, e.bucket, e.st.Name)
	if err != nil {
		return h, nil, err
	}
	e.st.Compare, e.st.Want = CompareKey, h.Revision
	v, err := e.version(h.Current, h)
	return h, v, err
}

func (e *evaluation) version(r hallig.Revision, h head) (*catalog.Version, error) {
	if r == 0 {
		return nil, nil
	}
	row, err := getVersion(e.rows, e.bucket, e.st.Name, r)
	if err != nil || row == nil {
		return nil, err
	}
	v, err := e.openVersion(e.bucket, e.st.Name, "", r, row)
	if err != nil {
		return nil, err
	}
	v.Latest = h.Current == r
	return &v, nil
}

func (e *evaluation) put(o *catalog.Put) (refused, err error) {
	if o.Version.DeleteMarker {
		return invalid("a put of a delete marker"), nil
	}
	if refused := checkExtents(o.Version.Size, o.Version.Extents); refused != nil {
		return refused, nil
	}
	if o.Moved && o.IfEdit == 0 {
		return invalid("a put that moves data without the edit it saw"), nil
	}
	e.st.Kind, e.st.Upload = StepPut, o.Upload
	if reads(*o) {
		h, cur, err := e.current()
		if err != nil {
			return nil, err
		}
		if refused := o.If.Check(cur); refused != nil {
			return refused, nil
		}
		if o.IfEdit != 0 {
			replaced := cur
			if o.Versioning != catalog.Enabled && h.Null != h.Current {
				if replaced, err = e.version(h.Null, h); err != nil {
					return nil, err
				}
			}
			if replaced == nil || replaced.Edit != o.IfEdit {
				return fmt.Errorf("the version to be replaced has changed: %w", hallig.ErrConflict), nil
			}
		}
	}
	if refused, err := e.mayReplaceNull(o.Versioning, o.Version.Modified); refused != nil || err != nil {
		return refused, err
	}
	v := o.Version
	v.Null = o.Versioning != catalog.Enabled
	return e.bounded(e.sealVersion(e.st, e.bucket, &v))
}

// mayReplaceNull refuses a write that would take the key's null version away
// while an object lock holds it. Buckets with object lock are always
// versioned, so this is the last door, not the first: Apply, which sees that
// there is a lock but not which, lets one pass only if it is the very one that
// was found here to hold no more.
func (e *evaluation) mayReplaceNull(versioning catalog.Versioning, at time.Time) (refused, err error) {
	if versioning == catalog.Enabled {
		return nil, nil
	}
	if e.presume {
		e.st.Presumed = true
		return nil, nil
	}
	h, err := getHead(e.rows, e.bucket, e.st.Name)
	if err != nil || h.Null == 0 {
		return nil, err
	}
	row, err := getVersion(e.rows, e.bucket, e.st.Name, h.Null)
	if err != nil || row == nil || !row.Clear.Locked {
		return nil, err
	}
	v, err := e.openVersion(e.bucket, e.st.Name, "", h.Null, row)
	if err != nil {
		return nil, err
	}
	if v.Locked(at, false) {
		return fmt.Errorf("the null version is under object lock: %w", hallig.ErrLockHeld), nil
	}
	e.st.Unlock = row.Edit
	return nil, nil
}

func (e *evaluation) delete(o *catalog.Delete) (refused, err error) {
	if reads(*o) {
		_, cur, err := e.current()
		if err != nil {
			return nil, err
		}
		if refused := o.If.Check(cur); refused != nil {
			return refused, nil
		}
	}
	if refused, err := e.mayReplaceNull(o.Versioning, o.At); refused != nil || err != nil {
		return refused, err
	}
	if o.Versioning == catalog.Unversioned {
		e.st.Kind, e.st.TargetNull = StepRemove, true
		return nil, nil
	}
	e.st.Kind = StepPut
	v := marker(e.bucket, o)
	return e.bounded(e.sealVersion(e.st, e.bucket, &v))
}

func (e *evaluation) deleteVersion(o *catalog.DeleteVersion) (refused, err error) {
	h, err := getHead(e.rows, e.bucket, e.st.Name)
	if err != nil {
		return nil, err
	}
	e.st.Kind, e.st.Compare = StepRemove, CompareEdit
	switch o.Version {
	case catalog.CurrentVersion:
		return invalid("a version's deletion without a version id"), nil
	case catalog.NullVersion:
		e.st.TargetNull = true
	default:
		if e.st.Target, err = o.Version.Revision(); err != nil {
			return err, nil
		}
	}
	target := e.st.Target
	if e.st.TargetNull {
		target = h.Null
	}
	v, err := e.version(target, h)
	if err != nil {
		return nil, err
	}
	if v != nil && v.Null != e.st.TargetNull {
		v = nil // the null version has no other id
		e.st.Target, e.st.Compare = 0, CompareNone
	}
	if v != nil {
		e.st.Want = v.Edit
	}
	switch {
	case v == nil && o.If.IsZero():
		return nil, nil
	case v != nil && o.IfEdit != 0 && v.Edit != o.IfEdit:
		return fmt.Errorf("version %s has changed: %w", o.Version, hallig.ErrConflict), nil
	}
	if refused := o.If.Check(v); refused != nil {
		return refused, nil
	}
	if v != nil && v.Locked(o.At, o.Bypass) {
		return fmt.Errorf("version %s is under object lock: %w", o.Version, hallig.ErrLockHeld), nil
	}
	return nil, nil
}

func (e *evaluation) update(o *catalog.Update) (refused, err error) {
	h, err := getHead(e.rows, e.bucket, e.st.Name)
	if err != nil {
		return nil, err
	}
	v, err := e.version(o.Version.Revision, h)
	switch {
	case err != nil:
		return nil, err
	case v == nil:
		return fmt.Errorf("no such version of the key: %w", hallig.ErrNotFound), nil
	case v.Edit != o.Version.Edit:
		return fmt.Errorf("the version was edited since it was read: %w", hallig.ErrConflict), nil
	case v.DeleteMarker || o.Version.DeleteMarker:
		return invalid("an update of a delete marker"), nil
	case v.Size != o.Version.Size, v.ETag != o.Version.ETag, millis(v.Modified) != millis(o.Version.Modified):
		return invalid("an update that changes size, etag or modification time"), nil
	}
	if refused := checkExtents(o.Version.Size, o.Version.Extents); refused != nil {
		return refused, nil
	}
	e.st.Kind, e.st.Target, e.st.Want = StepUpdate, v.Revision, v.Edit
	n := o.Version
	n.Null = v.Null
	return e.bounded(e.sealVersion(e.st, e.bucket, &n))
}
