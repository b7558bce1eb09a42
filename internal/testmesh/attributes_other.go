//go:build !linux

package testmesh

import "syscall"

// attributes asks for nothing: only Linux can make a process die with another.
func attributes() *syscall.SysProcAttr { return nil }
