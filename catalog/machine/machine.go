// Package machine is the catalog's state machine: which rows an operation
// makes, changes and removes, and how rows, commands and answers are written.
// It is pure: state is whatever ordered rows the caller gives it, so that
// catalog/mem and catalog/raft differ in storage alone.
//
// The work is cut in two. Evaluate runs where the keys are: it reads, decides
// preconditions and locks, seals, and makes a Command that carries the
// revisions it saw. Machine.Apply runs everywhere, blind nodes included: it
// compares revisions and nothing else, and touches only the clear parts of
// rows. The formats are in docs/decisions/0003-catalog-format.md.
package machine

import (
	"encoding/binary"
	"fmt"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
)

// A Reader reads rows. Errors are the storage's; an absent row is no error.
type Reader interface {
	// Get returns the row's value, which the caller may keep, or nil.
	Get(key []byte) ([]byte, error)
	// Scan calls fn for the rows in [lo, hi) in order until it returns false. The
	// slices are valid during the call only.
	Scan(lo, hi []byte, fn func(key, value []byte) (more bool)) error
}

// Rows is a Reader that sees its own writes. The slices given are not kept.
type Rows interface {
	Reader
	Set(key, value []byte) error
	Delete(key []byte) error
}

// Limits of what is remembered for repeated proposals, per partition.
const (
	maxAnswers     = 131_072
	maxAnswerBytes = 64 << 20
)

// A Machine applies commands to one partition's rows. It is not safe for
// concurrent use. After an error from any method the rows that it wrote to must
// be discarded and the machine loaded anew.
type Machine struct {
	// NoCompare switches the comparison of revisions off, and with it Apply's eye
	// on object locks. It exists for the negative controls of the tests alone.
	NoCompare bool

	meta    meta
	buckets map[hallig.BucketID]*bucketRow
	dirty   map[hallig.BucketID]struct{}
	// answers are the keys of the answers that are kept: nearly every command is
	// new, and what is not there need not be looked for in the rows.
	answers map[answerID]struct{}
	fenced  map[hallig.SessionID]bool // sessions looked up
}

// An answerID is what an answer's key holds: proposal and part.
type answerID [16 + 2]byte

func idOfAnswer(id hallig.ProposalID, part uint16) (a answerID) {
	copy(a[:], id[:])
	binary.BigEndian.PutUint16(a[16:], part)
	return a
}

// maxCached bounds what a machine remembers of buckets and of sessions.
const maxCached = 100_000

// Load returns a machine for rows. A partition without rows starts in epoch.
func Load(rows Reader, epoch uint16) (*Machine, error) {
	m := &Machine{buckets: map[hallig.BucketID]*bucketRow{}, dirty: map[hallig.BucketID]struct{}{},
		answers: map[answerID]struct{}{}, fenced: map[hallig.SessionID]bool{}}
	v, err := rows.Get(metaKey)
	if err != nil {
		return nil, err
	}
	if v == nil {
		m.meta = meta{Epoch: epoch}
		return m, nil
	}
	if m.meta, err = decodeMeta(v); err != nil {
		return nil, err
	}
	err = rows.Scan([]byte{tableAnswer}, []byte{tableAnswer + 1}, func(k, _ []byte) bool {
		if len(k) == 1+len(answerID{}) {
			m.answers[answerID(k[1:])] = struct{}{}
		}
		return true
	})
	return m, err
}

// Revision returns the revision of the last operation applied.
func (m *Machine) Revision() hallig.Revision {
	return hallig.MakeRevision(m.meta.Epoch, m.meta.Counter)
}

// Flush writes what the machine holds back between commands. It must be called
// before the rows are committed.
func (m *Machine) Flush(rows Rows) error {
	for id := range m.dirty {
		if err := rows.Set(bucketKey(id), m.buckets[id].append(nil)); err != nil {
			return err
		}
	}
	clear(m.dirty)
	return rows.Set(metaKey, m.meta.append(nil))
}

func (m *Machine) next() hallig.Revision {
	m.meta.Counter++
	return m.Revision()
}

