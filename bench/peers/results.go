package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hallig-cloud/hallig/bench/floor"
)

// results is what was measured until now, kept as JSON.
type results struct {
	Rows    []measured   `json:"rows"`
	Floor   []floor.Cost `json:"floor"`
	FloorOn string       `json:"floor_on"` // machine
	Growth  []grown      `json:"growth"`
}

func (p *program) resultsFile() string { return filepath.Join(p.opts.work, "results.json") }

// load reads the results; none is no error.
func load(name string) (*results, error) {
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return &results{}, nil
	}
	if err != nil {
		return nil, err
	}
	var r results
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("%s is no file of results (remove it to begin anew): %w", name, err)
	}
	return &r, nil
}

// save replaces the file at once: an interruption leaves the old or the new.
func (r *results) save(name string) error {
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(name+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}

func (r *results) find(row, peer string) *measured {
	for i := range r.Rows {
		if r.Rows[i].Row == row && r.Rows[i].Peer == peer {
			return &r.Rows[i]
		}
	}
	return nil
}

func (r *results) put(m measured) {
	if old := r.find(m.Row, m.Peer); old != nil {
		*old = m
		return
	}
	r.Rows = append(r.Rows, m)
}

// hasFloor says that every work was measured, as it is now.
func (r *results) hasFloor() bool {
	for _, w := range floor.Works() {
		if _, ok := r.cost(w.Name); !ok {
			return false
		}
	}
	return true
}

func (r *results) cost(name floor.Name) (floor.Cost, bool) {
	for _, c := range r.Floor {
		if c.Name == name {
			return c, true
		}
	}
	return floor.Cost{}, false
}
