package e2etest

import "syscall"

// attributes give a process a group of its own, so that its children can be ended with it, and end it when
// the test binary dies without its clean-up (a panic, a timeout).
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
