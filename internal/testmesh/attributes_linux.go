package testmesh

import "syscall"

// attributes makes a process die with the test process.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
