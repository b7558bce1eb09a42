package machine

import (
	"errors"
	"fmt"
	"sync"

	"github.com/fxamacker/cbor/v2"
	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/catalog"
)

// CommandKind says what a command is.
type CommandKind uint8

// The kinds of commands.
const (
	CommandObjects   CommandKind = 1 // Steps on a bucket
	CommandRecords   CommandKind = 2 // Records, all or none
	CommandFence     CommandKind = 3 // Session
	CommandCollected CommandKind = 4 // Revisions of garbage
)

// A Command is what a partition's log carries: nothing in it needs a key to be
// applied, and nothing in it shows a name or a record.
type Command struct {
	Kind      CommandKind       `cbor:"1,keyasint"`
	ID        hallig.ProposalID `cbor:"2,keyasint,omitzero"`
	Part      uint16            `cbor:"3,keyasint,omitempty"` // of a request that was cut because its operations depend on each other
	Session   hallig.SessionID  `cbor:"4,keyasint,omitzero"`
	Bucket    hallig.BucketID   `cbor:"5,keyasint,omitzero"`
	Epoch     uint64            `cbor:"6,keyasint,omitempty"`
	When      int64             `cbor:"7,keyasint,omitempty"` // unix milliseconds, proposer's clock
	Slot      uint16            `cbor:"8,keyasint,omitempty"`
	Steps     []Step            `cbor:"9,keyasint,omitempty"`
	Records   []RecordStep      `cbor:"10,keyasint,omitempty"`
	Revisions []hallig.Revision `cbor:"11,keyasint,omitempty"`
}

// StepKind says what a step does.
type StepKind uint8

// The kinds of steps.
const (
	StepFail         StepKind = 1 // evaluated as failing: recorded for repeats
	StepPut          StepKind = 2 // a version or a delete marker becomes current
	StepRemove       StepKind = 3 // one version goes
	StepUpdate       StepKind = 4 // one version's rest or extents change
	StepCreateUpload StepKind = 5
	StepPutPart      StepKind = 6
	StepAbortUpload  StepKind = 7
	StepBucket       StepKind = 8
	StepMovePart     StepKind = 9 // a part's extents change, if they are those of Was
)

// Compare says which revision a step's evaluation rests on.
type Compare uint8

// What Apply compares.
const (
	CompareNone Compare = iota
	CompareKey          // the key's last operation; 0: no such key
	CompareEdit         // the target version's last operation; 0: no such version
)

// A Step is one operation of a command.
type Step struct {
	Kind       StepKind        `cbor:"1,keyasint"`
	Name       []byte          `cbor:"2,keyasint,omitempty"` // sealed
	Compare    Compare         `cbor:"3,keyasint,omitempty"`
	Want       hallig.Revision `cbor:"4,keyasint,omitempty"`
	Target     hallig.Revision `cbor:"5,keyasint,omitempty"`
	TargetNull bool            `cbor:"6,keyasint,omitempty"`
	Clear      []byte          `cbor:"7,keyasint,omitempty"`
	Sealed     []byte          `cbor:"8,keyasint,omitempty"`
	Upload     hallig.UploadID `cbor:"9,keyasint,omitzero"`
	Number     uint16          `cbor:"10,keyasint,omitempty"`
	Epoch      uint64          `cbor:"11,keyasint,omitempty"`
	Close      bool            `cbor:"12,keyasint,omitempty"`
	Code       Code            `cbor:"13,keyasint,omitempty"`
	Was        []byte          `cbor:"14,keyasint,omitempty"` // a clear part
	// Unlock is the Edit of the key's null version when its evaluator found an
	// object lock on it that holds no more. Any other lock on a null version that
	// the step would replace or remove refuses it.
	Unlock hallig.Revision `cbor:"15,keyasint,omitempty"`
	// Presumed says that the evaluator did not look for such a lock. If there is
	// one, the command, of this step alone, is answered with CodeRetry.
	Presumed bool `cbor:"16,keyasint,omitempty"`
}

// A RecordStep writes or deletes one mesh record.
type RecordStep struct {
	Kind   string          `cbor:"1,keyasint"`
	Name   []byte          `cbor:"2,keyasint"` // sealed unless the kind is clear
	Value  []byte          `cbor:"3,keyasint,omitempty"`
	Delete bool            `cbor:"4,keyasint,omitempty"`
	Expect hallig.Revision `cbor:"5,keyasint,omitempty"`
}

// A Code is an answer's error without its text, which could show a secret.
type Code uint8

// The codes.
const (
	CodeOK Code = iota
	CodePrecondition
	CodeNotFound
	CodeLockHeld
	CodeConflict
	CodeExists
	CodeNotEmpty
	CodeInvalid
	CodeStale
	CodeFenced
	CodeRetry // a compared revision has changed: evaluate again
)

