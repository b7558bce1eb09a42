package main

import (
	"errors"

	"github.com/hallig-cloud/hallig"
	"github.com/hallig-cloud/hallig/admin"
	"github.com/hallig-cloud/hallig/node"
)

// Exit codes, part of the contract.
const (
	exitOK          = 0 // done
	exitFailed      = 1 // failed; the message says why
	exitUsage       = 2 // the command line or configuration file is wrong
	exitUnreachable = 3 // no node answers at the admin address
	exitRefused     = 4 // arithmetic forbids it: something would be lost
	exitDenied      = 5 // the admin token is missing or wrong
	exitNotFound    = 6 // no such user, key, bucket, drive …
	exitExists      = 7 // it exists already, or is not empty
	exitLocked      = 8 // the keyring is locked
	exitStart       = 9 // the node cannot start: data directory, port, permission, space, clock
)

const exitCodes = "0 done, 1 failed, 2 usage, 3 cannot reach the node, 4 refused by arithmetic, 5 admin token wrong, 6 not found, 7 exists or not empty, 8 keyring locked, 9 the node cannot start."

// exitCode maps an error to the contract's code.
func exitCode(err error) int {
	for _, c := range []struct {
		sentinel error
		code     int
	}{
		{errUsage, exitUsage},
		{node.ErrStart, exitStart},
		{admin.ErrUnreachable, exitUnreachable},
		{admin.ErrRefused, exitRefused},
		{hallig.ErrKeyLocked, exitLocked},
		{hallig.ErrDenied, exitDenied},
		{hallig.ErrNotFound, exitNotFound},
		{hallig.ErrExists, exitExists},
		{hallig.ErrNotEmpty, exitExists},
	} {
		if errors.Is(err, c.sentinel) {
			return c.code
		}
	}
	return exitFailed
}
