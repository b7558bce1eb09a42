package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// A system is a store that can be installed and started here.
type system struct {
	name    string
	version string
	// install is what `go install` takes; "": Hallig, built from this tree.
	install string
	// command is the arguments and environment that serve dirs on addr; other
	// is a second free address.
	command func(addr, other, home string, dirs []string) (args, env []string)
	// single says that it uses one directory however many drives there are.
	single bool
	// settings and durable are said in the page.
	settings, durable string
}

// Versions are pinned: a comparison names what it compares with.
const (
	minioModule  = "github.com/minio/minio"
	minioVersion = "v0.0.0-20260212201848-7aac2a2c5b7c" // the last one published
	vgwModule    = "github.com/versity/versitygw"
	vgwVersion   = "v1.8.0"
)

// The credentials of servers that only this machine reaches.
const (
	accessKey = "halligpeers"
	secretKey = "halligpeers-secret-0123456789"
)

const (
	hallig    = "Hallig"
	minio     = "MinIO"
	versitygw = "VersityGW"
)

func systems() map[string]system {
	return map[string]system{
		hallig: {
			name: hallig, version: "this tree",
			command: func(addr, other, home string, dirs []string) (args, env []string) {
				args = []string{"start", "--data", filepath.Join(home, "data"), "--s3-addr", addr, "--admin-addr", other, "--log-level", "warn"}
				for _, d := range dirs {
					args = append(args, "--drive", d)
				}
				return args, []string{"HALLIG_ROOT_ACCESS_KEY=" + accessKey, "HALLIG_ROOT_SECRET_KEY=" + secretKey}
			},
			settings: "`hallig start`, all defaults: sealed with AES-256-GCM, one drive one copy, four drives promise \"2 drives\" (three copies up to 128 KiB, 2+2 above)",
			durable:  "After fdatasync of the object's shards on every drive that they go to (one of one; three of four up to 128 KiB, all four above) and of the catalog's log (on one of one, three of four); a new segment's directory is synced too.",
		},
		minio: {
			name: minio, version: minioVersion, install: minioModule + "@" + minioVersion,
			command: func(addr, _, _ string, dirs []string) (args, env []string) {
				args = append([]string{"server", "--quiet", "--address", addr}, dirs...)
				return args, []string{
					"MINIO_ROOT_USER=" + accessKey, "MINIO_ROOT_PASSWORD=" + secretKey, "MINIO_BROWSER=off",
					// Directories on the system's disk are refused as drives
					// otherwise.
					"MINIO_ROOTDISK_THRESHOLD_SIZE=1MiB",
				}
			},
			settings: "`minio server`, all defaults: not encrypted, four drives are EC:2 (2+2; up to 128 KiB a shard inside xl.meta)",
			durable:  "At its write quorum (three of four drives), each with fdatasync of the file that it wrote, then a rename; the directory is not synced, so the name of an acknowledged object can be lost with the power.",
		},
		versitygw: {
			name: versitygw, version: vgwVersion, install: vgwModule + "/cmd/versitygw@" + vgwVersion, single: true,
			command: func(addr, _, _ string, dirs []string) (args, env []string) {
				return []string{"--port", addr, "--quiet", "--keep-alive", "posix", dirs[0]},
					[]string{"ROOT_ACCESS_KEY=" + accessKey, "ROOT_SECRET_KEY=" + secretKey}
			},
			settings: "`versitygw --quiet --keep-alive posix`: plain files in a directory, with extended attributes; not encrypted, not coded",
			durable:  "Without any fsync: what it acknowledges lies in the page cache.",
		},
	}
}

// Where a server keeps its things: drives beside a home of its own.
func layout(root string, drives int) (home string, dirs []string, err error) {
	home = filepath.Join(root, "home")
	made := []string{home}
	for i := range drives {
		dirs = append(dirs, filepath.Join(root, "drive"+strconv.Itoa(i+1)))
	}
	for _, d := range append(made, dirs...) {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return "", nil, fmt.Errorf("make the drives: %w", err)
		}
	}
	return home, dirs, nil
}
