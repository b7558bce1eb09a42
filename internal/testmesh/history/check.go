package history

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// DefaultTimeout bounds the check of one key.
const DefaultTimeout = 30 * time.Second

// A Verdict is what Check found.
type Verdict struct {
	Keys, Operations int
	Outcomes         map[Outcome]int
	Violations       []Finding // not linearizable
	Undecided        []Finding // not decided within the time: as bad
}

// A Finding is a key whose history is wrong or could not be checked.
type Finding struct {
	Key     string
	Records []Record // of the key, by the time they began
	Stuck   []Record // of a violation: those that fit nowhere behind the longest order found
}

// Err returns nil only if every key's history is linearizable.
func (v Verdict) Err() error {
	if len(v.Violations)+len(v.Undecided) == 0 {
		return nil
	}
	var b strings.Builder
	fmt.Fprintf(&b, "history of %d operations on %d keys: %d keys are not linearizable, %d could not be decided",
		v.Operations, v.Keys, len(v.Violations), len(v.Undecided))
	for _, f := range v.Violations[:min(len(v.Violations), 5)] {
		fmt.Fprintf(&b, "\nkey %q: of %d operations these fit nowhere:", f.Key, len(f.Records))
		for _, r := range f.Stuck[:min(len(f.Stuck), 10)] {
			fmt.Fprintf(&b, "\n  %s", r)
		}
	}
	for _, f := range v.Undecided[:min(len(v.Undecided), 5)] {
		fmt.Fprintf(&b, "\nkey %q: undecided, %d operations", f.Key, len(f.Records))
	}
	return fmt.Errorf("%s", b.String())
}

// String describes a record on one line.
func (r Record) String() string {
	s := fmt.Sprintf("%12s-%-12s client %d %s", r.Call, r.Return, r.Client, r.Kind)
	for _, f := range [][2]string{{"value", r.Value}, {"etag", r.ETag}, {"if-match", r.IfMatch}, {"if-none-match", r.IfNoneMatch}} {
		if f[1] != "" {
			s += " " + f[0] + "=" + f[1]
		}
	}
	return strings.TrimSpace(fmt.Sprintf("%s: %s %s %s", s, r.Result.Outcome, r.Result.Value, r.Result.ETag))
}

// Check checks every key by itself, each within the timeout (0 is
// DefaultTimeout).
func Check(records []Record, timeout time.Duration) Verdict {
	if timeout == 0 {
		timeout = DefaultTimeout
	}
	v := Verdict{Operations: len(records), Outcomes: map[Outcome]int{}}
	keys := map[string][]Record{}
	for _, r := range records {
		v.Outcomes[r.Result.Outcome]++
		if tells(r) {
			keys[r.Key] = append(keys[r.Key], r)
		}
	}
	v.Keys = len(keys)
	for _, key := range sorted(keys) {
		all := keys[key]
		slices.SortStableFunc(all, func(a, b Record) int { return int(a.Call - b.Call) })
		f := Finding{Key: key, Records: all}
		result, stuck := checkKey(prune(all), timeout)
		switch result {
		case porcupine.Illegal:
			f.Stuck = stuck
			v.Violations = append(v.Violations, f)
		case porcupine.Unknown:
			v.Undecided = append(v.Undecided, f)
		}
	}
	return v
}

// tells reports whether a record says something: what surely changed nothing
// and reads without an answer do not.
func tells(r Record) bool {
	return r.Result.Outcome != Failed && (r.Kind.Writes() || r.Result.Outcome != Unknown)
}

func sorted(m map[string][]Record) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// prune leaves out writes of an unknown outcome that nothing else mentions:
// without them the order would be the same, and each of them doubles the
// orders to try. They stay if a condition was refused, which they may explain.
func prune(records []Record) []Record {
	mentioned := map[string]int{}
	for _, r := range records {
		if r.Result.Outcome == Refused {
			return records
		}
		for _, s := range []string{r.ETag, r.Value, r.Result.ETag, r.Result.Value, r.IfMatch, r.IfNoneMatch} {
			mentioned[s]++
		}
	}
	return slices.DeleteFunc(slices.Clone(records), func(r Record) bool {
		return r.Result.Outcome == Unknown && (r.Kind == Put || r.Kind == Complete) &&
			r.ETag != "" && r.Value != "" && mentioned[r.ETag] == 1 && mentioned[r.Value] == 1
	})
}

// checkKey checks the records of one key.
func checkKey(records []Record, timeout time.Duration) (porcupine.CheckResult, []Record) {
	ops := make([]porcupine.Operation, len(records))
	for i, r := range records {
		end := int64(r.Return)
		if r.Result.Outcome == Unknown {
			end = math.MaxInt64
		}
		ops[i] = porcupine.Operation{ClientId: r.Client, Input: r, Output: r.Result, Call: int64(r.Call), Return: end}
	}
	model := register()
	result := porcupine.CheckOperationsTimeout(model, ops, timeout)
	if result != porcupine.Illegal {
		return result, nil
	}
	_, info := porcupine.CheckOperationsVerbose(model, ops, timeout)
	return result, stuck(records, info)
}

// stuck returns the records that the longest order found leaves out.
func stuck(records []Record, info porcupine.LinearizationInfo) []Record {
	var longest []int
	for _, partition := range info.PartialLinearizations() {
		for _, order := range partition {
			if len(order) > len(longest) {
				longest = order
			}
		}
	}
	var left []Record
	for i, r := range records {
		if !slices.Contains(longest, i) && r.Result.Outcome != Unknown {
			left = append(left, r)
		}
	}
	return left
}

// A state is what a key holds.
type state struct {
	present     bool
	value, etag string
}

func register() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return state{} },
		Step: func(s, in, out any) (bool, any) {
			ok, next := step(s.(state), in.(Record).Op, out.(Result))
			return ok, next
		},
	}
}

// step says whether a key in state s may answer op with r, and what it holds
// then.
func step(s state, op Op, r Result) (bool, state) {
	if op.Kind.Writes() {
		return write(s, op, r)
	}
	return read(s, op, r), s
}

// holds says whether the conditions of an operation hold.
func (s state) holds(op Op) bool {
	if op.IfMatch != "" && (!s.present || op.IfMatch != "*" && op.IfMatch != s.etag) {
		return false
	}
	return op.IfNoneMatch == "" || !s.present || op.IfNoneMatch != "*" && op.IfNoneMatch != s.etag
}

func write(s state, op Op, r Result) (bool, state) {
	next := state{present: true, value: op.Value, etag: op.ETag}
	if op.Kind == Delete {
		next = state{}
	}
	switch r.Outcome {
	case Unknown:
		if !s.holds(op) {
			next = s
		}
		return true, next
	case OK:
		return s.holds(op) && (op.Kind == Delete || r.ETag == op.ETag), next
	case Refused:
		return !s.holds(op), s
	case NotFound: // If-Match on what is not there
		return !s.present && op.IfMatch != "", s
	}
	return false, s
}

func read(s state, op Op, r Result) bool {
	switch r.Outcome {
	case OK:
		return s.present && s.holds(op) && r.ETag == s.etag && (op.Kind != Get || r.Value == s.value)
	case NotFound:
		return !s.present
	case NotModified:
		return s.present && op.IfNoneMatch != "" && (op.IfNoneMatch == "*" || op.IfNoneMatch == s.etag)
	case Refused:
		return s.present && op.IfMatch != "" && op.IfMatch != "*" && op.IfMatch != s.etag
	}
	return false
}