// bucket returns the cached bucket row; changes need touch.
func (m *Machine) bucket(rows Reader, id hallig.BucketID) (*bucketRow, error) {
	if b, ok := m.buckets[id]; ok {
		return b, nil
	}
	v, err := rows.Get(bucketKey(id))
	if err != nil {
		return nil, err
	}
	b := &bucketRow{}
	if v != nil {
		if *b, err = decodeBucket(v); err != nil {
			return nil, err
		}
	}
	if len(m.buckets) > maxCached && len(m.dirty) == 0 {
		clear(m.buckets)
	}
	m.buckets[id] = b
	return b, nil
}

func (m *Machine) touch(id hallig.BucketID) { m.dirty[id] = struct{}{} }

// Apply applies one command and returns its answer: the first one if the
// command is a repeat. The error is the storage's, never the command's: bad
// commands get an answer with CodeInvalid.
func (m *Machine) Apply(rows Rows, c *Command) (Answer, error) {
	switch c.Kind {
	case CommandObjects:
		return m.applyObjects(rows, c)
	case CommandRecords:
		return m.applyRecords(rows, c)
	case CommandFence:
		if c.Session.IsZero() {
			return Answer{Code: CodeInvalid}, nil
		}
		m.fenced[c.Session] = true
		return Answer{}, rows.Set(sessionKey(c.Session), []byte{1})
	case CommandCollected:
		return m.applyCollected(rows, c)
	}
	return Answer{Code: CodeInvalid}, nil
}

func (m *Machine) applyObjects(rows Rows, c *Command) (Answer, error) {
	if len(c.Steps) == 0 || len(c.Steps) > catalog.MaxOps || c.ID.IsZero() {
		return Answer{Code: CodeInvalid}, nil
	}
	if _, known := m.answers[idOfAnswer(c.ID, c.Part)]; known {
		if a, ok, err := FindAnswer(rows, c.ID, c.Part); err != nil || ok {
			return a, err
		}
	}
	if len(c.Steps) > 1 {
		for i := range c.Steps {
			c.Steps[i].Presumed = false
		}
	}
	code, err := m.admit(rows, c)
	if err != nil || code != CodeOK {
		return Answer{Code: code}, err
	}
	a := Answer{Steps: make([]StepAnswer, len(c.Steps))}
	t := &change{m: m, rows: rows, c: c}
	for i := range c.Steps {
		if a.Steps[i], err = t.step(&c.Steps[i]); err != nil {
			return Answer{}, err
		}
	}
	if a.Steps[0].Code == CodeRetry {
		return Answer{Code: CodeRetry}, nil // it stands alone and changed nothing
	}
	return a, m.remember(rows, c.ID, c.Part, &a)
}

// admit decides whether the command as a whole may be applied.
func (m *Machine) admit(rows Rows, c *Command) (Code, error) {
	if fenced, err := m.isFenced(rows, c.Session); err != nil || fenced {
		return CodeFenced, err
	}
	b, err := m.bucket(rows, c.Bucket)
	if err != nil {
		return CodeOK, err
	}
	if code := b.admits(c.Epoch, c.Steps[0].Kind == StepBucket, c.Steps[0].Close); code != CodeOK {
		return code, nil
	}
	if m.NoCompare {
		return CodeOK, nil
	}
	for i := range c.Steps {
		ok, err := holds(rows, c.Bucket, &c.Steps[i])
		if err != nil {
			return CodeOK, err
		}
		if !ok {
			return CodeRetry, nil
		}
	}
	return CodeOK, nil
}

// isFenced looks a session up once.
func (m *Machine) isFenced(rows Rows, id hallig.SessionID) (bool, error) {
	if id.IsZero() {
		return false, nil
	}
	fenced, ok := m.fenced[id]
	if ok {
		return fenced, nil
	}
	v, err := rows.Get(sessionKey(id))
	if err != nil {
		return false, err
	}
	if len(m.fenced) > maxCached {
		clear(m.fenced)
	}
	m.fenced[id] = v != nil
	return v != nil, nil
}

// admits compares a request's epoch with the bucket's.
func (b *bucketRow) admits(epoch uint64, set, closing bool) Code {
	switch {
	case epoch != b.Epoch:
		return CodeStale
	case b.Closed && (!set || !closing), b.Epoch == 0 && !set:
		return CodeNotFound
	}
	return CodeOK
}

