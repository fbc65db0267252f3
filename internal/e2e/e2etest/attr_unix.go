//go:build unix && !linux

package e2etest

import "syscall"

// attributes give a process a group of its own, so that its children can be ended with it.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
