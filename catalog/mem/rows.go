package mem

import (
	"slices"
	"sort"
	"strings"
)

// rows is an ordered map in memory: a list of short sorted runs.
type rows struct {
	runs [][]row
}

type row struct {
	key   string
	value []byte
}

const runLength = 512

// find returns the run and the place in it where key is or would be.
func (r *rows) find(key string) (run, at int, found bool) {
	run = sort.Search(len(r.runs), func(i int) bool { return r.runs[i][0].key > key }) - 1
	if run < 0 {
		return 0, 0, false
	}
	at, found = slices.BinarySearchFunc(r.runs[run], key, func(x row, k string) int { return strings.Compare(x.key, k) })
	return run, at, found
}

// Get implements machine.Reader.
func (r *rows) Get(key []byte) ([]byte, error) {
	run, at, found := r.find(string(key))
	if !found {
		return nil, nil
	}
	return r.runs[run][at].value, nil
}

// Set implements machine.Rows. The values kept are never changed in place.
func (r *rows) Set(key, value []byte) error {
	v := append([]byte{}, value...)
	run, at, found := r.find(string(key))
	if found {
		r.runs[run][at].value = v
		return nil
	}
	if len(r.runs) == 0 {
		r.runs = [][]row{nil}
	}
	r.runs[run] = slices.Insert(r.runs[run], at, row{string(key), v})
	if s := r.runs[run]; len(s) > 2*runLength {
		r.runs = slices.Insert(r.runs, run+1, slices.Clone(s[runLength:]))
		r.runs[run] = s[:runLength:runLength]
	}
	return nil
}

// Delete implements machine.Rows.
func (r *rows) Delete(key []byte) error {
	run, at, found := r.find(string(key))
	if !found {
		return nil
	}
	if r.runs[run] = slices.Delete(r.runs[run], at, at+1); len(r.runs[run]) == 0 {
		r.runs = slices.Delete(r.runs, run, run+1)
	}
	return nil
}

// Scan implements machine.Reader. fn must not change the rows.
func (r *rows) Scan(lo, hi []byte, fn func(key, value []byte) bool) error {
	it := r.iterator()
	for ok := it.SeekGE(lo); ok && (hi == nil || string(it.Key()) < string(hi)); ok = it.Next() {
		if !fn(it.Key(), it.Value()) {
			return nil
		}
	}
	return nil
}

func (r *rows) iterator() *iterator { return &iterator{rows: r} }

// iterator implements machine.Iterator.
type iterator struct {
	rows    *rows
	run, at int
}

func (i *iterator) SeekGE(key []byte) bool {
	i.run, i.at, _ = i.rows.find(string(key))
	return i.settle()
}

func (i *iterator) Next() bool {
	i.at++
	return i.settle()
}

func (i *iterator) settle() bool {
	if i.run < len(i.rows.runs) && i.at >= len(i.rows.runs[i.run]) {
		i.run, i.at = i.run+1, 0
	}
	return i.run < len(i.rows.runs)
}

func (i *iterator) Key() []byte   { return []byte(i.rows.runs[i.run][i.at].key) }
func (i *iterator) Value() []byte { return i.rows.runs[i.run][i.at].value }
func (i *iterator) Err() error    { return nil }
