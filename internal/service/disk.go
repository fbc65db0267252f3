package service

import (
	"context"
	"fmt"

	"exportd/api"
)

// leastFree is what a disk has free that is not full. A process needs none of it for its work, which goes
// through memory; but where nothing more can be written logs are lost, a shell does not help, and a node
// evicts its pods.
const leastFree = 1 << 20

// diskCheck is about the disk of the process's folder for temporary files. Where there is none, or a root
// that nobody can write, as the image's, there is no disk that could be full.
func (c *Clients) diskCheck() api.Check {
	return api.Check{Name: "disk", Run: func(context.Context) error {
		if c.scratch == "" {
			return nil
		}
		if free, ok := freeBytes(c.scratch); ok && free < leastFree {
			return fmt.Errorf("the disk of %s is full: %d bytes are free, %d are the least", c.scratch, free, int64(leastFree))
		}
		return nil
	}}
}