// holds compares what the step's evaluation saw with what is there.
func holds(rows Rows, bucket hallig.BucketID, st *Step) (bool, error) {
	switch st.Compare {
	case CompareNone:
		return true, nil
	case CompareKey:
		h, err := getHead(rows, bucket, st.Name)
		return h.Revision == st.Want, err
	case CompareEdit:
		target, err := st.target(rows, bucket)
		if err != nil || target == 0 {
			return st.Want == 0, err
		}
		row, err := getVersion(rows, bucket, st.Name, target)
		if err != nil || row == nil {
			return st.Want == 0, err
		}
		return row.Edit == st.Want, nil
	}
	return false, nil
}

// target resolves which version the step names: the null one, or Revision.
func (st *Step) target(rows Reader, bucket hallig.BucketID) (hallig.Revision, error) {
	if !st.TargetNull {
		return st.Target, nil
	}
	h, err := getHead(rows, bucket, st.Name)
	return h.Null, err
}

// FindAnswer looks up the answer to a command that was applied before.
func FindAnswer(rows Reader, id hallig.ProposalID, part uint16) (Answer, bool, error) {
	v, err := rows.Get(answerKey(id, part))
	if err != nil || v == nil {
		return Answer{}, false, err
	}
	a, err := DecodeAnswer(v)
	a.Repeat = true
	return a, true, err
}

// remember stores an answer and forgets the oldest beyond the limits.
func (m *Machine) remember(rows Rows, id hallig.ProposalID, part uint16, a *Answer) error {
	v, err := a.Encode()
	if err != nil {
		return err
	}
	k := answerKey(id, part)
	if err := rows.Set(k, v); err != nil {
		return err
	}
	if err := rows.Set(queueKey(m.meta.AnswersTail), appendQueue(nil, k, len(v))); err != nil {
		return err
	}
	m.answers[idOfAnswer(id, part)] = struct{}{}
	m.meta.AnswersTail++
	m.meta.AnswersBytes += uint64(len(v))
	for m.meta.AnswersTail-m.meta.AnswersHead > maxAnswers || m.meta.AnswersBytes > maxAnswerBytes && m.meta.AnswersHead+1 < m.meta.AnswersTail {
		q := queueKey(m.meta.AnswersHead)
		old, err := rows.Get(q)
		if err != nil {
			return err
		}
		key, n, err := decodeQueue(old)
		if err != nil {
			return err
		}
		if err := rows.Delete(key); err != nil {
			return err
		}
		if len(key) == 1+len(answerID{}) {
			delete(m.answers, answerID(key[1:]))
		}
		if err := rows.Delete(q); err != nil {
			return err
		}
		m.meta.AnswersHead++
		m.meta.AnswersBytes -= min(uint64(n), m.meta.AnswersBytes)
	}
	return nil
}

// Counter returns the counter of the last operation that the rows hold, which
// is also that of the newest feed row that may exist.
func Counter(rows Reader) (uint64, error) {
	v, err := rows.Get(metaKey)
	if err != nil || v == nil {
		return 0, err
	}
	m, err := decodeMeta(v)
	return m.Counter, err
}

// Epoch returns the partition's epoch, 0 when the rows are empty.
func Epoch(rows Reader) (uint16, error) {
	v, err := rows.Get(metaKey)
	if err != nil || v == nil {
		return 0, err
	}
	m, err := decodeMeta(v)
	return m.Epoch, err
}

// SetEpoch puts the partition into an epoch: after a restore, so that no
// revision that was given out and lost is given out again.
func SetEpoch(rows Rows, epoch uint16) error {
	m, err := Load(rows, epoch)
	if err != nil {
		return err
	}
	if epoch < m.meta.Epoch {
		return fmt.Errorf("partition epoch %d below %d: %w", epoch, m.meta.Epoch, hallig.ErrInvalid)
	}
	m.meta.Epoch = epoch
	return m.Flush(rows)
}

// FeedRange returns the keys that bound the feed rows with counters in
// (above, upto].
func FeedRange(above, upto uint64) (lo, hi []byte) { return FeedKey(above + 1), FeedKey(upto + 1) }

// IsFeed reports whether the key is a feed row's: feed rows are local.
func IsFeed(key []byte) bool { return len(key) > 0 && key[0] == tableFeed }
