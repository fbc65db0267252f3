//go:build unix

package main

import "syscall"

// privateFiles has the data of the embedded cloud made for its owner alone, whatever makes it.
func privateFiles() { syscall.Umask(0o077) }
