//go:build !unix

package main

// privateFiles: the folder's own rights have to do.
func privateFiles() {}