// Err returns the code's error, nil for CodeOK.
func (c Code) Err() error {
	switch c {
	case CodeOK:
		return nil
	case CodePrecondition:
		return hallig.ErrPrecondition
	case CodeNotFound:
		return hallig.ErrNotFound
	case CodeLockHeld:
		return hallig.ErrLockHeld
	case CodeConflict, CodeRetry:
		return hallig.ErrConflict
	case CodeExists:
		return hallig.ErrExists
	case CodeNotEmpty:
		return hallig.ErrNotEmpty
	case CodeStale:
		return hallig.ErrStale
	case CodeFenced:
		return hallig.ErrFenced
	}
	return hallig.ErrInvalid
}

// codeOf is the code of an operation's error.
func codeOf(err error) Code {
	for c := CodePrecondition; c < CodeInvalid; c++ {
		if errors.Is(err, c.Err()) {
			return c
		}
	}
	return CodeInvalid
}

// An Answer is what Apply says to a command.
type Answer struct {
	Code   Code         `cbor:"1,keyasint,omitempty"`
	Steps  []StepAnswer `cbor:"2,keyasint,omitempty"`
	Repeat bool         `cbor:"-"` // found, not made
}

// A StepAnswer is what became of a step.
type StepAnswer struct {
	Code     Code            `cbor:"1,keyasint,omitempty"`
	Revision hallig.Revision `cbor:"2,keyasint,omitempty"` // of the version made, changed or removed
	Edit     hallig.Revision `cbor:"3,keyasint,omitempty"`
	Row      []byte          `cbor:"4,keyasint,omitempty"` // the removed version's row
	Latest   bool            `cbor:"5,keyasint,omitempty"`
}

// codec holds the CBOR modes (RFC 8949, core deterministic encoding).
type codec struct {
	enc cbor.EncMode
	dec cbor.DecMode
}

var modes = sync.OnceValue(func() codec {
	enc, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		panic(err) // constant options
	}
	dec, err := cbor.DecOptions{
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		IndefLength:      cbor.IndefLengthForbidden,
		TagsMd:           cbor.TagsForbidden,
		MaxNestedLevels:  8,
		MaxArrayElements: 1 << 17,
		MaxMapPairs:      1 << 17,
		UTF8:             cbor.UTF8DecodeInvalid,
	}.DecMode()
	if err != nil {
		panic(err) // constant options
	}
	return codec{enc, dec}
})

func marshal(v any) ([]byte, error) {
	b, err := modes().enc.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w: %w", v, err, hallig.ErrInvalid)
	}
	return b, nil
}

func unmarshal(b []byte, v any) error {
	if err := modes().dec.Unmarshal(b, v); err != nil {
		return fmt.Errorf("decode %T: %w: %w", v, err, hallig.ErrCorrupt)
	}
	return nil
}

// Encode returns the answer's bytes.
func (a *Answer) Encode() ([]byte, error) { return marshal(a) }

// DecodeAnswer reads what Encode wrote.
func DecodeAnswer(b []byte) (a Answer, err error) { return a, unmarshal(b, &a) }

// entryFormat is the first byte of a log entry.
const entryFormat = 1

// MaxEntry bounds a log entry in bytes.
const MaxEntry = 64 << 20

// EncodeCommand returns a command's bytes, to be joined by JoinCommands.
func EncodeCommand(c *Command) ([]byte, error) { return marshal(c) }

// JoinCommands makes one log entry of encoded commands.
func JoinCommands(commands [][]byte) []byte {
	n := 8
	for _, c := range commands {
		n += len(c)
	}
	b := append(make([]byte, 0, n), entryFormat)
	b = append(b, cborArray(len(commands))...)
	for _, c := range commands {
		b = append(b, c...)
	}
	return b
}

// cborArray is the head of a CBOR array of n elements.
func cborArray(n int) []byte {
	switch {
	case n < 24:
		return []byte{0x80 | byte(n)}
	case n < 256:
		return []byte{0x98, byte(n)}
	}
	return []byte{0x99, byte(n >> 8), byte(n)}
}

// DecodeEntry reads a log entry.
func DecodeEntry(b []byte) ([]Command, error) {
	if len(b) < 2 || len(b) > MaxEntry {
		return nil, corrupt("log entry")
	}
	if b[0] != entryFormat {
		return nil, fmt.Errorf("catalog log entry of format %d: written by a newer version: %w", b[0], hallig.ErrUnsupported)
	}
	var out []Command
	if err := unmarshal(b[1:], &out); err != nil {
		return nil, err
	}
	return out, nil
}

// ClearKind reports whether records of the kind are stored in the clear, so
// that blind nodes can follow them.
func ClearKind(k catalog.Kind) bool {
	return k == catalog.KindTopology || k == catalog.KindPool || k == KindSlot
}

// KindSlot is the kind of the records that say which partition holds a slot of
// a bucket: their name is bucket/slot, their value the partition in decimal.
const KindSlot catalog.Kind = "slot"
