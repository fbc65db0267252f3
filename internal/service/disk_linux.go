package service

import "syscall"

// readOnly is ST_RDONLY of statvfs(3).
const readOnly = 1

// freeBytes is what a process that is not root may still write on a folder's disk; false if nobody can.
func freeBytes(folder string) (int64, bool) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(folder, &s); err != nil || s.Flags&readOnly != 0 || s.Blocks == 0 {
		return 0, false
	}
	if s.Files > 0 && s.Ffree == 0 {
		return 0, true // no file more, however small
	}
	return int64(s.Bavail) * s.Bsize, true //nolint:gosec // disks are smaller
}
