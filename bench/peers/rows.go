package main

import (
	"github.com/hallig-cloud/hallig/bench"
	"github.com/hallig-cloud/hallig/bench/floor"
)

// A row is one operation of the table.
type row struct {
	id      string
	title   string
	kind    bench.Kind
	size    int64
	part    int64
	clients int
	drives  int
	keys    func(o *options) int
	// targets are the ratios to reach, by peer; 0: none, as near as the floor
	// allows.
	targets map[string]float64
	// kept says that the objects are put once and used by every run.
	kept bool
	// floor is what one item takes at least.
	floor func(r *row) []part
}

// part is a share of a floor: an amount of a work's unit.
type part struct {
	work   floor.Name
	amount float64
}

const (
	kib = 1 << 10
	mib = 1 << 20
)

// rows are the targets of the issue on speed, in its order.
func rows() []row {
	working := func(o *options) int { return o.keys }
	few := func(*options) int { return 8 }
	deleting := func(o *options) int { return max(500, int(o.slice.Seconds()*1000)) }
	return []row{
		{id: "put-4k-1", title: "PUT 4 KiB, 32 clients, 1 drive", kind: bench.Put, size: 4 * kib, clients: 32, drives: 1, keys: working,
			targets: map[string]float64{minio: 3, versitygw: 1}, floor: putFloor},
		{id: "put-4k-4", title: "PUT 4 KiB, 32 clients, 4 drives", kind: bench.Put, size: 4 * kib, clients: 32, drives: 4, keys: working,
			targets: map[string]float64{minio: 5, versitygw: 1}, floor: putFloor},
		{id: "get-4k", title: "GET 4 KiB, 32 clients, 4 drives", kind: bench.Get, size: 4 * kib, clients: 32, drives: 4, keys: working,
			targets: map[string]float64{minio: 2, versitygw: 1}, floor: getFloor},
		{id: "stat-4k", title: "STAT, 32 clients, 4 drives", kind: bench.Stat, size: 4 * kib, clients: 32, drives: 4, keys: working,
			targets: map[string]float64{minio: 2, versitygw: 1}, floor: statFloor},
		{id: "delete-4k", title: "DELETE, 32 clients, 4 drives", kind: bench.Delete, size: 4 * kib, clients: 32, drives: 4, keys: deleting,
			targets: map[string]float64{minio: 3, versitygw: 1}, floor: deleteFloor},
		{id: "multidelete-4k", title: "multi-DELETE, 1,000 a request, 4 clients, 4 drives", kind: bench.MultiDelete, size: 4 * kib, clients: 4, drives: 4,
			keys:    func(o *options) int { return 4000 + int(o.slice.Seconds())*1000 },
			targets: map[string]float64{minio: 3, versitygw: 1}, floor: multiDeleteFloor},
		{id: "put-64m", title: "PUT 64 MiB, 4 clients, 4 drives", kind: bench.Put, size: 64 * mib, clients: 4, drives: 4, keys: few,
			targets: map[string]float64{minio: 1.5, versitygw: 1}, floor: putFloor},
		{id: "multipart-64m", title: "PUT 64 MiB in parts of 16 MiB, 4 clients, 4 drives", kind: bench.Multipart, size: 64 * mib, part: 16 * mib, clients: 4, drives: 4, keys: few,
			targets: map[string]float64{minio: 1.5, versitygw: 1}, floor: putFloor},
		{id: "get-64m", title: "GET 64 MiB, 4 clients, 4 drives", kind: bench.Get, size: 64 * mib, clients: 4, drives: 4, keys: few,
			targets: map[string]float64{minio: 1.3, versitygw: 0}, floor: getFloor},
		{id: "list", title: "LIST v2, 1,000 a page, 1 client, 1 drive", kind: bench.List, size: 0, clients: 1, drives: 1, kept: true,
			keys:    func(o *options) int { return o.listKeys },
			targets: map[string]float64{minio: 10, versitygw: 10}, floor: listFloor},
		{id: "mixed-64k", title: "Mixed 45/30/15/10 (get/stat/put/delete), 64 KiB, 32 clients, 4 drives", kind: bench.Mixed, size: 64 * kib, clients: 32, drives: 4,
			keys:    func(o *options) int { return max(500, o.keys/5) },
			targets: map[string]float64{minio: 2, versitygw: 1}, floor: mixedFloor},
	}
}

// What Hallig does with an object, for the floors (docs/decisions/0005 and
// 0006): copies of small objects, data and parity bytes of large ones, and
// mirrors of the catalog's log.
const smallest = 128 * kib

func (r *row) copies() float64 {
	if r.drives == 1 {
		return 1
	}
	return 3
}

func (r *row) mirrors() float64 { return r.copies() }

// stored is the MiB on the drives for each MiB of an object.
func (r *row) stored() float64 {
	switch {
	case r.drives == 1:
		return 1
	case r.size <= smallest:
		return r.copies()
	}
	return 2
}

// touched is the number of drives that one object is written to.
func (r *row) touched() float64 {
	if r.size <= smallest {
		return r.copies()
	}
	return float64(r.drives)
}

func (r *row) mibs() float64 { return float64(r.size) / mib }

// putFloor: each fdatasync is shared by all the clients at best.
func putFloor(r *row) []part {
	m := r.mibs()
	parts := []part{
		{floor.Exchange, 1}, {floor.Receive, m}, {floor.MD5, m}, {floor.Seal, m},
		{floor.BLAKE3, m * r.distinct()}, {floor.CRC32C, m * r.stored()}, {floor.Write, m * r.stored()},
		{floor.FDataSync, (r.touched() + r.mirrors()) / float64(r.clients)},
	}
	if r.drives > 1 && r.size > smallest {
		parts = append(parts, part{floor.Code22, m})
	}
	return parts
}

// distinct is stored without what is the same in every copy: hashed once.
func (r *row) distinct() float64 {
	if r.size <= smallest {
		return 1
	}
	return r.stored()
}

func getFloor(r *row) []part {
	m := r.mibs()
	return []part{{floor.Exchange, 1}, {floor.Read, m}, {floor.CRC32C, m}, {floor.Open, m}, {floor.Send, m}}
}

func statFloor(*row) []part { return []part{{floor.Exchange, 1}} }

func deleteFloor(r *row) []part {
	return []part{{floor.Exchange, 1}, {floor.FDataSync, r.mirrors() / float64(r.clients)}}
}

// multiDeleteFloor is that of one key: a request has 1,000, of about 50 bytes.
func multiDeleteFloor(r *row) []part {
	return []part{{floor.Exchange, 1. / 1000}, {floor.Receive, 50. / mib}, {floor.FDataSync, r.mirrors() / float64(r.clients) / 1000}}
}

// listFloor is that of one key: about 250 bytes of XML.
func listFloor(*row) []part {
	return []part{{floor.Exchange, 1. / 1000}, {floor.Send, 250. / mib}}
}

func mixedFloor(r *row) []part {
	var out []part
	for _, of := range []struct {
		share float64
		parts []part
	}{{.45, getFloor(r)}, {.30, statFloor(r)}, {.15, putFloor(r)}, {.10, deleteFloor(r)}} {
		for _, p := range of.parts {
			out = append(out, part{p.work, p.amount * of.share})
		}
	}
	return out
}
